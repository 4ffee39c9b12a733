"""What is inside archives: files of their own, hunted, and told of on what they lie in."""

import gzip
import hashlib
import io
import lzma
import sqlite3
import tarfile
import zipfile

import pytest

import archives
from weirtest import Server, assert_error, marker, rules_for


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


# ---- Passwords ----


@pytest.mark.parametrize("how", ["AES256", "AES128", "ZipCrypto"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_password_opens_a_zip(api, how, order):
    word = marker()
    api.ruleset(rules_for(word))
    data = word.encode() * 3
    container = archives.encrypted_zip({"a.exe": data}, "s3cret pass", how)
    parts = [("password", (None, "s3cret pass")), ("file", ("x.zip", container))]
    answer = api.post("/files", files=parts if order == "before" else parts[::-1])
    assert answer.status_code == 200, answer.text
    attributes = api.wait_analysis(answer.json()["data"]["id"])
    assert attributes["not_run"] == []
    assert entries_of(api)[sha256_of(container), "found_0"]["match_in_subfile"]
    assert api.get(f"/files/{sha256_of(data)}/download").content == data
    report = api.get(f"/files/{sha256_of(container)}").json()["data"]["attributes"]
    assert "encrypted" in report["tags"] and "encrypted" in report["bundle_info"]["tags"]


@pytest.mark.parametrize("how", ["AES256", "ZipCrypto"])
def test_a_wrong_password_is_refused_and_nothing_kept(api, how):
    container = archives.encrypted_zip({"a.exe": marker().encode()}, "right", how)
    answer = api.post("/files", files={"file": ("x.zip", container)}, data={"password": "wrong"})
    assert_error(answer, 401, "WrongCredentialsError", "Wrong password")
    assert api.get(f"/files/{sha256_of(container)}").status_code == 404
    # Known bytes: the same answer, and the copy stays.
    api.upload(container)
    answer = api.post("/files", files={"file": ("x.zip", container)}, data={"password": "wrong"})
    assert_error(answer, 401, "WrongCredentialsError")
    assert api.get(f"/files/{sha256_of(container)}/download").content == container


@pytest.mark.parametrize("how", ["AES256", "ZipCrypto"])
def test_infected_is_tried(api, how):
    word = marker()
    api.ruleset(rules_for(word))
    container = archives.encrypted_zip({"a.exe": word.encode() * 3}, "infected", how)
    assert hunt(api, container)["not_run"] == []
    assert entries_of(api)[sha256_of(container), "found_0"]["match_in_subfile"]


def test_without_a_password_it_is_said(api):
    container = archives.encrypted_zip({"a.exe": marker().encode(), "b": b"bb"}, "right")
    assert reasons(hunt(api, container)) == ["2 entries are encrypted and no known password opens them"]
    report = api.get(f"/files/{sha256_of(container)}").json()["data"]["attributes"]
    assert report["bundle_info"]["num_children"] == 2 and "encrypted" in report["tags"]
    assert api.get(f"/files/{sha256_of(container)}/bundled_files").json()["data"] == []
    # Sent again with it, all is there.
    assert hunt(api, container, password="right")["not_run"] == []
    assert len(api.get(f"/files/{sha256_of(container)}/bundled_files").json()["data"]) == 2


@pytest.mark.parametrize("options", [("-p123",), ("-p123", "-mhe=on")])
def test_an_encrypted_7z_is_said_to_be(api, options):
    container = archives.made_7z({"a.exe": marker().encode() * 10}, *options)
    (reason,) = reasons(hunt(api, container))
    assert "encrypted" in reason, reason
    report = api.get(f"/files/{sha256_of(container)}").json()["data"]["attributes"]
    assert "encrypted" in report["tags"]


def test_a_password_for_what_needs_none_does_no_harm(api):
    for data in b"plain text " + marker().encode(), archives.made_zip({"a": marker().encode()}), b"PK\x03\x04 broken":
        assert hunt(api, data, password="anything")["status"] == "completed"
    answer = api.post("/files", files={"file": ("x", b"y" + marker().encode())}, data={"password": "p" * 257})
    assert_error(answer, 400, "BadRequestError", "256 bytes")


def test_a_password_is_neither_kept_nor_logged(make_server):
    server = make_server().start()
    api = server.api(server.user("ann"))
    secret = "Zx" + marker()
    container = archives.encrypted_zip({"a.exe": marker().encode()}, secret)
    assert hunt(api, container, password=secret)["not_run"] == []
    assert hunt(api, b"no archive " + marker().encode(), password=secret)["not_run"] == []
    with sqlite3.connect(f"file:{server.data / 'weir.db'}?mode=ro", uri=True) as db:
        assert db.execute("SELECT count(*) FROM unpacking").fetchone() == (0,)
    server.stop()
    assert secret not in server.log_path.read_text()


# ---- Bad input ----


def test_names_that_lead_outside_are_cleaned(api):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        def add(name, data=b"", **more):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in more.items():
                setattr(info, key, value)
            t.addfile(info, io.BytesIO(data))

        mark = marker().encode()
        add("/etc/passwd", b"abs " + mark)
        add("../../up/./name", b"up " + mark)
        add("..\\windows\\evil.exe", b"win " + mark)
        add("line\nbreak\x01", b"ctl " + mark)
        add("same", b"first " + mark)
        add("same", b"second " + mark)
        add("empty")
        add("folder", type=tarfile.DIRTYPE)
        add("soft", type=tarfile.SYMTYPE, linkname="/etc/shadow")
        add("hard", type=tarfile.LNKTYPE, linkname="/etc/shadow")
        add("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
        add("pipe", type=tarfile.FIFOTYPE)
        add("long/" * 300 + "tail.exe", b"long " + mark)
    container = out.getvalue()
    assert hunt(api, container)["not_run"] == []
    page = api.get(f"/files/{sha256_of(container)}/bundled_files", params={"limit": 40}).json()
    names = [item["context_attributes"]["filename"] for item in page["data"]]
    assert names[:6] == ["etc/passwd", "up/name", "windows/evil.exe", "line_break_", "same", "same"]
    assert len(names) == 7 and names[6].endswith("long/tail.exe") and len(names[6]) <= 1024
    info = api.get(f"/files/{sha256_of(container)}").json()["data"]["attributes"]["bundle_info"]
    assert info["num_children"] == 13


@pytest.fixture(scope="module")
def tight(weir_bin, servers, tmp_path_factory):
    """A server with small limits."""
    one = Server(weir_bin, tmp_path_factory.mktemp("tight"), "--unpack-entries-max=20", "--unpack-bytes-max=3000000",
                 "--unpack-entry-bytes-max=1000000", "--unpack-depth-max=8")
    servers.append(one)
    yield one.start()
    one.stop()
    servers.remove(one)


@pytest.fixture
def tight_api(tight, request):
    return tight.api(tight.user("u" + marker()))


def test_more_entries_than_allowed_are_left_out(tight_api):
    container = archives.made_zip({f"f{i}": marker().encode() for i in range(100)})
    assert reasons(hunt(tight_api, container)) == ["there are more than 20 entries: the others were left out"]
    assert tight_api.get(f"/files/{sha256_of(container)}/bundled_files").json()["meta"]["count"] == 20


def test_a_million_entries(tight_api):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("first", marker())
    one = tarfile.TarInfo("empty").tobuf()
    container = gzip.compress(one * 1000000, 1)
    assert reasons(hunt(tight_api, container)) == ["there are more than 20 entries: the others were left out"]


@pytest.mark.parametrize("how", ["gz", "bz2", "xz", "zst"])
def test_a_bomb_of_one_file(tight_api, how):
    container = archives.single(marker().encode() + bytes(20 << 20), how)
    assert reasons(hunt(tight_api, container)) == ["files of more than 1000000 bytes were left out"]


def test_a_zip_bomb(tight_api):
    container = archives.made_zip({f"{i}": marker().encode() + bytes(900000) for i in range(10)})
    assert reasons(hunt(tight_api, container)) == ["there are more than 3000000 bytes: what is beyond was left out"]


def test_a_bomb_in_layers_is_bounded_as_a_whole(tight_api):
    """Each layer alone keeps to the limits."""
    inner = [archives.made_zip({f"{j}": marker().encode() + bytes(400000) for j in range(5)}) for _ in range(4)]
    container = archives.made_zip({f"{i}.zip": data for i, data in enumerate(inner)})
    attributes = hunt(tight_api, container)
    assert reasons(attributes, "bundled_files")
    kept = 0
    for data in inner:
        kept += tight_api.get(f"/files/{sha256_of(data)}/bundled_files").json()["meta"]["count"]
    assert 5 <= kept <= 7  # 3 MB of 400 KB each


def test_ratio(make_server):
    server = make_server("--unpack-ratio-max=10").start()
    api = server.api(server.user("ann"))
    container = archives.made_zip({f"{i}": marker().encode() + bytes(20 << 20) for i in range(8)})
    assert reasons(hunt(api, container)) == ["it expands to more than 10 times its size: what is beyond was left out"]


def nested_zip():
    """A ZIP whose only member is a ZIP of the same name, 1,000 deep."""
    data = archives.made_zip({"end": marker().encode()}, zipfile.ZIP_STORED)
    for _ in range(1000):
        data = archives.made_zip({"r.zip": data}, zipfile.ZIP_STORED)
    return data


def test_nested_1000_deep(tight_api):
    attributes = hunt(tight_api, nested_zip())
    assert reasons(attributes, "bundled_files")


def test_sizes_that_lie(api):
    data = marker().encode() * 100
    container = bytearray(archives.made_zip({"a": data}))
    for size in 0, 5, 0xFFFFFFFE:
        at = container.index(b"PK\x01\x02")
        lying = bytearray(container)
        lying[at + 24:at + 28] = size.to_bytes(4, "little")
        lying[22:26] = size.to_bytes(4, "little")
        assert hunt(api, bytes(lying))["status"] == "completed"


@pytest.mark.parametrize("kind", ["zip", "7z", "tar.gz", "cab", "rar5"])
def test_cut_at_many_places(api, kind):
    """At every byte: tests/unit/test_unpack.c. Here through everything that stores and tells."""
    container = archives.MAKERS[kind][1]({"a": marker().encode() * 30, "b/c": marker().encode()})
    sent = [api.upload(container[:n]) for n in range(1, len(container), max(1, len(container) // 25))]
    for analysis in sent:
        assert api.wait_analysis(analysis)["status"] == "completed"


def test_large_files_inside_are_not_hunted(make_server):
    server = make_server("--hunt-bytes-max=1000").start()
    api = server.api(server.user("ann"))
    word = marker()
    api.ruleset(rules_for(word))
    small, large = word.encode() * 3, word.encode() * 100
    container = archives.made_zip({"small": small, "large": large}) + bytes(2000)
    attributes = hunt(api, container)
    assert reasons(attributes, "hunting") and reasons(attributes, "bundled_files")
    assert set(entries_of(api)) == {(sha256_of(small), "found_0"), (sha256_of(container), "found_0")}


def test_a_container_that_harms_the_child_is_named(make_server):
    """Its window for repetitions alone is more than the child may use; its own bytes are hunted all the same."""
    server = make_server("--scan-memory-max=134217728", "--unpack-ratio-max=1000000",
                         "--unpack-entry-bytes-max=300000000").start()
    api = server.api(server.user("ann"))
    api.ruleset("rule xz { condition: uint32be(0) == 0xFD377A58 }")
    window = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20, "preset": 0}]
    container = lzma.compress(marker().encode() + bytes(150 << 20), format=lzma.FORMAT_XZ, filters=window)
    (reason,) = reasons(hunt(api, container))
    assert "over its memory limit" in reason
    assert entries_of(api)[sha256_of(container), "xz"]["match_in_subfile"] is False
    # The next one is none the worse for it.
    small = archives.single(marker().encode(), "xz")
    assert hunt(api, small)["not_run"] == []


def test_a_removed_member_holds_up_nobody(server, api):
    admin = server.api(server.user("admin" + marker(), role="admin"))
    data = marker().encode()
    container = archives.made_zip({"a": data, "b": marker().encode()})
    analysis = api.upload(container)
    api.wait_analysis(analysis)
    assert admin.delete(f"/files/{sha256_of(data)}").status_code == 200
    assert api.get(f"/files/{sha256_of(container)}/bundled_files").json()["meta"]["count"] == 1
    assert admin.delete(f"/files/{sha256_of(container)}").status_code == 200
    assert api.get(f"/files/{sha256_of(data)}").status_code == 404
