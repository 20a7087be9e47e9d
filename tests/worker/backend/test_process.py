"""The backend process from outside: what it answers to clients, over real gRPC."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from tests.eye import png
from tests.worker.backend.running_backend import COMPLETIONS, SECRET, RunningBackend, running_backend
from weft_common.clock import SystemClock
from weft_common.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    InvalidTicket,
    NotInMesh,
    ReplicaClosing,
    ReplicaFull,
)
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_proto.weft.backend.v1 import GetStatusRequest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBackend]:
    """One process for all tests that leave it as they found it."""
    async with running_backend(tmp_path_factory.mktemp("backend")) as backend:
        yield backend


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _frames(call: Any) -> list[Any]:
    return [frame async for frame in call]


def _events(frames: list[Any]) -> list[Any]:
    text = b"".join(frame.data for frame in frames).decode()
    assert text.endswith("\n\n")
    events = [event.removeprefix("data: ") for event in text.removesuffix("\n\n").split("\n\n")]
    return [event if event == "[DONE]" else orjson.loads(event) for event in events]


def _error_body(error: BaseException) -> dict[str, Any]:
    """Read what Envoy would send to an HTTP client."""
    cause = error.__cause__
    assert isinstance(cause, grpc.aio.AioRpcError)
    assert not cause.initial_metadata(), "nothing may be sent before the first token"
    trailing = dict(cause.trailing_metadata() or ())
    body = orjson.loads(base64.b64decode(trailing["x-weft-error"]))
    return {"status": trailing["x-weft-http-status"], **body["error"]}


async def test_a_buffered_completion_is_one_json_frame(shared: RunningBackend) -> None:
    (frame,) = await _frames(shared.completion(max_tokens=3))
    assert frame.content_type == "application/json"
    answer = orjson.loads(frame.data)
    assert answer["id"].startswith("chatcmpl-")
    assert answer["choices"][0]["message"]["content"] == "t0 t1 t2 "
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == 4


async def test_a_stream_is_role_deltas_reason_usage_done(shared: RunningBackend) -> None:
    frames = await _frames(
        shared.completion(say="tokens=2 delay_ms=2", stream=True, stream_options={"include_usage": True})
    )
    # The end travels with the last text.
    assert [frame.content_type for frame in frames] == ["text/event-stream", ""]
    *chunks, done = _events(frames)
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "t0 "},
        {"content": "t1 "},
        {},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    "offered",
    [
        {"tools": [{"type": "function", "function": {"name": "write"}}]},
        {"tools": [{"type": "custom", "custom": {"name": "write"}}]},
        {"functions": [{"name": "write"}]},
    ],
)
async def test_a_stream_that_begins_with_a_call_has_no_content(
    shared: RunningBackend, offered: dict[str, Any]
) -> None:
    frames = await _frames(shared.completion(say="call_letters=1", stream=True, **offered))
    *chunks, _ = _events(frames)
    first, *others = (chunk["choices"][0]["delta"] for chunk in chunks)
    assert first == {"role": "assistant", "content": None, "refusal": None}
    assert not [delta for delta in others if "content" in delta]


async def test_the_typed_chat_streams_deltas_and_one_finish(shared: RunningBackend) -> None:
    answers = await _frames(shared.chat("tokens=2 delay_ms=2"))
    assert [answer.WhichOneof("event") for answer in answers] == ["delta", "delta", "finish"]
    assert "".join(answer.delta for answer in answers) == "t0 t1 "
    assert answers[-1].finish.reason == pb.FINISH_REASON_STOP
    assert answers[-1].finish.usage == pb.Usage(prompt_token_count=2, completion_token_count=2)


async def test_a_stop_string_ends_the_answer_and_is_no_part_of_it(shared: RunningBackend) -> None:
    (frame,) = await _frames(shared.completion(stop=["t2"]))
    choice = orjson.loads(frame.data)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("t0 t1 ", "stop")


async def test_a_bad_field_is_refused_in_openais_words(shared: RunningBackend) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await _frames(shared.completion(max_tokens="abc"))
    body = _error_body(caught.value)
    assert (body["status"], body["type"], body["param"]) == ("400", "invalid_request_error", "max_tokens")
    assert "max_tokens" in body["message"]


async def test_malformed_json_is_refused(shared: RunningBackend) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await _frames(shared.raw_completion(b'{"model": '))
    assert _error_body(caught.value)["status"] == "400"


async def test_a_prompt_that_does_not_fit_is_refused_with_openais_code(shared: RunningBackend) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        await _frames(shared.completion(say="word " * 3000))
    assert _error_body(caught.value)["code"] == "context_length_exceeded"


async def test_a_failure_before_the_first_token_is_a_status_without_metadata(shared: RunningBackend) -> None:
    with pytest.raises(EngineFailed, match="told to fail at token 0") as caught:
        await _frames(shared.completion(say="fail_at=0", stream=True))
    body = _error_body(caught.value)
    assert (body["status"], body["type"]) == ("500", "server_error")


async def test_a_failure_in_a_buffered_answer_is_a_status(shared: RunningBackend) -> None:
    with pytest.raises(EngineFailed, match="told to fail at token 3") as caught:
        await _frames(shared.completion(say="fail_at=3"))
    assert _error_body(caught.value)["code"] == "engine_failed"


async def test_what_native_code_panics_with_ends_its_own_request_only(shared: RunningBackend) -> None:
    with pytest.raises(EngineFailed, match="told to panic"):
        await _frames(shared.completion(say="panic_at=1"))
    assert await _frames(shared.completion(say="tokens=2"))


async def test_a_failure_in_a_stream_is_an_event_and_a_clean_end_without_done(shared: RunningBackend) -> None:
    events = _events(await _frames(shared.completion(say="fail_at=2", stream=True)))
    assert [event["choices"][0]["delta"].get("content") for event in events[:-1]] == ["", "t0 ", "t1 "]
    assert events[-1]["error"]["code"] == "engine_failed"


async def test_a_failure_in_a_typed_stream_is_its_last_message(shared: RunningBackend) -> None:
    *deltas, last = await _frames(shared.chat("fail_at=1"))
    assert [answer.delta for answer in deltas] == ["t0 "]
    assert last.failure.reason == "ENGINE_FAILED"


async def test_nothing_at_all_is_sent_before_the_first_token(shared: RunningBackend, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    body = {
        "messages": [{"role": "user", "content": f"tokens=2 gate_file={gate}"}],
        "stream": True,
        "model": "m",
    }
    frame = httpbody_pb2.HttpBody(data=orjson.dumps(body)).SerializeToString()
    call = shared.channel.unary_stream(COMPLETIONS)(frame, metadata=(("x-weft-ticket", shared.ticket()),))
    headers = asyncio.ensure_future(call.initial_metadata())
    await shared.agent.load(lambda load: load.in_flight == 1)
    assert not headers.done()
    gate.touch()
    # Metadata of our own would travel ahead of the token, in a packet of its own.
    assert [key for key in dict(await headers) if key.startswith("x-weft-")] == []
    assert len(await _frames(call)) == 2


@pytest.mark.parametrize(
    "change",
    [{"secret": "00" * 32}, {"seconds": -5}],
    ids=["forged", "expired"],
)
async def test_a_call_with_a_bad_ticket_is_refused(shared: RunningBackend, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidTicket) as caught:
        await _frames(shared.completion({"x-weft-ticket": shared.ticket(**change)}))
    assert _error_body(caught.value)["status"] == "403"
    with pytest.raises(InvalidTicket):
        await _frames(shared.chat(metadata={"x-weft-ticket": shared.ticket(**change)}))


async def test_a_call_for_another_replica_goes_on_to_its_fallback(shared: RunningBackend) -> None:
    ticket = {"x-weft-ticket": shared.ticket(id="another")}
    with pytest.raises(ReplicaClosing) as caught:  # UNAVAILABLE, which Envoy tries elsewhere
        await _frames(shared.completion(ticket))
    assert _error_body(caught.value)["status"] == "503"
    with pytest.raises(ReplicaClosing):
        await _frames(shared.chat(metadata=ticket))


async def test_a_model_that_cannot_see_refuses_images(shared: RunningBackend) -> None:
    parts = [pb.ContentPart(text="Hi"), pb.ContentPart(image=pb.Image(data=png((1, 2, 3))))]
    request = pb.ChatRequest(model="m", messages=[pb.Message(role=pb.ROLE_USER, parts=parts)])
    with pytest.raises(InvalidRequest, match="The model 'm' cannot see images"):
        await _frames(shared.typed(request))


async def test_a_call_without_a_ticket_is_refused_before_its_body_is_read(shared: RunningBackend) -> None:
    with pytest.raises(InvalidTicket, match="with a ticket only"):
        await _frames(shared.raw_completion(b"{", {"x-weft-ticket": ""}))


async def test_the_backend_service_is_for_the_mesh_only(shared: RunningBackend) -> None:
    with pytest.raises(NotInMesh):
        await shared.backend(secret="00" * 32).get_status(GetStatusRequest())


async def test_a_deadline_that_passes_before_the_first_token_is_a_status(
    shared: RunningBackend, tmp_path: Path
) -> None:
    soon = str(int((SystemClock().wall() + 0.1) * 1000))
    with pytest.raises(DeadlineExceeded):
        await _frames(shared.chat(f"gate_file={tmp_path}/none", {"x-weft-deadline": soon}))
    await shared.agent.load(lambda load: load.in_flight == 0)


async def test_a_deadline_that_passes_in_a_stream_is_an_event(shared: RunningBackend) -> None:
    soon = str(int((SystemClock().wall() + 0.5) * 1000))
    call = shared.completion({"x-weft-deadline": soon}, say="delay_ms=20 tokens=1000", stream=True)
    assert _events(await _frames(call))[-1]["error"]["code"] == "deadline_exceeded"


async def test_picks_are_reported_when_they_have_arrived(shared: RunningBackend) -> None:
    await _frames(shared.chat(metadata={"x-weft-pick": "gateway-b/1"}))
    await _frames(shared.chat(metadata={"x-weft-pick": "gateway-b/3"}))
    load = await shared.agent.load(lambda load: any(3 in picks.beyond for picks in load.picks))
    seen = {picks.gateway_id: (picks.contiguous, picks.beyond) for picks in load.picks}
    assert seen["gateway-b"] == (1, (3,))


async def test_every_request_leaves_one_line_without_its_content(shared: RunningBackend) -> None:
    await _frames(shared.completion(say="tokens=4 confidential"))
    line = [line for line in shared.log() if line["event"] == "request_ended"][-1]
    assert (line["request_id"], line["principal"], line["model"]) == ("req-1", "alice", "m")
    assert (line["outcome"], line["finish_reason"], line["completion_token_count"]) == ("ok", "stop", 4)
    assert 0 <= line["queued_ms"] <= line["first_token_ms"] <= line["total_ms"]
    assert "confidential" not in str(shared.log())
    assert SECRET not in str(shared.log())


async def test_a_full_replica_refuses_and_takes_work_again(shared: RunningBackend, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waiting = [asyncio.ensure_future(_frames(shared.chat(f"gate_file={gate}"))) for _ in range(4)]
    await shared.agent.load(lambda load: (load.in_flight, load.queued) == (2, 2))
    with pytest.raises(ReplicaFull) as caught:
        await _frames(shared.completion())
    assert _error_body(caught.value)["status"] == "429"
    assert caught.value.retry_after is not None
    gate.touch()
    assert all(answers[-1].HasField("finish") for answers in await asyncio.gather(*waiting))
    await _frames(shared.chat())


async def test_a_full_replica_takes_what_it_has_refused_once_its_fallback_is_lost(
    shared: RunningBackend, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    waiting = [asyncio.ensure_future(_frames(shared.chat(f"gate_file={gate}"))) for _ in range(4)]
    await shared.agent.load(lambda load: (load.in_flight, load.queued) == (2, 2))
    with pytest.raises(ReplicaFull):
        await _frames(shared.chat(metadata={"x-envoy-attempt-count": "1"}))
    back = asyncio.ensure_future(_frames(shared.chat(metadata={"x-envoy-attempt-count": "3"})))
    await shared.agent.load(lambda load: (load.in_flight, load.queued) == (2, 3))
    gate.touch()
    assert all(answers[-1].HasField("finish") for answers in await asyncio.gather(*waiting, back))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_slot(
    shared: RunningBackend, tmp_path: Path, stream: bool
) -> None:
    count = tmp_path / "count"
    call = shared.completion(
        say=f"tokens=100000 delay_ms=5 count_file={count}", stream=stream, ignore_eos=True
    )
    reading = asyncio.ensure_future(anext(call))
    await shared.agent.load(lambda load: load.in_flight == 1)
    if stream:
        await reading
    call.cancel()
    await shared.agent.load(lambda load: load.in_flight == 0)
    generated = count.stat().st_size if count.exists() else 0
    await _frames(shared.chat("tokens=10 delay_ms=10"))
    assert (count.stat().st_size if count.exists() else 0) == generated
    await asyncio.wait([reading])
    reading.exception()


async def test_a_client_that_leaves_the_queue_frees_its_place(shared: RunningBackend, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    calls = [shared.chat(f"gate_file={gate}") for _ in range(3)]
    reading = [asyncio.ensure_future(_frames(call)) for call in calls]
    await shared.agent.load(lambda load: (load.in_flight, load.queued) == (2, 1))
    calls[2].cancel()
    await shared.agent.load(lambda load: (load.in_flight, load.queued) == (2, 0))
    gate.touch()
    await asyncio.gather(*reading, return_exceptions=True)
