"""Which files begin first: those that take longest, so that no worker is left with one of them at the end."""

from collections import Counter
from pathlib import Path

import pytest

_TESTS = Path(__file__).parent
# What files take on two cores beside others, in seconds, if that is much.
_SECONDS = {
    "e2e/test_staging_faults.py": 115,
    "e2e/test_routers.py": 95,
    "e2e/test_conditions.py": 75,
    "e2e/test_leaders.py": 65,
    "e2e/test_waiting.py": 60,
    "e2e/test_mute.py": 55,
    "e2e/test_cycles.py": 50,
    "fuzz/test_fuzz.py": 60,
    "e2e/sdk/test_calls.py": 45,
    "e2e/test_healing.py": 50,
    "e2e/test_planner.py": 50,
    "e2e/test_staging_modes.py": 35,
    "e2e/test_adoption.py": 45,
    "e2e/test_outages.py": 45,
    "e2e/test_shutdown.py": 45,
    "e2e/test_failover.py": 40,
    "e2e/test_nodes.py": 40,
    "e2e/test_warmth.py": 40,
    "e2e/test_crashes.py": 30,
    "e2e/test_events.py": 30,
    "e2e/test_devices.py": 25,
    "e2e/test_spreading.py": 25,
    "e2e/test_staging.py": 35,
    "e2e/test_staging_storage.py": 25,
    "e2e/test_unload.py": 25,
    "e2e/test_faults.py": 20,
    "e2e/test_two_workers.py": 20,
    "common/rpc/test_keepalive.py": 40,
    "worker/agent/test_adoption.py": 25,
    "worker/backend/test_lifecycle.py": 25,
    "router/store/test_outages.py": 20,
    "worker/agent/test_hung_disk.py": 15,
    "common/embedded/test_postgres.py": 15,
    "sim/test_large_worlds.py": 15,
    "worker/engines/llamacpp/test_engine.py": 15,
    "worker/agent/test_stored_files.py": 15,
    "sim/test_fresh_worlds.py": 10,
    "sim/test_small_worlds.py": 10,
    "worker/backend/test_slow_clients.py": 10,
    "worker/agent/test_readiness.py": 10,
    "worker/agent/test_real_backend.py": 10,
}
# Of a test in any other file, by folder.
_SECONDS_OF_ONE = {"e2e": 1.0}
_SECONDS_OF_ANY = 0.05


def order(items: list[pytest.Item]) -> None:
    """Sort tests; those of one file stay together and in their order."""
    counts = Counter(item.path for item in items)

    def key(item: pytest.Item) -> tuple[float, Path]:
        path = item.path.relative_to(_TESTS)
        guess = counts[item.path] * _SECONDS_OF_ONE.get(path.parts[0], _SECONDS_OF_ANY)
        return -_SECONDS.get(str(path), guess), path

    items.sort(key=key)
