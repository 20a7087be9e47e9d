"""Metrics: told where one asks for them, and nowhere else."""

import asyncio
import urllib.request

from prometheus_client import Counter

from weft_common.metrics import new_registry, serving_metrics


def read(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


async def test_they_are_told_in_prometheus_text() -> None:
    registry = new_registry()
    Counter("weft_things", "Things.", registry=registry).inc(3)
    async with serving_metrics("127.0.0.1:0", registry) as address:
        text = await asyncio.to_thread(read, address)
    assert "weft_things_total 3.0" in text
    assert "process_resident_memory_bytes" in text


async def test_without_an_address_nothing_is_served() -> None:
    async with serving_metrics("", new_registry()) as address:
        assert address == ""
