"""The application: a page, `POST /caption`, `POST /captions`, and what those who run it need."""
import asyncio, logging, secrets, time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import APIKeyHeader
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from imcap_fastai import __version__
from imcap_fastai.captioner import Captioner

from .batching import Batcher
from .schemas import CaptionAnswer, CaptionsAnswer, Error, Info, body_schema
from .settings import FORMATS, MAX_BEAM, Settings
from .uploads import ApiError, Options, decode, read_form

STATIC = Path(__file__).parent/'static'
CSP = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; form-action 'none'; "
       "frame-ancestors 'none'; base-uri 'none'")
DOCS_CSP = CSP.replace("-src 'self';", "-src 'self' 'unsafe-inline';", 2) # scripts and styles: Swagger UI starts with an inline one
HEADERS = {'X-Content-Type-Options': 'nosniff', 'Referrer-Policy': 'no-referrer', 'Cross-Origin-Opener-Policy': 'same-origin'}
WHY = {400: 'The request is not well formed', 401: 'The API key is missing or wrong', 408: 'The upload took too long', 413: 'The request is too large',
       415: 'Not multipart, or not an image', 422: 'The image is damaged or too large, or an option is out of range', 429: 'Too many requests from this client',
       500: 'A fault of the server', 503: 'The queue is full', 504: 'The caption took too long'}

# ---- what a request goes through

METHODS = {'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT'}

class Secure:
    "Outermost: headers of every answer, no made-up methods (each would be a label of the metrics), and an answer of our shape to a fault of ours"
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        started = False
        async def _send(msg):
            nonlocal started
            if msg['type'] == 'http.response.start':
                started = True
                csp = DOCS_CSP if scope.get('path', '').endswith('/docs') else CSP
                msg['headers'] = [*msg['headers'], *((k.lower().encode(), v.encode()) for k,v in {**HEADERS, 'Content-Security-Policy': csp}.items())]
            await send(msg)
        if scope['type'] != 'http': return await self.app(scope, receive, send)
        if scope['method'] not in METHODS:
            return await error_response(405, 'method_not_allowed', "There is no such method.", {'Allow': 'GET, POST'})(scope, receive, _send)
        try: await self.app(scope, receive, _send)
        except Exception:
            logging.getLogger('uvicorn.error').exception('fault in %s %s', scope['method'], scope['path'])
            if started: raise
            await error_response(500, 'internal', "Something went wrong on the server; its log says what.")(scope, receive, _send)

def error_response(status, code, message, headers=None):
    return JSONResponse({'error': {'code': code, 'message': message}}, status, headers)

def _error_handlers(app):
    @app.exception_handler(ApiError)
    async def _api(request, e): return error_response(e.status, e.code, e.message, e.headers)
    @app.exception_handler(HTTPException)
    async def _http(request, e):
        codes = {400: 'bad_request', 404: 'not_found', 405: 'method_not_allowed'}
        return error_response(e.status_code, codes.get(e.status_code, 'http_error'), str(e.detail), e.headers)

class BodyLimit(RequestBodyLimitMiddleware):
    "Starlette's, with an answer of our shape"
    async def __call__(self, scope, receive, send):
        replaced = False
        async def _send(msg):
            nonlocal replaced
            if replaced: return
            if msg['type'] == 'http.response.start' and msg['status'] == 413:
                replaced = True
                why = f"The request has more than {self.max_body_size:,} bytes."
                await error_response(413, 'too_large', why, {'Connection': 'close'})(scope, receive, send)
            else: await send(msg)
        await super().__call__(scope, receive, _send)

def guards(settings:Settings)->list: # Dependencies of what costs something
    "The rate, then the API key: guesses count"
    out = []
    if settings.rate_limit: out.append(Depends(_rate_guard(settings)))
    if settings.api_key:
        def _key(key:str|None = Security(APIKeyHeader(name='X-API-Key', auto_error=False))):
            if key is None: raise ApiError(401, 'key_required', "Give the API key in the header X-API-Key.", {'WWW-Authenticate': 'ApiKey'})
            if not secrets.compare_digest(key.encode('latin-1', 'replace'), settings.api_key.get_secret_value().encode()):
                raise ApiError(401, 'wrong_key', "The API key is wrong.", {'WWW-Authenticate': 'ApiKey'})
        out.append(Depends(_key))
    return out

def _rate_guard(settings):
    rate, limiter = parse(settings.rate_limit), MovingWindowRateLimiter(MemoryStorage())
    def _rate(request:Request):
        who = request.client.host if request.client else ''
        if not limiter.hit(rate, who):
            wait = max(1, round(limiter.get_window_stats(rate, who).reset_time - time.time()))
            raise ApiError(429, 'too_many_requests', f"More than {rate} from your address; try again in {wait} s.", {'Retry-After': str(wait)})
    return _rate

# ---- captioning

class Service:
    "A captioner, its queue, and the threads that decode images"
    def __init__(self, cap:Captioner, settings:Settings, registry:CollectorRegistry):
        self.cap, self.settings, self.ready, self.taken = cap, settings, False, 0
        self.sizes = Histogram('imcap_batch_images', 'Images captioned together', buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry)
        Gauge('imcap_images', 'Images taken in and not answered yet', registry=registry).set_function(lambda: self.taken)
        enc, dec = cap.model.encoder, cap.model.decoder
        self.info = dict(encoder=enc.name, decoder=dec.name, vocabulary=len(cap.vocab), attends=cap.attends, signature=cap.signature)

    async def start(self):
        self.decoders = ThreadPoolExecutor(2, 'decode')
        self.batcher = Batcher(self._answer, self.settings.max_batch, self.sizes.observe)
        self.batcher.start()
        self.ready = True

    async def stop(self):
        self.ready = False
        await self.batcher.stop(self.settings.shutdown_timeout)
        self.decoders.shutdown(wait=False, cancel_futures=True)

    @property
    def free(self)->int: return self.settings.queue_size - self.taken # Images that could be taken in

    @contextmanager
    def admit(self, n=1): # Images
        "Room for so many, from before they are read until they are answered: this is what bounds memory and waiting"
        if self.free < n: raise self._busy()
        self.taken += n
        try: yield
        finally: self.taken -= n

    def _answer(self, images, options):
        t = time.perf_counter()
        res = self.cap.caption_each(images, options)
        done = time.perf_counter()
        return [(c, t, done) for c in res]

    def open(self, data): # In a thread: bytes -> what the model takes, size, view
        image = decode(data, self.settings)
        return self.cap.prepare(image), image.size, self.cap.view(*image.size)

    async def caption(self, files, opts:Options)->list: # Bytes; options -> an answer or an exception for each
        "Decode in threads, queue, wait, and put into words"
        t0, loop = time.perf_counter(), asyncio.get_running_loop()
        opened = await asyncio.gather(*(loop.run_in_executor(self.decoders, self.open, f) for f in files), return_exceptions=True)
        good = [o for o in opened if not isinstance(o, BaseException)]
        futures = self.batcher.submit([o[0] for o in good], [opts.search()]*len(good))
        res = iter(await asyncio.gather(*futures, return_exceptions=True))
        return [o if isinstance(o, BaseException) else self._words(next(res), *o[1:], opts, t0) for o in opened]

    def _words(self, res, size, view, opts, t0):
        if isinstance(res, BaseException): return res
        c, start, done = res
        ms = lambda s: round(1000*s, 1)
        return dict(c.to_dict(attention=opts.attention), view=view, map_view=view.map, image=dict(width=size[0], height=size[1]), model=self.cap.signature,
                    timing=dict(wait_ms=ms(start - t0), model_ms=ms(done - start), total_ms=ms(time.perf_counter() - t0)))

    def _busy(self): return ApiError(503, 'busy', "Too many images are waiting; try again in a moment.", {'Retry-After': '1'})

async def until_left(request:Request, work, timeout:float): # A coroutine, seconds
    "Do it, unless the client goes first, or the time"
    async def left():
        while (await request.receive())['type'] != 'http.disconnect': pass
    work, gone = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        done, _ = await asyncio.wait({work, gone}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if work in done: return await work
        if gone in done: raise ApiError(400, 'client_left', "The client left.")
        raise ApiError(504, 'timeout', f"No caption within {timeout:g} seconds.")
    finally: work.cancel(); gone.cancel() # what is not begun is never done

# ---- the application

def create_app(cap:Captioner, settings:Settings)->FastAPI: # A loaded captioner
    "Everything behind one port; `cap` has passed its `self_test`, as `load_captioner` sees to"
    registry = CollectorRegistry()
    service = Service(cap, settings, registry)

    @asynccontextmanager
    async def lifespan(app):
        await service.start()
        yield
        await service.stop()

    app = FastAPIOffline(redoc_url=None, title='imcap_fastai', version=__version__, root_path=settings.root_path, lifespan=lifespan,
                         description="Captions for images. Nothing that is sent is kept. Errors are `{\"error\": {\"code\", \"message\"}}`.")
    app.state.service = service
    _error_handlers(app)
    app.include_router(_captions(service, settings))
    app.include_router(_about(service, settings))
    app.mount('/static', StaticFiles(directory=STATIC), name='static')
    app.add_middleware(BodyLimit, max_body_size=settings.max_bytes)
    if settings.cors_origins: app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=['POST'], allow_headers=['X-API-Key'])
    Instrumentator(registry=registry, excluded_handlers=['/metrics']).instrument(app).expose(app, include_in_schema=False)
    app.add_middleware(Secure)
    return app

def _captions(service, settings):
    errors = {s: {'model': Error, 'description': WHY[s]} for s in (400, 408, 413, 415, 422, 500, 503, 504)}
    if settings.api_key: errors[401] = {'model': Error, 'description': WHY[401]}
    if settings.rate_limit: errors[429] = {'model': Error, 'description': WHY[429]}
    api = APIRouter(tags=['captions'], dependencies=guards(settings), responses=errors)

    @api.post('/caption', response_model=CaptionAnswer, openapi_extra=body_schema('file', 1), summary='Caption one image')
    async def caption(request:Request):
        with service.admit():
            files, opts = await read_form(request, settings, 'file', 1)
            res, = await until_left(request, service.caption(files, opts), settings.request_timeout)
        if isinstance(res, BaseException): raise res
        return res

    @api.post('/captions', response_model=CaptionsAnswer, openapi_extra=body_schema('files', settings.max_files), summary='Caption several images')
    async def captions(request:Request):
        "A result for each image, in their order: a caption, or the error of an image that could not be captioned."
        with service.admit():
            files, opts = await read_form(request, settings, 'files', settings.max_files)
            with service.admit(len(files) - 1): res = await until_left(request, service.caption(files, opts), settings.request_timeout)
        for r in res:
            if isinstance(r, BaseException) and not isinstance(r, ApiError): raise r
        return {'results': [{'error': {'code': r.code, 'message': r.message}} if isinstance(r, ApiError) else r for r in res]}
    return api

def _about(service, settings):
    api = APIRouter(tags=['service'])

    @api.get('/', include_in_schema=False)
    async def page(): return FileResponse(STATIC/'index.html', headers={'Cache-Control': 'no-cache'})

    @api.get('/info', response_model=Info, summary='The model and the limits')
    async def info():
        limits = dict(max_bytes=settings.max_bytes, max_pixels=settings.max_pixels, max_files=settings.max_files, max_beam_size=MAX_BEAM, formats=FORMATS)
        defaults = dict(beam_size=min(service.cap.decoding['beam_size'], MAX_BEAM))
        return dict(model=service.info, defaults=defaults, limits=limits, key_required=bool(settings.api_key))

    @api.get('/healthz', summary='Is the process alive?')
    async def healthz(): return {'status': 'alive'}

    @api.get('/readyz', summary='Is the model loaded, has it passed its own test, and is there room in the queue?',
             responses={503: {'model': Error, 'description': WHY[503]}})
    async def readyz():
        if not (service.ready and service.batcher.alive and service.free): raise service._busy()
        return {'status': 'ready'}
    return api
