"""API keys from a file: who calls. The file holds digests only and is read again when it changes."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from weft_common.errors import InvalidApiKey

_LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)


class KeyEntry(BaseModel):
    """One key of keys.yaml; `weight` and `priority` order waiting requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=255)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    weight: Annotated[float, Field(gt=0, le=1000)] = 1
    priority: Annotated[int, Field(ge=-100, le=100)] = 0


class KeysFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    keys: list[KeyEntry] = []


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a key stands for."""

    name: str
    weight: float
    priority: int


class KeyRing:
    """Knows principals by the digest of their key; state: `_principals` and `_stamp`, the file's last look."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._principals: Mapping[str, Principal] = {}
        self._stamp: tuple[int, int] | None = None

    def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """The principal of a request; raises InvalidApiKey."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise InvalidApiKey(
                "You didn't provide an API key. Provide it in an Authorization header with Bearer auth"
                " (Authorization: Bearer YOUR_KEY)."
            )
        digest = hashlib.sha256(key.strip().encode(errors="surrogateescape")).hexdigest()
        principal = self._principals.get(digest)
        if principal is None:
            raise InvalidApiKey("Incorrect API key provided.")
        return principal

    def read(self) -> None:
        """Read the file if it changed; one that cannot be used leaves the keys as they were."""
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return
            content = KeysFile.model_validate(yaml.safe_load(self._file.read_text()) or {})
        except (OSError, yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
            # The content of the file stays out of the log: somebody may have put a key in clear into it.
            _log.warning("keys_file_rejected", extra={"file": str(self._file), "error": type(error).__name__})
            return
        self._principals = {k.sha256: Principal(k.name, k.weight, k.priority) for k in content.keys}
        self._stamp = stamp
        _log.info("keys_read", extra={"count": len(self._principals)})

    async def follow(self) -> None:
        """Look at the file for ever."""
        while True:
            self.read()
            await asyncio.sleep(_LOOK_SECONDS)
