"""How jobs share the machine, and what they say of their way."""

import os

import pytest

from retrohunt import PATH, begin, ended, estimate, fill, finished, look, matching, run, slow_rule, some_files
from weirtest import marker, rules_for, wait_for

SLOW = 30_000_000  # rounds: some hundred milliseconds a file


def shown(api, job):
    """The attributes of a job as it stands, once it has got somewhere."""

    def moved():
        attributes = look(api, job)
        return attributes if attributes["progress"] > 0 else None

    return wait_for(moved, 60, f"job '{job['id']}' does not get on")


@pytest.mark.parametrize("facts", ["", " and vt.metadata.file_size > 0"])
def test_slow_jobs_of_one_user_do_not_stop_anothers(make_server, facts):
    """All of them get on before one is over, and a short job of somebody else is over before."""
    server = make_server("--retrohunt-workers=2", "--index=false").start()
    api, other = server.api(server.someone()), server.api(server.someone())
    some_files(api, 40)
    mark = marker()
    files = fill(other, mark, 3)
    rules = f'import "vt" {slow_rule(SLOW)}'.replace(" }", f"{facts} }}")
    slow = [begin(api, rules) for _ in range(3)]
    for job in slow:
        assert shown(api, job)["status"] == "running"
    job, _ = run(other, rules_for(mark))
    assert set(matching(other, job)) == files
    for job in slow:
        attributes = look(api, job)
        assert attributes["status"] == "running" and attributes["verified_files"] < 43
        api.delete(f"{PATH}/{job['id']}")


def test_progress_is_that_of_the_work(make_server):
    """Files that the index decides do not count before those that must be read, and nothing goes back."""
    server = make_server("--index=false").start()
    key = server.someone()
    for size in ([100] * 5 + [5000]) * 10:  # each segment has its share of both
        server.api(key).upload(os.urandom(size))
    server.stop()
    server = make_server("--index-seconds=0", "--retrohunt-workers=1").start()
    indexed = server.api(key)
    wait_for(lambda: estimate(indexed, rules_for(marker()))["not_indexed_files"] == 0, 60, "not all files are indexed")
    job = begin(indexed, slow_rule(SLOW).replace("filesize == 7", "filesize > 4000"))
    before = {"progress": 0, "scanned_bytes": 0, "verified_files": 0}
    looks = []

    def over():
        attributes = look(indexed, job)
        for name, value in before.items():
            assert attributes[name] >= value, (name, before, attributes)
            before[name] = attributes[name]
        looks.append(attributes)
        return attributes if attributes["status"] == "finished" else None

    end = wait_for(over, 120, "it does not end")
    assert end["progress"] == 100 and end["total_files"] == 60 and "eta_seconds" not in end
    running = [a for a in looks if a["status"] == "running" and 0 < a["verified_files"] < end["verified_files"]]
    assert running and all("eta_seconds" in a for a in running)
    for a in running:
        assert abs(a["progress"] / 100 - a["verified_files"] / end["verified_files"]) < 0.2, a
    # Nothing is known of the time that is left before something was verified.
    assert all("eta_seconds" not in a for a in looks if a["verified_files"] == 0)


def test_an_early_end_says_what_was_read(make_server):
    server = make_server("--retrohunt-matches-max=5", "--index=false").start()
    api = server.api(server.someone())
    fill(api, marker(), 20)
    job, attributes = run(api, "rule every { condition: filesize > 0 }")
    assert attributes["reason"] == "match_limit" and attributes["num_matches"] == 5
    assert attributes["verified_files"] >= 6 and attributes["verified_bytes"] > 0
    aborted = begin(api, slow_rule(SLOW))
    progress = shown(api, aborted)["progress"]
    assert api.post(f"{PATH}/{aborted['id']}/abort").status_code == 200
    attributes = ended(api, aborted)
    assert attributes["status"] == "aborted" and progress <= attributes["progress"] < 100
    assert attributes["verified_files"] > 0


def test_slow_rules_of_one_do_not_change_the_estimates_of_others(make_server):
    server = make_server("--index=false").start()
    api = server.api(server.someone())
    for _ in range(8):
        api.upload(os.urandom(100_000))
    some = "rule some { condition: filesize > 1000 and uint8(filesize - 1) == %d }"
    for i in range(3):
        run(api, some % i)
    before = estimate(api, some % 7)["seconds"]
    job = begin(api, slow_rule(SLOW))
    finished(api, job, 120)
    after = estimate(api, some % 8)["seconds"]
    assert after < 3 * before, (before, after)


def test_what_reads_everything_is_slow_without_an_index(make_server):
    server = make_server("--index=false").start()
    api = server.api(server.someone())
    fill(api, marker(), 3)
    told = estimate(api, "rule every { condition: filesize > 0 } rule some { strings: $a = \"needle\" condition: $a }")
    assert told["candidate_files"] == told["total_files"] == 3
    assert told["slow_rules"] == ["every", "some"]
    assert [rule["slow"] for rule in told["rules"]] == [True, True]
