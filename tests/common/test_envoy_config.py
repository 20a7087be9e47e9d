"""Rendering; how Envoy behaves with the result is tested in tests/envoy."""

import dataclasses
import importlib.resources
import re
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from weft_common.embedded.envoy import binary
from weft_common.envoy_config import EnvoyParams, render_bootstrap

PARAMS = EnvoyParams(
    listen_host="127.0.0.1",
    listen_port=8080,
    admin_host="127.0.0.1",
    admin_port=9901,
    gateways=(("127.0.0.1", 7001), ("127.0.0.1", 7002)),
    routers=(("127.0.0.1", 7003),),
    access_log_path="/dev/null",
)


def rendered(**changes: Any) -> dict[str, Any]:
    bootstrap: dict[str, Any] = orjson.loads(render_bootstrap(dataclasses.replace(PARAMS, **changes)))
    return bootstrap


def cluster(bootstrap: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in bootstrap["static_resources"]["clusters"] if each["name"] == name]
    return dict(found)


def ports_by_priority(bootstrap: dict[str, Any], name: str) -> dict[int, list[int]]:
    return {
        group["priority"]: [
            each["endpoint"]["address"]["socket_address"]["port_value"] for each in group["lb_endpoints"]
        ]
        for group in cluster(bootstrap, name)["load_assignment"]["endpoints"]
    }


def test_envoy_accepts_the_result(tmp_path: Path) -> None:
    file = tmp_path / "envoy.yaml"
    file.write_text(render_bootstrap(dataclasses.replace(PARAMS, cors_origins=("*",))))

    verdict = subprocess.run(
        [binary(), "--mode", "validate", "--config-path", file], capture_output=True, text=True, check=False
    )

    assert verdict.returncode == 0, verdict.stderr


def test_no_query_replaces_what_a_path_says() -> None:
    descriptors = FileDescriptorSet.FromString(
        (importlib.resources.files("weft_proto") / "descriptors.binpb").read_bytes()
    )
    methods = [m for file in descriptors.file for service in file.service for m in service.method]
    rules = [method.options.Extensions[annotations_pb2.http] for method in methods]
    patterns = " ".join(str(rule) for rule in rules)
    bound = set(re.findall(r"\{(\w+)", patterns))

    (ignored,) = re.findall(r'"ignored_query_parameters": \[(.*?)\]', render_bootstrap(PARAMS), re.DOTALL)
    assert bound
    assert bound <= set(re.findall(r"\w+", ignored))


def test_nothing_is_left_to_fill_in() -> None:
    assert "${" not in render_bootstrap(PARAMS)


def test_gateways_stand_by_for_each_other_and_routers_share() -> None:
    bootstrap = rendered(routers=(("127.0.0.1", 7003), ("127.0.0.1", 7004)))

    assert ports_by_priority(bootstrap, "gateways") == {0: [7001], 1: [7002]}
    assert ports_by_priority(bootstrap, "routers") == {0: [7003, 7004]}


@pytest.mark.parametrize(
    ("host", "kind"), [("10.0.0.1", "STATIC"), ("::1", "STATIC"), ("gateways.weft.svc", "STRICT_DNS")]
)
def test_names_are_resolved_and_addresses_are_not(host: str, kind: str) -> None:
    assert cluster(rendered(gateways=((host, 7001),)), "gateways")["type"] == kind


@pytest.mark.parametrize("part", ["gateways", "routers"])
def test_a_part_without_any_address_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match=part):
        rendered(**{part: ()})


def test_every_cluster_has_breakers_above_what_clients_can_open() -> None:
    bootstrap = rendered(max_connections=10, max_streams_per_connection=7)

    for each in bootstrap["static_resources"]["clusters"]:
        (threshold,) = each["circuit_breakers"]["thresholds"]
        limits = {value for key, value in threshold.items() if key.startswith("max_")}
        assert limits == {70}, each["name"]


def test_nothing_cuts_a_quiet_stream_of_events_or_logs() -> None:
    text = render_bootstrap(PARAMS)
    path, timeouts = (
        r"weft\\.admin\\.v1\\.(EventService/WatchEvents|NodeAdminService/WatchBackendLogs)",
        r'"timeout": "0s",\s+"idle_timeout": "0s"',
    )
    watch, others = text.index(path), text.index(r"weft\\.(admin|scheduling)")
    assert watch < others, "the first route that matches is taken"
    assert re.search(timeouts, text[watch:others])


def test_the_body_limit_is_everywhere() -> None:
    text = render_bootstrap(dataclasses.replace(PARAMS, body_limit_bytes=5_000_000))

    assert '"max_request_bytes": 5000000' in text
    assert '"max_request_body_size": 5065536' in text
    assert "larger than the limit of 5000000 bytes" in text


@pytest.mark.parametrize(
    ("heap_mib", "limit_mib", "counts"),
    [
        (4096, 64, (8, 41, 417, 52)),
        (512, 64, (1, 5, 52, 6)),
        (480, 24, (2, 4, 48, 6)),
        (64, 64, (1, 1, 6, 1)),
    ],
)
def test_large_bodies_have_room_by_the_heap(heap_mib: int, limit_mib: int, counts: tuple[int, ...]) -> None:
    mib = 1024 * 1024
    bootstrap = rendered(max_heap_bytes=heap_mib * mib, body_limit_bytes=limit_mib * mib)
    text = orjson.dumps(bootstrap).decode()
    found = re.findall(r'"max_concurrency_limit":(\d+)', text)
    assert tuple(map(int, found)) == counts
    large, medium, *_ = counts
    if heap_mib > 64:
        assert 3.6 * (large * limit_mib + medium * 10) < heap_mib
