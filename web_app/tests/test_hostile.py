"""The API against its own description, and thousands of damaged images: never a fault of the server, and no growth of its memory."""
import io, os, random, re

import httpx, pytest, schemathesis
from hypothesis import HealthCheck, given, settings
from PIL import Image
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from made import encoded

N = 10_000 if os.environ.get('SLOW') else 300 # mutated images

@pytest.fixture(scope='module')
def api(serve): return schemathesis.openapi.from_url(serve(api_key='k', rate_limit='1000000/minute')[0] + '/openapi.json')

load_all_checks()

@pytest.mark.parametrize('mode', list(schemathesis.GenerationMode), ids=lambda m: m.value)
@pytest.mark.parametrize('path', ['/caption', '/captions', '/info', '/healthz', '/readyz'])
def test_as_described(api, path, mode):
    "Requests that the description allows, and such that it does not: the answers are those it declares"
    operation = api[path]['POST' if 'caption' in path else 'GET']
    if mode.is_negative and path[1:] not in ('caption', 'captions'): return # nothing about them could be wrong

    @settings(max_examples=300 if os.environ.get('SLOW') else 15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case): # a file of any bytes is valid by the description, and refused all the same unless it is an image; and in multipart 3 and "3" are one
        case.call_and_validate(headers={'X-API-Key': 'k'}, excluded_checks=[positive_data_acceptance, negative_data_rejection])
    check()

def seeds(images):
    "An image in every format, of several kinds"
    img = Image.open(io.BytesIO(images[0])).convert('RGB')
    out = [encoded(img, f) for f in ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF')]
    exif = Image.Exif(); exif[0x0112] = 6; exif[0x010e] = 'words'
    return [*out, encoded(img, 'JPEG', progressive=True, exif=exif.tobytes()), encoded(img.convert('P'), 'PNG'),
            encoded(img.convert('CMYK'), 'JPEG'), encoded(img.convert('LA'), 'PNG'),
            encoded(img, 'TIFF', compression='tiff_lzw'), encoded(img, 'GIF', save_all=True, append_images=[img.rotate(90)]),
            encoded(img, 'WEBP', lossless=True)]

def mutate(data, others, rng):
    "Flip, overwrite, cut, repeat, splice"
    b = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        i, n = rng.randrange(len(b)), rng.randrange(1, 33)
        # headers are where the interesting fields are
        if rng.random() < .5: i = min(rng.randrange(64), len(b) - 1)
        kind = rng.randrange(6)
        if kind == 0: b[i] ^= 1 << rng.randrange(8)
        elif kind == 1: b[i] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2: b[i:i+n] = rng.randbytes(n)
        elif kind == 3: del b[i:i+n]
        elif kind == 4: b[i:i] = b[i:i+n]*rng.randrange(1, 9)
        else:
            o = rng.choice(others); b = b[:i] + o[min(i, len(o)):]
        if not b: b = bytearray(b'\0')
    return bytes(b[:rng.randrange(len(b))] if rng.random() < .1 else b)

def resident()->float: # MB of this process, the server included
    try: return int(re.search(r'VmRSS:\s+(\d+)', open('/proc/self/status').read())[1])/1024
    except FileNotFoundError: pytest.skip('no /proc to read the memory from: run it on Linux')

def test_mutated_images(serve, images):
    url, _ = serve(max_pixels=4_000_000)
    rng, kinds = random.Random(0), seeds(images)
    codes, memory = {}, []
    with httpx.Client(base_url=url, timeout=60) as c:
        for i in range(N):
            data = mutate(rng.choice(kinds), kinds, rng)
            res = c.post('/caption', files={'file': ('x', data)}, data={'beam_size': '1'})
            codes[res.status_code] = codes.get(res.status_code, 0) + 1
            assert res.status_code in (200, 415, 422), (i, res.status_code, res.text, data[:64])
            if i in (N//2, N-1): memory.append(resident())
        assert c.get('/readyz').status_code == 200
    print(f'{N} images: {codes}; {memory[0]:.0f} MB after half of them, {memory[1]:.0f} MB at the end')
    assert codes[200] > N/20 and codes[422] > N/20 # otherwise they are all too wrong, or not wrong enough
    assert memory[1] - memory[0] < 64
