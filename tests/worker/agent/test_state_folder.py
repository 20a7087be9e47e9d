import os
from pathlib import Path

import pytest

from weft_worker.agent.state_folder import StateFolder, StateFolderTaken, open_state_folder


def test_a_folder_is_made_for_its_owner_and_held(tmp_path: Path) -> None:
    with open_state_folder(tmp_path / "state") as folder:
        assert folder.root.stat().st_mode & 0o777 == 0o700
        with pytest.raises(StateFolderTaken, match="WEFT_STATE_DIR"), open_state_folder(folder.root):
            pass
    with open_state_folder(folder.root):
        pass


def test_the_socket_is_in_the_folder() -> None:
    assert StateFolder(Path("/var/lib/weft/worker/w")).socket() == Path("/var/lib/weft/worker/w/agent.sock")


def test_a_long_path_gets_a_short_and_private_stand_in(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / ("x" * 100))
    socket = folder.socket()
    try:
        assert len(os.fsencode(socket)) < 100
        assert socket == folder.socket()
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        socket.parent.chmod(0o755)
        with pytest.raises(StateFolderTaken):
            folder.socket()
    finally:
        socket.parent.rmdir()
