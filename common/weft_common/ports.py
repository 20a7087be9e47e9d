"""Local ports, drawn once for a home so that restarts meet the same addresses."""

import atexit
import json
import secrets
import socket
from collections.abc import Mapping

import psutil

from weft_common.home import Home, StartError, read_object, write_private

# Below 32768, where Linux starts to draw the ports of outgoing connections: one of those could hold a port
# of ours just when its part comes back.
_SINGLES = range(10_240, 20_480)
_BLOCKS = range(20_480, 32_768, 64)
# Held until this process ends, by then its parts listen: of two homes that are started at the same moment each would
# find the same port free, and one would meet the other's PostgreSQL there. In this namespace names are free by
# themselves when their process is gone.
_RESERVED: dict[int, socket.socket] = {}
_CLAIM = "\0weft-port-{}"


@atexit.register
def _let_go() -> None:
    for claim in _RESERVED.values():
        claim.close()


class PortTaken(StartError):
    """Somebody else listens where a part has to."""


def load_ports(home: Home, *, single: tuple[str, ...] = (), block: tuple[str, ...] = ()) -> Mapping[str, int]:
    """Return the port of each named part, drawing those that have none; a block has 64 in a row."""
    kept = {name: port for name, port in read_object(home.ports).items() if isinstance(port, int)}
    drawn = dict(kept)
    for names, choices in ((single, _SINGLES), (block, _BLOCKS)):
        for name in names:
            if name not in drawn:
                drawn[name] = _draw(choices, set(drawn.values()))
    if drawn != kept:
        write_private(home.ports, json.dumps(drawn, indent=2))
    return {name: drawn[name] for name in (*single, *block)}


def is_taken(host: str, port: int) -> bool:
    """Say whether somebody listens on the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # a connection that lingers is no listener
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise StartError(f"port {port} is reserved for root: choose one above 1023") from error
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == 99:
                raise StartError(f"{host} is not an address of this machine") from error
            return True
    return False


def refuse_taken(part: str, host: str, port: int, *, advice: str) -> None:
    """Raise, naming the port and who holds it, if a part could not listen on its address."""
    if is_taken(host, port):
        raise PortTaken(f"{part} needs port {port} of {host}, but {holder(port)} listens there: {advice}")


def holder(port: int) -> str:
    """Describe the process that listens on a port as well as this user may know it."""
    try:
        listeners = psutil.net_connections(kind="tcp")
    except psutil.Error:
        listeners = []
    for listener in listeners:
        listens = listener.status == psutil.CONN_LISTEN and listener.laddr[1:] == (port,)
        if listens and listener.pid:
            return f"pid {listener.pid} ({_command_line(listener.pid)})"
    return "a process of another user"


def _command_line(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())[:120] or "unknown"
    except psutil.Error:
        return "unknown"


def _reserve(port: int) -> bool:
    """Keep others who draw now off a port; False where somebody else has just drawn it."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(_CLAIM.format(port))
    except OSError:
        claim.close()
        return False
    _RESERVED[port] = claim
    return True


def _draw(choices: range, used: set[int]) -> int:
    for _ in range(1000):
        port = secrets.choice(choices)
        if port not in used and not is_taken("127.0.0.1", port) and _reserve(port):
            return port
    raise StartError(f"no free port found between {choices.start} and {choices.stop}")
