"""vt-go's iterator, resumed in the middle of a page (tests/clients/resume is the program)."""

import subprocess

import pytest

import foreign
from weirtest import marker, rules_for

RULESETS = "intelligence/hunting_rulesets"


@pytest.fixture(scope="module")
def recorder(server):
    with foreign.Recorder(server) as recorder:
        yield recorder


@pytest.fixture
def resume(recorder, api, tmp_path):
    """resume(path, batch, stop, filter, meanwhile): ids before and after, with `meanwhile` done in between."""
    binary = foreign.program("vt-go", "resume")

    def go(path, batch, stop, text=None, meanwhile=lambda: None):
        args = [binary, recorder.base, api.key, path, str(batch), str(stop), *([text] if text else [])]
        with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, cwd=tmp_path, env={"HOME": str(tmp_path)}) as process:
            before = []
            for line in process.stdout:
                if line == "--\n":
                    break
                before.append(line.strip())
            meanwhile()
            after, errors = process.communicate("\n", timeout=60)
        assert process.returncode == 0, errors
        return before, after.split()

    return go


@pytest.fixture
def mark(api):
    """20 entries in the stream: 4 files, each found by 5 rules."""
    mark = marker()
    api.ruleset(rules_for(mark, 5), "Chinese Files")
    for i in range(4):
        api.hunt(f"{mark} {i}".encode())
    return mark


def stream_ids(api, **params):
    return [item["context_attributes"]["notification_id"] for item in api.stream(limit=40, **params)["data"]]


@pytest.mark.parametrize("stop", [1, 3, 7, 8, 9, 15, 16, 19])
def test_a_stream_goes_on_in_mid_page_where_it_stopped(api, mark, resume, stop):
    whole = stream_ids(api)
    before, after = resume("ioc_stream", 8, stop)
    assert before == whole[:stop] and before + after == whole


def test_a_stream_goes_on_after_new_entries_have_come(api, mark, resume):
    """The page that is asked for again is the one that was left, not the newest one."""
    whole = stream_ids(api)
    before, after = resume("ioc_stream", 8, 3, meanwhile=lambda: api.hunt(f"{mark} late".encode()))
    assert before + after == whole


def test_a_stream_with_a_filter_goes_on(api, mark, resume):
    text = 'date:1d+ (tag:found_1 OR tag:found_2) "chinese files"'
    whole = stream_ids(api, filter=text)
    before, after = resume("ioc_stream", 3, 4, text)
    assert len(whole) == 8 and before + after == whole


def test_a_page_that_became_shorter_does_not_end_the_program(api, mark, resume):
    """vt-go counts to its place in the page again; entries deleted in the meantime must not make it stumble."""
    whole = stream_ids(api)

    def delete():
        assert api.delete(f"/ioc_stream_notifications/{whole[9]}").status_code == 200

    before, after = resume("ioc_stream", 8, 2, meanwhile=delete)
    assert before == whole[:2] and before + after == whole[:9] + whole[10:]


def test_rulesets_go_on_in_mid_page(api, resume):
    made = [api.ruleset(rules_for(marker()), f"number {i:02}")["id"] for i in range(11)]
    before, after = resume(f"{RULESETS}?order=name-", 4, 6, meanwhile=lambda: api.ruleset(rules_for(marker()), "zzz"))
    assert before + after == made[::-1]


def test_notifications_go_on_in_mid_page(api, mark, resume):
    whole = [item["id"] for item in api.get("/intelligence/hunting_notifications?limit=40").json()["data"]]
    before, after = resume("intelligence/hunting_notifications", 8, 11,
                           meanwhile=lambda: api.hunt(f"{mark} late".encode()))
    assert len(whole) == 20 and before + after == whole


def test_a_single_object_is_a_list_of_one(api, mark, resume):
    sha256 = api.hunt(f"{mark} single".encode())
    before, _ = resume(f"files/{sha256}", 8, 5)
    assert before == [sha256]
