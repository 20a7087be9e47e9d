"""Policies: what is refused, what an edit leaves alone, what a selector matches."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft_router.fleet.policy import Policy, PolicyEdit, RoutePolicy, edited, matches, violations
from weft_router.fleet.windows import WarmWindow


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": ""}, "model_name"),
        ({"model": "a\0b"}, "model_name"),
        ({"model": "a" * 256}, "model_name"),
        ({"node_selector": {"zone": "e\0u"}}, "node_selector"),
        ({"min_replicas": 3, "max_replicas": 2}, "min_replicas"),
        ({"min_replicas": -1}, "min_replicas"),
        ({"max_replicas": -1}, "max_replicas"),
        ({"spread_all": True, "min_replicas": 1}, "spread_all"),
        ({"spread_all": True, "max_replicas": 1}, "spread_all"),
        ({"spread_all": True, "keep_alive_seconds": 0.0}, "spread_all"),
        ({"spread_all": True, "prewarm": True}, "spread_all"),
        ({"spread_all": True, "warm_windows": (WarmWindow("* * * * *", 60),)}, "spread_all"),
        ({"keep_alive_seconds": 367 * 86400.0}, "keep_alive"),
        (
            {"max_replicas": 2, "warm_windows": (WarmWindow("* * * * *", 60, 3),)},
            "warm_windows.0.min_replicas",
        ),
        ({"route_policy": "fastest"}, "route_policy"),
        ({"min_prefix_match": 1.1}, "min_prefix_match"),
        ({"min_prefix_match": -0.1}, "min_prefix_match"),
        ({"min_prefix_match": float("nan")}, "min_prefix_match"),
        ({"balance_abs_threshold": -1}, "balance_abs_threshold"),
        ({"balance_rel_threshold": 0.5}, "balance_rel_threshold"),
        ({"balance_rel_threshold": float("inf")}, "balance_rel_threshold"),
        ({"balance_rel_threshold": float("nan")}, "balance_rel_threshold"),
        ({"balance_rel_threshold": -2.0}, "balance_rel_threshold"),
        ({"node_selector": {"": "x"}}, "node_selector"),
    ],
)
def test_what_cannot_be_is_refused_by_field(fields: dict[str, Any], field: str) -> None:
    assert [v.field for v in violations(PolicyEdit(**({"model": "m"} | fields)))] == [field]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"min_replicas": 2},
        {"min_replicas": 2, "max_replicas": 2},
        {"max_replicas": 1},
        {"spread_all": True, "node_selector": {"zone": "eu"}},
        {"route_policy": "prefix_cache", "balance_rel_threshold": 1.0, "min_prefix_match": 1.0},
    ],
)
def test_every_part_is_optional_and_parts_compose(fields: dict[str, Any]) -> None:
    assert violations(PolicyEdit("m", **fields)) == ()


def test_an_edit_keeps_how_requests_are_routed_unless_it_says_so() -> None:
    known = Policy("m", {"a": "b"}, 1, 2, False, RoutePolicy.PREFIX_CACHE, 3, 1.5, 0.4)
    after = edited(known, PolicyEdit("m", min_replicas=4))
    assert after == Policy("m", {}, 4, 0, False, RoutePolicy.PREFIX_CACHE, 3, 1.5, 0.4)
    assert edited(after, PolicyEdit("m", route_policy="round_robin")).route_policy is RoutePolicy.ROUND_ROBIN


def test_only_a_minimum_or_a_maximum_makes_replicas_come_and_go() -> None:
    assert not Policy("m", {"a": "b"}, spread_all=True).scales
    assert Policy("m", min_replicas=1).scales
    assert Policy("m", max_replicas=1).scales


@given(st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.text()))
def test_a_selector_matches_what_has_all_of_it(selector: dict[str, str], labels: dict[str, str]) -> None:
    assert matches(selector, labels | selector)
    assert matches(selector, labels) == (selector.items() <= labels.items())
