"""What the sources promise (errors, settings, query parameters), and which of it the suite has met.

A name that no test can reach over HTTP stands below with its reason and the test that reaches it
otherwise; test_contract.py checks that such a test exists.
"""

import json
import re
from pathlib import Path
from urllib.parse import parse_qs

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "src" / "api"

# Kinds of failure (errors.def) that no request can provoke at will.
ELSEWHERE = {
    "CLOSED": "only while the server stops: tests/unit/test_users.c",
    "CORRUPT": "a damaged pack or database: tests/unit/test_pack.c",
    "DIED": "a scanner that dies twice under a compilation: tests/unit/test_ruleset_check.c",
    "EXISTS": "no route makes what may be there already: tests/unit/test_users.c",
    "IO": "a disk that fails: tests/unit/test_writer_faults.c",
    "NO_MEMORY": "tests/unit/test_arena.c",
    "TIMEOUT": "tests/unit/test_writer.c",
    "UNCERTAIN": "a commit whose outcome is lost: tests/unit/test_writer_faults.c",
}

# Settings whose effect is not seen over HTTP.
SETTINGS_ELSEWHERE = {
    "retention-days": "old entries go an hour after the start: tests/unit/test_stream_service.c",
    "unpack-timeout-ms": "an archive that takes so long: tests/unit/test_unpack.c",
    "group-delay-us": "which commits share a sync: tests/unit/test_writer.c",
}


def errors_never_met(exchanges, logs):
    """Kinds of errors.def that stood behind no refusal, and codes of the API's sources that no answer had."""
    rows = re.findall(r'^API_ERROR\((\w+), (\d+), "(\w+)"', (API / "errors.def").read_text(), re.M)
    answers = [(int(status), code) for _, status, code in rows]
    codes, kinds = codes_met(exchanges), failures_met(logs)
    # A handler may word a refusal itself; then the row is met where no other has its answer.
    never = {kind for (kind, _, _), answer in zip(rows, answers, strict=True)
             if kind not in kinds and not (answer in codes and answers.count(answer) == 1)}
    return sorted(never - set(ELSEWHERE)), sorted(error_codes() - codes)


def error_codes():
    """{(status, code)} that the API's sources name, but for errors.def, whose rows are met by their kind."""
    pairs = set()
    for path in API.glob("*.c"):
        found = re.findall(r'\b(\d{3}),\s*"([A-Z]\w+(?:Error|Yet))"', path.read_text())
        pairs |= {(int(status), code) for status, code in found}
    return pairs


def settings():
    text = (ROOT / "src/main/include/main/settings.def").read_text()
    return re.findall(r'^SETTING\(\w+,\s*"([a-z0-9-]+)"', text, re.M)


def failures_met(logs):
    """Kinds that stand in lines of requests."""
    met = set()
    for path in logs:
        for line in path.read_bytes().splitlines() if path.exists() else []:
            if b'"failure":' in line:
                met.add(json.loads(line).get("failure"))
    return met


def codes_met(exchanges):
    met = set()
    for exchange in exchanges:
        if exchange.status >= 400 and exchange.body:
            error = json.loads(exchange.body).get("error") or {}
            met.add((exchange.status, error.get("code")))
    return met


def parameters_never_used(openapi, contract, exchanges):
    """(method, path, parameter) of the document that no successful exchange named."""
    documented = {(method, path, p["name"]) for path, item in openapi["paths"].items()
                  for method, operation in item.items() for p in operation.get("parameters", []) if p["in"] == "query"}
    used = set()
    for exchange in exchanges:
        if exchange.status == 200 and exchange.query:
            template = contract.template(exchange.path)
            method = "get" if exchange.method == "HEAD" else exchange.method.lower()
            used |= {(method, template, name) for name in parse_qs(exchange.query, keep_blank_values=True)}
    return sorted(documented - used)


def queries():
    """Keys of queries.json as "METHOD path"; one without a method is of GET."""
    keys = json.loads((API / "schema" / "queries.json").read_text())
    return {key if " " in key else f"GET {key}" for key in keys}


def parameters_read():
    """Names of query parameters that the API's sources read."""
    text = "\n".join(path.read_text() for path in API.glob("*.c"))
    return set(re.findall(r'\b(?:http_query|api_bool)\(\w+,\s*"(\w+)"', text))


def tests_named(table):
    """Lines of a table above whose test does not exist."""
    return [name for name, why in table.items()
            if not all((ROOT / path).exists() for path in re.findall(r"tests/\S+\.\w+", why) or ["none"])]
