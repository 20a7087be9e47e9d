"""The answers of every dialect, as the client libraries' own response models have them; exceptions with their reasons.

SHAPES.CHAT_COMPLETION.check(response.json())
"""

from collections.abc import Mapping
from typing import Literal

from anthropic.types import Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from ollama import (
    ChatResponse,
    EmbeddingsResponse,
    EmbedResponse,
    GenerateResponse,
    ListResponse,
    ProcessResponse,
    ShowResponse,
)
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject
from pydantic import BaseModel

from tests.e2e.sdk.strict import Shape


class OpenAIError(BaseModel):
    """What openai-python takes out of a body with `error`."""

    error: ErrorObject


class OpenAIModels(BaseModel):
    """A page of models, without what the library adds to fetch the next one."""

    object: str
    data: list[Model]


class OllamaError(BaseModel):
    """What ollama takes out of a refusal."""

    error: str


class AnyEmbedding(BaseModel):
    """A vector as numbers or as base64, as it was asked for; the library's model has what it decodes."""

    embedding: list[float] | str
    index: int
    object: Literal["embedding"]


class AnyEmbeddings(CreateEmbeddingResponse):
    """Vectors, whichever way they were asked for."""

    data: list[AnyEmbedding]  # type: ignore[assignment]


class AnthropicModels(BaseModel):
    """A page of models, without what the library adds to fetch the next one."""

    data: list[ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None


_NOT_ASKED = "only in answers to what Weft does not do, or was not asked for"
_ONLY_SOMETIMES = "only in those pieces of a stream, or those answers, that have one"


def _below(prefix: str, why: str, *names: str) -> Mapping[str, str]:
    return {f"{prefix}{name}": why for name in names}


_USAGE_ABSENT = {
    **_below("usage.prompt_tokens_details.", _NOT_ASKED, "text_tokens", "image_tokens", "cache_write_tokens"),
    **_below("usage.completion_tokens_details.", _NOT_ASKED, "text_tokens"),
}
_REASONING = (
    "what a model thought: vLLM and DeepSeek call it so, since OpenAI tells nothing of it in this API"
)

CHAT_COMPLETION = Shape(
    ChatCompletion,
    extras=_below("choices[].message.", _REASONING, "reasoning_content", "reasoning"),
    absent={
        **_below("", _NOT_ASKED, "metadata", "moderation"),
        **_below("choices[].message.", _NOT_ASKED, "audio", "function_call"),
        **_below("choices[].message.", _ONLY_SOMETIMES, "tool_calls"),
        **_USAGE_ABSENT,
    },
)
CHAT_CHUNK = Shape(
    ChatCompletionChunk,
    extras=_below("choices[].delta.", _REASONING, "reasoning_content", "reasoning"),
    absent={
        **_below("", _NOT_ASKED, "moderation", "obfuscation"),
        **_below("", "only where the usage was asked for", "usage"),
        **_below("choices[].delta.", _NOT_ASKED, "audio", "function_call"),
        **_below("choices[].delta.", _ONLY_SOMETIMES, "role", "content", "refusal", "tool_calls"),
        **_below("choices[].delta.tool_calls[].", "in the first part of a call only", "id", "type"),
        **_below("choices[].delta.tool_calls[].function.", "in the first part of a call only", "name"),
        **_below("choices[].delta.function_call.", "in the first part of a call only", "name"),
        **_USAGE_ABSENT,
    },
)
_FIRST_ECHOED = _below(
    "choices[].logprobs.",
    "of the first token of an echoed prompt, as OpenAI tells it",
    "token_logprobs[]",
    "top_logprobs[]",
)
COMPLETION = Shape(Completion, absent=_USAGE_ABSENT, nulls=_FIRST_ECHOED)
COMPLETION_CHUNK = Shape(
    Completion,
    absent={**_below("", "only where the usage was asked for", "usage"), **_USAGE_ABSENT},
    nulls={
        **_FIRST_ECHOED,
        **_below("choices[].", "until the last piece, in OpenAI's own streams too", "finish_reason"),
    },
)
EMBEDDINGS = Shape(CreateEmbeddingResponse)
ANY_EMBEDDINGS = Shape(AnyEmbeddings)
OPENAI_MODEL = Shape(Model, absent=_below("", "a model here is not shut down on a day", "shutdown_date"))
OPENAI_MODELS = Shape(
    OpenAIModels, absent=_below("data[].", "a model here is not shut down on a day", "shutdown_date")
)
OPENAI_ERROR = Shape(OpenAIError, absent=_below("error.", _NOT_ASKED, "misalignment"))

_ANTHROPIC_ABSENT = {
    **_below("", _NOT_ASKED, "container", "diagnostics", "stop_details"),
    **_below("usage.", _NOT_ASKED, "cache_creation", "inference_geo", "output_tokens_details"),
    **_below("usage.", _NOT_ASKED, "server_tool_use", "speed", "service_tier"),
    **_below("content[].", _NOT_ASKED, "citations", "caller", "toolset_name"),
}
MESSAGE = Shape(Message, absent=_ANTHROPIC_ABSENT)
MESSAGE_EVENT = Shape(
    RawMessageStreamEvent,
    absent={
        **{f"message.{path}": why for path, why in _ANTHROPIC_ABSENT.items()},
        **_below("content_block.", _NOT_ASKED, "citations", "caller", "toolset_name"),
        **_below("delta.", _NOT_ASKED, "container", "stop_details"),
        **_below("usage.", _NOT_ASKED, "output_tokens_details", "server_tool_use"),
    },
)
TOKENS_COUNT = Shape(MessageTokensCount)
ANTHROPIC_MODEL = Shape(ModelInfo)
ANTHROPIC_MODELS = Shape(AnthropicModels)
ANTHROPIC_ERROR = Shape(ErrorResponse)

_LAST_ONLY = "in the last piece of a stream only"
_OLLAMA_LAST = _below(
    "",
    _LAST_ONLY,
    "done_reason",
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
)
_OLLAMA_MESSAGE = {
    **_below("", _ONLY_SOMETIMES, "logprobs"),
    **_below("message.", _ONLY_SOMETIMES, "thinking", "tool_calls"),
    **_below("message.", "in messages that are asked, not in answers", "images", "tool_name"),
}
_OLLAMA_CALL = {
    **_below("message.tool_calls[].", "Ollama sends it, and its library does not know it", "id"),
    **_below("message.tool_calls[].function.", "Ollama sends it, and its library does not know it", "index"),
}
_OLLAMA_LOGPROBS = {
    **_below("logprobs[].", "Ollama sends it, and its library does not know it", "bytes"),
    **_below("logprobs[].top_logprobs[].", "Ollama sends it, and its library does not know it", "bytes"),
}
_OLLAMA_TEXT = {
    **_below("", _ONLY_SOMETIMES, "logprobs", "thinking"),
    **_below("", _NOT_ASKED, "image", "completed", "total"),
}
OLLAMA_CHAT = Shape(ChatResponse, extras={**_OLLAMA_CALL, **_OLLAMA_LOGPROBS}, absent=_OLLAMA_MESSAGE)
OLLAMA_CHAT_PIECE = Shape(
    ChatResponse, extras={**_OLLAMA_CALL, **_OLLAMA_LOGPROBS}, absent={**_OLLAMA_MESSAGE, **_OLLAMA_LAST}
)
OLLAMA_GENERATE = Shape(GenerateResponse, extras=_OLLAMA_LOGPROBS, absent=_OLLAMA_TEXT)
OLLAMA_GENERATE_RAW = Shape(
    GenerateResponse,
    extras=_OLLAMA_LOGPROBS,
    absent={
        **_OLLAMA_TEXT,
        **_below("", "with `raw` there is no context to go on with, in Ollama either", "context"),
    },
)
OLLAMA_GENERATE_PIECE = Shape(
    GenerateResponse,
    extras=_OLLAMA_LOGPROBS,
    absent={**_OLLAMA_TEXT, **_OLLAMA_LAST, **_below("", _LAST_ONLY, "context")},
)
OLLAMA_EMBED = Shape(
    EmbedResponse,
    absent=_below(
        "",
        "Ollama sends them with texts only",
        "created_at",
        "done",
        "done_reason",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ),
)
OLLAMA_EMBEDDINGS = Shape(EmbeddingsResponse)
OLLAMA_TAGS = Shape(
    ListResponse, extras=_below("models[].", "Ollama sends it, and its library does not know it", "name")
)
OLLAMA_PS = Shape(ProcessResponse)
OLLAMA_SHOW = Shape(
    ShowResponse,
    extras=_below("", "Ollama sends it, and its library does not know it", "tensors", "system"),
)
OLLAMA_ERROR = Shape(OllamaError)
