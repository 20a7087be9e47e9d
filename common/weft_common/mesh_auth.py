"""How Weft's own parts recognise each other: a token derived from the mesh secret, carried in call metadata."""

import hmac

from weft_common.errors import NotInMesh
from weft_common.mesh_token import METADATA_KEY, mesh_token

__all__ = ["METADATA_KEY", "mesh_metadata", "mesh_token", "require_mesh"]


def mesh_metadata(mesh_secret: str) -> tuple[tuple[str, str], ...]:
    """Metadata that a call inside the mesh carries."""
    return ((METADATA_KEY, mesh_token(mesh_secret)),)


def require_mesh(presented: str | None, mesh_secret: str) -> None:
    """Refuse a call from outside (NotInMesh); Envoy strips the header from what clients send."""
    if presented is None or not hmac.compare_digest(presented.encode(), mesh_token(mesh_secret).encode()):
        raise NotInMesh("This rpc is for Weft's own parts: it needs the mesh token in metadata x-weft-mesh.")
