"""vt-cli as it is: every command that a hunter uses, with --host alone changed."""

import hashlib
import json
import re

import pytest

import foreign
from weirtest import marker, rules_for, wait_for


class Cli:
    """One user's vt."""

    def __init__(self, binary, base, key, home, name):
        self.binary, self.base, self.key, self.home, self.name = binary, base, key, home, name

    def __call__(self, *args, **kwargs):
        done = foreign.run([self.binary, "--host", self.base, "-k", self.key, *args], self.home, **kwargs)
        assert done.returncode == 0, f"vt {' '.join(map(str, args))}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def json(self, *args, **kwargs):
        return json.loads(self("--format", "json", *args, **kwargs))

    def ids(self, *args):
        """The identifiers that a list has, up to 40 of them."""
        return self.json(*args, "-I", "-n", "40") or []


@pytest.fixture(scope="module")
def recorder(server):
    with foreign.Recorder(server) as recorder:
        yield recorder


@pytest.fixture
def vt(server, recorder, tmp_path, user):
    name, key = user
    return Cli(foreign.program("vt-cli", "vt"), recorder.base, key, tmp_path, name)


@pytest.fixture
def user(server, request):
    name = f"vt-{marker()}"
    return name, server.user(name)


@pytest.fixture
def api(server, user):
    return server.api(user[1])


@pytest.fixture
def hits(api):
    """Text of a ruleset "Chinese Files" with two rules, and three files that it found."""
    mark = marker()
    api.ruleset(rules_for(mark, 2), "Chinese Files")
    for i in range(3):
        api.hunt(f"{mark} {i}".encode(), f"file {i}")
    return mark


def rules_file(vt, text, name="rules.yar"):
    path = vt.home / name
    path.write_text(text)
    return path


def test_init_writes_the_key_and_the_relationships(vt):
    done = foreign.run([vt.binary, "--host", vt.base, "init", "-k", vt.key], vt.home)
    assert done.returncode == 0 and "written" in done.stdout, done.stdout + done.stderr
    assert (vt.home / ".vt.toml").read_text() == f'apikey="{vt.key}"\n'
    # From now on its commands have one sub-command for each relationship of /metadata.
    help_text = foreign.run([vt.binary, "file", "--help"], vt.home).stdout
    for relationship in ("bundled_files", "compressed_parents", "submissions", "analyses", "contacted_domains"):
        assert relationship in help_text, help_text


def test_the_host_is_a_variable_or_in_the_file(vt):
    env = {"VTCLI_HOST": vt.base, "VTCLI_APIKEY": vt.key}
    assert foreign.run([vt.binary, "hunting", "ruleset", "list"], vt.home, env=env).returncode == 0
    (vt.home / ".vt.toml").write_text(f'apikey="{vt.key}"\nhost="{vt.base}"\n')
    assert foreign.run([vt.binary, "hunting", "ruleset", "list"], vt.home).returncode == 0


def test_meta(vt):
    meta = vt("meta")
    assert "relationships:" in meta and "engines:" in meta


def test_rulesets_from_add_to_delete(vt):
    mark = marker()
    added = vt.json("hunting", "ruleset", "add", "from vt", rules_file(vt, rules_for(mark)))
    added = added[0] if isinstance(added, list) else added
    identifier = added["_id"]
    assert identifier.isdigit() and added["rule_names"] == ["found_0"]
    vt("hunting", "ruleset", "enable", identifier)
    vt("hunting", "ruleset", "rename", identifier, "another name")
    vt("hunting", "ruleset", "setlimit", identifier, "17")
    vt("hunting", "ruleset", "notification_emails", identifier, "a@example.com", "b@example.com")
    vt("hunting", "ruleset", "update", identifier, rules_file(vt, rules_for(mark, 2)))
    (got,) = vt.json("hunting", "ruleset", identifier)
    assert (got["name"], got["enabled"], got["limit"], got["number_of_rules"]) == ("another name", True, 17, 2)
    assert got["notification_emails"] == ["a@example.com", "b@example.com"]
    vt("hunting", "ruleset", "disable", identifier)
    (listed,) = vt.json("hunting", "ruleset", "list")
    assert listed["_id"] == identifier and not listed["enabled"]
    vt("hunting", "ruleset", "delete", identifier)
    assert vt.ids("hunting", "ruleset", "list") == []


def test_rulesets_are_listed_by_filter_and_over_pages(vt, api):
    made = {api.ruleset(rules_for(marker()), f"number {i}", enabled=i % 2 == 0)["id"] for i in range(12)}
    assert set(vt.ids("hunting", "ruleset", "list")) == made
    assert len(vt.ids("hunting", "ruleset", "list", "-f", "enabled:true")) == 6
    text = vt("hunting", "ruleset", "list", "-n", "4")
    cursor = re.search(r"MORE WITH:\s*vt hunting ruleset list .*--cursor[= ](\S+)", text)
    assert cursor, text
    first = set(re.findall(r'_id: "?(\d+)', text))
    rest = set(vt.ids("hunting", "ruleset", "list", "--cursor", cursor.group(1)))
    assert len(first) == 4 and first | rest == made and not first & rest


def test_rules_that_do_not_compile_are_told_with_their_place(vt):
    path = rules_file(vt, "rule r {\n condition: $nothing }")
    done = foreign.run([vt.binary, "--host", vt.base, "-k", vt.key, "hunting", "ruleset", "add", "x", path], vt.home)
    assert done.returncode != 0 and "line 2" in done.stdout + done.stderr


def test_all_rulesets_are_deleted_after_the_name_is_typed(vt, api):
    for i in range(3):
        api.ruleset(rules_for(marker()), f"number {i}")
    refused = foreign.run([vt.binary, "--host", vt.base, "-k", vt.key, "hunting", "ruleset", "delete", "--all"], vt.home,
                          input="somebody else\n")
    assert refused.returncode != 0 and "x-confirm-delete" in refused.stdout + refused.stderr
    assert len(vt.ids("hunting", "ruleset", "list")) == 3
    vt("hunting", "ruleset", "delete", "--all", input=f"{vt.name}\n")
    wait_for(lambda: vt.ids("hunting", "ruleset", "list") == [], 20, "rulesets are left")


def test_notifications_are_listed_and_deleted(vt, hits):
    listed = vt.json("hunting", "notification", "list", "-n", "40")
    assert len(listed) == 6
    assert {item["rule_name"] for item in listed} == {"found_0", "found_1"}
    assert all("chinese_files" in item["tags"] and re.search("[0-9a-f]{64}", " ".join(item["tags"])) for item in listed)
    one = listed[0]["_id"]
    (got,) = vt.json("hunting", "notification", one)
    assert got["snippet"] == listed[0]["snippet"]
    vt("hunting", "notification", "delete", one)
    assert len(vt.ids("hunting", "notification", "list")) == 5
    vt("hunting", "notification", "delete", "--with-tag", "found_0")
    wait_for(lambda: len(vt.ids("hunting", "notification", "list")) <= 3, 20, "not deleted")
    assert len(vt.ids("hunting", "notification", "list", "-f", "tag:found_1")) in (2, 3)
    wait_for(lambda: foreign.run([vt.binary, "--host", vt.base, "-k", vt.key, "hunting", "notification", "delete", "--all"],
                                 vt.home).returncode == 0, 20, "a deletion is still under way")
    wait_for(lambda: vt.ids("hunting", "notification", "list") == [], 20, "notifications are left")


def test_the_stream_is_listed_and_deleted(vt, hits):
    listed = vt.json("iocstream", "list", "-n", "40", "-f", "date:1d+ entity_type:file origin:hunting")
    assert len(listed) == 6 and {item["_type"] for item in listed} == {"file"}
    assert len(vt.json("iocstream", "list", "-I", "-n", "9999999")) == 6
    assert len(vt.json("iocstream", "list", "-f", "origin:hunting tag:found_0")) == 3
    assert len(vt.json("iocstream", "list", "-f", "origin:hunting tag:chinese_files")) == 6
    sha256 = hashlib.sha256(f"{hits} 1".encode()).hexdigest()
    entries = vt.json("iocstream", "list", "-f", f"entity_type:file entity_id:{sha256}",
                      "-i", "_id,last_analysis_stats,size,type_tag,_context_attributes.notification_id")
    assert len(entries) == 2 and {entry["_id"] for entry in entries} == {sha256}
    notification = entries[0]["_context_attributes"]["notification_id"]
    (got,) = vt.json("iocstream", notification)
    assert got["entity_id"] == sha256 and got["origin"] == "hunting"
    vt("iocstream", "delete", notification)
    assert len(vt.ids("iocstream", "list")) == 5
    assert "being deleted" in vt("iocstream", "delete", "-f", "origin:hunting tag:found_0")
    wait_for(lambda: len(vt.ids("iocstream", "list")) <= 3, 20, "not deleted")
    wait_for(lambda: foreign.run([vt.binary, "--host", vt.base, "-k", vt.key, "iocstream", "delete"], vt.home,
                                 input="y\n").returncode == 0, 20, "a deletion is still under way")
    wait_for(lambda: vt.ids("iocstream", "list") == [], 20, "entries are left")


def test_the_stream_over_pages(vt, hits):
    text = vt("iocstream", "list", "-n", "4", "-i", "_id,_context_attributes.notification_id")
    cursor = re.search(r"--cursor[= ](\S+)", text)
    assert cursor, text
    first = re.findall(r'notification_id: "?(\d+)', text)
    rest = re.findall(r'notification_id: "?(\d+)', vt("iocstream", "list", "-n", "40", "--cursor", cursor.group(1), "-i",
                                                    "_id,_context_attributes.notification_id"))
    assert len(first) == 4 and len(set(first + rest)) == len(first + rest) == 6


def test_a_file_is_scanned_and_read(vt):
    data = marker().encode() * 10
    path = vt.home / "a sample.bin"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    said = vt("scan", "file", path)
    analysis = said.split()[-1]
    assert re.fullmatch(r"f-[0-9a-f]{64}-\d+", analysis), said
    whole = vt("scan", "file", "-w", path)  # waits by looking each ten seconds
    assert sha256 in whole and "times_submitted: 2" in whole, whole
    (got,) = vt.json("analysis", analysis)
    assert got["status"] == "completed"
    for algorithm in ("md5", "sha1", "sha256"):
        (file,) = vt.json("file", hashlib.new(algorithm, data).hexdigest())
        assert file["_id"] == sha256 and file["meaningful_name"] == "a sample.bin"
    (narrow,) = vt.json("file", sha256, "-i", "size,names")
    assert narrow["size"] == len(data)


def test_a_file_is_scanned_with_a_password(vt):
    path = vt.home / "plain.bin"
    path.write_bytes(marker().encode())
    assert re.search(r"f-[0-9a-f]{64}-\d+", vt("scan", "file", "-p", "infected", path))


def test_a_large_file_goes_to_an_upload_address(vt):
    path = vt.home / "large.bin"
    path.write_bytes(marker().encode() + bytes(33 << 20))
    assert re.search(r"f-[0-9a-f]{64}-\d+", vt("scan", "file", path))


def test_a_file_is_downloaded(vt, api):
    data = marker().encode() * 100
    sha256 = api.hunt(data)
    vt("download", sha256, "-o", vt.home)
    assert (vt.home / sha256).read_bytes() == data


def test_relationships_of_a_file(vt, api):
    data = marker().encode()
    sha256 = api.hunt(data)
    foreign.run([vt.binary, "--host", vt.base, "init", "-k", vt.key], vt.home)
    assert vt.ids("file", "bundled_files", sha256) == []
    submissions = vt.json("file", "submissions", sha256)
    assert len(submissions) == 1
    everything = vt("file", "relationships", sha256)
    assert "NotFound" not in everything and "error" not in everything.lower(), everything


def test_a_user_reads_about_himself(vt):
    said = vt("user", vt.name)
    assert f'_id: "{vt.name}"' in said, said


def test_errors_are_told(vt):
    for args, text in ((("iocstream", "list", "-f", "origin:nowhere"), "origins are"),
                       (("file", "0" * 64), "not found"),
                       (("hunting", "ruleset", "list", "-f", "nothing:1"), "nothing")):
        done = foreign.run([vt.binary, "--host", vt.base, "-k", vt.key, *args], vt.home)
        assert text in done.stdout + done.stderr, (args, done.stdout, done.stderr)


def test_retrohunt_from_start_to_delete(vt, api):
    mark = marker()
    files = {api.hunt(f"{mark} {i}".encode()) for i in range(3)}
    identifier = vt("retrohunt", "start", rules_file(vt, rules_for(mark))).strip()
    assert re.fullmatch(r"\w+-\d+", identifier)
    wait_for(lambda: vt.json("retrohunt", identifier)[0]["status"] == "finished", 30, "it has not ended")
    (listed,) = vt.json("retrohunt", "list")
    assert (listed["_id"], listed["num_matches"], listed["progress"]) == (identifier, 3, 100)
    assert {f["_id"] for f in vt.json("retrohunt", "matches", identifier)} == files
    assert vt("retrohunt", "list") and vt.ids("retrohunt", "list") == [identifier]
    vt("retrohunt", "delete", identifier)
    assert vt.ids("retrohunt", "list") == []


def test_retrohunt_is_aborted(vt, api):
    for i in range(30):
        api.upload(marker().encode())
    slow = "rule slow { condition: for all i in (1..3000000) : ((i * 7) % 5 < 8) and filesize == 7 }"
    identifier = vt("retrohunt", "start", rules_file(vt, slow)).strip()
    vt("retrohunt", "abort", identifier)
    wait_for(lambda: vt.json("retrohunt", identifier)[0]["status"] == "aborted", 10, "it goes on")
