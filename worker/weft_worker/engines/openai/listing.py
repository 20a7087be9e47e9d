"""The upstream's list of models."""

import asyncio
from collections.abc import Sequence

import httpx
import orjson

from weft_worker.engines.openai.attempt import OK, Line, key_header, read, require_api, within
from weft_worker.engines.openai.failures import read_words

_SECONDS = 10.0
_MAX_BYTES = 4 << 20
_NO_LIST = (404, 405, 501)


async def listed_models(line: Line, key: str) -> Sequence[str] | None:
    """Name the models; None where it has no list. Raises Trouble, KeyRefused and WeftError."""
    when = asyncio.get_running_loop().time() + _SECONDS
    request = line.client.build_request("GET", line.upstream.url("models"), headers=key_header(line, key))
    response = await within(line, when, line.client.send(request, stream=True))
    try:
        body = await within(line, when, read(response.aiter_bytes(), _MAX_BYTES))
    finally:
        await response.aclose()
    return _names(line, response, body, key)


def _names(line: Line, response: httpx.Response, body: bytes, key: str) -> Sequence[str] | None:
    if response.status_code in _NO_LIST:
        return None
    if response.status_code != OK:
        raise line.upset.of_status(read_words(body, response.status_code, key), response.headers)
    require_api(line, response)
    try:
        return [str(model["id"]) for model in orjson.loads(body)["data"]]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
