"""Cuts what is too long for a model that makes vectors, where the caller wishes so, as Ollama does by itself."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from weft_worker.backend.launch import LaunchedModel
from weft_worker.backend.work import Work, embedding
from weft_worker.engines.abilities import Counter, Input, InputTooLong, Vector
from weft_worker.engines.base import Engine

# What models put before and behind a text.
_OWN_TOKENS = 2
# Nobody counts all of a text whose end is cut off anyway; few tokens have as many letters.
_MOST_LETTERS = 64


def beginnings(model: LaunchedModel, engine: Engine, inputs: Sequence[Input]) -> Work[Vector]:
    """Make vectors of inputs, and of the beginnings of those that are too long; else as `embedding`.

    Cutting is part of the work, which has a slot and the deadline of its call.
    """
    whole = embedding(model, engine, inputs)
    if not isinstance(engine, Counter):
        return whole
    counter = engine

    async def vectors(engine: Engine) -> AsyncGenerator[Vector, None]:
        try:
            async with aclosing(whole.start(engine)) as made:
                async for vector in made:
                    yield vector
            return
        except InputTooLong as error:  # raised before the first vector
            context_size = error.context_size
        cut = embedding(model, engine, await cut_to_fit(counter, inputs, context_size))
        async with aclosing(cut.start(engine)) as made:
            async for vector in made:
                yield vector

    return Work(vectors, whole.saw)


async def cut_to_fit(counter: Counter, inputs: Sequence[Input], context_size: int) -> list[Input]:
    """The beginnings of inputs, as much as fits the context; those that fit stay as they are."""
    room = max(1, context_size - _OWN_TOKENS)
    return [
        await _cut(counter, given, room) if isinstance(given, str) else given[:context_size]
        for given in inputs
    ]


async def _cut(counter: Counter, text: str, room: int) -> str:
    # No token is shorter than a byte.
    if len(text.encode()) <= room:
        return text
    text = text[: room * _MOST_LETTERS]
    count = await _count(counter, text)
    if count <= room:
        return text
    # Texts have about as many tokens to a letter everywhere, so a few looks find the place.
    fits, fits_count, too_long, too_long_count = 0, 0, len(text), count
    while too_long - fits > 1 and fits_count < room:
        share = (room - fits_count) / (too_long_count - fits_count)
        middle = min(max(fits + round((too_long - fits) * share), fits + 1), too_long - 1)
        count = await _count(counter, text[:middle])
        if count <= room:
            fits, fits_count = middle, count
        else:
            too_long, too_long_count = middle, count
    return text[: max(1, fits)]


async def _count(counter: Counter, text: str) -> int:
    return len((await counter.tokenize(text)).ids)
