"""Pages of a list: a token names the last item of the page before it, so that changes in between shift nothing."""

import base64
import binascii
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

from weft_common.errors import FieldViolation, InvalidRequest

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

T = TypeVar("T")


def page(items: Iterable[T], *, size: int, token: str, key: Callable[[T], str]) -> tuple[list[T], str]:
    """The items after a token, sorted by key, and the token of the next page: empty on the last one.

    A size of 0 or less is the default one, and one that is too large the largest (AIP-158).
    """
    after = _last_key(token)
    size = min(size, MAX_PAGE_SIZE) if size > 0 else DEFAULT_PAGE_SIZE
    rest = (item for item in sorted(items, key=key) if not token or key(item) > after)
    found = list(islice(rest, size + 1))
    if len(found) <= size:
        return found, ""
    return found[:size], _token(key(found[size - 1]))


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _last_key(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError) as error:
        violation = FieldViolation("page_token", "the next_page_token of an earlier answer is needed")
        raise InvalidRequest(f"page_token: {violation.description}", violations=[violation]) from error
