"""API keys from a file: who calls. The file holds digests only and is read again when it changes."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft_common.errors import InvalidApiKey
from weft_gateway.keys_file import UnusableKeys, parse_keys

_LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a key stands for."""

    name: str
    weight: float
    priority: int


class KeyRing:
    """Knows principals by the digest of their key.

    State: `_principals`, `_stamp` (the file as it was judged last, well or badly) and `_said` (what was logged last, so
    that a file that stays broken is told of once).
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._principals: Mapping[str, Principal] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._said: tuple[str, ...] = ()

    def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """The principal of a request; raises InvalidApiKey."""
        keys = _keys(headers)
        if not keys:
            raise InvalidApiKey(
                "You didn't provide an API key. Provide it in an Authorization header with Bearer auth"
                " (Authorization: Bearer YOUR_KEY), or in the header x-api-key."
            )
        for key in keys:
            digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
            if principal := self._principals.get(digest):
                return principal
        raise InvalidApiKey("Incorrect API key provided.")

    def read(self) -> None:
        """Read the file if it changed; one that cannot be used leaves the keys as they were."""
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
            if stamp == self._stamp:
                return
            content = self._file.read_bytes()
        except OSError as error:  # looked for again each time: it may come back as it was
            self._stamp = None
            self._reject(f"cannot be read: {error.strerror}")
            return
        self._stamp = stamp
        try:
            parsed = parse_keys(content)
        except UnusableKeys as error:
            self._reject(*error.problems)
            return
        self._principals = {k.sha256: Principal(k.name, k.weight, k.priority) for k in parsed.keys}
        self._said = ()
        _log.info("keys_read", extra={"count": len(self._principals)})

    def _reject(self, *problems: str) -> None:
        if problems != self._said:
            self._said = problems
            _log.warning("keys_file_rejected", extra={"file": str(self._file), "problems": list(problems)})

    async def follow(self) -> None:
        """Look at the file for ever."""
        while True:
            self.read()
            await asyncio.sleep(_LOOK_SECONDS)


def _keys(headers: Mapping[str, str]) -> Sequence[str]:
    """The key as OpenAI's and Ollama's clients send it, then as Anthropic's do: either place may hold a stranger's
    token, since clients are told to send some, and proxies send their own.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    found = (token if scheme.lower() == "bearer" else "", headers.get("x-api-key", ""))
    return [key for each in found if (key := each.strip())]
