"""Worlds of a few machines and models, in which one thing happens that an issue asks to be shown."""

from dataclasses import replace

import pytest

from tests.router.builders import a_model
from tests.sim.ledger import Broken
from tests.sim.population import GIB, MachinePlan, Population
from tests.sim.process import Ask, Outcome
from tests.sim.shape import Shape
from tests.sim.world import World
from weft_router.fleet.entities import Device, ReplicaState
from weft_router.fleet.policy import Policy
from weft_router.placement.rules import EvictionRules


def a_world(machine_gib: list[int], model_gib: list[int], **policy: int) -> World:
    """Machines of one device each, and models m0, m1, ... of those sizes; nothing fails by itself."""
    machines = (
        MachinePlan(f"node-{i}", (device,), {"number": str(i)}, 1, True, ("llama-cpp",))
        for i, device in enumerate(Device("g0", "GPU", "nvidia", n * GIB, n * GIB) for n in machine_gib)
    )
    models = tuple(a_model(f"m{i}", size_bytes=gib * GIB, slot_count=100) for i, gib in enumerate(model_gib))
    policies = tuple(Policy(m.name, **policy) for m in models)  # type: ignore[arg-type]
    world = World(Shape(1, loss_share=0.0), Population(tuple(machines), models, policies))
    world.wake()
    return world


def outcomes(asks: list[Ask]) -> set[Outcome | None]:
    return {a.outcome for a in asks}


def test_two_models_that_do_not_fit_together_are_not_loaded_all_the_time() -> None:
    """A-B-A-B for thirty seconds with a residency of two: at most seventeen loads, and everybody is answered."""
    world = a_world([3], [2, 2])
    world.rules = EvictionRules(residency_seconds=2.0)
    asks: list[Ask] = []

    def ask(turn: int) -> None:
        asks.append(world.crowd.ask(f"m{turn % 2}", 0.05))

    for turn in range(300):
        world.agenda.after(turn * 0.1, ask, turn)
    world.agenda.run_until(world.agenda.now + 30.0)
    assert 8 <= world.ledger.counts["loads begun"] <= 17
    world.agenda.run_until(world.agenda.now + 60.0)
    assert (outcomes(asks), len(asks)) == ({Outcome.ANSWERED}, 300)


def test_a_hundred_first_requests_for_a_cold_model_cause_one_load() -> None:
    world = a_world([24, 24, 24], [8])
    asks = [world.crowd.ask("m0", 0.1) for _ in range(100)]
    world.agenda.run_until(world.agenda.now + 30.0)
    assert (outcomes(asks), world.ledger.counts["loads begun"]) == ({Outcome.ANSWERED}, 1)


def test_when_the_owner_of_a_load_is_killed_another_router_finishes_it_and_everybody_is_served() -> None:
    world = a_world([48], [30])
    asks = [world.crowd.ask("m0", 0.1) for _ in range(100)]
    world.agenda.run_until(world.agenda.now + 1.0)
    owner = next(r for r in world.routers if r.loads.owners())
    owner.die()
    world.agenda.run_until(world.agenda.now + 50.0)
    assert outcomes(asks) == {Outcome.ANSWERED}
    assert (world.ledger.counts["loads begun"], world.ledger.counts["loads taken over"]) == (1, 1)


def test_a_load_that_fails_tells_everybody_the_backends_own_words() -> None:
    world = a_world([24], [8])
    asks = [world.crowd.ask("m0", 0.1) for _ in range(100)]
    world.agenda.run_until(world.agenda.now + 0.5)
    machine = world.machines["n-node-0"]
    machine.doomed[next(iter(machine.processes))] = "the file is damaged"
    world.agenda.run_until(world.agenda.now + 30.0)
    assert outcomes(asks) == {Outcome.REFUSED}
    assert world.ledger.counts["refused: the load failed: the file is damaged"] == 100
    assert (machine.processes, world.store.replicas) == ({}, {})


def test_a_request_that_loses_its_replica_after_its_patience_ended_still_ends() -> None:
    world = a_world([24], [8])
    world.crowd.ask("m0", 0.1)
    world.agenda.run_until(world.agenda.now + 30.0)
    world.shape = replace(world.shape, load_wait_seconds=0.05)
    ask = world.crowd.ask("m0", 60.0)
    world.agenda.run_until(ask.deadline + 0.01)
    machine = world.machines["n-node-0"]
    (process,) = machine.processes.values()
    assert ask in process.active
    machine.crash(process)
    world.agenda.run_until(world.agenda.now + 30.0)
    assert ask.outcome is Outcome.TIMED_OUT
    assert not world.crowd.under_way


def test_restarted_routers_and_an_absent_database_stop_nobody() -> None:
    world = a_world([24, 24], [8, 8], min_replicas=1)
    world.agenda.run_until(world.agenda.now + 30.0)
    running = {i for m in world.machines.values() for i in m.processes}
    world.store.down = True
    for router in world.routers:
        router.die()
        router.start()
    world.agenda.run_until(world.agenda.now + 90.0)
    world.store.down = False
    world.agenda.run_until(world.agenda.now + 90.0)
    assert {i for m in world.machines.values() for i in m.processes} == running
    assert {r.state for r in world.store.replicas.values()} == {ReplicaState.READY}


def test_routers_that_evict_at_the_same_moment_leave_every_minimum_alone() -> None:
    """Two routers, a model with a replica to spare, and two others that want its place on different machines."""
    world = a_world([10, 10, 10], [9, 9, 9])
    world.store.put_policy(Policy("m0", min_replicas=3))
    world.agenda.run_until(world.agenda.now + 60.0)
    world.store.put_policy(Policy("m0", min_replicas=2))
    for number in (1, 2):
        world.store.put_policy(Policy(f"m{number}", {"number": str(number)}))
    for router in world.routers:
        router.refresh()
    assert [world.owner_of(name) for name in ("m1", "m2")] == world.routers
    asks = [world.crowd.ask(name, 0.1) for name in ("m1", "m2")]
    world.agenda.run_until(world.agenda.now + 30.0)
    ready = [r.model for r in world.store.replicas.values() if r.state is ReplicaState.READY]
    assert ready.count("m0") == 2
    assert world.ledger.counts["replicas evicted"] >= 1
    assert Outcome.ANSWERED in outcomes(asks)


def a_leader_that_sleeps_on_a_decision(*, fencing: bool) -> World:
    """A model lacks its minimum; who leads decides to load it, and is stopped before that is written."""
    world = a_world([24, 24], [8])
    world.store.fencing = fencing
    policy = world.store.policies["m0"]
    (leader,) = [r for r in world.routers if r.loops.fence]

    def fall_asleep() -> None:
        """In the moment between: the step is on the agenda, and nothing is written."""
        if world.ledger.counts["steps decided"]:
            leader.sleep(10.0)
        else:
            world.agenda.after(0.001, fall_asleep)

    world.store.put_policy(replace(policy, min_replicas=1))
    leader.refresh()
    fall_asleep()
    world.agenda.run_until(world.agenda.now + 40.0)
    return world


def test_what_a_stopped_leader_decided_is_done_once_by_the_next_one() -> None:
    world = a_leader_that_sleeps_on_a_decision(fencing=True)
    assert world.ledger.counts["replicas added by policy"] == 1
    assert world.ledger.counts["effects of former leaders refused"] == 1
    assert len(world.store.replicas) == 1
    assert world.store.lease is not None
    assert (world.store.lease.epoch, world.store.lease.refused_count) == (2, 1)


def test_without_epochs_it_would_be_noticed() -> None:
    with pytest.raises(Broken, match="an effect of epoch 1 landed late"):
        a_leader_that_sleeps_on_a_decision(fencing=False)


def test_a_model_that_is_kept_twice_is_twice_again_after_one_hung_and_nobody_waited_for_it() -> None:
    world = a_world([24, 24, 24], [8], min_replicas=2)
    world.agenda.run_until(world.agenda.now + 30.0)
    machine = next(m for m in world.machines.values() if m.processes)
    (process,) = machine.processes.values()
    machine.hang(process)
    asks = [world.crowd.ask("m0", 0.1) for _ in range(20)]
    world.agenda.run_until(world.agenda.now + 15.0)
    assert outcomes(asks) == {Outcome.ANSWERED}
    world.agenda.run_until(world.agenda.now + 45.0)
    assert (process.alive, world.ledger.counts["replicas hung"]) == (False, 1)
    ready = [r for r in world.store.replicas.values() if r.state is ReplicaState.READY]
    assert (len(ready), {r.problem for r in ready}) == (2, {""})


def test_under_bursts_for_an_hour_replicas_come_and_go_a_few_times() -> None:
    """A policy with room to grow, and a load that comes and goes by the minute: every step is checked for patience."""
    world = a_world([24, 24, 24], [8], min_replicas=1, max_replicas=3)
    slots = world.store.models["m0"].slot_count
    for burst in range(60):
        begin = burst * 60.0 + world.rng.uniform(0, 20)
        for number in range(2 * slots):
            world.agenda.after(begin + number * 0.1, world.crowd.ask, "m0", world.rng.uniform(5, 20))
    world.agenda.run_until(world.agenda.now + 3600.0)
    counts = world.ledger.counts
    assert 2 <= counts["replicas added by policy"] <= 15  # of 60 bursts
    assert counts["replicas taken away by policy"] <= counts["replicas added by policy"]


def test_under_a_trickle_that_touches_all_of_them_replicas_go_and_none_comes_back() -> None:
    world = a_world([24] * 6, [8], min_replicas=6)
    world.agenda.run_until(world.agenda.now + 60.0)
    world.store.put_policy(Policy("m0", min_replicas=1, max_replicas=6))
    assert len(world.store.replicas) == 6
    asks: list[Ask] = []
    for number in range(540):
        begin = 20.0 * (number // 6) + 0.1 * (number % 6)
        world.agenda.after(begin, lambda: asks.append(world.crowd.ask("m0", 2.0)))
    world.agenda.run_until(world.agenda.now + 1830.0)
    assert (outcomes(asks), len(asks)) == ({Outcome.ANSWERED}, 540)
    counts = world.ledger.counts
    assert (counts["replicas taken away by policy"], counts["replicas added by policy"]) == (5, 6)
