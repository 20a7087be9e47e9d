"""Answers of every path as the clients' response models have them, with unknown and missing fields forbidden."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.sdk import shapes
from tests.e2e.sdk.answers import ANTHROPIC_HEADERS
from tests.e2e.sdk.clients.calls import CAPITAL, CHAT, THINKER, THOUGHT, VECTORS
from tests.e2e.sdk.models import add_models
from tests.e2e.sdk.strict import Shape
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

ASK = [{"role": "user", "content": CAPITAL}]
THINK = [{"role": "user", "content": THOUGHT}]
WEATHER_ASKED = [{"role": "user", "content": "What is the weather in Paris?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
ANTHROPIC_TOOL = {"name": "get_weather", "input_schema": PARAMETERS}

CHATS: dict[str, dict[str, Any]] = {
    "plain": {"messages": ASK},
    "n": {"messages": ASK, "n": 2},
    "tools": {"messages": WEATHER_ASKED, "tools": [TOOL]},
    "logprobs": {"messages": ASK, "logprobs": True, "top_logprobs": 2, "max_tokens": 3},
    "usage": {"messages": ASK, "stream_options": {"include_usage": True}},
    "thinking": {"model": THINKER, "messages": THINK, "max_tokens": 60},
}
COMPLETIONS: dict[str, dict[str, Any]] = {
    "plain": {"prompt": "Once upon"},
    "logprobs": {"prompt": ["Once", "upon"], "logprobs": 2, "echo": True},
    "usage": {"prompt": "Once upon", "stream_options": {"include_usage": True}},
}
MESSAGES: dict[str, dict[str, Any]] = {
    "plain": {"messages": ASK},
    "stop": {"messages": ASK, "stop_sequences": ["Paris"]},
    "tools": {"messages": WEATHER_ASKED, "tools": [ANTHROPIC_TOOL]},
    "thinking": {
        "model": THINKER,
        "messages": THINK,
        "max_tokens": 1100,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    },
}
OLLAMA_CHATS: dict[str, dict[str, Any]] = {
    "plain": {"messages": ASK},
    "tools": {"messages": WEATHER_ASKED, "tools": [TOOL]},
    "logprobs": {"messages": ASK, "logprobs": True, "top_logprobs": 2},
    "thinking": {"model": THINKER, "messages": THINK, "think": True},
}
GENERATES: dict[str, dict[str, Any]] = {
    "plain": {"prompt": CAPITAL},
    "thinking": {"model": THINKER, "prompt": THOUGHT, "think": True},
}


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[httpx.Client]:
    add_models(stack)
    with stack.client() as opened:
        yield opened


def post(client: httpx.Client, path: str, **body: Any) -> httpx.Response:
    answer = client.post(path, json={"model": CHAT, **body}, headers=ANTHROPIC_HEADERS)
    assert answer.status_code == 200, answer.text
    return answer


def datas(answer: httpx.Response) -> list[str]:
    lines = answer.text.splitlines()
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


@pytest.mark.parametrize("case", CHATS)
def test_a_chat_completion_of_openai(client: httpx.Client, case: str) -> None:
    fields = {"temperature": 0, **CHATS[case]}
    path = "/v1/chat/completions"
    if case != "usage":
        shapes.CHAT_COMPLETION.check(post(client, path, **fields).json())
    *chunks, end = datas(post(client, path, **fields, stream=True))
    assert end == "[DONE]"
    for chunk in chunks:
        shapes.CHAT_CHUNK.check(json.loads(chunk))


@pytest.mark.parametrize("case", COMPLETIONS)
def test_a_completion_of_openai(client: httpx.Client, case: str) -> None:
    fields = {"temperature": 0, "max_tokens": 4, **COMPLETIONS[case]}
    if case != "usage":
        shapes.COMPLETION.check(post(client, "/v1/completions", **fields).json())
    *chunks, end = datas(post(client, "/v1/completions", **fields, stream=True))
    assert end == "[DONE]"
    for chunk in chunks:
        shapes.COMPLETION_CHUNK.check(json.loads(chunk))


@pytest.mark.parametrize("case", MESSAGES)
def test_a_message_of_anthropic(client: httpx.Client, case: str) -> None:
    fields = {"temperature": 0, "max_tokens": 60, **MESSAGES[case]}
    if case == "thinking":
        del fields["temperature"]
    shapes.MESSAGE.check(post(client, "/v1/messages", **fields).json())
    events = [json.loads(data) for data in datas(post(client, "/v1/messages", **fields, stream=True))]
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    for event in events:
        if event["type"] == "ping":
            assert event == {"type": "ping"}, "the library's model has none"
        else:
            shapes.MESSAGE_EVENT.check(event)


@pytest.mark.parametrize("case", OLLAMA_CHATS)
def test_a_chat_of_ollama(client: httpx.Client, case: str) -> None:
    fields = {"options": {"temperature": 0, "num_predict": 40}, **OLLAMA_CHATS[case]}
    check_ollama(client, "/api/chat", fields, shapes.OLLAMA_CHAT, shapes.OLLAMA_CHAT_PIECE)


@pytest.mark.parametrize("case", GENERATES)
def test_a_generation_of_ollama(client: httpx.Client, case: str) -> None:
    fields = {"options": {"temperature": 0, "num_predict": 40}, **GENERATES[case]}
    check_ollama(client, "/api/generate", fields, shapes.OLLAMA_GENERATE, shapes.OLLAMA_GENERATE_PIECE)


def check_ollama(client: httpx.Client, path: str, fields: Any, whole: Shape, piece: Shape) -> None:
    whole.check(post(client, path, **fields, stream=False).json())
    *pieces, last = map(json.loads, post(client, path, **fields).text.splitlines())
    for each in pieces:
        piece.check(each)
        assert each["done"] is False
    assert last["done"] is True
    # All that comes with the end of a buffered answer comes with the end of a stream.
    whole.check(last)


def test_vectors_and_counts(client: httpx.Client) -> None:
    told = {"model": VECTORS, "input": ["cat", "kitten"]}
    shapes.EMBEDDINGS.check(post(client, "/v1/embeddings", **told).json())
    shapes.ANY_EMBEDDINGS.check(post(client, "/v1/embeddings", **told, encoding_format="base64").json())
    shapes.OLLAMA_EMBED.check(post(client, "/api/embed", **told).json())
    shapes.OLLAMA_EMBEDDINGS.check(post(client, "/api/embeddings", model=VECTORS, prompt="cat").json())
    shapes.TOKENS_COUNT.check(post(client, "/v1/messages/count_tokens", messages=ASK).json())


def test_lists_of_models(client: httpx.Client) -> None:
    shapes.OPENAI_MODELS.check(client.get("/v1/models").json())
    shapes.OPENAI_MODEL.check(client.get(f"/v1/models/{CHAT}").json())
    shapes.ANTHROPIC_MODELS.check(client.get("/v1/models", headers=ANTHROPIC_HEADERS).json())
    shapes.ANTHROPIC_MODEL.check(client.get(f"/v1/models/{CHAT}", headers=ANTHROPIC_HEADERS).json())
    shapes.OLLAMA_TAGS.check(client.get("/api/tags").json())
    shapes.OLLAMA_PS.check(client.get("/api/ps").json())
    shapes.OLLAMA_SHOW.check(post(client, "/api/show").json())


WRONG: dict[str, tuple[int, dict[str, Any]]] = {
    "no model": (
        404,
        {"model": "nobody", "messages": ASK, "prompt": CAPITAL, "input": "cat", "max_tokens": 4},
    ),
    "wrong value": (400, {"model": CHAT, "messages": 7, "prompt": {}, "input": {}, "max_tokens": 4}),
    "no body": (400, {}),
}
ERRORS = {
    "/v1/chat/completions": shapes.OPENAI_ERROR,
    "/v1/completions": shapes.OPENAI_ERROR,
    "/v1/embeddings": shapes.OPENAI_ERROR,
    "/v1/messages": shapes.ANTHROPIC_ERROR,
    "/v1/messages/count_tokens": shapes.ANTHROPIC_ERROR,
    "/api/chat": shapes.OLLAMA_ERROR,
    "/api/generate": shapes.OLLAMA_ERROR,
    "/api/embed": shapes.OLLAMA_ERROR,
    "/api/show": shapes.OLLAMA_ERROR,
}


@pytest.mark.parametrize("path", ERRORS)
def test_refusals(client: httpx.Client, path: str) -> None:
    for status, body in WRONG.values():
        if path == "/api/show" and body.get("messages") == 7:
            continue  # there is nothing else wrong in that body
        answer = client.post(path, json=body, headers=ANTHROPIC_HEADERS)
        assert answer.status_code == status, answer.text
        ERRORS[path].check(answer.json())
    stranger = client.post(path, json={}, headers={**ANTHROPIC_HEADERS, "authorization": "Bearer sk-wrong"})
    assert stranger.status_code == 401
    ERRORS[path].check(stranger.json())
