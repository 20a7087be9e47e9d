"""`weft queues`: which models requests wait for, and whose they are."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from weft_common.cli.client import CallFailed, Endpoint


def run_queues(endpoint: Endpoint, *, as_json: bool) -> int:
    """Ask and print; return the exit code."""
    try:
        answer: Any = endpoint.call("GET", "/api/queues")
    except CallFailed as error:
        print(f"weft: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(answer))
    else:
        _print(answer["queues"])
    return 0


def _print(queues: Sequence[Mapping[str, Any]]) -> None:
    # Imported late: a script that asks for JSON does not wait for it.
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("model", "principal", "waiting", "longest", "slots", "held for", box=None)
    for queue in queues:
        held = f"{_seconds(queue['service_time']):.1f} s" if queue.get("service_time") else ""
        table.add_row(
            escape(queue["model"]), "all", str(queue["waiting_count"]), "", str(queue["slot_count"]), held
        )
        for line in queue["principals"]:
            longest = f"{_seconds(line['longest']):.1f} s"
            table.add_row("", escape(line["principal"]), str(line["waiting_count"]), longest)
    Console(highlight=False).print(table if queues else "Nobody waits.")


def _seconds(duration: str) -> float:
    return float(duration.rstrip("s"))
