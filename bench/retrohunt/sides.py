"""The two sides of the benchmark: a running server and its jobs, and the plain program over loose files."""

import http.client
import json
import re
import signal
import socket
import sqlite3
import subprocess
import time
from dataclasses import dataclass, field

POLL_S = 0.001
READY_S = 120
JOB_S = 3600
OVER = ("finished", "aborted")


@dataclass
class Hunt:
    """What one side found, and what it took."""
    seconds: float
    found: set  # (sha256, rule)
    files: int = 0  # read and scanned
    bytes: int = 0
    attributes: dict = field(default_factory=dict)


class Plain:
    """bench_retrohunt over the files of the corpus that a job hunts."""

    def __init__(self, program, paths, list_path, rules_path):
        self.program, self.names = program, [p.name for p in paths]
        self.list_path, self.rules_path = list_path, rules_path
        list_path.write_text("".join(f"{p}\n" for p in paths))

    def hunt(self, rules, preexec=None):
        self.rules_path.write_text(rules)
        start = time.perf_counter()
        done = subprocess.run([self.program, self.rules_path, self.list_path], capture_output=True, text=True, check=False,
                              preexec_fn=preexec)  # pylint: disable=subprocess-popen-preexec-fn
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            raise SystemExit(f"the plain side failed: {done.stderr}\n{rules}")
        *hits, last = done.stdout.splitlines()
        counted = dict(pair.split("=") for pair in last.split()[1:])
        found = {(self.names[int(line)], rule) for line, rule in (hit.split("\t") for hit in hits)}
        return Hunt(seconds, found, int(counted["files"]), int(counted["bytes"]))


class Server:
    def __init__(self, binary, data, settings=(), preexec=None):
        self.binary, self.data, self.settings, self.preexec = binary, data, settings, preexec
        self.process = self.connection = None
        self.key = None

    def start(self):
        """Serving; seconds it took."""
        start = time.perf_counter()
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.log = open(self.data.with_suffix(".log"), "ab")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
            [self.binary, "serve", "--data", self.data, "--listen", f"127.0.0.1:{port}", *self.settings],
            stdout=self.log, stderr=self.log, preexec_fn=self.preexec)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=JOB_S)
        while True:
            try:
                if self.ask("GET", "//readyz")[0] == 200:
                    break
            except OSError:
                self.connection.close()
            if self.process.poll() is not None or time.perf_counter() - start > READY_S:
                raise SystemExit(f"the server did not start: see {self.data.with_suffix('.log')}")
            time.sleep(0.01)
        if not self.key:
            self.key = self.command("user", "add", "bench", "--role", "admin").stdout.strip()
        return time.perf_counter() - start

    def command(self, *args):
        return subprocess.run([self.binary, *args, "--data", self.data], capture_output=True, text=True, check=True)

    def ask(self, method, path, body=None):
        """Status and JSON."""
        path = path[1:] if path.startswith("//") else "/api/v3" + path
        headers = {"x-apikey": self.key or "", "Content-Type": "application/json"}
        text = json.dumps(body) if body else None
        try:
            self.connection.request(method, path, text, headers)
            answer = self.connection.getresponse()
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            self.connection.close()  # it was idle for too long
            self.connection.request(method, path, text, headers)
            answer = self.connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text[:1] == b"{" else text.decode()

    def metric(self, name):
        found = re.search(rf"^weir_{name} (\d+)", self.ask("GET", "//metrics")[1], re.M)
        if not found:
            raise SystemExit(f"the server has no counter {name}")
        return int(found.group(1))

    def rows(self, query, *values):
        db = sqlite3.connect(f"file:{self.data / 'weir.db'}?mode=ro", uri=True, timeout=60)
        try:
            return db.execute(query, values).fetchall()
        finally:
            db.close()

    def begin(self, rules, **attributes):
        """The id of a job."""
        status, answer = self.ask("POST", "/intelligence/retrohunt_jobs", {
            "data": {"type": "retrohunt_job", "attributes": {"rules": rules, **attributes}}})
        if status != 200:
            raise SystemExit(f"a job was refused: {answer}\n{rules}")
        return answer["data"]["id"]

    def look(self, job):
        return self.ask("GET", f"/intelligence/retrohunt_jobs/{job}")[1]["data"]["attributes"]

    def wait(self, job, until=lambda a: a["status"] in OVER):
        while not until(attributes := self.look(job)):
            time.sleep(POLL_S)
        return attributes

    def hunt(self, rules):
        """A job from the request until a client sees that it is finished; what it found is read after that."""
        start = time.perf_counter()
        job = self.begin(rules)
        attributes = self.wait(job)
        seconds = time.perf_counter() - start
        if attributes["status"] != "finished" or not (attributes["complete"] or attributes["reason"] == "skipped_files"):
            raise SystemExit(f"job {job} ended as {attributes}")
        return self.told(job, seconds, attributes)

    def told(self, job, seconds, attributes):
        (number, files, size), = self.rows("SELECT id, verified_files, verified_bytes FROM retrohunt_job WHERE name = ?", job)
        found = [(sha.hex(), rule) for sha, rule in self.rows("SELECT sha256, rule FROM retrohunt_match WHERE job_id = ?", number)]
        if len(found) != len(set(found)):
            raise SystemExit(f"job {job} tells matches twice")
        return Hunt(seconds, set(found), files, size, attributes)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.connection.close()

    def stop(self):
        self.connection.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()
