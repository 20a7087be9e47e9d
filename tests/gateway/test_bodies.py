"""Finding the model in a body."""

from typing import Any

import pytest
from google.api.httpbody_pb2 import HttpBody

from weft_common.dialects import Dialect
from weft_common.errors import InvalidRequest
from weft_common.purposes import Ability
from weft_gateway.bodies import Question, question_of_frame, question_of_framed_json, question_of_json
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_proto.pb.weft.inference.v1.inference_service_pb2 import ChatRequest


def frame(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def test_a_json_body_names_its_model() -> None:
    assert question_of_json(b'{"model": "a/b", "messages": null}').model == "a/b"


@pytest.mark.parametrize(
    ("body", "problem", "field"),
    [
        (b"", "no body", None),
        (b'{"model":', "not valid JSON", None),
        (b"\xff", "not valid JSON", None),
        (b"[]", "must be a JSON object", None),
        (b"{}", "must provide a model", "model"),
        (b'{"model": null}', "must provide a model", "model"),
        (b'{"model": 3}', "model: Input should be a valid string", "model"),
        (b'{"model": ""}', "must provide a model", "model"),
    ],
)
def test_a_json_body_without_a_model_is_refused(body: bytes, problem: str, field: str | None) -> None:
    with pytest.raises(InvalidRequest, match=problem) as caught:
        question_of_json(body)
    assert [v.field for v in caught.value.violations] == ([field] if field else [])


@pytest.mark.parametrize("body", [b"{}", b'{"model": null}', b'{"model": ""}'])
@pytest.mark.parametrize(
    ("dialect", "words"),
    [
        (Dialect.OPENAI, "you must provide a model parameter"),
        (Dialect.ANTHROPIC, "model: Field required"),
        (Dialect.OLLAMA, "model is required"),
    ],
)
def test_that_a_model_has_to_be_named_is_said_as_its_provider_does(
    dialect: Dialect, words: str, body: bytes
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        question_of_json(body, dialect)
    assert caught.value.message == words


def test_a_frame_names_its_model_in_the_message_or_in_metadata() -> None:
    message = ChatRequest(model="m").SerializeToString()
    assert question_of_frame(frame(message), {}).model == "m"
    assert question_of_frame(b"", {"x-weft-model": "n"}).model == "n"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "no message"),
        (b"\0\0\0\0", "no message"),
        (frame(b""), "name a model"),
        (frame(b"\x0a\xff"), "not what its proto says"),
        (frame(b"x", flag=1), "Compressed"),
        (frame(b"") + frame(b""), "exactly one message"),
        (frame(b"x")[:-1], "exactly one message"),
    ],
)
def test_other_frames_are_refused(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        question_of_frame(body, {})


def test_a_prompt_is_the_beginning_of_the_conversation_as_it_was_sent() -> None:
    def prompt(body: bytes) -> bytes:
        return question_of_json(body).prompt

    said = b'"messages": [{"content": "hi"}]}'
    assert prompt(b'{"model": "m", "seed": 4, ' + said) == said
    assert prompt(rb'{"model": "m", "user": "see \"messages\":", "messages": []}') == b'"messages": []}'
    assert prompt(b'{"model": "m"}') == b""
    assert len(prompt(b'{"model": "m", "messages": "' + b"x" * 100_000 + b'"}')) == 64 * 256


def test_what_a_model_is_told_beside_the_conversation_comes_first_wherever_it_stands() -> None:
    parts = [b'"messages":[{"role":"user"}]', b'"system":"Be brief."']
    bodies = [b'{"model":"m",' + b",".join(order) + b"}" for order in (parts, parts[::-1])]
    first, second = (question_of_json(body, Dialect.ANTHROPIC).prompt for body in bodies)
    assert first.startswith(b'"Be brief."' + parts[0])
    assert second.startswith(b'"Be brief."' + parts[0])


def test_what_a_model_is_told_may_be_nested_deeper_than_can_be_written() -> None:
    body = b'{"model":"m","messages":[],"system":' + b"[" * 500 + b"]" * 500 + b"}"
    assert question_of_json(body, Dialect.ANTHROPIC).prompt.startswith(b'"messages":[]')


def test_a_prompt_of_its_own_is_one_too() -> None:
    body = b'{"model": "m", "prompt": "Once"}'
    assert question_of_json(body, Dialect.OLLAMA).prompt == b'"prompt": "Once"}'
    assert question_of_json(body, Dialect.OLLAMA, Ability.EMBED).prompt == b""


@pytest.mark.parametrize(("name", "alias"), [("a:latest", "a"), ("a", "a:latest"), ("a:7b", "a:7b:latest")])
def test_names_have_a_tag_that_may_be_left_out_in_every_dialect(name: str, alias: str) -> None:
    body = b'{"model": "' + name.encode() + b'"}'
    for dialect in Dialect:
        assert question_of_json(body, dialect) == Question(name, alias=alias)
    for ability in (Ability.CHAT, Ability.EMBED, Ability.RERANK, Ability.TOKENIZE):
        assert question_of_json(body, ability=ability).alias == alias
    message = frame(ChatRequest(model=name).SerializeToString())
    assert question_of_frame(message, {}).alias == alias
    assert question_of_frame(message, {"x-weft-model": name}).alias == alias
    assert question_of_frame(message, {}, Ability.EMBED).alias == alias


@pytest.mark.parametrize(
    ("fields", "lets_go"),
    [
        (b'"keep_alive": 0', True),
        (b'"keep_alive": 0.0, "messages": []', True),
        (b'"keep_alive": "0s", "prompt": ""', True),
        (b'"keep_alive": "0"', True),
        (b'"keep_alive": "05m"', False),
        (b'"keep_alive": false', False),
        (b'"keep_alive": null', False),
        (b'"keep_alive": 5', False),
        (b'"keep_alive": 0, "prompt": "Hi"', False),
        (b'"keep_alive": 0, "messages": [1]', False),
        (b'"prompt": ""', False),
    ],
)
def test_a_model_is_let_go_by_who_asks_it_nothing(fields: bytes, lets_go: bool) -> None:
    body = b'{"model": "m", ' + fields + b"}"
    assert question_of_json(body, Dialect.OLLAMA).lets_go is lets_go
    assert not question_of_json(body).lets_go


def test_a_json_body_may_come_in_a_frame() -> None:
    carried = HttpBody(data=b'{"model": "m", "options": {"num_predict": 3}}').SerializeToString()
    asked = question_of_framed_json(frame(carried), Dialect.OLLAMA, Ability.CHAT)
    assert (asked.model, asked.max_token_count) == ("m", 3)
    with pytest.raises(InvalidRequest, match="not what its proto says"):
        question_of_framed_json(frame(b"\x0a\xff"), Dialect.OLLAMA, Ability.CHAT)


def test_a_prompt_in_a_frame_is_the_beginning_of_its_message() -> None:
    message = ChatRequest(model="m").SerializeToString()
    assert question_of_frame(frame(message), {}).prompt == message
    assert question_of_frame(frame(message), {"x-weft-model": "n"}).prompt == message


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        (b'"max_tokens": 7', 7),
        (b'"max_tokens": 7, "max_completion_tokens": 5', 5),
        (b'"max_tokens": null', 0),
        (b'"max_tokens": "7"', 0),
        (b'"max_tokens": true', 0),
        (b'"max_tokens": -7', 0),
        (b'"max_tokens": 99999999999999', 1_000_000),
    ],
)
def test_how_much_a_request_takes_at_most_is_what_it_says(fields: bytes, count: int) -> None:
    assert question_of_json(b'{"model": "m", ' + fields + b"}").max_token_count == count


def test_a_frame_says_how_much_it_takes_too() -> None:
    message = ChatRequest(model="m")
    message.sampling.max_tokens = 9
    assert question_of_frame(frame(message.SerializeToString()), {}).max_token_count == 9


def test_a_text_to_complete_has_a_prompt_to_keep_and_says_how_much_it_takes() -> None:
    body = frame(pb.CompleteRequest(model="m", text="Once", sampling={"max_tokens": 9}).SerializeToString())
    question = question_of_frame(body, {}, Ability.COMPLETE)
    assert (question.model, question.max_token_count, question.prompt) == ("m", 9, body[5:])


@pytest.mark.parametrize(
    ("ability", "message"),
    [
        (Ability.EMBED, pb.EmbedRequest(model="m", inputs=[pb.EmbedInput(text="cat")])),
        (Ability.RERANK, pb.RerankRequest(model="m", query="\x1a\xff", documents=["cat"])),
        (Ability.TOKENIZE, pb.TokenizeRequest(model="m", text="cat")),
    ],
)
def test_other_rpcs_name_their_model_and_have_no_prompt_to_keep(ability: Ability, message: Any) -> None:
    body = frame(message.SerializeToString())
    assert question_of_frame(body, {}, ability) == Question("m", alias="m:latest")
    named = question_of_frame(body, {"x-weft-model": "n"}, ability)
    assert named == Question("n", alias="n:latest")


LONG = b'"x": "' + b"y" * 70_000 + b'", '


def test_a_long_body_is_read_for_what_is_looked_at_only() -> None:
    said = b'"messages": ["' + b"a" * 70_000 + b'"]'
    body = b'{"max_tokens": 7, "system": "S", ' + said + b', "model": "m"}'
    asked = question_of_json(body, Dialect.ANTHROPIC)
    assert (asked.model, asked.max_token_count) == ("m", 7)
    assert asked.prompt == (b'"S"' + said)[: 64 * 256]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{" + LONG + b'"model": }', "not valid JSON"),
        (b"{" + LONG + b'"model": "m"} x', "not valid JSON"),
        (b"{" + LONG + b'"model": "\xff"}', "not valid JSON"),
        (b'{"x": ' + b"[" * 70_000, "not valid JSON"),
        (b"[" + b"1," * 70_000 + b"1]", "must be a JSON object"),
        (b"{" + LONG + b'"y": 1}', "must provide a model"),
        (b"{" + LONG + b'"model": null}', "must provide a model"),
        (b"{" + LONG + b'"model": "' + b"m" * 70_000 + b'"}', "model: Input should be"),
        (b'{"model": "m", "x": [' + b"{}," * 1_000_000 + b"{}]}", "more than 1000000 objects"),
    ],
)
def test_a_long_body_that_cannot_be_used_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        question_of_json(body)


def test_a_long_system_prompt_begins_the_prompt_all_the_same() -> None:
    body = b'{"model": "m", "messages": [], "system": "' + b"s" * 70_000 + b'"}'
    assert question_of_json(body, Dialect.ANTHROPIC).prompt == b'"' + b"s" * (64 * 256 - 1)


def test_a_long_body_that_says_something_lets_nothing_go() -> None:
    body = b'{"model": "m", "keep_alive": 0, "prompt": "' + b"p" * 70_000 + b'"}'
    assert not question_of_json(body, Dialect.OLLAMA).lets_go
    assert question_of_json(b"{" + LONG + b'"model": "m", "keep_alive": 0}', Dialect.OLLAMA).lets_go
