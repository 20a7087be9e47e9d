"""A Hugging Face folder on its way to a client: brought to a worker, placed, loaded, and served through Envoy."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pair import SHORT_TIMERS
from tests.e2e.readers import Reading, embed, reading
from tests.e2e.stack import Stack, eventually, free_port
from tests.minilm import VECTOR_SIZE, minilm_folder
from tests.torch.tiny_folder import write_base_folder
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

pytestmark = [pytest.mark.torch, pytest.mark.timeout(240)]

CHAT, VECTORS, SCORES, PICKLES = "tiny-folder", "minilm-folder", "cross-folder", "pickles"
BASE, NAMED = "base-folder", "base-folder-that-chats"
STORY = {"temperature": 0, "max_tokens": 40}


@pytest.fixture(scope="module")
def stack(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose second worker has none of the models folder's files."""
    made = Stack(tmp_path_factory.mktemp("weft") / "home", free_port())
    models = made.home / "models"
    shutil.copytree(tiny_folder, models / "tiny")
    shutil.copytree(minilm_folder(), models / "minilm")
    _write_cross_encoder(models / "cross", tiny_folder)
    shutil.copytree(tiny_folder, models / PICKLES)
    (models / PICKLES / "model.safetensors").rename(models / PICKLES / "pytorch_model.bin")
    write_base_folder(models / "base", tiny_folder)
    for name, folder, fields in [
        (BASE, "base", {}),
        (NAMED, "base", {"options": {"chat_template": "chat.jinja"}}),
        (CHAT, "tiny", {"parallel": 4, "context_size": 1024}),
        (VECTORS, "minilm", {"embeddings": True}),
        (SCORES, "cross", {"reranking": True}),
        (PICKLES, PICKLES, {}),
    ]:
        made.write_model(name, "transformers", parameters={"model": folder}, threads=1, **fields)
    made.up(WEFT_AUTO_APPROVE_NODES="true", WEFT_LOAD_WAIT="60s", **SHORT_TIMERS)
    with made.second_worker("two", **SHORT_TIMERS):
        done = made.weft("policy", "set", CHAT, "--selector", "node.name=two")
        assert done.returncode == 0, done.stderr
        yield made
    made.weft("down", "--purge")


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Reading]:
    with reading(stack) as opened:
        yield opened


def _write_cross_encoder(folder: Path, tiny_folder: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    from tests.torch.transformers.folders import shaped, write_random

    config = BertConfig(**shaped(type_vocab_size=2), num_labels=1)
    write_random(folder, tiny_folder, BertForSequenceClassification, config)


def _chat(stack: Stack, prompt: str, **fields: Any) -> Any:
    answer = stack.chat(CHAT, prompt, **fields)
    assert answer.status_code == 200, f"{answer.text}\n{stack.logs()}"
    return answer.json()


def test_a_chat_is_answered_from_files_that_were_brought_to_the_worker(stack: Stack) -> None:
    body = _chat(stack, "What is the capital of Norway?", temperature=0)
    assert body["choices"][0]["message"]["content"] == "The capital of Norway is Oslo."
    assert body["choices"][0]["finish_reason"] == "stop"
    assert stack.part(f"replica:two/{CHAT}").state == "ready"
    assert list((stack.home / "worker" / "two").rglob("model.safetensors"))


def test_many_at_once_are_answered_as_alone(stack: Stack) -> None:
    prompts = ["Tell me a story.", "Count to 9.", "Say: green apple", "Who are you?"] * 3
    alone = {prompt: _chat(stack, prompt, **STORY)["choices"] for prompt in prompts}
    with ThreadPoolExecutor(len(prompts)) as threads:
        together = list(threads.map(lambda prompt: _chat(stack, prompt, **STORY)["choices"], prompts))
    assert together == [alone[prompt] for prompt in prompts]


def test_a_stream_ends_with_its_usage(stack: Stack) -> None:
    told = {"stream_options": {"include_usage": True}, **STORY}
    with stack.stream(CHAT, **told) as pieces:
        lines = [line[6:] for line in b"".join(pieces).split(b"\n") if line.startswith(b"data: ")]
    assert lines.pop() == b"[DONE]"
    *chunks, last = [json.loads(line) for line in lines]
    assert len([chunk for chunk in chunks if chunk["choices"][0]["delta"].get("content")]) > 1
    assert last["usage"]["completion_tokens"] > 0


def test_forms_and_tools_are_kept(stack: Stack) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9, "minimum": 0}}}
    schema |= {"required": ["n"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    body = _chat(stack, "Give an example.", response_format=form)
    assert 0 <= json.loads(body["choices"][0]["message"]["content"])["n"] <= 9
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    body = _chat(stack, "Hello!", tools=[tool], tool_choice="required")
    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], body["choices"][0]["finish_reason"]) == ("look", "tool_calls")
    assert 0 <= json.loads(call["function"]["arguments"])["n"] <= 9


def test_what_does_not_fit_is_refused_with_the_context(stack: Stack) -> None:
    answer = stack.chat(CHAT, "word " * 3000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert "1024 tokens" in answer.json()["error"]["message"]


def test_vectors_find_what_belongs_together(client: Reading) -> None:
    answer = client.ask(embed(VECTORS, "cat", "kitten", "carburettor"))
    cat, kitten, carburettor = [list(each.values) for each in answer.embeddings]
    assert len(cat) == VECTOR_SIZE

    def alike(left: list[float], right: list[float]) -> float:
        return sum(a * b for a, b in zip(left, right, strict=True))

    assert alike(cat, kitten) > alike(cat, carburettor) + 0.2
    asked = pb.RerankRequest(model=VECTORS, query="cat", documents=["carburettor", "kitten"])
    assert [result.index for result in client.ask(asked).results] == [1, 0]


def test_a_cross_encoder_puts_documents_in_order(client: Reading) -> None:
    documents = ["a cat", "word", "nothing at all", "Oslo"]
    asked = pb.RerankRequest(model=SCORES, query="which word", documents=documents)
    results = client.ask(asked).results
    scores = [result.score for result in results]
    assert scores == sorted(scores, reverse=True)
    assert sorted(result.index for result in results) == [0, 1, 2, 3]
    assert all(0 <= score <= 1 for score in scores)


def test_tokens_are_counted(client: Reading) -> None:
    counted = client.ask(pb.TokenizeRequest(model=CHAT, text="two words", with_pieces=True))
    assert b"".join(counted.pieces) == b"two words"


def test_pickles_are_refused_to_whoever_asks(stack: Stack) -> None:
    answer = stack.chat(PICKLES, "Hello")
    assert answer.status_code == 503
    assert "pickles (pytorch_model.bin)" in answer.json()["error"]["message"], answer.text


def test_a_folder_without_a_chat_template_goes_on_with_texts_and_chats_by_one_that_is_named(
    stack: Stack,
) -> None:
    with stack.client() as client:
        body = {"model": BASE, "prompt": "The capital of", "max_tokens": 8}
        told = client.post("/v1/completions", json=body)
    assert (told.status_code, bool(told.json()["choices"][0]["text"])) == (200, True), told.text
    refused = stack.chat(BASE, "Hello!")
    assert refused.status_code == 400
    assert "has no chat template: ask /v1/completions" in refused.json()["error"]["message"]
    answer = stack.chat(NAMED, "What is the capital of Norway?", temperature=0)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "The capital of Norway is Oslo."


def test_a_cancelled_stream_leaves_nothing_behind(stack: Stack) -> None:
    for _ in range(6):  # more often than there are slots
        with stack.stream(CHAT, max_tokens=900, temperature=0, ignore_eos=True) as pieces:
            next(pieces)

    def answers() -> bool:
        with ThreadPoolExecutor(4) as threads:
            answers = threads.map(lambda _: stack.chat(CHAT, "Hello!", **STORY).status_code, range(4))
        return set(answers) == {200}

    eventually(answers, what="all slots are free again")
