"""Metrics of one process, in Prometheus' text at http://HOST:PORT/metrics.

Labels are of bounded number: models and reasons, never principals or requests.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

# From a request that found a slot at once to the longest wait that is sensible, in seconds.
WAIT_BUCKETS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

_log = logging.getLogger(__name__)


def new_registry() -> CollectorRegistry:
    """A registry of this process alone, with its memory, processor time and file descriptors."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


@asynccontextmanager
async def serving_metrics(listen: str, registry: CollectorRegistry) -> AsyncIterator[str]:
    """Serve beside the body on `host:port` (0 draws a port), and give the address; an empty `listen` serves nothing.

    A thread of its own answers, so that a busy loop can still be looked at.
    """
    if not listen:
        yield ""
        return
    host, _, port = listen.rpartition(":")
    server, thread = start_http_server(int(port), host.strip("[]"), registry)
    address = f"{host}:{server.server_port}"
    _log.info("metrics_served", extra={"address": address})
    try:
        yield address
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
