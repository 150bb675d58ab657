"""What the benchmarks share: captions of realistic lengths, interleaved timing, FLOP counts, table and JSON.

Times on a shared machine drift by tens of per cent within a minute. Therefore the things to be compared are run in turn
(A B C A B C …), every repetition of A is divided by the repetition of B beside it, and the median of those ratios is reported with
the smallest and the largest. A large matrix product is one of the things in the turn: the rate it reaches is the machine's speed
at that moment.
"""
from __future__ import annotations
import argparse, datetime, gc, json, os, platform, statistics, time
from pathlib import Path
import torch, torch.nn.functional as F
from torch import nn
from imcap_fastai.core import BOS_IDX, EOS_IDX, SPECIALS
from imcap_fastai.models.decoder import Packing
from imcap_fastai.models.encoder import create_encoder, n_stem

RESULTS = Path(__file__).parent/'results'
LOAD = getattr(os, 'getloadavg', lambda: (None,))()[0] # before we add to it
VOCAB = 2540 # Flickr8k's training captions at min_freq=5

# ---- captions

# Of 10,000 captions, how many have so many words (after punctuation is removed): the shape of Flickr8k's distribution.
LENGTHS = {1: 1, 2: 5, 3: 40, 4: 112, 5: 280, 6: 630, 7: 830, 8: 965, 9: 1095, 10: 1120, 11: 1040, 12: 925, 13: 780, 14: 630, 15: 450,
           16: 330, 17: 232, 18: 176, 19: 124, 20: 72, 21: 48, 22: 35, 23: 26, 24: 18, 25: 13, 26: 6, 27: 4, 28: 3, 29: 3, 30: 2,
           31: 1, 32: 1, 33: 1, 34: 1, 35: 1}

def draw_captions(n_img, n_caps, vocab_size, seed, max_words=None):
    "Token ids `(n_img, n_caps, T)`: lengths from `LENGTHS`, words by Zipf's law, each `xxbos … xxeos xxpad…`"
    gen = torch.Generator().manual_seed(seed)
    words, n = zip(*((w,n) for w,n in LENGTHS.items() if w <= (max_words or w)))
    lens = torch.tensor(words)[torch.multinomial(torch.tensor(n, dtype=torch.float), n_img*n_caps, True, generator=gen)]
    T, first = int(lens.max()) + 2, len(SPECIALS)
    zipf = 1 / torch.arange(1, vocab_size-first+1).float()
    caps = torch.multinomial(zipf, len(lens)*T, True, generator=gen).view(-1, T) + first
    pos = torch.arange(T)
    caps[:, 0] = BOS_IDX
    caps[pos == lens[:, None]+1] = EOS_IDX
    caps[pos > lens[:, None]+1] = 0
    return caps.view(n_img, n_caps, T)

def draw_feats(n, places, channels, seed):
    "Features `(n, places, channels)`, non-negative as behind a ReLU; images differ from each other more than places do"
    gen = torch.Generator().manual_seed(seed)
    return (torch.randn(n, 1, channels, generator=gen) + torch.randn(n, places, channels, generator=gen)/2).relu()

# ---- encoder

def random_encoder(arch, size, unfrozen=False):
    "`arch` with random weights and BatchNorm statistics of random images, frozen or trainable behind its stem"
    enc = create_encoder(arch, weights=None, bn_eval=True)
    norms = [m for m in enc.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for m in norms: m.momentum = None # plain average: without statistics the activations would double at each residual block
    enc.body.train()
    with torch.no_grad(): enc(torch.randn(4, 3, max(64, size//2), max(64, size//2)))
    if unfrozen:
        enc.stem = n_stem(enc.body)
        enc.body[:enc.stem].requires_grad_(False)
    else: enc.requires_grad_(False)
    return enc.train()

# ---- losses and FLOPs

def sat_loss(logits, cover, targets):
    "Cross-entropy over the real positions and the doubly stochastic attention penalty (λ=1)"
    return F.cross_entropy(logits, targets) + ((1 - cover)**2).mean()

def matmul_flops(positions, images, places, feat_dim, embed_dim, hidden_dim, attn_dim, vocab_size):
    """Floating-point operations in the products which the SAT decoder needs, once each, as `(forward, forward and backward)`.

    `positions` real next words in captions of `images` images. Once an image: keys `P·D·A` and the two initial states; their
    backward pass needs the weights' gradient only, since the features are given. A position: products of h with the query, gate and
    recurrent weights; of the word and of the gated context with theirs; the scores `P·A` and the context `P·D`; the vocabulary.
    Each again twice in the backward pass, but for the context: its values are given. A multiply-add is two operations. Pointwise
    work (the ReLU over `P·A` above all), dropout, softmax and the optimizer are not counted."""
    P, D, E, H, A, V = places, feat_dim, embed_dim, hidden_dim, attn_dim, vocab_size
    once = 2*(P*D*A + 2*D*H) * images
    context = 2*P*D * positions
    each = 2*(H*(A + D + 4*H) + E*4*H + D*4*H + P*A + H*V) * positions
    return once + context + each, 2*once + 2*context + 3*each

def conv_flops(encoder, size):
    "Floating-point operations of one forward pass of one image (convolutions and linear layers; a multiply-add is two)"
    total, hooks = [0], []
    def count(m, _, out): total[0] += 2*m.weight.numel()*out[0].numel()//(m.weight.shape[0])
    for m in encoder.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)): hooks.append(m.register_forward_hook(count))
    with torch.no_grad(): encoder(torch.zeros(1, 3, size, size))
    for h in hooks: h.remove()
    return total[0]

def adam(params, lr=4e-4): return torch.optim.Adam(params, lr=lr, betas=(0.8, 0.99))

def update(params, opt, clip=5.):
    "What follows `loss.backward()` in every loop here"
    nn.utils.clip_grad_norm_(params, clip)
    opt.step()
    opt.zero_grad(set_to_none=True)

# ---- timing

class Variant:
    "One of the things compared: `fn(r)` does repetition `r`, which is `units(r)` units of work"
    def __init__(self, name, fn, units, warm=None):
        self.name, self.fn, self.warm = name, fn, warm or (lambda: fn(0))
        self.units = units if callable(units) else lambda r: units
        self.seconds, self.rates = [], []

    @property
    def rate(self): return statistics.median(self.rates)

class MatrixProduct(Variant):
    "A large fp32 product; its units are GFLOP"
    def __init__(self, n=2048, times=3):
        a, b, out = torch.rand(n, n), torch.rand(n, n), torch.empty(n, n)
        def fn(r):
            for _ in range(times): torch.mm(a, b, out=out)
        super().__init__(f'matrix product {n}×{n}×{n}', fn, 2*n**3*times/1e9)

def measure(variants, reps, say=print):
    "Warm up each, then run them in turn `reps` times"
    for v in variants: v.warm()
    collecting = gc.isenabled()
    gc.disable() # not in the middle of one of them; between repetitions instead
    try:
        for r in range(reps):
            gc.collect()
            for v in variants:
                start = time.perf_counter()
                v.fn(r)
                v.seconds.append(time.perf_counter() - start)
                v.rates.append(v.units(r)/v.seconds[-1])
            say(f"  repetition {r+1}/{reps}: " + ', '.join(f"{v.seconds[-1]:.2f} s" for v in variants))
    finally:
        if collecting: gc.enable()
    return variants

def spread(xs):
    "Median, smallest and largest"
    return dict(median=statistics.median(xs), min=min(xs), max=max(xs))

def ratio(a, b):
    "How many times faster `a` is than `b`, repetition by repetition"
    return dict(fast=a.name, slow=b.name, **spread([x/y for x,y in zip(a.rates, b.rates)]))

# ---- machine, table, JSON

def cpu_name():
    try: lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError: return platform.processor()
    return next((o.split(':', 1)[1].strip() for o in lines if o.startswith('model name')), platform.processor())

def machine(products):
    "Description of the machine, with the rate of the `MatrixProduct`s timed in this run"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    rates = [r for p in products for r in p.rates]
    return dict(cpu=cpu_name(), cores=cores, threads=torch.get_num_threads(), system=platform.system(), arch=platform.machine(),
                python=platform.python_version(), torch=torch.__version__, load=LOAD,
                date=datetime.date.today().isoformat(), product=products[0].name,
                product_gflops=dict(spread(rates), n=len(rates)))

def fmt(x):
    if isinstance(x, float): return f"{x:.3f}" if abs(x) < 1 else f"{x:.2f}" if abs(x) < 10 else f"{x:.1f}" if abs(x) < 1000 else f"{x:.0f}"
    return '' if x is None else str(x)

def table(rows, heads):
    "Aligned text; `rows` are lists as long as `heads`, numbers to the right"
    cells = [list(heads)] + [[fmt(x) for x in r] for r in rows]
    wide = [max(len(r[i]) for r in cells) for i in range(len(heads))]
    left = [not rows or isinstance(rows[0][i], str) for i in range(len(heads))]
    line = lambda r: '  '.join(x.ljust(w) if l else x.rjust(w) for x,w,l in zip(r, wide, left)).rstrip()
    return '\n'.join([line(cells[0]), '  '.join('-'*w for w in wide), *map(line, cells[1:])])

def show_ratios(ratios):
    "The ratios as a table"
    rows = [[f"{r['fast']}  :  {r['slow']}", r['median'], r['min'], r['max']] for r in ratios]
    return table(rows, ('times faster', 'median', 'min', 'max'))

def show_machine(m):
    p = m['product_gflops']
    return (f"{m['cpu']}, {m['cores']} cores, torch {m['torch']}, {m['threads']} threads; {m['product']}: {p['median']:.0f} GFLOP/s "
            f"({p['min']:.0f} to {p['max']:.0f}, {p['n']} times)")

def rate_row(v, unit, **more):
    return dict(name=v.name, unit=unit, per_second=spread(v.rates), seconds=spread(v.seconds), **more)

def parser(doc, reps):
    "Options that every benchmark has"
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--quick', action='store_true', help='tiny sizes: a smoke test, its times mean nothing')
    p.add_argument('--reps', type=int, help=f'repetitions of each thing timed (default: {reps}; 2 if --quick)')
    p.add_argument('--threads', type=int, help='threads of torch (default: as torch finds)')
    p.add_argument('--seed', type=int, default=0, help='of captions, features and weights (default: 0)')
    p.add_argument('--out', type=Path, help='JSON file (default: benchmarks/results/NAME.json; none if --quick)')
    return p

def start(p, argv, reps):
    "Read the options and seed everything"
    args = p.parse_args(argv)
    args.reps = args.reps or (2 if args.quick else reps)
    if args.threads: torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    return args

def save(name, args, result):
    "Write the JSON"
    out = args.out or (None if args.quick else RESULTS/f'{name}.json')
    if out is None: print('--quick without --out: nothing written'); return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    print(f'written: {out.name}')

def settings(args): return {k:v for k,v in vars(args).items() if k != 'out'}

def n_positions(caps): return len(Packing(caps))
