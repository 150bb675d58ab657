"""A small real captioner, trained by heart on eight drawn scenes, and a server with it."""
import io, os, socket, subprocess, sys, threading, time, urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

@pytest.fixture(scope='session')
def scenes(tmp_path_factory):
    "Tidy table of eight drawn scenes to learn and two others"
    from imcap_fastai.shapes import shapes
    df = shapes(tmp_path_factory.mktemp('scenes'), n_train=8, n_valid=2, size=64)
    df['captions'] = [c[:1] for c in df['captions']]
    return df

@pytest.fixture(scope='session')
def learn(scenes, tmp_path_factory):
    from fastai.vision.all import Resize, ResizeMethod, set_seed
    from imcap_fastai.data.block import CaptionDataLoaders
    from imcap_fastai.learner import caption_learner
    set_seed(3)
    dls = CaptionDataLoaders.from_df(scenes, path=tmp_path_factory.mktemp('run'), bs=8, min_freq=1, item_tfms=Resize(64, method=ResizeMethod.Squish),
                                     num_workers=0, check=False)
    learn = caption_learner(dls, 'resnet18', 'sat', weights=None, cut=-2, attn_penalty=0, decoder_kwargs=dict(embed_dim=32, hidden_dim=64, attn_dim=32))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(60, 3e-3)
    return learn

@pytest.fixture(scope='session')
def folder(learn, tmp_path_factory):
    from imcap_fastai.inference import export_captioner
    return export_captioner(learn, tmp_path_factory.mktemp('export')/'captioner')

@pytest.fixture(scope='session')
def cap(folder):
    from imcap_fastai.inference import load_captioner
    return load_captioner(folder)

@pytest.fixture(scope='session')
def images(scenes): return [Path(f).read_bytes() for f in scenes['image']]

@pytest.fixture(scope='session')
def scene_png(images): return images[0]

@pytest.fixture(scope='session')
def serve(cap):
    "Start servers in this process: `serve(max_batch=1, …)` -> base URL, application"
    import uvicorn
    from web_app.app import create_app
    from web_app.settings import Settings
    running = []
    def start(**kwargs):
        app = create_app(cap, Settings(model='captioner', **kwargs))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level='critical', server_header=False, http='h11', proxy_headers=False))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started: time.sleep(.02); assert thread.is_alive()
        running.append((server, thread))
        return f'http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}', app
    yield start
    for s,_ in running: s.should_exit = True
    for _,t in running: t.join(20)

@pytest.fixture(scope='session')
def server(serve): return serve()[0]

@pytest.fixture
def process(folder):
    "Start servers as users do, each in a process of its own: `process('--port', …)` -> (process, base URL); the log is `process.log`"
    started = []
    def start(*args, model=folder, wait=True):
        with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
        p = subprocess.Popen([sys.executable, '-m', 'web_app', str(model), '--port', str(port), *args], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        started.append(p)
        url, end = f'http://127.0.0.1:{port}', time.time() + 120
        while wait:
            try: urllib.request.urlopen(f'{url}/readyz').close(); break
            except OSError:
                assert p.poll() is None and time.time() < end, p.communicate(timeout=10)[0]
                time.sleep(.1)
        return p, url
    yield start
    for p in started:
        if p.poll() is None: p.kill()
        p.communicate()

def encoded(img, fmt='PNG', **kwargs): # A PIL image -> bytes
    out = io.BytesIO(); img.save(out, fmt, **kwargs)
    return out.getvalue()
