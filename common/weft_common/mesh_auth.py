"""How Weft's own parts recognise each other: a token derived from the mesh secret, carried in call metadata."""

import hashlib
import hmac

from weft_common.errors import NotInMesh

METADATA_KEY = "x-weft-mesh"
_PURPOSE = b"weft-mesh-call"


def mesh_token(mesh_secret: str) -> str:
    """Derive the token; it proves knowledge of the secret without being able to sign tickets."""
    return hmac.new(bytes.fromhex(mesh_secret), _PURPOSE, hashlib.sha256).hexdigest()


def mesh_metadata(mesh_secret: str) -> tuple[tuple[str, str], ...]:
    """Metadata that a call inside the mesh carries."""
    return ((METADATA_KEY, mesh_token(mesh_secret)),)


def require_mesh(presented: str | None, mesh_secret: str) -> None:
    """Refuse a call from outside (NotInMesh); Envoy strips the header from what clients send."""
    if presented is None or not hmac.compare_digest(presented.encode(), mesh_token(mesh_secret).encode()):
        raise NotInMesh("This rpc is for Weft's own parts: it needs the mesh token in metadata x-weft-mesh.")
