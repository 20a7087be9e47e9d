"""weft.dialect.v1.AnthropicService: HTTP bodies in, HTTP bodies out."""

import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import assert_never

from google.api import httpbody_pb2

from weft_common.dialects import ANTHROPIC_VERSION, Dialect
from weft_common.errors import ContextLengthExceeded, EngineFailed, FieldViolation, InvalidRequest
from weft_common.purposes import Ability
from weft_common.rpc import CallContext, Method, current_call, upb_stream
from weft_common.rpc.dialects import told_in
from weft_worker.backend.bodies import read_body
from weft_worker.backend.forms import check_forms
from weft_worker.backend.gathered import Answer
from weft_worker.backend.inference import Inference
from weft_worker.backend.run import Failed, Quiet
from weft_worker.backend.visit import Visit
from weft_worker.backend.work import counting
from weft_worker.dialects.anthropic.message_request import (
    MessageRequest,
    parse_count_request,
    parse_message_request,
)
from weft_worker.dialects.anthropic.message_response import (
    EVENT_STREAM,
    JSON,
    PING,
    EventWriter,
    Head,
    Said,
    message_object,
    tokens_count,
)
from weft_worker.dialects.anthropic.overflow import in_anthropics_words
from weft_worker.dialects.http_body import http_body
from weft_worker.engines.abilities import Conversation
from weft_worker.engines.base import (
    Delta,
    Event,
    Finished,
    FinishReason,
    Generation,
    ReasoningDelta,
    ToolCallDelta,
    Usage,
)

_SERVICE = "/weft.dialect.v1.AnthropicService"
# Before it streams were others; later versions only took parameters away, which are taken here all the same.
_OLDEST_VERSION = "2023-06-01"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def anthropic_methods(inference: Inference) -> list[Method]:
    """The rpcs of the service."""
    service = _Anthropic(inference)
    return [
        upb_stream(f"{_SERVICE}/CreateMessage", service.create_message, httpbody_pb2.HttpBody),
        upb_stream(f"{_SERVICE}/CountMessageTokens", service.count_message_tokens, httpbody_pb2.HttpBody),
    ]


class _Anthropic:
    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def create_message(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Answer as one object or as server-sent events."""
        call = current_call()
        with _told(call), self._inference.visit(call, "CreateMessage") as visit:
            _check_version(call)
            request, generation = await read_body(_message_asked, body.data)
            await check_forms(generation, request.form_field)
            if request.stream:
                async with aclosing(self._stream(call, visit, request, generation)) as frames:
                    async for frame in frames:
                        yield frame
            else:
                yield http_body(await self._whole(call, visit, request, generation), JSON)

    async def count_message_tokens(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Count the tokens of a conversation."""
        call = current_call()
        with _told(call), self._inference.visit(call, "CountMessageTokens", Ability.TOKENIZE) as visit:
            _check_version(call)
            asked = await read_body(_count_asked, body.data)
            replica = self._inference.replica
            work = counting(replica.document.model, replica.engine(), asked, with_pieces=False)
            (tokens,) = await self._inference.whole(call, visit, work)
            yield http_body(tokens_count(len(tokens.ids)), JSON)

    async def _whole(
        self, call: CallContext, visit: Visit, request: MessageRequest, generation: Generation
    ) -> bytes:
        answer = Answer()
        async with aclosing(self._inference.answers(call, visit, [generation])) as events:
            async for _, event, _ in events:
                answer.take(event)
        end = answer.end()
        if request.tells_nothing:
            read = Finished(FinishReason.LENGTH, _prompt_of(end) or end.usage)
            return message_object(_head(request), Said(), read)
        said = Said(answer.text, answer.calls.whole(), answer.reasoning)
        return message_object(_head(request), said, end)

    async def _stream(
        self, call: CallContext, visit: Visit, request: MessageRequest, generation: Generation
    ) -> AsyncGenerator[bytes, None]:
        writer, request_id = EventWriter(_head(request)), call.metadata.get("x-request-id", "")
        data, content_type, has_begun = b"", EVENT_STREAM, False
        async with aclosing(self._inference.streamed(call, visit, [generation])) as events:
            async for _, event, ends_next in events:
                if not has_begun and not isinstance(event, Quiet | Failed):
                    # It travels with the first token: without one there may still be another replica.
                    data += writer.start(_prompt_of(event))
                    has_begun = True
                try:
                    data += _written(writer, event, request_id)
                except EngineFailed as error:
                    event, ends_next = Failed(error), False
                    visit.outcome = error.reason
                    data += writer.failure(error, request_id)
                if data and not ends_next:
                    yield http_body(data, content_type)
                    data, content_type = b"", b""
                if isinstance(event, Failed):
                    return


def _message_asked(body: bytes) -> tuple[MessageRequest, Generation]:
    request = parse_message_request(body)
    return request, request.to_generation()


def _count_asked(body: bytes) -> Conversation:
    return parse_count_request(body).to_conversation()


def _head(request: MessageRequest) -> Head:
    return Head(f"msg_{uuid.uuid4().hex}", request.model, request.max_tokens, request.tells_thinking)


def _prompt_of(first: Event) -> Usage | None:
    if isinstance(first, Finished):
        return replace(first.usage, completion_token_count=0, reasoning_token_count=0)
    return first.prompt


def _written(writer: EventWriter, event: Event | Failed | Quiet, request_id: str) -> bytes:
    match event:
        case Delta():
            return writer.text(event.text)
        case ReasoningDelta():
            return writer.thinking(event.text)
        case ToolCallDelta():
            return writer.tool_call(event)
        case Finished():
            return writer.finish(event)
        case Failed():
            return writer.failure(in_anthropics_words(event.error), request_id)
        case Quiet():
            return PING
        case _:
            assert_never(event)


def _check_version(call: CallContext) -> None:
    """Take a call without the header, as other servers of local models do, and of any version that is like this one."""
    version = call.metadata.get(ANTHROPIC_VERSION, _OLDEST_VERSION)
    if not _DATE.fullmatch(version) or version < _OLDEST_VERSION:
        words = f'"{version}" is not a valid version'
        raise InvalidRequest(
            f"{ANTHROPIC_VERSION}: {words}", violations=[FieldViolation(ANTHROPIC_VERSION, words)]
        )


@contextmanager
def _told(call: CallContext) -> Iterator[None]:
    """Tell refusals in Anthropic's words."""
    with told_in(Dialect.ANTHROPIC, call):
        try:
            yield
        except ContextLengthExceeded as error:
            raise in_anthropics_words(error) from error
