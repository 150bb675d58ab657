"""Frozen-stage training step: captions/s of SATDecoder in image-major batches, against a textbook loop on pairs.

A batch is 25 images with 5 captions each. Rows of the first table, for each encoder:
  ours, cached features     features as a tensor (the feature store's place), decoder forward and backward, clipping, Adam
  ours, encoder per image   the same, and the frozen encoder once on each of the 25 images
  textbook, encoder per caption   see benchmarks/textbook.py: the frozen encoder on each of the 125 pairs, then its decoder
The encoder is the same module in all rows (channels-last), so the ratios owe nothing to its memory layout; what that layout is worth is
a row of its own. Rows of the second table: the decoders alone, at each --grid, with the FLOPs of the products a caption needs and
the share of the large-matrix-product rate of that moment which they amount to per second.

Before anything is timed, ours and the textbook's are given equal weights, and logits, loss and gradients must agree.
"""
from __future__ import annotations
import copy, statistics
import torch
from imcap_fastai.tensors import TensorFeatures
from imcap_fastai.models.captioner import CaptionModel
from imcap_fastai.models.decoder import Packing
from imcap_fastai.models.sat import SATDecoder
from torch.nn.utils.rnn import pack_padded_sequence
from .common import (VOCAB, MatrixProduct, Variant, adam, conv_flops, draw_captions, draw_feats, machine, matmul_flops, measure,
                     n_positions, parser, random_encoder, rate_row, ratio, sat_loss, save, settings, show_machine, show_ratios,
                     spread, start, table, update)
from .textbook import textbook_decoder

def agreement(dims, caps, P, seed, tol=1e-4):
    "Largest differences between ours and both textbook decoders on one batch, dropout off; an error above `tol`"
    torch.manual_seed(seed)
    sat = SATDecoder(**dims).eval()
    feats, N, pk = draw_feats(len(caps), P, dims['feat_dim'], seed), caps.shape[1], Packing(caps)
    logits, cover = sat(feats, caps)
    loss = sat_loss(logits, cover, pk.targets)
    loss.backward()
    res = dict(logits=0., loss=0., gradients=0.)
    for shrink in (True, False):
        book = textbook_decoder(sat, shrink)
        pairs = feats.repeat_interleave(N, 0), caps.flatten(0, 1)
        theirs, _, _, steps = book(*pairs)
        theirs = pack_padded_sequence(theirs, steps, batch_first=True).data # both orders: longest first, time-major
        book_loss = book.loss(*pairs)
        book_loss.backward()
        grads = ((sat.key.weight, book.attention.key.weight), (sat.embed.weight, book.embed.weight), (sat.out.weight, book.out.weight),
                 (sat.init_c.weight, book.init_c.weight), (sat.score, book.attention.score.weight))
        got = dict(logits=(logits-theirs).abs().max(), loss=(loss-book_loss).abs(),
                   gradients=max((a.grad-b.grad).abs().max() / b.grad.abs().max() for a,b in grads))
        res = {k:max(res[k], float(v.detach())) for k,v in got.items()}
    for k,v in res.items(): assert v < tol, f"{k} of the two decoders differ by {v:.1e}"
    return res

def ours(model, params, inputs, caps, seed):
    "One training step of a CaptionModel on images, or of a SATDecoder on features"
    opt = adam(params)
    def fn(r):
        torch.manual_seed(seed+r)
        c = caps[r % len(caps)]
        logits, cover = model(inputs, c)
        sat_loss(logits, cover, Packing(c).targets).backward()
        update(params, opt)
    return fn

def textbook(decoder, inputs, caps, seed, encoder=None):
    "One training step on pairs: images if there is an encoder, else features"
    params = list(decoder.parameters())
    opt = adam(params)
    def fn(r):
        torch.manual_seed(seed+r)
        feats = encoder(inputs).as_subclass(torch.Tensor) if encoder else inputs
        decoder.loss(feats, caps[r % len(caps)].flatten(0, 1)).backward()
        update(params, opt)
    return fn

def full_steps(arch, dims, caps, args, mm):
    "Encoder and decoder"
    B, N = caps[0].shape[:2]
    enc = random_encoder(arch, args.size)
    torch.manual_seed(args.seed)
    images = torch.randn(B, 3, args.size, args.size)
    pairs = images.repeat_interleave(N, 0)
    feats = enc(images).as_subclass(TensorFeatures)
    sat = SATDecoder(**dims | dict(feat_dim=enc.out_dim))
    book = textbook_decoder(sat)
    model = CaptionModel(enc, sat).train()
    plain = copy.deepcopy(enc.body).to(memory_format=torch.contiguous_format)
    params = list(sat.parameters())
    def plain_fn(r):
        with torch.no_grad(): plain(images)
    vs = [Variant('ours, cached features', ours(model, params, feats, caps, args.seed), B*N),
          Variant('ours, encoder per image', ours(model, params, images, caps, args.seed), B*N),
          Variant('textbook, encoder per caption', textbook(book, pairs, caps, args.seed, enc), B*N),
          Variant('encoder alone, channels-last', lambda r: enc(images), B),
          Variant('encoder alone, plain layout', plain_fn, B)]
    measure([mm, *vs], args.reps)
    cached, image, book, last, nchw = vs
    P, flops = feats.shape[1], conv_flops(enc, args.size)/1e9
    per_cap = {cached: 0., image: flops/N, book: flops}
    rows = [rate_row(v, 'captions' if v in per_cap else 'images', encoder=arch, places=P, channels=enc.out_dim,
                     encoder_gflop_per_caption=per_cap.get(v)) for v in vs]
    ratios = [ratio(cached, book), ratio(image, book), ratio(cached, image), ratio(last, nchw)]
    return rows, [dict(r, encoder=arch) for r in ratios]

def decoder_steps(grid, dims, caps, args, mm):
    "The decoders alone on given features"
    (B, N), P = caps[0].shape[:2], grid*grid
    feats = draw_feats(B, P, dims['feat_dim'], args.seed)
    pairs = feats.repeat_interleave(N, 0)
    torch.manual_seed(args.seed)
    sat = SATDecoder(**dims)
    shrunk, padded = textbook_decoder(sat), textbook_decoder(sat, shrink=False)
    vs = [Variant('ours', ours(sat, list(sat.parameters()), feats, caps, args.seed), B*N),
          Variant('textbook, ended rows left out', textbook(shrunk, pairs, caps, args.seed), B*N),
          Variant('textbook, padded', textbook(padded, pairs, caps, args.seed), B*N)]
    measure([mm, *vs], args.reps)
    flops = [matmul_flops(n_positions(c), B, P, **dims)[1]/1e9 for c in caps]
    now = mm.rates[-args.reps:]
    share = lambda v: spread([flops[r % len(caps)]/s/p for r,(s,p) in enumerate(zip(v.seconds, now))])
    gflop = statistics.mean(flops[r % len(caps)] for r in range(args.reps))/(B*N)
    rows = [rate_row(v, 'captions', encoder=None, places=P, channels=dims['feat_dim'], gflop_per_caption=gflop,
                     share_of_product_rate=share(v)) for v in vs]
    return rows, [dict(ratio(vs[0], v), places=P) for v in vs[1:]]

def main(argv=None):
    p = parser(__doc__, 5)
    p.add_argument('--archs', nargs='*', default=['mobilenet_v2', 'resnet101'], help='encoders (default: mobilenet_v2 resnet101)')
    p.add_argument('--size', type=int, default=224, help='side of the images (default: 224)')
    p.add_argument('--grid', type=int, nargs='*', default=[7], help='sides of the feature maps for the decoders alone (default: 7)')
    p.add_argument('--images', type=int, default=25, help='images a batch (default: 25)')
    p.add_argument('--caps', type=int, default=5, help='captions an image (default: 5)')
    args = start(p, argv, 5)
    dims = dict(feat_dim=1280, vocab_size=VOCAB, embed_dim=300, hidden_dim=512, attn_dim=512)
    if args.quick:
        dims = dict(feat_dim=24, vocab_size=60, embed_dim=12, hidden_dim=16, attn_dim=20)
        args.archs, args.size, args.images, args.grid = ['resnet18'], 64, 3, [2]
    caps = [draw_captions(args.images, args.caps, dims['vocab_size'], args.seed+i) for i in range(args.reps)]
    equal = agreement(dims, caps[0], args.grid[0]**2 if args.grid else 49, args.seed)
    print('ours and the textbook with equal weights differ by at most ' + ', '.join(f"{v:.0e} in {k}" for k,v in equal.items()))
    mm, full, alone, ratios = MatrixProduct(256 if args.quick else 2048), [], [], []
    for a in args.archs:
        print(f"{a}, {args.size} px")
        rows, more = full_steps(a, dims, caps, args, mm)
        full, ratios = full+rows, ratios+more
    for g in args.grid:
        print(f"decoder alone, {g}×{g}×{dims['feat_dim']}")
        rows, more = decoder_steps(g, dims, caps, args, mm)
        alone, ratios = alone+rows, ratios+more
    m, n = machine([mm]), args.images*args.caps
    result = dict(name='train_step', quick=args.quick, machine=m, settings=settings(args), sizes=dims, agreement=equal,
                  words_per_caption=statistics.mean(n_positions(c)/n - 1 for c in caps), rows=full+alone, ratios=ratios)
    print('\n' + show_machine(m))
    print(f"{args.images} images × {args.caps} captions a batch, {result['words_per_caption']:.1f} words a caption\n")
    stats = lambda r: [*(r['per_second'][k] for k in ('median', 'min', 'max'))]
    print(table([[r['encoder'], r['name'], *stats(r), r['unit'], r['encoder_gflop_per_caption']] for r in full],
                ('encoder', 'frozen stage', 'per second', 'min', 'max', 'of', 'encoder GFLOP/caption')) + '\n')
    print(table([[f"{r['places']} × {r['channels']}", r['name'], *stats(r), r['gflop_per_caption'],
                  *(f"{r['share_of_product_rate'][k]:.0%}" for k in ('median', 'min', 'max'))] for r in alone],
                ('features', 'decoder alone', 'captions/s', 'min', 'max', 'GFLOP/caption', 'of product rate', 'min', 'max')) + '\n')
    print(show_ratios([dict(r, fast=f"{r.get('encoder') or r['places']}: {r['fast']}") for r in ratios]) + '\n')
    save('train_step', args, result)
    return result

if __name__ == '__main__': main()
