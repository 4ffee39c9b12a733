"""Retrohunt where the server ends, or a file harms the scanner."""

import contextlib
import glob
import os
import signal
import threading

import pytest

from retrohunt import ENDLESS, PATH, begin, ended, fill, finished, look, matching, run, slow_rule, told
from weirtest import marker, rules_for, wait_for


@pytest.mark.parametrize("rounds", [3])
def test_a_killed_server_goes_on(make_server, rounds):
    """No match is lost, none is told twice."""
    server = make_server()
    key = server.user("hunter")
    api = server.start().api(key)
    mark = marker()
    files = fill(api, mark, 30)
    job = begin(api, rules_for(mark) + "\n" + slow_rule())
    for _ in range(rounds):
        wait_for(lambda: look(api, job)["status"] != "starting", 20, "it does not begin")
        server.kill()
        api = server.start().api(key)
    attributes = finished(api, job, 120)
    assert attributes["complete"] is True and attributes["num_matches"] == 30
    assert set(matching(api, job)) == files
    assert sorted(told(api, job)) == sorted((f, "found_0") for f in files)
    server.stop()
    assert server.command("verify").returncode == 0


def test_a_stopped_server_goes_on(make_server):
    server = make_server()
    key = server.user("hunter")
    api = server.start().api(key)
    mark = marker()
    files = fill(api, mark, 6)
    job = begin(api, rules_for(mark) + "\n" + slow_rule())
    aborted = begin(api, slow_rule())
    api.post(f"{PATH}/{aborted['id']}/abort")
    server.stop()
    api = server.start().api(key)
    assert finished(api, job)["num_matches"] == 6 and set(matching(api, job)) == files
    assert ended(api, aborted)["status"] == "aborted"


def test_a_file_that_takes_too_long_is_named(make_server):
    server = make_server("--scan-timeout-ms=1000")
    key = server.user("hunter")
    api = server.start().api(key)
    mark = marker()
    found = api.hunt(f"{mark} small".encode())
    hangs = api.hunt(f"{mark} hangs".encode() + bytes(3000000))
    rules = f"{rules_for(mark)} rule hangs {{ condition: filesize > 2000000 and {ENDLESS} }}"
    job, attributes = run(api, rules)
    assert attributes["complete"] is False and attributes["reason"] == "skipped_files"
    (skipped,) = attributes["skipped_files"]
    assert skipped["sha256"] == hangs and skipped["reason"] == "took longer than 1000 ms"
    assert matching(api, job) == [found]


class Striker(threading.Thread):
    """SIGKILLs each child of the process that works for long, as the kernel does where memory is short."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.over, self.first, self.struck = pid, threading.Event(), {}, 0

    def run(self):
        while not self.over.wait(0.05):
            for child, ticks in self.children():
                if ticks - self.first.setdefault(child, ticks) > os.sysconf("SC_CLK_TCK") // 4:
                    os.kill(child, signal.SIGKILL)
                    del self.first[child]
                    self.struck += 1

    def children(self):
        """(pid, ticks of CPU time) of each that is alive."""
        for stat in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = open(stat).read().rpartition(") ")[2].split()
                if int(fields[1]) == self.pid and fields[0] != "Z":
                    yield int(stat.split("/")[2]), int(fields[11])


@pytest.mark.parametrize("facts", ["", " and vt.metadata.file_size > 0"])
def test_a_file_that_gets_every_child_killed_is_named(make_server, facts):
    server = make_server()
    key = server.user("hunter")
    api = server.start().api(key)
    mark = marker()
    found = api.hunt(f"{mark} small".encode())
    eats = api.hunt(f"{mark} eats".encode() + bytes(3000000))
    rules = f"""import "vt" {rules_for(mark)} rule eats {{ condition: filesize > 2000000{facts} and {ENDLESS} }}"""
    striker = Striker(server.process.pid)
    striker.start()
    try:
        job, attributes = run(api, rules)
    finally:
        striker.over.set()
        striker.join()
    assert striker.struck > 1  # killed once it would be no proof
    assert attributes["complete"] is False and attributes["reason"] == "skipped_files"
    (skipped,) = attributes["skipped_files"]
    assert skipped["sha256"] == eats and skipped["reason"] == "killed by signal 9 (KILL)"
    assert matching(api, job) == [found]
