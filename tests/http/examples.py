"""Examples of VirusTotal's API as tests: the request as it is written, and an answer of the example's shape."""

import re

import pytest

from weirtest import marker

# Placeholders in requests: {sha256}, {ruleset}, ... stand for what the fixture made.


@pytest.fixture(scope="module")
def user(server):
    """(name, client) of the module's hunter."""
    name = f"hunter-{marker()}"
    return name, server.api(server.user(name))


@pytest.fixture(scope="module")
def api(user):
    return user[1]


def kind(value):
    """Its JSON type; whole numbers and fractions are told apart."""
    if isinstance(value, bool):
        return "boolean"
    for types, name in (((dict,), "object"), ((list,), "array"), ((str,), "string"), ((int,), "integer"), ((float,), "number")):
        if isinstance(value, types):
            return name
    return "null"


def unlike(example, actual, place="answer"):
    """Where the answer is not of the example's shape: every key of it with the same JSON type; lines."""
    if kind(example) != kind(actual) and not (kind(example) == "number" and kind(actual) == "integer"):
        return [f"{place}: {kind(actual)} instead of {kind(example)}: {str(actual)[:200]}"]
    if isinstance(example, dict):
        missing = [f"{place}.{key} is not there" for key in example if key not in actual]
        return missing + [line for key in example if key in actual for line in unlike(example[key], actual[key], f"{place}.{key}")]
    if isinstance(example, list) and example:
        if not actual:
            return [f"{place} is empty"]
        return [line for i, item in enumerate(actual) for line in unlike(example[0], item, f"{place}[{i}]")]
    return []


def ask(api, request, names, **kwargs):
    """Sends "METHOD /path" with its placeholders filled; the answer."""
    method, _, path = request.partition(" ")
    path = re.sub(r"\{(\w+)\}", lambda m: str(names[m.group(1)]), path)
    return api.request(method, path, **kwargs)


def check(api, request, names, example=None, status=200, **kwargs):
    """The answer's JSON, which is of the example's shape."""
    response = ask(api, request, names, **kwargs)
    assert response.status_code == status, f"{request}: {response.status_code} {response.text[:500]}"
    answer = response.json() if response.content else {}
    wrong = unlike(example if example is not None else {}, answer)
    assert not wrong, f"{request}: " + "; ".join(wrong[:10])
    return answer


def rows(*table):
    return [pytest.param(*row, id=re.sub(r"[^A-Za-z0-9]+", "-", " ".join(map(str, row))[:60]).strip("-")) for row in table]
