"""weft.inference.v1 in upb classes and as an engine has it: checked on the way in, encoded on the way out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from google.protobuf.duration_pb2 import Duration

from weft_common.errors import FieldViolation, InvalidRequest, WeftError
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_worker.dialects.images import (
    MAX_IMAGE_COUNT,
    MAX_TOTAL_PIXELS,
    UnusableImage,
    are_too_many_pixels,
    image_of,
)
from weft_worker.dialects.keep_alive import stay_seconds
from weft_worker.dialects.tools import MAX_TOOL_COUNT, TOOL_NAME, is_arguments, is_parameters
from weft_worker.dialects.typed_sampling import read_form, read_sampling, sampling_violations
from weft_worker.engines.base import (
    Delta,
    Effort,
    Finished,
    FinishReason,
    Generation,
    Image,
    Message,
    ReasoningDelta,
    Role,
    Thinking,
    TokenChance,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolMode,
    Tools,
    Usage,
)

_ROLES: Mapping[int, Role] = {
    pb.ROLE_SYSTEM: Role.SYSTEM,
    pb.ROLE_USER: Role.USER,
    pb.ROLE_ASSISTANT: Role.ASSISTANT,
    pb.ROLE_TOOL: Role.TOOL,
}
_REASONS: Mapping[FinishReason, pb.FinishReason] = {
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: pb.FINISH_REASON_TOOL_CALLS,
    FinishReason.CONTENT_FILTER: pb.FINISH_REASON_CONTENT_FILTER,
}
_MODES: Mapping[int, ToolMode] = {
    pb.ToolChoice.MODE_UNSPECIFIED: ToolMode.AUTO,
    pb.ToolChoice.MODE_NONE: ToolMode.NONE,
    pb.ToolChoice.MODE_REQUIRED: ToolMode.REQUIRED,
}
_EFFORTS: Mapping[int, Effort | None] = {
    pb.THINKING_EFFORT_UNSPECIFIED: None,
    pb.THINKING_EFFORT_LOW: Effort.LOW,
    pb.THINKING_EFFORT_MEDIUM: Effort.MEDIUM,
    pb.THINKING_EFFORT_HIGH: Effort.HIGH,
}
_MAX_VIOLATIONS = 8

KeepsAlive = pb.ChatRequest | pb.CompleteRequest | pb.EmbedRequest | pb.RerankRequest


def read_chat_request(request: pb.ChatRequest) -> Generation:
    """Turn a request into a generation; raises InvalidRequest that names the fields."""
    refuse(_violations(request))
    return Generation(
        tuple(map(_message, request.messages)),
        read_sampling(request.sampling),
        read_form(request.format),
        _tools(request),
        read_thinking(request),
    )


def refuse(violations: Iterable[FieldViolation]) -> None:
    """Raise InvalidRequest that names the fields, where there are any."""
    if told := [*islice(violations, _MAX_VIOLATIONS)]:
        message = "; ".join(f"{violation.field}: {violation.description}" for violation in told)
        raise InvalidRequest(f"{message}.", violations=told)


def read_conversation(
    messages: Sequence[pb.Message], tools: Sequence[pb.Tool]
) -> tuple[tuple[Message, ...], tuple[Tool, ...]]:
    """Give a conversation that is not answered; raises InvalidRequest that names the fields."""
    refuse([*_message_violations(messages), *_tool_violations(tools)])
    return tuple(map(_message, messages)), tuple(map(_tool, tools))


def thinking_violations(request: pb.ChatRequest | pb.Conversation) -> Iterator[FieldViolation]:
    """What is wrong with the wish of a request how much its model thinks."""
    if request.thinking.effort not in _EFFORTS:
        yield FieldViolation("thinking.effort", "Should be low, medium or high")


def read_keep_alive(request: KeepsAlive) -> float | None:
    """How long its model shall stay loaded once nobody uses it, in seconds or FOR_EVER; None leaves it open."""
    if not request.HasField("keep_alive"):
        return None
    return stay_seconds(_seconds(request.keep_alive))


def write_delta(delta: Delta) -> bytes:
    """Encode text that follows the text so far."""
    return pb.ChatResponse(
        delta=delta.text, logprobs=logprobs_of(delta), prompt=usage_of(delta.prompt)
    ).SerializeToString()


def write_tool_call(delta: ToolCallDelta) -> bytes:
    """Encode a part of a call of a tool."""
    written = pb.ToolCallDelta(index=delta.index, id=delta.id, name=delta.name, arguments=delta.arguments)
    return pb.ChatResponse(tool_call=written, prompt=usage_of(delta.prompt)).SerializeToString()


def write_reasoning(delta: ReasoningDelta) -> bytes:
    """Encode what the model thinks."""
    return pb.ChatResponse(reasoning=delta.text, prompt=usage_of(delta.prompt)).SerializeToString()


def write_finish(finished: Finished) -> bytes:
    """Encode the end of an answer."""
    return pb.ChatResponse(finish=finish_of(finished)).SerializeToString()


def write_failure(error: WeftError) -> bytes:
    """Encode the end of an answer by failure."""
    return pb.ChatResponse(failure=failure_of(error)).SerializeToString()


def finish_of(finished: Finished) -> pb.Finish:
    """The end of an answer, of whatever kind."""
    usage = usage_of(finished.usage)
    return pb.Finish(reason=_REASONS[finished.reason], usage=usage, stop_sequence=finished.stop_sequence)


def usage_of(usage: Usage | None) -> pb.Usage | None:
    """The tokens that were used, where they are known."""
    if usage is None:
        return None
    return pb.Usage(
        prompt_token_count=usage.prompt_token_count,
        completion_token_count=usage.completion_token_count,
        cached_token_count=usage.cached_token_count,
        reasoning_token_count=usage.reasoning_token_count,
    )


def failure_of(error: WeftError) -> pb.Failure:
    """The same by failure."""
    return pb.Failure(reason=error.reason, message=error.message)


def logprobs_of(delta: Delta) -> Iterator[pb.TokenLogprob]:
    """The probabilities of a text's tokens."""
    return map(_logprob, delta.logprobs)


def _logprob(told: TokenLogprob) -> pb.TokenLogprob:
    return pb.TokenLogprob(chosen=_chance(told.chosen), likeliest=map(_chance, told.likeliest))


def _chance(chance: TokenChance) -> pb.TokenChance:
    return pb.TokenChance(token=chance.text, token_bytes=chance.data, logprob=chance.logprob)


def _message(message: pb.Message) -> Message:
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in message.tool_calls)
    content, parts = _said(message)
    return Message(
        _ROLES[message.role], content, message.name, calls, message.tool_call_id, parts, message.reasoning
    )


def _said(message: pb.Message) -> tuple[str, tuple[str | Image, ...]]:
    if not message.parts:
        return message.content, ()
    parts = tuple(
        image_of(part.image.data) if part.WhichOneof("kind") == "image" else part.text
        for part in message.parts
    )
    content = "".join(part for part in parts if isinstance(part, str))
    return content, parts if any(isinstance(part, Image) for part in parts) else ()


def _tools(request: pb.ChatRequest) -> Tools | None:
    if not request.tools:
        return None
    choice = request.tool_choice
    return Tools(tuple(map(_tool, request.tools)), _MODES[choice.mode], choice.name, request.single_tool_call)


def read_thinking(request: pb.ChatRequest | pb.Conversation) -> Thinking | None:
    """Whether a model is to think; None leaves it to the model."""
    if not request.HasField("thinking"):
        return None
    return Thinking(request.thinking.enabled, _EFFORTS[request.thinking.effort])


def _tool(tool: pb.Tool) -> Tool:
    return Tool(tool.name, tool.description, tool.parameters_schema)


def _violations(request: pb.ChatRequest) -> Iterator[FieldViolation]:
    yield from _message_violations(request.messages)
    yield from _tool_violations(request.tools)
    yield from _choice_violations(request)
    yield from thinking_violations(request)
    yield from sampling_violations(request.sampling)


def _message_violations(messages: Sequence[pb.Message]) -> Iterator[FieldViolation]:
    if not messages:
        yield FieldViolation("messages", "At least one message is needed")
    yield from _image_violations(
        [
            part.image.data
            for message in messages
            for part in message.parts
            if part.WhichOneof("kind") == "image"
        ]
    )
    for index, message in enumerate(messages):
        if message.role not in _ROLES:
            yield FieldViolation(f"messages.{index}.role", "Should be system, user, assistant or tool")
        yield from _part_violations(f"messages.{index}", message)
        for place, call in enumerate(message.tool_calls):
            if not is_arguments(call.arguments):
                yield FieldViolation(
                    f"messages.{index}.tool_calls.{place}.arguments", "Should be a JSON object"
                )


def _image_violations(images: Sequence[bytes]) -> Iterator[FieldViolation]:
    if len(images) > MAX_IMAGE_COUNT:
        yield FieldViolation("messages", f"At most {MAX_IMAGE_COUNT} images are taken")
    if are_too_many_pixels(images[:MAX_IMAGE_COUNT]):
        yield FieldViolation("messages", f"The images have more than {MAX_TOTAL_PIXELS:,} pixels together")


def _part_violations(field: str, message: pb.Message) -> Iterator[FieldViolation]:
    if message.parts and message.content:
        yield FieldViolation(f"{field}.content", "Should be empty where there are parts")
    for place, part in enumerate(message.parts):
        if (kind := part.WhichOneof("kind")) is None:
            yield FieldViolation(f"{field}.parts.{place}", "Should be a text or an image")
        if kind != "image":
            continue
        if message.role != pb.ROLE_USER:
            yield FieldViolation(f"{field}.parts.{place}.image", "Only the user shows images")
        try:
            image_of(part.image.data)
        except UnusableImage as error:
            yield FieldViolation(f"{field}.parts.{place}.image", str(error))


def _tool_violations(tools: Sequence[pb.Tool]) -> Iterator[FieldViolation]:
    if len(tools) > MAX_TOOL_COUNT:
        yield FieldViolation("tools", f"At most {MAX_TOOL_COUNT} are allowed")
    for index, tool in enumerate(tools):
        if not TOOL_NAME.fullmatch(tool.name):
            yield FieldViolation(f"tools.{index}.name", "Should be letters, digits, _ and -, at most 128")
        if tool.parameters_schema and not is_parameters(tool.parameters_schema):
            yield FieldViolation(f"tools.{index}.parameters_schema", "Should be a JSON schema of an object")


def _choice_violations(request: pb.ChatRequest) -> Iterator[FieldViolation]:
    choice = request.tool_choice
    if choice.mode not in _MODES:
        yield FieldViolation("tool_choice.mode", "Should be none or required")
    if (choice.name or choice.mode == pb.ToolChoice.MODE_REQUIRED) and not request.tools:
        yield FieldViolation("tool_choice", "Needs tools")
    elif choice.name and choice.name not in {tool.name for tool in request.tools}:
        yield FieldViolation("tool_choice.name", "Should be one of the tools")
    elif choice.name and choice.mode != pb.ToolChoice.MODE_REQUIRED:
        yield FieldViolation("tool_choice.name", "Needs MODE_REQUIRED")


def _seconds(duration: Duration) -> float:
    # Not by its own methods, which raise for what is out of bounds.
    return float(duration.seconds + duration.nanos / 1e9)
