"""What the engines of exllamav2 and exllamav3 do alike: a conversation in, the events of one answer out."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec

from weft_common.errors import EngineFailed, LoadFailed
from weft_worker.engines.abilities import Conversation, Tokens
from weft_worker.engines.base import (
    Asked,
    Completion,
    Delta,
    EngineModel,
    Event,
    Finished,
    FinishReason,
    Generation,
    Progress,
    Usage,
)
from weft_worker.engines.exllama.answer import AnswerText
from weft_worker.engines.exllama.batch import OpenBatch
from weft_worker.engines.exllama.folder import FolderFacts, read_folder
from weft_worker.engines.exllama.options import Plan, read_plan
from weft_worker.engines.exllama.owner import End, Owner, Work
from weft_worker.engines.exllama.prompts import Prepared, Prompts
from weft_worker.engines.exllama.saying import Saying

_CANCEL_SECONDS = 30.0
# For the answers that tell why: they are written on the loop, which goes on until then.
_LAST_WORDS_SECONDS = 1.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Library:
    """What an engine is made of: its name, how it opens a model, and which quantisations it reads."""

    name: str
    open_batch: OpenBatch
    quantisations: frozenset[str]
    extra: str
    """`weft[extra]` brings what it needs."""


class ExllamaEngine:
    """A model in one of the libraries; state: what was loaded."""

    def __init__(self, library: Library, end_process: Callable[[], None] | None = None) -> None:
        self._library = library
        self._end_process = end_process or _end_process
        self._loaded: _Loaded | None = None

    async def load(self, model: EngineModel, progress: Progress) -> None:
        """Load a folder in Hugging Face's layout; raises LoadFailed."""
        loop = asyncio.get_running_loop()
        plan, facts = await asyncio.to_thread(_read, model, self._library)
        prompts = await asyncio.to_thread(Prompts.read, facts, plan)
        owner = Owner(
            lambda: self._library.open_batch(plan, lambda done: _soon(loop, progress, done)),
            loop,
            lambda why: _soon(loop, self._break, why),
            self._library.name,
        )
        await owner.load()
        self._loaded = _Loaded(owner, prompts, plan.context_size)
        progress(1.0)

    async def generate(self, generation: Generation) -> AsyncGenerator[Event, None]:
        """Answer a conversation; tokens that gathered while the loop was busy come as one delta."""
        async with aclosing(self._answer(generation)) as events:
            async for event in events:
                yield event

    async def complete(self, completion: Completion) -> AsyncGenerator[Event, None]:
        """Go on with a text."""
        async with aclosing(self._answer(completion)) as events:
            async for event in events:
                yield event

    async def require_fit(self, completion: Completion) -> None:
        """Count the tokens."""
        loaded = self._require_loaded()
        await loaded.prompts.prepare(completion, loaded.context_size)

    def thinks(self) -> bool:
        """Whether its chat template knows of thoughts."""
        return self._loaded is not None and self._loaded.prompts.thinks

    async def _answer(self, asked: Asked) -> AsyncGenerator[Event, None]:
        loaded = self._require_loaded()
        prepared = await loaded.prompts.prepare(asked, loaded.context_size)
        if self._loaded is not loaded:
            raise EngineFailed("The model was closed meanwhile.")
        order = prepared.order
        if not order.limit:
            # Only an echo is asked for.
            for event in prepared.opened([Finished(FinishReason.LENGTH, Usage(len(order.prompt), 0))]):
                yield event
            return
        text = AnswerText(loaded.prompts.guides, order.sampling.stop, order.end_ids)
        work = Work(order, text, asyncio.get_running_loop())
        loaded.owner.begin(work)
        try:
            async for event in _events(work, prepared, loaded.owner):
                yield event
        finally:
            if not work.released.is_set():
                loaded.owner.cancel(work)
                await _settle(work)

    async def tokenize(self, text: str | Conversation, *, with_pieces: bool = False) -> Tokens:
        """Make tokens of a text as it is, or of a conversation as an answer would follow it."""
        return await self._require_loaded().prompts.counted(text, with_pieces=with_pieces)

    async def close(self) -> None:
        """Free the model; what still generates fails."""
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        loaded.prompts.close()
        if not await loaded.owner.close(_CANCEL_SECONDS):
            _logger.error("engine_close_late", extra={"waited_seconds": _CANCEL_SECONDS})

    def _require_loaded(self) -> "_Loaded":
        if self._loaded is None:
            raise EngineFailed("The model is not loaded.")
        return self._loaded

    def _break(self, why: str) -> None:
        """A process without a generator is of no use: its agent starts another one, and tells these last words."""
        _logger.critical("engine_broken", extra={"reason": why})
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._end_process)


@dataclass(frozen=True, slots=True)
class _Loaded:
    owner: Owner
    prompts: Prompts
    context_size: int


async def _events(work: Work, prepared: Prepared, owner: Owner) -> AsyncGenerator[Event, None]:
    saying = Saying(prepared)
    while True:
        # Not before something was said: the first token goes out at once.
        items = await work.feed.take(gather=saying.has_begun)
        end = items.pop() if isinstance(items[-1], End) else None
        told = _joined([item for item in items if isinstance(item, Delta)])
        if told is not None:
            for event in saying.read(told):
                yield event
            if saying.is_over:
                owner.finish(work)
        if isinstance(end, End):
            for event in _last(end, work, saying):
                yield event
            return


def _last(end: End, work: Work, saying: "Saying") -> list[Event]:
    if end.failure is not None:
        raise end.failure
    if end.reason is FinishReason.STOP and not end.stop_sequence and work.order.guidance is not None:
        work.order.guidance.require_complete()
    return saying.finish(Finished(end.reason, end.usage, end.stop_sequence))


def _joined(deltas: Sequence[Delta]) -> Delta | None:
    if len(deltas) < 2:
        return deltas[0] if deltas else None
    return Delta(
        "".join(delta.text for delta in deltas),
        sum(delta.token_count for delta in deltas),
        tuple(each for delta in deltas for each in delta.logprobs),
    )


def _read(model: EngineModel, library: Library) -> tuple[Plan, FolderFacts]:
    for module in ("torch", "tokenizers", library.name):
        if find_spec(module) is None:
            raise LoadFailed(f"{module} is not installed: pip install weft[{library.extra}]")
    plan = read_plan(model)
    facts = read_folder(plan.folder, library.quantisations, library.name)
    if not facts.end_ids:
        raise LoadFailed(f"Nothing in {plan.folder} says which token ends an answer (eos_token_id).")
    if plan.draft_folder is not None:
        draft = read_folder(plan.draft_folder, library.quantisations, library.name)
        if draft.vocabulary() != facts.vocabulary():
            raise LoadFailed(
                f"options.draft_model: {plan.draft_folder} has another vocabulary than {plan.folder}."
            )
    return plan, facts


async def _settle(work: Work) -> None:
    """Wait until the generator has let go, which it does between two steps."""
    try:
        async with asyncio.timeout(_CANCEL_SECONDS):
            await work.released.wait()
    except TimeoutError:
        _logger.error("engine_cancel_late", extra={"waited_seconds": _CANCEL_SECONDS})


def _soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: object) -> None:
    loop.call_soon_threadsafe(callback, *arguments)


def _end_process() -> None:
    logging.shutdown()
    # Not sys.exit, which joins threads: one in a library that has lost its device may never come back.
    os._exit(os.EX_SOFTWARE)
