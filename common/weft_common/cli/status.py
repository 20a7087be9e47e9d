"""`weft status`: what runs with this WEFT_HOME, from the records that it left there."""

import json
from pathlib import Path

from weft_common.cli.records import Record, agent_records, part_records, replica_records
from weft_common.cli.up_options import LOOPBACK, UpOptions, metrics_port_of
from weft_common.home import Home, read_object
from weft_common.part import PartState
from weft_common.run_lock import Owner, read_owner

_NOT_RUNNING = 3
_ORDER = ("postgres", "nats", "envoy", "router", "gateway", "worker", "replica")


def run_status(root: Path, *, as_json: bool) -> int:
    """Print the parts; return 0 if this home serves."""
    home = Home(root.expanduser().absolute())
    owner = read_owner(home.lock)
    records = merged(home)
    if as_json:
        print(json.dumps(document(home, owner, records)))
    else:
        _print_table(_url(owner), records)
    return 0 if is_up(owner, records) else _NOT_RUNNING


def is_up(owner: Owner | None, records: tuple[Record, ...]) -> bool:
    """Say whether this machine does its work: it serves, or where only workers run, one of them is ready."""
    if owner is not None and owner.running:
        return owner.serving
    return any(record.running and record.state is PartState.READY for record in records)


def merged(home: Home) -> tuple[Record, ...]:
    """Return one record for each name; where two files speak of one name, the one whose process runs."""
    found: dict[str, Record] = {}
    for record in (*part_records(home), *agent_records(home), *replica_records(home)):
        if record.name not in found or record.running:
            found[record.name] = record
    return tuple(sorted(found.values(), key=_place)) or _never_started(home)


def document(home: Home, owner: Owner | None, records: tuple[Record, ...]) -> dict[str, object]:
    """Return what scripts may rely on; its keys and states are a promise."""
    metrics = _metrics(home, records)
    return {
        "url": _url(owner),
        "key_file": str(home.key),
        "join_token_file": str(home.join_token),
        "parts": [_described(record) for record in records],
    } | ({"metrics": metrics} if metrics else {})


def _metrics(home: Home, records: tuple[Record, ...]) -> dict[str, str]:
    """Return where running parts tell their metrics, as Prometheus reads them."""
    ports = read_object(home.ports)
    return {
        record.name: f"http://{LOOPBACK}:{port}/metrics"
        for record in records
        if record.running and (port := ports.get(metrics_port_of(record.name)))
    }


def _described(record: Record) -> dict[str, object]:
    """Return a part; what is wrong with one is told of those only with which something is."""
    part: dict[str, object] = {
        "name": record.name,
        "pid": record.pid if record.running else None,
        "state": record.state if record.running else PartState.STOPPED,
        "address": record.address,
    }
    return part | ({"problem": record.problem} if record.running and record.problem else {})


def _place(record: Record) -> tuple[int, str]:
    """Return what sorts records from the stores up to the replicas."""
    kind = record.name.split("-")[0].split(":")[0]
    return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), record.name)


def _url(owner: Owner | None) -> str:
    return UpOptions().url if owner is None else owner.url


def _never_started(home: Home) -> tuple[Record, ...]:
    options = UpOptions()
    names = ("postgres", "nats", "envoy", *options.router_names, *options.gateway_names)
    names = (*names, f"worker-{options.node_name}")
    return tuple(
        Record(name, PartState.STOPPED, "", None, None, home.parts / f"{name}.json") for name in names
    )


def _print_table(url: str, records: tuple[Record, ...]) -> None:
    # Imported late: a script that asks for JSON does not wait for it.
    from rich.console import Console
    from rich.table import Table

    colours = {PartState.READY: "green", PartState.STARTING: "yellow", PartState.STOPPED: "red"}
    table = Table("part", "state", "pid", "address", title=url, title_justify="left", box=None)
    for record in records:
        state = record.state if record.running else PartState.STOPPED
        pid = str(record.pid) if record.running else ""
        problem = f" [red]{record.problem}[/]" if record.running and record.problem else ""
        table.add_row(record.name, f"[{colours[state]}]{state}[/]{problem}", pid, record.address)
    Console(highlight=False).print(table)
