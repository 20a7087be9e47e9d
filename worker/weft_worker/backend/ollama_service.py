"""weft.dialect.v1.OllamaService, the part that replicas serve: HTTP bodies in, HTTP bodies out."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from google.api import httpbody_pb2

from weft_common.dialects import Dialect
from weft_common.purposes import Ability, require_ability
from weft_common.rpc import CallContext, Method, current_call, upb_stream
from weft_common.rpc.dialects import told_in
from weft_worker.backend.bodies import read_body
from weft_worker.backend.forms import check_forms
from weft_worker.backend.inference import Inference
from weft_worker.backend.ollama_answer import OllamaAnswer, timing_of
from weft_worker.backend.ollama_context import conversation_tokens
from weft_worker.backend.truncation import beginnings
from weft_worker.backend.visit import Visit
from weft_worker.backend.work import check_dimensions, embedding, idling, require_thinker, shortened
from weft_worker.dialects.http_body import http_body
from weft_worker.dialects.ollama.answers import JSON, AnswerWriter, chat_shape, generate_shape
from weft_worker.dialects.ollama.chat_request import ChatRequest, parse_chat_request
from weft_worker.dialects.ollama.embed_request import parse_embed_request, parse_embeddings_request
from weft_worker.dialects.ollama.generate_request import GenerateRequest, parse_generate_request
from weft_worker.dialects.ollama.vectors import Embedded, embed_object, embeddings_object
from weft_worker.engines.abilities import InputTooLong, Vector
from weft_worker.engines.base import Asked

_SERVICE = "/weft.dialect.v1.OllamaService"
# Every model can, so that each can be loaded and unloaded.
_ANY = Ability.TOKENIZE


def ollama_methods(inference: Inference) -> list[Method]:
    """The rpcs of the service that replicas serve; gateways serve the lists."""
    service = _Ollama(inference)
    return [
        upb_stream(f"{_SERVICE}/Chat", service.chat, httpbody_pb2.HttpBody),
        upb_stream(f"{_SERVICE}/Generate", service.generate, httpbody_pb2.HttpBody),
        upb_stream(f"{_SERVICE}/Embed", service.embed, httpbody_pb2.HttpBody),
        upb_stream(f"{_SERVICE}/Embeddings", service.embeddings, httpbody_pb2.HttpBody),
    ]


class _Ollama:
    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._model = inference.replica.document.model

    async def chat(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Answer a conversation."""
        call = current_call()
        with told_in(Dialect.OLLAMA, call), self._inference.visit(call, "OllamaChat", _ANY) as visit:
            request, asked = await read_body(_read_chat, body.data)
            writer = AnswerWriter(request.model, chat_shape)
            async with aclosing(self._answer(call, visit, request, asked, writer)) as frames:
                async for frame in frames:
                    yield frame

    async def generate(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Complete a prompt."""
        call = current_call()
        with told_in(Dialect.OLLAMA, call), self._inference.visit(call, "OllamaGenerate", _ANY) as visit:
            request, asked = await read_body(_read_generate, body.data)
            writer = AnswerWriter(request.model, generate_shape)
            async with aclosing(self._answer(call, visit, request, asked, writer)) as frames:
                async for frame in frames:
                    yield frame

    async def embed(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Make vectors."""
        call = current_call()
        with (
            told_in(Dialect.OLLAMA, call),
            self._inference.visit(call, "OllamaEmbed", Ability.EMBED) as visit,
        ):
            request = await read_body(parse_embed_request, body.data)
            self._inference.wish_keep_alive(request.keep_alive)
            check_dimensions(self._model, self._inference.replica.engine(), request.wished_dimensions)
            vectors = await self._vectors(call, visit, request.input, truncate=request.may_truncate)
            embedded = Embedded(
                [shortened(vector, request.wished_dimensions) for vector in vectors],
                sum(vector.token_count for vector in vectors),
            )
            yield http_body(embed_object(request.model, embedded, timing_of(self._inference, visit)), JSON)

    async def embeddings(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Make one vector."""
        call = current_call()
        with (
            told_in(Dialect.OLLAMA, call),
            self._inference.visit(call, "OllamaEmbeddings", Ability.EMBED) as visit,
        ):
            request = await read_body(parse_embeddings_request, body.data)
            self._inference.wish_keep_alive(request.keep_alive)
            texts = [request.prompt] if request.prompt else []
            vectors = await self._vectors(call, visit, texts, truncate=True)
            yield http_body(embeddings_object(vectors[0].values if vectors else None), JSON)

    async def _answer(
        self,
        call: CallContext,
        visit: Visit,
        request: ChatRequest | GenerateRequest,
        asked: Asked,
        writer: AnswerWriter,
    ) -> AsyncGenerator[bytes, None]:
        if request.is_empty:
            self._inference.wish_keep_alive(request.keep_alive)
            yield http_body(writer.nothing(await self._visited(call, visit, request), self._wall()), JSON)
            return
        require_ability(visit.model, self._model.purpose, Ability.CHAT)
        asked = await self._continued(request, asked)
        await check_forms(asked, "format")
        self._inference.wish_keep_alive(request.keep_alive)
        answer = OllamaAnswer(self._inference, visit, writer, asked if _tells_context(request) else None)
        if not request.is_streamed:
            yield http_body(await answer.whole(self._inference.answers(call, visit, [asked])), JSON)
            return
        async with aclosing(answer.lines(self._inference.streamed(call, visit, [asked]))) as frames:
            async for frame in frames:
                yield frame

    async def _continued(self, request: ChatRequest | GenerateRequest, asked: Asked) -> Asked:
        """Check that the model can think where it has to, and put what is asked behind what was said before."""
        engine = self._inference.replica.engine()
        if request.thinking is not None and request.thinking.enabled:
            require_thinker(request.model, engine)
        if isinstance(request, GenerateRequest) and request.context:
            return request.to_asked(await conversation_tokens(engine, request.messages, request.thinking))
        return asked

    async def _visited(self, call: CallContext, visit: Visit, request: ChatRequest | GenerateRequest) -> str:
        """What became of a request that asks nothing of its model but to be there, or to go.

        That somebody came by is noted as a use, by which idle time is counted, unless it is in use anyway.
        """
        if request.keep_alive == 0:
            return "unload"
        if not self._inference.admission.in_flight_count:
            await self._inference.whole(call, visit, idling())
        return "load"

    async def _vectors(
        self, call: CallContext, visit: Visit, texts: list[str], *, truncate: bool
    ) -> Sequence[Vector]:
        if not texts:
            return ()
        make = beginnings if truncate else embedding
        try:
            work = make(self._model, self._inference.replica.engine(), texts)
            return await self._inference.whole(call, visit, work)
        except InputTooLong as error:
            raise error.named(_input(error.index, texts)) from None

    def _wall(self) -> float:
        return self._inference.clock.wall()


def _read_chat(body: bytes) -> tuple[ChatRequest, Asked]:
    request = parse_chat_request(body)
    return request, request.to_asked()


def _read_generate(body: bytes) -> tuple[GenerateRequest, Asked]:
    request = parse_generate_request(body)
    return request, request.to_asked()


def _tells_context(request: ChatRequest | GenerateRequest) -> bool:
    return isinstance(request, GenerateRequest) and not request.raw


def _input(index: int, texts: Sequence[str]) -> str:
    return f"input.{index}" if len(texts) > 1 else "input"
