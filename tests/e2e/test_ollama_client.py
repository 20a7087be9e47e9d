"""Ollama's own client, against the real thing; what it is told is judged by its response models."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import hypot
from typing import Any

import httpx
import pytest
from ollama import Client, ResponseError

from tests.e2e.sdk import shapes
from tests.e2e.stack import Stack, eventually
from tests.minilm import minilm_gguf

pytestmark = pytest.mark.e2e

TINY, MINILM, PACED, UNUSED = "weft-tiny", "ollama-minilm", "ollama-paced", "ollama-unused"
ASK = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    stack.add_model(MINILM, "llama-cpp", parameters={"model": str(minilm_gguf())}, embeddings=True)
    stack.add_model(PACED, options={"delay_ms": 1})
    stack.add_model(UNUSED, embeddings=True)
    with Client(host=stack.url, headers=stack.headers) as made:
        yield made


def raw(stack: Stack, path: str, **fields: Any) -> httpx.Response:
    with stack.client() as made:
        return made.post(path, json=fields)


def test_a_conversation_is_answered_at_once_or_in_pieces(client: Client, stack: Stack) -> None:
    whole = client.chat(TINY, ASK, options={"temperature": 0})
    assert "Paris" in (whole.message.content or "")
    assert (whole.done, whole.done_reason) == (True, "stop")
    pieces = list(client.chat(TINY, ASK, options={"temperature": 0}, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert [piece.done for piece in pieces].count(True) == 1
    assert pieces[-1].eval_count == whole.eval_count
    assert (pieces[-1].total_duration or 0) >= (pieces[-1].eval_duration or 0) > 0


def test_answers_are_what_the_clients_models_say(client: Client, stack: Stack) -> None:
    asked = {"options": {"num_predict": 8, "temperature": 0}}
    chat = raw(stack, "/api/chat", model=TINY, messages=ASK, stream=False, **asked)
    assert chat.headers["content-type"] == "application/json; charset=utf-8"
    shapes.OLLAMA_CHAT.check(chat.json())
    pieces = raw(stack, "/api/chat", model=f"{TINY}:latest", messages=ASK, **asked)
    assert pieces.headers["content-type"] == "application/x-ndjson"
    for line in pieces.text.splitlines():
        shapes.OLLAMA_CHAT_PIECE.check(json.loads(line))
    shapes.OLLAMA_GENERATE.check(
        raw(stack, "/api/generate", model=TINY, prompt="Hi", stream=False, **asked).json()
    )
    for line in raw(stack, "/api/generate", model=TINY, prompt="Hi", **asked).text.splitlines():
        shapes.OLLAMA_GENERATE_PIECE.check(json.loads(line))
    shapes.OLLAMA_EMBED.check(raw(stack, "/api/embed", model=MINILM, input=["a", "b"]).json())
    shapes.OLLAMA_EMBEDDINGS.check(raw(stack, "/api/embeddings", model=MINILM, prompt="a").json())
    shapes.OLLAMA_SHOW.check(raw(stack, "/api/show", model=TINY).json())
    with stack.client() as made:
        shapes.OLLAMA_TAGS.check(made.get("/api/tags").json())
        shapes.OLLAMA_PS.check(made.get("/api/ps").json())


def test_a_prompt_and_what_goes_on_with_it(client: Client) -> None:
    asked: Any = {"options": {"temperature": 0, "num_predict": 16}}
    first = client.generate(TINY, "What is the capital of France?", system="Be brief.", **asked)
    assert first.response
    assert first.context
    second = client.generate(TINY, "And of Italy?", context=first.context, **asked)
    assert (second.prompt_eval_count or 0) > len(first.context)
    assert list(second.context or [])[: len(first.context)] == list(first.context)


def test_a_raw_prompt_and_its_end(client: Client) -> None:
    told = client.generate(TINY, "One two three", raw=True, options={"num_predict": 4, "seed": 1})
    assert told.context is None
    assert (told.done_reason, told.eval_count) in (("length", 4), ("stop", told.eval_count))


def test_structured_output(client: Client) -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}, "count": {"type": "integer", "maximum": 9}},
        "required": ["size", "count"],
    }
    told = client.chat(TINY, ASK, format=schema, options={"seed": 3, "num_predict": 60})
    value = json.loads(told.message.content or "")
    assert value["size"] in ("small", "large")
    assert isinstance(json.loads(client.generate(TINY, "A thing:", format="json").response or ""), dict)


def test_probabilities_of_tokens(client: Client) -> None:
    told = client.chat(TINY, ASK, logprobs=True, top_logprobs=2, options={"num_predict": 2})
    assert told.logprobs is not None
    assert [len(each.top_logprobs or ()) for each in told.logprobs] == [2] * len(told.logprobs)
    assert all(each.logprob <= 0 for each in told.logprobs)


def test_vectors_have_unit_length_and_a_meaning(client: Client) -> None:
    told = client.embed(MINILM, ["cat", "kitten", "carburettor"])
    cat, kitten, carburettor = told.embeddings
    assert all(abs(hypot(*vector) - 1) < 1e-5 for vector in told.embeddings)
    assert _dot(cat, kitten) > _dot(cat, carburettor) + 0.2
    assert list(client.embeddings(MINILM, "kitten").embedding) == pytest.approx(list(kitten), abs=1e-5)
    assert len(client.embed(MINILM, "cat", dimensions=64).embeddings[0]) == 64


def test_a_text_that_is_too_long_is_cut_unless_it_must_not_be(client: Client) -> None:
    long = "cat " * 1000
    (vector,) = client.embed(MINILM, long).embeddings
    assert abs(hypot(*vector) - 1) < 1e-5
    with pytest.raises(ResponseError, match="maximum context length") as caught:
        client.embed(MINILM, long, truncate=False)
    assert caught.value.status_code == 400


def test_models_are_listed_and_described(client: Client) -> None:
    listed = {model.model: model for model in client.list().models}
    assert {f"{TINY}:latest", f"{MINILM}:latest"} <= set(listed)
    assert (listed[f"{TINY}:latest"].size or 0) > 0
    shown = client.show(f"{TINY}:latest")
    assert "completion" in (shown.capabilities or [])
    assert "embedding" in (client.show(MINILM).capabilities or [])
    assert shown.modelinfo
    with pytest.raises(ResponseError, match="model 'nobody' not found") as caught:
        client.show("nobody")
    assert caught.value.status_code == 404


def test_an_empty_request_loads_and_lets_go(client: Client, stack: Stack) -> None:
    assert client.generate(PACED, keep_alive="10m").done_reason == "load"
    (loaded,) = [model for model in client.ps().models if model.model == f"{PACED}:latest"]
    assert loaded.context_length == 4096

    def is_told() -> bool:
        (one,) = [model for model in client.ps().models if model.model == f"{PACED}:latest"]
        return one.expires_at is not None and one.expires_at - datetime.now(UTC) < timedelta(minutes=11)

    eventually(is_told, what="the wish of the request in the list")
    assert client.generate(PACED, keep_alive=0).done_reason == "unload"
    gone = lambda: all(model.model != f"{PACED}:latest" for model in client.ps().models)  # noqa: E731  # of one use
    eventually(gone, seconds=15, what="the model to be unloaded")


def test_what_is_not_loaded_is_not_loaded_to_be_let_go(client: Client, stack: Stack) -> None:
    for ask in (client.generate, client.chat):
        assert ask(UNUSED, keep_alive=0).done_reason == "unload"
    assert client.embed(MINILM, "").embeddings == []
    assert UNUSED not in str(client.ps())


def test_a_body_may_be_sent_as_curl_sends_it(client: Client, stack: Stack) -> None:
    body = json.dumps({"model": TINY, "prompt": "Hi", "stream": False, "options": {"num_predict": 2}})
    with stack.client() as made:
        sent = made.post(
            "/api/generate", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
        )
    shapes.OLLAMA_GENERATE.check(sent.json())


def test_a_refusal_is_told_in_ollamas_words(client: Client, stack: Stack) -> None:
    for fields, status, words in (
        ({"model": "nobody", "messages": ASK}, 404, "model 'nobody' not found"),
        ({"model": TINY, "messages": "Hi"}, 400, "messages"),
        ({"model": TINY, "messages": ASK, "options": {"temperature": "hot"}}, 400, "options.temperature"),
        ({"model": MINILM, "messages": ASK}, 400, "cannot answer conversations"),
        ({"messages": ASK}, 400, "model"),
    ):
        refused = raw(stack, "/api/chat", **fields)
        assert refused.status_code == status, refused.text
        assert list(refused.json()) == ["error"]
        assert words in refused.json()["error"]
    with pytest.raises(ResponseError, match="no library") as caught:
        client.pull("llama3")
    assert caught.value.status_code == 400
    with Client(host=stack.url) as stranger, pytest.raises(ResponseError) as caught:
        stranger.chat(TINY, ASK)
    assert caught.value.status_code == 401


def test_a_failure_in_the_midst_is_an_error_and_no_end(client: Client) -> None:
    pieces = client.chat(PACED, [{"role": "user", "content": "fail_at=3"}], stream=True)
    told: list[bool | None] = []
    with pytest.raises(ResponseError):
        told.extend(piece.done for piece in pieces)
    assert told == [False, False, False]


def test_who_looks_whether_ollama_runs_finds_it(client: Client, stack: Stack) -> None:
    with stack.client() as made:
        assert made.get("/").text == "Ollama is running"
        assert [made.head(path).status_code for path in ("/", "/api/tags", "/api/version")] == [200] * 3
        major, minor, _ = made.get("/api/version").json()["version"].split(".")
    assert (int(major), int(minor)) >= (0, 9)


def _dot(left: Any, right: Any) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))
