"""A real backend process of an embedding model: one way for all calls, whole answers, and what it refuses."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.worker.backend.running_backend import WAIT_SECONDS, RunningBackend, running_backend
from weft_common.clock import SystemClock
from weft_common.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    InvalidTicket,
    PartUnavailable,
    ReplicaClosing,
    ReplicaFull,
    WeftError,
)
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb

SERVICE = "/weft.inference.v1.InferenceService"
RESPONSES: Mapping[str, Any] = {
    "Embed": pb.EmbedResponse,
    "Rerank": pb.RerankResponse,
    "Tokenize": pb.TokenizeResponse,
}
CONTEXT = 64

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBackend]:
    """One process for all tests that leave it as they found it."""
    folder = tmp_path_factory.mktemp("backend")
    options = {"delay_ms": "2", "count_file": str(folder / "count")}
    fields: dict[str, Any] = {"purpose": "embedding", "context_size": CONTEXT, "options": options}
    async with running_backend(folder, **fields) as backend:
        yield backend


async def ask(backend: RunningBackend, request: Any, **metadata: str) -> Any:
    rpc = type(request).__name__.removesuffix("Request")
    client = backend.client(**metadata)
    return await client.unary(f"{SERVICE}/{rpc}", request, RESPONSES[rpc], timeout=WAIT_SECONDS)


def embed(*texts: str, **fields: Any) -> pb.EmbedRequest:
    return pb.EmbedRequest(model="m", inputs=[pb.EmbedInput(text=text) for text in texts], **fields)


def last_line(backend: RunningBackend) -> dict[str, Any]:
    return [line for line in backend.log() if line["event"] == "request_ended"][-1]


async def test_vectors_come_in_order_and_are_counted(shared: RunningBackend) -> None:
    answer = await ask(shared, embed("a confidential cat", "zzz"))
    (first, second) = answer.embeddings
    assert (len(first.values), len(second.values)) == (26, 26)
    assert second.values[25] > 0.99
    assert answer.usage == pb.Usage(prompt_token_count=4)
    line = last_line(shared)
    assert (line["rpc"], line["outcome"], line["principal"]) == ("Embed", "ok", "alice")
    assert (line["prompt_token_count"], line["completion_token_count"], line["finish_reason"]) == (4, 0, "")
    assert 0 <= line["queued_ms"] <= line["first_token_ms"] <= line["total_ms"]
    assert "confidential" not in str(shared.log())
    load = await shared.agent.load(lambda load: load.in_flight == 0 and bool(load.works))
    (work,) = load.works
    assert (work.principal, work.generated) == ("alice", 0)
    assert work.prompt >= 4


async def test_what_does_not_fit_is_cut_where_the_caller_wishes_so(shared: RunningBackend) -> None:
    long = "abc " * 100
    cut = await ask(shared, embed(long, "zzz", truncate=True))
    assert cut.usage.prompt_token_count == CONTEXT - 2 + 1
    short = await ask(shared, embed("abc " * (CONTEXT - 2)))
    assert cut.embeddings[0] == short.embeddings[0]
    with pytest.raises(ContextLengthExceeded, match=r"inputs\.0"):
        await ask(shared, embed(long))


async def test_shortened_vectors_have_unit_length_again(shared: RunningBackend) -> None:
    answer = await ask(shared, embed("abcxyz", dimensions=3))
    assert list(answer.embeddings[0].values) == pytest.approx([3**-0.5] * 3, abs=1e-4)
    for dimensions in (0, 27):
        with pytest.raises(InvalidRequest, match=r"dimensions: Should be from 1 to 26"):
            await ask(shared, embed("a", dimensions=dimensions))


async def test_documents_are_compared_by_their_vectors(shared: RunningBackend) -> None:
    request = pb.RerankRequest(model="m", query="cats", documents=["zzz", "cats", "cat"], top_n=2)
    answer = await ask(shared, request)
    assert [result.index for result in answer.results] == [1, 2]
    assert 1 >= answer.results[0].score > answer.results[1].score
    assert answer.usage.prompt_token_count == 4


async def test_tokens_are_counted_and_told(shared: RunningBackend) -> None:
    answer = await ask(shared, pb.TokenizeRequest(model="m", text="three small words", with_pieces=True))
    assert (answer.token_count, list(answer.pieces)) == (3, [b"three", b"small", b"words"])


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (embed(), InvalidRequest, "inputs"),
        (embed("short", "word " * (CONTEXT + 1)), ContextLengthExceeded, f"{CONTEXT} tokens.*inputs.1"),
        (
            pb.RerankRequest(model="m", query="q", documents=["a", "word " * (CONTEXT + 1)]),
            ContextLengthExceeded,
            "documents.1",
        ),
        (pb.TokenizeRequest(model="m"), InvalidRequest, "input"),
        (
            pb.TokenizeRequest(
                conversation=pb.Conversation(messages=[pb.Message(role=pb.ROLE_USER, content="Hi")])
            ),
            InvalidRequest,
            "'m' has no conversations",
        ),
    ],
)
async def test_what_cannot_be_done_is_refused_before_any_work(
    shared: RunningBackend, request_: Any, error: type[WeftError], words: str
) -> None:
    count = Path(shared.document.model.options["count_file"])
    before = count.stat().st_size if count.exists() else 0
    with pytest.raises(error, match=words):
        await ask(shared, request_)
    assert (count.stat().st_size if count.exists() else 0) == before


async def test_an_embedding_model_does_not_chat(shared: RunningBackend) -> None:
    with pytest.raises(InvalidRequest, match="'m' makes embeddings and cannot answer conversations"):
        await anext(shared.chat())
    with pytest.raises(InvalidRequest, match="'m' makes embeddings"):
        await anext(shared.completion())


async def test_a_bad_ticket_opens_nothing(shared: RunningBackend) -> None:
    with pytest.raises(InvalidTicket):
        await ask(shared, embed("a"), **{"x-weft-ticket": shared.ticket(seconds=-1)})


async def test_a_client_that_leaves_frees_its_slot(shared: RunningBackend) -> None:
    count = Path(shared.document.model.options["count_file"])
    asked = asyncio.ensure_future(ask(shared, embed(*["x"] * 2048)))
    await shared.agent.load(lambda load: load.in_flight == 1)
    asked.cancel()
    await asyncio.wait([asked])
    await shared.agent.load(lambda load: load.in_flight == 0)
    done = count.stat().st_size
    await ask(shared, embed("x"))
    assert count.stat().st_size == done + 1 < 2048
    async with asyncio.timeout(WAIT_SECONDS):
        while "CANCELLED" not in {line.get("outcome") for line in shared.log()}:
            await asyncio.sleep(0.01)


async def test_a_deadline_ends_the_work(shared: RunningBackend) -> None:
    soon = str(int((SystemClock().wall() + 0.1) * 1000))
    with pytest.raises(DeadlineExceeded):
        await ask(shared, embed(*["x"] * 2048), **{"x-weft-deadline": soon})
    await shared.agent.load(lambda load: load.in_flight == 0)


async def test_a_batch_takes_one_slot_and_a_full_replica_refuses(shared: RunningBackend) -> None:
    asked = [asyncio.ensure_future(ask(shared, embed(*["x"] * 2048))) for _ in range(4)]
    await shared.agent.load(lambda load: (load.in_flight, load.queued) == (2, 2))
    with pytest.raises(ReplicaFull):
        await ask(shared, embed("x"))
    for each in asked:
        each.cancel()
    await asyncio.wait(asked)
    await shared.agent.load(lambda load: (load.in_flight, load.queued) == (0, 0))


async def test_a_failure_of_the_engine_is_told(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"purpose": "reranking", "options": {"fail_at": "1"}}
    async with running_backend(tmp_path, **fields) as backend:
        with pytest.raises(EngineFailed, match="told to fail"):
            await ask(backend, pb.RerankRequest(model="m", query="q", documents=["a", "b"]))
        answer = await ask(backend, pb.RerankRequest(model="m", query="a b", documents=["b"]))
        assert answer.results[0].score == pytest.approx(0.5)
        with pytest.raises(InvalidRequest, match="reranks documents and cannot make embeddings"):
            await ask(backend, embed("a"))


async def test_a_stop_ends_what_runs_so_that_it_is_tried_elsewhere(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"purpose": "embedding", "options": {"delay_ms": "5"}}
    async with running_backend(tmp_path, **fields) as backend:
        asked = asyncio.ensure_future(ask(backend, embed(*["x"] * 2048)))
        await backend.agent.load(lambda load: load.in_flight == 1)
        backend.agent.stop(grace_seconds=0.1)
        with pytest.raises((ReplicaClosing, PartUnavailable)):
            await asked
