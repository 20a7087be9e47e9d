"""Run a gateway: `python -m weft_gateway`, told by WEFT_ variables."""

import sys

from weft_common.entry import start
from weft_gateway.app import run
from weft_gateway.settings import GatewaySettings

if __name__ == "__main__":
    sys.exit(start("gateway", GatewaySettings, run))
