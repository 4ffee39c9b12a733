"""A real weir process with its own data folder, and what has been said to it over HTTP.

A plain `requests` client is `server.api(key)`; vt-py is `server.vt(key)`. All exchanges of both
are kept in `TRAFFIC`, so that test_contract.py can hold them against /api/openapi.json.
"""

import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import requests
import vt

START_MAX_S = 60  # sanitizer builds on a busy machine included
STOP_MAX_S = 30
POLL_S = 0.02  # between two looks at something that gives no event

TRAFFIC = []  # every Exchange of this test run, in order
LOGS = []  # the log of every server of this test run
SETTINGS = set()  # names of settings that some server or command of this test run was given


@dataclass
class Exchange:
    method: str
    path: str  # without the query
    query: str
    status: int
    content_type: str
    body: bytes  # only of JSON responses
    test: str  # the test that caused it
    size: int = 0  # bytes of the body, of whatever type

    @classmethod
    def record(cls, method, url, status, content_type, body, size=None):
        test = os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0]
        parts = urlsplit(str(url))
        TRAFFIC.append(cls(method.upper(), parts.path, parts.query, status, content_type or "", body, test,
                           len(body) if size is None else size))


def direct_session():
    """No proxy and no .netrc of the person who runs the tests."""
    session = requests.Session()
    session.trust_env = False
    return session


def record_vt_py():
    """vt-py runs unmodified; what passes through its HTTP library is noted on the way."""
    plain = aiohttp.ClientSession._request

    async def noted(self, method, url, **kwargs):
        response = await plain(self, method, url, **kwargs)
        kind = response.headers.get("Content-Type", "")
        body = await response.read() if "json" in kind else b""
        Exchange.record(method, response.url, response.status, kind, body)
        return response

    aiohttp.ClientSession._request = noted


class Api:
    """`requests` with the server's address, one key, and a record of every exchange."""

    def __init__(self, base, key):
        self.base, self.key = base, key
        self.session = direct_session()
        if key:
            self.session.headers["x-apikey"] = key

    def request(self, method, path, **kwargs):
        """`path` is below /api/v3 unless it starts with two slashes, then it is the whole path."""
        url = self.base + (path[1:] if path.startswith("//") else "/api/v3" + path)
        response = self.session.request(method, url, timeout=60, **kwargs)
        kind = response.headers.get("Content-Type", "")
        body = response.content if "json" in kind else b""
        size = len(body) if kwargs.get("stream") else len(response.content)
        Exchange.record(method, response.request.url, response.status_code, kind, body, size)
        return response

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, **kwargs):
        return self.request("POST", path, **kwargs)

    def patch(self, path, **kwargs):
        return self.request("PATCH", path, **kwargs)

    def delete(self, path, **kwargs):
        return self.request("DELETE", path, **kwargs)

    def upload(self, data, name="sample.bin"):
        """Sends a file; the id of its analysis."""
        response = self.post("/files", files={"file": (name, data)})
        assert response.status_code == 200, response.text
        return response.json()["data"]["id"]

    def hunt(self, data, name="sample.bin"):
        """Sends a file and waits for its analysis; the file's SHA-256."""
        attributes = self.wait_analysis(self.upload(data, name))
        assert attributes["not_run"] == [], attributes
        return hashlib.sha256(data).hexdigest()

    def ruleset(self, rules, name="a ruleset", **attributes):
        """Makes a ruleset, enabled unless told otherwise; the object."""
        attributes = {"name": name, "rules": rules, "enabled": True, **attributes}
        response = self.post("/intelligence/hunting_rulesets",
                             json={"data": {"type": "hunting_ruleset", "attributes": attributes}})
        assert response.status_code == 200, response.text
        return response.json()["data"]

    def stream(self, **params):
        """One page of the IoC Stream, the whole answer."""
        response = self.get("/ioc_stream", params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def wait_analysis(self, analysis_id, max_s=60):
        """The attributes of an analysis once it is completed."""

        def completed():
            attributes = self.get(f"/analyses/{analysis_id}").json()["data"]["attributes"]
            return attributes if attributes["status"] == "completed" else None

        return wait_for(completed, max_s, f"analysis '{analysis_id}' is not completed")


def assert_error(response, status, code, *texts):
    """The documented error, its message holding every text; the message."""
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    assert response.headers["Content-Type"] == "application/json"
    error = response.json()["error"]
    assert error["code"] == code, error
    for text in texts:
        assert text in error["message"], error
    return error["message"]


def marker():
    """Text that stands in no other test's samples and rules."""
    return "mark" + secrets.token_hex(8)


def rules_for(text, count=1, name="found"):
    """`count` rules that match what holds the text."""
    return "\n".join(f'rule {name}_{i} {{ strings: $a = "{text}" condition: $a }}' for i in range(count))


def write_files(root, files):
    """{path below root: bytes}, with the folders they need; root."""
    for path, content in files.items():
        full = root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(content)
    return root


def wait_for(look, max_s, otherwise):
    """What `look` returns as soon as that is true."""
    end = time.monotonic() + max_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{otherwise} after {max_s} s")
        time.sleep(POLL_S)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """One `weir serve`. The data folder and the log outlive a restart."""

    def __init__(self, binary, folder, *args, env=None):
        self.binary, self.folder = Path(binary), Path(folder)
        self.data = self.folder / "data"
        self.log_path = self.folder / "server.log"
        self.args = args
        # No setting of the person who runs the tests reaches the server.
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
        self.env.update(env or {})
        note_settings(args, env or {})
        LOGS.append(self.log_path)
        self.process = None
        self.log_read = 0  # bytes of the log whose errors were looked at
        self.clients = []
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def base(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        assert self.process is None, "already started"
        self.port = free_port()
        with self.log_path.open("ab") as log, (self.folder / "stdout").open("ab") as out:
            self.process = subprocess.Popen(
                [self.binary, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}", *self.args],
                stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=self.env, start_new_session=True)
        wait_for(self.is_ready, START_MAX_S, "the server is not ready")
        return self

    def is_ready(self):
        self.require_alive()
        try:
            return direct_session().get(f"{self.base}/readyz", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def require_alive(self):
        status = self.process.poll()
        assert status is None, f"the server ended with status {status}; its log:\n{self.log_tail()}"

    def stop(self):
        """SIGTERM: the server ends by itself with status 0 and leaves no process behind."""
        self.require_alive()
        group = self.process.pid
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not end in {STOP_MAX_S} s; its log:\n{self.log_tail()}") from None
        self.process = None
        self.close_clients()
        assert status == 0, f"the server ended with status {status}; its log:\n{self.log_tail()}"
        wait_for(lambda: not group_exists(group), 5, "processes of the server are left")

    def kill(self):
        """SIGKILL to the server alone; its children have to notice by themselves."""
        group = self.process.pid
        self.process.kill()
        self.process.wait()
        self.process = None
        self.close_clients()
        wait_for(lambda: not group_exists(group), 10, "scan children outlive a killed server")

    def close_clients(self):
        for client in self.clients:
            client.close()
        self.clients = []

    def command(self, *args, check=True):
        """`weir ARGS... --data DIR`, with the server running or not; the finished process."""
        note_settings(args, {})
        done = subprocess.run([self.binary, *args, "--data", self.data], env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, f"weir {' '.join(map(str, args))}: {done.returncode}\n{done.stderr}"
        return done

    def user(self, name, role="hunter"):
        """Makes a user; the key."""
        return self.command("user", "add", name, "--role", role).stdout.strip()

    def someone(self, role="hunter"):
        """The key of a new user whose name does not matter."""
        return self.user(f"{role}-{secrets.token_hex(4)}", role)

    def api(self, key=None):
        return Api(self.base, key)

    def vt(self, key):
        """A vt-py client, closed when the server stops."""
        client = vt.Client(key, host=self.base)
        self.clients.append(client)
        return client

    def log_events(self, start=0):
        """The log's events as dictionaries, from a byte position on; a line that is none is an error too."""
        events = []
        with self.log_path.open("rb") as f:
            f.seek(start)
            for line in f.read().splitlines():
                try:
                    events.append(json.loads(line))
                except ValueError:
                    events.append({"level": "error", "event": "not_json", "line": line.decode(errors="replace")})
        return events

    def new_errors(self):
        """Error-level events since the last call."""
        start, self.log_read = self.log_read, self.log_path.stat().st_size if self.log_path.exists() else 0
        return [e for e in self.log_events(start) if e.get("level") == "error"] if self.log_read else []

    def log_tail(self, lines=60):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


def note_settings(args, env):
    """Remembers which settings a program is given by flag or variable."""
    flags = (str(arg)[2:].partition("=")[0] for arg in args if str(arg).startswith("--"))
    SETTINGS.update(flags, (name[5:].lower().replace("_", "-") for name in env if name.startswith("WEIR_")),
                    ("data", "listen"))


def group_exists(group):
    try:
        os.killpg(group, 0)
        return True
    except ProcessLookupError:
        return False
