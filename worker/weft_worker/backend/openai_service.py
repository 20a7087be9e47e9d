"""weft.dialect.v1.OpenAIService, what replicas write of it: HTTP bodies in, HTTP bodies out."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from google.api import httpbody_pb2

from weft_common.dialects import Dialect
from weft_common.purposes import Ability
from weft_common.rpc import CallContext, Method, current_call, upb_stream
from weft_common.rpc.dialects import told_in
from weft_worker.backend.bodies import read_body
from weft_worker.backend.forms import check_forms
from weft_worker.backend.gathered import Answer, usage_of
from weft_worker.backend.inference import Inference
from weft_worker.backend.openai_stream import frames
from weft_worker.backend.visit import Visit, summed_usage
from weft_worker.dialects.http_body import http_body
from weft_worker.dialects.openai.answer import JSON, ChoiceWriter, Head
from weft_worker.dialects.openai.chat_request import ChatCompletionRequest, parse_chat_request
from weft_worker.dialects.openai.chat_response import CallForms, Choice, ChunkWriter, completion_object
from weft_worker.dialects.openai.completion_request import CompletionRequest, parse_completion_request
from weft_worker.dialects.openai.completion_response import TextChoice, TextWriter, text_object
from weft_worker.dialects.openai.writing import WritingBody
from weft_worker.engines.base import Asked

_SERVICE = "/weft.dialect.v1.OpenAIService"


def openai_methods(inference: Inference) -> list[Method]:
    """The rpcs that are answered token by token; gateways serve the lists."""
    service = _OpenAI(inference)
    body = httpbody_pb2.HttpBody
    return [
        upb_stream(f"{_SERVICE}/CreateChatCompletion", service.create_chat_completion, body),
        upb_stream(f"{_SERVICE}/CreateCompletion", service.create_completion, body),
    ]


class _OpenAI:
    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def create_chat_completion(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Answer a conversation as one object or as server-sent events."""
        call = current_call()
        with told_in(Dialect.OPENAI, call), self._inference.visit(call, "CreateChatCompletion") as visit:
            request, asked = await read_body(_chat_asked, body.data)
            head = self._head("chatcmpl", request)
            await self._prepare(request, asked)
            if not request.stream:
                answers = await self._whole(call, visit, asked)
                yield http_body(_chat_object(request, head, answers), JSON)
                return
            writers = [
                ChunkWriter(
                    head,
                    include_usage=request.include_usage,
                    index=index,
                    calls=_call_forms(request),
                )
                for index in range(len(asked))
            ]
            async with aclosing(self._stream(call, visit, asked, writers)) as written:
                async for frame in written:
                    yield frame

    async def create_completion(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Go on with texts, as one object or as server-sent events."""
        call = current_call()
        with (
            told_in(Dialect.OPENAI, call),
            self._inference.visit(call, "CreateCompletion", Ability.COMPLETE) as visit,
        ):
            request, asked = await read_body(_texts_asked, body.data)
            head = self._head("cmpl", request)
            visit.answers_per_prompt = request.answers_per_prompt
            await self._prepare(request, asked)
            if not request.stream:
                answers = await self._whole(call, visit, asked)
                yield http_body(_text_object(request, head, answers), JSON)
                return
            writers = [
                TextWriter(head, include_usage=request.include_usage, index=index)
                for index in range(len(asked))
            ]
            async with aclosing(self._stream(call, visit, asked, writers)) as written:
                async for frame in written:
                    yield frame

    async def _prepare(self, request: WritingBody, asked: Sequence[Asked]) -> None:
        await check_forms(asked[0], "response_format")
        self._inference.wish_keep_alive(request.keep_alive)

    async def _whole(self, call: CallContext, visit: Visit, asked: Sequence[Asked]) -> Sequence[Answer]:
        answers = [Answer() for _ in asked]
        async with aclosing(self._inference.answers(call, visit, asked)) as events:
            async for index, event, _ in events:
                answers[index].take(event)
        return answers

    def _stream(
        self, call: CallContext, visit: Visit, asked: Sequence[Asked], writers: Sequence[ChoiceWriter]
    ) -> AsyncGenerator[bytes, None]:
        usage = partial(summed_usage, answers_per_prompt=visit.answers_per_prompt)
        return frames(visit, self._inference.streamed(call, visit, asked), writers, usage)

    def _head(self, prefix: str, request: WritingBody) -> Head:
        return Head(
            id=f"{prefix}-{uuid.uuid4().hex}",
            created=int(self._inference.clock.wall()),
            model=request.model,
            fingerprint=f"fp_{self._inference.replica.document.model.revision}",
        )


def _chat_asked(body: bytes) -> tuple[ChatCompletionRequest, Sequence[Asked]]:
    request = parse_chat_request(body)
    return request, request.to_generations()


def _texts_asked(body: bytes) -> tuple[CompletionRequest, Sequence[Asked]]:
    request = parse_completion_request(body)
    return request, request.to_completions()


def _chat_object(request: ChatCompletionRequest, head: Head, answers: Sequence[Answer]) -> bytes:
    with_logprobs = bool(request.logprobs)
    choices = [
        Choice(
            answer.text,
            answer.end().reason,
            answer.logprobs if with_logprobs else None,
            answer.calls.whole(),
            answer.reasoning,
        )
        for answer in answers
    ]
    return completion_object(head, choices, usage_of(answers), _call_forms(request))


def _call_forms(request: ChatCompletionRequest) -> CallForms:
    return CallForms(request.tells_functions, request.custom_tools)


def _text_object(request: CompletionRequest, head: Head, answers: Sequence[Answer]) -> bytes:
    with_logprobs = request.logprobs is not None
    choices = [
        TextChoice(answer.text, answer.end().reason, answer.logprobs if with_logprobs else None)
        for answer in answers
    ]
    return text_object(head, choices, usage_of(answers, request.answers_per_prompt))
