"""From the bytes of a request to images, with nothing believed that the client says about them."""
import io, warnings

import anyio
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect, Request

from imcap_fastai.images import open_image
from imcap_fastai.decode import search_options

from .settings import FORMATS, MAX_BEAM, Settings

MultiPartParser.spool_max_size = 2**62 # never to disk: the size of a request is limited as a whole
warnings.simplefilter('ignore', Image.DecompressionBombWarning) # `max_pixels` is the limit, and it is asked before decoding

class ApiError(Exception):
    "What the client is told: a status, a word for programs, a sentence for people"
    def __init__(self, status:int, code:str, message:str, headers:dict=None):
        self.status, self.code, self.message, self.headers = status, code, message, headers

class Options(BaseModel):
    "How to caption; what is left out is as the captioner was exported"
    model_config = ConfigDict(extra='forbid')
    beam_size: int | None = Field(None, ge=1, le=MAX_BEAM, description='hypotheses of the search; 1 is greedy', examples=[3])
    n_best: int = Field(1, ge=1, le=MAX_BEAM, description='captions to return; the beam is at least as wide', examples=[1])
    attention: bool = Field(False, description='return where the model looked for each word', examples=[False])
    no_repeat_ngram_size: int | None = Field(None, ge=0, le=10, examples=[2],
                                             description='say no n-gram of so many words twice in a caption; 0 allows it')
    temperature: float | None = Field(None, ge=0, le=10, allow_inf_nan=False, examples=[0.8],
                                      description='draw words at random, instead of beam search; below 1 likely words become likelier')
    top_k: int | None = Field(None, ge=1, le=100_000, examples=[50], description='draw from so many of the likeliest words')
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False, examples=[0.9],
                                description='draw from the fewest likeliest words that hold this share of the probability')
    seed: int | None = Field(None, ge=0, lt=2**32, examples=[7], description='of the draws')

    @model_validator(mode='after')
    def _one_way(self):
        search_options(self.search()) # a beam and random draws exclude each other
        return self

    def search(self)->dict:
        "What the search is asked for; what is left out is as the captioner was exported"
        return self.model_dump(exclude={'attention'}, exclude_none=True)

async def read_form(request:Request, settings:Settings, field:str, most:int): # -> the bytes of each file in `field`, `Options`
    "The parts of a multipart request; file names and content types are not looked at"
    if not request.headers.get('content-type', '').lower().startswith('multipart/form-data'):
        raise ApiError(415, 'not_multipart', f"Send multipart/form-data with the image in the field '{field}'.")
    try:
        with anyio.fail_after(settings.upload_timeout):
            async with request.form(max_files=most, max_fields=8, max_part_size=1000) as form:
                parts = [(k, await v.read() if isinstance(v, UploadFile) else v) for k,v in form.multi_items()]
    except TimeoutError:
        raise ApiError(408, 'upload_timeout', f"The upload took more than {settings.upload_timeout:g} seconds.", {'Connection': 'close'}) from None
    except UnicodeError: raise ApiError(400, 'bad_request', "The Content-Type names a charset that cannot be used.") from None
    except ClientDisconnect: raise ApiError(400, 'client_left', "The upload ended early.") from None
    files = [v for k,v in parts if k == field and isinstance(v, bytes)]
    if not files: raise ApiError(422, 'no_file', f"There is no file in the field '{field}'.")
    fields = [(k, v) for k,v in parts if not (k == field and isinstance(v, bytes))]
    if odd := [k for k,v in fields if isinstance(v, bytes) or k not in Options.model_fields]:
        raise ApiError(422, 'unknown_field', f"There is no field {odd[0][:50]!r}. Known: {field}, {', '.join(Options.model_fields)}.")
    if len(dict(fields)) < len(fields): raise ApiError(422, 'field_twice', "A field is given twice.")
    try: return files, Options(**dict(fields))
    except ValidationError as e:
        bad = e.errors()[0]
        where = f"{bad['loc'][0]}: " if bad['loc'] else ''
        raise ApiError(422, 'bad_option', f"{where}{bad['msg'].removeprefix('Value error, ')}.") from None

MAX_SCANS = 100 # of a JPEG; progressive ones have about ten

def _pixels(im, data)->int: # An image of which the header is read; its bytes
    "Pixels that decoding would have to make: all of one scan, one frame, and no tile larger than the image"
    if im.format in ('JPEG', 'MPO') and data.count(b'\xff\xda') > MAX_SCANS:
        raise ApiError(422, 'broken_image', f"A JPEG with more than {MAX_SCANS} scans is not decoded.")
    tags = getattr(im, 'tag_v2', None) or {}
    tile = int(tags.get(322, 1)) * int(tags.get(323, 1))                          # TIFF: width and height of a tile, which may be larger than the image
    return max(im.width * im.height, tile)

def decode(data:bytes, settings:Settings): # -> the image, upright, RGB
    "An uploaded image, judged by its bytes: first its format and size, and decoded only if they will do"
    if not data: raise ApiError(422, 'empty_file', "The file is empty.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as im:
            if _pixels(im, data) > settings.max_pixels:
                size = f"{im.width}×{im.height} pixels" if im.width*im.height > settings.max_pixels else 'a tile that is too large'
                raise ApiError(422, 'too_many_pixels', f"The image has {size}; at most {settings.max_pixels:,} pixels are taken.")
            return open_image(im)
    except ApiError: raise
    except Image.DecompressionBombError: raise ApiError(422, 'too_many_pixels', f"The image has more than {settings.max_pixels:,} pixels.") from None
    except Image.UnidentifiedImageError: raise ApiError(415, 'not_an_image', f"This is not an image in one of the formats {', '.join(FORMATS)}.") from None
    except Exception: raise ApiError(422, 'broken_image', "The image is damaged or cut off and cannot be decoded.") from None # decoders raise all sorts
