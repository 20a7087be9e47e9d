"""Right bodies that use all fields of their paths, for wrong ones to be made of."""

from typing import Any

from tests.e2e.sdk.clients.calls import RED_PNG

CHAT = "fuzz-chat"
VECTORS = "fuzz-vectors"

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"size": {"enum": ["small", "large"]}, "count": {"type": "integer"}},
    "required": ["size"],
    "additionalProperties": False,
}
_FUNCTION = {"name": "get_weather", "description": "Tells the weather.", "parameters": _SCHEMA}
_TOOL = {"type": "function", "function": _FUNCTION}
_CALLED = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"size": "small"}'},
}
_IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{RED_PNG}", "detail": "low"}}
_HELLO = {"role": "user", "content": "Hello"}

CHATS: tuple[dict[str, Any], ...] = (
    {
        "model": CHAT,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        ],
        "max_tokens": 4,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 1,
        "stop": ["x", "y"],
        "n": 2,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.1,
        "logit_bias": {"5": 1},
        "logprobs": True,
        "top_logprobs": 2,
        "user": "u",
        "metadata": {"a": "b"},
        "store": False,
        "service_tier": "auto",
        "reasoning_effort": "low",
    },
    {
        "model": CHAT,
        "messages": [_HELLO],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 4,
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "keep_alive": "5m",
    },
    {
        "model": CHAT,
        "messages": [
            _HELLO,
            {"role": "assistant", "content": None, "tool_calls": [_CALLED]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ],
        "tools": [_TOOL],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "parallel_tool_calls": False,
        "max_tokens": 8,
    },
    {
        "model": CHAT,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, _IMAGE]}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a", "strict": True, "schema": _SCHEMA},
        },
        "max_tokens": 8,
    },
    {
        "model": CHAT,
        "messages": [_HELLO],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a", "strict": True, "schema": _SCHEMA},
        },
        "max_tokens": 12,
        "stream": True,
    },
    {"model": CHAT, "messages": [_HELLO], "functions": [_FUNCTION], "function_call": "auto", "max_tokens": 4},
)
COMPLETIONS: tuple[dict[str, Any], ...] = (
    {
        "model": CHAT,
        "prompt": "Once upon",
        "max_tokens": 4,
        "temperature": 0.5,
        "top_p": 0.9,
        "n": 2,
        "logprobs": 2,
        "stop": "x",
        "seed": 1,
        "best_of": 1,
        "logit_bias": {"5": 1},
        "presence_penalty": 0.1,
        "frequency_penalty": 0.1,
        "user": "u",
    },
    {
        "model": CHAT,
        "prompt": ["a", "b"],
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    {"model": CHAT, "prompt": [5, 6, 7], "max_tokens": 4, "suffix": None, "echo": True, "logprobs": 1},
    {"model": CHAT, "prompt": [[5, 6], [7]], "max_tokens": 4},
)
MESSAGES: tuple[dict[str, Any], ...] = (
    {
        "model": CHAT,
        "max_tokens": 4,
        "messages": [_HELLO],
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["x", "y"],
        "metadata": {"user_id": "u"},
        "thinking": {"type": "disabled"},
    },
    {"model": CHAT, "max_tokens": 4, "messages": [_HELLO], "system": "Be brief.", "stream": True},
    {
        "model": CHAT,
        "max_tokens": 8,
        "messages": [
            _HELLO,
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "So."},
                    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"size": "small"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [{"type": "text", "text": "sunny"}],
                        "is_error": False,
                    }
                ],
            },
        ],
        "tools": [{"name": "get_weather", "description": "Tells.", "input_schema": _SCHEMA}],
        "tool_choice": {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
    },
    {
        "model": CHAT,
        "max_tokens": 4,
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": RED_PNG},
                    }
                ],
            }
        ],
        "stream": True,
    },
    {
        "model": CHAT,
        "max_tokens": 12,
        "messages": [_HELLO],
        "output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    },
)
COUNTS = tuple(
    {key: value for key, value in each.items() if key in ("model", "messages", "system", "tools")}
    for each in MESSAGES
)
_OPTIONS = {
    "temperature": 0.5,
    "num_predict": 4,
    "top_k": 5,
    "top_p": 0.9,
    "min_p": 0.1,
    "seed": 1,
    "stop": ["x"],
    "repeat_penalty": 1.1,
    "num_ctx": 64,
}
OLLAMA_CHATS: tuple[dict[str, Any], ...] = (
    {
        "model": CHAT,
        "messages": [_HELLO],
        "stream": False,
        "options": _OPTIONS,
        "keep_alive": "5m",
        "think": False,
    },
    {"model": CHAT, "messages": [_HELLO], "options": {"num_predict": 4}},
    {
        "model": CHAT,
        "messages": [
            _HELLO,
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "get_weather", "arguments": {"size": "small"}}}],
            },
            {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
        ],
        "tools": [_TOOL],
        "options": {"num_predict": 8},
    },
    {
        "model": CHAT,
        "messages": [{**_HELLO, "images": [RED_PNG]}],
        "options": {"num_predict": 4},
        "stream": False,
    },
    {"model": CHAT, "messages": [_HELLO], "format": _SCHEMA, "options": {"num_predict": 8}, "stream": False},
    {"model": CHAT, "messages": [_HELLO], "format": "json", "options": {"num_predict": 8}},
)
OLLAMA_GENERATES: tuple[dict[str, Any], ...] = (
    {
        "model": CHAT,
        "prompt": "Hi",
        "system": "Be brief.",
        "stream": False,
        "options": _OPTIONS,
        "think": False,
    },
    {"model": CHAT, "prompt": "Hi", "options": {"num_predict": 4}, "keep_alive": 300},
    {"model": CHAT, "prompt": "Hi", "raw": True, "options": {"num_predict": 4}, "stream": False},
    {"model": CHAT, "prompt": "Hi", "format": _SCHEMA, "options": {"num_predict": 8}, "context": [5, 6]},
    {"model": CHAT, "prompt": "Hi", "images": [RED_PNG], "options": {"num_predict": 4}, "suffix": ""},
)
RERANKS: tuple[dict[str, Any], ...] = (
    {"model": VECTORS, "query": "cat", "documents": ["kitten", "car"], "top_n": 1, "return_documents": True},
    {"model": VECTORS, "query": "cat", "documents": [{"text": "kitten"}, {"text": "car"}]},
)
