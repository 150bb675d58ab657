"""The API: its answers are the library's to the letter, and every mistake of a client is one clear error."""
import hashlib, http.client, io, json, math, socket, sys, threading, time
from concurrent.futures import ThreadPoolExecutor

import httpx, numpy as np, pytest, torch
from PIL import Image

from made import encoded

@pytest.fixture(scope='module')
def client(server):
    with httpx.Client(base_url=server, timeout=60) as c: yield c

def post(client, data, path='/caption', name='file', headers=None, **fields):
    return client.post(path, files={name: ('x', data, 'image/png')}, data={k: str(v).lower() for k,v in fields.items()}, headers=headers)

def error(res): return res.status_code, res.json()['error']['code']

# ---- answers

def test_same_as_the_library(client, cap, images):
    for img in images:
        want, got = cap.caption(img, beam_size=4, n_best=3), post(client, img, beam_size=4, n_best=3).json()
        assert got['caption'] == want.text and [o['caption'] for o in got['n_best']] == [o.text for o in want.n_best]
        assert got['log_prob'] == pytest.approx(want.log_prob, abs=1e-4)
        assert [w['word'] for w in got['words']] == want.words
        assert [w['prob'] for w in got['words']] + [got['end_prob']]*want.finished == pytest.approx(want.probs, abs=1e-4)
        assert got['model'] == cap.signature

def test_the_captioner_of_these_tests(cap, images, scenes):
    "Every image has a caption of its own, or confusing two images would not show; and rounding does not decide which"
    def ranked():
        return [[c.text for c in cap.caption(image, beam_size=k).n_best] for image in images for k in (1, 3, 4)]
    want = [captions[0] for captions in scenes['captions']]
    assert len(set(want)) == 10 and [cap.caption(image).text for image in images] == want
    model, before = cap.model, ranked()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    noise = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            for p in model.parameters():  # ten times as much as 32 bits round
                p.mul_(1 + 1e-6*torch.randn(p.shape, generator=noise))
        assert ranked() == before
    finally:
        model.load_state_dict(weights)

def test_exported_defaults_hold(client, cap, images):
    got = post(client, images[0]).json()
    assert got['caption'] == cap.caption(images[0]).text and len(got['n_best']) == 1
    assert all(w['attention'] is None for w in got['words'])

def test_attention(client, cap, images):
    got, want = post(client, images[1], attention=True).json(), cap.caption(images[1])
    maps = np.array([w['attention'] for w in got['words']])
    assert maps.shape == want.attention[:len(want.words)].shape and np.allclose(maps, want.attention[:len(want.words)].numpy(), atol=1e-3)
    assert got['view'] == pytest.approx([0, 0, 1, 1], abs=.02)
    width, height = got['image']['width'], got['image']['height']
    assert got['map_view'] == pytest.approx(cap.view(width, height).map) and got['map_view'][0] < -.01 # of a ResNet

def test_several(client, cap, images):
    files = [('files', ('x', b, 'image/png')) for b in (images[0], b'no image', images[2])]
    res = client.post('/captions', files=files, data={'beam_size': 2}).json()['results']
    assert [r.get('caption') for r in res] == [cap.caption(images[0], beam_size=2).text, None, cap.caption(images[2], beam_size=2).text]
    assert res[1]['error']['code'] == 'not_an_image'
    assert error(client.post('/captions', files=[('files', ('x', images[0], 'image/png'))]*17))[0] == 400 # more than max_files

def test_upright(client, cap, images):
    "A photograph on its side is captioned upright, and its size is that which people see"
    img = Image.open(io.BytesIO(images[0])).convert('RGB').resize((64, 48))
    exif = Image.Exif(); exif[0x0112] = 6
    for fmt in ('JPEG', 'PNG', 'WEBP', 'TIFF'):
        got = post(client, encoded(img.transpose(Image.Transpose.ROTATE_90), fmt, exif=exif.tobytes() if fmt != 'TIFF' else exif)).json()
        assert got['image'] == {'width': 64, 'height': 48}, fmt

@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16', 'I', 'F', 'YCbCr'])
def test_modes(client, images, mode):
    img = Image.open(io.BytesIO(images[0])).convert('L' if mode in ('I;16', 'I', 'F', 'LA') else 'RGB')
    img = Image.fromarray(np.asarray(img).astype(np.uint16)*257) if mode == 'I;16' else img.convert(mode)
    fmt = dict(CMYK='JPEG', YCbCr='JPEG', F='TIFF', I='TIFF').get(mode, 'PNG')
    assert post(client, encoded(img, fmt)).status_code == 200

@pytest.mark.parametrize('fmt', ['JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF'])
def test_formats(client, images, fmt):
    img = Image.open(io.BytesIO(images[0])).convert('RGB')
    more = dict(save_all=True, append_images=[Image.new('RGB', img.size)]*3) if fmt in ('GIF', 'WEBP', 'TIFF') else {} # animated: the first frame
    res = post(client, encoded(img, fmt, **more))
    assert res.status_code == 200 and res.json()['image'] == {'width': 64, 'height': 64}

# ---- what is refused

def png_of(width, height): # A PNG that says it is this large, and holds next to nothing
    import struct, zlib
    chunk = lambda t, b: struct.pack('>I', len(b)) + t + b + struct.pack('>I', zlib.crc32(t + b))
    header, data = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0), zlib.compress(b'\0'*1000)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', data) + chunk(b'IEND', b'')

def tiff_of(side, tile): # A grey TIFF so large, in tiles of that size
    import struct, zlib
    data = zlib.compress(bytes(1000))
    tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: 8 + 2 + 12*10 + 4, 325: len(data)}
    return b'II*\0' + struct.pack('<IH', 8, len(tags)) + b''.join(struct.pack('<HHII', t, 4, 1, v) for t,v in tags.items()) + bytes(4) + data

def test_hostile_files(client, images):
    jpeg = encoded(Image.open(io.BytesIO(images[0])).convert('RGB').resize((300, 300)), 'JPEG')
    for data,want in ((b'', (422, 'empty_file')), (b'<svg xmlns="http://www.w3.org/2000/svg"/>', (415, 'not_an_image')),
                      (b'%PDF-1.7', (415, 'not_an_image')),
                      (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', (415, 'not_an_image')), (b'P6 2 2 255 ' + bytes(12), (415, 'not_an_image')),
                      (jpeg[:len(jpeg)//2], (422, 'broken_image')),
                      (png_of(9000, 9000), (422, 'too_many_pixels')), (png_of(60000, 60000), (422, 'too_many_pixels')),
                      (png_of(2000, 2000), (422, 'broken_image')), (b'\xff\xd8\xff\xe0', (415, 'not_an_image'))):
        assert error(post(client, data)) == want, data[:20]
    assert post(client, jpeg + b'<script>alert(1)</script>PK\3\4').status_code == 200 # what hangs on behind is not looked at

def test_bombs(client, images):
    "Small files that would take minutes or gigabytes to decode are refused before"
    img = Image.open(io.BytesIO(images[0])).convert('L').resize((400, 400))
    jpeg = encoded(img, 'JPEG', progressive=True)
    last = jpeg.rindex(b'\xff\xda')
    scans = jpeg[:-2] + jpeg[last:-2]*300 + jpeg[-2:]                   # the last scan again and again
    assert post(client, jpeg).status_code == 200 and error(post(client, scans)) == (422, 'broken_image')
    assert error(post(client, tiff_of(16, tile=16384))) == (422, 'too_many_pixels')
    assert error(post(client, png_of(60000, 60000))) == (422, 'too_many_pixels')

def test_hostile_requests(client, images, server):
    assert error(client.post('/caption')) == (415, 'not_multipart')
    assert error(client.post('/caption', content=b'{}', headers={'content-type': 'application/json'})) == (415, 'not_multipart')
    assert error(client.post('/caption', content=b'xx', headers={'content-type': 'multipart/form-data'}))[0] == 400 # no boundary
    for charset in ('undefined', 'punycode', 'utf-7'):
        part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n1\r\n'
        body = part % (b'file', b'; filename="x"') + part % (b'n_best', b'') + b'--b--\r\n'
        res = client.post('/caption', content=body, headers={'content-type': f'multipart/form-data; boundary=b; charset={charset}'})
        assert res.status_code in (400, 415)
    assert error(client.request('MADEUP', '/caption')) == (405, 'method_not_allowed') and 'MADEUP' not in client.get('/metrics').text
    assert error(client.post('/caption', files={'other': ('x', images[0])})) == (422, 'no_file')
    assert error(client.post('/caption', data={'file': 'text'}, files={'none': ('', b'')}))[0] == 422
    assert error(client.post('/caption', files=[('file', ('x', images[0]))]*2))[0] == 400
    for fields in (dict(beam_size=0), dict(beam_size=11), dict(beam_size='three'), dict(n_best=0), dict(attention='perhaps')):
        assert error(post(client, images[0], **fields)) == (422, 'bad_option')
    assert error(post(client, images[0], max_len=3)) == (422, 'unknown_field')
    assert error(post(client, images[0], beam_size='1'*2000))[0] == 400
    assert error(client.post('/caption', data={str(i): '1' for i in range(20)}, files={'file': ('x', images[0])}))[0] == 400
    for name in ('../../etc/passwd', 'C:\\x.png', 'a\x01b\r\n.png', 'ü'*500):
        assert client.post('/caption', files={'file': (name, images[0], 'text/html')}).status_code == 200

def test_too_large(serve, images):
    url, _ = serve(max_bytes=20_000)
    with httpx.Client(base_url=url) as c:
        big = images[0] + bytes(30_000)
        assert error(post(c, big)) == (413, 'too_large')
        def chunks(): # a length that is not said beforehand
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
            for _ in range(50): yield bytes(1000)
            yield b'\r\n--b--\r\n'
        assert error(c.post('/caption', content=chunks(), headers={'content-type': 'multipart/form-data; boundary=b'})) == (413, 'too_large')
        assert post(c, images[0]).status_code == 200

def test_slow_upload(serve):
    url, _ = serve(upload_timeout=.3)
    def drip():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        for _ in range(20): time.sleep(.1); yield b'x'
    with httpx.Client(base_url=url) as c:
        try: res = c.post('/caption', content=drip(), headers={'content-type': 'multipart/form-data; boundary=b'})
        except httpx.TransportError: return # the server hung up
        assert error(res) == (408, 'upload_timeout')

def test_key_and_rate(serve, images):
    url, _ = serve(api_key='söcret', rate_limit='5/minute') # guesses of the key count
    with httpx.Client(base_url=url) as c:
        assert error(post(c, images[0])) == (401, 'key_required') and error(post(c, images[0], headers={'X-API-Key': 'no'})) == (401, 'wrong_key')
        key = {'X-API-Key': 'söcret'.encode()}
        assert [post(c, images[0], headers=key).status_code for _ in range(3)] == [200]*3
        res = post(c, images[0], headers={**key, 'X-Forwarded-For': '1.2.3.4'}) # which is not believed
        assert error(res) == (429, 'too_many_requests') and 0 < int(res.headers['retry-after']) <= 60
        assert c.get('/info').json()['key_required'] and c.get('/healthz').status_code == 200

# ---- many at once

def test_together_as_alone(serve, cap, images):
    "A thousand requests, 32 at a time, each with its own wishes"
    url, app = serve(max_batch=8, queue_size=64)
    asked = [(i % len(images), 1 + i % 3) for i in range(1000)]
    want = {a: cap.caption(images[a[0]], beam_size=a[1]) for a in set(asked)}
    with httpx.Client(base_url=url, timeout=120, limits=httpx.Limits(max_connections=32)) as c, ThreadPoolExecutor(32) as ex:
        res = list(ex.map(lambda a: post(c, images[a[0]], beam_size=a[1]), asked))
        assert {r.status_code for r in res} == {200}
        assert [r.json()['caption'] for r in res] == [want[a].text for a in asked]
        assert all(abs(r.json()['log_prob'] - want[a].log_prob) < 1e-3 for r,a in zip(res, asked))

def test_collected_while_busy(serve, images):
    "What comes while the model is at work is captioned together"
    url, app = serve(max_batch=8)
    with httpx.Client(base_url=url, timeout=60) as c, ThreadPoolExecutor(8) as ex, Slow(app) as slow:
        first = ex.submit(post, c, images[0])
        slow.began.wait(20)
        others = [ex.submit(post, c, image) for image in images[1:6]]
        while app.state.service.batcher.queue.qsize() < 5:
            time.sleep(.01)
        slow.go.set()
        assert [job.result().status_code for job in (first, *others)] == [200]*6
        text = c.get('/metrics').text
    metric = lambda name: float(next(o for o in text.splitlines() if o.startswith(name)).split()[-1])
    assert (metric('imcap_batch_images_bucket{le="1.0"}'), metric('imcap_batch_images_count')) == (1, 2)

class Slow:
    "Hold the model until told"
    def __init__(self, app): self.service, self.go, self.began, self.n = app.state.service, threading.Event(), threading.Event(), 0
    def __enter__(self):
        self.was = self.service.batcher.answer
        def answer(*args): self.n += len(args[0]); self.began.set(); self.go.wait(20); return self.was(*args)
        self.service.batcher.answer = answer
        return self
    def __exit__(self, *args): self.go.set(); self.service.batcher.answer = self.was

def test_full_queue(serve, images):
    url, app = serve(max_batch=1, queue_size=3, max_files=3)
    with httpx.Client(base_url=url, timeout=60) as c, ThreadPoolExecutor(8) as ex, Slow(app) as slow:
        first = ex.submit(post, c, images[0]); slow.began.wait(10)
        waiting = [ex.submit(post, c, i) for i in images[1:3]]
        while app.state.service.free: time.sleep(.01)
        res = post(c, images[3])
        assert error(res) == (503, 'busy') and res.headers['retry-after'] == '1'
        assert error(c.get('/readyz')) == (503, 'busy') and c.get('/healthz').status_code == 200
        slow.go.set()
        assert [f.result().status_code for f in (first, *waiting)] == [200]*3
        assert c.get('/readyz').status_code == 200 and app.state.service.free == 3
        many = c.post('/captions', files=[('files', ('x', i)) for i in images[:3]])
        assert [r['caption'] for r in many.json()['results']] == [r.json()['caption'] for r in (f.result() for f in (first, *waiting))]

def test_timeout_and_cancelled(serve, images, cap):
    url, app = serve(max_batch=4, request_timeout=1)
    with httpx.Client(base_url=url, timeout=60) as c, ThreadPoolExecutor(8) as ex, Slow(app) as slow:
        late = ex.submit(post, c, images[0]); slow.began.wait(10)
        with pytest.raises(httpx.ReadTimeout): # this client gives up
            httpx.post(f'{url}/caption', files={'file': images[1]}, timeout=httpx.Timeout(60, read=.3))
        assert error(late.result()) == (504, 'timeout')
        while app.state.service.taken: time.sleep(.01)
        app.state.service.settings.request_timeout = 60 # for what comes now a slow machine may take its time
        slow.go.set()
        assert post(c, images[2]).json()['caption'] == cap.caption(images[2]).text
        assert slow.n == 2 # the one that gave up was never computed
    assert app.state.service.taken == 0

def test_admission_counts_decoding(serve, images, monkeypatch):
    "Images that are still being decoded count, and their time counts"
    from web_app import app as module
    go = threading.Event(); real = module.decode
    def slow(data, settings): go.wait(60); return real(data, settings)
    monkeypatch.setattr(module, 'decode', slow)
    url, app = serve(queue_size=2, max_files=1, request_timeout=3)
    with httpx.Client(base_url=url, timeout=60) as c, ThreadPoolExecutor(8) as ex:
        jobs = [ex.submit(post, c, images[0]) for _ in range(2)]
        while app.state.service.free: time.sleep(.01)
        assert error(post(c, images[1])) == (503, 'busy') and error(c.get('/readyz')) == (503, 'busy')
        assert [error(j.result()) for j in jobs] == [(504, 'timeout')]*2
        app.state.service.settings.request_timeout = 60 # for what comes now a slow machine may take its time
        go.set()
        assert post(c, images[1]).status_code == 200

def test_one_fault_fails_alone(serve, images, monkeypatch, cap):
    url, app = serve(max_batch=8)
    real = app.state.service.batcher.answer
    def picky(imgs, opts):
        if any(o['beam_size'] == 7 for o in opts): raise RuntimeError('not seven')
        return real(imgs, opts)
    app.state.service.batcher.answer = picky
    with httpx.Client(base_url=url, timeout=60) as c, ThreadPoolExecutor(8) as ex:
        res = list(ex.map(lambda k: post(c, images[0], beam_size=k), (1, 2, 7, 3, 4, 7, 5, 6)))
    assert [r.status_code for r in res] == [200, 200, 500, 200, 200, 500, 200, 200]
    assert 'seven' not in res[2].text and 'Traceback' not in res[2].text and res[2].headers['x-content-type-options'] == 'nosniff'

# ---- the surroundings

def test_headers_and_pages(client):
    for path in ('/', '/info', '/healthz', '/docs', '/nothing', '/static/app.js'):
        res = client.get(path)
        assert "default-src 'none'" in res.headers['content-security-policy'] and res.headers['x-content-type-options'] == 'nosniff'
    assert error(client.get('/nothing')) == (404, 'not_found') and error(client.get('/caption')) == (405, 'method_not_allowed')
    assert 'unsafe' not in client.get('/').headers['content-security-policy']
    assert 'access-control-allow-origin' not in client.get('/info', headers={'Origin': 'https://example.org'}).headers
    docs = client.get('/docs').text
    assert 'http' not in docs.replace('http-equiv', '') and client.get('/static-offline-docs/swagger-ui-bundle.js').status_code == 200
    for path in ('/static/../app.py', '/static/%2e%2e/app.py', '/static/..%2fsettings.py'): assert client.get(path).status_code == 404
    assert 'imcap_images' in client.get('/metrics').text and 'http_requests_total' in client.get('/metrics').text

def test_cors(serve):
    from web_app.settings import Settings
    assert Settings(model='m', cors_origins='https://a.org,https://b.org').cors_origins == ['https://a.org', 'https://b.org']
    url, _ = serve(cors_origins=['https://example.org'])
    assert httpx.get(f'{url}/info', headers={'Origin': 'https://example.org'}).headers['access-control-allow-origin'] == 'https://example.org'
    assert 'access-control-allow-origin' not in httpx.get(f'{url}/info', headers={'Origin': 'https://example.com'}).headers

def test_examples_are_true(client):
    "The example of the description is of the shape that is described"
    from web_app.schemas import CaptionAnswer
    spec = client.get('/openapi.json').json()
    example = spec['components']['schemas']['CaptionAnswer']['examples'][0]
    assert CaptionAnswer(**example).caption == ' '.join(w['word'] for w in example['words'])
    assert example['log_prob'] == pytest.approx(sum(math.log(w['prob']) for w in example['words']) + math.log(example['end_prob']), abs=.02)
    for path in ('/caption', '/captions'): assert {'400', '408', '413', '415', '422', '500', '503', '504'} <= spec['paths'][path]['post']['responses'].keys()

def test_nothing_on_disk(serve, images, monkeypatch):
    import tempfile
    def never(*args, **kwargs): raise AssertionError('a file was made')
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, 'rollover', never)
    url, _ = serve()
    with httpx.Client(base_url=url, timeout=60) as c:
        big = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)))
        assert len(big) > 2**21 and post(c, big).status_code == 200

# ---- processes

def hold_back_a_byte(url, **kwargs): # What `httpx.Request` takes
    "A request that is sent but for its last byte: the open socket, and that byte"
    request = httpx.Request('POST', f'{url}/caption', **kwargs)
    body = request.read()
    head = ''.join(f'{k}: {v}\r\n' for k, v in request.headers.items())
    sock = socket.create_connection((request.url.host, request.url.port), timeout=120)
    sock.sendall(f'POST /caption HTTP/1.1\r\n{head}\r\n'.encode() + body[:-1])
    return sock, body[-1:]

def test_term_loses_nothing(process, images, cap):
    "Told to stop, it answers everything that it accepted, and accepts nothing more"
    p, url = process('--max-batch', '2', '--upload-timeout', '120')
    held = [hold_back_a_byte(url, files={'file': images[i % 10]}, data={'beam_size': '10'}) for i in range(24)]
    while 'imcap_images 24.0' not in httpx.get(f'{url}/metrics').text:
        time.sleep(.02)
    p.terminate()
    while True:
        try: socket.create_connection((httpx.URL(url).host, httpx.URL(url).port)).close()
        except OSError: break
        time.sleep(.02)
    for sock, last in held:
        sock.sendall(last)
    for i, (sock, _) in enumerate(held):
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.status == 200
        assert json.loads(answer.read())['caption'] == cap.caption(images[i % 10], beam_size=10).text
        sock.close()
    assert p.wait(120) is not None and 'Traceback' not in p.stdout.read()

@pytest.fixture
def said(capsys, monkeypatch):
    "What the command says when it does not come to serve: exit code, standard error"
    import warnings
    from web_app.__main__ import main
    monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning) # it sets its own
    def run(*args):
        try: code = main([str(a) for a in args])
        except SystemExit as e: code = e.code
        return code, capsys.readouterr().err
    return run

def test_no_start(said, folder, learn, tmp_path):
    "A model that cannot be served, or a setting that makes no sense, stops the start with a message"
    import shutil
    code, err = said(tmp_path/'none'); assert code == 1 and 'there is no captioner at' in err
    learn.export(tmp_path/'c.pkl')
    code, err = said(tmp_path/'c.pkl'); assert code == 1 and 'can run any code' in err and '--trust' in err
    code, err = said(tmp_path/'c.pkl', '--sha256', '0'*64); assert code == 1 and 'not the captioner that you know' in err
    shutil.copytree(folder, tmp_path/'cut')
    (tmp_path/'cut/model.safetensors').write_bytes((folder/'model.safetensors').read_bytes()[:-100])
    code, err = said(tmp_path/'cut'); assert code == 1 and 'cut off or changed' in err
    (tmp_path/'cut/captioner.json').write_text((folder/'captioner.json').read_text().replace('"format": 1', '"format": 99'))
    code, err = said(tmp_path/'cut'); assert code == 1 and 'has format 99' in err

@pytest.mark.parametrize('args,name', [([], 'model'), (['m', '--port', '70000'], 'port'), (['m', '--rate-limit', 'often'], 'rate_limit'),
                                       (['m', '--sha256', 'x'], 'sha256'), (['m', '--queue-size', '3'], 'queue_size'),
                                       (['m', '--max-batch', '0'], 'max_batch')])
def test_settings(said, args, name):
    code, err = said(*args)
    assert code == 2 and name.replace('_', '-') in err.lower().replace('_', '-')

@pytest.mark.parametrize('by', ['trust', 'sha256'])
def test_pickle(process, learn, tmp_path, images, cap, monkeypatch, by):
    "The usual file of fastai is served as the folder is, in a container too, where IMCAP_MODEL names another path"
    fname = tmp_path/'captioner.pkl'
    learn.export(fname)
    monkeypatch.setenv('IMCAP_MODEL', '/model')
    flags = dict(trust=['--trust'], sha256=['--sha256', hashlib.sha256(fname.read_bytes()).hexdigest()])
    _, url = process(*flags[by], model=fname)
    answer = httpx.post(f'{url}/caption', files={'file': images[0]}, timeout=60).json()
    assert answer['caption'] == cap.caption(images[0]).text and answer['model'] == cap.signature

def test_missing_package(said, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pydantic_settings', None)
    code, err = said('captioner')
    assert code == 1 and "(pydantic_settings): pip install '.[web]' in a checkout" in err

# ---- options of the search

def test_no_repeat_ngram_size_reaches_the_search(client, cap, images):
    got = post(client, images[0], beam_size=2, no_repeat_ngram_size=1).json()
    assert got['caption'] == cap.caption(images[0], beam_size=2, n_best=1, no_repeat_ngram_size=1).text
    assert len(set(got['caption'].split())) == len(got['caption'].split())

def test_draws_are_those_of_the_library_whatever_else_is_in_the_batch(client, cap, images):
    asked = dict(temperature=3., top_k=9, top_p=.95, seed=5, n_best=4)
    got = [post(client, b, **asked).json() for b in images[:3]]
    want = [cap.caption(b, **asked) for b in images[:3]]
    assert [[c['caption'] for c in g['n_best']] for g in got] == [[c.text for c in w.n_best] for w in want]
    assert len({c['caption'] for c in got[0]['n_best']}) > 1

@pytest.mark.parametrize('options', [dict(temperature=-1), dict(temperature='nan'), dict(top_p=0), dict(top_p=1.5), dict(top_k=0),
                                     dict(no_repeat_ngram_size=-1), dict(seed=-1), dict(temperature=1, beam_size=3)])
def test_options_out_of_range(client, images, options):
    res = post(client, images[0], **options)
    assert error(res) == (422, 'bad_option')
    assert 'Value error' not in res.text
