"""The examples of Retrohunt, as recorded and as documented."""

import pytest

from examples import ask, check
from weirtest import assert_error, marker, rules_for, wait_for

JOBS = "/intelligence/retrohunt_jobs"

# A fresh and a finished job as XSOAR recorded them.
FRESH = {"type": "retrohunt_job", "id": "spellman-1598966772", "links": {"self": "https://"}, "attributes": {
    "corpus": "main", "creation_date": 1, "num_matches": 0, "num_matches_outside_time_range": 0, "progress": 0, "rules": "x",
    "scanned_bytes": 0, "status": "starting"}}
FINISHED = {**FRESH, "attributes": {
    **FRESH["attributes"], "status": "finished", "start_date": 1, "finish_date": 1, "notification_email": "x",
    "time_range": {"start": 1, "end": 1}}}


@pytest.fixture(scope="module")
def api(server):
    return server.api(server.someone())


@pytest.fixture(scope="module")
def names(api):
    """A finished job made as the documentation's example, and two files that match."""
    mark = marker()
    for i in range(2):
        sha256 = api.hunt(f"{i} {mark}".encode(), f"file {i}.exe")
    date = api.get(f"/files/{sha256}").json()["data"]["attributes"]["last_submission_date"]
    attributes = {"rules": rules_for(mark), "notification_email": "spellman@example.com", "corpus": "main",
                  "time_range": {"start": 1545145761, "end": date + 100}}
    made = check(api, f"POST {JOBS}", {}, {"data": FRESH}, json={"data": {"type": "retrohunt_job", "attributes": attributes}})
    names = {"job": made["data"]["id"], "sha256": sha256, "made": made["data"], "mark": mark}
    wait_for(lambda: api.get(f"{JOBS}/{names['job']}").json()["data"]["attributes"]["status"] == "finished", 60, "it has not ended")
    return names


def test_a_job_as_documented(api, names):
    answer = check(api, f"GET {JOBS}/{{job}}", names, {"data": FINISHED})
    attributes = answer["data"]["attributes"]
    assert "eta_seconds" not in attributes and attributes["progress"] == 100 and attributes["num_matches"] == 2


def test_the_list_as_recorded(api, names):
    answer = check(api, f"GET {JOBS}", names, {"data": [FINISHED], "meta": {"count": 1}, "links": {"self": "https://"}})
    assert answer["data"][0]["id"] == names["job"]
    check(api, f"GET {JOBS}?limit=1&filter=status:finished", names, {"data": [FINISHED]})


def test_matching_files_as_recorded(api, names):
    """XSOAR's FeedRetrohunt reads these of each."""
    item = {"type": "file", "id": "x", "attributes": {
        "md5": "x", "sha1": "x", "sha256": "x", "type_description": "x", "ssdeep": "x",
        "last_analysis_stats": {"malicious": 0, "harmless": 0, "suspicious": 0, "undetected": 0}},
        "context_attributes": {"rule_name": "x", "match_in_subfile": False}}
    answer = check(api, f"GET {JOBS}/{{job}}/matching_files", names, {"data": [item], "meta": {"count": 2}})
    assert {i["id"] for i in answer["data"]} >= {names["sha256"]}
    check(api, f"GET {JOBS}/{{job}}/relationships/matching_files?limit=1", names, {"data": [{"type": "file", "id": "x"}]})
    check(api, f"GET {JOBS}/{{job}}/owner", names, {"data": {"type": "user", "id": "x"}})


def test_aborting_and_deleting_as_documented(api, names):
    assert_error(ask(api, f"POST {JOBS}/{{job}}/abort", names), 400, "BadRequestError")
    made = check(api, f"POST {JOBS}", {}, {"data": FRESH}, json={"data": {"attributes": {"rules": rules_for(names["mark"])}}})
    assert check(api, f"DELETE {JOBS}/{{job}}", {"job": made["data"]["id"]}) == {}
    assert_error(ask(api, f"GET {JOBS}/{{job}}", {"job": made["data"]["id"]}), 404, "NotFoundError")
