"""A model in this process with all that serves it: a runner for chat, an encoder for vectors and scores."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from weft_common.errors import EngineFailed, InvalidRequest
from weft_common.purposes import Purpose
from weft_worker.engines.abilities import Conversation, Tokens
from weft_worker.engines.base import Asked, Completion, EngineModel, Event, FinishReason
from weft_worker.engines.chat_template import ChatTemplate, read_chat_template
from weft_worker.engines.feed import Feed
from weft_worker.engines.transformers.answer import joined
from weft_worker.engines.transformers.encoder import Encoder
from weft_worker.engines.transformers.folder import Folder, default_thread_count
from weft_worker.engines.transformers.limits import context_limit, end_tokens
from weft_worker.engines.transformers.loading import Held, load_held
from weft_worker.engines.transformers.options import Options
from weft_worker.engines.transformers.prompts import Prompts
from weft_worker.engines.transformers.runner import End, Job, Runner
from weft_worker.engines.transformers.vocabulary import Vocabulary

_CANCEL_SECONDS = 30.0
# Of chat templates, texts and forms: what is long holds up no stream, nor what else needs a thread.
_PREPARING_THREADS = 2
_logger = logging.getLogger(__name__)


def load(folder: Folder, model: EngineModel, options: Options, on_broken: Callable[[str], None]) -> "Loaded":
    """Load for what the model file says; blocks. Raises LoadFailed."""
    # Before minutes of loading: one that cannot be read fails it.
    template = _template(folder, options) if model.purpose is Purpose.CHAT else None
    generation_config = folder.generation_config()
    held = load_held(
        folder, model.purpose, options, model.thread_count or default_thread_count(folder.size_bytes)
    )
    ends = end_tokens(held, generation_config)
    vocabulary = Vocabulary(held.tokenizer.backend_tokenizer, ends)
    context_size = context_limit(folder, held, model)
    if template is None:
        encoder = Encoder(folder, held, model.purpose, context_size, options, on_broken)
        return Loaded(held, vocabulary, model.slot_count, encoder=encoder)
    prompts = Prompts(vocabulary, template, context_size, generation_config, held.text_config.vocab_size)
    return Loaded(
        held, vocabulary, model.slot_count, chat=(prompts, Runner(held.model, vocabulary.describe, on_broken))
    )


class Loaded:
    """State: whether it is being closed."""

    def __init__(
        self,
        held: Held,
        vocabulary: Vocabulary,
        slot_count: int,
        *,
        chat: tuple[Prompts, Runner] | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self._held = held
        self._vocabulary = vocabulary
        self._slots = asyncio.Semaphore(slot_count)
        self._encoder = encoder
        self._prompts: Prompts | None = None
        self._runner: Runner | None = None
        if chat is not None:
            self._prompts, self._runner = chat
        self._preparing = ThreadPoolExecutor(_PREPARING_THREADS, thread_name_prefix="prompts")
        self._is_closing = False
        if self._runner is not None:
            self._runner.start()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for one; raises EngineFailed where the model was closed meanwhile."""
        async with self._slots:
            if self._is_closing:
                raise EngineFailed("The model was closed meanwhile.")
            yield

    def encoder(self) -> Encoder:
        """What makes vectors and scores; raises EngineFailed where the model chats, which callers do not ask then."""
        if self._encoder is None:
            raise EngineFailed("The model was loaded for chat.")
        return self._encoder

    @property
    def thinks(self) -> bool:
        """Whether the model thinks before it answers."""
        return self._prompts is not None and self._prompts.thinks

    @property
    def chats(self) -> bool:
        """Whether it answers conversations, and does not only go on with texts."""
        return self._prompts is not None and self._prompts.chats

    async def answer(self, asked: Asked) -> AsyncGenerator[Event, None]:
        """Answer a conversation, or go on with a text."""
        if self._prompts is None or self._runner is None:
            raise EngineFailed("The model was not loaded for chat.")
        loop = asyncio.get_running_loop()
        feed: Feed[Event | End] = Feed(loop)
        job = await loop.run_in_executor(self._preparing, self._prompts.job, asked, feed)
        if not job.limit:
            # Only an echo is asked for.
            for event in job.answer.end(FinishReason.LENGTH):
                yield event
            return
        async with self.slot():
            self._runner.submit(job)
            try:
                async for event in _events(feed):
                    yield event
            finally:
                await _settle(job)

    async def require_fit(self, completion: Completion) -> None:
        """Raise ContextLengthExceeded where a text does not fit."""
        if self._prompts is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._preparing, self._prompts.fitting, completion)

    async def tokenize(self, text: str | Conversation, *, with_pieces: bool) -> Tokens:
        """Make tokens of a text as it is, or of a conversation."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._preparing, self._tokens, text, with_pieces)

    def _tokens(self, text: str | Conversation, with_pieces: bool) -> Tokens:
        if isinstance(text, str):
            ids = self._vocabulary.encode(text)
        elif self._prompts is None:
            raise InvalidRequest("The model has no chat template: it counts the tokens of texts only.")
        else:
            ids = self._prompts.tokens(text)
        pieces = tuple(self._vocabulary.describe(each)[1] for each in ids) if with_pieces else ()
        return Tokens(tuple(ids), pieces)

    async def close(self) -> None:
        """End what runs, and free the model; what waits for a slot hears of it there."""
        self._is_closing = True
        if self._runner is not None and not await asyncio.to_thread(self._runner.stop, _CANCEL_SECONDS):
            _logger.error("engine_cancel_late", extra={"waited_seconds": _CANCEL_SECONDS})
        if self._encoder is not None:
            await self._encoder.close()
        # Not to wait for: what is prepared finds the engine closed.
        self._preparing.shutdown(wait=False)
        self._prompts = self._runner = self._encoder = None
        await asyncio.to_thread(self._held.drop)


async def _events(feed: Feed[Event | End]) -> AsyncGenerator[Event, None]:
    has_begun = False
    while True:
        # Not before something was said: the first token goes out at once.
        items = await feed.take(gather=has_begun)
        end = items[-1] if isinstance(items[-1], End) else None
        for event in joined([item for item in items if not isinstance(item, End)]):
            has_begun = True
            yield event
        if end is not None:
            if end.failure is not None:
                raise end.failure
            return


async def _settle(job: Job) -> None:
    """Wait until the thread has let go of an answer, which it does between two steps."""
    job.cancelled.set()
    try:
        async with asyncio.timeout(_CANCEL_SECONDS):
            await job.feed.ended()
    except TimeoutError:
        _logger.error("engine_cancel_late", extra={"waited_seconds": _CANCEL_SECONDS})


def _template(folder: Folder, options: Options) -> ChatTemplate:
    return read_chat_template(
        folder.path, file=Path(options.chat_template) if options.chat_template else None
    )
