"""Chat and Complete of weft.inference.v1.InferenceService, with upb classes: one message a token."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import assert_never

from weft_common.purposes import Ability
from weft_common.rpc import Method, current_call, upb_stream
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_worker.backend.forms import check_forms
from weft_worker.backend.inference import Inference
from weft_worker.backend.run import Failed
from weft_worker.dialects.typed import (
    read_chat_request,
    read_keep_alive,
    write_delta,
    write_failure,
    write_finish,
    write_reasoning,
    write_tool_call,
)
from weft_worker.dialects.typed_complete import read_complete_request, write_step
from weft_worker.engines.base import Delta, Event, Finished, ReasoningDelta, ToolCallDelta

_SERVICE = "/weft.inference.v1.InferenceService"


def chat_methods(inference: Inference) -> list[Method]:
    """The rpcs that are answered token by token."""
    service = _Chat(inference)
    return [
        upb_stream(f"{_SERVICE}/Chat", service.chat, pb.ChatRequest),
        upb_stream(f"{_SERVICE}/Complete", service.complete, pb.CompleteRequest),
    ]


class _Chat:
    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def chat(self, request: pb.ChatRequest) -> AsyncGenerator[bytes, None]:
        """Answer a conversation as a stream of deltas."""
        call = current_call()
        with self._inference.visit(call, "Chat") as visit:
            generation = read_chat_request(request)
            await check_forms(generation, "format.json_schema")
            self._inference.wish_keep_alive(read_keep_alive(request))
            async with aclosing(self._inference.generate(call, visit, generation)) as events:
                async for event in events:
                    yield _write(event)

    async def complete(self, request: pb.CompleteRequest) -> AsyncGenerator[bytes, None]:
        """Go on with a text as a stream of deltas."""
        call = current_call()
        with self._inference.visit(call, "Complete", Ability.COMPLETE) as visit:
            completion = read_complete_request(request)
            await check_forms(completion, "format.json_schema")
            self._inference.wish_keep_alive(read_keep_alive(request))
            async with aclosing(self._inference.generate(call, visit, completion)) as events:
                async for event in events:
                    yield write_step(event.error if isinstance(event, Failed) else event)


def _write(event: Event | Failed) -> bytes:
    match event:
        case Delta():
            return write_delta(event)
        case ReasoningDelta():
            return write_reasoning(event)
        case ToolCallDelta():
            return write_tool_call(event)
        case Finished():
            return write_finish(event)
        case Failed():
            return write_failure(event.error)
        case _:
            assert_never(event)
