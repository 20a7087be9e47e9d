"""What every dialect has in common: ids and names on each answer, refusals in its words, and how streams break off."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.api.httpbody_pb2 import HttpBody

from tests.e2e.dialects import STREAMS, SURFACES, Surface, error_message
from tests.e2e.stack import Stack, eventually, free_port

pytestmark = pytest.mark.e2e

each_stream = pytest.mark.parametrize("surface", STREAMS, ids=lambda s: s.name)
each_surface = pytest.mark.parametrize("surface", SURFACES, ids=lambda s: s.name)
MODELS = {"chat": {}, "vectors": {"embeddings": True}}


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that tells its nodes' names, and is impatient with silent streams."""
    made = Stack(tmp_path_factory.mktemp("telling") / "home", free_port())
    for name, fields in MODELS.items():
        made.write_model(name, parallel=4, **fields)
    for surface in STREAMS:
        made.write_model(f"dies-{surface.name}", parallel=2)
    made.up("--expose-node-header", WEFT_STREAM_HEARTBEAT="500ms")
    yield made
    made.leave()


def ask(stack: Stack, surface: Surface, words: str = "tokens=2", **fields: Any) -> httpx.Response:
    document = {"model": surface.purpose, **surface.body(words), "stream": False, **fields}
    with stack.client() as client:
        return client.post(surface.path, json=document, headers={"x-correlation-id": "mine-1"})


@contextmanager
def streamed(stack: Stack, surface: Surface, words: str, model: str = "chat") -> Iterator[httpx.Response]:
    document = {"model": model, **surface.body(words), "stream": True}
    with stack.client() as client, client.stream("POST", surface.path, json=document) as response:
        assert response.status_code == 200, response.read()
        yield response


@each_surface
def test_each_answer_says_who_gave_it_where_that_is_switched_on(telling: Stack, surface: Surface) -> None:
    answer, refusal = ask(telling, surface), ask(telling, surface, **surface.wrong)
    assert answer.status_code == 200, answer.text
    assert refusal.status_code == 400, refusal.text
    for each in (answer, refusal):
        assert each.headers["x-weft-node"] == "local"
        assert each.headers["x-correlation-id"] == "mine-1"
        assert each.headers["x-request-id"]
    (field,) = surface.wrong
    assert field in error_message(surface.path, refusal.text)
    if surface.end:
        with streamed(telling, surface, "tokens=2") as response:
            assert surface.end in response.read().decode()
            assert response.headers["x-weft-node"] == "local"
            assert response.headers["x-correlation-id"] == response.headers["x-request-id"]


@each_surface
def test_nobody_is_named_where_that_is_off(stack: Stack, surface: Surface) -> None:
    stack.add_model(surface.purpose, parallel=4, **MODELS[surface.purpose])
    for answer in (ask(stack, surface), ask(stack, surface, **surface.wrong), ask(stack, surface, model="?")):
        assert [name for name in answer.headers if name.startswith("x-weft")] == []
        assert answer.headers["x-correlation-id"] == "mine-1"
    if surface.end:
        with streamed(stack, surface, "tokens=2") as response:
            assert [name for name in response.headers if name.startswith("x-weft")] == []


@each_surface
def test_a_model_is_known_by_the_name_that_ollamas_list_has_for_it(stack: Stack, surface: Surface) -> None:
    stack.add_model(surface.purpose, parallel=4, **MODELS[surface.purpose])
    name = f"{surface.purpose}:latest"
    with stack.client() as client:
        assert name in [model["name"] for model in client.get("/api/tags").json()["models"]]
        assert client.get(f"/v1/models/{name}").json()["id"] == name
        anthropic = client.get(f"/v1/models/{name}", headers={"anthropic-version": "2023-06-01"})
        assert anthropic.json()["id"] == surface.purpose
    answer = ask(stack, surface, model=name)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told.get("model", name) == name


@each_surface
def test_refusals_are_in_the_words_of_the_dialect_whoever_gives_them(stack: Stack, surface: Surface) -> None:
    def refused(status: int, **more: Any) -> str:
        answer = httpx.post(f"{stack.url}{surface.path}", timeout=60, **more)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-correlation-id"]
        return error_message(surface.path, answer.text)

    assert "API key" in refused(401, json={"model": "chat"})
    assert "nobody" in refused(404, json={"model": "nobody"}, headers=stack.headers)
    assert "JSON" in refused(400, content=b'{"model":', headers=stack.headers)
    assert "model" in refused(400, json={}, headers=stack.headers)
    assert "Incorrect" in refused(401, json={}, headers={"x-api-key": "wrong"})


@each_stream
def test_a_failure_of_the_engine_is_told_in_the_stream_without_its_end(
    telling: Stack, surface: Surface
) -> None:
    with streamed(telling, surface, "tokens=8 fail_at=3") as response:
        text = response.read().decode()
    assert text.count("t2") == 1, "what came before it was told"
    assert surface.end not in text
    last = text.strip().splitlines()[-1].removeprefix("data: ")
    assert "failed" in error_message(surface.path, last)


@each_stream
def test_a_replica_killed_in_the_stream_breaks_it_off(
    telling: Stack, surface: Surface, tmp_path: Path
) -> None:
    model = f"dies-{surface.name}"
    words = f"tokens=8 gate_file={tmp_path / 'gate'} gate_at=2"
    text = ""
    with (
        pytest.raises(httpx.RemoteProtocolError),
        streamed(telling, surface, words, model) as response,
    ):
        for piece in response.iter_text():
            text += piece
            if "t1" in piece:
                telling.part(f"replica:local/{model}").kill()
    assert "t1" in text
    assert surface.end not in text
    assert "error" not in text


@each_stream
def test_a_silent_stream_has_heartbeats_and_then_all_of_its_answer(
    telling: Stack, surface: Surface, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with streamed(telling, surface, f"tokens=3 gate_file={gate}") as response:
        pieces, text = response.iter_text(), ""
        while surface.beat not in text:
            text += next(pieces)
        assert "t0" not in text
        gate.touch()
        text += "".join(pieces)
    assert text.count("t2") == 1
    assert surface.end in text.strip().splitlines()[-2 if "event:" in surface.end else -1]


@each_stream
def test_what_fails_after_a_heartbeat_is_told_in_the_stream(
    telling: Stack, surface: Surface, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with streamed(telling, surface, f"fail_at=0 gate_file={gate}") as response:
        pieces, text = response.iter_text(), ""
        while surface.beat not in text:
            text += next(pieces)
        gate.touch()
        text += "".join(pieces)
    assert surface.end not in text
    assert "failed" in error_message(surface.path, text.strip().splitlines()[-1].removeprefix("data: "))


def test_lists_are_told_under_the_ids_of_who_asks(stack: Stack) -> None:
    with stack.client() as client:
        for path in ("/v1/models", "/api/tags", "/api/ps", "/api/version"):
            answer = client.get(path, headers={"x-correlation-id": "mine-2"})
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-correlation-id"] == "mine-2"
            assert json.loads(answer.text)


def test_anthropics_key_opens_every_door(stack: Stack) -> None:
    headers = {"x-api-key": stack.key}
    eventually(
        lambda: httpx.get(f"{stack.url}/v1/models", headers=headers).status_code == 200, what="a model list"
    )
    assert httpx.get(f"{stack.url}/api/tags", headers=headers).status_code == 200
    assert httpx.head(f"{stack.url}/v1/models", headers=headers).status_code == 200
    assert httpx.head(f"{stack.url}/v1/models").status_code == 401
    beside_a_proxys = {**headers, "authorization": "Bearer dummy"}
    assert httpx.get(f"{stack.url}/v1/models", headers=beside_a_proxys).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_dialect_can_be_spoken_over_grpc(telling: Stack, stream: bool) -> None:
    body = {"model": "chat:latest", "messages": [{"role": "user", "content": "tokens=2"}], "stream": stream}
    with grpc.insecure_channel(f"127.0.0.1:{telling.port}") as channel:
        ask = channel.unary_stream(
            "/weft.dialect.v1.OllamaService/Chat", HttpBody.SerializeToString, HttpBody.FromString
        )
        metadata = [("authorization", f"Bearer {telling.key}")]
        frames = list(ask(HttpBody(data=json.dumps(body).encode()), metadata=metadata, timeout=60))
        with pytest.raises(grpc.RpcError) as refused:
            list(ask(HttpBody(data=b'{"model": "nobody"}'), metadata=metadata, timeout=60))
    assert frames[0].content_type.startswith("application/x-ndjson" if stream else "application/json")
    assert json.loads(frames[-1].data.splitlines()[-1])["done"] is True
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
