"""Model files by way of an S3-compatible store, which `weft up` is told of by flags."""

from pathlib import Path

import pytest

from tests.e2e.pair import SHORT_TIMERS
from tests.e2e.stack import Stack
from tests.e2e.weights import add_weights, came, digest, kept, load
from tests.router.staging.s3 import an_s3

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


def test_workers_pull_from_the_bucket_without_its_keys_and_go_on_without_it(
    own_stack: Stack, tmp_path: Path
) -> None:
    with an_s3() as s3:
        flags = ("--storage-url", s3.url, "--storage-access-key", "key")
        own_stack.up(*flags, WEFT_STORAGE_SECRET_KEY="secret", WEFT_AUTO_APPROVE_NODES="true", **SHORT_TIMERS)
        with own_stack.more_workers({"two": {}, "three": {}}, **SHORT_TIMERS):
            path = add_weights(own_stack, "stored", 33)
            for node in ("two", "three"):
                answer = load(own_stack, "stored", node)
                assert answer.status_code == 200, f"{answer.text}\n{own_stack.logs()}"
                assert kept(own_stack, node, path) == digest(path)
            counts = came(own_stack)
            assert counts["storage"] >= path.stat().st_size
            assert counts.get("router", 0) == 0
            assert len(s3.objects()) == 1
            s3.server.stop()
            path = add_weights(own_stack, "later", 9)
            assert load(own_stack, "later", "two").status_code == 200
            assert kept(own_stack, "two", path) == digest(path)
            assert came(own_stack)["router"] == path.stat().st_size
            s3.server.start()  # for its end
