"""What every engine keeps of a call that has to be made, by those that need torch."""

import pytest

from tests.worker.engines.contract.test_calls import *  # noqa: F403 (the same tests, with other engines)

pytestmark = pytest.mark.torch
