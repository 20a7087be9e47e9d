"""HttpBody frames written by hand are what the real class reads."""

import pytest
from google.api import httpbody_pb2

from weft_worker.dialects.http_body import http_body


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 3_000_000])
@pytest.mark.parametrize("content_type", [b"", b"text/event-stream"])
def test_a_frame_is_read_by_the_real_class(size: int, content_type: bytes) -> None:
    frame = httpbody_pb2.HttpBody.FromString(http_body(b"x" * size, content_type))
    assert frame == httpbody_pb2.HttpBody(content_type=content_type.decode(), data=b"x" * size)
