"""What the server can be told: as flags, or as environment variables that begin with IMCAP_ (IMCAP_PORT=80)."""
from pathlib import Path
from typing import Annotated

from limits import parse
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg, NoDecode, SettingsConfigDict

FORMATS = ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF') # what is decoded; anything else is refused by its first bytes
MAX_BEAM = 10

class Settings(BaseSettings):
    "Serve an exported image captioner: a page at /, an API at /caption, its description at /docs."
    model_config = SettingsConfigDict(env_prefix='IMCAP_', cli_kebab_case=True, cli_implicit_flags=True, cli_prog_name='imcap_serve', extra='ignore',
                                      cli_hide_none_type=True, cli_avoid_json=True)
    model: CliPositionalArg[Path | None] = Field(None, description='folder (from export_captioner) or .pkl file (from learn.export)')
    trust: bool = Field(False, description='load a .pkl file: it can run any code, so only one that you made or whose maker you trust')
    sha256: str | None = Field(None, pattern='^[0-9a-fA-F]{64}$', description='load a .pkl file if it is this very one, or a folder if its captioner.json is')
    host: str = Field('127.0.0.1', description='address to listen at; 0.0.0.0 is every network the machine is in')
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8012, description='0 takes a free one')
    device: str = Field('auto', description='auto (the best there is), cuda, cuda:1, mps or cpu')
    threads: int | None = Field(None, ge=1, description='threads of the model (default: what PyTorch takes)')
    max_batch: int = Field(8, ge=1, le=256, description='images captioned together; 1 is one at a time')
    queue_size: int = Field(64, ge=1, description='images taken in at a time, from the first byte to the answer; further ones get 503')
    max_bytes: int = Field(10 * 2**20, ge=1, description='bytes of a request')
    max_pixels: int = Field(40_000_000, ge=1, description='width times height of an image')
    max_files: int = Field(16, ge=1, description='images of a request to /captions')
    upload_timeout: float = Field(20, gt=0, description='seconds that an upload may take')
    request_timeout: float = Field(30, gt=0, description='seconds that a caption may take once the image is here, waiting included')
    shutdown_timeout: int = Field(60, ge=0, description='seconds to finish what was accepted when told to stop')
    api_key: SecretStr | None = Field(None, min_length=1, description=
        'ask for this in the header X-API-Key; set it as IMCAP_API_KEY, which no list of processes shows')
    rate_limit: str | None = Field(None, description="requests a client, such as '60/minute'")
    proxy: str | None = Field(None, description='address of the proxy in front: its word (X-Forwarded-For) is taken for who the client is')
    cors_origins: Annotated[list[str], NoDecode] = Field([], description='other sites whose pages may ask, such as https://example.org; separated by commas')
    root_path: str = Field('', description='path under which a proxy serves this')

    @field_validator('cors_origins', mode='before')
    @classmethod
    def _origins(cls, v): return [o for part in ([v] if isinstance(v, str) else v) for o in part.split(',') if o]

    @model_validator(mode='after')
    def _room(self):
        if self.queue_size < self.max_files:
            raise ValueError(f"queue_size {self.queue_size} is less than max_files {self.max_files}: such a request could never be taken in")
        return self

    @field_validator('rate_limit')
    @classmethod
    def _rate(cls, v):
        if v is not None:
            try: parse(v)
            except ValueError as e: raise ValueError(f"{v!r} is no rate; write for example 60/minute") from e
        return v
