"""What the bodies of chat completions and of completions take alike: how to choose tokens, and how to answer."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from weft_worker.dialects.keep_alive import KeepAlive
from weft_worker.dialects.openai.fields import (
    AnswerCount,
    Body,
    LogitBias,
    ModelName,
    Penalty,
    RepetitionPenalty,
    Stop,
    wrong,
)
from weft_worker.dialects.tools import compact
from weft_worker.engines.base import Form, GrammarForm, JsonForm, Sampling


class JsonSchemaFormat(Body):
    """A schema with its name; it is kept whether or not `strict` is set."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    schema_: Annotated[dict[str, object] | None, Field(alias="schema")] = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Body):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _check(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise wrong("json_schema", "The type 'json_schema' needs one")
        return self

    @property
    def form(self) -> Form | None:
        """The same in the words of engines."""
        schema: Mapping[str, object] = {}
        match self.type:
            case "text":
                return None
            case "json_schema" if self.json_schema is not None:
                schema = self.json_schema.schema_ or {}
        return JsonForm(compact(schema or {"type": "object"}))


class StreamOptions(Body):
    """How to stream. Chunks are not padded: `include_obfuscation` changes nothing."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class WritingBody(Body):
    """What chat completions and completions take alike.

    Extensions: `ignore_eos`, `keep_alive`, `grammar`, `top_k`, `min_p`, `repetition_penalty` and its other name
    `repeat_penalty`; and `response_format` of completions.
    """

    model: ModelName
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: LogitBias = None
    n: AnswerCount | None = None
    user: str | None = None
    response_format: ResponseFormat | None = None
    grammar: str | None = None
    ignore_eos: bool | None = None
    keep_alive: KeepAlive = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: RepetitionPenalty | None = None
    repeat_penalty: RepetitionPenalty | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk that tells the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def form(self) -> Form | None:
        """The form of the answer."""
        if self.grammar:
            return GrammarForm(self.grammar)
        return self.response_format.form if self.response_format is not None else None

    @model_validator(mode="after")
    def _check_writing(self) -> "WritingBody":
        if self.stream_options is not None and not self.stream:
            raise wrong(
                "stream_options",
                "The 'stream_options' parameter is only allowed when 'stream' is enabled",
            )
        if self.grammar and self.response_format is not None and self.response_format.form is not None:
            raise wrong("grammar", "Only one of 'grammar' and 'response_format' can form the answer")
        return self

    def sampling(self, max_tokens: int | None, top_logprobs: int | None) -> Sampling:
        """How to choose tokens, in the words of engines."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            max_tokens=max_tokens,
            stop=tuple(self.stop or ()),
            ignore_eos=bool(self.ignore_eos),
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            # -1 is all of them, as 0 is: vLLM and SGLang write it so.
            top_k=None if self.top_k is None else max(0, self.top_k),
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty or self.repeat_penalty,
            logit_bias=self.logit_bias or {},
            top_logprobs=top_logprobs,
        )


def with_seed(sampling: Sampling, number: int) -> Sampling:
    """How to choose tokens of a further answer: one seed for all would make one answer of them."""
    if sampling.seed is None or not number:
        return sampling
    # Past the largest number the next one is the smallest.
    return replace(sampling, seed=(sampling.seed + number + 2**63) % 2**64 - 2**63)
