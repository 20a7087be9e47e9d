"""What the parts of one machine are told of each other."""

from pathlib import Path

import pytest
import yaml

from weft_common.cli.stack import Stack, build_stack, model_to_try, write_first_model
from weft_common.cli.up_options import UpOptions
from weft_common.embedded import postgres_place
from weft_common.home import Home, Secrets, load_secrets, open_home
from weft_common.part import Part, Stage


@pytest.fixture
def home(tmp_path: Path):  # type: ignore[no-untyped-def]
    home = open_home(tmp_path / "home")
    yield home
    postgres_place.forget(home)


def built(home: Home, **options: object) -> tuple[Stack, Secrets, dict[str, Part]]:
    secrets = load_secrets(home)
    stack = build_stack(home, UpOptions(**options), secrets, {"PATH": "/bin"})  # type: ignore[arg-type]
    return stack, secrets, {part.name: part for part in stack.parts()}


def test_one_machine_has_the_promised_parts(home: Home) -> None:
    _, _, parts = built(home)

    assert set(parts) == {"postgres", "nats", "envoy", "router-0", "gateway-0", "gateway-1", "worker-local"}


def test_gateways_know_every_router_and_share_the_secret(home: Home) -> None:
    stack, secrets, parts = built(home, routers=2, gateways=1)
    gateway = parts["gateway-0"].command.env
    routers = [f"127.0.0.1:{stack.ports[name]}" for name in ("router-0", "router-1")]

    assert gateway["WEFT_ROUTERS"] == ",".join(routers)
    assert gateway["WEFT_MESH_SECRET"] == parts["router-1"].command.env["WEFT_MESH_SECRET"]
    assert gateway["WEFT_KEYS_FILE"] == str(home.keys)
    assert gateway["WEFT_NATS_URL"] == f"nats://{secrets.nats_token}@127.0.0.1:{stack.ports['nats']}"
    assert gateway["PATH"] == "/bin"


def test_worker_joins_through_the_public_port(home: Home) -> None:
    stack, secrets, parts = built(home, port=18_080, node_name="laptop")
    worker = parts["worker-laptop"]

    assert worker.stage is Stage.WORKERS
    assert worker.command.env["WEFT_REGISTER_TO"] == "http://127.0.0.1:18080"
    assert worker.command.env["WEFT_REGISTRATION_TOKEN"] == secrets.registration_token
    assert worker.command.env["WEFT_STATE_DIR"] == str(home.workers / "laptop")
    assert worker.address == f"127.0.0.1:{stack.ports['worker']}"
    assert parts["router-0"].command.env["WEFT_LOCAL_NODE_NAME"] == "laptop"


def test_database_and_bus_of_somebody_else_are_used_and_not_started(home: Home) -> None:
    stack, _, parts = built(home, postgres_url="postgresql://db/weft", nats_url="nats://t@bus:4222")
    router = parts["router-0"].command.env

    assert not {"postgres", "nats"} & set(parts)
    assert router["WEFT_POSTGRES_URL"] == "postgresql://db/weft"
    assert router["WEFT_NATS_URL"] == router["WEFT_NATS_ADVERTISE_URL"] == "nats://t@bus:4222"
    assert not {"postgres", "nats"} & {name for name, _, _ in stack.listeners()}


def test_workers_elsewhere_get_an_address_that_they_can_dial(home: Home) -> None:
    _, _, everywhere = built(home, bind="0.0.0.0")
    _, _, somewhere = built(home, bind="192.0.2.7")

    assert "@192.0.2.7:" in somewhere["router-0"].command.env["WEFT_NATS_ADVERTISE_URL"]
    assert "@0.0.0.0:" not in everywhere["router-0"].command.env["WEFT_NATS_ADVERTISE_URL"]
    assert "@127.0.0.1:" in everywhere["router-0"].command.env["WEFT_NATS_URL"]
    assert everywhere["envoy"].address == "0.0.0.0:8080"
    assert UpOptions(bind="0.0.0.0").url == "http://127.0.0.1:8080"
    assert UpOptions(bind="::1", port=1).url == "http://[::1]:1"


def test_only_the_public_parts_are_open_to_others(home: Home) -> None:
    stack, _, _ = built(home, bind="0.0.0.0")

    assert {name for name, host, _ in stack.listeners() if host == "0.0.0.0"} == {"envoy", "nats"}


def test_secrets_are_in_no_command_line(home: Home) -> None:
    _, secrets, parts = built(home)
    words = " ".join(word for part in parts.values() for word in part.command.argv)

    for secret in (secrets.api_key, secrets.mesh_secret, secrets.nats_token, secrets.postgres_password):
        assert secret not in words


def test_first_model_is_the_packaged_one(tmp_path: Path) -> None:
    write_first_model(tmp_path / "models")

    model = yaml.safe_load((tmp_path / "models" / "weft-tiny.yaml").read_text())
    assert Path(model["parameters"]["model"]).is_file()
    assert (model["name"], model["backend"], model["context_size"], model["parallel"]) == (
        "weft-tiny",
        "llama-cpp",
        1280,
        4,
    )


def test_models_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    write_first_model(tmp_path)

    assert not list(tmp_path.iterdir())


def described(models: Path, **files: str) -> Path:
    for file, more in files.items():
        (models / file.replace("_", ".")).write_text(f"parameters: {{model: x.gguf}}\n{more}\n")
    return models


def test_the_model_to_try_is_the_first_that_answers_conversations_by_its_own_name(tmp_path: Path) -> None:
    models = described(
        tmp_path,
        a_yaml="name: vectors\nembeddings: true",
        b_yaml="name: scores\nreranking: true",
        c_yaml="name: off\ndisabled: true",
        d_yaml="name: [",
        e_yml="name: org/chat:7b",
        f_yaml="name: another",
    )
    assert model_to_try(models) == "org/chat:7b"


def test_the_model_to_try_is_the_packaged_one_where_it_is_there(tmp_path: Path) -> None:
    write_first_model(tmp_path / "models")
    assert model_to_try(described(tmp_path / "models", a_yaml="name: a")) == "weft-tiny"


def test_without_a_model_that_answers_conversations_there_is_none_to_try(tmp_path: Path) -> None:
    assert model_to_try(tmp_path / "nowhere") is None
    assert model_to_try(described(tmp_path, a_yaml="name: vectors\nembeddings: true")) is None
