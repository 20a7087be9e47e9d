"""The request and the chunks of a chat as OpenAI has them: plain data in, plain data out."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

import orjson

from weft_common.errors import FieldViolation, InvalidRequest
from weft_worker.engines.base import (
    Asked,
    Completion,
    Delta,
    Event,
    Finished,
    FinishReason,
    Form,
    Generation,
    GrammarForm,
    Image,
    JsonForm,
    Message,
    ReasoningDelta,
    Role,
    Sampling,
    TokenLogprob,
    ToolCallDelta,
    ToolMode,
    Usage,
)
from weft_worker.engines.openai.failures import Trouble, Upset, words_in
from weft_worker.engines.openai.manners import Manners
from weft_worker.engines.openai.thinking import encode_thinking
from weft_worker.engines.openai.told import read_logprobs, read_usage
from weft_worker.engines.openai.tools import Calls, offer, tell_call
from weft_worker.engines.openai.upstream import Upstream

# Some upstreams read 32 bits, and take the highest value for "draw one".
_SEED_COUNT = 2**32 - 1
_BYTES_OF_A_TOKEN = 4
_DONE = b"[DONE]"
_REASONS = {
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral's
    "content_filter": FinishReason.CONTENT_FILTER,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
}
# OpenRouter's and Mistral's, vLLM's and SGLang's, DeepSeek's.
_FAILURES = ("error", "abort", "insufficient_system_resource")


def encode_request(generation: Generation, model: str, upstream: Upstream, manners: Manners) -> bytes:
    """Write the body of a chat, always as a stream: it is cancelled by hanging up, and tokens are told as they come.

    What the caller left open stays open: it is the upstream's to choose. Raises InvalidRequest for a form that it has
    no way to keep.
    """
    return written(
        {
            "model": model,
            "messages": _messages(generation.messages),
            **common(generation, upstream, manners),
            **encode_thinking(generation, manners),
            **offer(generation.tools),
        }
    )


def common(asked: Asked, upstream: Upstream, manners: Manners) -> dict[str, object]:
    """What all requests say alike."""
    return {
        "stream": True,
        "stream_options": {"include_usage": True} if manners.tells_usage else None,
        **_sampling(asked.sampling, manners.limit_field),
        **_form(asked.form, upstream),
    }


def written(body: Mapping[str, object]) -> bytes:
    """Write a body without what was left open."""
    return orjson.dumps({key: value for key, value in body.items() if value is not None})


class Answer:
    """Reads the chunks of one answer.

    State: why it finished, by which stop string, and what it used, once that was told; how many parts of it came;
    probabilities whose text has yet to come; the calls of tools; whether the model refused; and the text, where it has
    to be JSON.
    """

    def __init__(self, asked: Asked, upset: Upset, key: str) -> None:
        self._asked = asked
        self._upset = upset
        self._key = key
        self._is_json = isinstance(asked.form, JsonForm) and not asked.sampling.stop
        self._wanted = asked.sampling.top_logprobs
        self._texts: list[str] = []
        self._part_count = 0
        self._thought_count = 0
        self._logprobs: list[TokenLogprob] = []
        self._calls = Calls()
        self._has_refused = False
        self._reason: FinishReason | None = None
        self._stop_sequence = ""
        self._usage: Usage | None = None
        self.done = False

    @property
    def has_reason(self) -> bool:
        """Whether all text has come."""
        return self._reason is not None

    def read(self, event: bytes) -> Sequence[Event]:
        """Take an event of the stream. Raises the failure that it tells of; Trouble where it is no chunk."""
        if event == _DONE:
            self.done = True
            return ()
        try:
            return self._chunk(orjson.loads(event), "delta")
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise self._nonsense() from error

    def read_whole(self, body: bytes) -> Sequence[Event]:
        """Take an answer of an upstream that does not stream."""
        try:
            said = self._chunk(orjson.loads(body), "message")
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise self._nonsense() from error
        self.done = True
        return said

    def finish(self) -> Finished:
        """Give the end, after the last event; raises Trouble where the upstream never said that it was one."""
        if self._reason is None:
            raise Trouble(self._upset.broke_off("ended the answer without saying that it was complete"))
        if self._reason is FinishReason.STOP:
            self._check_stop()
        usage = self._usage or self._counted()
        if not usage.reasoning_token_count:
            # Chunks are mostly tokens.
            thought_count = min(self._thought_count, usage.completion_token_count)
            usage = replace(usage, reasoning_token_count=thought_count)
        return Finished(self._reason, usage, self._stop_sequence)

    def _chunk(self, chunk: Any, part: str) -> Sequence[Event]:
        if chunk.get("error"):
            raise self._upset.of_words(words_in(chunk, 0, self._key))
        if usage := chunk.get("usage"):
            self._usage = read_usage(usage) or self._usage
        text, thoughts, calls = "", list[ReasoningDelta](), list[ToolCallDelta]()
        for choice in chunk.get("choices") or ():
            text += self._choice(choice, part, thoughts, calls)
        self._thought_count += len(thoughts)
        # Text is counted where it is read.
        told: list[Event] = [*thoughts, *([self._text(text)] if text else []), *calls]
        self._part_count += len(thoughts) + len(calls)
        return told

    def _text(self, text: str) -> Delta:
        has_said = self._part_count > self._thought_count
        if self._wanted is not None and not self._logprobs and not (has_said or self._has_refused):
            message = "The upstream of this model tells no probabilities of tokens."
            raise InvalidRequest(message, violations=[FieldViolation("logprobs", message)])
        self._part_count += 1
        if self._is_json:
            self._texts.append(text)
        logprobs, self._logprobs = tuple(self._logprobs), []
        return Delta(text, max(1, len(logprobs)), logprobs)

    def _choice(
        self, choice: Any, part: str, thoughts: list[ReasoningDelta], calls: list[ToolCallDelta]
    ) -> str:
        if choice.get("index") not in (0, None):
            return ""
        if (reason := choice.get("finish_reason")) is not None:
            self._reason = self._reason_of(reason, choice)
            self._stop_sequence = self._stop_in(choice)
        said = choice.get(part) or {}
        # The one name is DeepSeek's, the other that of OpenRouter, of Ollama and of vLLM by now.
        if thought := _text_of(said.get("reasoning_content") or said.get("reasoning")):
            thoughts.append(ReasoningDelta(thought))
        text = _text_of(choice.get("text") if isinstance(self._asked, Completion) else said.get("content"))
        if refusal := _text_of(said.get("refusal")):
            self._has_refused = True
            text += refusal
        # Nobody is told those of thoughts.
        if self._wanted is not None and not (thought and not text) and (told := choice.get("logprobs")):
            self._logprobs += read_logprobs(told, self._wanted)
        calls += self._calls.read(said.get("tool_calls") or ())
        return text

    def _reason_of(self, reason: Any, choice: Any) -> FinishReason:
        """Raise what a reason stands for that is a failure: what came until then is no answer."""
        if reason in _FAILURES:
            told = words_in(choice.get("error") or "", 0, self._key)
            raise self._upset.of_words(replace(told, text=told.text or f"it finished with '{reason}'"))
        return _REASONS.get(reason, FinishReason.STOP)

    def _stop_in(self, choice: Any) -> str:
        """The stop string that was found, where it is told: by vLLM in the one field, by SGLang in the other."""
        told = (choice.get("stop_reason"), choice.get("matched_stop"))
        return next((stop for stop in self._asked.sampling.stop if stop in told), "")

    def _counted(self) -> Usage:
        """The upstream did not tell: chunks are mostly tokens, and prompts are mostly words."""
        return Usage(estimated_count(self._asked), self._part_count)

    def _check_stop(self) -> None:
        """See to it that what was asked for is there; where a tool is named, OpenAI's own API says that it stopped."""
        tools = self._asked.tools if isinstance(self._asked, Generation) else None
        if self._calls.any:
            self._reason = FinishReason.TOOL_CALLS
        elif self._has_refused:
            return  # in words, whatever form was asked for
        elif tools is not None and tools.mode is ToolMode.REQUIRED:
            raise self._upset.broke_off("called no tool, as it had to")
        elif self._is_json:
            self._require_json()

    def _require_json(self) -> None:
        try:
            orjson.loads("".join(self._texts))
        except orjson.JSONDecodeError as error:
            raise self._upset.broke_off("did not keep to the form that was asked for") from error

    def _nonsense(self) -> Trouble:
        return Trouble(self._upset.broke_off("sent something that is no part of an answer"))


def estimated_count(asked: Asked) -> int:
    """How many tokens a prompt may have."""
    if not isinstance(asked, Completion):
        size = sum(len(message.content.encode()) for message in asked.messages)
    elif isinstance(asked.prompt, str):
        size = len(asked.prompt.encode())
    else:
        return len(asked.prompt)
    return max(1, -(-size // _BYTES_OF_A_TOKEN))


def _text_of(told: object) -> str:
    if told is not None and not isinstance(told, str):
        raise TypeError
    return told or ""


def _messages(messages: Sequence[Message]) -> list[dict[str, object]]:
    """With the thoughts of the present turn, between calls of tools: those of earlier ones some upstreams refuse."""
    asked_at = max((at for at, message in enumerate(messages) if message.role is Role.USER), default=-1)
    return [
        {**_message(message), "reasoning_content": message.reasoning}
        if message.reasoning and at > asked_at
        else _message(message)
        for at, message in enumerate(messages)
    ]


def _message(message: Message) -> dict[str, object]:
    content = [_part(part) for part in message.parts] if message.parts else message.content
    said: dict[str, object] = {"role": message.role, "content": content}
    if message.name:
        said["name"] = message.name
    if message.tool_calls:
        said["tool_calls"] = [tell_call(call) for call in message.tool_calls]
        said["content"] = message.content or None
    if message.role is Role.TOOL:
        said["tool_call_id"] = message.tool_call_id
    return said


def _part(part: str | Image) -> dict[str, object]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    url = f"data:{part.media_type};base64,{b64encode(part.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _sampling(sampling: Sampling, limit_field: str) -> dict[str, object]:
    """Names beyond OpenAI's are vLLM's, SGLang's and llama.cpp's; they are sent only where a caller asks for them."""
    seed = sampling.seed
    return {
        limit_field: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": seed if seed is None or 0 <= seed < _SEED_COUNT else seed % _SEED_COUNT,
        "stop": list(sampling.stop) or None,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "logit_bias": {str(token): bias for token, bias in sampling.logit_bias.items()} or None,
        "logprobs": sampling.top_logprobs is not None or None,
        # Some tell none at all where none of the others is asked for.
        "top_logprobs": None if sampling.top_logprobs is None else max(sampling.top_logprobs, 1),
        "ignore_eos": sampling.ignore_eos or None,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "repeat_penalty": sampling.repetition_penalty,
    }


def _form(form: Form | None, upstream: Upstream) -> dict[str, object]:
    match form:
        case None:
            return {}
        case JsonForm():
            if not upstream.json_schema:
                raise _no_form("response_format", "forms of answers")
            return {"response_format": _response_format(orjson.loads(form.schema))}
        case GrammarForm():
            if not upstream.grammar_field:
                raise _no_form("grammar", "grammars")
            return {upstream.grammar_field: form.grammar}
        case _:
            assert_never(form)


def _response_format(schema: dict[str, object]) -> dict[str, object]:
    if schema == {"type": "object"}:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def _no_form(field: str, what: str) -> InvalidRequest:
    message = f"The upstream of this model takes no {what}."
    return InvalidRequest(message, violations=[FieldViolation(field, message)])
