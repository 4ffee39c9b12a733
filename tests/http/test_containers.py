"""What is inside archives: files of their own, hunted, and told of on what they lie in."""

import hashlib
import io
import tarfile
import zipfile

import pytest

import archives
from weirtest import marker, rules_for


def sha256_of(data):
    return hashlib.sha256(data).hexdigest()


def entries_of(api, **params):
    """{(sha256, rule): hunting_info} of everything in the stream."""
    found = {}
    page = api.stream(limit=40, **params)
    while True:
        for item in page["data"]:
            info = item["context_attributes"]["hunting_info"]
            found[item["id"], info["rule_name"]] = info
        if "cursor" not in page["meta"]:
            return found
        page = api.stream(cursor=page["meta"]["cursor"])


def hunt(api, data, name="sample.bin", **form):
    """Sends and waits; the attributes of the analysis."""
    answer = api.post("/files", files={"file": (name, data)}, data=form)
    assert answer.status_code == 200, answer.text
    return api.wait_analysis(answer.json()["data"]["id"])


def reasons(attributes, what="unpack"):
    return [entry["reason"] for entry in attributes["not_run"] if entry["what"] == what]


@pytest.mark.parametrize("kind", archives.MAKERS)
def test_every_format_is_opened_and_hunted(api, kind):
    word = marker()
    api.ruleset(rules_for(word), name=f"words {kind}")
    files = {"one.txt": b"nothing here, " + kind.encode() + word[::-1].encode(),
             "dir/two.bin": b"\x00" * 40 + word.encode() + b"\xff" * 40}
    bundle_type, make = archives.MAKERS[kind]
    container = make(files)
    attributes = hunt(api, container, "sent." + kind.replace(" ", "."))
    assert attributes["not_run"] == []

    inside = sha256_of(files["dir/two.bin"])
    told = entries_of(api)
    assert set(told) >= {(inside, "found_0"), (sha256_of(container), "found_0")}
    own = told[inside, "found_0"]
    assert not own["match_in_subfile"] and own["match_source"] == "ORIGINAL_FILE"
    around = told[sha256_of(container), "found_0"]
    assert around["match_in_subfile"] == (word.encode() not in container)
    if around["match_in_subfile"]:
        assert around["match_source"] == "SUBFILE" and around["subfile_sha256"] == inside
        assert around["snippet"] == own["snippet"]

    report = api.get(f"/files/{sha256_of(container)}").json()["data"]["attributes"]
    info = report["bundle_info"]
    assert info["type"] == bundle_type
    assert info["num_children"] >= 2
    assert info["uncompressed_size"] == sum(map(len, files.values()))
    assert info["extensions"]["txt"] == 1 and info["extensions"]["bin"] == 1
    assert sum(info["file_types"].values()) == 2
    child = api.get(f"/files/{inside}").json()["data"]["attributes"]
    assert child["names"] == ["two.bin"] and child["size"] == len(files["dir/two.bin"])
    assert child["times_submitted"] == 0 and child["unique_sources"] == 0
    assert api.get(f"/files/{inside}/download").content == files["dir/two.bin"]


@pytest.mark.parametrize("how", ["gz", "bz2", "xz", "lzma", "zst", "lz4"])
def test_a_compressed_file_is_opened(api, how):
    word = marker()
    api.ruleset(rules_for(word))
    data = word.encode() * 50
    container = archives.single(data, how)
    assert hunt(api, container, f"evil.exe.{how}")["not_run"] == []
    told = entries_of(api)
    # Some keep a text as it is where it first stands.
    assert told[sha256_of(container), "found_0"]["match_in_subfile"] == (word.encode() not in container)
    assert told[sha256_of(data), "found_0"]["match_in_subfile"] is False
    assert api.get(f"/files/{sha256_of(data)}").json()["data"]["attributes"]["meaningful_name"] == "evil.exe"
    info = api.get(f"/files/{sha256_of(container)}").json()["data"]["attributes"]["bundle_info"]
    assert info["beginning"].startswith(word)


def test_a_debian_package_is_two_deep(api):
    word = marker()
    api.ruleset(rules_for(word))
    data = word.encode() * 20
    container = archives.made_deb({"usr/bin/tool": data})
    assert hunt(api, container, "tool.deb")["not_run"] == []
    told = entries_of(api)
    assert told[sha256_of(container), "found_0"]["match_in_subfile"]
    assert told[sha256_of(data), "found_0"]["match_in_subfile"] is False
    assert len(told) == 3  # the package, data.tar.xz, the tool


def test_rules_know_what_lies_inside_another(api):
    word = marker()
    api.ruleset('import "vt" rule inside { strings: $a = "%s" condition: $a and vt.metadata.subfile }\n'
                'import "vt" rule sent { strings: $a = "%s" condition: $a and not vt.metadata.subfile }' % (word, word))
    data = word.encode() * 3
    container = archives.made_zip({"a": data})
    hunt(api, container)
    assert set(entries_of(api)) == {(sha256_of(data), "inside"), (sha256_of(container), "inside")}
    hunt(api, data)
    assert set(entries_of(api)) == {(sha256_of(data), "inside"), (sha256_of(container), "inside"),
                                    (sha256_of(data), "sent")}
    report = api.get(f"/files/{sha256_of(data)}").json()["data"]["attributes"]
    assert report["times_submitted"] == 1 and report["unique_sources"] == 1


def test_the_same_file_in_two_containers_is_told_on_both(api):
    """It was known and analysed with the same rules when the second came."""
    word = marker()
    api.ruleset(rules_for(word))
    data = word.encode() * 3
    first, second = archives.made_zip({"a": data, "1": b"1"}), archives.made_zip({"b": data, "2": b"2"})
    for container in first, second, first:
        assert hunt(api, container)["not_run"] == []
    told = entries_of(api)
    assert set(told) == {(sha256_of(x), "found_0") for x in (data, first, second)}
    assert set(api.get(f"/files/{sha256_of(data)}").json()["data"]["attributes"]["names"]) == {"a", "b"}
    assert api.stream()["meta"]["count"] == 3


def test_a_match_deep_inside_is_told_on_all_around_it(api):
    word = marker()
    api.ruleset(rules_for(word))
    data = word.encode()
    shells = [data]
    for level in range(4):
        shells.append(archives.made_zip({f"level{level}.zip": shells[-1]}))
    assert hunt(api, shells[-1])["not_run"] == []
    told = entries_of(api)
    for number, shell in enumerate(shells):
        info = told[sha256_of(shell), "found_0"]
        assert info["match_in_subfile"] == (number > 0)
        if number:
            assert info["subfile_sha256"] == sha256_of(data)


def test_a_match_in_both_is_told_of_the_container_itself(api):
    word = marker()
    api.ruleset(rules_for(word))
    data = word.encode() * 3
    container = archives.made_zip({"a": data}, zipfile.ZIP_STORED)
    hunt(api, container)
    told = entries_of(api)
    assert told[sha256_of(container), "found_0"]["match_in_subfile"] is False
    assert told[sha256_of(container), "found_0"]["match_source"] == "ORIGINAL_FILE"
    assert told[sha256_of(data), "found_0"]["match_in_subfile"] is False


def test_what_is_too_deep_is_said(make_server):
    server = make_server("--unpack-depth-max=2")
    server.start()
    api = server.api(server.user("ann"))
    word = marker()
    shells = [word.encode() * 4]
    for level in range(4):
        shells.append(archives.made_zip({f"l{level}": shells[-1]}))
    attributes = hunt(api, shells[-1])
    assert reasons(attributes, "bundled_files") == [
        "in 1 contained files something was not run; their own analyses say what"]
    assert api.get(f"/files/{sha256_of(shells[2])}").status_code == 200
    assert api.get(f"/files/{sha256_of(shells[1])}").status_code == 404


def test_what_is_inside_is_a_relationship(api):
    files = {f"folder/f{i}": marker().encode() for i in range(25)}
    files["again"] = files["folder/f0"]
    container = archives.made_zip(files)
    hunt(api, container)
    inside = {sha256_of(data) for data in files.values()}
    listed, names, params = [], {}, {"limit": 10}
    while True:
        page = api.get(f"/files/{sha256_of(container)}/bundled_files", params=params).json()
        listed += [item["id"] for item in page["data"]]
        names |= {item["id"]: item["context_attributes"]["filename"] for item in page["data"]}
        assert page["meta"]["count"] == 25
        if "cursor" not in page["meta"]:
            break
        params = {"cursor": page["meta"]["cursor"]}
    assert len(listed) == 25 and set(listed) == inside
    assert names[sha256_of(files["folder/f3"])] == "folder/f3"

    child = sha256_of(files["folder/f7"])
    page = api.get(f"/files/{child}/compressed_parents").json()
    assert [item["id"] for item in page["data"]] == [sha256_of(container)]
    page = api.get(f"/files/{child}/relationships/compressed_parents").json()
    assert page["data"] == [{"type": "file", "id": sha256_of(container),
                             "context_attributes": {"filename": "folder/f7"}}]
    assert api.get(f"/files/{child}", params={"relationships": "compressed_parents"}).json()["data"][
        "relationships"]["compressed_parents"]["data"][0]["id"] == sha256_of(container)
    assert api.get(f"/files/{child}/bundled_files").json()["data"] == []
