"""Where bodies are read."""

import threading

import pytest

from weft_common.errors import InvalidRequest
from weft_worker.backend.bodies import read_body


@pytest.mark.parametrize(("size", "is_aside"), [(0, False), (1000, False), (1 << 20, True)])
async def test_large_bodies_are_read_beside_the_loop(size: int, is_aside: bool) -> None:
    here = threading.get_ident()
    told = await read_body(lambda body: (len(body), threading.get_ident() != here), bytes(size))
    assert told == (size, is_aside)


@pytest.mark.parametrize("size", [10, 1 << 20])
async def test_what_is_wrong_with_a_body_is_raised(size: int) -> None:
    def refuse(_: bytes) -> None:
        raise InvalidRequest("No.")

    with pytest.raises(InvalidRequest, match="No"):
        await read_body(refuse, bytes(size))
