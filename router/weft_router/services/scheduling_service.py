"""Scheduling policies at an admin's word."""

from datetime import timedelta

from weft_common.errors import FieldViolation, InvalidRequest, PolicyNotFound
from weft_common.rpc import current_call
from weft_proto.weft.scheduling.v1 import (
    DeletePolicyRequest,
    DeletePolicyResponse,
    GetPolicyRequest,
    GetPolicyResponse,
    Lease,
    ListLeasesRequest,
    ListLeasesResponse,
    ListPoliciesRequest,
    ListPoliciesResponse,
    SchedulingServiceBase,
    SetPolicyRequest,
    SetPolicyResponse,
)
from weft_router import convert
from weft_router.convert_warmth import keep_alive, window
from weft_router.fleet.fleet import Fleet
from weft_router.fleet.lease import LeaseRow
from weft_router.fleet.policy import Policy, PolicyEdit, edited, violations
from weft_router.paging import page
from weft_router.store.protocol import Store
from weft_router.sync import FleetSync


class SchedulingService(SchedulingServiceBase):
    """weft.scheduling.v1.SchedulingService, but for ExplainPlacement, whose answer grows with the fleet."""

    def __init__(self, *, fleet: Fleet, store: Store, sync: FleetSync) -> None:
        self._fleet = fleet
        self._store = store
        self._sync = sync

    async def list_policies(self, message: ListPoliciesRequest) -> ListPoliciesResponse:
        self._sync.require_known()
        found, token = page(
            self._fleet.policies.values(),
            size=message.page_size,
            token=message.page_token,
            key=lambda policy: policy.model,
        )
        return ListPoliciesResponse(
            policies=[convert.policy_message(p) for p in found], next_page_token=token
        )

    async def get_policy(self, message: GetPolicyRequest) -> GetPolicyResponse:
        self._sync.require_known()
        return GetPolicyResponse(policy=convert.policy_message(self._policy(message.model_name)))

    async def set_policy(self, message: SetPolicyRequest) -> SetPolicyResponse:
        edit = _edit(message)
        _require_possible(edit)
        await self._sync.refresh()
        policy = edited(self._fleet.policies.get(edit.model), edit)
        await self._store.put_policy(policy)
        await self._sync.after_write()
        return SetPolicyResponse(policy=convert.policy_message(policy))

    async def delete_policy(self, message: DeletePolicyRequest) -> DeletePolicyResponse:
        await self._sync.refresh()
        await self._store.remove_policy(self._policy(message.model_name).model)
        await self._sync.after_write()
        current_call().set_initial_metadata([("x-weft-http-status", "204")])
        return DeletePolicyResponse()

    async def list_leases(self, message: ListLeasesRequest) -> ListLeasesResponse:
        return ListLeasesResponse(leases=[_lease(row) for row in await self._store.leases.read()])

    def _policy(self, model: str) -> Policy:
        policy = self._fleet.policies.get(model)
        if policy is None:
            raise PolicyNotFound(f"The model '{model}' has no scheduling policy.")
        return policy


def _lease(row: LeaseRow) -> Lease:
    return Lease(
        name=row.name,
        holder=row.holder if row.remaining_seconds > 0 else "",
        epoch=row.epoch,
        remaining=timedelta(seconds=row.remaining_seconds),
        refused_count=row.refused_count,
    )


def _edit(message: SetPolicyRequest) -> PolicyEdit:
    return PolicyEdit(
        model=message.model_name,
        node_selector=message.node_selector,
        min_replicas=message.min_replicas,
        max_replicas=message.max_replicas,
        spread_all=message.spread_all,
        route_policy=message.route_policy,
        balance_abs_threshold=message.balance_abs_threshold,
        balance_rel_threshold=message.balance_rel_threshold,
        min_prefix_match=message.min_prefix_match,
        keep_alive_seconds=keep_alive(message.keep_alive),
        warm_windows=tuple(window(each) for each in message.warm_windows),
        prewarm=message.prewarm,
    )


def _require_possible(edit: PolicyEdit) -> None:
    found = [FieldViolation(v.field, v.problem) for v in violations(edit)]
    if found:
        said = "; ".join(f"{v.field}: {v.description}" for v in found)
        raise InvalidRequest(said, violations=found)
