"""Which URLs settings take."""

import pytest

from weft_common.urls import check_host_port, check_nats_url, check_postgres_url


@pytest.mark.parametrize(
    "url", ["nats://x", "nats://token@127.0.0.1:4222", "nats://u:p@[::1]:4222", "tls://bus.example"]
)
def test_urls_of_a_bus_are_taken(url: str) -> None:
    assert check_nats_url(url) == url


@pytest.mark.parametrize(
    "url", ["http://x", "x:4222", "nats:x", "nats://", "nats://x:99999", "nats://x:port", ""]
)
def test_other_urls_are_no_bus(url: str) -> None:
    with pytest.raises(ValueError, match="nats://"):
        check_nats_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://x",
        "postgres://u:p%2Fw@db:5432/weft?sslmode=disable",
        "postgresql://one:5432,two:5433/weft",
        "postgresql:///weft?host=/run/postgresql",
    ],
)
def test_urls_of_a_database_are_taken(url: str) -> None:
    assert check_postgres_url(url) == url


@pytest.mark.parametrize(
    "url", ["foo", "mysql://db/weft", "postgresql://u:sec/ret@db/weft", "postgresql://db:x/weft"]
)
def test_other_urls_are_no_database_and_are_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://USER") as caught:
        check_postgres_url(url)
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:7000", "router.example:7000"])
def test_addresses_are_taken(text: str) -> None:
    assert check_host_port(text) == text


@pytest.mark.parametrize(
    "text", ["7000", ":7000", "host", "::1:7000", "host:", "host:70000", "http://host:7000"]
)
def test_other_texts_are_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        check_host_port(text)
