"""Scheduling policies: set, read, listed and deleted, and refused by the field that is wrong."""

from datetime import timedelta
from typing import Any

import pytest

from tests.router.fake_store import FakeStore
from tests.router.fakes import FakeBus
from weft_common.errors import InvalidRequest, PartUnavailable, PolicyNotFound
from weft_common.rpc import CallContext, call_scope
from weft_proto.weft.scheduling.v1 import (
    DeletePolicyRequest,
    GetPolicyRequest,
    ListLeasesRequest,
    ListPoliciesRequest,
    SetPolicyRequest,
)
from weft_proto.weft.types.v1 import Policy
from weft_router.fleet.fleet import Fleet
from weft_router.services.scheduling_service import SchedulingService
from weft_router.sync import FleetSync


class World:
    def __init__(self, store: FakeStore | None = None) -> None:
        self.store, self.fleet = store or FakeStore(), Fleet()
        self.sync = FleetSync(self.store, FakeBus(), self.fleet)  # type: ignore[arg-type]  # a fake bus
        self.service = SchedulingService(fleet=self.fleet, store=self.store, sync=self.sync)

    async def set(self, model: str = "m", **fields: Any) -> Policy:
        policy = (await self.service.set_policy(SetPolicyRequest(model_name=model, **fields))).policy
        assert policy is not None
        return policy

    async def get(self, model: str = "m") -> Policy | None:
        return (await self.service.get_policy(GetPolicyRequest(model_name=model))).policy


async def test_a_policy_is_kept_as_it_was_set() -> None:
    world = World()
    await world.set(node_selector={"gpu.vendor": "nvidia"}, min_replicas=2, max_replicas=4)
    assert await world.get() == Policy("m", {"gpu.vendor": "nvidia"}, 2, 4)
    assert world.fleet.snapshot().policy_of("m").min_replicas == 2


async def test_what_is_left_out_goes_back_to_its_default_but_for_how_requests_are_routed() -> None:
    world = World()
    await world.set(min_replicas=2, route_policy="prefix_cache", min_prefix_match=0.5)
    assert await world.set(max_replicas=3) == Policy(
        "m", {}, 0, 3, route_policy="prefix_cache", min_prefix_match=0.5
    )
    assert await world.set(route_policy="") == Policy("m", min_prefix_match=0.5)


async def test_the_model_need_not_be_there_yet() -> None:
    assert (await World().set("later")).model_name == "later"


async def test_policies_are_listed_by_model_a_page_at_a_time() -> None:
    world = World()
    for name in ("b", "c", "a"):
        await world.set(name)
    first = await world.service.list_policies(ListPoliciesRequest(page_size=2))
    rest = await world.service.list_policies(
        ListPoliciesRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [[p.model_name for p in answer.policies] for answer in (first, rest)] == [["a", "b"], ["c"]]
    assert rest.next_page_token == ""


async def test_without_policies_the_list_is_empty() -> None:
    world = World()
    await world.sync.refresh()
    assert (await world.service.list_policies(ListPoliciesRequest())).policies == []


async def test_a_deleted_policy_is_gone_and_the_answer_is_204() -> None:
    world = World()
    await world.set()
    with call_scope(CallContext()) as call:
        await world.service.delete_policy(DeletePolicyRequest(model_name="m"))
        assert call.take_initial() == (("x-weft-http-status", "204"),)
    with pytest.raises(PolicyNotFound, match="'m'"):
        await world.get()
    with pytest.raises(PolicyNotFound, match="'m'"):
        await world.service.delete_policy(DeletePolicyRequest(model_name="m"))


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"model": ""}, ["model_name"]),
        ({"min_replicas": 3, "max_replicas": 2}, ["min_replicas"]),
        ({"spread_all": True, "min_replicas": 1}, ["spread_all"]),
        ({"route_policy": "fastest", "min_prefix_match": 2.0}, ["route_policy", "min_prefix_match"]),
        (
            {"balance_abs_threshold": -1, "balance_rel_threshold": 0.5},
            ["balance_abs_threshold", "balance_rel_threshold"],
        ),
    ],
)
async def test_each_wrong_field_is_named_and_nothing_is_changed(
    fields: dict[str, Any], wrong: list[str]
) -> None:
    world = World()
    with pytest.raises(InvalidRequest) as refused:
        await world.set(**fields)
    assert [v.field for v in refused.value.violations] == wrong
    assert all(field in refused.value.message for field in wrong)
    assert world.store.policies == {}


async def test_a_router_that_knows_no_fleet_does_not_say_that_there_is_no_policy() -> None:
    with pytest.raises(PartUnavailable):
        await World().get()


async def test_a_policy_of_another_router_is_kept_in_mind() -> None:
    world = World()
    other = World(world.store)
    await world.set(route_policy="round_robin")
    assert await other.set(min_replicas=1) == Policy("m", min_replicas=1, route_policy="round_robin")


async def test_leases_are_listed_with_nobody_where_a_term_is_over() -> None:
    world = World()
    await world.store.leases.hold("reconciler", "router-0-ab", ttl=timedelta(seconds=60))
    await world.store.leases.hold("health", "router-0-ab", ttl=timedelta(0))
    answer = await world.service.list_leases(ListLeasesRequest())
    assert [(one.name, one.holder, one.epoch) for one in answer.leases] == [
        ("health", "", 1),
        ("reconciler", "router-0-ab", 1),
    ]
    assert answer.leases[0].remaining == timedelta(0)
    assert timedelta(seconds=50) < answer.leases[1].remaining <= timedelta(seconds=60)
