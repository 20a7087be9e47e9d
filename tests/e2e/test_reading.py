"""Vectors, scores and token counts through Envoy, with stubs as a client has them."""

from collections.abc import Iterator
from math import hypot
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.e2e.readers import Reading, embed, reading
from tests.e2e.stack import Stack, eventually
from tests.faults import ReplicaDoor
from tests.minilm import CONTEXT, VECTOR_SIZE, minilm_gguf
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

pytestmark = pytest.mark.e2e

MINILM, PACED = "minilm", "slow-vectors"
MOST = 2048


@pytest.fixture(scope="module")
def client(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    weights = {"model": str(minilm_gguf())}
    stack.add_model(MINILM, "llama-cpp", parameters=weights, embeddings=True, parallel=2)
    stack.add_model(
        PACED, embeddings=True, parallel=1, options={"delay_ms": 5, "count_file": str(counted(stack))}
    )
    with reading(stack) as opened:
        yield opened


def counted(stack: Stack) -> Path:
    return stack.home / "vectors-made"


def made(stack: Stack) -> int:
    return counted(stack).stat().st_size if counted(stack).exists() else 0


def refusal(client: Reading, request: Any, **metadata: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as refused:
        client.ask(request, **metadata)
    return refused.value.code(), refused.value.details()


def cosine(left: pb.Embedding, right: pb.Embedding) -> float:
    return sum(a * b for a, b in zip(left.values, right.values, strict=True))


def test_vectors_of_what_means_the_same_are_close(client: Reading, stack: Stack) -> None:
    answer = client.ask(embed(MINILM, "cat", "kitten", "carburettor"))
    cat, kitten, carburettor = answer.embeddings
    assert [len(embedding.values) for embedding in answer.embeddings] == [VECTOR_SIZE] * 3
    assert all(abs(hypot(*embedding.values) - 1) < 1e-5 for embedding in answer.embeddings)
    assert cosine(cat, kitten) > cosine(cat, carburettor) + 0.2
    alone = client.ask(embed(MINILM, "kitten")).embeddings[0]
    assert list(alone.values) == pytest.approx(list(kitten.values), abs=1e-5)
    short = client.ask(embed(MINILM, "kitten", dimensions=64)).embeddings[0]
    assert len(short.values) == 64
    assert abs(hypot(*short.values) - 1) < 1e-5
    assert short.values[0] / short.values[1] == pytest.approx(kitten.values[0] / kitten.values[1], rel=1e-3)
    counted_tokens = client.ask(pb.TokenizeRequest(model=MINILM, text="cat kitten carburettor")).token_count
    assert answer.usage.prompt_token_count == counted_tokens + 2 * 3, "each has a beginning and an end"
    ended = stack.records("worker/local/log/*.log", "request_ended")
    (line,) = [record for record in ended if (record["rpc"], record["model"]) == ("Embed", MINILM)][:1]
    assert (line["outcome"], line["principal"]) == ("ok", "default")
    assert line["prompt_token_count"] == answer.usage.prompt_token_count


def test_the_right_document_comes_first(client: Reading) -> None:
    documents = [
        "The carburettor mixes air and fuel.",
        "To change your password, open the settings page.",
        "Cats sleep for most of the day.",
    ]
    asked = pb.RerankRequest(model=MINILM, query="How do I reset my password?", documents=documents)
    answer = client.ask(asked)
    scores = [result.score for result in answer.results]
    assert answer.results[0].index == 1
    assert scores == sorted(scores, reverse=True)
    asked.top_n = 1
    assert client.ask(asked).results[:] == answer.results[:1]


def test_tokens_of_a_conversation_are_those_that_a_chat_counts(client: Reading, stack: Stack) -> None:
    message = pb.Message(role=pb.ROLE_USER, content="Hello")
    conversation = pb.Conversation(messages=[message])
    answer = client.ask(pb.TokenizeRequest(model="weft-tiny", conversation=conversation, with_pieces=True))
    usage = stack.chat(prompt="Hello", max_tokens=1).json()["usage"]
    assert answer.token_count == len(answer.ids) == usage["prompt_tokens"]
    assert b"Hello" in b"".join(answer.pieces)


def test_a_model_is_asked_only_for_what_it_is_for(client: Reading, stack: Stack) -> None:
    wrong = [embed("weft-tiny", "cat"), pb.RerankRequest(model="weft-tiny", query="q", documents=["d"])]
    for request in wrong:
        code, words = refusal(client, request)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "'weft-tiny' answers conversations and cannot" in words
    chat = stack.chat(MINILM)
    error = chat.json()["error"]
    assert (chat.status_code, error["type"], error["param"]) == (400, "invalid_request_error", "model")
    assert "'minilm' makes embeddings and cannot answer conversations" in error["message"]


def test_what_cannot_be_done_is_refused_in_plain_words(client: Reading) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    refused = [
        (embed(MINILM), invalid, "inputs"),
        (embed(MINILM, "a", ""), invalid, "inputs.1"),
        (embed(MINILM, *["x"] * (MOST + 1)), invalid, "2,048"),
        (embed(MINILM, "a", dimensions=VECTOR_SIZE + 1), invalid, f"from 1 to {VECTOR_SIZE}"),
        (embed(MINILM, "a", "word " * CONTEXT), invalid, f"{CONTEXT} tokens. However, inputs.1"),
        (embed("gpt-5", "a"), grpc.StatusCode.NOT_FOUND, "gpt-5"),
    ]
    for request, code, words in refused:
        told = refusal(client, request)
        assert told[0] is code
        assert words in told[1]
    assert refusal(client, embed(MINILM, "a"), key="wrong")[0] is grpc.StatusCode.UNAUTHENTICATED


def test_metadata_may_name_the_model(client: Reading) -> None:
    answer = client.ask(embed("", "a"), **{"x-weft-model": MINILM})
    assert len(answer.embeddings) == 1


def test_a_client_that_leaves_frees_the_slot_of_its_batch(client: Reading, stack: Stack) -> None:
    client.ask(embed(PACED, "x"))
    before = made(stack)
    door = ReplicaDoor(stack.home, stack.part(f"replica:local/{PACED}").address)
    call = client.begin(embed(PACED, *["x"] * MOST))
    eventually(lambda: made(stack) > before, what="the batch has begun")
    call.cancel()
    eventually(lambda: door.busy() == (0, 0), what="the slot is free")
    done = made(stack)
    assert done < before + MOST
    with pytest.raises(grpc.FutureCancelledError):
        call.result()
    client.ask(embed(PACED, "x"))
    assert made(stack) == done + 1


def test_a_process_that_is_killed_at_work_is_unavailable_and_comes_back(
    client: Reading, stack: Stack
) -> None:
    client.ask(embed(PACED, "x"))
    before = made(stack)
    call = client.begin(embed(PACED, *["x"] * MOST))
    eventually(lambda: made(stack) > before, what="the batch has begun")
    stack.part(f"replica:local/{PACED}").kill()
    with pytest.raises(grpc.RpcError) as failed:
        call.result()
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert failed.value.details()

    def code() -> grpc.StatusCode:
        again = client.begin(embed(PACED, "x"))
        again.exception()
        return again.code()

    codes = {grpc.StatusCode.UNAVAILABLE}

    def served() -> bool:
        codes.add(code())
        return grpc.StatusCode.OK in codes

    eventually(served, seconds=30, what="a replica again")
    assert codes == {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK}
