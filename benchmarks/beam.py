"""Beam search: images/s of ours in batches and one image at a time, against a textbook search of one image at a time.

All search the same images with beam 5, at most 30 tokens, from given features (7×7×1280). Rows:
  ours, batches of 64
  ours, one image at a time
  textbook                   benchmarks/textbook.py under our rule: stop when the best hypothesis has ended
  textbook, until all end    under the other usual rule: stop when five hypotheses have ended
The first three must find the same best hypothesis with the same log-probability on --check images before anything is timed; how often
the last agrees is reported.

Random weights never end a caption, so the decoder is made to, without training. One LSTM unit is a clock: input and output gate open,
forget gate open, its candidate a small constant that varies a little with the word, so that its cell climbs steadily from a start that
depends on the image; the logit of the end token follows the clock steeply. Word embeddings, recurrent and output weights are scaled up
so that the distribution over words is about as peaked as a trained model's (and near-ties, which rounding would decide, are rare). The
lengths that come out are reported. The amount of arithmetic a step is the same as with any other weights.
"""
from __future__ import annotations
import statistics
import torch
from imcap_fastai.core import EOS_IDX
from imcap_fastai.decode import beam_search
from imcap_fastai.models.sat import SATDecoder
from .common import (VOCAB, MatrixProduct, Variant, draw_feats, machine, matmul_flops, measure, parser, rate_row, ratio, save, settings,
                     show_machine, show_ratios, start, table)
from .textbook import textbook_beam, textbook_decoder

@torch.no_grad()
def ending_decoder(dims, feats, seed, words=11, sd=2.5, tick=.12):
    "A `SATDecoder` with fabricated weights whose hypotheses on images like `feats` end after about `words` ± `sd` words"
    torch.manual_seed(seed)
    dec = SATDecoder(**dims).eval()
    D, H, A = dims['feat_dim'], dims['hidden_dim'], dims['attn_dim']
    dec.embed.weight.normal_()
    dec.out.weight.mul_(30*(512/H)**.5)
    dec.h_proj.weight[A+D:].mul_(2)
    i, f, g, o = (A + D + n*H for n in range(4)) # the clock is unit 0: its rows in the four gates
    for row,bias in ((i, 20.), (f, 20.), (g, tick), (o, 20.)):
        dec.h_proj.weight[row], dec.h_proj.bias[row] = 0, bias
        dec.x_proj.weight[row-A-D], dec.x_proj.bias[row-A-D], dec.z_proj.weight[row-A-D] = 0, 0, 0
    dec.x_proj.weight[g-A-D].normal_(std=tick/4/dims['embed_dim']**.5)
    dec.h_proj.weight[:, 0] = 0 # nobody else reads the clock …
    mean = feats.mean(1)
    w = torch.randn(D)
    at = mean @ w
    w, at = w*(tick*sd/at.std()), at*(tick*sd/at.std())
    dec.init_c.weight[0], dec.init_c.bias[0] = w, -at.mean() - tick*(words + .5) # passes 0 after `words` words
    dec.out.weight[:, 0] = 0
    dec.out.weight[EOS_IDX], dec.out.bias[EOS_IDX] = 0, 10.
    dec.out.weight[EOS_IDX, 0] = 70. # … but the end token: its logit rises by 8 a step near 0
    return dec

def lengths(hyps):
    "Statistics of the words of hypotheses, given as lists of ids"
    n = [sum(i != EOS_IDX for i in ids) for ids in hyps]
    return dict(mean=statistics.mean(n), sd=statistics.pstdev(n), min=min(n), max=max(n),
                ended=sum(ids[-1] == EOS_IDX for ids in hyps)/len(hyps), different=len({tuple(ids) for ids in hyps})/len(hyps))

def agreement(dec, book, feats, args, tol=1e-3):
    "Same best hypothesis from all; the share on which the other stopping rule agrees"
    many = [h[0] for h in beam_search(dec, feats, args.beam, args.max_len)]
    other, worst = 0, 0.
    for i,h in enumerate(many):
        f = feats[i:i+1]
        one = beam_search(dec, f, args.beam, args.max_len)[0][0]
        score, ids, alphas = textbook_beam(book, f, args.beam, args.max_len)
        for name,got,s in (('alone', one.ids, one.score), ("the textbook's", ids, score)):
            assert got == h.ids, f"image {i}: batched {h.ids}, {name} {got}"
            worst = max(worst, abs(s - h.score))
        worst = max(worst, float((alphas - h.attention).abs().max()))
        other += textbook_beam(book, f, args.beam, args.max_len, until_all=True)[1] == h.ids
    assert worst < tol, f"scores or attention differ by {worst:.1e}"
    return dict(images=len(many), scores_and_attention=worst, other_rule_agrees=other/len(many))

def run_grid(grid, dims, args, mm):
    P = grid*grid
    feats = draw_feats(args.images, P, dims['feat_dim'], args.seed)
    dec = ending_decoder(dims, feats, args.seed)
    book = textbook_decoder(dec)
    equal = agreement(dec, book, feats[:args.check], args)
    print(f"batched, alone and textbook find the same on {equal['images']} images; scores and attention differ by at most "
          f"{equal['scores_and_attention']:.0e}; the other stopping rule agrees on {equal['other_rule_agrees']:.0%}")
    def batched(r):
        for f in feats.split(args.bs): beam_search(dec, f, args.beam, args.max_len)
    def alone(r):
        for f in feats.split(1): beam_search(dec, f, args.beam, args.max_len)
    def textbook(until_all):
        def fn(r):
            for f in feats.split(1): textbook_beam(book, f, args.beam, args.max_len, until_all)
        return fn
    few = feats[:2].split(1)
    vs = [Variant(f'ours, batches of {args.bs}', batched, args.images),
          Variant('ours, one image at a time', alone, args.images, lambda: [beam_search(dec, f, args.beam) for f in few]),
          Variant('textbook', textbook(False), args.images, lambda: [textbook_beam(book, f, args.beam) for f in few]),
          Variant('textbook, until all end', textbook(True), args.images, lambda: [textbook_beam(book, f, args.beam, 9) for f in few])]
    measure([mm, *vs], args.reps)
    stats = lengths([h[0].ids for f in feats.split(args.bs) for h in beam_search(dec, f, args.beam, args.max_len)])
    flops = matmul_flops(args.beam*(stats['mean']+1), 1, P, **dims)[0]/1e9
    rows = [rate_row(v, 'images', places=P, channels=dims['feat_dim'], lengths=stats, gflop_per_image=flops) for v in vs]
    return equal, rows, [dict(ratio(a, b), places=P) for a,b in ((vs[0], vs[2]), (vs[0], vs[3]), (vs[0], vs[1]), (vs[1], vs[2]))]

def main(argv=None):
    p = parser(__doc__, 5)
    p.add_argument('--grid', type=int, nargs='*', default=[7], help='sides of the feature maps (default: 7)')
    p.add_argument('--images', type=int, default=64, help='images (default: 64)')
    p.add_argument('--bs', type=int, default=64, help='images a batch (default: 64)')
    p.add_argument('--beam', type=int, default=5, help='hypotheses an image (default: 5)')
    p.add_argument('--max-len', type=int, default=30, help='most tokens (default: 30)')
    p.add_argument('--check', type=int, default=16, help='images on which all must agree first (default: 16)')
    args = start(p, argv, 5)
    dims = dict(feat_dim=1280, vocab_size=VOCAB, embed_dim=300, hidden_dim=512, attn_dim=512)
    if args.quick:
        dims = dict(feat_dim=24, vocab_size=60, embed_dim=12, hidden_dim=32, attn_dim=20)
        args.grid, args.images, args.bs, args.check = [2], 6, 6, 6
    mm, equal, rows, ratios = MatrixProduct(256 if args.quick else 2048), {}, [], []
    for g in args.grid:
        print(f"features {g}×{g}×{dims['feat_dim']}")
        e, r, q = run_grid(g, dims, args, mm)
        equal[f'{g}x{g}'], rows, ratios = e, rows+r, ratios+q
    m = machine([mm])
    result = dict(name='beam', quick=args.quick, machine=m, settings=settings(args), sizes=dims, agreement=equal, rows=rows, ratios=ratios)
    print('\n' + show_machine(m))
    for n in {r['places']:r['lengths'] for r in rows}.values():
        print(f"captions found: {n['mean']:.1f} words (sd {n['sd']:.1f}, {n['min']} to {n['max']}), {n['ended']:.0%} ended, "
              f"{n['different']:.0%} different")
    print('\n' + table([[f"{r['places']} × {r['channels']}", r['name'], *(r['per_second'][k] for k in ('median', 'min', 'max')),
                         r['gflop_per_image']] for r in rows],
                       ('features', f'beam {args.beam}', 'images/s', 'min', 'max', 'GFLOP/image')) + '\n')
    print(show_ratios([dict(r, fast=f"{r['places']}: {r['fast']}") for r in ratios]) + '\n')
    save('beam', args, result)
    return result

if __name__ == '__main__': main()
