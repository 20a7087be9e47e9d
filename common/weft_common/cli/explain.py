"""`weft explain`: where a model would go and why not elsewhere, in a sentence and a table."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from weft_common.cli.client import CallFailed, Endpoint

_GIB = 1 << 30
_MIB = 1 << 20
_MOST_ROWS = 40
_FREE = "free bytes"


def run_explain(
    endpoint: Endpoint, model: str, *, replicas: int, without: Sequence[str], as_json: bool
) -> int:
    """Ask and say; return 0 if the model has its place."""
    body = {"model_name": model, "replica_count": replicas, "what_if": {"remove_nodes": list(without)}}
    try:
        answer: Any = endpoint.order("/api/nodes/explain", body)
    except CallFailed as error:
        print(f"weft: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(answer))
    else:
        _print(model, answer)
    return 0 if answer["fits"] else 1


def sentence(model: str, answer: Mapping[str, Any]) -> str:
    """The decision, or those of several replicas, in a sentence."""
    decisions = answer["decisions"]
    placed = [d for d in decisions if d["outcome"] in ("OUTCOME_PLACE", "OUTCOME_EVICT")]
    if len(decisions) == 1:
        return f"{model} {_said(model, decisions[0], answer['candidates'])}."
    places = ", ".join(f"{d['node']}{_evicting(d)}" for d in placed)
    if len(placed) == len(decisions):
        return f"{model} would be loaded {len(placed)} times: on {places}."
    return f"{model} would be loaded on {places}; one more {_said(model, decisions[-1], ())}."


def _said(model: str, decision: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> str:
    match decision["outcome"]:
        case "OUTCOME_SERVE":
            return f"is served on {_homes(model, candidates)}"
        case "OUTCOME_JOIN":
            return f"is being loaded on {_homes(model, candidates)}"
        case "OUTCOME_PLACE" | "OUTCOME_EVICT":
            return f"would be loaded on {decision['node']}{_evicting(decision)}"
        case "OUTCOME_WAIT":
            return f"would have to wait: {decision['reason']}"
    return f"has no place: {decision['reason'].rstrip('.')}"


def _homes(model: str, candidates: Sequence[Mapping[str, Any]]) -> str:
    """The nodes that have a replica of the model."""
    found = [c["node"] for c in candidates if any(_is_of(model, label) for label in c["replicas"])]
    return ", ".join(found) or "a node that is not looked at"


def _is_of(model: str, label: str) -> bool:
    return label.rpartition("#")[0] == model


def _evicting(decision: Mapping[str, Any]) -> str:
    victims = ", ".join(f"{r['model']}#{r['index']}" for r in decision["replicas"])
    return f" in place of {victims}" if victims else ""


def _print(model: str, answer: Mapping[str, Any]) -> None:
    # Imported late: a script that asks for JSON does not wait for it.
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    console.print(escape(sentence(model, answer)), soft_wrap=True)
    need = int(answer["need_bytes"])
    console.print(f"A replica is taken to need {_size(need)}." if need else "Nobody knows yet what it needs.")
    for said in answer.get("warmth", ()):
        console.print(escape(f"{said[0].upper()}{said[1:]}."), soft_wrap=True)
    candidates = answer["candidates"]
    if not candidates:
        return
    table = Table("node", "", "free", "what runs there", box=None)
    chosen = answer["decisions"][0]["node"]
    for candidate in candidates[:_MOST_ROWS]:
        table.add_row(*map(escape, _row(candidate, chosen, answer["rank_names"])))
    console.print()
    console.print(table)
    if len(candidates) > _MOST_ROWS:
        console.print(f"and {len(candidates) - _MOST_ROWS} more; --json tells of all")


def _row(candidate: Mapping[str, Any], chosen: str, rank_names: Sequence[str]) -> tuple[str, str, str, str]:
    verdict = candidate["reason"] or ("chosen" if candidate["node"] == chosen else "comes into question")
    ranks = dict(zip(rank_names, candidate["ranks"], strict=False))
    free = _size(-ranks[_FREE]) if _FREE in ranks else ""
    there = ", ".join(f"{label} ({why})" for label, why in sorted(candidate["replicas"].items()))
    return candidate["node"], verdict, free, there


def _size(size: float) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.0f} MiB"
