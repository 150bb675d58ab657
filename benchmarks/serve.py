"""The web app under load: images/s and latency at 1, 8 and 32 clients, images captioned together against one at a time.

Two servers, each in a process of its own (`python -m web_app`), with `--max-batch 8` and `--max-batch 1`; in turn, round by round, each is asked by
so many clients at once, every client one request after another (JPEG upload, beam 3). Before anything is timed, every image must get the same caption
from both servers and from the library. Then the model alone, without HTTP: batches of 1 and 8, as it is and in the variants that this environment can
build (`torch.compile`; int8 weights of the decoder's linear layers; ONNX Runtime for the encoder, if it is installed). Last, for each encoder, the
seconds from the command to the first `ready`, and the resident memory then.

The captioner has random weights; its decoder is made to end captions as in `beam.py`.
"""
from __future__ import annotations
import http.client, io, json, re, socket, statistics, subprocess, sys, tempfile, threading, time, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, pandas as pd, torch
from fastai.vision.all import Resize, ResizeMethod
from PIL import Image
from imcap_fastai.data.block import CaptionDataLoaders
from imcap_fastai.captioner import export_captioner, load_captioner
from imcap_fastai.learner import caption_learner
from imcap_fastai.models.encoder import n_stem
from .beam import ending_decoder
from .common import (MatrixProduct, Variant, machine, measure, parser, random_encoder, rate_row, ratio, save, settings, show_machine, show_ratios,
                     spread, start, table)

ROOT = Path(__file__).resolve().parents[1]

# ---- something to serve

def photos(n, seed):
    "JPEG files of 500×375 pixels: smooth noise, which costs about as much to decode as a photograph"
    rng, out = np.random.default_rng(seed), []
    for _ in range(n):
        small = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
        f = io.BytesIO(); small.save(f, 'JPEG', quality=90)
        out.append(f.getvalue())
    return out

def export(arch, jpegs, folder, size, dims, words=2536):
    "A captioner with encoder `arch` and a decoder that ends its captions"
    files = [folder/f'{i}.jpg' for i in range(2)]
    for f,b in zip(files, jpegs): f.write_bytes(b)
    df = pd.DataFrame(dict(image=list(map(str, files)), captions=[[' '.join(f'w{i}' for i in range(words))]]*2, split=['train', 'valid']))
    dls = CaptionDataLoaders.from_df(df, path=folder, bs=2, min_freq=1, item_tfms=Resize(size, method=ResizeMethod.Squish), num_workers=0, check=False)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn = caption_learner(dls, arch, 'sat', weights=None, decoder_kwargs=dims)
    enc = random_encoder(arch, size)
    learn.model.encoder.load_state_dict(enc.state_dict())
    learn.model.encoder.stem = n_stem(enc.body)
    x = torch.stack([learn.captioner.prepare(b) for b in jpegs]).float()/255 - .45
    with torch.no_grad(): feats = learn.model.encoder.eval()(x.as_subclass(torch.Tensor)/.225)
    learn.model.decoder.load_state_dict(ending_decoder(dict(feat_dim=feats.shape[-1], vocab_size=len(learn.num.vocab), **dims), feats, 0).state_dict())
    return export_captioner(learn, folder/arch)

# ---- the server

class Server:
    "`python -m web_app` in a process of its own"
    def __init__(self, folder, *args):
        with socket.socket() as s: s.bind(('127.0.0.1', 0)); self.port = s.getsockname()[1]
        begin = time.perf_counter()
        self.process = subprocess.Popen([sys.executable, '-m', 'web_app', str(folder), '--port', str(self.port), '--queue-size', '256', *args], cwd=ROOT,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while True:
            try:
                if self.get('/readyz') == 200: break
            except OSError:
                if self.process.poll() is not None: raise RuntimeError(self.process.stderr.read()) from None
            time.sleep(.05)
        self.seconds = time.perf_counter() - begin

    def get(self, path):
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=5)
        try: c.request('GET', path); return c.getresponse().status
        finally: c.close()

    @property
    def resident(self): # MB
        try: return int(re.search(r'VmRSS:\s+(\d+)', Path(f'/proc/{self.process.pid}/status').read_text())[1])/1024
        except FileNotFoundError: return None

    def stop(self): self.process.terminate(); self.process.communicate(timeout=60)

def body(jpeg): # multipart, as a browser sends it
    return b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\nContent-Type: image/jpeg\r\n\r\n' + jpeg + b'\r\n--b--\r\n'

def ask(port, bodies, clients):
    "All `bodies`, from so many clients; -> captions, seconds of each, seconds in all"
    todo, lock, out = iter(range(len(bodies))), threading.Lock(), [None]*len(bodies)
    def client():
        c = http.client.HTTPConnection('127.0.0.1', port, timeout=120)
        while True:
            with lock: i = next(todo, None)
            if i is None: return c.close()
            begin = time.perf_counter()
            c.request('POST', '/caption', bodies[i], {'Content-Type': 'multipart/form-data; boundary=b'})
            r = c.getresponse(); text = r.read()
            assert r.status == 200, text
            out[i] = json.loads(text)['caption'], time.perf_counter() - begin
    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as ex:
        for f in [ex.submit(client) for _ in range(clients)]: f.result()
    return [c for c,_ in out], [s for _,s in out], time.perf_counter() - begin

def load(servers, bodies, counts, args):
    "Rows of throughput and latency, and their ratios"
    rows, ratios = [], []
    for clients in counts:
        n = args.requests if clients > 1 else max(args.requests//4, 8)
        got = {k: dict(rates=[], seconds=[]) for k in servers}
        for s in servers.values(): ask(s.port, bodies[:clients], clients)
        for _ in range(args.reps):
            for k,s in servers.items():
                _, each, total = ask(s.port, [bodies[i % len(bodies)] for i in range(n)], clients)
                got[k]['rates'].append(n/total); got[k]['seconds'] += each
        for k,g in got.items():
            q = np.quantile(g['seconds'], (.5, .95))
            rows.append(dict(name=k, clients=clients, requests=n*args.reps, unit='images', per_second=spread(g['rates']), seconds=spread(g['seconds']),
                             p50_ms=1000*q[0], p95_ms=1000*q[1]))
        a, b = got.values()
        ratios.append(dict(fast=list(got)[0], slow=list(got)[1], clients=clients, **spread([x/y for x,y in zip(a['rates'], b['rates'])])))
        print(f"  {clients} clients: " + ', '.join(f"{k} {statistics.median(g['rates']):.1f} images/s" for k,g in got.items()))
    return rows, ratios

# ---- the model alone

def int8_linear(module):
    "A copy with int8 weights in its linear layers, or None where PyTorch has no such thing"
    import copy
    try: from torch.ao.quantization import quantize_dynamic
    except ImportError: return None
    try: return quantize_dynamic(copy.deepcopy(module), {torch.nn.Linear}, dtype=torch.qint8)
    except (RuntimeError, AttributeError, NotImplementedError): return None

def onnx_encoder(enc, size):
    "The encoder in ONNX Runtime, or None if that is not installed"
    try: import onnxruntime as ort; import onnxscript # noqa: F401, torch's exporter needs it
    except ImportError: return None
    f = io.BytesIO()
    torch.onnx.export(enc.body, (torch.zeros(2, 3, size, size),), f, dynamic_shapes=({0: torch.export.Dim('n')},), dynamo=True)
    run = ort.InferenceSession(f.getvalue(), providers=['CPUExecutionProvider'])
    name = run.get_inputs()[0].name
    return lambda x: torch.from_numpy(run.run(None, {name: x.as_subclass(torch.Tensor).numpy()})[0])

def alone(cap, jpegs, batch, args, mm, size):
    "Rows of `caption_each` on prepared images, with parts of the model exchanged"
    images, model = [cap.prepare(jpegs[i % len(jpegs)]) for i in range(batch)], cap.model
    def run(body=None, decoder=None):
        was = model.encoder.body, model.decoder
        if body is not None: model.encoder.body = body
        if decoder is not None: model.decoder = decoder
        try: return [c.text for c in cap.caption_each(images, [dict(beam_size=3)]*batch)]
        finally: model.encoder.body, model.decoder = was
    class Wrap(torch.nn.Module):
        def __init__(self, f): super().__init__(); self.f = f
        def forward(self, x): return self.f(x)
    parts = {'as it is': {}}
    if not args.quick: parts['torch.compile, encoder'] = dict(body=torch.compile(model.encoder.body))
    if (d := int8_linear(model.decoder)) is not None: parts['int8 linear layers, decoder'] = dict(decoder=d)
    if (o := onnx_encoder(model.encoder, size)) is not None: parts['ONNX Runtime, encoder'] = dict(body=Wrap(o))
    want, vs, same = run(), [], {}
    for k,p in parts.items():
        try: same[k] = sum(a == b for a,b in zip(run(**p), want))/batch
        except Exception as e: print(f'  {k}: does not run here ({type(e).__name__})'); continue
        vs.append(Variant(k, lambda r, p=p: run(**p), batch))
    measure([mm, *vs], args.reps)
    return [rate_row(v, 'images', batch=batch, same_captions=same[v.name]) for v in vs], [dict(ratio(v, vs[0]), batch=batch) for v in vs[1:]]

def main(argv=None):
    p = parser(__doc__, 3)
    p.add_argument('--archs', nargs='+', default=['mobilenet_v2', 'resnet101'], help='encoders; the first one takes the load (default: mobilenet_v2 resnet101)')
    p.add_argument('--size', type=int, default=224, help='side of the images (default: 224)')
    p.add_argument('--clients', type=int, nargs='+', default=[1, 8, 32], help='at once (default: 1 8 32)')
    p.add_argument('--requests', type=int, default=96, help='a repetition, a quarter of it for one client (default: 96)')
    args = start(p, argv, 3)
    dims = dict(embed_dim=300, hidden_dim=512, attn_dim=512)
    if args.quick: dims, args.archs, args.size, args.requests, args.clients = dict(embed_dim=12, hidden_dim=16, attn_dim=20), ['resnet18'], 64, 8, [1, 4]
    jpegs, mm, rows, ratios, started = photos(16, args.seed), MatrixProduct(256 if args.quick else 2048), [], [], []
    with tempfile.TemporaryDirectory() as tmp:
        folders = [export(a, jpegs, Path(tmp), args.size, dims) for a in args.archs]
        cap = load_captioner(folders[0])
        print('the model alone')
        for b in (1, 8):
            more, r = alone(cap, jpegs, b, args, mm, args.size)
            rows, ratios = rows + more, ratios + r
        print('servers')
        servers = {}
        try:
            servers = {'up to 8 together': Server(folders[0], '--max-batch', '8'), 'one at a time': Server(folders[0], '--max-batch', '1')}
            bodies = [body(j) for j in jpegs]
            want = [cap.caption(j).text for j in jpegs]
            for s in servers.values(): assert ask(s.port, bodies, 4)[0] == want, 'the captions differ'
            more, r = load(servers, bodies, args.clients, args)
            rows, ratios = more + rows, r + ratios
        finally:
            for s in servers.values(): s.stop()
        for a,f in zip(args.archs[:1 if args.quick else None], folders):
            times = []
            for _ in range(1 if args.quick else args.reps): s = Server(f); times.append(s.seconds); mb = s.resident; s.stop()
            started.append(dict(encoder=a, seconds=spread(times), resident_mb=mb))
    m = machine([mm])
    agreement = dict(captions='the same from both servers and the library', images=len(jpegs), different=len(set(want)))
    result = dict(name='serve', quick=args.quick, machine=m, settings=settings(args), sizes=dims, agreement=agreement, rows=rows, ratios=ratios, start=started,
                  words_per_caption=statistics.mean(len(w.split()) for w in want))
    print('\n' + show_machine(m) + f"\n{result['words_per_caption']:.1f} words a caption, beam 3\n")
    stats = lambda r: [r['per_second'][k] for k in ('median', 'min', 'max')]
    print(table([[r['name'], r['clients'], *stats(r), r['p50_ms'], r['p95_ms']] for r in rows if 'clients' in r],
                ('server', 'clients', 'images/s', 'min', 'max', 'p50 ms', 'p95 ms')) + '\n')
    print(table([[r['name'], r['batch'], *stats(r), f"{r['same_captions']:.0%}"] for r in rows if 'batch' in r],
                ('the model alone', 'batch', 'images/s', 'min', 'max', 'same captions')) + '\n')
    print(show_ratios([dict(r, fast=f"{r.get('clients') or r['batch']} {'clients' if 'clients' in r else 'images'}: {r['fast']}") for r in ratios]) + '\n')
    print(table([[s['encoder'], s['seconds']['median'], s['seconds']['max'], s['resident_mb']] for s in started],
                ('start', 'seconds', 'max', 'resident MB')) + '\n')
    save('serve', args, result)
    return result

if __name__ == '__main__': main()
