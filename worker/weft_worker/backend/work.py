"""What an engine is asked to do for one request, and how what it gives counts; the way there is the same for all."""

from array import array
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from weft_common.errors import FieldViolation, InvalidRequest, LoadFailed
from weft_common.purposes import Ability, Purpose, engine_cannot
from weft_common.remote_backends import is_remote
from weft_worker.backend.launch import LaunchedModel
from weft_worker.backend.visit import Visit
from weft_worker.engines.abilities import (
    Completer,
    Conversation,
    Counter,
    Embedder,
    Foreseer,
    Input,
    InputTooLong,
    Reranker,
    Score,
    Seer,
    Thinker,
    Tokens,
    Vector,
    unit,
)
from weft_worker.engines.base import Asked, Completion, Engine, Event, Generation
from weft_worker.engines.bi_encoder import compare

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """`start` is called in a slot; it may raise what callers are told, as may what it gives."""

    start: Callable[[Engine], AsyncGenerator[T, None]]
    saw: Callable[[Visit, T, float], None]


def generating(model: LaunchedModel, engine: Engine, asked: Asked) -> Work[Event]:
    """Answer a conversation or go on with a text; raises InvalidRequest where the engine has no way to."""
    if isinstance(asked, Completion):
        if not isinstance(engine, Completer):
            raise engine_cannot(model.name, model.backend, Ability.COMPLETE)
        completer, completion = engine, asked
        return Work(lambda _: completer.complete(completion), Visit.saw)
    _check_sight(model, engine, asked)
    generation = asked
    return Work(lambda engine: engine.generate(generation), Visit.saw)


def idling() -> Work[Event]:
    """Do nothing, in a slot: the replica counts as used."""

    async def nothing() -> AsyncGenerator[Event, None]:
        return
        yield  # makes a generator of it

    return Work(lambda _: nothing(), Visit.saw)


async def require_fit(engine: Engine, asked: Sequence[Asked]) -> None:
    """Raise ContextLengthExceeded for one of several texts before any of them is begun; a single one says so itself."""
    texts = {each.prompt: each for each in asked if isinstance(each, Completion)}
    if len(texts) > 1 and isinstance(engine, Foreseer):
        for completion in texts.values():
            await engine.require_fit(completion)


def _check_sight(model: LaunchedModel, engine: Engine, generation: Generation) -> None:
    """Raise InvalidRequest where there is something to see, for a model that cannot."""
    if any(message.parts for message in generation.messages) and not (
        isinstance(engine, Seer) and engine.sees_images()
    ):
        needed = "the option `vision`" if is_remote(model.backend) else "`mmproj`"
        words = (
            f"The model '{model.name}' cannot see images: models that can have {needed} in their model file"
        )
        raise InvalidRequest(f"{words}.", violations=[FieldViolation("messages", words)])


def require_thinker(model: str, engine: Engine) -> None:
    """Raise InvalidRequest, in Ollama's words, where a model cannot think; other dialects have it answer as it does."""
    if not (isinstance(engine, Thinker) and engine.thinks()):
        words = f'"{model}" does not support thinking'
        raise InvalidRequest(words, violations=[FieldViolation("think", words)])


def embedding(model: LaunchedModel, engine: Engine, inputs: Sequence[Input]) -> Work[Vector]:
    """Make vectors, whole ones; raises InvalidRequest where the engine has no way to."""
    embedder = _embedder(model, engine)
    return Work(lambda _: embedder.embed(inputs), _read)


def check_dimensions(model: LaunchedModel, engine: Engine, dimensions: int | None) -> None:
    """Raise InvalidRequest, before any work, where vectors have fewer numbers than are asked for."""
    # Of some models of other servers it is known only once there was a vector.
    size = _embedder(model, engine).vector_size()
    if dimensions is not None and (dimensions < 1 or 0 < size < dimensions):
        raise _bad_dimensions(size)


def shortened(vector: Vector, dimensions: int | None) -> "array[float]":
    """The beginning of a vector, of unit length again."""
    if dimensions is None or dimensions == len(vector.values):
        return vector.values
    if dimensions > len(vector.values):
        raise _bad_dimensions(len(vector.values))
    return unit(vector.values[:dimensions])


def reranking(model: LaunchedModel, engine: Engine, query: str, documents: Sequence[str]) -> Work[Score]:
    """Score documents: by a model that reads pairs, or by the vectors of one that makes them; raises as `embedding`."""
    if model.purpose is Purpose.EMBEDDING:
        embedder = _embedder(model, engine)
        return Work(lambda _: compare(embedder, query, documents), _read)
    if not isinstance(engine, Reranker):
        raise engine_cannot(model.name, model.backend, Ability.RERANK)
    reranker = engine
    return Work(lambda _: _named(reranker.rerank(query, documents)), _read)


def require_purpose(model: LaunchedModel, engine: Engine) -> None:
    """Raise LoadFailed, before a load that may take minutes, where the engine has no way to what the model is for."""
    needed = {Purpose.EMBEDDING: (Embedder, Ability.EMBED), Purpose.RERANKING: (Reranker, Ability.RERANK)}
    if model.purpose in needed:
        protocol, ability = needed[model.purpose]
        if not isinstance(engine, protocol):
            raise LoadFailed(engine_cannot(model.name, model.backend, ability).message)


def counting(
    model: LaunchedModel, engine: Engine, text: str | Conversation, *, with_pieces: bool
) -> Work[Tokens]:
    """Make tokens; raises as `embedding`."""
    if not isinstance(engine, Counter):
        raise engine_cannot(model.name, model.backend, Ability.TOKENIZE)
    if isinstance(text, Conversation) and model.purpose is not Purpose.CHAT:
        words = f"The model '{model.name}' has no conversations: count a text"
        raise InvalidRequest(f"{words}.", violations=[FieldViolation("conversation", words)])
    counter = engine

    async def count() -> AsyncGenerator[Tokens, None]:
        yield await counter.tokenize(text, with_pieces=with_pieces)

    return Work(lambda _: count(), lambda visit, tokens, now: visit.read(len(tokens.ids), now))


def _bad_dimensions(size: int) -> InvalidRequest:
    text = f"Should be from 1 to {size or 'what the model has'}, as many as its vectors have"
    return InvalidRequest(f"dimensions: {text}.", violations=[FieldViolation("dimensions", text)])


async def _named(scores: AsyncGenerator[Score, None]) -> AsyncGenerator[Score, None]:
    try:
        async with aclosing(scores):
            async for score in scores:
                yield score
    except InputTooLong as error:
        raise error.named(f"documents.{error.index}") from None


def _embedder(model: LaunchedModel, engine: Engine) -> Embedder:
    if not isinstance(engine, Embedder):
        raise engine_cannot(model.name, model.backend, Ability.EMBED)
    return engine


def _read(visit: Visit, given: Vector | Score, now: float) -> None:
    visit.read(given.token_count, now)
