"""Pulling files from other workers and over HTTP, whole ones and sources that fail."""

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.worker.files.contents import CHUNK, manifest_of, messages, missing_of, noise
from tests.worker.files.served import SECRET, ServedFiles, serve_files
from tests.worker.files.web import Answer, Asked, site
from weft_common.errors import ChecksumMismatch, FileMissing, InvalidRequest, SourceUnavailable
from weft_common.file_frames import read_response
from weft_common.rpc import RpcServer, upb_stream
from weft_proto.pb.weft.files.v1 import file_service_pb2 as pb
from weft_worker.files import http_source
from weft_worker.files.http_source import is_metadata
from weft_worker.files.service import SERVICE

DATA = noise(9 * CHUNK + 100)
Read = Callable[[pb.ReadFileRequest], AsyncIterator[bytes]]


@contextlib.asynccontextmanager
async def peer(read: Read) -> AsyncIterator[str]:
    """Another worker, of which only ReadFile matters."""
    served = [upb_stream(f"{SERVICE}/ReadFile", read, pb.ReadFileRequest)]
    async with RpcServer(upb=served, mesh_secret=SECRET, mesh_only=["/weft"]) as server:
        port = server.listen("127.0.0.1:0")
        await server.start()
        yield f"127.0.0.1:{port}"


def ranges(asked: Asked) -> Answer:
    """Serve DATA as object stores do."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers["range"])
    assert found is not None
    start, end = int(found[1]), int(found[2]) + 1
    headers = {"content-range": f"bytes {start}-{end - 1}/{len(DATA)}"}
    return Answer(DATA[start:end], HTTPStatus.PARTIAL_CONTENT, headers)


async def require_whole(served: ServedFiles) -> None:
    assert missing_of(await served.call.stat(DATA)) == []
    assert await served.call.read(manifest_of(DATA).digest, (0, 10)) == DATA


async def test_a_second_worker_gets_a_file_from_the_first(tmp_path: Path) -> None:
    async with serve_files(tmp_path / "1") as first, serve_files(tmp_path / "2") as second:
        await first.call.bring(DATA)
        await second.call.stat(DATA)
        await second.call.write(messages(DATA, [4]))
        told = await second.call.fetch(DATA, worker_address=first.address)
        assert (told[0], told[-1]) == (CHUNK, len(DATA))
        assert told == sorted(told)
        await require_whole(second)


async def test_a_worker_that_has_half_gives_half(tmp_path: Path) -> None:
    async with serve_files(tmp_path / "1") as first, serve_files(tmp_path / "2") as second:
        await first.call.stat(DATA)
        await first.call.write(messages(DATA, [0, 1, 2, 3]))
        await second.call.stat(DATA)
        with pytest.raises(SourceUnavailable, match="Chunk 4 of"):
            await second.call.fetch(DATA, worker_address=first.address)
        assert missing_of(await second.call.stat(DATA)) == [4, 5, 6, 7, 8, 9]


async def test_a_worker_that_is_gone_is_a_source_that_is_unavailable(tmp_path: Path) -> None:
    async with serve_files(tmp_path) as served:
        await served.call.stat(DATA)
        with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:1 "):
            await served.call.fetch(DATA, worker_address="127.0.0.1:1")


async def test_a_worker_that_goes_silent_is_given_up(tmp_path: Path) -> None:
    async def stuck(_: pb.ReadFileRequest) -> AsyncIterator[bytes]:
        yield read_response(0, DATA[:CHUNK])
        await asyncio.Event().wait()

    async with peer(stuck) as address, serve_files(tmp_path, silence_seconds=0.3) as served:
        await served.call.stat(DATA)
        with pytest.raises(SourceUnavailable, match="silent for"):
            await served.call.fetch(DATA, worker_address=address)


async def test_wrong_bytes_of_another_worker_are_told_as_such(tmp_path: Path) -> None:
    async def wrong(_: pb.ReadFileRequest) -> AsyncIterator[bytes]:
        yield read_response(0, noise(CHUNK, seed=9))

    async with peer(wrong) as address, serve_files(tmp_path) as served:
        await served.call.stat(DATA)
        with pytest.raises(ChecksumMismatch):
            await served.call.fetch(DATA, worker_address=address)
        assert (await served.call.stat(DATA)).present_bytes == 0


@pytest.mark.parametrize("offset", [1, CHUNK * 100, CHUNK - 1])
async def test_pieces_that_were_not_asked_for_are_the_sources_fault(tmp_path: Path, offset: int) -> None:
    async def astray(_: pb.ReadFileRequest) -> AsyncIterator[bytes]:
        yield read_response(offset, b"xx")

    async with peer(astray) as address, serve_files(tmp_path) as served:
        await served.call.stat(DATA)
        with pytest.raises(SourceUnavailable):
            await served.call.fetch(DATA, worker_address=address)


async def test_a_worker_that_sends_nothing_at_all_is_no_endless_loop(tmp_path: Path) -> None:
    async def nothing(_: pb.ReadFileRequest) -> AsyncIterator[bytes]:
        return
        yield b""

    async with peer(nothing) as address, serve_files(tmp_path) as served:
        await served.call.stat(DATA)
        with pytest.raises(SourceUnavailable, match="did not send"):
            await served.call.fetch(DATA, worker_address=address)


async def test_a_file_comes_over_http_where_it_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asked: list[str] = []

    def noting(request: Asked) -> Answer:
        asked.append(request.headers["range"])
        assert request.target == "/bucket/a%20file?X-Signature=a%2Fb%3D"
        return ranges(request)

    async with site(noting) as root, serve_files(tmp_path) as served:
        await served.call.stat(DATA)
        await served.call.write(messages(DATA, [3]))
        await served.call.fetch(DATA, url=f"{root}/bucket/a%20file?X-Signature=a%2Fb%3D")
        assert asked == [f"bytes=0-{3 * CHUNK - 1}", f"bytes={4 * CHUNK}-{len(DATA) - 1}"]
        await require_whole(served)
    assert not [record for record in caplog.records if record.name == "httpx"]


async def test_a_site_without_ranges_serves_whole_files_only(tmp_path: Path) -> None:
    def whole(_: Asked) -> Answer:
        return Answer(DATA)

    async with site(whole) as root, serve_files(tmp_path) as served:
        await served.call.stat(DATA)
        await served.call.fetch(DATA, url=f"{root}/f")
        await require_whole(served)


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    def elsewhere(_: Asked) -> Answer:
        return Answer(status=HTTPStatus.FOUND, headers={"location": "/other"})

    async with site(elsewhere) as root, serve_files(tmp_path) as served:
        await served.call.stat(DATA)
        with pytest.raises(SourceUnavailable, match="answered 302"):
            await served.call.fetch(DATA, url=f"{root}/f")


async def test_a_site_that_breaks_off_leaves_what_came(tmp_path: Path) -> None:
    def breaking(_: Asked) -> Answer:
        headers = {"content-range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}
        return Answer(DATA, HTTPStatus.PARTIAL_CONTENT, headers, sent=4 * CHUNK + 5)

    async with site(breaking) as root, serve_files(tmp_path) as served:
        await served.call.stat(DATA)
        with pytest.raises(SourceUnavailable) as told:
            await served.call.fetch(DATA, url=f"{root}/f?secret=1")
        assert "secret" not in str(told.value)
        assert (await served.call.stat(DATA)).present_bytes == 4 * CHUNK
    async with site(ranges) as root, serve_files(tmp_path) as served:
        await served.call.stat(DATA)
        await served.call.fetch(DATA, url=f"{root}/f")
        await require_whole(served)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/x", "nonsense", "http://", "unix:/x"])
async def test_only_http_urls_are_fetched(tmp_path: Path, url: str) -> None:
    async with serve_files(tmp_path) as served:
        await served.call.stat(DATA)
        with pytest.raises(InvalidRequest):
            await served.call.fetch(DATA, url=url)
        with pytest.raises(InvalidRequest):
            await served.call.fetch(DATA)


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("169.254.169.254", True),
        ("::ffff:169.254.169.254", True),
        ("fe80::1%eth0", True),
        ("fd00:ec2::254", True),
        ("100.100.100.200", True),
        ("10.0.0.7", False),
        ("127.0.0.1", False),
        ("2001:db8::7", False),
    ],
)
def test_where_clouds_serve_credentials_is_known(address: str, refused: bool) -> None:
    assert is_metadata(address) == refused


async def test_nothing_is_said_to_an_address_at_which_clouds_serve_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def secrets(request: Asked) -> Answer:
        asked.append(request.target)
        return Answer(DATA)

    monkeypatch.setattr(http_source, "_METADATA", (ipaddress.ip_network("127.0.0.0/8"),))
    async with site(secrets) as root, serve_files(tmp_path) as served:
        await served.call.stat(DATA)
        with pytest.raises(SourceUnavailable, match="credentials"):
            await served.call.fetch(DATA, url=f"{root}/latest/meta-data")
    assert asked == []


async def test_what_was_not_prepared_is_not_fetched(tmp_path: Path) -> None:
    async with serve_files(tmp_path) as served:
        with pytest.raises(FileMissing):
            await served.call.fetch(DATA, worker_address=served.address)
