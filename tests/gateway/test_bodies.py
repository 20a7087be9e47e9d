"""Finding the model in a body."""

import pytest

from weft_common.errors import InvalidRequest
from weft_gateway.bodies import model_of_frame, model_of_json, prompt_of_frame, prompt_of_json
from weft_proto.pb.weft.inference.v1.inference_service_pb2 import ChatRequest


def frame(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def test_a_json_body_names_its_model() -> None:
    assert model_of_json(b'{"model": "a/b", "messages": null}') == "a/b"


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
        (b'{"model": ""}', "model: Input should be a valid string", "model"),
    ],
)
def test_a_json_body_without_a_model_is_refused(body: bytes, problem: str, field: str | None) -> None:
    with pytest.raises(InvalidRequest, match=problem) as caught:
        model_of_json(body)
    assert [v.field for v in caught.value.violations] == ([field] if field else [])


def test_a_frame_names_its_model_in_the_message_or_in_metadata() -> None:
    message = ChatRequest(model="m").SerializeToString()
    assert model_of_frame(frame(message), {}) == "m"
    assert model_of_frame(b"", {"x-weft-model": "n"}) == "n"


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
        model_of_frame(body, {})


def test_a_prompt_is_the_beginning_of_the_conversation_as_it_was_sent() -> None:
    assert (
        prompt_of_json(b'{"seed": 4, "messages": [{"content": "hi"}]}') == b'"messages": [{"content": "hi"}]}'
    )
    said = rb'{"user": "see \"messages\"", "messages": []}'
    assert prompt_of_json(said) == b'"messages": []}'
    assert prompt_of_json(b'{"model": "m"}') == b""
    assert len(prompt_of_json(b'{"messages": "' + b"x" * 100_000)) == 64 * 256


def test_a_prompt_in_a_frame_is_the_beginning_of_its_message() -> None:
    message = ChatRequest(model="m").SerializeToString()
    assert prompt_of_frame(frame(message)) == message
    assert prompt_of_frame(b"") == b""
