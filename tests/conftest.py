"""What the whole suite says at its end: the seed of the fresh worlds of tests/sim, which replays them."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seed wherever the tests ran: here or in a process of xdist."""
    reports = (r for key in ("passed", "failed") for r in terminalreporter.stats.get(key, ()))
    seeds = {value for r in reports for name, value in r.user_properties if name == "SIM_SEED"}
    for seed in sorted(seeds):
        terminalreporter.write_line(f"fresh worlds of tests/sim: SIM_SEED={seed}")
