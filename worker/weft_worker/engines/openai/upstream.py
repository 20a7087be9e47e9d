"""What a model file says of an upstream, and the key that this machine has for it."""

import os
import re
import stat
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import httpx
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from weft_common.duration import Duration
from weft_common.errors import LoadFailed
from weft_common.remote_backends import OURS, check_no_secrets

_MAX_KEY_BYTES = 16 << 10
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_POSITIVE = Field(gt=timedelta(0), le=timedelta(days=1))


class Upstream(BaseModel):
    """The `options` of a model file for an upstream engine; docs/engines.md has them for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str
    key_file: str = ""
    key_env: str = ""
    key_header: str = "authorization"
    ca_file: str = ""
    connect_timeout: Annotated[Duration, _POSITIVE] = timedelta(seconds=5)
    first_token_timeout: Annotated[Duration, _POSITIVE] = timedelta(seconds=120)
    timeout: Annotated[Duration, _POSITIVE] = timedelta(seconds=240)
    silence_timeout: Annotated[Duration, _POSITIVE] = timedelta(seconds=60)
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    probe: Literal["chat", "models"] = "chat"
    vision: bool = False
    json_schema: bool = True
    grammar_field: Annotated[str, Field(pattern=r"^[a-z_]*$", max_length=64)] = ""

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, value: str) -> str:
        try:
            url = httpx.URL(value)
        except httpx.InvalidURL:
            raise ValueError("no URL") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("a URL of http or https is needed, such as http://127.0.0.1:8000/v1")
        return value

    @model_validator(mode="after")
    def _check(self) -> "Upstream":
        if self.key_file and self.key_env:
            raise ValueError("only one of key_file and key_env can hold the key")
        if not _HEADER.fullmatch(self.key_header):
            raise ValueError("key_header: the name of a header is needed")
        return self

    @property
    def origin(self) -> str:
        """Where the upstream is, in words that hold no credential."""
        url = httpx.URL(self.base_url)
        return f"{url.scheme}://{url.netloc.rpartition(b'@')[2].decode()}"

    def url(self, path: str) -> httpx.URL:
        """The address of one of its resources, such as `chat/completions`."""
        base = httpx.URL(self.base_url)
        return base.copy_with(path=f"{base.path.rstrip('/')}/{path}")


def read_upstream(options: Mapping[str, str]) -> Upstream:
    """Read the options of a model file; raises LoadFailed that names the first bad one, and never a value."""
    try:
        check_no_secrets(options)
        return Upstream.model_validate({key: value for key, value in options.items() if key not in OURS})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(("options", *map(str, first["loc"])))
        raise LoadFailed(f"{field}: {first['msg']}. The engine for upstreams cannot use that.") from None
    except ValueError as error:
        raise LoadFailed(f"options: {error}.") from None


def read_key(upstream: Upstream) -> SecretStr | None:
    """Read the key on this machine; blocks. Raises LoadFailed with what is wrong, without a word of the key."""
    if upstream.key_env:
        where = f"the environment variable {upstream.key_env} of the worker"
        raw = os.environ.get(upstream.key_env, "")  # noqa: TID251 (the model file names it)
    elif upstream.key_file:
        where = f"the key file {upstream.key_file}"
        raw = _file_text(Path(upstream.key_file))
    else:
        return None
    key = raw.strip()
    if not key:
        raise LoadFailed(f"There is no key for the upstream: {where} is not there or empty, on this node.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise LoadFailed(f"What {where} holds is no key: one word of printable ASCII is needed.")
    return SecretStr(key)


def _file_text(path: Path) -> str:
    try:
        # Not a pipe or a terminal, which would be waited for.
        if not stat.S_ISREG(path.stat().st_mode):
            raise LoadFailed(f"The key file {path} is no regular file on this node.")
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES).decode(errors="replace")
    except OSError as error:
        raise LoadFailed(f"The key file {path} cannot be read on this node: {error.strerror}.") from None
