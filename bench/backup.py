"""weir backup against `cp -r` of the same folder, and what clients notice of it.

    bench/backup.sh      MB=2000 and CLIENTS=4 change the size and the load

Ends with one line 'backup key=value ...': MB/s of a first backup, of cp -r and a sync right after it, of a second
backup; and the time of uploads by CLIENTS clients, one after the other each, without a backup and during one.
"""

import http.client
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

WEIR = Path(__file__).resolve().parents[1] / "build" / "release" / "weir"
MB, CLIENTS = int(os.environ.get("MB", "2000")), int(os.environ.get("CLIENTS", "4"))
SAMPLE = 1 << 20
PORT = 18197


def run(*args):
    return subprocess.run([WEIR, *args], check=True, capture_output=True, text=True).stdout


def upload(connection, key, content):
    body = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n" + content + b"\r\n--b--\r\n"
    start = time.monotonic()
    connection.request("POST", "/api/v3/files", body, {"x-apikey": key,
                                                       "Content-Type": "multipart/form-data; boundary=b"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    return start, time.monotonic() - start


class Load:
    def __init__(self, key):
        self.key, self.over, self.times = key, False, []
        self.threads = [threading.Thread(target=self.client, args=(i,)) for i in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def client(self, number):
        connection, i = http.client.HTTPConnection("127.0.0.1", PORT), 0
        while not self.over:
            i += 1
            self.times.append(upload(connection, self.key, b"%d %d %f" % (number, i, time.time())))

    def stop(self):
        self.over = True
        for thread in self.threads:
            thread.join()
        return sorted(t for _, t in self.times)


def of(times):
    return {"n": len(times), "p50_ms": 1000 * times[len(times) // 2], "p99_ms": 1000 * times[len(times) * 99 // 100],
            "max_ms": 1000 * times[-1]}


def main():
    top = Path(tempfile.mkdtemp(prefix="weir-bench-", dir=os.environ.get("BENCH_DIR")))
    data, samples = top / "data", top / "samples"
    try:
        samples.mkdir()
        lots = random.Random(4)
        for i in range(MB):
            (samples / str(i)).write_bytes(lots.randbytes(SAMPLE))
        run("ingest", "--data", data, samples)
        shutil.rmtree(samples)
        key = run("user", "add", "bench", "--data", data).strip()
        with open(top / "log", "wb") as log:
            server = subprocess.Popen([WEIR, "serve", "--data", data, "--listen", f"127.0.0.1:{PORT}",
                                       "--hunt-bytes-max", "1"], stdout=log, stderr=log)
        while b'"ready"' not in (top / "log").read_bytes():
            time.sleep(0.05)
        out = {}
        for name, command in (("first", lambda: run("backup", top / "backup", "--data", data)),
                              ("cp", lambda: subprocess.run(f"cp -r {data} {top}/cp && sync -f {top}/cp", shell=True,
                                                            check=False, stderr=subprocess.DEVNULL)),
                              ("second", lambda: run("backup", top / "backup", "--data", data))):
            os.sync()
            start = time.monotonic()
            command()
            out[f"{name}_mb_s"] = MB * SAMPLE / 1e6 / (time.monotonic() - start)
        for name, during in (("quiet", lambda: time.sleep(8)),
                             ("during", lambda: run("backup", top / "other", "--data", data))):
            load = Load(key)
            time.sleep(1)
            begun = time.monotonic()
            during()
            ended = time.monotonic()
            load.times = [t for t in load.times if begun <= t[0] <= ended]
            out.update({f"{name}_{k}": v for k, v in of(load.stop()).items()})
        server.terminate()
        server.wait()
        print("backup", *(f"{k}={v:.1f}" for k, v in out.items()))
    finally:
        shutil.rmtree(top)


if __name__ == "__main__":
    sys.exit(main())
