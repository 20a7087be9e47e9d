"""The paced engine itself."""

import asyncio
import mmap
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from weft_common.errors import EngineFailed, InvalidRequest, LoadFailed
from weft_paced_engine import reading
from weft_paced_engine.options import Options
from weft_paced_engine.stops import StopFilter
from weft_worker.engines.abilities import (
    Conversation,
    Input,
    InputTooLong,
    Score,
    Tokens,
    Vector,
    unknown_token,
)
from weft_worker.engines.base import (
    Asked,
    Completion,
    Delta,
    Effort,
    EngineModel,
    Event,
    Finished,
    FinishReason,
    Generation,
    Progress,
    ReasoningDelta,
    Sampling,
    Thinking,
    ToolCallDelta,
    ToolMode,
    Usage,
    begun,
)
from weft_worker.engines.limits import messages_too_long, no_gaps, prompt_too_long, unknown_prompt_token

_EFFORTS = {None: 1, Effort.LOW: 1, Effort.MEDIUM: 2, Effort.HIGH: 3}
_GATE_POLL_SECONDS = 0.005
_GATE_POLLS_SECONDS = (
    0.0005  # for each further request that waits: thousands may, and looking must stay cheap
)
_PROGRESS_STEPS = 10


class _Panic(BaseException):
    """As pyo3 raises it."""


class PacedEngine:
    """State: the model, its options and the memory it holds once loaded, and whether it was closed."""

    def __init__(self) -> None:
        self._model: EngineModel | None = None
        self._options = Options()
        self._closed = False
        self._gated_count = 0
        self._held: mmap.mmap | None = None

    async def load(self, model: EngineModel, progress: Progress) -> None:
        """Take as long as told, and fail if told."""
        options = Options().updated(model.options)
        options.count_load()
        for step in range(_PROGRESS_STEPS):
            progress(step / _PROGRESS_STEPS)
            await asyncio.sleep(options.load_delay_ms / 1000 / _PROGRESS_STEPS)
        self._held = await asyncio.to_thread(_hold, options.memory_mib)
        await self._gate(options.load_gate_file)
        if options.load_die:
            _die(options.load_die)
        if options.load_says:
            os.write(2, f"{options.load_says}\n".encode())  # as native code does, past Python's own streams
        if options.load_fail:
            raise LoadFailed(options.load_fail)
        self._model, self._options = model, options
        progress(1.0)

    async def generate(self, generation: Generation) -> AsyncGenerator[Event, None]:
        """Say tokens until told to stop, or until the context is full."""
        _check_asked(generation)
        if generation.tools is not None and generation.tools.mode is ToolMode.REQUIRED:
            raise InvalidRequest("The paced engine calls no tools.")
        options = self._options.updated_by_words(generation.messages[-1].content)
        prompt_count = sum(len(message.content.split()) for message in generation.messages)
        if prompt_count >= self._context_size():
            raise messages_too_long(prompt_count, self._context_size())
        thought_count = _thought_count(generation, options)
        has_begun = False
        said = self._say(options, generation.sampling, prompt_count, thought_count)
        if options.call_letters and generation.tools is not None:
            said = self._call(options, generation.tools.tools[0].name, prompt_count)
        async with aclosing(said) as events:
            async for event in events:
                yield event if has_begun else begun(event, Usage(prompt_count, 0))
                has_begun = True

    async def require_fit(self, completion: Completion) -> None:
        """Count the words."""
        count = reading.count(completion.prompt)
        if count >= self._context_size():
            raise prompt_too_long(completion, count, self._context_size())

    def thinks(self) -> bool:
        """Whether its model was told to."""
        return self._options.thoughts > 0

    async def complete(self, completion: Completion) -> AsyncGenerator[Event, None]:
        """Say the same after a text, whose words may tell how."""
        _check_asked(completion)
        if completion.suffix:
            raise no_gaps()
        prompt = completion.prompt
        options = self._options.updated_by_words(prompt) if isinstance(prompt, str) else self._options
        if isinstance(prompt, tuple) and max(prompt) >= reading.VOCABULARY_SIZE:
            raise unknown_prompt_token(max(prompt), reading.VOCABULARY_SIZE)
        prompt_count = reading.count(prompt)
        if prompt_count >= self._context_size():
            raise prompt_too_long(completion, prompt_count, self._context_size())
        echo = Delta(reading.text_of(prompt), 0) if completion.echo else None
        async with aclosing(self._say(options, completion.sampling, prompt_count)) as events:
            async for event in events:
                if echo is not None:
                    yield begun(echo, Usage(prompt_count, 0))
                    echo = None
                yield event

    async def _say(
        self, options: Options, sampling: Sampling, prompt_count: int, thought_count: int = 0
    ) -> AsyncGenerator[Event, None]:
        limit, reason = self._limit(sampling, options, prompt_count)
        stops, count = StopFilter(sampling.stop), 0
        if options.env:
            yield Delta(f"[{os.environ.get(options.env, '-')}] ")
        for number in range(thought_count):
            await asyncio.sleep(options.delay_ms / 1000)
            self._check(options, count=-2)
            options.count_token()
            yield ReasoningDelta(f"h{number} ")
        while count < limit and not stops.found:
            if count == options.gate_at:
                await self._gate(options.gate_file)
            await asyncio.sleep(options.delay_ms / 1000)
            self._check(options, count)
            options.count_token()
            if text := stops.pass_on(f"t{count} "):
                yield Delta(text)
            count += 1
        if rest := stops.rest():
            yield Delta(rest)
        reason = FinishReason.STOP if stops.found else reason
        usage = Usage(prompt_count, thought_count + count, reasoning_token_count=thought_count)
        yield Finished(reason, usage, stops.found)

    async def _call(self, options: Options, tool: str, prompt_count: int) -> AsyncGenerator[Event, None]:
        parts = ['{"input":"', *("a" * options.call_letters), '"}']
        for number, part in enumerate(parts):
            await asyncio.sleep(options.delay_ms / 1000)
            self._check(options, number)
            options.count_token()
            yield ToolCallDelta(0, "" if number else "call_1", "" if number else tool, part)
        yield Finished(FinishReason.TOOL_CALLS, Usage(prompt_count, len(parts)))

    def vector_size(self) -> int:
        """As many as there are letters."""
        return reading.VECTOR_SIZE

    async def embed(self, inputs: Sequence[Input]) -> AsyncGenerator[Vector, None]:
        """Make a vector of each input, as fast as it says tokens."""
        self._check_lengths(inputs)
        for number, given in enumerate(inputs):
            if isinstance(given, tuple) and max(given) >= reading.VECTOR_SIZE:
                raise unknown_token(number, max(given), reading.VECTOR_SIZE)
        for number, given in enumerate(inputs):
            await self._step(number)
            yield reading.vector(given)

    async def rerank(self, query: str, documents: Sequence[str]) -> AsyncGenerator[Score, None]:
        """Score each document, as fast as it says tokens."""
        self._check_lengths([f"{query} {document}" for document in documents])
        for number, document in enumerate(documents):
            await self._step(number)
            yield reading.score(query, document)

    async def tokenize(self, text: str | Conversation, *, with_pieces: bool = False) -> Tokens:
        """Count words."""
        self._check(self._options, count=-2)
        return reading.tokens(text, with_pieces=with_pieces)

    def _check_lengths(self, inputs: Sequence[Input]) -> None:
        if (found := reading.too_long(inputs, self._context_size())) is not None:
            raise InputTooLong(*found, self._context_size())

    async def _step(self, number: int) -> None:
        if number == self._options.gate_at:
            await self._gate(self._options.gate_file)
        await asyncio.sleep(self._options.delay_ms / 1000)
        self._check(self._options, number)
        self._options.count_token()

    async def close(self) -> None:
        """End what still generates at its next token, and free the memory."""
        self._closed = True
        if self._held is not None:
            self._held.close()

    def _context_size(self) -> int:
        if self._model is None:
            raise EngineFailed("The model is not loaded.")
        return self._model.context_size

    def _limit(self, sampling: Sampling, options: Options, prompt_count: int) -> tuple[int, FinishReason]:
        room = self._context_size() - prompt_count
        allowed = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        if sampling.ignore_eos or allowed < options.tokens:
            return allowed, FinishReason.LENGTH
        return options.tokens, FinishReason.STOP

    def _check(self, options: Options, count: int) -> None:
        if self._closed:
            raise EngineFailed("The model was closed meanwhile.")
        if count == options.fail_at:
            raise RuntimeError(f"told to fail at token {count}")
        if count == options.panic_at:
            raise _Panic(f"told to panic at token {count}")

    async def _gate(self, gate_file: str) -> None:
        self._gated_count += 1
        try:
            while gate_file and not Path(gate_file).exists():
                await asyncio.sleep(_GATE_POLL_SECONDS + _GATE_POLLS_SECONDS * self._gated_count)
        finally:
            self._gated_count -= 1


def _thought_count(generation: Generation, options: Options) -> int:
    thinking = generation.thinking or Thinking()
    return options.thoughts * _EFFORTS[thinking.effort] if thinking.enabled else 0


def _check_asked(asked: Asked) -> None:
    if asked.form is not None or asked.sampling.top_logprobs is not None:
        raise InvalidRequest("The paced engine keeps no form and knows no probabilities.")


def _die(code: int) -> None:
    """End the process as native code does that fails: without a chance for anybody to say more."""
    print("ggml: the weights are rotten", file=sys.stderr, flush=True)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


def _hold(mebibytes: int) -> mmap.mmap | None:
    """Take memory and write to it, since untouched pages would take none."""
    if not mebibytes:
        return None
    held = mmap.mmap(-1, mebibytes << 20)
    for _ in range(mebibytes):
        held.write(b"\x01" * (1 << 20))
    return held
