"""What every engine keeps that goes on with texts, by those that need torch."""

import pytest

from tests.worker.engines.contract.test_completion import *  # noqa: F403 (the same tests, with other engines)

pytestmark = pytest.mark.torch
