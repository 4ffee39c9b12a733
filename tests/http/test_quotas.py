"""Quotas: what is counted, when it is too much, and what that is answered."""

import datetime
import threading

import pytest
import vt

from weirtest import assert_error, marker, rules_for, wait_for

RULESETS = "/intelligence/hunting_rulesets"


def limited(server, **quotas):
    """(name, client) of a new user with quotas of its own."""
    name = "limited-" + marker()[-8:]
    key = server.user(name)
    server.command("user", "quota", name, *(f"{q.replace('_', '-')}={v}" for q, v in quotas.items()))
    return name, server.api(key)


def used(api, name, quota):
    return api.get(f"/users/{name}/overall_quotas").json()["data"][quota]["user"]


def test_the_public_tier(make_server):
    """4 a minute and 500 a day, of which a minute shows the first."""
    server = make_server("--quota-tier", "public").start()
    name = "public"
    api = server.api(server.user(name))
    for _ in range(2):  # another try where a minute began in the middle
        answers = [api.get("/ioc_stream") for _ in range(6)]
        if answers[0].status_code == 200 and answers[4].status_code == 429:
            break
        wait_for(lambda: datetime.datetime.now().second < 50, 15, "no fresh minute")
    assert [a.status_code for a in answers] == [200] * 4 + [429] * 2
    assert assert_error(answers[4], 429, "QuotaExceededError") == "Quota exceeded"
    assert 1 <= int(answers[4].headers["Retry-After"]) <= 60
    quotas = api.get(f"/users/{name}/overall_quotas").json()["data"]
    assert quotas["api_requests_daily"]["user"]["allowed"] == 500
    assert quotas["api_requests_hourly"]["user"]["allowed"] == 240
    assert quotas["api_requests_monthly"]["user"]["allowed"] == 15500
    assert quotas["api_requests_daily"]["user"]["used"] >= 4


def test_vt_py_sees_its_error(server):
    name, api = limited(server, requests_per_day=1)
    client = server.vt(api.key)
    client.get_json("/ioc_stream")
    with pytest.raises(vt.APIError) as e:
        client.get_json("/ioc_stream")
    assert (e.value.code, e.value.message) == ("QuotaExceededError", "Quota exceeded")
    assert client.get_data(f"/users/{name}/overall_quotas")["api_requests_daily"]["user"] == {"allowed": 1, "used": 1}


def test_500_a_day_and_not_one_more(server):
    """Counted exactly, from several threads at once."""
    name, api = limited(server, requests_per_day=500)
    statuses = []

    def ask():
        client = server.api(api.key)
        for _ in range(80):
            statuses.append(client.get("/ioc_stream", params={"limit": 1}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(200), statuses.count(429)) == (500, 140)
    refused = api.get("/ioc_stream")
    assert_error(refused, 429, "QuotaExceededError")
    midnight = datetime.datetime.now(datetime.UTC).replace(hour=0, minute=0, second=0) + datetime.timedelta(1)
    left = (midnight - datetime.datetime.now(datetime.UTC)).total_seconds()
    assert abs(int(refused.headers["Retry-After"]) - left) < 60
    assert used(api, name, "api_requests_daily") == {"allowed": 500, "used": 500}


def test_what_costs_nothing(server):
    name, api = limited(server, requests_per_day=2)
    data = marker().encode()
    uploaded = api.upload(data)
    sha256 = uploaded.split("-")[1]
    for _ in range(3):
        assert api.get(f"/users/{name}/overall_quotas").status_code == 200
        assert api.get(f"/users/{name}/api_usage").status_code == 200
        assert api.get("/files/upload_url").status_code == 200
        assert api.get(f"/files/{sha256}").status_code == 200  # its own
        for wrong in ("f-" + "0" * 64 + "-1", "nonsense"):
            assert_error(api.get(f"/analyses/{wrong}"), 404, "NotFoundError")
    assert used(api, name, "api_requests_daily")["used"] == 0
    assert api.get(f"/analyses/{uploaded}").status_code == 200
    assert used(api, name, "api_requests_daily")["used"] == 1


def test_what_costs_one(server):
    other = server.api(server.someone())
    sha256 = other.hunt(marker().encode())
    name, api = limited(server, requests_per_day=100)
    calls = [lambda: api.get(f"/files/{sha256}"), lambda: api.get(f"/files/{'1' * 64}"), lambda: api.get("/ioc_stream"),
             lambda: api.post(f"/files/{sha256}/analyse"), lambda: api.get(f"/files/{sha256}/analyses"), lambda: api.get("/me"),
             lambda: api.get(f"/files/{sha256}/download"), lambda: api.get("/ioc_stream", params={"filter": "(("})]
    for n, call in enumerate(calls, 1):
        assert call().status_code in (200, 400, 404)
        assert used(api, name, "api_requests_daily")["used"] == n


def test_uploads_are_free_when_new_whatever_is_used_up(server):
    """Whether it is new is known when it is stored; then a known one is refused and leaves no trace."""
    known = marker().encode()
    server.api(server.someone()).hunt(known)
    name, api = limited(server, requests_per_day=1)
    assert api.get("/ioc_stream").status_code == 200
    api.upload(marker().encode())
    answer = api.post("/files", files={"file": ("again", known)})
    assert_error(answer, 429, "QuotaExceededError", "Quota exceeded")
    server.command("user", "quota", name, "requests-per-day=5")
    api.upload(known, "again")
    assert used(api, name, "api_requests_daily")["used"] == 2
    names = server.api(server.someone()).get(f"/files/{api.upload(known).split('-')[1]}").json()["data"]["attributes"]["names"]
    assert names.count("again") == 1


def test_refused_requests_cost_nothing(server):
    name, api = limited(server, requests_per_day=3)
    assert_error(api.delete("/files/" + "0" * 64), 403, "ForbiddenError")
    assert_error(server.api("0" * 64).get("/ioc_stream"), 401, "WrongCredentialsError")
    for _ in range(5):
        api.get("/ioc_stream")
    assert used(api, name, "api_requests_daily")["used"] == 3


def test_downloads_have_a_quota_of_their_own(server):
    sha256 = server.api(server.someone()).hunt(marker().encode())
    name, api = limited(server, downloads_per_month=2)
    assert api.get(f"/files/{sha256}/download").status_code == 200
    assert api.get(f"/files/{sha256}/download_url").status_code == 200
    assert_error(api.get(f"/files/{sha256}/download"), 429, "QuotaExceededError")
    assert api.get(f"/files/{sha256}").status_code == 200
    assert used(api, name, "intelligence_downloads_monthly") == {"allowed": 2, "used": 2}
    # Who waits for a minute is not told to wait for a month because of something else.
    server.command("user", "quota", name, "requests-per-minute=0")
    assert int(assert_429(api.get(f"/files/{sha256}")).headers["Retry-After"]) <= 60


def assert_429(response):
    assert_error(response, 429, "QuotaExceededError")
    return response


def test_counters_survive_a_restart(make_server):
    server = make_server("--quota-requests-day", "5")
    server.start()
    key = server.user("ann")
    assert [server.api(key).get("/ioc_stream").status_code for _ in range(3)] == [200] * 3
    server.stop()
    server.start()
    assert [server.api(key).get("/ioc_stream").status_code for _ in range(3)] == [200, 200, 429]
    assert server.api(key).get("/users/ann/api_usage").json()["data"]["total"] == {"ioc_stream": 5}
    wait_for(lambda: " 5 of 5 " in server.command("user", "quota", "ann").stdout, 5, "the counter is not shown")
    # What was counted a second ago outlives a kill, too.
    wait_for(lambda: stored(server) == 5, 5, "the counter was not written down")
    server.kill()
    server.start()
    assert server.api(key).get("/ioc_stream").status_code == 429


def stored(server):
    import sqlite3
    with sqlite3.connect(server.data / "weir.db") as db:
        return db.execute("SELECT used FROM user_used WHERE quota = 'requests-per-day'").fetchone()[0]


def test_every_quota_has_a_setting(make_server):
    server = make_server("--quota-requests-minute", "11", "--quota-requests-hour", "12", "--quota-requests-day", "13",
                         "--quota-requests-month", "14", "--quota-downloads-month", "15", "--quota-hunting-rules", "16",
                         "--quota-hunting-rulesets", "17", "--quota-retrohunt-jobs-month", "18", "--quota-tier", "public")
    server.user("ann")
    lines = server.command("user", "quota", "ann", "--quota-requests-minute", "11", "--quota-requests-hour", "12",
                           "--quota-tier", "public").stdout.splitlines()
    assert [line.split()[3] for line in lines] == ["11", "12", "500", "15500"] + 4 * ["unlimited"]
    server.start()
    quotas = server.command("user", "quota", "ann").stdout.splitlines()
    assert [line.split()[3] for line in quotas] == ["11", "12", "13", "14", "15", "18", "16", "17"]
    assert all(line.endswith("default") for line in quotas)


def test_a_users_own_quotas(server):
    server.user("own")
    shown = server.command("user", "quota", "own", "requests-per-day=7", "hunting-rules=0").stdout
    assert [line.split()[3:] for line in shown.splitlines()] == [
        ["unlimited", "default"], ["unlimited", "default"], ["7", "own"], ["unlimited", "default"],
        ["unlimited", "default"], ["unlimited", "default"], ["0", "own"], ["unlimited", "default"]]
    shown = server.command("user", "quota", "own", "tier=public", "hunting-rules=default").stdout
    assert [line.split()[3:] for line in shown.splitlines()] == [
        ["4", "own"], ["240", "own"], ["500", "own"], ["15500", "own"],
        ["unlimited", "own"], ["unlimited", "own"], ["unlimited", "default"], ["unlimited", "own"]]
    shown = server.command("user", "quota", "own", "tier=default").stdout
    assert all(line.endswith("default") for line in shown.splitlines())


@pytest.mark.parametrize("what, said", [
    ("requests-per-day", "is not QUOTA=VALUE"),
    ("requests-per-day=", "a quota is a number of at most 999999999, 'unlimited' or 'default', not ''"),
    ("requests-per-day=-1", "not '-1'"),
    ("requests-per-day=1000000000", "at most 999999999"),
    ("requests=1", "there is no quota 'requests': requests-per-minute, "),
    ("tier=premium", "a tier is public, unlimited or default, not 'premium'"),
])
def test_quotas_that_are_none(server, what, said):
    done = server.command("user", "quota", "admin", what, check=False)
    assert done.returncode == 1 and said in done.stderr


# ---- Rules ----


def post_rules(api, count, enabled=True):
    attributes = {"name": "n", "rules": rules_for(marker(), count), "enabled": enabled}
    return api.post(RULESETS, json={"data": {"type": "hunting_ruleset", "attributes": attributes}})


def patch(api, ruleset, **attributes):
    return api.patch(f"{RULESETS}/{ruleset['id']}", json={"data": {"attributes": attributes}})


def test_rules_in_enabled_rulesets(server):
    name, api = limited(server, hunting_rules=5)
    first = post_rules(api, 3).json()["data"]
    off = post_rules(api, 4, enabled=False).json()["data"]
    refused = post_rules(api, 3)
    assert_error(refused, 429, "QuotaExceededError",
                 "Quota exceeded: this ruleset has 3 rules, enabled ones have 3 of 5 allowed rules")
    assert "Retry-After" not in refused.headers  # waiting does not help
    assert_error(patch(api, off, enabled=True), 429, "QuotaExceededError", "4 rules")
    assert_error(patch(api, first, rules=rules_for(marker(), 6)), 429, "QuotaExceededError", "6 rules")
    assert used(api, name, "intelligence_hunting_rules") == {"allowed": 5, "used": 3}
    assert post_rules(api, 2).status_code == 200
    assert used(api, name, "intelligence_hunting_rules") == {"allowed": 5, "used": 5}
    # Less is always possible, also for those who are over it.
    server.command("user", "quota", name, "hunting-rules=1")
    assert patch(api, first, name="other", rules=rules_for(marker(), 2)).status_code == 200
    assert patch(api, first, enabled=False).status_code == 200
    assert_error(patch(api, first, enabled=True), 429, "QuotaExceededError")
    assert api.delete(f"{RULESETS}/{first['id']}").status_code == 200


def test_rulesets_have_a_quota(server):
    name, api = limited(server, hunting_rulesets=2)
    made = [post_rules(api, 1, enabled=False) for _ in range(3)]
    assert [m.status_code for m in made] == [200, 200, 429]
    assert_error(made[2], 429, "QuotaExceededError", "2 rulesets of 2 allowed ones")
    assert api.delete(f"{RULESETS}/{made[0].json()['data']['id']}").status_code == 200
    assert post_rules(api, 1).status_code == 200
    assert used(api, name, "intelligence_hunting_rulesets") == {"allowed": 2, "used": 2}


def test_two_at_once_do_not_both_pass(server):
    _, api = limited(server, hunting_rules=10, hunting_rulesets=12)
    answers = []

    def make():
        answers.append(post_rules(server.api(api.key), 3).status_code)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] * 3 + [429] * 5
