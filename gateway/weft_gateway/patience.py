"""How long a client says that it will wait."""

import re
from collections.abc import Mapping

_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def patience_of(headers: Mapping[str, str]) -> float:
    """Seconds of gRPC's own deadline; endless where there is none, as REST has none."""
    found = _TIMEOUT.fullmatch(headers.get("grpc-timeout", ""))
    return int(found[1]) * _UNITS[found[2]] if found else float("inf")
