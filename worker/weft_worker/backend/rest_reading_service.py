"""Vectors, scores and tokens over REST, in the words of those who have them: HTTP bodies in, HTTP bodies out."""

import uuid
from collections.abc import AsyncGenerator

from google.api import httpbody_pb2

from weft_common.dialects import Dialect
from weft_common.errors import InvalidRequest
from weft_common.purposes import Ability
from weft_common.rpc import Method, current_call, upb_stream
from weft_common.rpc.dialects import told_in
from weft_worker.backend.bodies import read_body
from weft_worker.backend.inference import Inference
from weft_worker.backend.work import check_dimensions, counting, embedding, reranking, shortened
from weft_worker.dialects.cohere.rerank import cohere_response, parse_cohere_request
from weft_worker.dialects.http_body import http_body
from weft_worker.dialects.jina.rerank import jina_response, parse_jina_request
from weft_worker.dialects.localai.tokenize import parse_tokenize_request, tokenize_response
from weft_worker.dialects.openai.embedding import embedding_list, parse_embedding_request
from weft_worker.engines.abilities import InputTooLong
from weft_worker.engines.base import Engine

_JSON = b"application/json"


def rest_reading_methods(inference: Inference) -> list[Method]:
    """The rpcs; each answers with one frame."""
    service = _RestReading(inference)
    rpcs = {
        "OpenAIService/CreateEmbedding": service.create_embedding,
        "JinaService/Rerank": service.rerank_as_jina,
        "CohereService/Rerank": service.rerank_as_cohere,
        "LocalAIService/Tokenize": service.tokenize,
    }
    return [upb_stream(f"/weft.dialect.v1.{path}", rpc, httpbody_pb2.HttpBody) for path, rpc in rpcs.items()]


class _RestReading:
    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._model = inference.replica.document.model

    async def create_embedding(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Make vectors, as OpenAI does."""
        call = current_call()
        with (
            told_in(Dialect.OPENAI, call),
            self._inference.visit(call, "CreateEmbedding", Ability.EMBED) as visit,
        ):
            request = await read_body(parse_embedding_request, body.data)
            work = embedding(self._model, self._engine(), request.input.texts)
            check_dimensions(self._model, self._engine(), request.dimensions)
            self._inference.wish_keep_alive(request.keep_alive)
            try:
                vectors = await self._inference.whole(call, visit, work)
            except (InvalidRequest, InputTooLong) as error:
                raise request.input.renamed(error, "input") from None
            values = (shortened(vector, request.dimensions) for vector in vectors)
            token_count = sum(vector.token_count for vector in vectors)
            yield http_body(embedding_list(request, values, token_count), _JSON)

    async def rerank_as_jina(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Put documents in order, as Jina does."""
        call = current_call()
        with told_in(Dialect.JINA, call), self._inference.visit(call, "JinaRerank", Ability.RERANK) as visit:
            request = await read_body(parse_jina_request, body.data)
            work = reranking(self._model, self._engine(), request.query, request.documents)
            self._inference.wish_keep_alive(request.keep_alive)
            scores = await self._inference.whole(call, visit, work)
            yield http_body(jina_response(request, scores), _JSON)

    async def rerank_as_cohere(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Put documents in order, as Cohere does."""
        call = current_call()
        with (
            told_in(Dialect.COHERE, call),
            self._inference.visit(call, "CohereRerank", Ability.RERANK) as visit,
        ):
            request = await read_body(parse_cohere_request, body.data)
            work = reranking(self._model, self._engine(), request.query, request.documents)
            self._inference.wish_keep_alive(request.keep_alive)
            scores = await self._inference.whole(call, visit, work)
            yield http_body(cohere_response(request, str(uuid.uuid4()), scores), _JSON)

    async def tokenize(self, body: httpbody_pb2.HttpBody) -> AsyncGenerator[bytes, None]:
        """Tell tokens, as LocalAI does."""
        call = current_call()
        with (
            told_in(Dialect.OPENAI, call),
            self._inference.visit(call, "RestTokenize", Ability.TOKENIZE) as visit,
        ):
            request = await read_body(parse_tokenize_request, body.data)
            with_pieces = bool(request.return_token_strs)
            work = counting(self._model, self._engine(), request.to_input(), with_pieces=with_pieces)
            (tokens,) = await self._inference.whole(call, visit, work)
            yield http_body(tokenize_response(request, tokens), _JSON)

    def _engine(self) -> Engine:
        return self._inference.replica.engine()
