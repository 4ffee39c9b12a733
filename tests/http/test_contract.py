"""Runs last: everything that was said to any server is what /api/openapi.json promises."""

import pytest

import contract
import surface
import weirtest


@pytest.fixture(scope="module")
def openapi(server):
    # Twice, so that the exchange that brings the document is among those judged.
    for _ in range(2):
        response = server.api().get("//api/openapi.json")
        assert response.status_code == 200
    return response.json()


@pytest.fixture(scope="module")
def judged(openapi):
    """(problems, contract) of all that was said; thousands of answers, so judged once."""
    assert weirtest.TRAFFIC
    return contract.validate_all(openapi, weirtest.TRAFFIC)


def test_every_response_is_as_documented(judged):
    problems, _ = judged
    assert not problems, "\n".join(problems[:40])


@pytest.fixture
def whole_suite(request):
    """What was never met is a fault only when every test ran."""
    options = request.config.option
    chosen = {item.path for item in request.session.items}
    if options.only or options.keyword or options.markexpr or chosen != set(request.path.parent.glob("test_*.py")):
        pytest.skip("only some of the tests were selected")


def test_every_route_was_used(judged, whole_suite):
    _, used = judged
    assert used.never_hit() == []


def test_every_query_parameter_was_used(openapi, judged, whole_suite):
    _, used = judged
    assert surface.parameters_never_used(openapi, used, weirtest.TRAFFIC) == []


def test_every_query_parameter_is_documented(openapi):
    documented = {p["name"] for item in openapi["paths"].values() for operation in item.values()
                  for p in operation.get("parameters", [])}
    assert surface.parameters_read() - documented == set()
    operations = {f"{method.upper()} {path}" for path, item in openapi["paths"].items() for method in item}
    assert surface.queries() - operations == set()


def test_every_error_was_met(whole_suite):
    assert surface.errors_never_met(weirtest.TRAFFIC, weirtest.LOGS) == ([], [])
    assert surface.tests_named(surface.ELSEWHERE) == []


def test_every_setting_was_set(whole_suite):
    names = set(surface.settings()) - set(surface.SETTINGS_ELSEWHERE)
    assert sorted(names - weirtest.SETTINGS) == []
    assert surface.tests_named(surface.SETTINGS_ELSEWHERE) == []


def test_a_response_with_an_undocumented_field_is_found(openapi):
    """The judge itself: what it is for must not pass."""
    path, _ = next((p, item) for p, item in openapi["paths"].items() if "{" not in p and "get" in item)
    wrong = weirtest.Exchange("GET", contract_path(openapi, path), "", 200, "application/json",
                              b'{"no_such_field_anywhere": 1}', "made up")
    problems, _ = contract.validate_all(openapi, [wrong])
    assert len(problems) == 1


def contract_path(openapi, path):
    servers = openapi.get("servers") or [{"url": ""}]
    return servers[0]["url"].rstrip("/") + path if servers[0]["url"].startswith("/") else path
