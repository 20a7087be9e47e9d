"""The command `weft`: it runs the parts of one machine, says how they are, and talks to them."""

from weft_common.cli.app import main

__all__ = ["main"]
