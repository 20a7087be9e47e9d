"""The token of the mesh, free of gRPC, since `weft up` needs it before it could afford that import."""

import hashlib
import hmac

METADATA_KEY = "x-weft-mesh"
_PURPOSE = b"weft-mesh-call"


def mesh_token(mesh_secret: str) -> str:
    """Derive the token; it proves knowledge of the secret without being able to sign tickets."""
    return hmac.new(bytes.fromhex(mesh_secret), _PURPOSE, hashlib.sha256).hexdigest()
