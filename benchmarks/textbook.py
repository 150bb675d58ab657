"""A captioning loop as tutorials write it: right, readable, and wasteful in the usual ways.

`TextbookDecoder` is Show, attend and tell with the arithmetic and the sizes of `SATDecoder`, from whose weights it is made, so that
both give the same logits. What it does:

- it trains on pairs: one row for each caption, with a copy of its image's features (and, in a full loop, the encoder run on the image
  once for each caption);
- the keys, the projection of the features, are computed anew at every time step;
- a step is `nn.LSTMCell` on the concatenation of word and gated context, then a product with the vocabulary of that step's rows, then
  one store into a zero-filled `(rows, steps, vocabulary)` tensor; autograd undoes each of these in turn;
- `shrink=True`: the rows are sorted by length, longest first, and rows that have ended are left out of later steps, so no padding is
  computed; `shrink=False`: every row goes to the length of the longest, the loss ignores the padding.

`textbook_beam` searches one image at a time, keeps hypotheses in Python lists and computes the keys at every step for each hypothesis.
"""
from __future__ import annotations
import torch, torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from imcap_fastai.core import PAD_IDX, UNK_IDX, BOS_IDX, EOS_IDX

class TextbookAttention(nn.Module):
    def __init__(self, feat_dim, hidden_dim, attn_dim):
        super().__init__()
        self.key, self.query, self.score = nn.Linear(feat_dim, attn_dim), nn.Linear(hidden_dim, attn_dim), nn.Linear(attn_dim, 1)

    def forward(self, feats, h):
        "Features `(n, P, D)` and hidden states `(n, H)` to contexts `(n, D)` and attention `(n, P)`"
        e = self.score(torch.relu(self.key(feats) + self.query(h)[:, None]))[..., 0]
        alpha = torch.softmax(e, 1)
        return (feats * alpha[..., None]).sum(1), alpha

class TextbookDecoder(nn.Module):
    def __init__(self, feat_dim, vocab_size, embed_dim=300, hidden_dim=512, attn_dim=512, dropout=0.5, shrink=True):
        super().__init__()
        self.vocab_size, self.shrink = vocab_size, shrink
        self.embed = nn.Embedding(vocab_size, embed_dim, padding_idx=PAD_IDX)
        self.attention = TextbookAttention(feat_dim, hidden_dim, attn_dim)
        self.init_h, self.init_c = nn.Linear(feat_dim, hidden_dim), nn.Linear(feat_dim, hidden_dim)
        self.gate = nn.Linear(hidden_dim, feat_dim)
        self.cell = nn.LSTMCell(embed_dim + feat_dim, hidden_dim)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(hidden_dim, vocab_size)

    def start(self, feats):
        mean = feats.mean(1)
        return self.init_h(mean), self.init_c(mean)

    def step(self, words, feats, h, c):
        "Embedded words `(n, E)` to logits, states and attention"
        z, alpha = self.attention(feats, h)
        z = torch.sigmoid(self.gate(h)) * z
        h, c = self.cell(torch.cat([words, z], 1), (h, c))
        return self.out(self.drop(h)), h, c, alpha

    def forward(self, feats, caps):
        "Features `(R, P, D)`, captions `(R, T)` to logits `(R, S, V)`, attention `(R, S, P)`, sorted captions, their steps"
        steps = (caps != PAD_IDX).sum(1) - 1
        steps, order = steps.sort(descending=True, stable=True)
        feats, caps = feats[order], caps[order]
        words, S = self.embed(caps), int(steps[0])
        h, c = self.start(feats)
        logits, alphas = feats.new_zeros(len(caps), S, self.vocab_size), feats.new_zeros(len(caps), S, feats.shape[1])
        for t in range(S):
            n = int((steps > t).sum()) if self.shrink else len(caps)
            y, h, c, alpha = self.step(words[:n, t], feats[:n], h[:n], c[:n])
            logits[:n, t], alphas[:n, t] = y, alpha
        return logits, alphas, caps, steps

    def loss(self, feats, caps):
        "Cross-entropy over the words and the attention penalty"
        logits, alphas, caps, steps = self(feats, caps)
        targets = caps[:, 1:int(steps[0])+1]
        if self.shrink:
            pack = lambda x: pack_padded_sequence(x, steps.cpu(), batch_first=True).data
            ce = F.cross_entropy(pack(logits), pack(targets))
        else:
            ce = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD_IDX)
            alphas = alphas * (targets != PAD_IDX)[..., None]
        return ce + ((1 - alphas.sum(1))**2).mean()

@torch.no_grad()
def textbook_decoder(sat, shrink=True):
    "A `TextbookDecoder` with the weights of the `SATDecoder` `sat`"
    A, D, _ = sat.splits
    H = sat.out.in_features
    dec = TextbookDecoder(D, sat.out.out_features, sat.embed.embedding_dim, H, A, sat.drop.p, shrink)
    (Wq, Wb, Wh), (bq, bb, bh) = sat.h_proj.weight.split(sat.splits), sat.h_proj.bias.split(sat.splits)
    att, cell = dec.attention, dec.cell
    for mine,theirs in ((dec.embed.weight, sat.embed.weight), (att.key.weight, sat.key.weight), (att.key.bias, sat.key.bias),
                        (att.query.weight, Wq), (att.query.bias, bq), (att.score.weight[0], sat.score), (att.score.bias, torch.zeros(1)),
                        (dec.init_h.weight, sat.init_h.weight), (dec.init_h.bias, sat.init_h.bias), (dec.init_c.weight, sat.init_c.weight),
                        (dec.init_c.bias, sat.init_c.bias), (dec.gate.weight, Wb), (dec.gate.bias, bb),
                        (cell.weight_ih, torch.cat([sat.x_proj.weight, sat.z_proj.weight], 1)), (cell.bias_ih, sat.x_proj.bias),
                        (cell.weight_hh, Wh), (cell.bias_hh, bh), (dec.out.weight, sat.out.weight), (dec.out.bias, sat.out.bias)):
        mine.copy_(theirs)
    return dec.train(sat.training)

@torch.no_grad()
def textbook_beam(decoder, feats, beam_size=5, max_len=30, until_all=False):
    """The best hypothesis of one image, features `(1, P, D)`, as `(Σ log p, ids with `xxeos`, attention)`.

    A hypothesis that has ended keeps its place among the `beam_size` as long as no other pushes it out, and the search stops when
    the best has ended: the rule of `imcap_fastai.decode.beam_search`. With `until_all=True` the other usual rule: each end found
    takes one place away for good, and the search goes on until none is left."""
    h, c = decoder.start(feats)
    live, done, V = [(0., [BOS_IDX], [])], [], decoder.vocab_size # (score, ids, attention of each)
    for t in range(max_len):
        tokens = torch.tensor([ids[-1] for _,ids,_ in live])
        logits, h, c, alpha = decoder.step(decoder.embed(tokens), feats.expand(len(live), -1, -1), h, c)
        lp = torch.log_softmax(logits, 1)
        lp[:, [PAD_IDX, UNK_IDX, BOS_IDX] + [EOS_IDX]*(t == 0)] = -torch.inf
        total = (torch.tensor([[score] for score,_,_ in live]) + lp).flatten()
        scores, best = total.topk(beam_size - len(done) if until_all else beam_size)
        new = [(s, live[i//V][1] + [i % V], live[i//V][2] + [alpha[i//V]], i//V) for s,i in zip(scores.tolist(), best.tolist())]
        if until_all: pool = new
        else: pool, done = sorted([(*o, None) for o in done] + new, key=lambda o: -o[0])[:beam_size], []
        done = done + [o[:3] for o in pool if o[1][-1] == EOS_IDX]
        go = [o for o in pool if o[1][-1] != EOS_IDX]
        live = [o[:3] for o in go]
        if not live or not until_all and pool[0][1][-1] == EOS_IDX: break
        rows = [o[3] for o in go]
        h, c = h[rows], c[rows]
    score, ids, alphas = max(done or live, key=lambda o: o[0])
    return score, ids[1:], torch.stack(alphas)
