"""What every dialect asks of tools."""

import json
import re

import orjson

# OpenAI's bound, and that of our own rpcs. Anthropic and Ollama have none, and agents with many servers go beyond it.
MAX_TOOL_COUNT = 128
MOST_TOOLS_ELSEWHERE = 1024
# Anthropic takes 128 letters, OpenAI 64.
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
# One for all: conversations may have many calls, and making an encoder takes longer than its work.
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def compact(schema: object) -> str:
    """Write a schema; not by orjson, which takes no integer beyond 64 bits."""
    return _ENCODER.encode(schema)


def is_parameters(text: str) -> bool:
    """Whether a text is a schema of arguments: a JSON object that says that they are one, or says nothing of it."""
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(schema, dict) and schema.get("type", "object") == "object"


def is_arguments(text: str) -> bool:
    """Whether a text is a JSON object: chat templates read it."""
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
