"""The parts of one machine: which there are, where they answer, and what each is told."""

import contextlib
import importlib.util
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from weft_common.cli.up_options import LOOPBACK, UpOptions, advertised, joined, metrics_port_of
from weft_common.embedded.envoy import envoy_part
from weft_common.embedded.nats import nats_part, nats_url
from weft_common.embedded.postgres import Database, database, postgres_part
from weft_common.embedded.postgres_place import locate
from weft_common.embedded.probes import grpc_serving
from weft_common.envoy_config import EnvoyParams, render_bootstrap
from weft_common.errors import InvalidRequest
from weft_common.home import Home, Secrets
from weft_common.machine_memory import machine_memory
from weft_common.mesh_token import mesh_token
from weft_common.part import GATEWAY_LEVEL, Part, Stage
from weft_common.ports import load_ports
from weft_common.process import Command
from weft_common.purposes import Purpose

_MAX_CONNECTIONS = 20_000
_LEAST_HEAP, _MOST_HEAP = 512 * 1024 * 1024, 4 * 1024 * 1024 * 1024
_TINY_FILE = "weft-tiny.yaml"
_TINY_MODEL = """\
# The model that comes with Weft: small enough for any machine, and for nothing but trying things out.
name: weft-tiny
backend: llama-cpp
parameters:
  model: {weights}
context_size: 1280  # tokens for each of the parallel requests
parallel: 4
threads: 1
"""


@dataclass(frozen=True, slots=True)
class Stack:
    """Everything that the parts are told of each other."""

    home: Home
    options: UpOptions
    secrets: Secrets
    ports: Mapping[str, int]
    database: Database | None
    environment: Mapping[str, str]

    def parts(self) -> tuple[Part, ...]:
        """Return every part. They start at once and wait for each other, so those slow to start come first."""
        options = self.options
        return (
            *(() if self.database is None else (postgres_part(self.database),)),
            *(self._router(name) for name in options.router_names),
            self._worker(),
            *(self._gateway(name) for name in options.gateway_names),
            *(() if options.nats_url is not None else (self._nats(),)),
            self._envoy(),
        )

    def listeners(self) -> tuple[tuple[str, str, int], ...]:
        """Return name, host and port of every address that has to be free now."""
        doors = (*self.options.router_names, *self.options.gateway_names)
        names = (*doors, *map(metrics_port_of, doors), "envoy-admin", "worker")
        own = [(name, LOOPBACK, self.ports[name]) for name in names]
        if self.database is not None:
            own.append(("postgres", LOOPBACK, self.database.port))
        if self.options.nats_url is None:
            own.append(("nats", self.options.bind, self.ports["nats"]))
        return (*own, ("envoy", self.options.bind, self.options.port))

    def _nats(self) -> Part:
        port, token = self.ports["nats"], self.secrets.nats_token
        return nats_part(self.home, host=self.options.bind, port=port, token=token)

    def _envoy(self) -> Part:
        options = self.options
        admin = (LOOPBACK, self.ports["envoy-admin"])
        bootstrap = render_bootstrap(
            EnvoyParams(
                listen_host=options.bind,
                listen_port=options.port,
                admin_host=admin[0],
                admin_port=admin[1],
                gateways=tuple((LOOPBACK, self.ports[name]) for name in options.gateway_names),
                routers=tuple((LOOPBACK, self.ports[name]) for name in options.router_names),
                access_log_path=str(self.home.log("access")),
                body_limit_bytes=options.body_limit_bytes,
                max_connections=_most_connections(),
                max_heap_bytes=options.envoy_heap_bytes or _envoy_heap(),
                expose_node_header=options.expose_node_header,
                cors_origins=options.cors_origins,
                mesh_token=mesh_token(self.secrets.mesh_secret),
            )
        )
        address = joined(options.bind, options.port)
        return envoy_part(
            self.home, bootstrap, address=address, admin=admin, concurrency=options.envoy_concurrency
        )

    def _router(self, name: str) -> Part:
        assert self.database is not None or self.options.postgres_url is not None
        postgres = self.options.postgres_url or (self.database.url if self.database else "")
        return self._python_part(
            name,
            "weft_router",
            self.ports[name],
            {
                "WEFT_LISTEN": f"{LOOPBACK}:{self.ports[name]}",
                "WEFT_PART_NAME": name,
                "WEFT_METRICS_LISTEN": f"{LOOPBACK}:{self.ports[metrics_port_of(name)]}",
                "WEFT_POSTGRES_URL": postgres,
                "WEFT_NATS_URL": self._nats_url(self.options.host),
                "WEFT_NATS_ADVERTISE_URL": self._nats_url(advertised(self.options.bind)),
                "WEFT_MESH_SECRET": self.secrets.mesh_secret,
                "WEFT_REGISTRATION_TOKEN": self.secrets.registration_token,
                "WEFT_MODELS_PATH": str(self.home.models),
                "WEFT_LOCAL_NODE_NAME": self.options.node_name,
                **{name: value for name, value in self.options.router_settings.items() if value},
            },
        )

    def _gateway(self, name: str) -> Part:
        routers = ",".join(f"{LOOPBACK}:{self.ports[router]}" for router in self.options.router_names)
        port = self.ports[name]
        part = self._python_part(
            name,
            "weft_gateway",
            port,
            {
                "WEFT_LISTEN": f"{LOOPBACK}:{self.ports[name]}",
                "WEFT_PART_NAME": name,
                "WEFT_METRICS_LISTEN": f"{LOOPBACK}:{self.ports[metrics_port_of(name)]}",
                "WEFT_ROUTERS": routers,
                "WEFT_NATS_URL": self._nats_url(self.options.host),
                "WEFT_MESH_SECRET": self.secrets.mesh_secret,
                "WEFT_KEYS_FILE": str(self.home.keys),
                "WEFT_STATE_DIR": str(self.home.gateways / name),
            },
        )
        return replace(part, level=partial(grpc_serving, LOOPBACK, port, GATEWAY_LEVEL))

    def _worker(self) -> Part:
        name = self.options.node_name
        settings = {
            "WEFT_REGISTER_TO": self.options.url,
            "WEFT_REGISTRATION_TOKEN": self.secrets.registration_token,
            "WEFT_NODE_NAME": name,
            "WEFT_ADDR": f"{LOOPBACK}:{self.ports['worker']}",
            "WEFT_STATE_DIR": str(self.home.worker(name)),
            "WEFT_MODELS_PATH": str(self.home.models),
            # The router of this machine reads the same folder.
            "WEFT_SHARED_MODELS": "true",
            # Ctrl-C is answered soon: the supervisor gives 2.5 s.
            "WEFT_SHUTDOWN_TIMEOUT": "1.2s",
        }
        return self._python_part(
            f"worker-{name}", "weft_worker", self.ports["worker"], settings, stage=Stage.WORKERS
        )

    def _python_part(
        self, name: str, module: str, port: int, settings: Mapping[str, str], stage: Stage = Stage.DOORS
    ) -> Part:
        return Part(
            name=name,
            address=f"{LOOPBACK}:{port}",
            command=Command(
                argv=(sys.executable, "-m", module),
                env={**self.home.extensions_variable, **self.environment, **settings},
                log=self.home.log(name),
            ),
            ready=partial(grpc_serving, LOOPBACK, port),
            stage=stage,
        )

    def _nats_url(self, host: str) -> str:
        return self.options.nats_url or nats_url(host, self.ports["nats"], self.secrets.nats_token)


def build_stack(home: Home, options: UpOptions, secrets: Secrets, environment: Mapping[str, str]) -> Stack:
    """Draw what is missing and return how the parts fit together."""
    doors = (*options.router_names, *options.gateway_names)
    single = ("postgres", "nats", "envoy-admin", *doors, *map(metrics_port_of, doors))
    ports = load_ports(home, single=single, block=("worker",))
    base = None
    if options.postgres_url is None:
        base = database(home, locate(home), port=ports["postgres"], password=secrets.postgres_password)
    return Stack(home, options, secrets, ports, base, environment)


def write_first_model(models: Path) -> None:
    """Offer the packaged model the first time; a folder that exists is its owner's business."""
    if models.exists():
        return
    models.mkdir(mode=0o700)
    # Found, not imported: this package knows none of the services.
    spec = importlib.util.find_spec("weft_worker")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        weights = Path(folder) / "models" / "weft-tiny.gguf"
        if weights.is_file():
            (models / _TINY_FILE).write_text(_TINY_MODEL.format(weights=weights))


def model_to_try(models: Path) -> str | None:
    """Name a model that answers conversations: the packaged one or else the first; None where there is none.

    A file that cannot be read is passed over: the router says what is wrong with it.
    """
    # Imported late: until the parts have started nobody needs the library that reads them.
    from weft_common.model_file import model_files_in, read_model_file

    for path in sorted(model_files_in(models), key=lambda path: path.name != _TINY_FILE):
        with contextlib.suppress(InvalidRequest):
            file = read_model_file(path)
            if file.purpose is Purpose.CHAT and not file.disabled:
                return file.name
    return None


def _most_connections() -> int:
    """Leave half of the file descriptors for what Envoy opens itself, or it could not refuse politely."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_CONNECTIONS if limit == resource.RLIM_INFINITY else min(_MAX_CONNECTIONS, limit // 2)


def _envoy_heap() -> int:
    """A quarter of what there is: models want the rest, and gateways hold large bodies too."""
    return max(_LEAST_HEAP, min(_MOST_HEAP, machine_memory().total_bytes // 4))
