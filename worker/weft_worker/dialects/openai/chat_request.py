"""The body of POST /v1/chat/completions: strict about what is known, silent about fields that are not."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from weft_worker.dialects.invalid import parse_body
from weft_worker.dialects.openai.chat_messages import ChatMessage, check_images
from weft_worker.dialects.openai.chat_tools import (
    FunctionChoice,
    OfferedFunctions,
    OfferedTools,
    ToolChoice,
    functions_of,
    tools_of,
)
from weft_worker.dialects.openai.fields import Body, TokenLimit, Unsupported, unsupported, wrong
from weft_worker.dialects.openai.writing import WritingBody, with_seed
from weft_worker.engines.base import Effort, Generation, Thinking, Tools

# More than engines know is their most.
_EFFORTS: Mapping[str, Thinking] = {
    "none": Thinking(enabled=False),
    "minimal": Thinking(effort=Effort.LOW),
    "low": Thinking(effort=Effort.LOW),
    "medium": Thinking(effort=Effort.MEDIUM),
    "high": Thinking(effort=Effort.HIGH),
    "xhigh": Thinking(effort=Effort.HIGH),
    "max": Thinking(effort=Effort.HIGH),
}


def parse_chat_request(body: bytes) -> "ChatCompletionRequest":
    """Read a body; raises InvalidRequest that names the fields."""
    return parse_body(ChatCompletionRequest, body)


def _text_only(kinds: list[str] | None) -> list[str] | None:
    if kinds and kinds != ["text"]:
        raise unsupported("Only ['text'] is supported")
    return kinds


def _not_stored(store: bool | None) -> bool | None:
    if store:
        raise unsupported("Storing is not supported: leave 'store' out, or set it to false")
    return store


class TemplateArguments(Body):
    """What vLLM's clients give to chat templates; only the switch of thinking is read."""

    enable_thinking: bool | None = None


class ChatCompletionRequest(WritingBody):
    """A request for a chat completion; of the extensions `chat_template_kwargs` is vLLM's.

    Hints that another server would make use of are looked at and change nothing: `metadata`, `prediction`,
    `service_tier`, `safety_identifier`, `verbosity`, and those of the prompt's cache.
    """

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    modalities: Annotated[list[str] | None, AfterValidator(_text_only)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    chat_template_kwargs: TemplateArguments | None = None
    tools: OfferedTools | None = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool | None = None
    functions: OfferedFunctions | None = None
    function_call: FunctionChoice = None
    store: Annotated[bool | None, AfterValidator(_not_stored)] = None
    metadata: dict[str, str] | None = None
    prediction: dict[str, object] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    audio: Unsupported = None
    moderation: Unsupported = None
    web_search_options: Unsupported = None

    @model_validator(mode="after")
    def _check(self) -> "ChatCompletionRequest":
        check_images(self.messages)
        if self.functions and self.tools:
            raise wrong("functions", "Only one of 'functions' and 'tools' can be offered")
        self._tools()  # raises where they are none
        if self.top_logprobs is not None and not self.logprobs:
            raise wrong(
                "top_logprobs", "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled"
            )
        return self

    @property
    def tells_functions(self) -> bool:
        """Whether a call is told in the form that OpenAI has given up, in which the tools were offered."""
        return bool(self.functions)

    @property
    def custom_tools(self) -> frozenset[str]:
        """The tools whose calls are told as texts."""
        return frozenset(tool.custom.name for tool in self.tools or () if tool.custom is not None)

    def to_generations(self) -> Sequence[Generation]:
        """Say the same in the words of engines, once for each answer that is asked for."""
        messages = tuple(message.to_message() for message in self.messages)
        sampling = self.sampling(
            self.max_completion_tokens or self.max_tokens,
            self.top_logprobs or 0 if self.logprobs else None,
        )
        return [
            Generation(messages, with_seed(sampling, number), self.form, self._tools(), self._thinking())
            for number in range(self.n or 1)
        ]

    def _thinking(self) -> Thinking | None:
        if self.reasoning_effort is not None:
            return _EFFORTS[self.reasoning_effort]
        asked = self.chat_template_kwargs.enable_thinking if self.chat_template_kwargs else None
        return None if asked is None else Thinking(enabled=asked)

    def _tools(self) -> Tools | None:
        if self.functions:
            return functions_of(self.functions, self.function_call)
        tools = tools_of(self.tools, self.tool_choice, parallel=self.parallel_tool_calls is not False)
        if tools is None:
            functions_of((), self.function_call)  # raises where it chooses of nothing
        return tools
