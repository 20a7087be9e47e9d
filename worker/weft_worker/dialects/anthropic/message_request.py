"""The bodies of POST /v1/messages and /v1/messages/count_tokens."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from weft_worker.dialects.anthropic.blocks import TextBlock, as_blocks, text_of
from weft_worker.dialects.anthropic.fields import NO_THREADS, Body, ModelName, Stop, Unsupported, parse, wrong
from weft_worker.dialects.anthropic.tools import OfferedTools, ToolChoice, tools_of
from weft_worker.dialects.anthropic.turns import Turn, check_turns, messages_of
from weft_worker.dialects.invalid import FIELD
from weft_worker.dialects.texts import MAX_TEXT_BYTES, too_large
from weft_worker.dialects.tools import compact
from weft_worker.dialects.typed_reading import size_of
from weft_worker.engines.abilities import Conversation
from weft_worker.engines.base import (
    Effort,
    Form,
    Generation,
    Image,
    JsonForm,
    Message,
    Role,
    Sampling,
    Thinking,
    Tools,
)

MIN_BUDGET_TOKENS = 1024
_EFFORTS = {
    "low": Effort.LOW,
    "medium": Effort.MEDIUM,
    "high": Effort.HIGH,
    "xhigh": Effort.HIGH,
    "max": Effort.HIGH,
}


def parse_message_request(body: bytes) -> "MessageRequest":
    """Read a body; raises InvalidRequest that names the fields."""
    return parse(MessageRequest, body)


def parse_count_request(body: bytes) -> "CountRequest":
    """Read a body; raises InvalidRequest that names the fields."""
    return parse(CountRequest, body)


class JsonFormat(Body):
    """A schema that the answer keeps."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, object], Field(alias="schema")]

    @property
    def form(self) -> Form:
        """The same in the words of engines."""
        return JsonForm(compact(self.schema_ or {"type": "object"}))


class OutputConfig(Body):
    """The form of the answer, and how much to think of it."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class ThinkingConfig(Body):
    """Whether to think, and whether to tell it; a budget is kept by no engine beyond `max_tokens`."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, Field(ge=MIN_BUDGET_TOKENS)] | None = None
    display: Literal["summarized", "omitted"] | None = None

    @model_validator(mode="after")
    def _check(self) -> "ThinkingConfig":
        if self.type == "enabled" and self.budget_tokens is None:
            raise wrong("budget_tokens", "Field required")
        return self


class Metadata(Body):
    """Whom the request is for; nobody looks at it."""

    user_id: str | None = None


class _Prompt(Body):
    """What both endpoints take alike."""

    model: ModelName
    messages: Annotated[list[Turn], Field(max_length=100_000)]
    system: Annotated[list[TextBlock] | None, BeforeValidator(as_blocks)] = None
    tools: OfferedTools | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    mcp_servers: Unsupported = None

    @model_validator(mode="before")
    @classmethod
    def _no_thread(cls, body: object) -> object:
        """A thread leaves out what was said before, which nobody here keeps: an answer would be about nothing."""
        if isinstance(body, Mapping) and body.get("thread") is not None:
            words = "Threads are not kept here: send the whole conversation"
            raise PydanticCustomError(NO_THREADS, "{words}", {"words": words, FIELD: "thread"})
        return body

    @model_validator(mode="after")
    def _check_prompt(self) -> "_Prompt":
        check_turns(self.messages)
        self.offered()  # raises where the choice is none
        return self

    def offered(self) -> Tools | None:
        """What the model may call."""
        return tools_of(self.tools, self.tool_choice)

    def to_thinking(self) -> Thinking:
        """Whether the model thinks: with Anthropic only where it is asked to, however much effort it is to make."""
        if self.thinking is None or self.thinking.type not in ("enabled", "adaptive"):
            return Thinking(enabled=False)
        effort = self.output_config.effort if self.output_config is not None else None
        return Thinking(effort=None if effort is None else _EFFORTS[effort])

    def to_messages(self) -> tuple[Message, ...]:
        """The conversation in the words of engines."""
        return (*self._instructions(), *messages_of(self.messages))

    def _instructions(self) -> Iterator[Message]:
        text = text_of([part for block in self.system or () for part in block.parts()])
        if text:
            yield Message(Role.SYSTEM, text)


class MessageRequest(_Prompt):
    """A conversation to answer.

    Of what is not here all that could change the answer is refused; `service_tier`, `inference_geo`, `speed`,
    `diagnostics`, `context_management`, `cache_control` and betas are left alone.
    """

    max_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)]
    stream: bool | None = None
    stop_sequences: Stop | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    output_format: JsonFormat | None = None
    """The name that a beta has for `output_config.format`."""
    container: Unsupported = None

    @model_validator(mode="after")
    def _check(self) -> "MessageRequest":
        if self.thinking is not None and self.thinking.type == "enabled":
            if (self.thinking.budget_tokens or 0) >= self.max_tokens:
                raise wrong("max_tokens", "`max_tokens` must be greater than `thinking.budget_tokens`")
            if self.tool_choice is not None and self.tool_choice.is_forced:
                raise wrong("thinking", "Thinking may not be enabled when tool_choice forces tool use")
        if not self.max_tokens and self.stream:
            raise wrong("max_tokens", "0 tokens cannot be streamed")
        return self

    @property
    def tells_nothing(self) -> bool:
        """Whether only the prompt is read, into the engine's cache."""
        return self.max_tokens == 0

    @property
    def form_field(self) -> str:
        """What the client calls the form that the answer has to have."""
        is_beta = self.output_config is None or self.output_config.format is None
        return "output_format.schema" if is_beta else "output_config.format.schema"

    @property
    def tells_thinking(self) -> bool:
        """Whether thoughts are told, where there are any."""
        return self.thinking is None or self.thinking.display != "omitted"

    def to_generation(self) -> Generation:
        """Say the same in the words of engines."""
        return Generation(
            self.to_messages(), self._sampling(), self._form(), self.offered(), self.to_thinking()
        )

    def _form(self) -> Form | None:
        asked = (self.output_config.format if self.output_config else None) or self.output_format
        return asked.form if asked is not None else None

    def _sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            # No engine generates nothing; what it gives is not told.
            max_tokens=self.max_tokens or 1,
            stop=tuple(self.stop_sequences or ()),
        )


class CountRequest(_Prompt):
    """A conversation to count the tokens of."""

    @model_validator(mode="after")
    def _check(self) -> "CountRequest":
        conversation = self.to_conversation()
        if size_of(conversation) > MAX_TEXT_BYTES:
            raise wrong("messages", too_large())
        if any(isinstance(part, Image) for message in conversation.messages for part in message.parts):
            raise wrong(
                "messages", "Images are not counted: how many tokens they are is known once they are read"
            )
        return self

    def to_conversation(self) -> Conversation:
        """Say the same in the words of engines."""
        offered = self.offered()
        tools = offered.tools if offered is not None else ()
        return Conversation(self.to_messages(), tools, self.to_thinking())
