"""A real backend process goes on with texts, by the way of all calls."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from tests.worker.backend.running_backend import RunningBackend, running_backend
from weft_common.errors import ContextLengthExceeded, InvalidRequest, InvalidTicket
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

COMPLETE = "/weft.inference.v1.InferenceService/Complete"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBackend]:
    """One process for all tests, which leave it as they found it."""
    async with running_backend(tmp_path_factory.mktemp("backend"), context_size=64) as backend:
        yield backend


def answer(backend: RunningBackend, *, ticket: str | None = None, **fields: Any) -> Any:
    metadata = {"x-weft-ticket": ticket} if ticket else {}
    request = pb.CompleteRequest(model="m", **fields)
    return backend.client(**metadata).stream(COMPLETE, request, pb.CompleteResponse)


async def test_a_text_goes_on(shared: RunningBackend) -> None:
    steps = [step async for step in answer(shared, text="Once upon", echo=True, sampling={"max_tokens": 3})]
    assert "".join(step.delta for step in steps) == "Once upont0 t1 t2 "
    assert steps[-1].finish.reason == pb.FINISH_REASON_LENGTH
    assert steps[-1].finish.usage == pb.Usage(prompt_token_count=2, completion_token_count=3)
    line = [line for line in shared.log() if line["event"] == "request_ended"][-1]
    assert (line["rpc"], line["completion_token_count"]) == ("Complete", 3)
    assert "upon" not in str(shared.log())


async def test_a_failure_after_the_first_word_is_told_in_its_place(shared: RunningBackend) -> None:
    steps = [step async for step in answer(shared, text="fail_at=2")]
    assert [step.WhichOneof("event") for step in steps] == ["delta", "delta", "failure"]
    assert steps[-1].failure.reason == "ENGINE_FAILED"


async def test_what_cannot_be_done_is_refused_before_any_word(shared: RunningBackend) -> None:
    with pytest.raises(
        ContextLengthExceeded, match=r"maximum context length is 64 tokens, however you requested 90"
    ):
        await anext(answer(shared, text="word " * 85, sampling={"max_tokens": 5}))
    with pytest.raises(InvalidRequest, match="suffix"):
        await anext(answer(shared, text="a", suffix="b"))
    with pytest.raises(InvalidRequest, match="prompt"):
        await anext(answer(shared))
    with pytest.raises(InvalidTicket):
        await anext(answer(shared, text="a", ticket=shared.ticket(seconds=-1)))


async def test_one_of_several_texts_that_does_not_fit_is_found_before_any_is_begun(
    shared: RunningBackend,
) -> None:
    body = httpbody_pb2.HttpBody(
        content_type="application/json",
        data=orjson.dumps({"model": "m", "prompt": ["a", "word " * 70], "stream": True}),
    )
    stream = shared.client().stream(
        "/weft.dialect.v1.OpenAIService/CreateCompletion", body, httpbody_pb2.HttpBody
    )
    with pytest.raises(ContextLengthExceeded, match="70 in your prompt"):
        await anext(stream)
