"""`weft load` and `weft unload`: replicas at a person's word."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from weft_common.cli.client import CallFailed, Endpoint


def run_load(endpoint: Endpoint, model: str, node: str | None, *, as_json: bool) -> int:
    """Load one more replica and say where it is; return the exit code."""
    outcome = _ordered(endpoint, "/api/nodes/models/load", {"model_name": model, **_on(node)})
    if outcome is None:
        return 1
    replica: Any = outcome["replica"]
    text = f"{replica['model']} is ready at {replica['address']} (replica {replica['id']})"
    _print(outcome, text, as_json=as_json)
    return 0


def run_unload(endpoint: Endpoint, model: str, node: str | None, *, force: bool, as_json: bool) -> int:
    """Unload replicas and say how many; return the exit code."""
    order = {"model_name": model, "force": force, **_on(node)}
    outcome = _ordered(endpoint, "/api/nodes/models/unload", order)
    if outcome is None:
        return 1
    replicas: Any = outcome["replicas"]
    _print(outcome, f"{len(replicas)} replica(s) of {model} are being unloaded", as_json=as_json)
    return 0


def _on(node: str | None) -> Mapping[str, str]:
    return {} if node is None else {"node": node}


def _ordered(endpoint: Endpoint, path: str, order: Mapping[str, object]) -> Mapping[str, object] | None:
    try:
        return endpoint.order(path, order)
    except CallFailed as error:
        print(f"weft: {error}", file=sys.stderr)
        return None


def _print(outcome: Mapping[str, object], text: str, *, as_json: bool) -> None:
    print(json.dumps(outcome) if as_json else text)
