"""Complete of weft.inference.v1: checked on the way in, encoded on the way out."""

from collections.abc import Iterator
from typing import assert_never

from weft_common.errors import FieldViolation, WeftError
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_worker.dialects.typed import (
    failure_of,
    finish_of,
    logprobs_of,
    refuse,
    usage_of,
)
from weft_worker.dialects.typed_sampling import read_form, read_sampling, sampling_violations
from weft_worker.engines.base import Completion, Delta, Event, Finished, ReasoningDelta, ToolCallDelta

MAX_TEXT_BYTES = 4 << 20


def read_complete_request(request: pb.CompleteRequest) -> Completion:
    """Turn a request into a completion; raises InvalidRequest that names the fields."""
    refuse(_violations(request))
    prompt = request.text if request.WhichOneof("prompt") == "text" else tuple(request.tokens.ids)
    return Completion(
        prompt,
        read_sampling(request.sampling),
        read_form(request.format),
        request.suffix,
        request.echo,
    )


def write_step(event: Event | WeftError) -> bytes:
    """Encode one step of the answer; an error is its end by failure."""
    match event:
        case Delta():
            step = pb.CompleteResponse(
                delta=event.text, logprobs=logprobs_of(event), prompt=usage_of(event.prompt)
            )
        case Finished():
            step = pb.CompleteResponse(finish=finish_of(event))
        case WeftError():
            step = pb.CompleteResponse(failure=failure_of(event))
        case ReasoningDelta() | ToolCallDelta():
            raise AssertionError("only chats have thoughts and tools")
        case _:
            assert_never(event)
    return step.SerializeToString()


def _violations(request: pb.CompleteRequest) -> Iterator[FieldViolation]:
    match request.WhichOneof("prompt"):
        case "text":
            yield from _size("text", request.text)
        case "tokens" if request.tokens.ids:
            yield from _token_violations(request.tokens)
        case _:
            yield FieldViolation("prompt", "Should be a text or tokens")
    yield from _size("suffix", request.suffix)
    yield from sampling_violations(request.sampling, least_tokens=0 if request.echo else 1)


def _token_violations(tokens: pb.TokenIds) -> Iterator[FieldViolation]:
    if len(tokens.ids) > MAX_TEXT_BYTES:
        yield FieldViolation("tokens", f"Should be {MAX_TEXT_BYTES:,} at most")
    if max(tokens.ids) >= 2**31:
        yield FieldViolation("tokens", "Should be below 2,147,483,648 each")


def _size(field: str, text: str) -> Iterator[FieldViolation]:
    # Of a text that is short enough in letters the bytes are counted.
    if len(text) > MAX_TEXT_BYTES or len(text.encode()) > MAX_TEXT_BYTES:
        yield FieldViolation(field, f"Should be {MAX_TEXT_BYTES >> 10:,} KiB at most")
