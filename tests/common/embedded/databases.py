"""Databases for tests."""

from weft_common.embedded.postgres import Database, database
from weft_common.embedded.postgres_place import locate
from weft_common.home import Home
from weft_common.ports import load_ports


def database_of(home: Home, password: str = "secret") -> Database:
    """Return a home's database, with a port of its own."""
    port = load_ports(home, single=("postgres",))["postgres"]
    return database(home, locate(home), port=port, password=password)
