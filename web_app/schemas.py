"""The shape of what the API takes and gives, with examples."""
from pydantic import BaseModel, ConfigDict, Field

from .uploads import Options

class Word(BaseModel):
    word: str
    prob: float = Field(description='probability of this word, given the image and the words before it')
    attention: list[list[float]] | None = Field(None, description='rows of numbers that sum to 1: where the model looked, in the part that `map_view` names')

class Candidate(BaseModel):
    caption: str
    log_prob: float = Field(description='natural logarithm of its probability, the end included')
    score: float = Field(description='what the search ranked it by')
    finished: bool

class Size(BaseModel):
    width: int
    height: int

class Timing(BaseModel):
    wait_ms: float = Field(description='decoding the image and waiting for the model')
    model_ms: float = Field(description='the batch that this image was in')
    total_ms: float

class CaptionAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={'examples': [dict(
        caption='two dogs run on the beach', log_prob=-2.8, finished=True, end_prob=.64,
        words=[dict(word=w, prob=p) for w,p in (('two', .71), ('dogs', .93), ('run', .42), ('on', .55), ('the', .81), ('beach', .77))],
        n_best=[dict(caption='two dogs run on the beach', log_prob=-2.8, score=-2.8, finished=True)],
        view=[0, 0, 1, 1], map_view=[-.07, -.07, .93, .93],
        image=dict(width=640, height=480), model='3f2a90c1d2e4', timing=dict(wait_ms=3.1, model_ms=85.2, total_ms=88.9))]})
    caption: str
    log_prob: float = Field(description='natural logarithm of its probability, the end included')
    finished: bool = Field(description='false if the caption was cut at its greatest length')
    words: list[Word]
    end_prob: float | None = Field(description='probability of ending there; null if it did not')
    n_best: list[Candidate] = Field(description='candidates, best first, this caption included')
    view: tuple[float, float, float, float] = Field(description='part of the upright image that the model saw, as fractions of its size: left, top, '
                                                                'right, bottom; beyond 0 and 1 is padding')
    map_view: tuple[float, float, float, float] = Field(
        description='where the attention maps lie, likewise: nearly `view`, moved so that each cell is centred on the pixels it is about')
    image: Size = Field(description='of the upright image, in pixels')
    model: str = Field(description="short hash of the model's weights")
    timing: Timing

class ErrorBody(BaseModel):
    code: str = Field(description='for programs', examples=['not_an_image'])
    message: str = Field(description='for people', examples=['This is not an image in one of the formats JPEG, PNG, WEBP, GIF, BMP, TIFF.'])

class Error(BaseModel): error: ErrorBody

class CaptionsAnswer(BaseModel): results: list[CaptionAnswer | Error]

class Model(BaseModel):
    encoder: str = Field(examples=['resnet101'])
    decoder: str = Field(examples=['sat'])
    vocabulary: int = Field(examples=[2540])
    attends: bool = Field(description='are there attention maps?')
    signature: str = Field(examples=['3f2a90c1d2e4'])

class Limits(BaseModel):
    max_bytes: int
    max_pixels: int
    max_files: int
    max_beam_size: int
    formats: list[str]

class Defaults(BaseModel): beam_size: int = Field(description='as the captioner was exported')

class Info(BaseModel):
    model: Model
    defaults: Defaults
    limits: Limits
    key_required: bool

def _left_out_not_null(schema:dict)->dict: # Of one field
    "What a form can say: a field that is not wanted is not sent"
    out = {k: v for k,v in schema.items() if k not in ('title', 'anyOf')}
    if 'anyOf' not in schema: return out
    del out['default']
    return {**schema['anyOf'][0], **out}

def body_schema(field:str, most:int)->dict: # Name of the file field, and how many files it may hold
    "The multipart body, for the OpenAPI description"
    file = {'type': 'string', 'format': 'binary', 'description': 'an image'}
    files = file if most == 1 else {'type': 'array', 'items': file, 'minItems': 1, 'maxItems': most}
    options = {k: _left_out_not_null(v) for k,v in Options.model_json_schema()['properties'].items()}
    return {'requestBody': {'required': True, 'content': {'multipart/form-data': {'schema': {
        'type': 'object', 'required': [field], 'additionalProperties': False, 'properties': {field: files, **options}}}}}}
