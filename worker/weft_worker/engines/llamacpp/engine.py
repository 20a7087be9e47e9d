"""Runs generations on xllamacpp: a thread for each slot, and never more calls in the library than slots."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from weft_common.chat_templates import template_thinks
from weft_common.errors import EngineFailed, InvalidRequest, LoadFailed, WeftError
from weft_common.purposes import Purpose
from weft_worker.engines.abilities import Conversation, Input, Score, Tokens, Vector
from weft_worker.engines.base import (
    Completion,
    Delta,
    EngineModel,
    Event,
    Finished,
    FinishReason,
    Generation,
    Message,
    Progress,
    Role,
    Sampling,
    Usage,
)
from weft_worker.engines.limits import check_echo, long_echo, no_gaps, no_prompt, prompt_too_long
from weft_worker.engines.llamacpp.call import running
from weft_worker.engines.llamacpp.door import Door
from weft_worker.engines.llamacpp.echoes import first_chance
from weft_worker.engines.llamacpp.facts import Facts, fitted, read_facts
from weft_worker.engines.llamacpp.hush import hush
from weft_worker.engines.llamacpp.loaded import CANCEL_SECONDS, InThread, Loaded
from weft_worker.engines.llamacpp.native import open_server
from weft_worker.engines.llamacpp.plain_tools import is_of_schema
from weft_worker.engines.llamacpp.side_files import ignored_options, side_files_of
from weft_worker.engines.llamacpp.thread_pair import ThreadPair
from weft_worker.engines.llamacpp.vectors import Reader
from weft_worker.engines.llamacpp.vocabulary import check_may_fit, longest_token_bytes, separating_token
from weft_worker.engines.llamacpp.weights import check_weights, default_thread_count, read_ahead
from weft_worker.engines.llamacpp.wire import encode_completion, encode_conversation, encode_request
from weft_worker.native_threads import LinuxThreads

_logger = logging.getLogger(__name__)
_READ_AHEAD_SHARE = 0.9
# What a tokenizer puts around a text at most, roughly.
_ROOM_TOKENS = 16
# Each costs as much as a token of an answer, and nobody is told anything meanwhile.
_MOST_WEIGHED = 2048
_FIRST_USE = Generation((Message(Role.USER, "Hi"),), Sampling(max_tokens=1))


class LlamaCppEngine:
    """A GGUF model in llama.cpp; state: what was loaded."""

    def __init__(self) -> None:
        self._loaded: Loaded | None = None

    async def load(self, model: EngineModel, progress: Progress) -> None:
        """Load a GGUF file."""
        path = Path(model.path)
        size_bytes = await asyncio.to_thread(check_weights, path)
        await read_ahead(path, size_bytes, lambda fraction: progress(fraction * _READ_AHEAD_SHARE))
        thread_count = model.thread_count or default_thread_count(size_bytes)
        # Only vectors and scores depend on them, and long vocabularies take a while to read.
        facts = Facts() if model.purpose is Purpose.CHAT else await asyncio.to_thread(read_facts, path)
        model, key = fitted(model, facts), secrets.token_hex(32)
        files = await asyncio.to_thread(side_files_of, model)
        if ignored := ignored_options(model.options):
            _logger.warning("engine_options_ignored", extra={"model": model.name, "options": ignored})
        native = LinuxThreads()  # before the library begins its own
        server = await asyncio.to_thread(open_server, model, thread_count, key, files)
        door = Door(server.listening_address, key)
        self._loaded = Loaded(
            server=[server],
            path=path,
            door=door,
            thinks=model.purpose is Purpose.CHAT and template_thinks(await asyncio.to_thread(door.template)),
            facts=facts,
            sees=files.projector is not None,
            slots=asyncio.Semaphore(model.slot_count),
            threads=ThreadPoolExecutor(model.slot_count, thread_name_prefix="llamacpp"),
            context_size=model.context_size,
            token_bytes=await asyncio.to_thread(longest_token_bytes, path),
            pair=ThreadPair(native, has_one_computing=thread_count == 1),
        )
        await self._use_once(model)
        hush()
        progress(1.0)

    async def generate(self, generation: Generation) -> AsyncGenerator[Event, None]:
        """Answer a conversation; tokens that gathered while the loop was busy come as one delta."""
        loaded = self._held()
        check_may_fit(generation, loaded.context_size, loaded.token_bytes)
        try:
            async with aclosing(running(loaded, await _encoded(generation), generation)) as events:
                async for event in events:
                    yield event
            return
        except InvalidRequest as error:
            if generation.tools is None or not is_of_schema(error):
                raise
        body = await _encoded(generation, plain_tools=True)
        async with aclosing(running(loaded, body, generation)) as events:
            async for event in events:
                yield event

    async def complete(self, completion: Completion) -> AsyncGenerator[Event, None]:
        """Go on with a text, or fill a gap; the library does not tell probabilities of prompts."""
        loaded = self._held()
        if completion.suffix:
            check_echo(completion)
        check_may_fit(completion, loaded.context_size, loaded.token_bytes)
        echo = await self._echo(completion) if completion.echo else None
        if not completion.prompt:
            completion = await self._from_nothing(completion)
        if completion.suffix:
            completion = await self._with_gap(completion)
        if completion.sampling.max_tokens == 0:
            # The library would generate one all the same.
            yield echo or Delta("", 0)
            yield await self._counted(completion)
            return
        async with aclosing(running(loaded, encode_completion(completion), completion)) as events:
            async for event in events:
                if echo is not None:
                    yield replace(echo, prompt=None if isinstance(event, Finished) else event.prompt)
                    echo = None
                yield event

    async def require_fit(self, completion: Completion) -> None:
        """Count the tokens, unless it is plain that they fit."""
        loaded, prompt = self._held(), completion.prompt
        check_may_fit(completion, loaded.context_size, loaded.token_bytes)
        if not isinstance(prompt, str) or len(prompt.encode()) + _ROOM_TOKENS < loaded.context_size:
            return
        count = len((await asyncio.to_thread(loaded.door.tokens, prompt, whole=True)).ids)
        if count >= loaded.context_size:
            raise prompt_too_long(completion, count, loaded.context_size)

    def sees_images(self) -> bool:
        """Whether it was loaded with a projector."""
        return self._loaded is not None and self._loaded.sees

    def thinks(self) -> bool:
        """Whether its chat template knows of thoughts."""
        return self._loaded is not None and self._loaded.thinks

    def vector_size(self) -> int:
        """How many numbers a vector has; 0 before the first one."""
        return self._loaded.vector_sizes[0] if self._loaded is not None and self._loaded.vector_sizes else 0

    async def embed(self, inputs: Sequence[Input]) -> AsyncGenerator[Vector, None]:
        """Make vectors, one input at a time."""
        async with self._reading() as reader:
            for index, given in enumerate(inputs):
                await reader.do(Reader.check, index, given)
            for index, given in enumerate(inputs):
                yield await reader.do(Reader.vector, index, given)

    async def rerank(self, query: str, documents: Sequence[str]) -> AsyncGenerator[Score, None]:
        """Score documents, one at a time."""
        async with self._reading() as reader:
            for index, document in enumerate(documents):
                await reader.do(Reader.check_pair, index, query, document)
            for index, document in enumerate(documents):
                yield await reader.do(Reader.score, index, query, document)

    async def tokenize(self, text: str | Conversation, *, with_pieces: bool = False) -> Tokens:
        """Make tokens as the library does for a prompt."""
        async with self._reading() as reader:
            if isinstance(text, str):
                return await reader.do(Reader.tokens, text, with_pieces)
            try:
                return await reader.do(Reader.conversation_tokens, encode_conversation(text), with_pieces)
            except InvalidRequest as error:
                if not text.tools or not is_of_schema(error):
                    raise
            asked = encode_conversation(text, plain_tools=True)
            return await reader.do(Reader.conversation_tokens, asked, with_pieces)

    async def _echo(self, completion: Completion) -> Delta:
        if not completion.prompt:
            return Delta("", 0)
        if completion.sampling.top_logprobs is not None:
            return await self._weighed(completion, completion.sampling.top_logprobs)
        if isinstance(completion.prompt, str):
            return Delta(completion.prompt, 0)
        async with self._reading() as reader:
            return Delta(await reader.do(Reader.text, completion.prompt), 0)

    async def _weighed(self, completion: Completion, top: int) -> Delta:
        """The prompt with the probability of each of its tokens."""
        async with self._reading() as reader:
            tokens = await reader.do(Reader.pieces, completion.prompt)
            ids, context_size = tokens.ids, self._held().context_size
            if len(ids) >= context_size:
                raise prompt_too_long(completion, len(ids), context_size)
            if len(ids) > _MOST_WEIGHED:
                raise long_echo(_MOST_WEIGHED)
            letter = await reader.do(Reader.letter)
            forced = [
                await reader.do(Reader.forced_chance, ids[:place], ids[place], top, letter)
                for place in range(1, len(ids))
            ]
            prompt = completion.prompt
            text = prompt if isinstance(prompt, str) else await reader.do(Reader.text, prompt)
        return Delta(text, 0, (first_chance(tokens.pieces[0]), *forced))

    async def _from_nothing(self, completion: Completion) -> Completion:
        """The library adds a model's own beginning, and without one does nothing."""
        async with self._reading() as reader:
            count = await reader.do(Reader.prompt_count, "")
        if count:
            return completion
        token = await asyncio.to_thread(separating_token, self._held().path)
        if token is None:
            raise no_prompt()
        return replace(completion, prompt=(token,))

    async def _with_gap(self, completion: Completion) -> Completion:
        async with self._reading() as reader:
            prompt = await reader.do(Reader.gap_prompt, completion.prompt, completion.suffix)
        if prompt is None:
            raise no_gaps()
        marked = replace(completion, prompt=prompt, suffix="")
        check_may_fit(marked, self._held().context_size, None)
        return marked

    async def _counted(self, completion: Completion) -> Finished:
        async with self._reading() as reader:
            count = await reader.do(Reader.prompt_count, completion.prompt)
        if count >= self._held().context_size:
            raise prompt_too_long(completion, count, self._held().context_size)
        return Finished(FinishReason.LENGTH, Usage(count, 0))

    def _held(self) -> Loaded:
        if self._loaded is None:
            raise EngineFailed("The model is not loaded.")
        return self._loaded

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[InThread]:
        """Hold one of the slots for work that is done step by step in threads."""
        loaded = self._held()
        async with loaded.slots:
            yield InThread(loaded)

    async def _use_once(self, model: EngineModel) -> None:
        """Use it for what it is for: that warms it up, and shows that weights and chat template are of use."""
        assert self._loaded is not None, "it was loaded"
        try:
            match model.purpose:
                case Purpose.CHAT:
                    await _exhaust(self.generate(_FIRST_USE))
                case Purpose.EMBEDDING:
                    vector = await anext(self.embed(["Hi"]))
                    self._loaded.vector_sizes.append(len(vector.values))
                case Purpose.RERANKING:
                    await _exhaust(self.rerank("Hi", ["Hi"]))
                case _:
                    assert_never(model.purpose)
        except WeftError as error:
            await self.close()
            raise LoadFailed(f"llama.cpp loaded {model.path} and cannot use it: {error.message}") from error

    async def close(self) -> None:
        """Free the model, once the calls that still run have noticed."""
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        loaded.closing.set()
        async with asyncio.timeout(CANCEL_SECONDS):
            # Calls that no thread has begun are not dropped: each must run to tell its waiter that it is over.
            await asyncio.to_thread(loaded.threads.shutdown, wait=True)
            # The only reference: the server is destroyed in that thread.
            await asyncio.to_thread(loaded.server.clear)


async def _encoded(generation: Generation, *, plain_tools: bool = False) -> str:
    """The request as the library has it; images take a while to write down, and others stream meanwhile."""
    if any(message.parts for message in generation.messages):
        return await asyncio.to_thread(encode_request, generation, plain_tools=plain_tools)
    return encode_request(generation, plain_tools=plain_tools)


async def _exhaust(events: AsyncGenerator[object, None]) -> None:
    async with aclosing(events):
        async for _ in events:
            pass
