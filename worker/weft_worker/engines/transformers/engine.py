"""Serves a Hugging Face folder, as its model file says: it chats, makes vectors, or scores documents."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from weft_common.errors import EngineFailed, LoadFailed, WeftError
from weft_common.purposes import Purpose
from weft_worker.engines.abilities import Conversation, Input, Score, Tokens, Vector
from weft_worker.engines.base import (
    Completion,
    EngineModel,
    Event,
    Generation,
    Message,
    Progress,
    Role,
    Sampling,
)
from weft_worker.engines.transformers.folder import Folder, check_folder, read_ahead
from weft_worker.engines.transformers.options import Options, read_options

if TYPE_CHECKING:
    from weft_worker.engines.transformers.loaded import Loaded

_CHECKED, _READ, _LOADED = 0.02, 0.6, 0.95
_LAST_WORDS_SECONDS = 1.0
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")
_FIRST_USE = Generation((Message(Role.USER, "Hi"),), Sampling(max_tokens=1))
_FIRST_TEXT = Completion("Hi", Sampling(max_tokens=1))
_logger = logging.getLogger(__name__)


class TransformersEngine:
    """A model in transformers; state: what was loaded."""

    def __init__(self, end_process: Callable[[], None] | None = None) -> None:
        self._end_process = end_process or _end_process
        self._loaded: Loaded | None = None

    async def load(self, model: EngineModel, progress: Progress) -> None:
        """Load a folder of safetensors."""
        options = read_options(model.options)
        folder = await asyncio.to_thread(check_folder, Path(model.path))
        progress(_CHECKED)
        await read_ahead(folder, lambda fraction: progress(_CHECKED + fraction * (_READ - _CHECKED)))
        self._loaded = await asyncio.to_thread(_load, folder, model, options, self._breaker())
        progress(_LOADED)
        try:
            await self._use_once(model.purpose)
        except WeftError as error:
            await self.close()
            raise LoadFailed(
                f"transformers loaded {model.path} and cannot use it: {error.message}"
            ) from error
        except BaseException:
            await self.close()
            raise
        progress(1.0)

    async def generate(self, generation: Generation) -> AsyncGenerator[Event, None]:
        """Answer a conversation; tokens that gathered while the loop was busy come as one delta."""
        async with aclosing(self._held().answer(generation)) as events:
            async for event in events:
                yield event

    async def complete(self, completion: Completion) -> AsyncGenerator[Event, None]:
        """Go on with a text."""
        async with aclosing(self._held().answer(completion)) as events:
            async for event in events:
                yield event

    async def require_fit(self, completion: Completion) -> None:
        """Count the tokens."""
        await self._held().require_fit(completion)

    def thinks(self) -> bool:
        """Whether its chat template knows of thoughts."""
        return self._loaded is not None and self._loaded.thinks

    def vector_size(self) -> int:
        """How many numbers a vector has."""
        return self._held().encoder().vector_size

    async def embed(self, inputs: Sequence[Input]) -> AsyncGenerator[Vector, None]:
        """Make vectors."""
        loaded = self._held()
        async with loaded.slot(), aclosing(loaded.encoder().embed(inputs)) as vectors:
            async for vector in vectors:
                yield vector

    async def rerank(self, query: str, documents: Sequence[str]) -> AsyncGenerator[Score, None]:
        """Read the query with each document."""
        loaded = self._held()
        async with loaded.slot(), aclosing(loaded.encoder().rerank(query, documents)) as scores:
            async for score in scores:
                yield score

    async def tokenize(self, text: str | Conversation, *, with_pieces: bool = False) -> Tokens:
        """Make tokens."""
        return await self._held().tokenize(text, with_pieces=with_pieces)

    async def close(self) -> None:
        """Free the model, once what still runs has noticed."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            await loaded.close()

    def _held(self) -> "Loaded":
        if self._loaded is None:
            raise EngineFailed("The model is not loaded.")
        return self._loaded

    def _breaker(self) -> Callable[[str], None]:
        """What a thread calls that has nothing to compute with any more; the answers that tell why go out first."""
        loop = asyncio.get_running_loop()

        def end(why: str) -> None:
            _logger.critical("engine_broken", extra={"reason": why})
            with contextlib.suppress(RuntimeError):  # the loop is closed: so the process ends anyhow
                loop.call_soon_threadsafe(loop.call_later, _LAST_WORDS_SECONDS, self._end_process)

        return end

    async def _use_once(self, purpose: Purpose) -> None:
        """It warms the model up, and shows that weights, tokenizer and chat template are of use."""
        match purpose:
            case Purpose.CHAT:
                first = _FIRST_USE if self._held().chats else _FIRST_TEXT
                async with aclosing(self._held().answer(first)) as events:
                    async for _ in events:
                        pass
            case Purpose.EMBEDDING:
                async with aclosing(self.embed(["Hi"])) as vectors:
                    async for _ in vectors:
                        pass
            case Purpose.RERANKING:
                async with aclosing(self.rerank("Hi", ["Hi"])) as scores:
                    async for _ in scores:
                        pass


def _end_process() -> None:
    """Its agent starts another one. Not sys.exit, which joins threads: one may be stuck in a lost device."""
    logging.shutdown()
    os._exit(os.EX_SOFTWARE)


def _load(folder: Folder, model: EngineModel, options: Options, on_broken: Callable[[str], None]) -> "Loaded":
    for name in _OFFLINE:
        os.environ[name] = "1"  # noqa: TID251 (the libraries' only way to be told, read when they are imported)
    # Only here, in the backend process and in a thread: torch takes seconds to import.
    try:
        from weft_worker.engines.transformers.loaded import load
    except ImportError as error:
        raise LoadFailed(
            f"The engine transformers cannot run here: {error}; pip install weft[torch]."
        ) from error
    return load(folder, model, options, on_broken)
