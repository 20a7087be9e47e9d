"""Flags of the commands that start parts: `weft up` and `weft worker`."""

import re
from typing import Annotated

import typer

from weft_common.cli.options import Text

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s,]+")


def cors_origins(text: str) -> str:
    """Check a list of origins; raises typer.BadParameter that names what is none."""
    for origin in split_origins(text):
        if not _ORIGIN.fullmatch(origin):
            raise typer.BadParameter(f"'{origin}' is no origin such as https://chat.example.com:8443, nor *.")
    return text


def split_origins(text: str) -> tuple[str, ...]:
    """The origins of a list, without the slash that people write at their end."""
    return tuple(origin.strip().rstrip("/") for origin in text.split(",") if origin.strip())


PortOption = Annotated[int, typer.Option(envvar="WEFT_PORT", min=1, max=65535, help="The public port.")]
BindOption = Annotated[
    str,
    typer.Option(envvar="WEFT_BIND", help="Address of Envoy and NATS; workers elsewhere need one of theirs."),
]
GatewaysOption = Annotated[int, typer.Option(min=1, max=64, help="How many gateways.")]
RoutersOption = Annotated[int, typer.Option(min=1, max=16, help="How many routers.")]
LocalNameOption = Annotated[str, typer.Option(envvar="WEFT_NODE_NAME", help="Name of this machine's worker.")]
PostgresOption = Annotated[
    Text, typer.Option(envvar="WEFT_POSTGRES_URL", help="Use this PostgreSQL and start none.")
]
NatsOption = Annotated[Text, typer.Option(envvar="WEFT_NATS_URL", help="Use this NATS and start none.")]
ThreadsOption = Annotated[
    int, typer.Option(envvar="WEFT_ENVOY_CONCURRENCY", min=1, max=256, help="Threads of Envoy.")
]
BodyLimitOption = Annotated[
    int,
    typer.Option(envvar="WEFT_BODY_LIMIT_BYTES", min=1024, max=64 << 20, help="Largest request body."),
]
EnvoyHeapOption = Annotated[
    int,
    typer.Option(
        envvar="WEFT_ENVOY_HEAP_BYTES",
        min=0,
        help="Memory of Envoy, which bounds large bodies; 0: a quarter of the machine's, 4 GiB at most.",
    ),
]
ExposeNodeOption = Annotated[
    bool,
    typer.Option("--expose-node-header", envvar="WEFT_EXPOSE_NODE_HEADER", help="Answer with X-Weft-Node."),
]
CorsOption = Annotated[
    str,
    typer.Option(
        envvar="WEFT_CORS_ALLOW_ORIGINS",
        help="Origins whose pages may call from a browser: https://a.example,https://b.example, or *.",
        callback=cors_origins,
    ),
]
DetachOption = Annotated[
    bool, typer.Option("-d", "--detach", help="Return once it serves, and go on behind.")
]

RegisterToOption = Annotated[
    Text, typer.Option(envvar="WEFT_REGISTER_TO", help="URL of Weft's public port, http://HOST:8080.")
]
JoinTokenOption = Annotated[
    Text,
    typer.Option(envvar="WEFT_REGISTRATION_TOKEN", help="The join token; this home's own if there is one."),
]
NodeNameOption = Annotated[
    Text, typer.Option(envvar="WEFT_NODE_NAME", help="Name of the node; else the host's.")
]
AddrOption = Annotated[
    Text,
    typer.Option(
        envvar="WEFT_ADDR", help="HOST:PORT that the agent binds; replicas take the ports after it."
    ),
]
AdvertiseAddrOption = Annotated[
    Text, typer.Option(envvar="WEFT_ADVERTISE_ADDR", help="HOST[:PORT] where others reach this worker.")
]
LabelsOption = Annotated[Text, typer.Option(envvar="WEFT_NODE_LABELS", help="Labels: key=value,key=value.")]
MemoryBudgetOption = Annotated[
    Text, typer.Option(envvar="WEFT_MEMORY_BUDGET", help="Memory that models may use: 80% or 8GiB.")
]
HeartbeatOption = Annotated[
    Text, typer.Option(envvar="WEFT_HEARTBEAT_INTERVAL", help="How often to report, such as 10s.")
]
BusOption = Annotated[
    Text, typer.Option(envvar="WEFT_NATS_URL", help="URL of the bus, if not the one that the router gives.")
]
ShutdownOption = Annotated[
    Text,
    typer.Option(
        envvar="WEFT_SHUTDOWN_TIMEOUT", help="How long to finish what is in flight at the end, such as 30s."
    ),
]
SharedModelsOption = Annotated[
    bool,
    typer.Option(
        "--shared-models",
        envvar="WEFT_SHARED_MODELS",
        help="This machine sees the models under the routers' own paths: bring no files.",
    ),
]
FleetSharesModelsOption = Annotated[
    bool,
    typer.Option(
        "--distributed-shared-models",
        envvar="WEFT_DISTRIBUTED_SHARED_MODELS",
        help="All workers see the models under this machine's paths: bring no files.",
    ),
]
StorageUrlOption = Annotated[
    Text, typer.Option(envvar="WEFT_STORAGE_URL", help="S3-compatible store from which workers pull models.")
]
StorageBucketOption = Annotated[
    Text, typer.Option(envvar="WEFT_STORAGE_BUCKET", help="Its bucket; else weft.")
]
StorageRegionOption = Annotated[
    Text, typer.Option(envvar="WEFT_STORAGE_REGION", help="Its region; else us-east-1.")
]
StorageAccessKeyOption = Annotated[
    Text, typer.Option(envvar="WEFT_STORAGE_ACCESS_KEY", help="The access key.")
]
StorageSecretKeyOption = Annotated[
    Text,
    typer.Option(
        envvar="WEFT_STORAGE_SECRET_KEY", help="The secret key; everybody sees flags: use the variable."
    ),
]
