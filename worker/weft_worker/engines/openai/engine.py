"""Has a server elsewhere answer: as many requests at once as there are slots, and tries again before the first word."""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import httpx

from weft_common.errors import (
    ContextLengthExceeded,
    EngineFailed,
    FieldViolation,
    InvalidRequest,
    LoadFailed,
    ReplicaFull,
    WeftError,
)
from weft_common.purposes import Purpose
from weft_worker.engines.abilities import Input, Vector
from weft_worker.engines.base import (
    Asked,
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
from weft_worker.engines.limits import check_echo, prompt_too_long
from weft_worker.engines.openai.attempt import Attempt, Line, answers, whole_answer
from weft_worker.engines.openai.completion import encode_asked
from weft_worker.engines.openai.failures import KeyRefused, Refused, Trouble, Upset
from weft_worker.engines.openai.leash import Leash
from weft_worker.engines.openai.listing import listed_models
from weft_worker.engines.openai.manners import Manners
from weft_worker.engines.openai.thinking import thinking_fields
from weft_worker.engines.openai.upstream import Upstream, read_key, read_upstream
from weft_worker.engines.openai.vectors import EMBEDDINGS, MAX_ANSWER_BYTES, encode_inputs, read_vectors
from weft_worker.engines.openai.wire import estimated_count

_PAUSE_SECONDS = 0.2
_COUNTED = re.compile(
    r"This model's maximum context length is (\d+) tokens\. However, your messages resulted in (\d+)"
)
_FIRST_USE = Generation((Message(Role.USER, "Hi"),), Sampling(max_tokens=1))
_logger = logging.getLogger(__name__)
# It would log every URL.
logging.getLogger("httpx").setLevel(logging.WARNING)


class OpenAIEngine:
    """A model behind somebody's OpenAI API; state: the way there, once loaded, and what was learned on it."""

    def __init__(self) -> None:
        self._loaded: _Loaded | None = None

    async def load(self, model: EngineModel, progress: Progress) -> None:
        """Find out by a chat of one token, or its list, that the upstream answers, takes the key, has the model."""
        upstream = read_upstream(model.options)
        if model.purpose is Purpose.RERANKING:
            raise LoadFailed(
                "Models of other servers are asked for chats and embeddings only, not to rerank."
            )
        loaded = _Loaded(upstream, model, await asyncio.to_thread(_key_text, upstream))
        self._loaded = loaded
        progress(0.1)
        try:
            if model.purpose is Purpose.EMBEDDING or upstream.probe == "chat":
                await self._use_once(model.purpose)
            else:
                await _require_listed(loaded, model.path)
        except WeftError as error:
            await self.close()
            raise error if isinstance(error, LoadFailed) else LoadFailed(error.message) from error
        except BaseException:
            await self.close()
            raise
        progress(1.0)

    async def generate(self, generation: Generation) -> AsyncGenerator[Event, None]:
        """Answer a conversation; the text is the upstream's, as it sent it."""
        loaded = self._held()
        async with loaded.slots, aclosing(loaded.answer(generation)) as events:
            async for event in events:
                yield event

    async def complete(self, completion: Completion) -> AsyncGenerator[Event, None]:
        """Go on with a text; what a text is echoed as needs no upstream."""
        loaded, prompt = self._held(), completion.prompt
        check_echo(completion)
        echo = Delta(prompt, 0) if completion.echo and isinstance(prompt, str) else None
        if echo is not None and completion.sampling.max_tokens == 0:
            yield echo
            yield Finished(FinishReason.LENGTH, Usage(estimated_count(completion), 0))
            return
        async with loaded.slots, aclosing(loaded.answer(completion)) as events:
            async for event in events:
                if echo is not None:
                    yield echo
                    echo = None
                yield event

    def sees_images(self) -> bool:
        """Whether its model file says so: nothing of the API does."""
        return self._loaded is not None and self._loaded.line.upstream.vision

    def vector_size(self) -> int:
        """How many numbers a vector has, by the last ones that came."""
        return self._loaded.vector_size if self._loaded is not None else 0

    async def embed(self, inputs: Sequence[Input]) -> AsyncGenerator[Vector, None]:
        """Have all vectors made in one request; what the upstream counted is with the first."""
        loaded = self._held()
        async with loaded.slots:
            vectors = await loaded.vectors(inputs)
        for vector in vectors:
            yield vector

    async def close(self) -> None:
        """Hang up on whatever still runs."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.line.leash.close()
            await loaded.line.client.aclose()

    def _held(self) -> "_Loaded":
        if self._loaded is None:
            raise EngineFailed("The model is not loaded.")
        return self._loaded

    async def _use_once(self, purpose: Purpose) -> None:
        """An upstream that is busy, or will not say a single token, is there all the same, and takes the key."""
        used = self.generate(_FIRST_USE) if purpose is Purpose.CHAT else self.embed(["Hi"])
        try:
            async with aclosing(used) as given:
                async for _ in given:
                    pass
        except (InvalidRequest, ContextLengthExceeded, ReplicaFull) as error:
            _logger.info("upstream_probe_refused", extra={"reason": error.reason})


async def _require_listed(loaded: "_Loaded", model: str) -> None:
    names = await loaded.model_names()
    if names is not None and model not in names and f"{model}:latest" not in names:
        raise loaded.line.upset.unknown_model(names)


@dataclass(frozen=True, slots=True)
class _Try:
    """What a try is made with, which other calls may have replaced meanwhile, and how many before it failed."""

    key: str = field(repr=False)
    manners: Manners
    optional: Mapping[str, str] = field(default_factory=dict)
    """Fields that it can do without, with what they say."""
    failed_count: int = 0


class _Loaded:
    """State: the key as last read, the upstream's manners and the size of its vectors, as far as they are known."""

    def __init__(self, upstream: Upstream, model: EngineModel, key: str) -> None:
        self.slots = asyncio.Semaphore(model.slot_count)
        self.line = Line(
            _client(upstream, model.slot_count), upstream, Leash(), Upset(upstream.origin, model.path)
        )
        self._model = model.path
        self._key = key
        self._manners = Manners()
        self.vector_size = 0

    async def answer(self, asked: Asked) -> AsyncGenerator[Event, None]:
        """Try until the first word, within the time for that."""
        loop = asyncio.get_running_loop()
        upstream = self.line.upstream
        last_at = loop.time() + upstream.timeout.total_seconds()
        trial = _Try(self._key, self._manners, thinking_fields(asked))
        while True:
            first_at = min(last_at, loop.time() + upstream.first_token_timeout.total_seconds())
            begun = False
            self.line.leash.check()
            try:
                body = await _encoded(asked, self._model, upstream, trial.manners)
                attempt = Attempt(body, trial.key, first_at)
                async with aclosing(answers(self.line, attempt, asked)) as events:
                    async for event in events:
                        if not begun:
                            begun = True
                            # Only now: a refusal's words may be the caller's, and would change what all others get.
                            self._manners = self._manners.joined(trial.manners)
                        yield event
                return
            except (Trouble, KeyRefused, WeftError) as error:
                self.line.leash.check()
                if isinstance(error, ContextLengthExceeded) and isinstance(asked, Completion):
                    raise _of_prompt(error, asked) from error
                if begun:
                    raise _in_the_middle(error) from error
                trial = await self._mended(trial, error, last_at)

    async def vectors(self, inputs: Sequence[Input]) -> list[Vector]:
        """Try until they come, within the time for a first word."""
        loop, upstream = asyncio.get_running_loop(), self.line.upstream
        last_at = loop.time() + upstream.timeout.total_seconds()
        body, trial = encode_inputs(inputs, self._model), _Try(self._key, self._manners)
        while True:
            first_at = min(last_at, loop.time() + upstream.first_token_timeout.total_seconds())
            self.line.leash.check()
            try:
                attempt = Attempt(body, trial.key, first_at)
                said = await whole_answer(self.line, attempt, EMBEDDINGS, MAX_ANSWER_BYTES)
                made = await asyncio.to_thread(read_vectors, said, len(inputs), self.line.upset)
                self.vector_size = len(made[0].values)
                return made
            except ContextLengthExceeded as error:
                raise _named(error, "inputs") from error
            except (Trouble, KeyRefused, WeftError) as error:
                self.line.leash.check()
                trial = await self._mended(trial, error, last_at)

    async def model_names(self) -> Sequence[str] | None:
        """Ask for the upstream's list of models; None where it does not tell. Raises WeftError."""
        try:
            return await listed_models(self.line, self._key)
        except (Trouble, KeyRefused) as error:
            raise error.failure from error

    async def _mended(self, trial: _Try, error: Trouble | KeyRefused | WeftError, last_at: float) -> _Try:
        """Give the next try, which may be luckier; raises the failure where none can be."""
        match error:
            case Trouble():
                failed_count = trial.failed_count + 1
                await self._pause(error, failed_count, last_at)
                return replace(trial, key=self._key, failed_count=failed_count)
            case KeyRefused():
                return replace(trial, key=await self._other_key(trial.key, error))
            case Refused():
                return replace(trial, manners=_learned(trial, error))
            case _:
                raise error

    async def _pause(self, trouble: Trouble, failed_count: int, last_at: float) -> None:
        """Wait before the next try; raises the failure where there is none, or no time for one."""
        seconds = max(trouble.after_seconds or 0.0, _PAUSE_SECONDS * 2 ** (failed_count - 1))
        left = last_at - asyncio.get_running_loop().time()
        _logger.warning(
            "upstream_failed",
            extra={"upstream": self.line.upset.origin, "try": failed_count, "reason": trouble.failure.reason},
        )
        if failed_count > self.line.upstream.retries or seconds >= left:
            raise trouble.failure from trouble
        await self.line.leash.until(None, asyncio.sleep(seconds))

    async def _other_key(self, sent: str, refusal: KeyRefused) -> str:
        """Read the key again, as keys are replaced while models run; raises the failure where the one sent was not."""
        try:
            key = await asyncio.to_thread(_key_text, self.line.upstream)
        except LoadFailed:
            key = self._key
        if key == sent:
            _logger.warning(
                "upstream_key_refused",
                extra={"upstream": self.line.upset.origin, "status": refusal.status},
            )
            raise refusal.failure from refusal
        self._key = key
        return key


async def _encoded(asked: Asked, model: str, upstream: Upstream, manners: Manners) -> bytes:
    """The body to send; images take a while to write down, and others stream meanwhile."""
    if isinstance(asked, Generation) and any(message.parts for message in asked.messages):
        return await asyncio.to_thread(encode_asked, asked, model, upstream, manners)
    return encode_asked(asked, model, upstream, manners)


def _of_prompt(error: ContextLengthExceeded, completion: Completion) -> ContextLengthExceeded:
    """The same of a text to complete, in the words for that where the upstream's own were replaced."""
    told = _COUNTED.match(error.message)
    if told is None:
        return _named(error, "prompt")
    context_size, prompt_count = map(int, told.groups())
    return prompt_too_long(completion, prompt_count, context_size)


def _named(error: ContextLengthExceeded, field: str) -> ContextLengthExceeded:
    """The same by the name of what is too long."""
    return ContextLengthExceeded(error.message, violations=[FieldViolation(field, error.message)])


def _learned(trial: _Try, refusal: Refused) -> Manners:
    """Speak as the upstream wants it; raises the refusal where it was about something else."""
    learned = trial.manners.after(refusal.about, trial.optional)
    if learned == trial.manners:
        raise refusal
    return learned


def _client(upstream: Upstream, slot_count: int) -> httpx.AsyncClient:
    """Nothing ambient: no proxy, netrc or cookie of this machine; a redirect could lead the key astray."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=upstream.connect_timeout.total_seconds()),
        limits=httpx.Limits(
            max_connections=None, max_keepalive_connections=slot_count, keepalive_expiry=30.0
        ),
        headers={"accept-encoding": "identity", "user-agent": "weft"},
        verify=_trust(upstream) if upstream.ca_file else True,
        trust_env=False,
        follow_redirects=False,
    )


def _trust(upstream: Upstream) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=upstream.ca_file)
    except OSError as error:  # an SSLError is one
        raise LoadFailed(
            f"The certificates in {upstream.ca_file} cannot be used: {error.strerror}."
        ) from None


def _key_text(upstream: Upstream) -> str:
    key = read_key(upstream)
    return key.get_secret_value() if key is not None else ""


def _in_the_middle(error: Trouble | KeyRefused | WeftError) -> WeftError:
    """Half an answer is told, so that whatever went wrong is a failure of the answer."""
    failure = error if isinstance(error, WeftError) else error.failure
    if isinstance(failure, EngineFailed):
        return failure
    return EngineFailed(f"{failure.message.rstrip('.')}, in the middle of an answer.")
