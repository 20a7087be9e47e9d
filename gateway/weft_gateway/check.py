"""Envoy's one question about a request: who is it, may they, where does it go."""

import logging
from collections.abc import Mapping
from typing import Protocol

from envoy.service.auth.v3 import external_auth_pb2

from weft_common.clock import Clock
from weft_common.dialects import dialect_of
from weft_common.errors import BodyTooLarge, InvalidRequest, MethodNotSupported, UnknownPath, WeftError
from weft_common.logs import decision
from weft_common.mesh_auth import mesh_metadata
from weft_common.purposes import Ability
from weft_gateway import answers
from weft_gateway.admission import Admitted
from weft_gateway.bodies import Question, question_of_frame, question_of_framed_json, question_of_json
from weft_gateway.keys import KeyRing
from weft_gateway.metrics import AdmissionMetrics
from weft_gateway.ollama_shapes import unloaded_body
from weft_gateway.patience import patience_of
from weft_gateway.routes import Route, ability_of, allowed_method, route_of
from weft_gateway.slot import Ask

PATH = "/envoy.service.auth.v3.Authorization/Check"

_NO_LIBRARY = (
    "Weft keeps no library of Ollama's: models are described by files, which an operator adds"
    " (docs/operations.md), and are loaded when they are asked for."
)

_NOT_YET_GRPC = ("application/connect+", "application/proto", "application/grpc-web")
"""What Envoy makes gRPC of before it asks with the body."""

_log = logging.getLogger(__name__)


class Admits(Protocol):
    """What Check needs of an admission."""

    async def admit(self, ask: Ask) -> Admitted:
        """Find where a request goes; raises WeftError where nowhere."""
        ...


class Check:
    """envoy.service.auth.v3.Authorization; a refusal is a complete answer in the dialect of the path."""

    def __init__(
        self,
        *,
        keys: KeyRing,
        admission: Admits,
        mesh_secret: str,
        metrics: AdmissionMetrics,
        clock: Clock,
    ) -> None:
        # Lets an admin's call into the router, which nobody else can enter from outside.
        self._mesh = dict(mesh_metadata(mesh_secret))
        self._keys = keys
        self._admission = admission
        self._metrics = metrics
        self._clock = clock

    async def check(self, request: external_auth_pb2.CheckRequest) -> external_auth_pb2.CheckResponse:
        http = request.attributes.request.http
        headers: Mapping[str, str] = http.headers
        content_type = headers.get("content-type", "")
        try:
            if request.attributes.context_extensions.get("only") == "key":
                # The rest is asked when the body is there, which Envoy has no room for yet (envoy/body_limits.yaml).
                self._keys.authenticate(headers)
                return answers.allow({})
            return await self._decide(http.method, http.path, headers, http.raw_body or http.body.encode())
        except WeftError as error:
            self._metrics.refused.labels(error.reason).inc()
            decision(_log, "refused", {"path": http.path.partition("?")[0], "reason": error.reason})
            if content_type.startswith(_NOT_YET_GRPC):
                return answers.refuse_connect(error)
            if content_type.startswith("application/grpc"):
                return answers.refuse_grpc(error)
            dialect = dialect_of(http.path, headers)
            return answers.refuse_rest(error, dialect, headers.get("x-request-id", ""))

    async def _decide(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> external_auth_pb2.CheckResponse:
        route = route_of(path)
        if route is Route.UNKNOWN:
            raise UnknownPath(
                f"Unknown request URL: {method} {path.partition('?')[0]}. See the API's documentation."
            )
        if route is Route.NODE:
            return answers.allow({})
        principal = self._keys.authenticate(headers)
        if route is Route.GATEWAY:
            return answers.allow({"x-weft-principal": principal.name})
        if route is Route.ADMIN:
            return answers.allow({"x-weft-principal": principal.name, **self._mesh})
        if route is Route.OLLAMA_LIBRARY:
            raise InvalidRequest(_NO_LIBRARY)
        _require_readable(route, method, path, headers, body)
        question = _question(route, path, headers, body)
        lets_go = question.lets_go and route is Route.JSON_INFERENCE
        ask = Ask(
            model=question.model,
            principal=principal,
            request_id=headers.get("x-request-id", ""),
            prompt=question.prompt,
            max_token_count=question.max_token_count,
            patience=patience_of(headers),
            # Any model can be let go.
            ability=Ability.TOKENIZE if lets_go else ability_of(path),
            alias=question.alias,
            lets_go=lets_go,
        )
        admitted = await self._admission.admit(ask)
        if admitted.is_needless:
            return answers.answer(unloaded_body(path, question.model, self._clock.wall()))
        return answers.allow(admitted.headers, admitted.answer_headers)


def _require_readable(route: Route, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
    expected = allowed_method(route)
    if expected is not None and method != expected:
        raise MethodNotSupported(f"Not allowed to {method} on {path.partition('?')[0]} (use {expected}).")
    # Envoy refuses larger bodies itself, but for a last HTTP/2 frame that passes the limit: that one it cuts.
    if headers.get("x-envoy-auth-partial-body") == "true":
        raise BodyTooLarge(f"The request's body is larger than the limit of {len(body)} bytes.")
    if headers.get("content-encoding", "identity") != "identity":
        raise InvalidRequest("Compressed bodies are not taken: send this request without Content-Encoding.")


def _question(route: Route, path: str, headers: Mapping[str, str], body: bytes) -> Question:
    ability = ability_of(path)
    if route is Route.GRPC_INFERENCE:
        return question_of_frame(body, headers, ability)
    read = question_of_framed_json if route is Route.FRAMED_JSON_INFERENCE else question_of_json
    return read(body, dialect_of(path, headers), ability)
