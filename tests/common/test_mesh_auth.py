"""Only who knows the mesh secret calls inside the mesh."""

import pytest

from weft_common.errors import NotInMesh
from weft_common.mesh_auth import mesh_metadata, mesh_token, require_mesh

SECRET = "ab" * 32


def test_the_own_token_passes() -> None:
    require_mesh(dict(mesh_metadata(SECRET))["x-weft-mesh"], SECRET)


@pytest.mark.parametrize("presented", [None, "", SECRET, "ü", mesh_token("cd" * 32)])
def test_anything_else_is_refused(presented: str | None) -> None:
    with pytest.raises(NotInMesh):
        require_mesh(presented, SECRET)
