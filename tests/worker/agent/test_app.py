"""The agent and its fleet: registration, heartbeats, the bus, its own end; with a fake router and a real bus."""

import asyncio
import json

import pytest
from grpc_health.v1 import health_pb2

from tests.worker.agent.fleet import SOON, Fleet, eventually
from weft_common.process import alive, start_time
from weft_common.rpc import open_channel
from weft_proto.weft.types.v1 import NodeState, ReplicaState
from weft_worker.agent.state_folder import StateFolderTaken


async def health(address: str) -> int:
    async with open_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        return (await check(health_pb2.HealthCheckRequest(), timeout=SOON)).status


async def test_an_agent_registers_what_it_is(fleet: Fleet) -> None:
    async with fleet.agent(node_labels={"tier": "one"}, memory_budget="1GiB", max_replicas_per_model=3):
        registration = await fleet.registered()
    assert (registration.name, registration.labels["tier"]) == ("here", "one")
    assert registration.address.startswith("127.0.0.1:")
    assert [(d.id, d.total_memory_bytes) for d in registration.devices if d.vendor == "cpu"] == [
        ("cpu", 2**30)
    ]
    assert "llama-cpp" in registration.engines
    assert registration.max_replicas_per_model == 3


async def test_an_agent_is_ready_once_it_is_registered(fleet: Fleet) -> None:
    await fleet.stop_router()
    record = fleet.state_dir / "agent.json"
    async with fleet.agent():
        await eventually(record.exists, "the agent's record")
        starting = json.loads(record.read_text())
        assert (starting["name"], starting["state"]) == ("worker-here", "starting")
        assert alive(starting["pid"], starting["start_time"])
        assert await health(starting["address"]) == health_pb2.HealthCheckResponse.NOT_SERVING
        await fleet.start_router()
        await eventually(lambda: json.loads(record.read_text())["state"] == "ready", "ready")
        assert await health(starting["address"]) == health_pb2.HealthCheckResponse.SERVING
    assert not record.exists()


async def test_an_agent_whose_node_waits_for_approval_serves_and_is_starting(fleet: Fleet) -> None:
    fleet.router.state = NodeState.PENDING
    record = fleet.state_dir / "agent.json"
    async with fleet.agent():
        await eventually(lambda: len(fleet.router.heartbeats) > 1, "heartbeats of a pending node")
        noted = json.loads(record.read_text())
        assert noted["state"] == "starting"
        assert await health(noted["address"]) == health_pb2.HealthCheckResponse.SERVING
        fleet.router.state = NodeState.HEALTHY
        await eventually(lambda: json.loads(record.read_text())["state"] == "ready", "ready")


async def test_a_router_without_its_database_is_asked_until_it_has_one(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.router.without_database = True
    async with fleet.agent():
        await eventually(lambda: "registration_refused" in caplog.text, "a refusal")
        fleet.router.without_database = False
        await fleet.registered()
    assert caplog.text.count("registration_refused") == 1


async def test_heartbeats_go_on_and_bring_news_at_once(fleet: Fleet) -> None:
    fleet.router.interval = type(fleet.router.interval)(seconds=60)
    async with fleet.agent():
        await fleet.on_the_bus()
        await fleet.install()
        await eventually(lambda: "r-1" in fleet.router.replicas(), "the replica in a heartbeat", 1.0)


async def test_an_agent_that_is_forgotten_registers_again(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        pid = (await fleet.install()).replica.pid  # type: ignore[union-attr]
        fleet.router.node_id = f"{fleet.router.node_id}-again"
        registration = await fleet.registered(2)
        assert [replica.id for replica in registration.replicas] == ["r-1"]
        await fleet.on_the_bus()
        again = await fleet.install()
        assert again.replica is not None
        assert again.replica.pid == pid
        assert again.replica.node_id == fleet.router.node_id


async def test_an_old_node_token_makes_it_register_again(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.registered()
        fleet.router.token = "node-token-2"
        await fleet.registered(2)
        count = len(fleet.router.heartbeats)
        await eventually(lambda: len(fleet.router.heartbeats) > count, "a heartbeat with the new token")


async def test_a_router_that_restarts_is_found_again(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        installed = await fleet.install()
        await fleet.stop_router()
        fleet.router.heartbeats.clear()
        await fleet.start_router()
        await eventually(lambda: fleet.router.heartbeats, "a heartbeat after the restart")
        assert fleet.router.replicas()["r-1"].pid == installed.replica.pid  # type: ignore[union-attr]


async def test_a_heartbeats_answer_stops_what_it_names_and_nothing_else(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        await fleet.install("r-1")
        await fleet.install("r-2", replica_index=1)
        fleet.router.stop_next = ["r-1", "unknown"]
        await eventually(lambda: list(fleet.router.replicas()) == ["r-2"], "only r-2 left")
        count = len(fleet.router.heartbeats)
        await eventually(lambda: len(fleet.router.heartbeats) > count + 2, "more heartbeats")
        assert fleet.router.replicas()["r-2"].state is ReplicaState.LOADING


async def test_a_heartbeats_answer_that_is_older_than_the_last_command_is_ignored(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        await fleet.install(generation=fleet.router.generation + 1)
        fleet.router.stop_next = ["r-1"]
        await eventually(lambda: not fleet.router.stop_next, "the answer")
        count = len(fleet.router.heartbeats)
        await eventually(lambda: len(fleet.router.heartbeats) > count + 1, "heartbeats after it")
        assert fleet.router.replicas()["r-1"].state is ReplicaState.LOADING


async def test_an_answer_that_stops_nothing_makes_commands_of_before_late(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.on_the_bus()
        before = fleet.router.generation
        fleet.router.generation += 1
        # The answer to the first of these may still be on its way when the second is not.
        answered = len(fleet.router.heartbeats) + 2
        await eventually(lambda: len(fleet.router.heartbeats) >= answered, "an answer of the new generation")
        assert f"generation {before}" in (await fleet.install(generation=before)).error
        assert not (await fleet.install(generation=before + 1)).error


async def test_an_agent_that_is_told_to_stop_stops_its_replicas_and_says_so(fleet: Fleet) -> None:
    fleet.router.interval = type(fleet.router.interval)(seconds=60)
    async with fleet.agent():
        await fleet.on_the_bus()
        quick = (await fleet.install("r-1")).replica
        deaf = (await fleet.install("r-2", options={"deaf": "yes"})).replica
        assert quick is not None
        assert deaf is not None
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 2.5, "weft up kills its workers after that"
    assert [start_time(replica.pid) for replica in (quick, deaf)] == [None, None]
    assert fleet.router.goodbyes == [fleet.router.node_id]
    assert list((fleet.state_dir / "replicas").iterdir()) == []


async def test_secrets_are_kept_from_others(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "weft_worker")
    async with fleet.agent():
        await fleet.on_the_bus()
        await fleet.install()
        membership = fleet.state_dir / "membership.json"
        assert membership.stat().st_mode & 0o777 == 0o600
        record = fleet.record()
        assert record is not None
        for secret in (fleet.router.token, fleet.router.mesh_secret, record["lease_token"], "bus@"):
            assert secret not in caplog.text


async def test_two_agents_do_not_share_a_state_folder(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.registered()
        with pytest.raises(ExceptionGroup) as caught:
            async with fleet.agent():
                await asyncio.sleep(SOON)
        assert caught.group_contains(StateFolderTaken)


async def test_a_pending_node_gets_no_secret_until_it_is_approved_and_then_joins_the_bus(
    fleet: Fleet,
) -> None:
    fleet.router.state = NodeState.PENDING
    membership = fleet.state_dir / "membership.json"

    def kept() -> dict[str, object]:
        found: dict[str, object] = json.loads(membership.read_text()) if membership.exists() else {}
        return found

    async with fleet.agent():
        await eventually(lambda: fleet.router.heartbeats, "a heartbeat of a pending node")
        assert (kept()["mesh_secret"], kept()["nats_url"]) == ("", "")
        fleet.router.state = NodeState.HEALTHY
        await eventually(lambda: kept().get("mesh_secret") == fleet.router.mesh_secret, "the secret")
        await eventually(lambda: len(fleet.router.registrations) == 2, "a second registration")


async def test_a_node_that_was_removed_and_let_in_again_obeys_its_new_identity(fleet: Fleet) -> None:
    async with fleet.agent():
        await fleet.registered()
        fleet.router.node_id, fleet.router.generation = "n-2", 1
        fleet.router.state = NodeState.PENDING
        await eventually(lambda: len(fleet.router.registrations) == 2, "a registration as another node")
        fleet.router.state, fleet.router.generation = NodeState.HEALTHY, 2
        await eventually(lambda: len(fleet.router.registrations) == 3, "a registration once approved")
        await fleet.on_the_bus()
        answer = await fleet.install("r-1")
        assert answer.error == ""
