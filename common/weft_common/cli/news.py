"""What a start tells whoever watches it, here or through a pipe."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from weft_common.part import PartState
from weft_common.supervisor import PartChanged


@dataclass(frozen=True, slots=True)
class Serving:
    """All parts are up and a request was answered; `model` is one to try, None where none answers conversations."""

    url: str
    join_url: str
    key_file: str
    join_token_file: str
    model: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Stopping:
    """Somebody asked for the end."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """All parts have ended as asked."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The start came to nothing."""

    reason: str


News = PartChanged | Serving | Stopping | Stopped | Failed
Teller = Callable[[News], None]
_KINDS = {kind.__name__: kind for kind in (PartChanged, Serving, Stopping, Stopped, Failed)}


def encode(news: News) -> bytes:
    """Return one line of JSON."""
    return json.dumps({"kind": type(news).__name__, **asdict(news)}).encode() + b"\n"


def decode(line: bytes) -> News:
    """Read what `encode` wrote."""
    fields = json.loads(line)
    kind = _KINDS[fields.pop("kind")]
    if kind is PartChanged:
        fields["state"] = PartState(fields["state"])
    return kind(**fields)
