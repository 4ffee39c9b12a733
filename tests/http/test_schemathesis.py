"""schemathesis asks what no one would think of, after /api/openapi.json, and must find nothing.

Deterministic: the same requests each time. SCHEMATHESIS_EXAMPLES makes more of them (`make schemathesis`).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import weirtest

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "4"))
# Filters, cursors, hashes and rules have grammars that a schema cannot say: 400 is an answer to what it takes.
CONFIG = """
[warnings]
enabled = false
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "3xx", 400, 401, 403, 404, 405, 409, 413, 429]
"""


def config(openapi):
    lines = [CONFIG]
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            if "multipart/form-data" in operation.get("requestBody", {}).get("content", {}):
                # Every part of a form is text, whatever its type was.
                lines += ["[[operations]]", f'include-name = "{method.upper()} {path}"',
                          "checks.negative_data_rejection.enabled = false"]
    return "\n".join(lines) + "\n"


@pytest.mark.timeout(3600)
def test_it_finds_nothing(make_server, tmp_path):
    server = make_server()
    key = server.user("somebody", "admin")
    server.start()
    openapi = server.api().get("//api/openapi.json").json()
    (tmp_path / "schemathesis.toml").write_text(config(openapi))
    program = Path(sys.executable).parent / "schemathesis"
    done = subprocess.run(
        [program, "--config-file", tmp_path / "schemathesis.toml", "run", f"{server.base}/api/openapi.json",
         "--url", server.base, "-H", f"x-apikey: {key}", "--seed", "1", "--generation-deterministic",
         "-n", str(EXAMPLES), "--no-color"],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    # It did ask: every operation is in the server's log.
    routes = {e["route"] for e in server.log_events() if e["event"] == "request"}
    names = {re.sub(r"_[0-9]+$", "", operation["operationId"])  # counted where one handler has several routes
             for item in openapi["paths"].values() for operation in item.values()}
    assert names - routes == set()
    weirtest.wait_for(lambda: server.api(key).get("/ioc_stream").status_code == 200, 10, "it does not serve any more")
