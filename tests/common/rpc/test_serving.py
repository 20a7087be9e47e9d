"""What a caller sees of a handler's answers and failures, down to the frames."""

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc
import h2.config
import h2.connection
import h2.events
import pytest

from weft_common import logs
from weft_common.errors import EngineFailed, InternalError, InvalidRequest, NoCapacity, NodeStateError
from weft_common.rpc import RpcClient, current_call, stub, upb_stream, upb_unary
from weft_proto.pb.weft.routing.v1 import routing_service_pb2 as pb
from weft_proto.weft.routing.v1 import RouteRequest, RouteResponse

SOON = 5.0
NOT_UTF8 = b"\x0a\x01\xff"  # field 1, a string of one byte
INITIAL = ("x-weft-node", "a")
TRAILING = ("x-weft-error", "e30=")


async def refuse(raw: bytes) -> bytes:
    current_call().set_initial_metadata([INITIAL])
    current_call().add_trailing_metadata([TRAILING])
    raise NoCapacity("full")


async def refuse_stream(raw: bytes) -> AsyncIterator[bytes]:
    yield await refuse(raw)


async def frames(port: int, path: str) -> AsyncIterator[h2.events.Event]:
    """Make a call as an HTTP/2 client and tell everything that happens to its stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    head = {":method": "POST", ":scheme": "http", ":authority": "a", ":path": path, "te": "trailers"}
    connection.send_headers(1, [*head.items(), ("content-type", "application/grpc")])
    connection.send_data(1, bytes(5), end_stream=True)
    try:
        while True:
            writer.write(connection.data_to_send())
            for event in connection.receive_data(await asyncio.wait_for(reader.read(65_536), SOON)):
                if getattr(event, "stream_id", 0) == 1:
                    yield event
                if isinstance(event, h2.events.StreamEnded):
                    return
    finally:
        writer.close()


@pytest.mark.parametrize("kind", [upb_unary, upb_stream])
async def test_error_before_the_first_message_is_a_single_frame_of_headers(serve, kind):
    fn = refuse if kind is upb_unary else refuse_stream
    async with serve(upb=[kind("/t.T/Refuse", fn, None)]) as served:
        events = [e async for e in frames(served.port, "/t.T/Refuse")]
    (answer,) = [e for e in events if isinstance(e, h2.events.ResponseReceived)]
    assert answer.stream_ended is not None
    assert not [e for e in events if isinstance(e, h2.events.TrailersReceived | h2.events.DataReceived)]
    headers = dict(answer.headers)
    assert headers["grpc-status"] == "14"
    assert headers[TRAILING[0]] == TRAILING[1]
    assert INITIAL[0] not in headers


async def test_refused_call_has_no_initial_metadata_for_a_grpc_client(serve):
    async with serve(upb=[upb_unary("/t.T/Refuse", refuse, None)]) as served:
        call = served.channel.unary_unary("/t.T/Refuse")(b"")
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert tuple(await call.initial_metadata()) == ()
        assert TRAILING in tuple(await call.trailing_metadata())


@pytest.mark.parametrize(
    ("error", "status"), [(NodeStateError("drains"), "409"), (NoCapacity("full"), None)], ids=str
)
async def test_rest_callers_are_told_a_status_that_the_code_alone_would_not_give(serve, error, status):
    async def fail(raw: bytes) -> bytes:
        raise error

    async with serve(upb=[upb_unary("/t.T/Fail", fail, None)]) as served:
        call = served.channel.unary_unary("/t.T/Fail")(b"")
        await call.code()
        assert dict(await call.trailing_metadata()).get("x-weft-http-status") == status


async def test_headers_wait_for_the_first_message(serve):
    release = asyncio.Event()
    entered = asyncio.Event()

    async def slow(raw: bytes) -> AsyncIterator[bytes]:
        current_call().set_initial_metadata([INITIAL])
        entered.set()
        await release.wait()
        yield b"a"

    async with serve(upb=[upb_stream("/t.T/Slow", slow, None)]) as served:
        events = frames(served.port, "/t.T/Slow")
        async with asyncio.TaskGroup() as group:
            first = group.create_task(anext(events))
            await asyncio.wait_for(entered.wait(), SOON)
            # A round trip on another connection stands between the handler's words and this look at its caller.
            await stub_once(served)
            assert not first.done()
            release.set()
        assert isinstance(first.result(), h2.events.ResponseReceived)
        assert INITIAL in first.result().headers
        rest = [type(e) async for e in events]
    assert rest.index(h2.events.DataReceived) < rest.index(h2.events.TrailersReceived)


async def stub_once(served) -> None:
    await served.channel.unary_unary("/weft.test.v1.EchoService/Once")(bytes(RouteRequest(model="a")))


async def test_error_after_messages_follows_them(serve, path):
    async with serve() as served:
        served.echo.failure = EngineFailed("the engine broke")
        answers = RpcClient(served.channel).stream(f"{path}Count", RouteRequest(model="ab!"), RouteResponse)
        assert [await anext(answers), await anext(answers)] == [
            RouteResponse(sequence=0),
            RouteResponse(sequence=1),
        ]
        with pytest.raises(EngineFailed, match="the engine broke"):
            await anext(answers)


async def test_unforeseen_failure_is_logged_and_told_without_its_words(serve, echo_stub, caplog):
    async with serve() as served:
        served.echo.failure = ValueError("a secret")
        with pytest.raises(InternalError) as raised:
            await stub(echo_stub, served.channel).once(RouteRequest(model="fail"))
    assert "a secret" not in raised.value.message
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert (record.getMessage(), record.rpc) == ("rpc_failed", "/weft.test.v1.EchoService/Once")


async def test_single_failure_of_a_task_group_is_told_as_itself(serve, echo_stub):
    async with serve() as served:
        served.echo.failure = ExceptionGroup("one child", [NoCapacity("full")])
        with pytest.raises(NoCapacity, match="full"):
            await stub(echo_stub, served.channel).once(RouteRequest(model="fail"))


async def test_cancelled_error_of_the_handlers_own_making_leaves_no_caller_waiting(serve, echo_stub, caplog):
    async with serve() as served:
        served.echo.failure = asyncio.CancelledError()
        with pytest.raises(InternalError):
            await stub(echo_stub, served.channel, timeout=SOON).once(RouteRequest(model="fail"))
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == ["rpc_failed"]


async def test_malformed_message_is_an_invalid_request(serve, path):
    async with serve() as served:
        with pytest.raises(InvalidRequest):
            await RpcClient(served.channel).unary(f"{path}Once", NOT_UTF8, bytes)


async def test_malformed_message_of_a_dialect_is_told_without_names_of_rpcs(serve):
    path = "/weft.dialect.v1.OpenAIService/GetModel"
    async with serve(upb=[upb_unary(path, refuse, pb.RouteRequest)]) as served:
        with pytest.raises(InvalidRequest, match=r"^The request cannot be read: .* UTF-8\.$"):
            await RpcClient(served.channel).unary(path, NOT_UTF8, bytes)


async def test_method_that_nobody_wrote_is_unimplemented(serve, path):
    async with serve() as served:
        call = served.channel.unary_unary(f"{path}Unwritten")(b"")
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_stream_method_without_a_yield_may_end_or_raise(serve):
    async def ends(raw: bytes) -> None:
        if raw:
            raise NoCapacity("full")

    async with serve(upb=[upb_stream("/t.T/Ends", ends, None)]) as served:
        client = RpcClient(served.channel)
        assert [a async for a in client.stream("/t.T/Ends", b"", bytes)] == []
        with pytest.raises(NoCapacity):
            await anext(client.stream("/t.T/Ends", b"x", bytes))


async def test_slow_reader_holds_the_generator_back_and_leaving_closes_it(serve, caplog):
    made = 0
    closed = asyncio.Event()

    async def flood(raw: bytes) -> AsyncIterator[bytes]:
        nonlocal made
        try:
            while True:
                made += 1
                yield bytes(100_000)
        finally:
            closed.set()

    async with serve(upb=[upb_stream("/t.T/Flood", flood, None)]) as served:
        answers = RpcClient(served.channel).stream("/t.T/Flood", b"", bytes)
        await anext(answers)
        async with asyncio.timeout(SOON):
            before = 0
            while made > before:  # until the buffers on the way are full
                before = made
                for _ in range(50):
                    await stub_once(served)
        answers.cancel()
        await asyncio.wait_for(closed.wait(), SOON)
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_upb_messages_go_both_ways(serve):
    async def route(request: pb.RouteRequest) -> pb.RouteResponse:
        return pb.RouteResponse(sequence=len(request.model))

    async with serve(upb=[upb_unary("/t.T/Route", route, pb.RouteRequest)]) as served:
        answer = await RpcClient(served.channel).unary(
            "/t.T/Route", pb.RouteRequest(model="abc"), pb.RouteResponse
        )
    assert answer == pb.RouteResponse(sequence=3)


async def test_upb_method_takes_the_place_of_a_generated_one(serve, echo_stub, path):
    async def once(request: pb.RouteRequest) -> pb.RouteResponse:
        return pb.RouteResponse(sequence=77)

    async with serve(upb=[upb_unary(f"{path}Once", once, pb.RouteRequest)]) as served:
        assert (await stub(echo_stub, served.channel).once(RouteRequest())).sequence == 77


async def test_request_id_of_the_call_is_the_logs(serve):
    async def say(raw: bytes) -> bytes:
        return logs.request_id.get().encode()

    async with serve(upb=[upb_unary("/t.T/Say", say, None)]) as served:
        client = RpcClient(served.channel, metadata={"x-request-id": "r-1"})
        assert await client.unary("/t.T/Say", b"", bytes) == b"r-1"


async def test_64_mib_pass(serve):
    async def size(raw: bytes) -> bytes:
        return str(len(raw)).encode()

    async with serve(upb=[upb_unary("/t.T/Size", size, None)]) as served:
        body = bytes(64 * 1024 * 1024)
        assert await RpcClient(served.channel).unary("/t.T/Size", body, bytes) == str(len(body)).encode()
