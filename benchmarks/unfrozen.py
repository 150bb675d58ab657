"""Unfrozen training step: seconds per caption, image-major against pairs.

Forward and backward through encoder and decoder, clipping, Adam; the encoder's stem stays frozen, BatchNorm keeps its statistics.
  image-major   one batch of 25 images with 5 captions each: the encoder runs once an image
  pairs         the same 125 (image, caption) pairs in minibatches of --pairs-bs: the encoder runs once a caption
Encoder, decoder (`SATDecoder`), loss and optimizer are the same in both; pairs accumulate their gradients into one Adam step, so that
both make the same update (checked before timing: losses and gradients must agree). With `--step-each` pairs make an Adam step each
minibatch, as a loop over pairs would; with `--textbook` the textbook's decoder on pairs gets a row as well.
"""
from __future__ import annotations
import statistics
import torch, torch.nn.functional as F
from imcap_fastai.models.captioner import CaptionModel
from imcap_fastai.models.decoder import Packing
from imcap_fastai.models.sat import SATDecoder
from .common import (VOCAB, MatrixProduct, Variant, conv_flops, draw_captions, machine, measure, n_positions, parser, random_encoder,
                     rate_row, ratio, sat_loss, save, settings, show_machine, show_ratios, start, table, update)
from .textbook import textbook_decoder

def trainable(enc, dec): return [*enc.trainable(), *dec.parameters()]

def adam_groups(enc, dec):
    return torch.optim.Adam([dict(params=enc.trainable(), lr=1e-5), dict(params=list(dec.parameters()), lr=1e-4)], betas=(0.8, 0.99))

def backward_images(model, images, caps):
    "Loss and gradients of one image-major batch"
    logits, cover = model(images, caps)
    loss = sat_loss(logits, cover, Packing(caps).targets)
    loss.backward()
    return float(loss.detach())

def backward_pairs(model, images, caps, bs, after=lambda: None):
    "The same by pairs: each minibatch adds its share of the batch's loss and gradients"
    N, flat, total = caps.shape[1], caps.flatten(0, 1), 0.
    words, rows = n_positions(caps), len(flat)
    for i in range(0, rows, bs):
        c, which = flat[i:i+bs, None], torch.arange(i, min(i+bs, rows))//N # (bs, 1, T): one caption an image
        logits, cover = model(images[which], c)
        loss = F.cross_entropy(logits, Packing(c).targets, reduction='sum')/words + ((1 - cover)**2).sum()/(rows*cover.shape[1])
        loss.backward()
        total += float(loss.detach())
        after()
    return total

def agreement(model, images, caps, bs, tol=1e-3):
    "Largest relative difference of losses and gradients between the two ways, dropout off"
    dec, params = model.decoder, trainable(model.encoder, model.decoder)
    dec.eval()
    a, one = backward_images(model, images, caps), []
    for p in params: one.append(p.grad); p.grad = None
    b = backward_pairs(model, images, caps, bs)
    norm = lambda gs: float(sum(g.square().sum() for g in gs)**.5)
    res = dict(loss=abs(a-b)/abs(b), gradients=norm([x-p.grad for x,p in zip(one, params)])/norm(one))
    for p in params: p.grad = None
    dec.train()
    for k,v in res.items(): assert v < tol, f"{k} differ by {v:.1e}"
    return res

def run_arch(arch, dims, caps, args, mm):
    torch.manual_seed(args.seed)
    enc = random_encoder(arch, args.size, unfrozen=True)
    dec = SATDecoder(enc.out_dim, **dims)
    model = CaptionModel(enc, dec).train()
    images, n, bs = torch.randn(args.images, 3, args.size, args.size), args.images*args.caps, args.pairs_bs
    equal = agreement(model, images[:2], caps[0][:2], 4)
    print(f"image-major and pairs differ by {equal['loss']:.0e} in loss, {equal['gradients']:.0e} in gradients (norms)")
    params, opt = trainable(enc, dec), adam_groups(enc, dec)
    step = lambda: update(params, opt)
    def image_major(r): backward_images(model, images, caps[r]); step()
    def pairs(r):
        if args.step_each: backward_pairs(model, images, caps[r], bs, step)
        else: backward_pairs(model, images, caps[r], bs); step()
    def warm_pairs(): backward_pairs(model, images[:1], caps[0][:1], bs); step()
    vs = [Variant('image-major', image_major, n), Variant(f'pairs, {bs} at a time', pairs, n, warm_pairs)]
    if args.textbook:
        book = textbook_decoder(dec)
        book_params, book_opt = trainable(enc, book), adam_groups(enc, book)
        def run(images, caps):
            flat = caps.flatten(0, 1)
            for i in range(0, len(flat), bs):
                which = torch.arange(i, min(i+bs, len(flat)))//caps.shape[1]
                book.loss(enc(images[which]).as_subclass(torch.Tensor), flat[i:i+bs]).backward()
                update(book_params, book_opt)
        vs.append(Variant('textbook on pairs, a step each minibatch', lambda r: run(images, caps[r]), n,
                          lambda: run(images[:1], caps[0][:1])))
    measure([mm, *vs], args.reps)
    flops = conv_flops(enc, args.size)/1e9
    rows = [rate_row(v, 'captions', encoder=arch, encoder_forward_gflop_per_caption=flops/(args.caps if v is vs[0] else 1)) for v in vs]
    return equal, rows, [dict(ratio(vs[0], v), encoder=arch) for v in vs[1:]]

def main(argv=None):
    p = parser(__doc__, 3)
    p.add_argument('--archs', nargs='*', default=['mobilenet_v2', 'resnet101'], help='encoders (default: mobilenet_v2 resnet101)')
    p.add_argument('--size', type=int, default=224, help='side of the images (default: 224)')
    p.add_argument('--images', type=int, default=25, help='images a batch (default: 25)')
    p.add_argument('--caps', type=int, default=5, help='captions an image (default: 5)')
    p.add_argument('--pairs-bs', type=int, default=25, help='pairs a minibatch (default: 25)')
    p.add_argument('--step-each', action='store_true', help='an Adam step after each minibatch of pairs')
    p.add_argument('--textbook', action='store_true', help='time the textbook decoder on pairs too')
    args = start(p, argv, 3)
    dims = dict(vocab_size=VOCAB, embed_dim=300, hidden_dim=512, attn_dim=512)
    if args.quick:
        dims = dict(vocab_size=60, embed_dim=12, hidden_dim=16, attn_dim=20)
        args.archs, args.size, args.images, args.pairs_bs, args.textbook = ['resnet18'], 64, 3, 5, True
    caps = [draw_captions(args.images, args.caps, dims['vocab_size'], args.seed+i) for i in range(args.reps)]
    mm, equal, rows, ratios = MatrixProduct(256 if args.quick else 2048), {}, [], []
    for a in args.archs:
        print(f"{a}, {args.size} px")
        e, r, q = run_arch(a, dims, caps, args, mm)
        equal[a], rows, ratios = e, rows+r, ratios+q
    m = machine([mm])
    words = statistics.mean(n_positions(c)/(args.images*args.caps) - 1 for c in caps)
    result = dict(name='unfrozen', quick=args.quick, machine=m, settings=settings(args), sizes=dims, agreement=equal,
                  words_per_caption=words, rows=rows, ratios=ratios)
    print('\n' + show_machine(m))
    print(f"{args.images} images × {args.caps} captions, {words:.1f} words a caption\n")
    print(table([[r['encoder'], r['name'], *(r['per_second'][k] for k in ('median', 'min', 'max')),
                  1000/r['per_second']['median'], r['encoder_forward_gflop_per_caption']] for r in rows],
                ('encoder', 'unfrozen step', 'captions/s', 'min', 'max', 'ms/caption', 'encoder forward GFLOP/caption')) + '\n')
    print(show_ratios([dict(r, fast=f"{r['encoder']}: {r['fast']}") for r in ratios]) + '\n')
    save('unfrozen', args, result)
    return result

if __name__ == '__main__': main()
