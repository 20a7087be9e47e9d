"""When an agent gives up on a backend that nobody else ends. Pure."""

from dataclasses import dataclass

from weft_worker.backend.lease import LeaseState

# Long enough for a router to read why.
FAILED_SECONDS = 10.0
# Twice what routers give a load: past that, nobody waits for it any more.
LOADING_SECONDS = 600.0
LOADING_SECONDS_PER_GIB = 40.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a backend now; `unlinked_seconds` is None while it holds its lease."""

    state: LeaseState
    state_seconds: float
    unlinked_seconds: float | None
    size_bytes: int


def forsaken(standing: Standing, *, lease_seconds: float) -> str:
    """Say why the backend should be ended; nothing where it should not."""
    if standing.unlinked_seconds is not None and standing.unlinked_seconds > lease_seconds:
        return f"it did not come back to its agent within {lease_seconds:g} s"
    limit = _limit(standing)
    if limit is not None and standing.state_seconds > limit:
        return f"it was {standing.state} for more than {limit:.0f} s"
    return ""


def _limit(standing: Standing) -> float | None:
    if standing.state is LeaseState.FAILED:
        return FAILED_SECONDS
    if standing.state is LeaseState.LOADING:
        return LOADING_SECONDS + LOADING_SECONDS_PER_GIB * standing.size_bytes / 2**30
    return None
