"""Who killed the scanner? One sample must not switch off anybody's rules, one ruleset nobody's scans."""

import re

import pytest
from test_bad_input import panicking_rules
from weirtest import marker, wait_for

RULESETS = "/intelligence/hunting_rulesets"
USERS = 50
SCAN_MS = 500  # far above what innocent scans take, also under load; an inquiry waits for a dozen of these
MEMORY_MAX = 128 << 20  # a scanner of these tests needs half of it
LARGE = 200 << 20  # a sample that no scanner may hold

ENDLESS = "rule endless { condition: for all i in (1..100000) : (for all j in (1..100000) : ((i * j) % 7 < 8)) }"
# As many rounds as a sample says that was made for it.
ON_COMMAND = 'rule obeys { strings: $a = "rounds:" condition: $a at 0 and for all i in (1..uint32(7)) : (uint32(11) != i) }'


def command(rounds, rest):
    return b"rounds:" + rounds.to_bytes(4, "little") + bytes(4) + rest


def text_rule(mark, name="found"):
    return f'rule {name} {{ strings: $a = "{mark}" condition: $a }}'


def upload_large(api, head):
    """A sample above what POST /files takes; the head tells it from others."""
    url = api.get("/files/upload_url").json()["data"]
    path = re.sub(r"^.*?/api/v3", "", url)
    return api.post(path, files={"file": ("large", head + bytes(LARGE))}).json()["data"]["id"]


def not_run(api, analysis):
    return api.wait_analysis(analysis, max_s=200)["not_run"]


def suspended(api, ruleset):
    return api.get(f"{RULESETS}/{ruleset['id']}").json()["data"]["attributes"].get("suspended")


def told(api):
    """(rule, ...) of all notifications, oldest first."""
    page = api.get("/ioc_stream", params={"limit": 40, "order": "date+"}).json()
    assert "cursor" not in page["meta"]
    return [item["context_attributes"]["hunting_info"]["rule_name"] for item in page["data"]]


def fifty_users(one):
    """Half of them sit on text that is in every sample, all of them on some other."""
    users = []
    for i in range(USERS):
        api = one.api(one.user(f"user{i}"))
        users.append((api, api.ruleset(text_rule("trout") + text_rule(f"nowhere{i}", "not_found"), f"of {i}")))
    return users


@pytest.mark.timeout(300)
def test_a_sample_that_kills_scanners_harms_nobodys_rules(make_server):
    one = make_server("--scan-memory-max", str(MEMORY_MAX), "--hunt-bytes-max", str(2 * LARGE)).start()
    users = fifty_users(one)
    sender = users[0][0]
    for i in range(3):  # a ruleset is suspended after three
        skipped = not_run(sender, upload_large(sender, f"trout {i} ".encode()))
        assert [s["what"] for s in skipped] == ["sample"], skipped
        assert "memory limit" in skipped[0]["reason"]
    # All rules still hunt.
    assert sender.wait_analysis(sender.upload(b"a small trout"))["not_run"] == []
    for api, ruleset in users:
        assert suspended(api, ruleset) is None
        assert told(api) == ["found"]
    events = [e["event"] for e in one.log_events()]
    assert events.count("quarantined") == 3 and "ruleset_suspended" not in events


@pytest.mark.timeout(300)
@pytest.mark.parametrize("harmful", [ENDLESS, panicking_rules()], ids=["endless", "panicking"])
def test_a_ruleset_that_breaks_scans_is_suspended_alone(make_server, harmful):
    one = make_server("--scan-timeout-ms", str(SCAN_MS)).start()
    good, bad = one.api(one.user("good")), one.api(one.user("bad"))
    mark = marker()
    good.ruleset(text_rule(mark), "good")
    guilty = bad.ruleset(harmful, "bad")
    innocent = bad.ruleset(text_rule(mark, "other"), "the owner's other")
    for i in range(3):
        assert suspended(bad, guilty) is None
        skipped = not_run(good, good.upload(f"{mark} {i}".encode()))
        assert [s["what"] for s in skipped] == [f"hunting_ruleset {guilty['id']}"], skipped
        assert told(good) == ["found"] * (i + 1) and told(bad) == ["other"] * (i + 1)
    reason = wait_for(lambda: suspended(bad, guilty), 10, "not suspended")
    assert "3 different files" in reason
    attributes = bad.get(f"{RULESETS}/{guilty['id']}").json()["data"]["attributes"]
    assert attributes["enabled"] is False and attributes["rules"] == harmful
    assert suspended(bad, innocent) is None
    assert good.wait_analysis(good.upload(f"{mark} after".encode()))["not_run"] == []
    assert told(good) == ["found"] * 4 and told(bad) == ["other"] * 4


@pytest.mark.timeout(300)
def test_a_sample_that_many_users_rules_break_on_is_to_blame(make_server):
    """Each of these rulesets is fast but with samples that were made against it."""
    one = make_server("--scan-timeout-ms", str(SCAN_MS)).start()
    owners = [one.api(one.user(f"owner{i}")) for i in range(4)]
    rulesets = [api.ruleset(ON_COMMAND, "obeys") for api in owners]
    for i in range(3):
        skipped = not_run(owners[0], owners[0].upload(command(0x7fffffff, str(i).encode())))
        assert [s["what"] for s in skipped] == ["sample"], skipped
        assert "more than 3 users" in skipped[0]["reason"]
    assert [suspended(api, r) for api, r in zip(owners, rulesets)] == [None] * 4
    owners[0].wait_analysis(owners[0].upload(command(2, b"quickly done")))
    assert [told(api) for api in owners] == [["obeys"]] * 4


@pytest.mark.timeout(300)
def test_one_users_rules_break_on_the_samples_made_for_them(make_server):
    """With rulesets of few users it cannot be told from rules that are to blame: they are, after three samples."""
    one = make_server("--scan-timeout-ms", str(SCAN_MS)).start()
    owner, other = one.api(one.user("owner")), one.api(one.user("other"))
    ruleset = owner.ruleset(ON_COMMAND, "obeys")
    other.ruleset(text_rule("trout"), "trout")
    for i in range(3):
        skipped = not_run(other, other.upload(command(0x7fffffff, f"trout {i}".encode())))
        assert [s["what"] for s in skipped] == [f"hunting_ruleset {ruleset['id']}"], skipped
    assert "3 different files" in wait_for(lambda: suspended(owner, ruleset), 10, "not suspended")
    assert told(other) == ["found"] * 3
