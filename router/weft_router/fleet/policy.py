"""How many replicas a model shall have, where, and how requests are spread over them; as an admin says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from math import inf

from weft_router.fleet.text import text_problem
from weft_router.fleet.windows import WarmWindow, window_problems

_YEAR_SECONDS = 366 * 86400.0


class RoutePolicy(StrEnum):
    """How a replica is chosen; INHERIT takes the setting of the whole fleet."""

    INHERIT = ""
    ROUND_ROBIN = "round_robin"
    PREFIX_CACHE = "prefix_cache"


@dataclass(frozen=True, slots=True)
class Policy:
    """A model's scheduling policy; the default one says nothing.

    `min_replicas` 0 is no minimum and `max_replicas` 0 no maximum. Thresholds of 0 inherit the setting of the fleet,
    and so do None of `keep_alive_seconds` (infinite: for ever) and of `prewarm`.
    """

    model: str
    node_selector: Mapping[str, str] = field(default_factory=dict)
    min_replicas: int = 0
    max_replicas: int = 0
    spread_all: bool = False
    route_policy: RoutePolicy = RoutePolicy.INHERIT
    balance_abs_threshold: int = 0
    balance_rel_threshold: float = 0.0
    min_prefix_match: float = 0.0
    keep_alive_seconds: float | None = None
    warm_windows: tuple[WarmWindow, ...] = ()
    prewarm: bool | None = None

    @property
    def scales(self) -> bool:
        """Whether replicas come and go by themselves; those that a window brought must go after it."""
        return self.min_replicas > 0 or self.max_replicas > 0 or bool(self.warm_windows)


@dataclass(frozen=True, slots=True)
class PolicyEdit:
    """What an admin sent; what is None was left out."""

    model: str = ""
    node_selector: Mapping[str, str] | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    spread_all: bool | None = None
    route_policy: str | None = None
    balance_abs_threshold: int | None = None
    balance_rel_threshold: float | None = None
    min_prefix_match: float | None = None
    keep_alive_seconds: float | None = None
    warm_windows: tuple[WarmWindow, ...] | None = None
    prewarm: bool | None = None


@dataclass(frozen=True, slots=True)
class Violation:
    """A field that cannot be as it is, and what would be right."""

    field: str
    problem: str


# What an edit that leaves them out does not touch; everything else goes back to its default, as LocalAI has it.
_PRESERVED = ("route_policy", "balance_abs_threshold", "balance_rel_threshold", "min_prefix_match")


def violations(edit: PolicyEdit) -> tuple[Violation, ...]:
    """Everything that is wrong with an edit; nothing if it may be applied."""
    least, most = edit.min_replicas or 0, edit.max_replicas or 0
    relative, share = edit.balance_rel_threshold or 0.0, edit.min_prefix_match or 0.0
    found = {
        "model_name": text_problem(edit.model),
        "node_selector": _selector_problem(edit.node_selector or {}),
        "min_replicas": _minimum_problem(least, most),
        "max_replicas": "0 or more is needed" if most < 0 else "",
        "spread_all": _spread_problem(edit, least, most) if edit.spread_all else "",
        "route_policy": _route_problem(edit.route_policy or ""),
        "balance_abs_threshold": "0 or more is needed" if (edit.balance_abs_threshold or 0) < 0 else "",
        "balance_rel_threshold": ""
        if relative == 0 or 1 <= relative < inf
        else "0, or 1 and more, is needed",
        "min_prefix_match": "" if 0 <= share <= 1 else "0 to 1 is needed",
        "keep_alive": _keep_alive_problem(edit.keep_alive_seconds or 0.0),
        **dict(window_problems(edit.warm_windows or (), most)),
    }
    return tuple(Violation(name, problem) for name, problem in found.items() if problem)


def edited(known: Policy | None, edit: PolicyEdit) -> Policy:
    """The policy after an edit without violations."""
    kept = known or Policy(edit.model)
    given = {f.name: v for f in fields(edit) if (v := getattr(edit, f.name)) is not None}
    if "route_policy" in given:
        given["route_policy"] = RoutePolicy(given["route_policy"])
    return replace(Policy(edit.model), **{name: getattr(kept, name) for name in _PRESERVED} | given)


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a node's labels have everything that the selector asks for."""
    return selector.items() <= labels.items()


def _selector_problem(selector: Mapping[str, str]) -> str:
    problems = [text_problem(name) or text_problem(value, least=0) for name, value in selector.items()]
    return next((f"in a label, {problem}" for problem in problems if problem), "")


def _minimum_problem(least: int, most: int) -> str:
    if least < 0:
        return "0 or more is needed"
    return f"{least} is more than max_replicas {most}" if 0 < most < least else ""


def _spread_problem(edit: PolicyEdit, least: int, most: int) -> str:
    if least or most:
        return "cannot be combined with min_replicas or max_replicas"
    if edit.warm_windows or edit.prewarm or edit.keep_alive_seconds is not None:
        return "cannot be combined with keep_alive, warm_windows or prewarm: its replicas always stay"
    return ""


def _keep_alive_problem(seconds: float) -> str:
    return (
        "" if seconds == inf or 0 <= seconds <= _YEAR_SECONDS else "at most a year, or less than 0, is needed"
    )


def _route_problem(value: str) -> str:
    known = [p.value for p in RoutePolicy]
    return "" if value in known else f"one of {', '.join(repr(k) for k in known)} is needed"
