"""Real sentence embeddings are the same by whichever API they are asked for, and documents come in the right order."""

import base64
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any

import httpx
import pytest

from tests.e2e.readers import Reading, embed, reading
from tests.e2e.sdk.clients.calls import VECTORS
from tests.e2e.sdk.models import add_models
from tests.e2e.stack import Stack
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

pytestmark = pytest.mark.e2e

WORDS = ["cat", "kitten", "carburettor", "How do I reset my password?", "猫は眠る。 🐈"]
DOCUMENTS = [
    "The carburettor mixes air and fuel.",
    "To change your password, open the settings page.",
    "Cats sleep for most of the day.",
]
QUERY = "How do I reset my password?"
Vector = Sequence[float]


@dataclass(frozen=True)
class Asked:
    """The two ways to a model: REST and stubs."""

    rest: httpx.Client
    stubs: Reading

    def post(self, path: str, **body: Any) -> Any:
        """One call by REST."""
        answer = self.rest.post(path, json={"model": VECTORS, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def asked(stack: Stack) -> Iterator[Asked]:
    add_models(stack)
    with stack.client() as rest, reading(stack) as stubs:
        yield Asked(rest, stubs)


def by_openai(asked: Asked, texts: list[str]) -> list[Vector]:
    return [each["embedding"] for each in asked.post("/v1/embeddings", input=texts)["data"]]


def by_openai_in_base64(asked: Asked, texts: list[str]) -> list[Vector]:
    told = asked.post("/v1/embeddings", input=texts, encoding_format="base64")["data"]
    raw = [base64.b64decode(each["embedding"]) for each in told]
    return [struct.unpack(f"<{len(each) // 4}f", each) for each in raw]


def by_ollama(asked: Asked, texts: list[str]) -> list[Vector]:
    vectors: list[Vector] = asked.post("/api/embed", input=texts)["embeddings"]
    return vectors


def by_ollamas_older_call(asked: Asked, texts: list[str]) -> list[Vector]:
    # The older call of Ollama does not give vectors unit length, ours have it by all of them.
    return [asked.post("/api/embeddings", prompt=text)["embedding"] for text in texts]


def by_stubs(asked: Asked, texts: list[str]) -> list[Vector]:
    return [each.values for each in asked.stubs.ask(embed(VECTORS, *texts)).embeddings]


WAYS = (by_openai, by_openai_in_base64, by_ollama, by_ollamas_older_call, by_stubs)


def cosine(left: Vector, right: Vector) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_a_cat_is_nearer_to_a_kitten_than_to_a_carburettor(asked: Asked) -> None:
    cat, kitten, carburettor, *_ = by_openai(asked, WORDS)
    assert cosine(cat, kitten) > cosine(cat, carburettor) + 0.2


@pytest.mark.parametrize("way", WAYS)
def test_vectors_are_the_same_by_every_api_alone_and_in_a_batch(
    asked: Asked, way: Callable[[Asked, list[str]], list[Vector]]
) -> None:
    expected = by_stubs(asked, WORDS)
    for vector, one in zip(way(asked, WORDS), expected, strict=True):
        assert list(vector) == pytest.approx(list(one), abs=1e-6)
        assert abs(hypot(*vector) - 1) < 1e-5
    for word, one in zip(WORDS, expected, strict=True):
        assert list(way(asked, [word])[0]) == pytest.approx(list(one), abs=1e-5)


def test_dimensions_cut_alike(asked: Asked) -> None:
    short = asked.post("/v1/embeddings", input="cat", dimensions=32)["data"][0]["embedding"]
    assert asked.post("/api/embed", input="cat", dimensions=32)["embeddings"][0] == pytest.approx(
        short, abs=1e-6
    )
    told = asked.stubs.ask(embed(VECTORS, "cat", dimensions=32)).embeddings[0].values
    assert list(told) == pytest.approx(short, abs=1e-6)
    assert abs(hypot(*short) - 1) < 1e-5


def test_the_right_document_comes_first_by_every_api(asked: Asked) -> None:
    told = asked.stubs.ask(pb.RerankRequest(model=VECTORS, query=QUERY, documents=DOCUMENTS)).results
    expected = [(each.index, pytest.approx(each.score, abs=1e-6)) for each in told]
    assert expected[0][0] == 1
    for path in ("/v1/rerank", "/v2/rerank"):
        for documents in (DOCUMENTS, [{"text": text} for text in DOCUMENTS]):
            results = asked.post(path, query=QUERY, documents=documents)["results"]
            assert [(each["index"], each["relevance_score"]) for each in results] == expected
        (best,) = asked.post(path, query=QUERY, documents=DOCUMENTS, top_n=1)["results"]
        assert best["index"] == 1


def test_tokens_are_the_same_by_every_api(asked: Asked) -> None:
    told = asked.stubs.ask(pb.TokenizeRequest(model=VECTORS, text="cat kitten carburettor"))
    assert asked.post("/v1/tokenize", content="cat kitten carburettor")["tokens"] == list(told.ids)
