"""Retrohunt jobs."""

import datetime
import hashlib
import io
import re
import time
import zipfile

import pytest

from retrohunt import ENDLESS, PATH, begin, create, ended, fill, finished, look, matching, run, slow_rule, some_files, told
from weirtest import assert_error, marker, rules_for, wait_for

RECORDED = {"status", "progress", "scanned_bytes", "num_matches", "num_matches_outside_time_range", "creation_date",
            "rules", "corpus"}


# ---- What a job looks like ----


def test_a_fresh_job_is_as_recorded(api):
    rules = rules_for(marker())
    before = int(time.time())
    job = begin(api, rules)
    assert job["type"] == "retrohunt_job" and re.fullmatch(r"\w+-\d+", job["id"])
    assert job["links"]["self"] == f"{api.base}/api/v3{PATH}/{job['id']}"
    attributes = job["attributes"]
    assert RECORDED <= set(attributes)
    assert {k: attributes[k] for k in RECORDED - {"creation_date"}} == {
        "status": "starting", "progress": 0, "scanned_bytes": 0, "num_matches": 0,
        "num_matches_outside_time_range": 0, "rules": rules, "corpus": "main"}
    assert before <= attributes["creation_date"] <= time.time() + 1
    assert not {"start_date", "finish_date", "eta_seconds", "complete", "notification_email", "time_range"} & set(attributes)
    assert None not in attributes.values()
    name, _, seconds = job["id"].rpartition("-")
    assert abs(int(seconds) - before) <= 3 and name.startswith("test_a_fresh_job")


def test_a_finished_job_is_as_recorded(api):
    mark = marker()
    files = fill(api, mark, 3)
    job, attributes = run(api, rules_for(mark, 2), notification_email="hunter@example.com")
    assert attributes["progress"] == 100 and type(attributes["progress"]) is int
    assert "eta_seconds" not in attributes
    assert attributes["creation_date"] <= attributes["start_date"] <= attributes["finish_date"]
    assert (attributes["num_matches"], attributes["num_matching_files"]) == (6, 3)
    assert attributes["complete"] is True and "reason" not in attributes and attributes["num_skipped_files"] == 0
    assert attributes["notification_email"] == "hunter@example.com"
    assert attributes["scanned_bytes"] == attributes["total_bytes"] > 0
    assert set(matching(api, job)) == files


def test_matching_files_are_files_with_their_rule(api):
    mark = marker()
    sha256 = api.hunt(f"say {mark} twice".encode(), "a name.bin")
    rules = f'rule second {{ strings: $a = "{mark} twice" condition: $a }} rule third {{ strings: $a = "say" condition: $a }}'
    job, _ = run(api, rules)
    page = api.get(f"{PATH}/{job['id']}/matching_files", params={"limit": 40}).json()
    (item,) = [i for i in page["data"] if i["id"] == sha256]
    assert item["type"] == "file" and item["attributes"]["sha256"] == sha256
    assert item["context_attributes"] == {"rule_name": "second", "match_in_subfile": False}
    assert page["meta"]["count"] == len(page["data"])
    descriptors = api.get(f"{PATH}/{job['id']}/relationships/matching_files").json()["data"]
    assert {"type": "file", "id": sha256, "context_attributes": item["context_attributes"]} in descriptors
    embedded = api.get(f"{PATH}/{job['id']}", params={"relationships": "matching_files,owner"}).json()["data"]
    assert sha256 in [i["id"] for i in embedded["relationships"]["matching_files"]["data"]]


def test_matching_files_come_in_pages(api):
    mark = marker()
    files = fill(api, mark, 7)
    job, _ = run(api, rules_for(mark))
    path = f"{PATH}/{job['id']}/matching_files"
    first = api.get(path, params={"limit": 3}).json()
    second = api.get(path, params={"limit": 3, "cursor": first["meta"]["cursor"]}).json()
    third = api.get(path, params={"limit": 3, "cursor": second["meta"]["cursor"]}).json()
    ids = [i["id"] for page in (first, second, third) for i in page["data"]]
    assert len(ids) == 7 and set(ids) == files and "cursor" not in third["meta"]
    assert first["meta"]["count"] == 7
    assert_error(api.get(path, params={"cursor": "nonsense"}), 400, "BadRequestError")


def test_projection_relationships_and_descriptors(api):
    """Every answer about jobs takes the parameters that all of the API takes."""
    mark = marker()
    files = fill(api, mark, 3)
    job, _ = run(api, rules_for(mark))
    path = f"{PATH}/{job['id']}"
    shown = {"attributes": "status,corpus", "exclude_attributes": "corpus", "relationships": "owner,matching_files",
             "relationship_attributes": "md5"}
    one = api.get(path, params=shown).json()["data"]
    assert one["attributes"] == {"status": "finished"}
    assert one["relationships"]["owner"]["data"]["type"] == "user"
    assert {item["id"] for item in one["relationships"]["matching_files"]["data"]} == files
    assert all(set(item["attributes"]) == {"md5"} for item in one["relationships"]["matching_files"]["data"])
    listed = api.get(PATH, params={**shown, "limit": 1}).json()["data"]
    assert listed == [one]
    bare, = api.get(PATH, params={"descriptors_only": "true", "limit": 1}).json()["data"]
    assert (bare["id"], bare["type"], "attributes" in bare) == (job["id"], "retrohunt_job", False)
    asked = {"attributes": "md5,size", "exclude_attributes": "size", "relationships": "analyses",
             "relationship_attributes": "status"}
    whole = api.get(f"{path}/matching_files", params=asked).json()["data"]
    assert {item["id"] for item in whole} == files
    for item in whole:
        assert set(item["attributes"]) == {"md5"}
        assert item["relationships"]["analyses"]["data"][0]["attributes"] == {"status": "completed"}
    for route in (f"{path}/relationships/matching_files", f"{path}/relationship/matching_files"):
        found, cursor = [], ""
        while cursor is not None:
            page = api.get(route, params={"limit": 2, "cursor": cursor, **asked}).json()
            assert all("attributes" not in item for item in page["data"])
            found += [item["id"] for item in page["data"]]
            cursor = page["meta"].get("cursor")
        assert sorted(found) == sorted(files)
    bare = api.get(f"{path}/matching_files", params={"descriptors_only": "true", "limit": 2, "cursor": ""}).json()["data"]
    assert len(bare) == 2 and all("attributes" not in item for item in bare)


def test_matches_are_in_the_stream(api):
    mark = marker()
    sha256 = api.hunt(f"0123456789abcdef {mark}".encode())
    job, _ = run(api, f'rule told : one two {{ strings: $a = "{mark}" condition: $a }}')
    page = api.stream(filter="source_type:retrohunt_job")
    (item,) = page["data"]
    context = item["context_attributes"]
    assert item["id"] == sha256 and context["origin"] == "hunting"
    assert context["sources"] == [{"type": "retrohunt_job", "id": job["id"], "label": job["id"]}]
    assert context["tags"] == [sha256, job["id"].lower(), "told", "one", "two"]
    info = context["hunting_info"]
    assert info["rule_name"] == "told" and info["rule_tags"] == ["one", "two"]
    assert info["match_source"] == "ORIGINAL_FILE" and info["match_in_subfile"] is False
    assert "*begin_highlight*" in info["snippet"] and re.fullmatch("[0-9a-f]{8}", info["source_key"])
    for text, count in ((f"source_id:{job['id']}", 1), (f"source_id:{job['id']}0", 0), ("origin:hunting", 1),
                        (f'"{job["id"]}"', 1), (f"source_id:{job['id']} tag:told", 1), ("source_id:x-1", 0)):
        assert api.stream(filter=text)["meta"]["count"] == count, text
    # What was told is not told again, and entries outlive the job.
    assert api.delete(f"{PATH}/{job['id']}").json() == {}
    assert told(api, job) == [(sha256, "told")]


def test_a_match_in_a_container_is_told_on_it_too(api):
    mark = marker()
    inside = f"{mark} inside".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a.txt", inside)
    container = api.hunt(packed.getvalue(), "a.zip")
    job, attributes = run(api, rules_for(mark))
    items = api.get(f"{PATH}/{job['id']}/matching_files").json()["data"]
    assert {i["id"]: i["context_attributes"]["match_in_subfile"] for i in items} == {
        hashlib.sha256(inside).hexdigest(): False, container: True}
    assert attributes["num_matches"] == attributes["num_matching_files"] == 2
    infos = {i["id"]: i["context_attributes"]["hunting_info"] for i in api.stream(filter=f"source_id:{job['id']}")["data"]}
    assert infos[container]["match_source"] == "SUBFILE"
    assert infos[container]["subfile_sha256"] == hashlib.sha256(inside).hexdigest()


def test_what_rules_may_ask_is_what_livehunt_knows(api):
    mark = marker()
    sha256 = api.hunt(b"MZ" + mark.encode() * 20, f"{mark}.exe")
    condition = f'vt.metadata.sha256 == "{sha256}" and vt.metadata.file_name contains "{mark}"'
    job, _ = run(api, 'import "vt" rule r { condition: %s and vt.metadata.times_submitted == 1 }' % condition)
    assert matching(api, job) == [sha256]


# ---- Listing, and whose they are ----


def test_the_list_is_newest_first(api):
    jobs = [run(api, rules_for(marker()))[0]["id"] for _ in range(3)]
    page = api.get(PATH).json()
    assert [i["id"] for i in page["data"]] == jobs[::-1] and page["meta"]["count"] == 3
    first = api.get(PATH, params={"limit": 2}).json()
    rest = api.get(PATH, params={"limit": 2, "cursor": first["meta"]["cursor"]}).json()
    assert [i["id"] for i in first["data"] + rest["data"]] == jobs[::-1]
    assert len(set(jobs)) == 3


@pytest.mark.parametrize("text, count", [
    ("status:finished", 2), ("status:aborted", 1), ("status:running", 0), ("status:starting", 0), ("status:aborting", 0),
    ("status:finished OR status:aborted", 3), ("NOT status:finished", 1), ("status:finished status:aborted", 0)])
def test_the_list_by_status(statuses, text, count):
    page = statuses.get(PATH, params={"filter": text}).json()
    assert len(page["data"]) == page["meta"]["count"] == count


@pytest.fixture(scope="module")
def statuses(server):
    """A user with two finished jobs and an aborted one."""
    api = server.api(server.someone())
    for _ in range(2):
        run(api, rules_for(marker()))
    some_files(api, 40)
    job = begin(api, slow_rule())
    assert api.post(f"{PATH}/{job['id']}/abort").json() == {}
    assert ended(api, job)["status"] == "aborted"
    return api


def test_a_bad_filter(api):
    assert_error(api.get(PATH, params={"filter": "status:sleeping"}), 400, "BadRequestError", "Valid statuses are")
    assert_error(api.get(PATH, params={"filter": "name:x"}), 400, "BadRequestError")


def test_a_job_is_its_owners_alone(server, api):
    job, _ = run(api, rules_for(marker()))
    other = server.api(server.someone())
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/abort"), ("GET", "/matching_files"),
                         ("GET", "/relationships/owner")):
        assert_error(other.request(method, f"{PATH}/{job['id']}{path}"), 404, "NotFoundError", job["id"])
    assert other.get(PATH).json()["data"] == []
    owner = api.get(f"{PATH}/{job['id']}/owner").json()["data"]
    assert owner["type"] == "user" and owner["id"].replace("-", "_") == job["id"].rpartition("-")[0]
    assert api.get(f"{PATH}/{job['id']}/relationships/owner").json()["data"]["id"] == owner["id"]
    assert api.get(f"{PATH}/{job['id']}/relationship/owner").json()["data"]["id"] == owner["id"]
    listed = api.get(f"/users/{owner['id']}/retrohunt_jobs").json()["data"]
    assert [i["id"] for i in listed] == [job["id"]]
    assert api.get(f"/users/{owner['id']}/relationships/retrohunt_jobs").json()["data"][0]["id"] == job["id"]
    # An administrator may look at users, but not at what they hunt for.
    admin = server.api(server.someone("admin"))
    assert admin.get(f"/users/{owner['id']}").status_code == 200
    for path, params in ((f"/users/{owner['id']}/retrohunt_jobs", {}),
                         (f"/users/{owner['id']}/relationships/retrohunt_jobs", {}),
                         (f"/users/{owner['id']}", {"relationships": "retrohunt_jobs"})):
        assert_error(admin.get(path, params=params), 403, "ForbiddenError")
    assert_error(admin.get(f"{PATH}/{job['id']}"), 404, "NotFoundError")


def test_viewers_look_and_do_not_hunt(server):
    viewer = server.api(server.someone("viewer"))
    assert viewer.get(PATH).json()["data"] == []
    assert_error(create(viewer, rules_for("xyzzy")), 403, "ForbiddenError")
    assert_error(viewer.get(f"{PATH}/nobody-1"), 404, "NotFoundError", 'Retrohunt job "nobody-1" not found')


# ---- Bad input ----


@pytest.mark.parametrize("attributes, text", [
    ({"rules": ""}, "needs rules"),
    ({"rules": "rule r { condition: $a }"}, "unknown pattern `$a`"),
    ({"rules": 'rule r { strings: $a = /a.*/ condition: $a }'}, "string $a may slow down scanning"),
    ({"rules": 'import "vt" rule r { condition: vt.metadata.submitter.city == "x" }'}, "submitter"),
    ({"rules": "// nothing"}, "there is no rule"),
    ({"rules": "rule r { condition: true } " + "/" * (1 << 20)}, "the maximum is 1048576"),
    ({"rules": "\n".join(f"rule r{i} {{ condition: true }}" for i in range(301))}, "301 rules, the maximum is 300"),
    ({"rules": 5}, '"rules" must be a string'),
    ({"corpus": "everything"}, "Valid corpora are: main,goodware"),
    ({"corpus": 1}, '"corpus" must be a string'),
    ({"time_range": {"start": 20, "end": 10}}, "ends before it starts"),
    ({"time_range": {"start": "x"}}, '"start" must be a time'),
    ({"time_range": {"start": -1}}, '"start" must be a time in seconds since 1970'),
    ({"time_range": {"end": 0}}, '"end" must be a time in seconds since 1970, and later than that'),
    ({"time_range": {"end": 10 ** 15}}, "no number of seconds"),
    ({"time_range": 7}, '"time_range" must be an object'),
    ({"notification_email": "spellman"}, 'Invalid email address: "spellman"'),
    ({"notification_email": ["a@example.com", 7]}, '"notification_email" must be a string or an array'),
    ({"notification_email": [f"a{i}@example.com" for i in range(17)]}, "the maximum is 16"),
    ({"keep_watching": "yes"}, '"keep_watching" must be true or false'),
    ({"keep_watching": True, "corpus": "goodware"}, "corpus main"),
    ({"keep_watching": True, "time_range": {"end": 2000000000}}, "can have no end"),
])
def test_what_is_refused(api, attributes, text):
    attributes = {"rules": rules_for(marker()), **attributes}
    response = api.post(PATH, json={"data": {"type": "retrohunt_job", "attributes": attributes}})
    assert_error(response, 400, "InvalidArgumentError", text)


def test_a_job_without_rules(api):
    assert_error(api.post(PATH, json={"data": {"type": "retrohunt_job", "attributes": {}}}), 400, "InvalidArgumentError",
                 '"rules" is required')
    assert_error(api.post(PATH, json={"data": {"type": "file", "attributes": {"rules": "x"}}}), 400, "BadRequestError")


def test_what_is_null_or_zero_is_left_out(api):
    rules = rules_for(marker())
    for attributes in ({"corpus": None}, {"time_range": None}, {"time_range": {"start": 0}},
                       {"time_range": {"start": None, "end": None}}, {"notification_email": None}):
        job = begin(api, rules, **attributes)["attributes"]
        assert job["corpus"] == "main" and not {"time_range", "notification_email"} & set(job)
    response = api.post(PATH, data='{"data": {"attributes": {"rules": "rule\\u0000 r"}}}')
    text = assert_error(response, 400, "BadRequestError", "Malformed JSON at line 1")
    assert "\\u0000 is not allowed" in text and "JSON_ALLOW" not in text


@pytest.mark.parametrize("sent, got", [
    ("a@example.com", "a@example.com"), (["a@example.com"], "a@example.com"), ("", None), ([], None), (None, None),
    (["a@example.com", "b@example.com"], ["a@example.com", "b@example.com"])])
def test_addresses_are_a_string_or_a_list(api, sent, got):
    job = begin(api, rules_for(marker()), notification_email=sent)
    assert job["attributes"].get("notification_email") == got
    assert look(api, job).get("notification_email") == got


# ---- What a job looks at ----


def test_time_range_is_about_the_last_submission(server, api):
    mark = marker()
    old, new = api.hunt(f"{mark} old".encode()), api.hunt(f"{mark} new".encode())
    date = api.get(f"/files/{new}").json()["data"]["attributes"]["last_submission_date"]
    for time_range, expected in (({"start": date + 100}, set()), ({"start": 1, "end": date}, {old, new}),
                                 ({"end": date - 100}, set()), ({"start": date - 100, "end": date + 100}, {old, new})):
        job, attributes = run(api, rules_for(mark), time_range=time_range)
        assert set(matching(api, job)) == expected, time_range
        assert attributes["time_range"] == time_range and attributes["num_matches_outside_time_range"] == 0
        assert attributes["progress"] == 100 and attributes["complete"] is True


def test_the_goodware_corpus(make_server, tmp_path):
    server = make_server()
    key = server.user("hunter")
    mark = marker()
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "tool.exe").write_bytes(f"{mark} good".encode())
    server.command("ingest", tmp_path / "good", "--corpus", "goodware")
    api = server.start().api(key)
    bad = api.hunt(f"{mark} bad".encode())
    for corpus, expected in (("main", bad), ("goodware", hashlib.sha256(f"{mark} good".encode()).hexdigest())):
        job, attributes = run(api, rules_for(mark), corpus=corpus)
        assert matching(api, job) == [expected] and attributes["corpus"] == corpus
        assert attributes["total_files"] == 1


def test_an_empty_corpus(make_server):
    server = make_server()
    key = server.user("hunter")
    api = server.start().api(key)
    _, attributes = run(api, "rule everything { condition: true }")
    assert (attributes["progress"], attributes["num_matches"], attributes["complete"]) == (100, 0, True)


def test_files_that_are_removed_are_not_told(server, api):
    mark = marker()
    gone, stays = api.hunt(f"{mark} gone".encode()), api.hunt(f"{mark} stays".encode())
    before, _ = run(api, rules_for(mark))
    admin = server.api(server.someone("admin"))
    assert admin.delete(f"/files/{gone}").status_code == 200
    job, _ = run(api, rules_for(mark))
    assert matching(api, job) == [stays]
    # Those found before are still named, as everywhere.
    items = {i["id"]: i for i in api.get(f"{PATH}/{before['id']}/matching_files").json()["data"]}
    assert set(items) == {gone, stays} and items[gone]["error"]["code"] == "NotFoundError"


def test_what_is_done_is_audited(server, api):
    job = begin(api, rules_for(marker()))
    finished(api, job)
    api.delete(f"{PATH}/{job['id']}")
    lines = server.command("audit", "--object", job["id"], "--json").stdout
    for action in ("retrohunt.create", "retrohunt.delete"):
        assert action in lines, lines


# ---- Limits ----


def test_limits_are_settings(make_server):
    server = make_server("--retrohunt-rules-max=2", "--retrohunt-matches-max=4", "--retrohunt-jobs-max=1",
                         "--retrohunt-workers=1", "--hunt-bytes-max=2000000", "--quota-retrohunt-jobs-month=4")
    key = server.user("hunter")
    api = server.start().api(key)
    mark = marker()
    assert_error(create(api, rules_for(mark, 3)), 400, "InvalidArgumentError", "3 rules, the maximum is 2")
    files = fill(api, mark, 5)
    large = api.upload(mark.encode() + bytes(2000000))
    assert api.wait_analysis(large)["not_run"]
    # At the limit of matches the job ends and says so.
    job, attributes = run(api, rules_for(mark))
    assert (attributes["num_matches"], attributes["complete"], attributes["reason"]) == (4, False, "match_limit")
    assert set(matching(api, job)) < files and len(told(api, job)) == 4
    # What is too large is named, and no reason to call a job incomplete.
    job, attributes = run(api, rules_for(marker()))
    assert attributes["complete"] is True and attributes["num_skipped_files"] == 1
    (skipped,) = attributes["skipped_files"]
    assert "files above 2000000 are not hunted" in skipped["reason"]
    # One at a time, four in a month, counted whatever becomes of them.
    some_files(api, 60)
    job = begin(api, slow_rule())
    assert_error(create(api, rules_for(mark)), 429, "TooManyRequestsError", "1 jobs are running, the maximum is 1")
    assert api.post(f"{PATH}/{job['id']}/abort").status_code == 200
    ended(api, job)
    assert api.delete(f"{PATH}/{job['id']}").status_code == 200
    run(api, rules_for(mark))
    refused = create(api, rules_for(mark))
    assert assert_error(refused, 429, "QuotaExceededError") == "Quota exceeded"
    seconds = int(refused.headers["Retry-After"])
    now = datetime.datetime.now(datetime.timezone.utc)
    later = now + datetime.timedelta(seconds=seconds)
    assert 0 < seconds <= 31 * 86400 and abs((later - later.replace(day=1, hour=0, minute=0, second=0)).total_seconds()) < 60
    quotas = api.get("/users/hunter/overall_quotas").json()["data"]
    assert quotas["intelligence_retrohunt_jobs_monthly"]["user"] == {"used": 4, "allowed": 4}


def test_abort_takes_effect_at_once(server, api):
    some_files(api, 10)
    job = begin(api, f"rule endless {{ condition: {ENDLESS} }}")
    wait_for(lambda: look(api, job)["status"] == "running", 20, "it does not run")
    start = time.monotonic()
    assert api.post(f"{PATH}/{job['id']}/abort").json() == {}
    attributes = ended(api, job, 10)
    assert time.monotonic() - start < 2 if "asan" in str(server.binary) else time.monotonic() - start < 1
    assert (attributes["status"], attributes["complete"], attributes["reason"]) == ("aborted", False, "aborted")
    assert attributes["progress"] < 100 and attributes["finish_date"]
    assert api.post(f"{PATH}/{job['id']}/abort").json() == {}  # again is fine
    assert server.api().get("//readyz").status_code == 200


def test_abort_of_a_finished_job(api):
    job, _ = run(api, rules_for(marker()))
    assert_error(api.post(f"{PATH}/{job['id']}/abort"), 400, "BadRequestError", "finished")
    assert_error(api.post(f"{PATH}/nobody-17/abort"), 404, "NotFoundError", 'Retrohunt job "nobody-17" not found')


def test_a_running_job_is_deleted(api):
    some_files(api, 10)
    job = begin(api, slow_rule())
    assert api.delete(f"{PATH}/{job['id']}").json() == {}
    assert_error(api.get(f"{PATH}/{job['id']}"), 404, "NotFoundError")
    assert api.get(PATH).json()["data"] == []
    assert_error(api.delete(f"{PATH}/{job['id']}"), 404, "NotFoundError")


def test_livehunt_goes_first(api):
    """A client's upload is told within two seconds while jobs run."""
    some_files(api, 100)
    jobs = [begin(api, slow_rule()) for _ in range(3)]
    mark = marker()
    api.ruleset(rules_for(mark))
    start = time.monotonic()
    api.hunt(f"{mark} live".encode())
    took = time.monotonic() - start
    assert any(look(api, job)["status"] == "running" for job in jobs)
    assert took < 2, took
    for job in jobs:
        api.delete(f"{PATH}/{job['id']}")


def test_jobs_share_the_machine(api):
    """A short job does not wait for the end of a long one that began before it."""
    some_files(api, 100)
    mark = marker()
    sha256 = api.hunt(mark.encode())
    long = begin(api, slow_rule())
    wait_for(lambda: look(api, long)["status"] == "running", 20, "it does not run")
    job, _ = run(api, rules_for(mark))
    assert matching(api, job) == [sha256]
    assert look(api, long)["status"] == "running"
    api.delete(f"{PATH}/{long['id']}")
