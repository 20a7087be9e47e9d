"""weft.inference.v1 to and from an engine's words."""

import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tests.eye import png
from weft_common.errors import EngineFailed, InvalidRequest
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_worker.dialects.typed import (
    read_chat_request,
    read_keep_alive,
    write_delta,
    write_failure,
    write_finish,
    write_reasoning,
    write_tool_call,
)
from weft_worker.engines.base import (
    Delta,
    Effort,
    Finished,
    FinishReason,
    Generation,
    GrammarForm,
    Image,
    JsonForm,
    Message,
    ReasoningDelta,
    Role,
    Sampling,
    Thinking,
    TokenChance,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolMode,
    Tools,
    Usage,
)

USER = pb.Message(role=pb.ROLE_USER, content="Hi")


def test_a_bare_request_leaves_everything_to_the_engine() -> None:
    request = pb.ChatRequest(messages=[USER])
    assert read_chat_request(request) == Generation((Message(Role.USER, "Hi"),), Sampling())


def test_everything_arrives() -> None:
    sampling = pb.Sampling(
        temperature=0,
        top_p=0.5,
        seed=-3,
        max_tokens=4,
        stop=["a", ""],
        ignore_eos=True,
        frequency_penalty=1,
        presence_penalty=-1,
        top_k=7,
        min_p=0.5,
        repetition_penalty=2,
        logit_bias={3: -1.5},
        top_logprobs=0,
    )
    system = pb.Message(role=pb.ROLE_SYSTEM, content="Be brief.", name="boss")
    assert read_chat_request(pb.ChatRequest(messages=[system, USER], sampling=sampling)) == Generation(
        (Message(Role.SYSTEM, "Be brief.", "boss"), Message(Role.USER, "Hi")),
        Sampling(
            temperature=0,
            top_p=0.5,
            seed=-3,
            max_tokens=4,
            stop=("a",),
            ignore_eos=True,
            frequency_penalty=1,
            presence_penalty=-1,
            top_k=7,
            min_p=0.5,
            repetition_penalty=2,
            logit_bias={3: -1.5},
            top_logprobs=0,
        ),
    )


@pytest.mark.parametrize(
    ("told", "form"),
    [
        (pb.AnswerFormat(), None),
        (pb.AnswerFormat(json_schema='{"b": 1}'), JsonForm('{"b": 1}')),
        (pb.AnswerFormat(grammar="root ::= x"), GrammarForm("root ::= x")),
    ],
)
def test_the_form_of_the_answer_arrives(told: pb.AnswerFormat, form: JsonForm | GrammarForm | None) -> None:
    assert read_chat_request(pb.ChatRequest(messages=[USER], format=told)).form == form


def test_tools_and_calls_arrive_and_leave() -> None:
    called = pb.Message(role=pb.ROLE_ASSISTANT, tool_calls=[pb.ToolCall(id="c", name="f", arguments="{}")])
    told = pb.Message(role=pb.ROLE_TOOL, content="4", tool_call_id="c")
    request = pb.ChatRequest(
        messages=[USER, called, told],
        tools=[pb.Tool(name="f", description="d", parameters_schema="{}")],
        tool_choice=pb.ToolChoice(mode=pb.ToolChoice.MODE_REQUIRED, name="f"),
        single_tool_call=True,
    )
    generation = read_chat_request(request)
    assert generation.messages[1:] == (
        Message(Role.ASSISTANT, "", "", (ToolCall("c", "f", "{}"),)),
        Message(Role.TOOL, "4", "", (), "c"),
    )
    assert generation.tools == Tools((Tool("f", "d", "{}"),), ToolMode.REQUIRED, "f", single_call=True)
    written = pb.ChatResponse.FromString(write_tool_call(ToolCallDelta(1, "c", "f", "{")))
    assert written.tool_call == pb.ToolCallDelta(index=1, id="c", name="f", arguments="{")


def test_probabilities_leave_with_their_text() -> None:
    chosen, other = TokenChance("a", b"a", -0.5), TokenChance("\ufffd", b"\xc3", -1.0)
    written = pb.ChatResponse.FromString(write_delta(Delta("a", 1, (TokenLogprob(chosen, (chosen, other)),))))
    (told,) = written.logprobs
    assert (written.delta, told.chosen.token_bytes, told.chosen.logprob) == ("a", b"a", -0.5)
    assert [(each.token, each.token_bytes) for each in told.likeliest] == [("a", b"a"), ("\ufffd", b"\xc3")]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        (Duration(), 0.0),
        (Duration(seconds=90, nanos=500_000_000), 90.5),
        (Duration(seconds=-1), -1.0),
        (Duration(nanos=-5), -1.0),
        (Duration(seconds=-(2**62)), -1.0),
        (Duration(seconds=366 * 86400), 366 * 86400.0),
        (Duration(seconds=367 * 86400), -1.0),
        (Duration(seconds=2**62), -1.0),
    ],
)
def test_how_long_a_model_stays_is_seconds_or_for_ever_or_left_open(
    said: Duration | None, seconds: float | None
) -> None:
    assert read_keep_alive(pb.ChatRequest(messages=[USER], keep_alive=said)) == seconds


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (lambda r: r.ClearField("messages"), "messages"),
        (lambda r: r.messages.add(content="x"), "messages.1.role"),
        (lambda r: r.messages.add(role=9), "messages.1.role"),
        (lambda r: setattr(r.sampling, "temperature", 2.5), "sampling.temperature"),
        (lambda r: setattr(r.sampling, "temperature", math.nan), "sampling.temperature"),
        (lambda r: setattr(r.sampling, "top_p", -0.1), "sampling.top_p"),
        (lambda r: setattr(r.sampling, "min_p", 2), "sampling.min_p"),
        (lambda r: r.tools.add(name="a b"), "tools.0.name"),
        (lambda r: r.tools.add(name="a", parameters_schema="[]"), "tools.0.parameters_schema"),
        (lambda r: r.tools.extend([pb.Tool(name="a")] * 129), "tools"),
        (lambda r: setattr(r.tool_choice, "mode", 2), "tool_choice"),
        (lambda r: (r.tools.add(name="a"), setattr(r.tool_choice, "name", "b")), "tool_choice.name"),
        (lambda r: (r.tools.add(name="a"), setattr(r.tool_choice, "name", "a")), "tool_choice.name"),
        (lambda r: (r.tools.add(name="a"), setattr(r.tool_choice, "mode", 9)), "tool_choice.mode"),
        (lambda r: r.messages[0].tool_calls.add(arguments="x"), "messages.0.tool_calls.0.arguments"),
        (lambda r: setattr(r.sampling, "repetition_penalty", 0), "sampling.repetition_penalty"),
        (lambda r: setattr(r.sampling, "top_logprobs", 21), "sampling.top_logprobs"),
        (lambda r: r.sampling.logit_bias.update({1: math.nan}), "sampling.logit_bias"),
        (lambda r: r.sampling.logit_bias.update(dict.fromkeys(range(301), 1.0)), "sampling.logit_bias"),
        (lambda r: setattr(r.sampling, "max_tokens", 0), "sampling.max_tokens"),
        (lambda r: setattr(r.sampling, "frequency_penalty", 3), "sampling.frequency_penalty"),
        (lambda r: setattr(r.sampling, "presence_penalty", -3), "sampling.presence_penalty"),
        (lambda r: r.sampling.stop.extend(["a"] * 129), "sampling.stop"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(
    spoil: Callable[[pb.ChatRequest], None], field: str
) -> None:
    request = pb.ChatRequest(messages=[USER])
    spoil(request)
    with pytest.raises(InvalidRequest) as caught:
        read_chat_request(request)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_events_are_encoded() -> None:
    finished = Finished(FinishReason.STOP, Usage(1, 2, 3), "END")
    assert pb.ChatResponse.FromString(write_delta(Delta("é"))) == pb.ChatResponse(delta="é")
    assert pb.ChatResponse.FromString(write_finish(finished)) == pb.ChatResponse(
        finish=pb.Finish(
            reason=pb.FINISH_REASON_STOP,
            usage=pb.Usage(prompt_token_count=1, completion_token_count=2, cached_token_count=3),
            stop_sequence="END",
        )
    )
    assert pb.ChatResponse.FromString(write_failure(EngineFailed("No."))) == pb.ChatResponse(
        failure=pb.Failure(reason="ENGINE_FAILED", message="No.")
    )


def seen(*parts: pb.ContentPart, **fields: Any) -> pb.ChatRequest:
    return pb.ChatRequest(messages=[pb.Message(role=pb.ROLE_USER, parts=parts, **fields)])


PICTURE = pb.ContentPart(image=pb.Image(data=png((1, 2, 3))))
WORDS = pb.ContentPart(text="What is this?")


def large_picture(pixels: int) -> pb.ContentPart:
    """One that says in its head how many it has."""
    data = bytearray(png((1, 2, 3)))
    data[16:24] = struct.pack(">II", 1 << 10, pixels >> 10)
    return pb.ContentPart(image=pb.Image(data=bytes(data)))


def test_pictures_within_the_bound_of_all_are_taken() -> None:
    assert len(read_chat_request(seen(*[large_picture(1 << 20)] * 64)).messages[0].parts) == 64
    assert len(read_chat_request(seen(*[large_picture(1 << 25)] * 2)).messages[0].parts) == 2


def test_parts_are_one_text_unless_there_is_something_to_see() -> None:
    assert read_chat_request(seen(WORDS, WORDS)).messages == (Message(Role.USER, "What is this?" * 2),)
    image = Image(png((1, 2, 3)), "image/png")
    assert read_chat_request(seen(WORDS, PICTURE, WORDS)).messages == (
        Message(Role.USER, "What is this?" * 2, parts=("What is this?", image, "What is this?")),
    )


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (seen(WORDS, content="x"), "messages.0.content"),
        (seen(pb.ContentPart()), "messages.0.parts.0"),
        (seen(WORDS, pb.ContentPart(image=pb.Image(data=b"GIF"))), "messages.0.parts.1.image"),
        (seen(*[PICTURE] * 65), "messages"),
        (seen(*[large_picture(1 << 25)] * 2, PICTURE), "messages"),
        (seen(*[large_picture(1 << 21)] * 33), "messages"),
        (
            pb.ChatRequest(messages=[pb.Message(role=pb.ROLE_ASSISTANT, parts=[PICTURE])]),
            "messages.0.parts.0.image",
        ),
    ],
)
def test_parts_that_cannot_be_used_are_named(request_: pb.ChatRequest, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_chat_request(request_)
    assert [violation.field for violation in refused.value.violations] == [field]


def test_thinking_arrives_and_thoughts_leave() -> None:
    said = pb.Message(role=pb.ROLE_ASSISTANT, content="4", reasoning="2 and 2")
    request = pb.ChatRequest(
        messages=[said], thinking=pb.Thinking(enabled=True, effort=pb.THINKING_EFFORT_LOW)
    )
    assert read_chat_request(request) == Generation(
        (Message(Role.ASSISTANT, "4", reasoning="2 and 2"),), thinking=Thinking(True, Effort.LOW)
    )
    off = read_chat_request(pb.ChatRequest(messages=[USER], thinking=pb.Thinking()))
    assert off.thinking == Thinking(False)
    with pytest.raises(InvalidRequest, match=r"thinking\.effort"):
        read_chat_request(
            pb.ChatRequest(messages=[USER], thinking=pb.Thinking(effort=9))  # type: ignore[arg-type]
        )
    assert pb.ChatResponse.FromString(write_reasoning(ReasoningDelta("hm"))).reasoning == "hm"
    ended = Finished(FinishReason.STOP, Usage(1, 3, 0, 2))
    assert pb.ChatResponse.FromString(write_finish(ended)).finish.usage.reasoning_token_count == 2
