"""A model in the library with what it takes to use it, and steps of work in its threads."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from weft_common.errors import EngineFailed
from weft_worker.engines.llamacpp.door import Door
from weft_worker.engines.llamacpp.facts import Facts
from weft_worker.engines.llamacpp.thread_pair import ThreadPair
from weft_worker.engines.llamacpp.vectors import Reader

CANCEL_SECONDS = 30.0
P = ParamSpec("P")
T = TypeVar("T")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The library's server in a list of one, and what keeps calls beyond its slots out of it.

    A call too many would wait inside, where it gets no callback and so cannot be cancelled. The threads are our
    own: the loop's executor has few, shared with everybody.
    """

    server: list[Any]
    path: Path
    slots: asyncio.Semaphore
    threads: ThreadPoolExecutor
    door: Door
    facts: Facts
    sees: bool
    context_size: int
    token_bytes: int | None
    """Of the longest token, if that bounds what a prompt can hold."""
    pair: ThreadPair
    thinks: bool = False
    vector_sizes: list[int] = field(default_factory=list)
    """One, once it is known."""
    closing: threading.Event = field(default_factory=threading.Event)

    def reader(self) -> Reader:
        """What reads whole inputs; raises EngineFailed where the model is closed."""
        if self.closing.is_set():
            raise EngineFailed("The model was closed meanwhile.")
        return Reader(self.server[0], self.door, self.context_size, self.facts)


class InThread:
    """Runs steps of a reader in the model's own threads; leaving one waits until the library has let go."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    async def do(self, step: Callable[Concatenate[Reader, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do a step; raises EngineFailed where the model is closed."""
        if self._loaded.closing.is_set():
            raise EngineFailed("The model was closed meanwhile.")
        returned = asyncio.get_running_loop().run_in_executor(
            self._loaded.threads, lambda: step(self._loaded.reader(), *args, **kwargs)
        )
        try:
            return await asyncio.shield(returned)
        finally:
            if not returned.done():
                await settle(returned)


async def settle(returned: asyncio.Future[Any]) -> None:
    """Wait until the thread is out of the library, which a cancelled call leaves at its next chunk."""
    _, late = await asyncio.wait([returned], timeout=CANCEL_SECONDS)
    if late:
        _logger.error("engine_cancel_late", extra={"waited_seconds": CANCEL_SECONDS})
