"""Captioners whose answers follow from their weights: made, not trained; and files of images.

No test may rest on what a training converges to, for that differs between machines. So the weights of a small
`'sat'` captioner are written down here: the last layer is solved for in closed form, with margins so wide
that no rounding matters. Tests and notebooks use them: `sys.path.append('../tests')`, `from made import
write_captions`.
"""
import io

import pandas as pd
import torch
from imcap_fastai.core import EOS_IDX, UNK_IDX

FIRST = 8.     # logit of the word that is to come next
END = 3.       # logit of the end after a word that the caption does not have
UNSEEN = -9.   # logit of a word that never follows, where the logits are log-probabilities


def image_means(learn, images):
    "Mean feature vector of each image, `(n_images, D)`, as the captioner sees it"
    table = pd.DataFrame(dict(image=list(images), captions=[['']]*len(images)))
    batch = learn.dls.test_dl(table, bs=len(table), num_workers=0).one_batch()
    with torch.no_grad():
        feats = learn.model.eval().encoder(batch[0])
    return feats.as_subclass(torch.Tensor).mean(1)


@torch.no_grad()
def _multiply(decoder, means=None):
    """Make the hidden state a product of two things: what the image gives, and what the word before gives.

    The LSTM's input gate is closed and its forget gate open, so the cell holds for ever what it began with:
    a random projection of the image (or the same for all images, without `means`). The output gate depends
    on the word alone. The words do not depend on the attention, which moves with the word before all the
    same.
    """
    n_hidden = decoder.out.in_features
    n_attn = decoder.splits[0]
    input_gate, forget_gate, new, output_gate = torch.arange(4*n_hidden).chunk(4)
    from_state = decoder.h_proj.bias[n_attn:].clone().zero_()
    from_state[-4*n_hidden:][input_gate] = -30
    from_state[-4*n_hidden:][forget_gate] = 30
    decoder.h_proj.weight.normal_(std=4/n_hidden**.5)
    decoder.h_proj.weight[n_attn:] = 0
    decoder.h_proj.bias[n_attn:] = from_state
    decoder.score.normal_(std=8/n_attn**.5)
    decoder.z_proj.weight.zero_()

    decoder.embed.weight.normal_()
    decoder.x_proj.weight.zero_()
    decoder.x_proj.bias.zero_()
    decoder.x_proj.weight[output_gate] = torch.randn(n_hidden, decoder.embed.embedding_dim)

    if means is None:
        decoder.init_c.weight.zero_()
        decoder.init_c.bias.normal_()
        return
    decoder.init_c.weight.normal_()
    projected = (means - means.mean(0)) @ decoder.init_c.weight.T  # (n_images, n_hidden)
    decoder.init_c.weight.mul_(2/projected.std(0).mean())
    decoder.init_c.bias.copy_(-decoder.init_c.weight @ means.mean(0))


@torch.no_grad()
def _hidden_states(decoder, means):
    "The hidden state after each word for each image, `(n_words, n_images, n_hidden)`"
    state = decoder.init_state(means[:, None])
    words = torch.arange(decoder.embed.num_embeddings)
    return torch.stack([decoder.step(word.expand(len(means)), state)[1]['h'] for word in words])


@torch.no_grad()
def _solve(decoder, hidden, wanted):
    """Let the last layer give the logits `wanted` in the states `hidden`, exactly: there must be no more of
    them than units"""
    hidden = hidden.reshape(-1, hidden.shape[-1]).double()
    wanted = wanted.reshape(-1, wanted.shape[-1]).double()
    assert len(hidden) <= hidden.shape[1], f'{len(hidden)} states need as many hidden units'
    weight = hidden.T @ torch.linalg.solve(hidden @ hidden.T, wanted)  # the smallest one that does it
    assert (hidden @ weight - wanted).abs().max() < 1e-3, 'two images look the same to the captioner'
    decoder.out.weight.copy_(weight.T)
    decoder.out.bias.zero_()


def _ids(learn, text):
    ids = learn.num.ids(text)
    assert len(set(ids)) == len(ids), f'a word comes twice: {text}'
    assert UNK_IDX not in ids, f'a word is unknown: {text}'
    return ids


def write_captions(learn, images, texts, everywhere=True):
    """Make the captioner say `texts[i]` of `images[i]`. No word may come twice in a caption.

    After a word of the caption the next one gets 8, after any other word the end gets 3, and everything else
    a seeded random number below 1. This is solved for every word and image, which takes as many hidden
    units; with `everywhere=False` only for the words of each image's own caption.
    """
    decoder = learn.model.eval().decoder
    n_words = decoder.embed.num_embeddings
    means = image_means(learn, images)
    _multiply(decoder, means)
    wanted = torch.rand(n_words, len(images), n_words, generator=torch.Generator().manual_seed(0))
    wanted[..., EOS_IDX] = END
    used = torch.full((n_words, len(images)), everywhere)
    for i, text in enumerate(texts):
        ids = _ids(learn, text)
        for word, following in zip(ids, ids[1:]):
            wanted[word, i, EOS_IDX] = 0
            wanted[word, i, following] = FIRST
            used[word, i] = True
    _solve(decoder, _hidden_states(decoder, means)[used], wanted[used])
    return learn


def write_language(learn, texts):
    """Make the captioner know which word follows which in `texts`, and nothing of any image.

    Its logits are the log-probabilities of the next word given the word before; of words that are equally
    likely, the one that comes first in the vocabulary is a little likelier.
    """
    decoder = learn.model.eval().decoder
    n_words = decoder.embed.num_embeddings
    counts = torch.zeros(n_words, n_words)
    for text in texts:
        ids = learn.num.ids(text)
        for word, following in zip(ids, ids[1:]):
            counts[word, following] += 1
    wanted = (counts/counts.sum(1, keepdim=True).clamp(min=1)).log().clamp(min=UNSEEN)
    wanted = wanted - torch.linspace(0, .5, n_words)
    best = wanted[counts.sum(1) > 0].topk(2).values
    assert (best[:, 0] - best[:, 1]).min() > .01, 'two words are equally likely: give other texts'
    _multiply(decoder)
    _solve(decoder, _hidden_states(decoder, torch.zeros(1, decoder.init_c.in_features)), wanted)
    return learn


def encoded(img, fmt='PNG', **kwargs):
    "The bytes of a PIL image in a file format"
    out = io.BytesIO()
    img.save(out, fmt, **kwargs)
    return out.getvalue()


# ---- small learners of drawn scenes, for the checks of the doctor

def one_caption_scenes(path, n_train=120, n_valid=50):
    "Drawn scenes of two things, each with one caption that uses no word twice: a tidy table"
    from imcap_fastai.shapes import shapes
    df = shapes(path, n_train=n_train, n_valid=n_valid, size=64)
    texts = [captions[0].replace(' of a', ' of the').replace(' above a', ' above the')
            for captions in df.captions]
    good = [text.startswith('a ') and len(set(text.split())) == len(text.split()) for text in texts]
    return df.assign(captions=[[text] for text in texts])[good].reset_index(drop=True)


def small_loaders(df, path, **kwargs):
    "Loaders of 64 × 64 pixels; the arguments are `CaptionDataLoaders.from_df`'s"
    from fastai.vision.all import Resize, ResizeMethod
    from imcap_fastai.data.block import CaptionDataLoaders
    options = dict(bs=10, min_freq=2, num_workers=0, seed=3, check=False,
                   item_tfms=Resize(64, method=ResizeMethod.Squish))
    return CaptionDataLoaders.from_df(df, path=path, **{**options, **kwargs})


def small_learner(dls, decoder='sat', hidden_dim=32, **kwargs):
    "An untrained captioner with a random ResNet-18 that gives 8 × 8 regions"
    from fastai.vision.all import resnet18, set_seed
    from imcap_fastai.learner import caption_learner
    set_seed(1)
    sizes = dict(embed_dim=8)
    if decoder == 'sat':
        sizes.update(hidden_dim=hidden_dim, attn_dim=32, dropout=0.)
    learn = caption_learner(dls, resnet18, decoder, weights=None, cut=-2, attn_penalty=0.,
            decoder_kwargs=sizes, **kwargs)
    learn.remove_cbs([cb for cb in learn.cbs if cb.name == 'progress'])
    return learn


def healthy_learner(df, path, hidden_dim=640, fit=False):
    "A frozen captioner that says the first caption of every image; with `fit` after an epoch of training"
    learn = small_learner(small_loaders(df, path), hidden_dim=hidden_dim)
    learn.freeze()
    learn.decoding = dict(beam_size=1)
    if fit:
        with learn.no_logging():
            learn.fit(1, 1e-3)
    return write_captions(learn, df.image, [captions[0] for captions in df.captions], everywhere=False)
