"""The tokenize body, in LocalAI's words and in vLLM's, and its answer."""

from base64 import b64encode
from typing import Any

import orjson
import pytest

from tests.eye import png
from weft_common.errors import InvalidRequest
from weft_worker.dialects.localai.tokenize import TokenizeRequest, parse_tokenize_request, tokenize_response
from weft_worker.engines.abilities import Conversation, Tokens
from weft_worker.engines.base import Message, Role, Tool

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f"}}
PICTURE = {"url": f"data:image/png;base64,{b64encode(png((0, 0, 0))).decode()}"}
SHOWN = {"role": "user", "content": [{"type": "image_url", "image_url": PICTURE}]}


def _parse(**fields: Any) -> TokenizeRequest:
    return parse_tokenize_request(orjson.dumps({"model": "m", **fields}))


def test_a_text_goes_by_either_name() -> None:
    assert _parse(content="cat").to_input() == _parse(prompt="cat").to_input() == "cat"
    assert _parse(content="").to_input() == ""


def test_a_conversation_is_counted_with_its_tools() -> None:
    assert _parse(messages=[USER], tools=[TOOL]).to_input() == Conversation(
        (Message(Role.USER, "Hi"),), (Tool("f"),)
    )


def test_tokens_are_told_by_their_numbers_and_their_texts_where_wished() -> None:
    tokens = Tokens((5, 6), (b"a", b"\xc3"))
    assert orjson.loads(tokenize_response(_parse(content="a"), tokens)) == {"tokens": [5, 6], "count": 2}
    told = orjson.loads(tokenize_response(_parse(content="a", return_token_strs=True), tokens))
    assert told["token_strs"] == ["a", "\ufffd"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "content"),
        ({"content": "a", "prompt": "b"}, "content"),
        ({"content": 5}, "content"),
        ({"content": "x" * (4 << 20) + "x"}, "content"),
        ({"prompt": "x" * (256 << 10) + "x", "return_token_strs": True}, "prompt"),
        ({"messages": []}, "messages"),
        ({"messages": [SHOWN]}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * (4 << 20) + "x"}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"content": "a", "tools": [{}]}, "tools.0.type"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _parse(**fields)
    assert caught.value.violations[0].field == field
