"""A small real captioner that knows ten drawn scenes by construction, and a server with it."""
import os, socket, subprocess, sys, threading, time, urllib.request
from pathlib import Path
from random import Random

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.append(str(ROOT/'tests'))
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

TEXTS = ['a large red circle above one black square', 'two green triangles on the right',
         'a red square left of one large purple star', 'a large green square above one small red circle',
         'a yellow circle left of two red stars', 'three small red stars on the right',
         'a small green triangle left of one large black star', 'a yellow triangle over one purple star',
         'a large purple triangle above one small black square', 'a yellow square above one large green circle']

@pytest.fixture(scope='session')
def scenes(tmp_path_factory):
    "Tidy table of ten drawn scenes, each with one caption of its own"
    from imcap_fastai.shapes import shapes
    df = shapes(tmp_path_factory.mktemp('scenes'), n_train=8, n_valid=2, size=64)
    df['captions'] = [[text] for text in TEXTS]
    return df

@pytest.fixture(scope='session')
def learn(scenes, tmp_path_factory):
    from made import write_captions
    from fastai.vision.all import Resize, ResizeMethod, set_seed
    from imcap_fastai.data.block import CaptionDataLoaders
    from imcap_fastai.learner import caption_learner
    from imcap_fastai.shapes import random_scene
    set_seed(3)
    dls = CaptionDataLoaders.from_df(scenes, path=tmp_path_factory.mktemp('run'), bs=8, min_freq=1, num_workers=0,
                                     item_tfms=Resize(64, method=ResizeMethod.Squish), check=False)
    learn = caption_learner(dls, 'resnet18', 'sat', weights=None, cut=-2, attn_penalty=0,
                            decoder_kwargs=dict(embed_dim=32, hidden_dim=512, attn_dim=32))
    golden = learn.path/'golden.png'
    random_scene(Random(5)).draw(96).crop((8, 0, 96, 64)).save(golden)  # what an exported captioner is tested with
    return write_captions(learn, [*scenes['image'], golden], [*TEXTS, TEXTS[0]])

@pytest.fixture(scope='session')
def folder(learn, tmp_path_factory):
    from imcap_fastai.captioner import export_captioner
    return export_captioner(learn, tmp_path_factory.mktemp('export')/'captioner')

@pytest.fixture(scope='session')
def cap(folder):
    from imcap_fastai.captioner import load_captioner
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
