"""The page in a real browser: headless Chromium by Playwright, one page a test. Every test ends with the check that the visit was clean:
no message in the console, no breach of the Content-Security-Policy, no request to another host, nothing stored."""
import base64, io, json, re, shutil
from urllib.parse import urlsplit

import httpx, pytest
from PIL import Image

sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed: make env')
expect = sync_api.expect
FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
WATCH = """window.breaches = []; addEventListener('securitypolicyviolation', e => window.breaches.push(e.violatedDirective + ' ' + e.blockedURI))"""


# ---------------------------------------------------------------- fixtures

@pytest.fixture(scope='session')  # before the server, which is not needed where there is no browser
def browser():
    with sync_api.sync_playwright() as p:
        path = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
        try: chromium = p.chromium.launch(executable_path=path, args=FLAGS)
        except sync_api.Error:
            if path: raise
            pytest.skip('no chromium on PATH: apt install chromium')
        yield chromium
        chromium.close()


class Visit:
    "One visit to the page, and what must not happen in it."
    def __init__(self, browser, server, **options):
        self.server, self.bad, self.refused = server, [], 0   # refused: answers that are not 2xx, or fail, because the test wants them to
        self.context = browser.new_context(**{'viewport': dict(width=1200, height=900), **options})
        self.context.grant_permissions(['clipboard-read', 'clipboard-write'], origin=server)
        self.context.add_init_script(WATCH)
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.page.on('console', self._console)
        self.page.on('pageerror', lambda e: self.bad.append(f'error: {e}'))
        self.page.on('request', self._request)

    def _console(self, message):
        if message.type not in ('error', 'warning'): return
        if self.refused and message.text.startswith('Failed to load resource'): return   # the browser's own note
        self.bad.append(f'console: {message.text}')

    def _request(self, request):
        url = urlsplit(request.url)
        if url.scheme in ('http', 'https', 'ws', 'wss') and url.netloc != urlsplit(self.server).netloc: self.bad.append(f'request to {request.url}')

    def open(self):
        reply = self.page.goto(self.server + '/')
        assert "default-src 'none'" in reply.headers['content-security-policy']
        expect(self.page.locator('#model')).to_contain_text('Model ')   # GET /info has answered
        return self

    def choose(self, data, name='scene.png', mime='image/png'):
        self.page.set_input_files('#file', dict(name=name, mimeType=mime, buffer=data))
        return self

    def caption(self, data, **kw):
        self.choose(data, **kw)
        expect(self.page.locator('#words .word').first).to_be_visible(timeout=30_000)
        return self

    def words(self): return self.page.locator('#words .word').all_inner_texts()

    def refuse(self, status=None, error=None, times=1, **headers):
        "Answer the next `times` captions with an error (no status: the connection fails), then let the server answer."
        self.refused += times
        left = [times]
        def handle(route):
            if not left[0]: return route.continue_()
            left[0] -= 1
            if status is None: return route.abort('connectionrefused')
            return route.fulfill(status=status, headers={'Content-Type': 'application/json', **headers}, body=json.dumps({'error': error}))
        self.page.route('**/caption', handle)

    def answer(self, **changes):
        "Change what the server says."
        def handle(route):
            reply = route.fetch()
            route.fulfill(response=reply, json={**reply.json(), **changes})
        self.page.route('**/caption', handle)

    def heat(self):
        "The pixels laid over the image, as an image of its own, or None where there are none."
        if 'on' not in (self.page.locator('#heat').get_attribute('class') or '').split(): return None
        url = self.page.evaluate("document.getElementById('heat').toDataURL()")
        return Image.open(io.BytesIO(base64.b64decode(url.split(',')[1]))).convert('RGBA')

    def close(self):
        stored = self.page.evaluate("[window.breaches, localStorage.length + sessionStorage.length, document.cookie]")
        self.context.close()
        assert self.bad == []
        assert stored == [[], 0, '']


@pytest.fixture
def new_visit(browser, server):
    made = []
    def make(**options):
        made.append(Visit(browser, server, **options))
        return made[-1]
    yield make
    for visit in made: visit.close()

@pytest.fixture
def visit(new_visit): return new_visit().open()


def other_scene(scene_png, width=96, height=64, format='PNG'):
    "A second image that differs from the first in its size as well."
    file = io.BytesIO()
    scene = Image.open(io.BytesIO(scene_png)).convert('RGB').transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scene.resize((width, height)).save(file, format)
    return file.getvalue()

def give(page, data, how, name='scene.png', mime='image/png'):
    "Drop on, or paste into, the page a file made in it."
    page.evaluate("""([data, how, name, type]) => {
        const transfer = new DataTransfer(), target = document.getElementById('stage');
        transfer.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], name, {type}));
        const options = {bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer};
        if (how === 'paste') return document.dispatchEvent(new ClipboardEvent('paste', options));
        for (const kind of ['dragenter', 'dragover', 'drop']) target.dispatchEvent(new DragEvent(kind, options));
    }""", [base64.b64encode(data).decode(), how, name, mime])


# ---------------------------------------------------------------- an image in, a caption out

def test_choose(visit, scene_png):
    page = visit.page
    assert page.title() == 'imcap_fastai'
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.id') == 'file'
    visit.caption(scene_png)
    said = httpx.post(visit.server + '/caption', files={'file': scene_png}, data=dict(beam_size=3, n_best=3, attention='true'), timeout=30).json()
    assert visit.words() == [w['word'] for w in said['words']]
    assert page.locator('.candidate > span:first-child').all_inner_texts() == [c['caption'] for c in said['n_best']]
    expect(page.locator('#facts')).to_contain_text(f"{said['log_prob']:.2f}".replace('-', '−'))
    expect(page.locator('#live')).to_have_text(f"Caption: {said['caption']}.")
    expect(page.locator('#busy')).to_be_hidden()
    expect(page.get_by_role('img', name='Your image, scene.png')).to_be_visible()
    sure = [float(page.locator('.word').nth(i).evaluate("e => e.style.getPropertyValue('--sure')")) for i in range(len(said['words']))]
    assert sure == pytest.approx([w['prob'] for w in said['words']], abs=1e-5)
    lines = page.locator('.word').evaluate_all("""all => all.map(e => {
        const [drawn, whole] = ['::after', '::before'].map(part => parseFloat(getComputedStyle(e, part).width)); return drawn / whole })""")
    assert lines == pytest.approx(sure, abs=.05)   # the line under a word is as long as it was sure: not a matter of colour

@pytest.mark.parametrize('how', ['drop', 'paste'])
def test_drop_and_paste(visit, scene_png, how):
    give(visit.page, scene_png, how)
    expect(visit.page.locator('#words .word').first).to_be_visible()
    expect(visit.page.locator('#preview')).to_have_js_property('naturalWidth', Image.open(io.BytesIO(scene_png)).width)

def test_pasted_text_is_left_alone(visit):
    took = visit.page.evaluate("""() => { const t = new DataTransfer(); t.setData('text/plain', 'words');
        return !document.dispatchEvent(new ClipboardEvent('paste', {bubbles: true, cancelable: true, clipboardData: t})) }""")
    assert not took
    expect(visit.page.locator('#notice')).to_be_hidden()

def test_settings_are_sent(visit, scene_png):
    page = visit.page
    page.locator('#beam').fill('2')
    expect(page.locator('#count-out')).to_have_text('2')   # no more candidates than beams
    page.evaluate("""() => { const real = fetch;      // the body of a form with a file does not reach playwright
        window.fetch = (url, options) => { window.sent = [...options.body].map(([k, v]) => [k, v.name ?? v]); return real(url, options); } }""")
    visit.caption(scene_png)
    assert page.evaluate('window.sent') == [['file', 'scene.png'], ['beam_size', '2'], ['n_best', '2'], ['attention', 'true']]
    expect(page.locator('.candidate')).to_have_count(2)
    page.locator('#beam').fill('1')
    page.get_by_role('button', name='Caption again').click()
    expect(page.locator('#candidates')).to_be_hidden()
    expect(page.locator('.past')).to_have_count(1)         # the same image, once

def test_text_of_the_server_is_never_markup(visit, scene_png):
    evil = '<img src=x onerror=alert(1)>'
    visit.answer(caption=evil, words=[dict(word=evil, prob=.5, attention=None)], n_best=[dict(caption=evil, log_prob=-1, finished=True)] * 2)
    visit.caption(scene_png)
    assert visit.words() == [evil]
    assert visit.page.locator('#result img, #history-list img').count() == 0

def test_unfinished_and_without_attention(visit, scene_png):
    visit.answer(finished=False, end_prob=None, n_best=None, words=[dict(word='a', prob=.25, attention=None), dict(word='dog', prob=1., attention=None)])
    visit.caption(scene_png)
    expect(visit.page.locator('#words')).to_have_text('a dog …')
    expect(visit.page.locator('#facts')).to_contain_text('cut off')
    visit.page.locator('.word').first.hover()
    expect(visit.page.locator('#readout')).to_have_text('“a”: 25 % sure.')
    assert visit.heat() is None


# ---------------------------------------------------------------- where it looked

def test_hover_and_focus(visit, scene_png):
    visit.caption(scene_png)
    page, words = visit.page, visit.page.locator('.word')
    assert visit.heat() is None
    words.nth(1).hover()
    expect(page.locator('#readout')).to_contain_text(f'“{visit.words()[1]}”')
    expect(page.locator('#readout')).to_contain_text(re.compile(r'\d %'))
    assert words.nth(1).get_attribute('aria-label').split(', ')[-1] in page.locator('#readout').inner_text()
    hovered = visit.heat()
    assert hovered is not None and hovered.getextrema()[3][1] > 0
    page.mouse.move(2, 2)
    assert visit.heat() is None
    words.nth(1).focus()
    assert visit.heat().tobytes() == hovered.tobytes()
    page.mouse.move(3, 3)
    assert visit.heat() is not None    # the mouse does not take away what has the focus

def test_heat_is_where_the_grid_says(visit, scene_png):
    grid = [[.0] * 7 for _ in range(7)]
    grid[1][5] = 1.
    visit.answer(words=[dict(word='there', prob=.9, attention=grid), dict(word='all', prob=.9, attention=[[1 / 49] * 7] * 7)],
                 view=[1 / 6, 0., 5 / 6, 1.], map_view=[1 / 6, 0., 5 / 6, 1.], image=dict(width=96, height=64))
    visit.caption(other_scene(scene_png))
    visit.page.locator('.word').first.hover()
    heat, box = visit.heat(), visit.page.locator('#preview').bounding_box()
    assert heat.width / heat.height == pytest.approx(1.5, abs=.01) and heat.width == pytest.approx(box['width'], abs=1)
    at = lambda x, y: heat.getpixel((int(x * heat.width), int(y * heat.height)))
    hot = at(1 / 6 + 4 / 6 * 5.5 / 7, 1.5 / 7)
    assert hot[0] > 240 and hot[3] < 110                                 # bright, and the image shows through
    assert at(1 / 6 + 4 / 6 * 1.5 / 7, 5.5 / 7)[0] < 20                  # cold
    assert at(.08, .5)[3] > 190 and at(.92, .5)[3] > 190                 # what the model did not see is dimmed
    row = [at(1 / 6 + 4 / 6 * x / 100, 1.5 / 7)[0] for x in range(40, 79)]
    assert all(b >= a - 1 for a, b in zip(row, row[1:])) and len(set(row)) > 15    # smooth, not squares
    visit.page.locator('.word').nth(1).hover()
    assert visit.heat().getextrema()[0][1] < 120    # looking everywhere alike is not drawn as looking hard

def test_heat_lies_where_the_map_does(visit, scene_png):
    grid = [[.0] * 7 for _ in range(7)]
    grid[6][3] = 1.
    moved = [-1 / 14, -1 / 14, 13 / 14, 13 / 14]    # half a cell up and to the left, as a ResNet's
    visit.answer(words=[dict(word='there', prob=.9, attention=grid)], view=[0, 0, 1, 1], map_view=moved)
    visit.caption(other_scene(scene_png))
    visit.page.locator('.word').first.hover()
    heat = visit.heat()
    at = lambda x, y: heat.getpixel((int(x * heat.width), int(y * heat.height)))
    assert at(3 / 7, 6 / 7)[0] > 225                # the middle of the cell
    assert at(3 / 7, .99)[0] > 150                  # beyond the last centre the map goes on
    assert at(.5, .3)[0] < 20 and at(5 / 7, 6 / 7)[0] < 20

def test_a_turned_image_is_shown_upright(visit, scene_png):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6                                     # as a camera held on its side writes it
    Image.open(io.BytesIO(other_scene(scene_png))).save(file, 'JPEG', exif=exif)
    with visit.page.expect_response('**/caption') as reply: visit.caption(file.getvalue(), name='photo.jpg', mime='image/jpeg')
    shown = visit.page.locator('#preview').evaluate('e => ({width: e.naturalWidth, height: e.naturalHeight})')
    assert shown == dict(width=64, height=96) == reply.value.json()['image']
    visit.page.locator('.word').first.hover()
    assert visit.heat().width / visit.heat().height == pytest.approx(64 / 96, abs=.01)

def test_a_format_that_the_browser_cannot_show(visit, scene_png):
    visit.caption(other_scene(scene_png, format='TIFF'), name='scan.tiff', mime='image/tiff')
    expect(visit.page.locator('#no-preview')).to_be_visible()
    visit.page.locator('.word').first.hover()
    assert visit.heat().width / visit.heat().height == pytest.approx(1.5, abs=.01)    # the shape is the server's
    visit.caption(scene_png)
    expect(visit.page.locator('#no-preview')).to_be_hidden()

def test_keyboard(visit, scene_png):
    visit.caption(scene_png)
    page, texts = visit.page, visit.words()
    focused = lambda: page.evaluate("[...document.querySelectorAll('.word')].indexOf(document.activeElement)")
    page.keyboard.press('Tab')
    assert focused() == 0
    page.keyboard.press('ArrowRight')
    assert focused() == 1
    expect(page.locator('#readout')).to_contain_text(f'“{texts[1]}”')
    second = visit.heat()
    page.keyboard.press('End')
    assert focused() == len(texts) - 1
    assert visit.heat().tobytes() != second.tobytes()
    page.keyboard.press('ArrowRight')
    assert focused() == len(texts) - 1
    page.keyboard.press('Home')
    page.keyboard.press('ArrowLeft')
    assert focused() == 0
    outline = page.locator('.word').first.evaluate("e => getComputedStyle(e).outlineStyle + ' ' + getComputedStyle(e).outlineWidth")
    assert outline == 'solid 3px'
    page.keyboard.press('Escape')
    assert visit.heat() is None
    for stop in ('file', 'copy', 'candidate', 'candidate', 'candidate', 'beam', 'count', 'again', 'past', ''):    # the words are one stop
        page.keyboard.press('Tab')
        assert page.evaluate("document.activeElement.id || document.activeElement.className") == stop


# ---------------------------------------------------------------- copy, candidates, history

def test_copy(visit, scene_png):
    visit.caption(scene_png)
    copy = visit.page.locator('#copy')
    visit.page.clock.install()
    copy.click()
    expect(copy).to_have_text('Copied')
    visit.page.clock.run_for(100)
    expect(visit.page.locator('#live')).to_have_text('Caption copied.')
    assert visit.page.evaluate('navigator.clipboard.readText()') == visit.page.locator('.candidate > span').first.inner_text()
    visit.page.clock.run_for(2000)
    expect(copy).to_have_text('Copy caption')

def test_copy_without_the_clipboard_api(visit, scene_png):
    visit.caption(scene_png)
    visit.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")   # as over plain http
    visit.page.locator('#copy').click()
    expect(visit.page.locator('#copy')).to_have_text('Copied')

def test_candidates(visit, scene_png):
    visit.caption(scene_png)
    page, best, asked = visit.page, visit.words(), []
    page.on('request', lambda request: asked.append(request.url))
    second = page.locator('.candidate').nth(1)
    text = second.locator('span').first.inner_text()
    expect(second).to_contain_text('%')
    second.click()
    assert visit.words() == text.split(' ') and second.get_attribute('aria-pressed') == 'true'
    expect(second).to_be_focused()
    page.locator('.word').first.hover()
    assert visit.heat() is None            # its words' attention is not known
    page.locator('#copy').click()
    expect(page.locator('#copy')).to_have_text('Copied')
    assert page.evaluate('navigator.clipboard.readText()') == text
    page.locator('.candidate').first.click()
    assert visit.words() == best
    page.locator('.word').first.hover()
    assert visit.heat() is not None
    assert asked == []

def test_history(visit, scene_png):
    visit.caption(scene_png)
    page, first = visit.page, visit.words()
    visit.choose(other_scene(scene_png), name='other.png')
    past = page.locator('.past')
    expect(past).to_have_count(2)
    asked = []
    page.on('request', lambda request: asked.append(request.url) if request.url.startswith('http') else None)
    expect(past.nth(0)).to_have_attribute('aria-current', 'true')
    past.nth(1).click()
    assert visit.words() == first
    expect(page.locator('#preview')).to_have_js_property('naturalWidth', 64)
    expect(past.nth(1)).to_have_attribute('aria-current', 'true')
    page.locator('.word').first.hover()
    assert visit.heat() is not None and asked == []
    drawn = past.nth(1).locator('canvas').evaluate("c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size")
    assert drawn > 2                       # a thumbnail, not an empty square

def test_history_has_an_end(visit, scene_png):
    answer = httpx.post(visit.server + '/caption', files={'file': scene_png}, data=dict(attention='true'), timeout=30).json()
    visit.page.route('**/caption', lambda route: route.fulfill(json=answer))
    for i in range(14):
        visit.choose(scene_png)
        expect(visit.page.locator('.past')).to_have_count(min(i + 1, 12))


# ---------------------------------------------------------------- what goes wrong

def test_not_an_image(visit, scene_png):
    asked = []
    visit.page.on('request', lambda request: asked.append(request.url))
    visit.choose(b'words', name='notes.txt', mime='text/plain')
    expect(visit.page.get_by_role('alert')).to_contain_text('“notes.txt” is not an image.')
    visit.choose(b'', name='empty.png')
    expect(visit.page.get_by_role('alert')).to_contain_text('empty')
    assert asked == []
    visit.refused = 1
    visit.choose(b'words that lie about what they are', name='notes.png')    # by its name an image: the server finds out
    expect(visit.page.get_by_role('alert')).not_to_contain_text('empty')
    expect(visit.page.get_by_role('alert')).to_have_text(re.compile(r'\w.*\.$'))
    expect(visit.page.locator('#no-preview')).to_be_visible()
    expect(visit.page.locator('#result')).to_be_hidden()
    visit.caption(scene_png)
    expect(visit.page.locator('#notice')).to_be_hidden()

def test_too_large_is_not_sent(new_visit, scene_png):
    visit, asked = new_visit(), []
    def small(route):
        info = route.fetch().json()
        route.fulfill(json={**info, 'limits': {**info['limits'], 'max_bytes': 1024}})
    visit.page.route('**/info', small)
    visit.open()
    visit.page.on('request', lambda request: asked.append(request.url))
    visit.choose(bytes(4096))
    expect(visit.page.get_by_role('alert')).to_contain_text('It was not sent.')
    assert asked == []

@pytest.mark.parametrize('status', [429, 503])
def test_busy_waits_then_tries_again(visit, scene_png, status):
    visit.refuse(status, dict(code='busy', message='The server has no room just now.'), **{'Retry-After': '1'})
    visit.choose(scene_png)
    expect(visit.page.get_by_role('alert')).to_have_text('The server has no room just now.')
    expect(visit.page.locator('#countdown')).to_have_text('Trying again in 1 s.')
    expect(visit.page.locator('.word').first).to_be_visible()
    expect(visit.page.locator('#notice')).to_be_hidden()

def test_busy_try_now_or_never(visit, scene_png):
    visit.refuse(503, dict(code='busy', message='The server has no room just now.'), times=2, **{'Retry-After': '600'})
    visit.choose(scene_png)
    expect(visit.page.locator('#countdown')).to_have_text('Trying again in 10 min.')
    visit.page.get_by_role('button', name='Dismiss').click()
    expect(visit.page.locator('#notice')).to_be_hidden()
    visit.page.get_by_role('button', name='Caption again').click()
    visit.page.get_by_role('button', name='Try now').click()
    expect(visit.page.locator('.word').first).to_be_visible()

def test_key(visit, scene_png):
    page, keys = visit.page, []
    def handle(route):
        keys.append(route.request.headers.get('x-api-key'))
        if keys[-1] == 'right': return route.continue_()
        code = 'wrong_key' if keys[-1] else 'key_required'
        route.fulfill(status=401, json={'error': dict(code=code, message='No.')})
    visit.refused = 2
    page.route('**/caption', handle)
    visit.choose(scene_png)
    expect(page.get_by_label('API key')).to_be_focused()
    page.keyboard.type('wrong')
    page.keyboard.press('Enter')
    expect(page.get_by_role('alert')).to_contain_text('did not accept')
    page.get_by_label('API key').fill('right')
    page.get_by_role('button', name='Use this key').click()
    expect(page.locator('.word').first).to_be_visible()
    expect(page.locator('#notice')).to_be_hidden()
    visit.choose(other_scene(scene_png))     # the key is remembered
    expect(page.locator('.past')).to_have_count(2)
    assert keys == [None, 'wrong', 'right', 'right']

def test_network_failure(visit, scene_png):
    visit.refuse()
    visit.choose(scene_png)
    expect(visit.page.get_by_role('alert')).to_contain_text('did not answer')
    visit.page.get_by_role('button', name='Try again').click()
    expect(visit.page.locator('.word').first).to_be_visible()

def test_offline_and_back(visit, scene_png):
    visit.refused = 1
    visit.context.set_offline(True)
    visit.choose(scene_png)
    expect(visit.page.get_by_role('alert')).to_contain_text('You are offline.')
    visit.context.set_offline(False)
    expect(visit.page.locator('.word').first).to_be_visible()    # sent without being told to
    expect(visit.page.locator('#notice')).to_be_hidden()

def test_server_fault_without_json(visit, scene_png):
    visit.refused = 1
    visit.page.route('**/caption', lambda route: route.fulfill(status=502, body='<h1>Bad gateway</h1>'), times=1)
    visit.choose(scene_png)
    expect(visit.page.get_by_role('alert')).to_have_text('The server answered with an error (502).')
    visit.page.get_by_role('button', name='Try again').click()
    expect(visit.page.locator('.word').first).to_be_visible()

def test_cancel_and_new_image(visit, scene_png):
    page, held, failed = visit.page, [], []
    page.on('requestfailed', lambda request: failed.append(request.failure))
    page.route('**/caption', lambda route: held.append(route), times=2)
    visit.choose(scene_png)
    expect(page.locator('#preview')).to_be_visible()             # at once, before there is an answer
    page.get_by_role('button', name='Cancel').click()
    expect(page.get_by_role('alert')).to_have_text('Cancelled.')
    expect(page.get_by_role('button', name='Try again')).to_be_focused()
    page.get_by_role('button', name='Try again').click()
    expect(page.locator('#busy')).to_be_visible()
    visit.caption(other_scene(scene_png), name='other.png')      # aborts the one before
    assert len(held) == 2 and failed == ['net::ERR_ABORTED'] * 2
    expect(page.locator('.past')).to_have_count(1)
    expect(page.locator('#notice')).to_be_hidden()


# ---------------------------------------------------------------- how it looks

CONTRAST = """() => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1}), pen = canvas.getContext('2d', {willReadFrequently: true});
    const rgb = layers => {
        pen.clearRect(0, 0, 1, 1);
        for (const c of layers) { pen.fillStyle = c; pen.fillRect(0, 0, 1, 1); }
        return pen.getImageData(0, 0, 1, 1).data; };
    const light = c => [.2126, .7152, .0722].reduce((s, w, i) => s + w * (c[i] / 255 <= .04045 ? c[i] / 255 / 12.92 : ((c[i] / 255 + .055) / 1.055) ** 2.4), 0);
    const poor = [];
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()), box = e.getBoundingClientRect();
        if (!own || box.width < 2 || !e.checkVisibility()) continue;
        const grounds = []; for (let p = e; p; p = p.parentElement) grounds.unshift(getComputedStyle(p).backgroundColor);
        const a = light(rgb(grounds)), b = light(rgb([...grounds, getComputedStyle(e).color])), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < 4.5) poor.push(e.tagName + '#' + e.id + '.' + e.className + ' ' + ratio.toFixed(2));
    }
    return poor;
}"""

@pytest.mark.parametrize('scheme,width', [('light', 1280), ('dark', 1280), ('light', 360), ('dark', 360)])
def test_looks(new_visit, scene_png, scheme, width, tmp_path):
    phone = width == 360
    visit = new_visit(viewport=dict(width=width, height=780), color_scheme=scheme, reduced_motion='reduce', has_touch=phone, is_mobile=phone).open()
    page = visit.page
    def look(name):
        assert page.evaluate('document.documentElement.scrollWidth') <= width, f'{name} scrolls sideways'
        assert page.evaluate(CONTRAST) == []
        shot = page.screenshot(path=tmp_path / f'{name}.png', full_page=True)
        return Image.open(io.BytesIO(shot)).convert('L').getpixel((2, 2))
    ground = look('empty')
    assert ground < 60 if scheme == 'dark' else ground > 200
    long = 'pneumonoultramicroscopicsilicovolcanoconiosis'
    visit.refused = 1
    visit.page.route('**/caption', lambda route: route.fulfill(status=415, json={'error': dict(code='x', message=f'{long * 2} is not known.')}), times=1)
    visit.choose(scene_png, name=long + '.png')
    expect(page.locator('#notice')).to_be_visible()
    look('error')
    visit.caption(scene_png)
    word = page.locator('.word').nth(1)
    word.tap() if phone else word.hover()
    assert visit.heat() is not None
    look('caption')
    assert page.locator('#heat').evaluate('e => getComputedStyle(e).transitionDuration') == '0s'
    expect(page.locator('label.camera')).to_be_visible(visible=phone)   # a photograph where there is a camera to hand

def test_beam_as_exported(new_visit, scene_png):
    visit, sent = new_visit(), []
    def wider(route): route.fulfill(json={**route.fetch().json(), 'defaults': {'beam_size': 5}})
    visit.page.route('**/info', wider)
    visit.open()
    expect(visit.page.locator('#beam')).to_have_value('5')
    visit.page.on('request', lambda request: sent.append(request.post_data_buffer or b''))
    visit.caption(scene_png)
    assert any(b'name="beam_size"\r\n\r\n5\r\n' in o for o in sent)
