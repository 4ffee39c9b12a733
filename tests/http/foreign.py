"""Programs that others wrote, run as they are. tools/clients.sh (`make clients`) brings them.

They speak to weir through a Recorder, so that the contract and the checklist hold for what they hear.
"""

import contextlib
import gzip
import http.client
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from weirtest import Exchange

ROOT = Path(__file__).resolve().parents[2]
HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding"}


def program(name, file):
    """The path of a part of the cache, or a skip that says why it is not there."""
    done = subprocess.run([ROOT / "tools" / "clients.sh", "--print-dir"], capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip())
    if not (folder / file).exists():
        why = folder / f"{name}.why"
        pytest.skip(f"{name}: {why.read_text().strip()}" if why.exists() else f"{name} is not there: make clients")
    return folder / file


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def pass_on(self):
        target = urlsplit(self.server.to)
        with contextlib.closing(http.client.HTTPConnection(target.hostname, target.port, timeout=120)) as onward:
            body = self.body()
            onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_HEADERS | {"content-length"}:
                    onward.putheader(name, value)
            if body or self.command in ("POST", "PATCH", "PUT"):
                onward.putheader("Content-Length", str(len(body)))
            onward.endheaders(body or None)
            response = onward.getresponse()
            data = response.read()
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in HOP_HEADERS | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        kind = response.getheader("Content-Type", "")
        plain = gzip.decompress(data) if response.getheader("Content-Encoding") == "gzip" else data
        url = f"http://{self.headers['Host']}{self.path}"
        Exchange.record(self.command, url, response.status, kind, plain if "json" in kind else b"", len(plain))

    do_GET = do_POST = do_PATCH = do_DELETE = do_HEAD = do_PUT = pass_on

    def log_message(self, *args):
        pass


class Recorder:
    """A port of its own whose requests go to the server as they are, each noted with its answer."""

    def __init__(self, server):
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.to = server.base
        self.base = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


def run(args, home, env=None, **kwargs):
    """A program in a home of its own, without the proxies and settings of who runs the tests."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1", **(env or {})}
    kwargs.setdefault("stdin", None if "input" in kwargs else subprocess.DEVNULL)
    if "input" in kwargs:
        del kwargs["stdin"]
    return subprocess.run([str(a) for a in args], cwd=home, env=clean, capture_output=True, text=True, timeout=300, **kwargs)
