import os
import re
from pathlib import Path

import pytest

import weirtest

ROOT = Path(__file__).resolve().parents[2]


def pytest_configure():
    weirtest.record_vt_py()


def pytest_collection_modifyitems(items):
    # The checklist and the contract are about what all the others said and heard.
    last = ["test_checklist", "test_contract"]
    items.sort(key=lambda item: last.index(item.module.__name__) + 1 if item.module.__name__ in last else 0)


@pytest.fixture(scope="session")
def weir_bin():
    binary = Path(os.environ.get("WEIR_BIN", ROOT / "build" / "release" / "weir")).resolve()
    assert binary.exists(), f"'{binary}' does not exist: make build"
    return binary


@pytest.fixture(scope="session")
def servers():
    """The servers that the running test can reach: its module's, and those it made itself."""
    return []


@pytest.fixture(scope="module")
def server(weir_bin, servers, tmp_path_factory):
    """The running server of a test module. Tests share it, so each makes its own users."""
    one = weirtest.Server(weir_bin, tmp_path_factory.mktemp("weir"))
    servers.append(one)
    try:
        yield one.start()
        one.stop()
        unexpected = one.new_errors()
        assert not unexpected, f"errors in the log while stopping: {unexpected}"
    finally:
        servers.remove(one)
        if one.process:
            one.kill()


@pytest.fixture
def make_server(weir_bin, servers, tmp_path):
    """make_server(*args, env=None): a server of the test's own, not started yet; a name gives another folder."""
    made = []

    def make(*args, name="weir", env=None):
        one = weirtest.Server(weir_bin, tmp_path / name, *args, env=env)
        made.append(one)
        servers.append(one)
        return one

    yield make
    try:
        for one in made:
            if one.process:
                one.stop()
    finally:
        for one in made:
            if one.process:
                one.kill()


@pytest.fixture
def api(server, request):
    """A `requests` client of a new hunter of the module's server."""
    return server.api(server.user(user_name(request)))


@pytest.fixture
def client(server, request):
    """A vt-py client of a new hunter of the module's server."""
    return server.vt(server.user(user_name(request)))


def user_name(request):
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return f"{name[:24]}-{os.urandom(3).hex()}"


@pytest.fixture(autouse=True)
def log_is_clean(request, servers):
    """A test fails if its servers logged an error that it did not announce by @expect_errors, or died."""
    shared = list(servers)
    yield
    marker = request.node.get_closest_marker("expect_errors")
    expected = marker.args if marker else ()
    mine = list(servers)
    servers[:] = [one for one in servers if one in shared]  # its own end with the test
    for one in mine:
        if one.process:
            one.require_alive()
        unexpected = [e for e in one.new_errors() if e.get("event") not in expected]
        assert not unexpected, f"errors in the server's log: {unexpected}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.failed:
        for one in item.funcargs.get("servers", []):
            report.sections.append((f"log of {one.folder}", one.log_tail() if one.log_path.exists() else "no log"))
    return report
