"""The order of the whole suite, and what it says at its end: the seeds of what was drawn afresh, which repeat it."""

import pytest

from tests.order import order

_DRAWN = {"SIM_SEED": "fresh worlds of tests/sim", "FUZZ_SEED": "wrong bodies of tests/fuzz"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    order(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seed wherever the tests ran: here or in a process of xdist."""
    reports = (r for key in ("passed", "failed") for r in terminalreporter.stats.get(key, ()))
    told = {(name, value) for report in reports for name, value in report.user_properties}
    for name, what in _DRAWN.items():
        for seed in sorted(value for drawn, value in told if drawn == name):
            terminalreporter.write_line(f"{what}: {name}={seed}")
