"""Stand-ins for the parts behind Envoy, so that its configuration is tested alone: a gateway, a replica, a router.

A fake replica does what the request's body tells it: `{"steps": {"PORT or *": [[name, argument, ...], ...]}}`, where
`PORT/ATTEMPT` is for one of Envoy's attempts only.
Run as a program it is a part that can be killed, and prints its port: `fakes.py replica`, `fakes.py gateway IP:PORT`.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import (
    CheckRequest,
    CheckResponse,
    DeniedHttpResponse,
    OkHttpResponse,
)
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.api.httpbody_pb2 import HttpBody
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from weft_proto.pb.weft.dialect.v1.openai_service_pb2 import GetModelRequest, ListModelsRequest
from weft_proto.pb.weft.inference.v1.inference_service_pb2 import ChatRequest, ChatResponse
from weft_proto.pb.weft.node.v1.node_service_pb2 import RegisterNodeRequest, RegisterNodeResponse

OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # By default gRPC refuses bursts of more than 1,000 calls that Python has not yet picked up.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    # Let Envoy's keepalive pings pass, as Weft's own servers do.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)
Steps = Sequence[Sequence[object]]
DEADLINE_SECONDS = 10.0
ATTEMPT_KEY = "x-envoy-attempt-count"
Context = grpc.aio.ServicerContext


class FakeServer:
    """A gRPC server on a port of its own."""

    def __init__(self) -> None:
        self._server = grpc.aio.server(options=OPTIONS)
        self._arrival = asyncio.Condition()
        self._count = 0
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        servicer = HealthServicer()
        add_HealthServicer_to_server(servicer, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    async def called(self, count: int) -> None:
        """Wait until so many calls have arrived."""
        async with asyncio.timeout(DEADLINE_SECONDS), self._arrival:
            await self._arrival.wait_for(lambda: self._count >= count)

    async def _arrived(self) -> None:
        async with self._arrival:
            self._count += 1
            self._arrival.notify_all()

    def serve(self, service: str, **methods: grpc.RpcMethodHandler) -> None:
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))


@dataclass
class Call:
    """What a replica saw of one call; `cancelled` is set once the caller has gone."""

    metadata: dict[str, str]
    body: bytes
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def gone(self) -> None:
        """Wait until the caller has left."""
        await asyncio.wait_for(self.cancelled.wait(), DEADLINE_SECONDS)


DIALECT_RPCS = {
    "OpenAIService": ("CreateChatCompletion", "CreateCompletion", "CreateEmbedding"),
    "AnthropicService": ("CreateMessage", "CountMessageTokens"),
    "OllamaService": ("Chat", "Generate", "Embed", "Embeddings"),
    "JinaService": ("Rerank",),
    "CohereService": ("Rerank",),
    "LocalAIService": ("Tokenize",),
}


class FakeReplica(FakeServer):
    """Follows the steps of the request's body."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        for service, rpcs in DIALECT_RPCS.items():
            handlers = {rpc: stream_handler(self._http_body, HttpBody) for rpc in rpcs}
            self.serve(f"weft.dialect.v1.{service}", **handlers)
        self.serve("weft.inference.v1.InferenceService", Chat=stream_handler(self._chat, ChatRequest))

    async def _http_body(self, request: HttpBody, context: Context) -> AsyncIterator[HttpBody]:
        async for text, content_type in self._follow(request.data, context):
            yield HttpBody(content_type=content_type, data=text.encode())

    async def _chat(self, request: ChatRequest, context: Context) -> AsyncIterator[ChatResponse]:
        async for text, _ in self._follow(request.messages[0].content.encode(), context):
            yield ChatResponse(delta=text)

    async def _follow(self, body: bytes, context: Context) -> AsyncIterator[tuple[str, str]]:
        call = Call({key: str(value) for key, value in context.invocation_metadata() or ()}, body)
        self.calls.append(call)
        await self._arrived()
        scripts = json.loads(body)["steps"]
        mine = (f"{self.port}/{call.metadata.get(ATTEMPT_KEY)}", str(self.port), "*")
        steps: Steps = next((scripts[key] for key in mine if key in scripts), [])
        try:
            for name, *arguments in steps:
                match name, arguments:
                    case "send", [str(text), *rest]:
                        yield text, str(rest[0]) if rest else "application/json"
                    case "who", []:
                        yield json.dumps({"port": self.port}), "application/json"
                    case "kill", []:
                        os.kill(os.getpid(), signal.SIGKILL)
                    case "wait", [float() | int() as seconds]:
                        await asyncio.sleep(float(seconds))
                    case "metadata", [dict(pairs)]:
                        await context.send_initial_metadata(tuple(pairs.items()))
                    case "abort", [str(code), str(message), dict(trailing)]:
                        await context.abort(grpc.StatusCode[code], message, metadata_of(trailing))
                    case _:
                        raise AssertionError(f"unknown step {name}")
        except asyncio.CancelledError:
            call.cancelled.set()
            raise


class FakeGateway(FakeServer):
    """Answers Check as the request's header `check` asks: `{"wait": seconds, "ok": {...}, "deny": {...}}`.

    `ok` holds headers to set beside `picked`; `deny` holds status, headers and body of a refusal, and `stranger` those
    of one that needs to know the key only.
    """

    def __init__(self, picked: Mapping[str, str]) -> None:
        super().__init__()
        self._picked = dict(picked)
        self.checks: list[CheckRequest] = []
        # Set once a caller has left while its Check was waiting.
        self.left = asyncio.Event()
        self.serve("envoy.service.auth.v3.Authorization", Check=unary_handler(self._check, CheckRequest))
        self.serve(
            "weft.dialect.v1.OpenAIService",
            ListModels=unary_handler(self._list_models, ListModelsRequest),
            GetModel=unary_handler(self._get_model, GetModelRequest),
        )
        names = ("weft.inference.v1.InferenceService", reflection.SERVICE_NAME, health.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def _check(self, request: CheckRequest, context: Context) -> CheckResponse:
        self.checks.append(request)
        await self._arrived()
        wish = json.loads(request.attributes.request.http.headers.get("check", "{}"))
        try:
            await asyncio.sleep(wish.get("wait", 0))
        except asyncio.CancelledError:
            self.left.set()
            raise
        if request.attributes.context_extensions.get("only") == "key":
            return denied(**wish["stranger"]) if "stranger" in wish else allowed({})
        if "deny" in wish:
            return denied(**wish["deny"])
        return allowed(self._picked | wish.get("ok", {}))

    async def _list_models(self, request: ListModelsRequest, context: Context) -> HttpBody:
        return HttpBody(content_type="application/json", data=b'{"object":"list","data":[]}')

    async def _get_model(self, request: GetModelRequest, context: Context) -> HttpBody:
        if request.id == "missing":
            await context.abort_with_status(rpc_status.to_status(model_not_found()))
        return HttpBody(content_type="application/json", data=json.dumps({"id": request.id}).encode())


class FakeRouter(FakeServer):
    """Registers every node, with the 201 that REST callers expect."""

    def __init__(self) -> None:
        super().__init__()
        self.serve(
            "weft.node.v1.NodeService", RegisterNode=unary_handler(self._register, RegisterNodeRequest)
        )

    async def _register(self, request: RegisterNodeRequest, context: Context) -> RegisterNodeResponse:
        if request.name == "refused":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "The registration token is wrong.")
        status = "204" if request.name == "empty" else "201"
        await context.send_initial_metadata((("x-weft-http-status", status),))
        return RegisterNodeResponse(node_token=f"token of {request.name}")


def metadata_of(pairs: Mapping[str, str]) -> tuple[tuple[str, str | bytes], ...]:
    """Turn text of JSON into metadata, whose keys in `-bin` take bytes."""
    return tuple((key, value.encode() if key.endswith("-bin") else value) for key, value in pairs.items())


def model_not_found() -> Status:
    """What a gateway says that knows nothing of dialects."""
    status = Status(code=grpc.StatusCode.NOT_FOUND.value[0], message='The model "missing" \\ does not exist')
    status.details.add().Pack(ErrorInfo(reason="MODEL_NOT_FOUND", domain="weft"))
    return status


def allowed(headers: Mapping[str, str]) -> CheckResponse:
    """Let the request pass with these headers; an empty value leaves its header out."""
    return CheckResponse(status=Status(code=0), ok_response=OkHttpResponse(headers=_options(headers)))


def denied(status: int, headers: Mapping[str, str], body: str) -> CheckResponse:
    """Refuse the request with a complete answer."""
    response = DeniedHttpResponse(status=HttpStatus(code=status), headers=_options(headers), body=body)
    return CheckResponse(status=Status(code=7), denied_response=response)


def _options(headers: Mapping[str, str]) -> list[HeaderValueOption]:
    overwrite = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    return [
        HeaderValueOption(header=HeaderValue(key=key, value=value), append_action=overwrite)
        for key, value in headers.items()
        if value
    ]


def unary_handler(method: Callable[..., object], request: type) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=lambda m: m.SerializeToString()
    )


def stream_handler(method: Callable[..., object], request: type) -> grpc.RpcMethodHandler:
    return grpc.unary_stream_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=lambda m: m.SerializeToString()
    )


async def main(kind: str, *picked: str) -> None:
    part = FakeReplica() if kind == "replica" else FakeGateway({"x-weft-destination": picked[0]})
    await part.start()
    sys.stdout.write(f"{part.port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
