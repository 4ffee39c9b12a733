"""Retrohunt by the index: what it leaves out, what damage does, estimates."""

import os
import random
from collections import Counter

import pytest
import yara_x

from retrohunt import ENDLESS, PATH, begin, estimate, fill, look, matching, run, some_files, told
from weirtest import Server, assert_error, marker, rules_for, wait_for


@pytest.fixture(scope="module")
def indexed(weir_bin, tmp_path_factory):
    """(server, key, {mark: files}): a hundred files in several segments, and some that hold a mark."""
    one = Server(weir_bin, tmp_path_factory.mktemp("indexed"), "--index-seconds=0", "--index-segment-files-max=40")
    key = one.user("hunter")
    api = one.start().api(key)
    marks = {}
    for i in range(4):
        mark = marker()
        marks[mark] = fill(api, mark, 3, os.urandom(2000))
        for _ in range(25):
            api.upload(os.urandom(3000))
    large = api.upload(os.urandom(3 << 20) + next(iter(marks)).encode())
    api.wait_analysis(large)
    wait_for(lambda: estimate(api, rules_for(marker()))["not_indexed_files"] == 0, 60, "not all files are indexed")
    yield one, key, marks
    one.stop()
    assert not one.new_errors()


def damage(path, pages, lots):
    """One bit of each page is another."""
    with path.open("r+b") as f:
        for page in pages:
            f.seek(page * 4096 + lots.randrange(4096))
            byte = f.read(1)
            if byte:
                f.seek(-1, 1)
                f.write(bytes([byte[0] ^ 1 << lots.randrange(8)]))


@pytest.mark.expect_errors("segment_damaged", "segment_lost")
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_index_loses_no_match(make_server, seed):
    """A job says the same whatever bits of the segments are flipped: few, or one in every page of rows."""
    lots = random.Random(seed)
    server = make_server("--index-seconds=0", "--index-segment-files-max=30").start()
    key = server.user("hunter")
    api = server.api(key)
    mark, other = marker(), marker()
    files = fill(api, mark, 5, os.urandom(30_000))  # so large that the columns of one are some pages
    for _ in range(60):
        api.hunt(other.encode() + os.urandom(30_000))
    wait_for(lambda: estimate(api, rules_for(mark))["not_indexed_files"] == 0, 60, "not all files are indexed")
    server.stop()
    paths = sorted((server.data / "index").glob("*.seg"))
    assert len(paths) > 1
    for path in paths:
        count = path.stat().st_size // 4096
        # The first and the last pages make the whole segment unreadable; those between are rows.
        damage(path, range(2, count - 3) if seed % 2 else lots.sample(range(count), 3), lots)
    api = server.start().api(key)
    job, attributes = run(api, rules_for(mark))
    assert set(matching(api, job)) == files
    assert attributes["complete"]
    assert attributes["total_files"] == 65
    if seed % 2:
        assert attributes["verified_files"] > 30, "the damage was not seen"
    # What was damaged is built again, and answers as before.
    wait_for(lambda: estimate(api, rules_for(mark))["candidate_files"] < 20, 60, "no segment was built again")
    job, _ = run(api, rules_for(mark))
    assert set(matching(api, job)) == files


def test_only_candidates_are_scanned(indexed):
    server, key, marks = indexed
    api = server.api(key)
    first = next(iter(marks))
    for mark, files in marks.items():
        job, attributes = run(api, rules_for(mark))
        found = set(matching(api, job))
        assert files <= found and len(found) == 3 + (mark == first)
        assert len(found) <= attributes["verified_files"] < 20 < attributes["total_files"] == 113
        assert attributes["verified_bytes"] < attributes["scanned_bytes"] == attributes["total_bytes"]


def test_rules_that_narrow_nothing_run_too(indexed):
    server, key, _ = indexed
    api = server.api(key)
    job, attributes = run(api, "rule every_second { condition: uint8(100) % 2 == 0 or uint8(100) % 2 == 1 }")
    assert attributes["num_matching_files"] + 12 >= attributes["verified_files"] == 113  # small ones have no byte 100
    assert len(matching(api, job)) == attributes["num_matching_files"] > 90


def test_files_that_arrive_after_indexing_are_looked_at(indexed):
    server, key, _ = indexed
    api = server.api(key)
    mark = marker()
    files = fill(api, mark, 2)
    job, _ = run(api, rules_for(mark))
    assert set(matching(api, job)) == files
    admin = server.api(server.someone("admin"))
    for sha256 in files:
        assert admin.delete(f"/files/{sha256}").status_code == 200
    job, _ = run(api, rules_for(mark))
    assert matching(api, job) == []


def test_an_estimate(indexed):
    server, key, marks = indexed
    api = server.api(key)
    mark = list(marks)[1]
    rules = f'''rule narrow {{ strings: $a = "{mark}" $b = {{ 41 ?? 42 }} condition: $a and (#b < 1000) }}
        rule wide_open {{ strings: $c = {{ 41 ?? 42 }} condition: not $c }}'''
    jobs = len(api.get(PATH).json()["data"])
    got = estimate(api, rules)
    assert len(api.get(PATH).json()["data"]) == jobs  # no job is made
    assert got["corpus"] == "main" and got["number_of_rules"] == 2 and got["seconds"] > 0
    assert got["not_indexed_files"] == 0 and got["candidate_files"] == got["total_files"]
    assert got["candidate_bytes"] == got["total_bytes"]
    narrow, wide_open = got["rules"]
    assert narrow["name"] == "narrow" and narrow["narrows"] is True and narrow["slow"] is False
    assert 3 <= narrow["candidate_files"] < 20
    a, b = narrow["strings"]
    assert (a["name"], a["narrows"], a["candidate_files"] >= 3) == ("$a", True, True)
    assert b["name"] == "$b" and b["narrows"] is False and b["note"]
    assert wide_open["narrows"] is False and wide_open["slow"] is True and wide_open["note"]
    assert got["slow_rules"] == ["wide_open"]
    alone = estimate(api, rules_for(mark))
    assert alone["candidate_files"] < 20 and alone["slow_rules"] == []


def test_an_estimate_of_what_is_not_indexed(make_server):
    server = make_server("--index=false")
    key = server.user("hunter")
    api = server.start().api(key)
    fill(api, marker(), 4)
    got = estimate(api, rules_for(marker()))
    assert got["not_indexed_files"] == got["candidate_files"] == got["total_files"] == 4
    assert got["rules"][0]["candidate_files"] == 4
    assert estimate(api, rules_for(marker()), corpus="goodware")["total_files"] == 0
    for attributes, text in (({"rules": "rule r { condition: $a }"}, "unknown pattern"), ({"rules": "rule r"}, "syntax error"),
                             ({"rules": rules_for("xyzzy"), "corpus": "x"}, "Valid corpora"), ({}, '"rules" is required')):
        response = api.post(f"{PATH}/estimate", json={"data": {"type": "retrohunt_job", "attributes": attributes}})
        assert_error(response, 400, "InvalidArgumentError", text)


# Rules that leave little, much and everything; each needs what others are, and a global one stands among them.
OF_ALL_KINDS = """
import "pe"
import "math" // asked by one rule alone
private rule base { strings: $a = "MARK" $b = "none_of_this" condition: any of them }
rule selective : first second { meta: about = "base" condition: base and filesize > 10 }
rule without { condition: not base and filesize < 3000 }
rule everything { condition: math.entropy(0, filesize) > 1.0 }
rule other { strings: $base = "OTHER" wide nocase condition: $base }
rule both { strings: $a = { 4F 00 74 00 } condition: (selective or other) and everything and not $a }
global rule in_size { condition: filesize < 60000 }
rule odd { condition: filesize % 2 == 1 }
private global rule in_size_too { condition: filesize > 5 }
rule program { condition: pe.is_pe }
rule of_no_file { strings: $a = "nothing has this" condition: $a }
rule any_of_two { condition: 1 of (selective, other) }
"""


@pytest.mark.parametrize("split", [True, False])
def test_rules_in_parts_find_what_they_find_together(make_server, split):
    """Scanned in parts or as one set: the same as the wheel finds, each once, with its tags."""
    lots = random.Random(5)
    server = make_server("--index-seconds=0", "--index-segment-files-max=30", f"--retrohunt-split-ms={0 if split else 100}").start()
    api = server.api(server.user("hunter"))
    mark = marker()
    rules = OF_ALL_KINDS.replace("MARK", mark)
    needles = [b"", mark.encode(), "Other".encode("utf-16le"), mark.encode() + "OTHER".encode("utf-16le"), b"none_of_this"]
    contents = [lots.randbytes(lots.choice([20, 2000, 2001, 50_000])) + needles[i % 5] + b"%d" % i for i in range(70)]
    contents += [bytes(70_000) + mark.encode(), b"abc", b"MZ" + bytes(2000) + mark.encode()]
    files = {api.hunt(content): content for content in contents}
    wait_for(lambda: estimate(api, rules_for(mark))["not_indexed_files"] == 0, 60, "not all files are indexed")
    late = lots.randbytes(3000) + mark.encode()
    files[api.hunt(late)] = late  # it may be in no segment
    scanner = yara_x.Scanner(yara_x.compile(rules))
    wanted = sorted((sha, rule.identifier) for sha, content in files.items() for rule in scanner.scan(content).matching_rules)
    job, attributes = run(api, rules)
    assert sorted(told(api, job)) == wanted
    assert {rule for _, rule in wanted} == {"selective", "without", "everything", "other", "both", "in_size", "odd", "any_of_two"}
    assert attributes["num_matches"] == len(wanted) and attributes["num_matching_files"] == len({sha for sha, _ in wanted})
    assert attributes["complete"] and attributes["progress"] == 100 and attributes["scanned_bytes"] == sum(map(len, contents + [late]))
    assert sorted(matching(api, job)) == sorted({sha for sha, _ in wanted})
    tags = [set(i["context_attributes"]["tags"]) for i in api.stream(filter=f"source_id:{job['id']} tag:first", limit=40)["data"]]
    assert tags and all({"selective", "first", "second"} <= some for some in tags)
    assert f"weir_retrohunt_split_total {int(split)}\n" in server.api().get("//metrics").text


@pytest.mark.parametrize("split", [True, False])
def test_rules_in_parts_that_ask_for_facts(make_server, split):
    """Files are scanned one by one then; with their names all the same."""
    server = make_server("--index-seconds=0", f"--retrohunt-split-ms={0 if split else 100}").start()
    api = server.api(server.user("hunter"))
    mark = marker()
    named = api.upload(mark.encode() + b" with a name", "named.bin")
    api.wait_analysis(named)
    files = fill(api, mark, 4)
    wait_for(lambda: estimate(api, rules_for(mark))["not_indexed_files"] == 0, 60, "not all files are indexed")
    job, _ = run(api, f'rule named {{ condition: file_name contains "named" }} rule held {{ strings: $a = "{mark}" condition: $a }}')
    by_rule = Counter(rule for _, rule in told(api, job))
    assert by_rule == {"named": 1, "held": len(files) + 1}
    assert f"weir_retrohunt_split_total {int(split)}\n" in server.api().get("//metrics").text


def test_a_job_in_parts_is_aborted_and_deleted(make_server):
    server = make_server("--index-seconds=0", "--retrohunt-split-ms=0").start()
    api = server.api(server.user("hunter"))
    some_files(api, 3)
    wait_for(lambda: estimate(api, rules_for(marker()))["not_indexed_files"] == 0, 60, "not all files are indexed")
    job = begin(api, f"rule endless {{ condition: {ENDLESS} }} rule other {{ strings: $a = \"{marker()}\" condition: $a }}")
    wait_for(lambda: "weir_retrohunt_split_total 1\n" in server.api().get("//metrics").text, 60, "its rules are not in parts")
    assert api.post(f"{PATH}/{job['id']}/abort").status_code == 200
    wait_for(lambda: look(api, job)["status"] == "aborted", 10, "the job is not aborted")
    assert api.delete(f"{PATH}/{job['id']}").status_code == 200
    mark = marker()
    files = fill(api, mark, 3)
    job, attributes = run(api, rules_for(mark, 2))
    assert set(matching(api, job)) == files and attributes["num_matches"] == 6
