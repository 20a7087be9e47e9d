"""A backend process with the engine and the model that Weft ships."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from tests.worker.backend.running_backend import RunningBackend, running_backend
from tests.worker.engines.answers import WEFT_TINY
from weft_common.errors import ContextLengthExceeded
from weft_proto.weft.backend.v1 import GetStatusRequest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBackend]:
    fields = {"backend": "llama-cpp", "path": str(WEFT_TINY), "context_size": 1280, "slot_count": 4}
    async with running_backend(tmp_path_factory.mktemp("tiny"), **fields) as backend:
        yield backend


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _whole(backend: RunningBackend, **fields: Any) -> dict[str, Any]:
    (frame,) = [frame async for frame in backend.completion(**fields)]
    answer: dict[str, Any] = orjson.loads(frame.data)
    return answer


async def test_the_same_seed_and_no_temperature_repeat(tiny: RunningBackend) -> None:
    asked = {"say": "Tell me a story.", "seed": 7, "temperature": 0}
    first, second = await _whole(tiny, **asked), await _whole(tiny, **asked)
    assert first["choices"] == second["choices"]
    assert first["choices"][0]["message"]["content"]
    assert first["system_fingerprint"] == second["system_fingerprint"]


async def test_a_long_stream_arrives_bit_by_bit(tiny: RunningBackend) -> None:
    before = (await tiny.backend().get_status(GetStatusRequest())).generated_token_count
    frames = tiny.completion(say="Tell me a story.", stream=True, max_tokens=1000, ignore_eos=True)
    seen = [(await anext(frames)).data]
    begun = await tiny.backend().get_status(GetStatusRequest())
    seen += [frame.data async for frame in frames]
    text = b"".join(seen)
    assert begun.in_flight_count == 1
    assert begun.generated_token_count - before < 1000
    assert len(seen) >= 20
    assert max(map(len, seen)) < 0.2 * len(text)
    assert text.count(b"[DONE]") == 1
    assert b'"finish_reason":"length"' in text


async def test_a_prompt_beyond_the_slots_context_is_refused(tiny: RunningBackend) -> None:
    with pytest.raises(ContextLengthExceeded, match="maximum context length is 1280 tokens"):
        await _whole(tiny, say="hello " * 2000)


async def test_the_librarys_words_stay_out_of_the_log(tiny: RunningBackend) -> None:
    await _whole(tiny, say="Repeat: xyzzy", max_tokens=5)
    assert "xyzzy" not in str(tiny.log())
