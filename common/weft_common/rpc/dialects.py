"""Refusals of an rpc that a foreign dialect's client made: Envoy is told beside the status what it is to answer."""

import base64
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

from weft_common.dialect_errors import error_body
from weft_common.dialects import Dialect
from weft_common.errors import InternalError, WeftError
from weft_common.rpc.context import CallContext, current_call

_logger = logging.getLogger(__name__)


def told(error: WeftError, dialect: Dialect) -> WeftError:
    """The error, to be raised, once the call's trailers tell it in a dialect's words."""
    call = current_call()
    call.add_trailing_metadata(_metadata(error, dialect, call))
    return error


@contextmanager
def told_in(dialect: Dialect, call: CallContext) -> Iterator[None]:
    """Send with a refusal what Envoy needs to make it the dialect's: status, body, and when to come again."""
    try:
        yield
    except WeftError as error:
        call.add_trailing_metadata(_metadata(error, dialect, call))
        raise
    except Exception as error:  # the outermost edge of the rpc
        _logger.exception("rpc_failed")
        unforeseen = InternalError("This failed in a way that nobody foresaw; the log here says more.")
        call.add_trailing_metadata(_metadata(unforeseen, dialect, call))
        raise unforeseen from error


def _metadata(error: WeftError, dialect: Dialect, call: CallContext) -> Iterator[tuple[str, str]]:
    body = error_body(dialect, error, call.metadata.get("x-request-id", ""))
    yield "x-weft-http-status", str(error.http_status)
    yield "x-weft-error", base64.b64encode(body).decode()
    if error.retry_after is not None:
        yield "retry-after", str(math.ceil(error.retry_after.total_seconds()))
