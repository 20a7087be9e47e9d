"""Faults for a running Weft, each undone when its block is left; docs/faults.md shows how to use them.

Whom they hit is read from `weft status --json`: a `Part` has the name, pid and address of one line of it.
"""

from tests.faults.links import Link
from tests.faults.processes import Victim, kill, paused, slowed, stopped
from tests.faults.replicas import ReplicaDoor, filled, refused
from tests.faults.stores import Stores, running_stores

__all__ = [
    "Link",
    "ReplicaDoor",
    "Stores",
    "Victim",
    "filled",
    "kill",
    "paused",
    "refused",
    "running_stores",
    "slowed",
    "stopped",
]
