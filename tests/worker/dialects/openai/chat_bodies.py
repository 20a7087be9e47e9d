"""Bodies of chat completions, read as a replica reads them."""

from typing import Any

import orjson
import pytest

from weft_common.errors import InvalidRequest
from weft_worker.dialects.openai.chat_request import ChatCompletionRequest, parse_chat_request
from weft_worker.engines.base import Generation, Tool

USER = {"role": "user", "content": "Hi"}


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": PARAMETERS,
        "strict": True,
    },
}
WEATHER_TOOL = Tool("get_weather", "Tells the weather.", orjson.dumps(PARAMETERS).decode())
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}


def parse(**fields: Any) -> ChatCompletionRequest:
    """Read a body of one message and these fields."""
    return parse_chat_request(orjson.dumps({"model": "m", "messages": [USER], **fields}))


def generation(**fields: Any) -> Generation:
    """What becomes of it for an engine."""
    return parse(**fields).to_generations()[0]


def refused_field(**fields: Any) -> str:
    """Which field its refusal names first."""
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    field = caught.value.violations[0].field
    assert field in caught.value.message
    return field
