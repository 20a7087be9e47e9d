"""What a request says for itself, and the slot that it gets."""

from dataclasses import dataclass

from weft_common.choice import Choice
from weft_common.purposes import Ability
from weft_gateway.fleet_view import Target
from weft_gateway.keys import Principal


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: `prompt` is the beginning of its conversation, `patience` the seconds that its client will wait.

    `alias` is how else the same model may be called. One that only `lets_go` wishes its model unloaded.
    """

    model: str
    principal: Principal
    request_id: str
    prompt: bytes = b""
    max_token_count: int = 0
    patience: float = float("inf")
    ability: Ability = Ability.CHAT
    alias: str = ""
    lets_go: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a request goes and by which pick; `waited` is seconds, `position` how many were ahead at first."""

    choice: Choice[Target]
    pick: str
    position: int = 0
    waited: float = 0.0
