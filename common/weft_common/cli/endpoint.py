"""Which Weft a command talks to: the one named on the command line, else the one of this WEFT_HOME."""

from pathlib import Path

from weft_common.cli.client import Endpoint
from weft_common.cli.up_options import UpOptions
from weft_common.home import Home, StartError
from weft_common.run_lock import read_owner


def endpoint_of(root: Path, url: str | None, key: str | None) -> Endpoint:
    """Return where to call and with which key; raises StartError where no key is to be found."""
    home = Home(root.expanduser().absolute())
    url = url or url_of(home)
    if key is None:
        try:
            key = home.key.read_text().strip()
        except OSError as error:
            raise StartError(
                f"there is no key in {home.root}: start Weft with `weft up`, or give --key"
            ) from error
    return Endpoint(url, key)


def url_of(home: Home) -> str:
    """Return where the Weft of this home serves, or would."""
    owner = read_owner(home.lock)
    return UpOptions().url if owner is None else owner.url
