"""A real backend process that is asked as Anthropic's clients ask."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from tests.e2e.sdk.shapes import ANTHROPIC_ERROR, MESSAGE, MESSAGE_EVENT
from tests.eye import IMAGE_TOKENS, png, write_projector
from tests.worker.backend.running_backend import RunningBackend, running_backend
from tests.worker.engines.answers import WEFT_TINY
from weft_common.errors import ContextLengthExceeded, InvalidRequest, WeftError

SERVICE = "/weft.dialect.v1.AnthropicService"
WHAT = {"type": "text", "text": "What is this?"}
WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chatty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBackend]:
    """One process for all tests that leave it as they found it; its model thinks if it is asked to."""
    options = {"delay_ms": "2", "thoughts": "2"}
    async with running_backend(tmp_path_factory.mktemp("backend"), options=options) as backend:
        yield backend


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tiny(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBackend]:
    """The model that Weft ships."""
    fields: dict[str, Any] = {
        "backend": "llama-cpp",
        "path": str(WEFT_TINY),
        "context_size": 768,
        "slot_count": 2,
    }
    async with running_backend(tmp_path_factory.mktemp("tiny"), **fields) as backend:
        yield backend


async def frames(backend: RunningBackend, rpc: str = "CreateMessage", **fields: Any) -> list[Any]:
    metadata = fields.pop("metadata", {})
    asked: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": fields.pop("say", "Say something")}],
    }
    if rpc == "CreateMessage":
        asked["max_tokens"] = 5
    body = httpbody_pb2.HttpBody(content_type="application/json", data=orjson.dumps(asked | fields))
    client = backend.client(**metadata)
    return [frame async for frame in client.stream(f"{SERVICE}/{rpc}", body, httpbody_pb2.HttpBody)]


async def whole(backend: RunningBackend, **fields: Any) -> Any:
    (frame,) = await frames(backend, **fields)
    assert frame.content_type == "application/json"
    told = orjson.loads(frame.data)
    MESSAGE.check(told)
    return told


async def streamed(backend: RunningBackend, **fields: Any) -> list[Any]:
    told = await frames(backend, stream=True, **fields)
    assert told[0].content_type == "text/event-stream"
    blocks = b"".join(frame.data for frame in told).decode().split("\n\n")
    assert blocks.pop() == ""
    events = [orjson.loads(block.partition("\ndata: ")[2]) for block in blocks]
    names = [block.partition("\n")[0].removeprefix("event: ") for block in blocks]
    assert names == [event["type"] for event in events]
    for event in events:
        if event["type"] not in ("ping", "error"):
            MESSAGE_EVENT.check(event)
    return events


async def counted(backend: RunningBackend, **fields: Any) -> int:
    (frame,) = await frames(backend, "CountMessageTokens", **fields)
    count = orjson.loads(frame.data)["input_tokens"]
    assert isinstance(count, int)
    return count


async def refusal(backend: RunningBackend, kind: type[WeftError] = InvalidRequest, **fields: Any) -> str:
    with pytest.raises(kind) as caught:
        await frames(backend, **fields)
    return caught.value.message


def _read(usage: dict[str, int]) -> int:
    return usage["input_tokens"] + usage["cache_read_input_tokens"]


def text_of(events: list[Any]) -> str:
    return "".join(
        event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta"
    )


async def test_a_message_as_one_object(chatty: RunningBackend) -> None:
    told = await whole(chatty, system="Be brief.", max_tokens=2)
    assert told["content"] == [{"type": "text", "text": "t0 t1 "}]
    assert (told["stop_reason"], told["model"], told["role"]) == ("max_tokens", "m", "assistant")
    assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (4, 2)


async def test_a_message_as_a_stream(chatty: RunningBackend) -> None:
    events = await streamed(chatty, max_tokens=2)
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert text_of(events) == "t0 t1 "
    assert (events[-2]["delta"]["stop_reason"], events[-2]["usage"]["output_tokens"]) == ("max_tokens", 2)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_stop_sequence_that_was_found_is_told(chatty: RunningBackend, stream: bool) -> None:
    asked: dict[str, Any] = {"max_tokens": 9, "stop_sequences": ["never", "1 t2"]}
    told = (await streamed(chatty, **asked))[-2]["delta"] if stream else await whole(chatty, **asked)
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "1 t2")


async def test_a_model_thinks_only_where_it_is_asked_to(chatty: RunningBackend) -> None:
    (said,) = (await whole(chatty))["content"]
    assert said["type"] == "text"
    told = await whole(chatty, thinking={"type": "adaptive"})
    thought, said = told["content"]
    assert (thought["thinking"], said["text"]) == ("h0 h1 ", "t0 t1 t2 t3 t4 ")
    assert told["usage"]["output_tokens_details"] == {"thinking_tokens": 2}
    events = await streamed(chatty, thinking={"type": "adaptive"})
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert [delta["type"] for delta in deltas] == [
        *["thinking_delta"] * 2,
        "signature_delta",
        *["text_delta"] * 5,
    ]
    assert deltas[2]["signature"] == thought["signature"]
    hidden = await whole(chatty, thinking={"type": "adaptive", "display": "omitted"})
    assert (hidden["content"][0]["thinking"], hidden["content"][1]["text"]) == ("", "t0 t1 t2 t3 t4 ")


async def test_nothing_is_told_where_no_tokens_are_asked_for(chatty: RunningBackend) -> None:
    told = await whole(chatty, max_tokens=0)
    assert (told["content"], told["stop_reason"], told["usage"]["output_tokens"]) == ([], "max_tokens", 0)


async def test_a_refusal_names_the_field(chatty: RunningBackend) -> None:
    assert await refusal(chatty, messages=[]) == "messages: At least one message is required."


@pytest.mark.parametrize(
    ("version", "is_taken"),
    [
        (None, True),
        ("2023-06-01", True),
        ("2026-10-21", True),
        ("2023-01-01", False),
        ("latest", False),
        ("", False),
    ],
)
async def test_versions_are_taken_that_are_like_this_one(
    chatty: RunningBackend, version: str | None, is_taken: bool
) -> None:
    metadata = {} if version is None else {"anthropic-version": version}
    if is_taken:
        assert await frames(chatty, metadata=metadata)
    else:
        assert "is not a valid version" in await refusal(chatty, metadata=metadata)


async def test_a_failure_in_a_stream_is_an_event_and_ends_nothing(chatty: RunningBackend) -> None:
    metadata = {"x-request-id": "req-7"}
    *events, last = await streamed(chatty, say="fail_at=2", metadata=metadata)
    assert text_of(events) == "t0 t1 "
    ANTHROPIC_ERROR.check(last)
    assert (last["error"]["type"], last["request_id"]) == ("api_error", "req-7")
    assert "message_stop" not in {event["type"] for event in events}


async def test_a_silent_stream_pings(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running_backend(tmp_path, heartbeat_seconds=0.1) as backend:
        asked: dict[str, Any] = {"model": "m", "max_tokens": 2, "stream": True}
        asked["messages"] = [{"role": "user", "content": f"gate_file={gate}"}]
        body = httpbody_pb2.HttpBody(data=orjson.dumps(asked))
        call = backend.client().stream(f"{SERVICE}/CreateMessage", body, httpbody_pb2.HttpBody)
        ping = await anext(call)
        assert (ping.data, ping.content_type) == (
            b'event: ping\ndata: {"type": "ping"}\n\n',
            "text/event-stream",
        )
        gate.touch()
        rest = b"".join([frame.data async for frame in call if frame.data != ping.data])
        assert rest.startswith(b"event: message_start\n")
        assert rest.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


async def test_what_is_counted_is_what_a_message_takes(tiny: RunningBackend) -> None:
    asked = {"system": "Be brief.", "tools": [WEATHER], "say": [{"type": "text", "text": "Grüß Gott 😀"}]}
    usage = (await whole(tiny, **asked))["usage"]
    assert await counted(tiny, **asked) == usage["input_tokens"] + usage["cache_read_input_tokens"]
    assert await counted(tiny, **asked | {"tools": []}) < await counted(tiny, **asked)


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
async def test_a_tool_is_called_and_its_answer_read(tiny: RunningBackend, choice: dict[str, Any]) -> None:
    asked = {"tools": [WEATHER], "tool_choice": choice, "max_tokens": 80, "temperature": 0}
    told = await whole(tiny, **asked)
    *_, call = told["content"]
    assert told["stop_reason"] == "tool_use"
    assert (call["name"], call["input"]) == ("get_weather", {"city": "Oslo"})
    events = await streamed(tiny, **asked)
    assert _read(events[0]["message"]["usage"]) == _read(told["usage"])
    parts = [e["delta"]["partial_json"] for e in events if "partial_json" in e.get("delta", {})]
    assert orjson.loads("".join(parts)) == {"city": "Oslo"}
    assert (parts[0], len(parts) > 1) == ("", True)
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "Sun."}
    turns = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": told["content"]},
        {"role": "user", "content": [result]},
    ]
    answered = await whole(tiny, tools=[WEATHER], messages=turns, max_tokens=20)
    assert answered["usage"]["input_tokens"] > told["usage"]["input_tokens"]


async def test_an_answer_keeps_a_schema(tiny: RunningBackend) -> None:
    form = {"type": "json_schema", "schema": WEATHER["input_schema"]}
    told = await whole(tiny, output_config={"format": form}, max_tokens=50)
    assert orjson.loads(told["content"][0]["text"]) == {"city": "Oslo"}
    bad = {"type": "json_schema", "schema": {"type": "no such type"}}
    assert "output_config.format.schema" in await refusal(tiny, output_config={"format": bad})


async def test_a_prompt_that_is_too_long_is_told_as_anthropic_does(tiny: RunningBackend) -> None:
    told = await refusal(tiny, ContextLengthExceeded, say="hello " * 700)
    assert told.startswith("prompt is too long: ")
    assert told.endswith(" tokens > 768 maximum")


async def test_images_are_seen_wherever_they_are_shown(tmp_path: Path) -> None:
    options = {"mmproj": str(write_projector(tmp_path / "eye.gguf"))}
    fields: dict[str, Any] = {"backend": "llama-cpp", "path": str(WEFT_TINY), "options": options}
    shown = png((255, 0, 0))
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(shown).decode()}
    image = {"type": "image", "source": source}
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1"}

    def turns(*content: object) -> list[object]:
        said = [{"role": "user", "content": "Look."}, {"role": "assistant", "content": [call]}]
        return [*said, {"role": "user", "content": [*content]}]

    async with running_backend(tmp_path, **fields) as seeing:
        for with_image, without in (
            ({"say": [image, WHAT]}, {"say": [WHAT]}),
            ({"messages": turns(result | {"content": [image]}, WHAT)}, {"messages": turns(result, WHAT)}),
        ):
            seen, blind = [
                (await whole(seeing, max_tokens=2, **asked))["usage"] for asked in (with_image, without)
            ]
            assert _read(seen) >= _read(blind) + IMAGE_TOKENS
        assert "Images are not counted" in await refusal(seeing, rpc="CountMessageTokens", say=[image])


async def test_a_model_that_does_not_see_refuses_images(tiny: RunningBackend) -> None:
    shown = base64.b64encode(png((0, 0, 255))).decode()
    source = {"type": "base64", "media_type": "image/png", "data": shown}
    assert "see" in await refusal(tiny, say=[{"type": "image", "source": source}])
