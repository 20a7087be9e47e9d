"""Embed, Rerank and Tokenize of weft.inference.v1.InferenceService: whole answers, by the same way as Chat's."""

from weft_common.purposes import Ability
from weft_common.rpc import Method, current_call, upb_unary
from weft_proto.pb.weft.inference.v1 import inference_service_pb2 as pb
from weft_worker.backend.inference import Inference
from weft_worker.backend.truncation import beginnings
from weft_worker.backend.work import check_dimensions, counting, embedding, reranking, shortened
from weft_worker.dialects.typed import read_keep_alive
from weft_worker.dialects.typed_reading import (
    read_embed_request,
    read_rerank_request,
    read_tokenize_request,
    token_count,
    write_embed_response,
    write_rerank_response,
    write_tokenize_response,
)
from weft_worker.engines.base import Engine

_SERVICE = "/weft.inference.v1.InferenceService"


def reading_methods(inference: Inference) -> list[Method]:
    """The rpcs."""
    service = _Reading(inference)
    return [
        upb_unary(f"{_SERVICE}/Embed", service.embed, pb.EmbedRequest),
        upb_unary(f"{_SERVICE}/Rerank", service.rerank, pb.RerankRequest),
        upb_unary(f"{_SERVICE}/Tokenize", service.tokenize, pb.TokenizeRequest),
    ]


class _Reading:
    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._model = inference.replica.document.model

    async def embed(self, request: pb.EmbedRequest) -> pb.EmbedResponse:
        """Make vectors."""
        call = current_call()
        with self._inference.visit(call, "Embed", Ability.EMBED) as visit:
            inputs = read_embed_request(request)
            dimensions = request.dimensions if request.HasField("dimensions") else None
            check_dimensions(self._model, self._engine(), dimensions)
            self._inference.wish_keep_alive(read_keep_alive(request))
            make = beginnings if request.truncate else embedding
            work = make(self._model, self._engine(), inputs)
            vectors = await self._inference.whole(call, visit, work)
            values = (shortened(vector, dimensions) for vector in vectors)
            return write_embed_response(values, token_count(vectors))

    async def rerank(self, request: pb.RerankRequest) -> pb.RerankResponse:
        """Put documents in order."""
        call = current_call()
        with self._inference.visit(call, "Rerank", Ability.RERANK) as visit:
            asked = read_rerank_request(request)
            work = reranking(self._model, self._engine(), asked.query, asked.documents)
            self._inference.wish_keep_alive(read_keep_alive(request))
            return write_rerank_response(await self._inference.whole(call, visit, work), asked.top_n)

    async def tokenize(self, request: pb.TokenizeRequest) -> pb.TokenizeResponse:
        """Count tokens."""
        call = current_call()
        with self._inference.visit(call, "Tokenize", Ability.TOKENIZE) as visit:
            asked = read_tokenize_request(request)
            work = counting(self._model, self._engine(), asked, with_pieces=request.with_pieces)
            (tokens,) = await self._inference.whole(call, visit, work)
            return write_tokenize_response(tokens)

    def _engine(self) -> Engine:
        return self._inference.replica.engine()
