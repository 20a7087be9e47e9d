"""Run a router: `python -m weft_router`, told by WEFT_ variables."""

import sys

from weft_common.entry import start
from weft_router.app import run
from weft_router.settings import RouterSettings

if __name__ == "__main__":
    sys.exit(start("router", RouterSettings, run))
