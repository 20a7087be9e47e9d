"""A PostgreSQL and a NATS outside of `weft up`, each behind a link that can be cut."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.faults.links import Link

_END_SECONDS = 15.0


@dataclass(frozen=True)
class Stores:
    """The two links, and what `weft up` is told of them."""

    postgres: Link
    nats: Link
    environment: dict[str, str]


@contextlib.contextmanager
def running_stores(folder: Path) -> Iterator[Stores]:
    """Run both beside the block, with their data in `folder`; nothing is left of it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.run_stores", str(folder)],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        urls = json.loads(process.stdout.readline() or "{}")
        with _link(urls["postgres"]) as postgres, _link(urls["nats"]) as nats:
            environment = {
                "WEFT_POSTGRES_URL": _through(urls["postgres"], postgres),
                "WEFT_NATS_URL": _through(urls["nats"], nats),
            }
            yield Stores(postgres, nats, environment)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(_END_SECONDS)


def _link(url: str) -> Link:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Link(parts.hostname, parts.port)


def _through(url: str, link: Link) -> str:
    return url.replace(f":{urlsplit(url).port}", f":{link.port}")
