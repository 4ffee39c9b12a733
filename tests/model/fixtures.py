"""What the tests of tests/model and tests/crash start with."""

import os
from pathlib import Path

import pytest
import weirtest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def weir_bin():
    binary = Path(os.environ.get("WEIR_BIN", ROOT / "build" / "release" / "weir")).resolve()
    assert binary.exists(), f"'{binary}' does not exist: make build"
    return binary


@pytest.fixture
def server(weir_bin, tmp_path):
    """A server of the test's own, not started yet."""
    one = weirtest.Server(weir_bin, tmp_path)
    yield one
    if one.process:
        one.kill()
