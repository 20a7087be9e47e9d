"""`python -m tests.faults.run_stores FOLDER`: a PostgreSQL and a NATS until stdin ends; prints where they are."""

import asyncio
import json
import sys
from pathlib import Path

from weft_common.embedded import postgres_place
from weft_common.embedded.nats import nats_part, nats_url
from weft_common.embedded.postgres import database, postgres_part
from weft_common.embedded.postgres_place import locate
from weft_common.home import load_secrets, open_home
from weft_common.ports import load_ports
from weft_common.supervisor import Supervisor

_READY_SECONDS = 60.0


async def _run(folder: Path) -> None:
    home = open_home(folder)
    secrets = load_secrets(home)
    ports = load_ports(home, single=("postgres", "nats"))
    base = database(home, locate(home), port=ports["postgres"], password=secrets.postgres_password)
    nats = nats_part(home, host="127.0.0.1", port=ports["nats"], token=secrets.nats_token)
    supervisor = Supervisor((postgres_part(base), nats), records=home.parts)
    try:
        async with supervisor.running():
            await supervisor.ready(_READY_SECONDS)
            url = nats_url("127.0.0.1", ports["nats"], secrets.nats_token)
            print(json.dumps({"postgres": base.url, "nats": url}), flush=True)
            await asyncio.to_thread(sys.stdin.read)
    finally:
        postgres_place.forget(home)


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1])))
