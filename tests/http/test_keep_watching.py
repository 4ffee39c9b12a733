"""Retrohunt jobs that go on as a Livehunt ruleset."""

import hashlib
import threading

from retrohunt import PATH, begin, create, finished, matching, run, told
from weirtest import assert_error, marker, rules_for, wait_for


def test_keep_watching_makes_a_ruleset(api):
    mark = marker()
    before = api.hunt(f"{mark} before".encode())
    job, attributes = run(api, rules_for(mark), keep_watching=True)
    assert attributes["keep_watching"] is True
    ruleset = api.get(f"/intelligence/hunting_rulesets/{attributes['ruleset_id']}").json()["data"]
    assert ruleset["attributes"]["enabled"] is True and ruleset["attributes"]["name"] == job["id"]
    assert ruleset["attributes"]["rules"] == attributes["rules"]
    after = api.hunt(f"{mark} after".encode())
    assert matching(api, job) == [before]
    assert told(api, job) == [(before, "found_0")]
    assert told(api, ruleset) == [(after, "found_0")]
    # What the job told, the ruleset does not tell again when the file is hunted anew.
    api.wait_analysis(api.post(f"/files/{before}/analyse").json()["data"]["id"])
    assert told(api, ruleset) == [(after, "found_0")]


def test_keep_watching_under_load(server):
    """Jobs that are made while files arrive: each file is told exactly once, by the job or by the ruleset."""
    key = server.someone()
    mark, stop, sent = marker(), threading.Event(), [set() for _ in range(3)]

    def send(mine, lane):
        api, i = server.api(key), 0
        while not stop.is_set():
            data = f"{mark} {lane} {i}".encode()
            api.upload(data)
            mine.add(hashlib.sha256(data).hexdigest())
            i += 1

    threads = [threading.Thread(target=send, args=(mine, lane)) for lane, mine in enumerate(sent)]
    for thread in threads:
        thread.start()
    api, jobs = server.api(key), []
    try:
        for i in range(4):
            wait_for(lambda: sum(map(len, sent)) >= 15 * (i + 1), 60, "nothing arrives")
            jobs.append(begin(api, rules_for(mark, name=f"watch{i}"), keep_watching=True))
        wait_for(lambda: sum(map(len, sent)) >= 90, 60, "nothing arrives")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    files = set().union(*sent)
    for job in jobs:
        finished(api, job)
    wait_for(lambda: "\nweir_analyses_queued 0" in server.api().get("//metrics").text, 60, "analyses are open")
    for i, job in enumerate(jobs):
        ruleset = {"id": job["attributes"]["ruleset_id"]}
        by_job, by_ruleset = told(api, job), told(api, ruleset)
        everything = sorted(by_job + by_ruleset)
        assert everything == sorted((f, f"watch{i}_0") for f in files), (len(by_job), len(by_ruleset), len(files))
        assert by_job and by_ruleset


def test_keep_watching_is_under_the_quota_of_rules(make_server):
    server = make_server("--quota-hunting-rules=1")
    key = server.user("hunter")
    api = server.start().api(key)
    assert_error(create(api, rules_for("xyzzy", 2), keep_watching=True), 429, "QuotaExceededError", "rules")
    assert api.get(PATH).json()["data"] == [] and api.get("/intelligence/hunting_rulesets").json()["data"] == []
    assert begin(api, rules_for("xyzzy"), keep_watching=True)["attributes"]["ruleset_id"]
