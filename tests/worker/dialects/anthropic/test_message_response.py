"""A whole message, and the events of a stream in their order."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from tests.e2e.sdk.shapes import MESSAGE, MESSAGE_EVENT, TOKENS_COUNT
from weft_common.errors import EngineFailed
from weft_worker.dialects.anthropic.message_response import (
    PING,
    EventWriter,
    Head,
    Said,
    message_object,
    tokens_count,
)
from weft_worker.engines.base import Finished, FinishReason, ToolCall, ToolCallDelta, Usage

HEAD = Head("msg_1", "m", max_tokens=9)
END = Finished(FinishReason.STOP, Usage(7, 5, 3, 2))
USAGE = {
    "input_tokens": 4,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 3,
    "output_tokens": 5,
    "output_tokens_details": {"thinking_tokens": 2},
    "server_tool_use": None,
}


def events(data: bytes) -> list[tuple[str, Any]]:
    """Names and contents; the name stands in the content, too, as clients without names need it."""
    told = []
    for block in data.decode().split("\n\n")[:-1]:
        name, content = block.split("\n")
        told.append((name.removeprefix("event: "), orjson.loads(content.removeprefix("data: "))))
    assert all(content["type"] == name for name, content in told)
    return told


def deltas(told: Sequence[tuple[str, Any]]) -> list[tuple[int, Any]]:
    return [(content["index"], content["delta"]) for name, content in told if name == "content_block_delta"]


def test_a_message_has_all_that_the_library_knows() -> None:
    told = orjson.loads(message_object(HEAD, Said("Hé"), END))
    MESSAGE.check(told)
    assert told["usage"] == USAGE | {
        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
        "inference_geo": None,
        "service_tier": "standard",
        "speed": None,
    }
    del told["usage"]
    assert told == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hé"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "diagnostics": None,
    }


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (END, ("end_turn", None)),
        (Finished(FinishReason.STOP, Usage(1, 2), "END"), ("stop_sequence", "END")),
        (Finished(FinishReason.LENGTH, Usage(1, 9)), ("max_tokens", None)),
        (Finished(FinishReason.LENGTH, Usage(1, 8)), ("model_context_window_exceeded", None)),
        (Finished(FinishReason.TOOL_CALLS, Usage(1, 8)), ("tool_use", None)),
        (Finished(FinishReason.CONTENT_FILTER, Usage(1, 8)), ("refusal", None)),
    ],
)
def test_it_is_told_why_it_stopped(end: Finished, told: tuple[str, str | None]) -> None:
    whole = orjson.loads(message_object(HEAD, Said("a"), end))
    assert (whole["stop_reason"], whole["stop_sequence"]) == told
    delta = events(EventWriter(HEAD).finish(end))[-2][1]["delta"]
    assert (delta["stop_reason"], delta["stop_sequence"]) == told


def test_calls_follow_the_text() -> None:
    calls = [ToolCall("call_a", "look", f'{{"n": {10**30}}}'), ToolCall("functions.find:1", "find", "")]
    body = message_object(
        HEAD, Said("Hm.", calls, "Let me see."), Finished(FinishReason.TOOL_CALLS, Usage(1, 2))
    )
    told = orjson.loads(body)
    MESSAGE.check(told)
    thought, said, look, find = told["content"]
    assert (thought["thinking"], said["text"]) == ("Let me see.", "Hm.")
    assert (look["id"], look["name"], look["input"]) == ("toolu_a", "look", {"n": 1e30})
    assert str(10**30).encode() in body, "numbers keep their digits"
    assert (find["id"], find["input"]) == ("toolu_functions_find_1", {})


def test_a_call_that_was_cut_off_has_no_input() -> None:
    cut = Said(tool_calls=[ToolCall("call_a", "look", '{"at": ')])
    (block,) = orjson.loads(message_object(HEAD, cut, Finished(FinishReason.LENGTH, Usage(1, 9))))["content"]
    assert block["input"] == {}


def test_thoughts_may_be_left_out() -> None:
    head = Head("msg_1", "m", 9, tells_thinking=False)
    (thought,) = orjson.loads(message_object(head, Said(thinking="Hm."), END))["content"]
    assert (thought["thinking"], bool(thought["signature"])) == ("", True)


def test_an_empty_answer_has_no_blocks() -> None:
    assert orjson.loads(message_object(HEAD, Said(), END))["content"] == []
    writer = EventWriter(HEAD)
    assert [name for name, _ in events(writer.start() + writer.finish(END))] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]


def test_a_stream_of_text_has_its_events_in_order() -> None:
    writer = EventWriter(HEAD)
    told = events(
        writer.start() + writer.text("Hé") + writer.text("") + writer.text('"\n') + writer.finish(END)
    )
    assert [name for name, _ in told] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    for name, content in told:
        if name != "ping":
            MESSAGE_EVENT.check(content)
    assert told[0][1]["message"]["content"] == []
    assert told[0][1]["message"]["stop_reason"] is None
    assert deltas(told) == [
        (0, {"type": "text_delta", "text": "Hé"}),
        (0, {"type": "text_delta", "text": '"\n'}),
    ]
    assert told[-2][1]["usage"] == USAGE


def test_a_stream_begins_with_the_tokens_of_its_prompt_where_they_are_known() -> None:
    (_, begun), *_ = events(EventWriter(HEAD).start(Usage(7, 0, 3)))
    usage = begun["message"]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (4, 3, 0)
    (_, begun), *_ = events(EventWriter(HEAD).start(None))
    assert begun["message"]["usage"]["input_tokens"] == 0


def test_blocks_are_closed_before_the_next_one_opens() -> None:
    writer = EventWriter(HEAD)
    told = events(
        writer.start()
        + writer.thinking("Let ")
        + writer.thinking("me see.")
        + writer.text("Hm.")
        + writer.tool_call(ToolCallDelta(0, "call_a", "look", ""))
        + writer.tool_call(ToolCallDelta(0, "", "", '{"at":'))
        + writer.tool_call(ToolCallDelta(0, "", "", "1}"))
        + writer.tool_call(ToolCallDelta(1, "call_b", "find", "{}"))
        + writer.finish(Finished(FinishReason.TOOL_CALLS, Usage(7, 5)))
    )
    for name, content in told:
        if name != "ping":
            MESSAGE_EVENT.check(content)
    blocks = [(name, content["index"]) for name, content in told if name.startswith("content_block_st")]
    assert blocks == [(f"content_block_{what}", index) for index in range(4) for what in ("start", "stop")]
    opened = [content["content_block"] for name, content in told if name == "content_block_start"]
    assert [block["type"] for block in opened] == ["thinking", "text", "tool_use", "tool_use"]
    assert [(block["id"], block["name"], block["input"]) for block in opened[2:]] == [
        ("toolu_a", "look", {}),
        ("toolu_b", "find", {}),
    ]
    signature = deltas(told)[2]
    assert deltas(told) == [
        (0, {"type": "thinking_delta", "thinking": "Let "}),
        (0, {"type": "thinking_delta", "thinking": "me see."}),
        signature,
        (1, {"type": "text_delta", "text": "Hm."}),
        (2, {"type": "input_json_delta", "partial_json": ""}),
        (2, {"type": "input_json_delta", "partial_json": '{"at":'}),
        (2, {"type": "input_json_delta", "partial_json": "1}"}),
        (3, {"type": "input_json_delta", "partial_json": ""}),
        (3, {"type": "input_json_delta", "partial_json": "{}"}),
    ]
    whole = orjson.loads(message_object(HEAD, Said(thinking="Let me see."), END))
    assert signature == (0, {"type": "signature_delta", "signature": whole["content"][0]["signature"]})
    assert [name for name, _ in told].count("ping") == 1


def test_thoughts_that_are_left_out_are_signed_all_the_same() -> None:
    writer = EventWriter(Head("msg_1", "m", 9, tells_thinking=False))
    thought = writer.start() + writer.thinking("Hm.")
    assert writer.thinking("So.") == PING
    told = deltas(events(thought + writer.text("a") + writer.finish(END)))
    assert [delta["type"] for _, delta in told] == ["signature_delta", "text_delta"]
    whole = orjson.loads(message_object(HEAD, Said(thinking="Hm.So."), END))
    assert told[0][1]["signature"] == whole["content"][0]["signature"]


def test_a_closed_call_is_not_opened_again() -> None:
    writer = EventWriter(HEAD)
    writer.tool_call(ToolCallDelta(0, "a", "look", ""))
    writer.tool_call(ToolCallDelta(1, "b", "look", ""))
    with pytest.raises(EngineFailed):
        writer.tool_call(ToolCallDelta(0, "", "", "{}"))


def test_a_failure_is_an_event_and_ends_nothing() -> None:
    told = events(EventWriter(HEAD).failure(EngineFailed("No."), "r1"))
    assert told == [
        ("error", {"type": "error", "error": {"type": "api_error", "message": "No."}, "request_id": "r1"})
    ]


def test_a_ping_says_nothing() -> None:
    assert events(PING) == [("ping", {"type": "ping"})]


def test_a_count_has_the_shape_of_the_library() -> None:
    told = orjson.loads(tokens_count(12))
    TOKENS_COUNT.check(told)
    assert told == {"input_tokens": 12}
