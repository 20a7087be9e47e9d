"""`weft leases`: which router leads in what, and what came too late from one that led before."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from weft_common.cli.client import CallFailed, Endpoint


def run_leases(endpoint: Endpoint, *, as_json: bool) -> int:
    """Ask and print; return the exit code."""
    try:
        answer: Any = endpoint.call("GET", "/api/leases")
    except CallFailed as error:
        print(f"weft: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(answer))
    else:
        _print(answer["leases"])
    return 0


def _print(leases: Sequence[Mapping[str, Any]]) -> None:
    # Imported late: a script that asks for JSON does not wait for it.
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("lease", "leader", "epoch", "remaining", "refused", box=None)
    for lease in leases:
        cells = (
            lease["name"],
            lease["holder"] or "nobody",
            lease["epoch"],
            f"{float(lease['remaining'].rstrip('s')):.1f} s",
            lease["refused_count"],
        )
        table.add_row(*(escape(str(cell)) for cell in cells))
    Console(highlight=False).print(table if leases else "No router has led yet.")
