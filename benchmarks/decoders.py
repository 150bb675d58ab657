"""The four decoders in turn, as published, on features 7×7×1280 (as the feature store gives them): captions/s of a training step, images/s of beam search.

A training step is 25 images with 5 captions each: forward, backward, clipping, Adam. The search has beam 3 on batches of 64 images and is cut after 12
tokens, about as long as Flickr8k's captions, since random weights never end one.
"""
from __future__ import annotations
import torch, torch.nn.functional as F
from imcap_fastai.decode import beam_search
from imcap_fastai.models import captioner # noqa: F401, registers the decoders
from imcap_fastai.models.decoder import DECODERS, Decoder, Packing, create_decoder
from .common import (VOCAB, MatrixProduct, Variant, adam, draw_captions, draw_feats, machine, measure, parser, rate_row, ratio, save, settings, show_machine,
                     show_ratios, start, table, update)

VARIANTS = {'transformer, pre-norm, 2 layers': ('transformer', dict(layers=2, pre_norm=True, ff_dim=1024, dropout=0.2))}

def step(dec, feats, caps, seed):
    "One training step"
    params = list(dec.parameters())
    opt = adam(params)
    def fn(r):
        torch.manual_seed(seed+r)
        c = caps[r % len(caps)]
        F.cross_entropy(dec(feats, c)[0], Packing(c).targets).backward()
        update(params, opt)
    return fn

def agreement(dec, feats, caps, tol=1e-3):
    "Largest difference between the logits of a whole caption and those of single steps, dropout off"
    dec.eval()
    with torch.no_grad(): diff = (dec(feats, caps)[0] - Decoder.forward(dec, feats, caps)[0]).abs().max().item()
    assert diff < tol, f"{dec.name}: at once and step by step differ by {diff:.1e}"
    return diff

def main(argv=None):
    p = parser(__doc__, 5)
    p.add_argument('--images', type=int, default=25, help='images a training batch (default: 25)')
    p.add_argument('--caps', type=int, default=5, help='captions an image (default: 5)')
    args = start(p, argv, 5)
    D, V, P, B = (24, 60, 4, 4) if args.quick else (1280, VOCAB, 49, 64)
    tiny = dict(embed_dim=8, hidden_dim=8)
    small = dict(lstm=tiny, sat=dict(tiny, attn_dim=8), dotattn=dict(tiny, attn_dim=8), transformer=dict(embed_dim=8, ff_dim=8)) if args.quick else {}
    names = {**{n: (n, small.get(n, {})) for n in DECODERS}, **({} if args.quick else VARIANTS)}
    caps = [draw_captions(4 if args.quick else args.images, args.caps, V, args.seed+i) for i in range(args.reps)]
    feats, many, mm = draw_feats(len(caps[0]), P, D, args.seed), draw_feats(B, P, D, args.seed+1), MatrixProduct(256 if args.quick else 2048)
    decs, equal = {}, {}
    for n,(kind,kw) in names.items():
        torch.manual_seed(args.seed)
        decs[n] = create_decoder(kind, D, V, **kw)
        equal[n] = agreement(decs[n], feats[:2], caps[0][:2])
    per = len(caps[0])*args.caps
    train = [Variant(n, step(d.train(), feats, caps, args.seed), per) for n,d in decs.items()]
    measure([mm, *train], args.reps)
    search = [Variant(n, lambda r, d=d.eval(): beam_search(d, many, beam_size=3, max_len=12, min_len=11), B) for n,d in decs.items()]
    measure([mm, *search], args.reps)
    size = {n: sum(p.numel() for p in d.parameters())/1e6 for n,d in decs.items()}
    rows = [rate_row(v, 'captions', what='training step', parameters_m=size[v.name]) for v in train]
    rows += [rate_row(v, 'images', what='beam 3', parameters_m=size[v.name]) for v in search]
    sat = [next(v for v in vs if v.name == 'sat') for vs in (train, search)]
    ratios = [dict(ratio(v, s), what=w) for s,vs,w in zip(sat, (train, search), ('training step', 'beam 3')) for v in vs if v is not s]
    m = machine([mm])
    result = dict(name='decoders', quick=args.quick, machine=m, settings=settings(args), sizes=dict(feat_dim=D, vocab_size=V, places=P),
                  agreement=equal, rows=rows, ratios=ratios)
    print('\n' + show_machine(m) + '\n')
    stats = lambda r: [r['per_second'][k] for k in ('median', 'min', 'max')]
    print(table([[r['name'], r['what'], r['parameters_m'], *stats(r), r['unit']] for r in rows],
                ('decoder', 'what', 'million parameters', 'per second', 'min', 'max', 'of')) + '\n')
    print(show_ratios([dict(r, fast=f"{r['what']}: {r['fast']}") for r in ratios]) + '\n')
    save('decoders', args, result)
    return result

if __name__ == '__main__': main()
