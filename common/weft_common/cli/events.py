"""`weft events`: what happened and why, the latest of it or as it happens."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import typer
from google.protobuf.json_format import MessageToDict
from pydantic import TypeAdapter
from rich.console import Console
from rich.text import Text

from weft_common.cli.client import CallFailed, Endpoint
from weft_common.cli.grpc_web import StreamBroke, server_stream
from weft_common.clock import Clock, SystemClock
from weft_common.duration import Duration
from weft_proto.pb.weft.admin.v1.event_service_pb2 import WatchEventsRequest, WatchEventsResponse
from weft_proto.pb.weft.types.v1.event_pb2 import EventKind

_PATH = "/api/events"
_WATCH = "/weft.admin.v1.EventService/WatchEvents"
_PREFIX = "EVENT_KIND_"
_KINDS = tuple(name.removeprefix(_PREFIX).lower() for name, value in EventKind.items() if value)
_DURATION = TypeAdapter(Duration)
_COLOURS = {"refusal": "yellow", "eviction": "yellow", "scaling": "cyan", "leader": "magenta"}
_BAD = ("failed", "lost", "gone", "dead", "hung", "died", "gave_up", "refused")
_RETRY_SECONDS = (0.1, 0.3, 1.0, 2.0)
_MARGIN_SECONDS = 1.0
# Ids, for whoever asks for JSON.
_UNTOLD = ("load", "for_replica")

Event = Mapping[str, Any]
Show = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Question:
    """Which events are asked for."""

    kinds: Sequence[str] = ()
    model: str = ""
    node: str = ""
    since: timedelta | None = None
    count: int = 50

    def kind_names(self) -> list[str]:
        """Kinds as the API calls them."""
        return [f"{_PREFIX}{kind.upper()}" for kind in self.kinds]


def question_of(
    kinds: str | None, model: str | None, node: str | None, since: str | None, count: int
) -> Question:
    """What was typed; raises BadParameter where that cannot be."""
    wanted = [kind.strip().lower() for kind in kinds.split(",")] if kinds else []
    unknown = [kind for kind in wanted if kind not in _KINDS]
    if unknown:
        raise typer.BadParameter(f"there is no kind '{unknown[0]}'; there are {', '.join(_KINDS)}")
    try:
        age = _DURATION.validate_python(since) if since else None
    except ValueError as error:
        raise typer.BadParameter(f"--since: '{since}' is no duration such as 90s, 1h or 2d") from error
    return Question(wanted, model or "", node or "", age, count)


def run_events(endpoint: Endpoint, question: Question, *, follow: bool, as_json: bool) -> int:
    """Print events; returns the exit code."""
    show = _show_json if as_json else _shower(Console(highlight=False, soft_wrap=True))
    clock = SystemClock()
    began = clock.monotonic()
    try:
        latest = _latest(endpoint, question) if question.count else []
        for event in latest:
            show(event)
        if follow:
            last = int(latest[-1]["sequence"]) if latest else 0
            _follow(endpoint, question, show, last=last, began=began, clock=clock)
    except CallFailed as error:
        print(f"weft: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    if not latest and not as_json:
        print("Nothing of that kind has happened.")
    return 0


def _latest(endpoint: Endpoint, question: Question) -> Sequence[Event]:
    fields = [
        ("page_size", str(question.count)),
        ("filter.model", question.model),
        ("filter.node", question.node),
        *(("filter.kinds", name) for name in question.kind_names()),
    ]
    if question.since is not None:
        fields.append(("max_age", f"{question.since.total_seconds():.3f}s"))
    answer: Any = endpoint.call("GET", f"{_PATH}?{urlencode([f for f in fields if f[1]])}")
    found: Sequence[Event] = answer["events"]
    return found


def _follow(
    endpoint: Endpoint, question: Question, show: Show, *, last: int, began: float, clock: Clock
) -> None:
    """Show what happens after sequence `last`, for ever, also over the end of whoever tells it."""
    failures = 0
    while True:
        request = WatchEventsRequest(after_sequence=last)
        request.filter.kinds.extend(question.kind_names())  # type: ignore[arg-type]  # names are taken, too
        request.filter.model, request.filter.node = question.model, question.node
        if not last:
            # Nothing is known to go on from, so that the moment at which this began has to do.
            margin = _MARGIN_SECONDS if question.count else 0.0
            request.max_age.FromNanoseconds(int((clock.monotonic() - began + margin) * 1e9))
        try:
            for raw in server_stream(endpoint, _WATCH, request.SerializeToString()):
                event = WatchEventsResponse.FromString(raw).event
                show(_as_json(event))
                last, failures = event.sequence, 0
        except StreamBroke as error:
            if (
                failures == 1
            ):  # the first time says nothing yet: a router that is restarted is back in a moment
                print(f"weft: {error}; trying again", file=sys.stderr)
        time.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
        failures += 1


def _as_json(event: Any) -> Event:
    """The event as Envoy's transcoder tells it."""
    return MessageToDict(event, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _show_json(event: Event) -> None:
    print(json.dumps(event), flush=True)


def _shower(console: Console) -> Show:
    def show(event: Event) -> None:
        kind = str(event["kind"]).removeprefix(_PREFIX).lower()
        line = Text(f"{_moment(event['time'])}  ")
        line.append(f"{kind:<9}", style=_COLOURS.get(kind, ""))
        what = str(event["what"])
        asked_for = event["details"].get("state") == "unloading"
        line.append(f"{what:<16}  ", style="red" if what.endswith(_BAD) and not asked_for else "bold")
        if about := _about(event):
            line.append(f"{about}: ", style="bold")
        line.append(str(event["why"]).replace("\n", " "))
        if details := _details(event["details"]):
            line.append(f"  {details}", style="dim")
        console.print(line)

    return show


def _about(event: Event) -> str:
    return " on ".join(word for word in (event["model"], event["node"]) if word)


def _details(details: Mapping[str, str]) -> str:
    return " ".join(f"{k}={v}" for k, v in sorted(details.items()) if v and k not in _UNTOLD)


def _moment(told: str) -> str:
    """The local time, with the day where it is not today."""
    moment = datetime.fromisoformat(told).astimezone()
    today = datetime.now(moment.tzinfo).date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%Y-%m-%d %H:%M:%S")
