"""What a backend process asks of an engine: load a model, generate from a conversation, close."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from weft_common.purposes import Purpose

Progress = Callable[[float], None]


class Role(StrEnum):
    """Who said a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class FinishReason(StrEnum):
    """Why generation ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class EngineModel:
    """What an engine has to know about the model that it loads."""

    name: str
    path: str
    context_size: int
    """Tokens that each slot must be able to hold, prompt and answer together."""
    thread_count: int = 0
    """0 lets the engine choose."""
    slot_count: int = 1
    options: Mapping[str, str] = field(default_factory=dict)
    purpose: Purpose = Purpose.CHAT
    """What the model is for; see `abilities` for what is not chat."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool by the model; its arguments are a JSON object in text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as a file, whose head was looked at: nothing says that the rest can be decoded."""

    data: bytes = field(repr=False)
    media_type: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; one of a tool names the call that it answers.

    Where there are images, `parts` have all that was said in its order, and `content` the texts of it. Only engines
    that say they see (`abilities.Seer`) get such messages.
    """

    role: Role
    content: str
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    parts: tuple[str | Image, ...] = ()
    reasoning: str = ""
    """Of the model: what it thought before it said this, for templates that show it again."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call, with a JSON schema of its arguments; an empty text permits any object."""

    name: str
    description: str = ""
    parameters: str = ""


class ToolMode(StrEnum):
    """Whether tools are called."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Tools:
    """What the model may call: all of it or, where one is required by `name`, only that."""

    tools: tuple[Tool, ...]
    mode: ToolMode = ToolMode.AUTO
    name: str = ""
    single_call: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens and when to stop; None takes the engine's default."""

    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    top_k: int | None = None
    """0 keeps all tokens."""
    min_p: float | None = None
    repetition_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """By the numbers of tokens in the model's vocabulary."""
    top_logprobs: int | None = None
    """None tells no probabilities; else those of chosen tokens, and of so many of the likeliest ones beside each."""


@dataclass(frozen=True, slots=True)
class JsonForm:
    """The answer is JSON after this schema, a JSON object in text: its order is that of the answer's properties."""

    schema: str


@dataclass(frozen=True, slots=True)
class GrammarForm:
    """The answer is a sentence of a grammar in the engine's own notation."""

    grammar: str


Form = JsonForm | GrammarForm


class Effort(StrEnum):
    """How much a model thinks."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Thinking:
    """Whether a model thinks before it answers; without an effort as much as it does by itself.

    It is for templates that know how; other models answer as they do.
    """

    enabled: bool = True
    effort: Effort | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer to generate; checked before, so that an engine finds only values it can use."""

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    form: Form | None = None
    tools: Tools | None = None
    thinking: Thinking | None = None
    """None leaves it to the model. Where the answer has a form, or has to call a tool, no engine has it think."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A text to go on with as it is, without a chat template; checked before, as a Generation is."""

    prompt: str | tuple[int, ...]
    """A text, before which a model's own beginning is put; or tokens, which are taken as they are.

    An empty text begins a new document; engines refuse it by `no_prompt` for models that do not know how.
    """
    sampling: Sampling = Sampling()
    """With `echo`, `max_tokens` may be 0: then nothing is generated."""
    form: Form | None = None
    suffix: str = ""
    """What comes after the gap that is to be filled."""
    echo: bool = False
    """Tells the prompt as a Delta without tokens, before what is generated and once the model has read it; with its
    probabilities, where those are asked for."""


Asked = Generation | Completion


@dataclass(frozen=True, slots=True)
class TokenChance:
    """A token that might have been chosen, with the natural logarithm of its probability; NaN of the first of a prompt.

    Its text has U+FFFD for parts of characters; its bytes are exact.
    """

    text: str
    data: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token that was chosen, and the likeliest ones in its place, most probable first."""

    chosen: TokenChance
    likeliest: tuple[TokenChance, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the prompt, of the answer, and of the prompt as found in the engine's cache."""

    prompt_token_count: int
    completion_token_count: int
    cached_token_count: int = 0
    reasoning_token_count: int = 0
    """Of the answer's: those that were thought, and not said."""


@dataclass(frozen=True, slots=True)
class Delta:
    """Text that follows the text so far; whole characters, one token or as many as have gathered.

    `logprobs` are of its tokens, where they were asked for. The first event of an answer tells the tokens of its
    `prompt`, where the engine knows them by then.
    """

    text: str
    token_count: int = 1
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt: Usage | None = None


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """What the model thinks, which follows its thoughts so far; else as Delta, and no part of the answer."""

    text: str
    token_count: int = 1
    prompt: Usage | None = None


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A part of the call of that index, from 0; its id and name are in the first part only."""

    index: int
    id: str
    name: str
    arguments: str
    token_count: int = 1
    prompt: Usage | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer; `stop_sequence` is the stop string that was found, where the engine can tell."""

    reason: FinishReason
    usage: Usage
    stop_sequence: str = ""


def begun(event: "Event", prompt: Usage) -> "Event":
    """The first event of an answer, which tells of its prompt too; an end does so anyhow."""
    return event if isinstance(event, Finished) else replace(event, prompt=prompt)


Event = Delta | ReasoningDelta | ToolCallDelta | Finished


class Engine(Protocol):
    """One model in this process; made without arguments, loaded once, closed once."""

    async def load(self, model: EngineModel, progress: Progress) -> None:
        """Load the model, telling rising fractions on the event loop; raises LoadFailed with the cause."""
        ...

    def generate(self, generation: Generation) -> AsyncGenerator[Event, None]:
        """Yield deltas of thoughts, of text and of calls, then one Finished.

        A stop string and what follows it are never part of a delta.

        The caller runs at most `slot_count` at once. Cancelling or closing the generator ends the work, and
        returns when the slot is free again. Raises InvalidRequest, ContextLengthExceeded or EngineFailed.
        """
        ...

    async def close(self) -> None:
        """Free the model; what still generates ends with EngineFailed. Without effect if nothing is loaded."""
        ...
