"""What is worked off after its answer: deleting all rulesets."""

from test_rulesets import PATH, create
from weirtest import assert_error, marker, rules_for, wait_for


def user_of(api, server):
    """A user whose name the test knows: (api, name)."""
    name = f"ops-{marker()}"
    return server.api(server.user(name)), name


def delete_all(api, name):
    return api.delete(PATH, headers={"x-confirm-delete": name})


def wait_finished(api, operation):
    def look():
        got = api.get(f"/operations/{operation['id']}").json()["data"]
        assert got["attributes"]["status"] in ("running", "finished")
        return got["attributes"]["status"] == "finished" and got
    return wait_for(look, 60, "the operation still runs")


def test_all_rulesets_are_deleted(api, server):
    mine, name = user_of(api, server)
    mark = marker()
    for i in range(45):
        create(mine, name=f"r{i}", rules=rules_for(mark), enabled=i % 9 == 0)
    other = api.ruleset(rules_for(mark), "of another")
    answer = delete_all(mine, name)
    assert answer.status_code == 200
    operation = answer.json()["data"]
    assert operation["type"] == "operation" and int(operation["id"], 16) >= 0
    assert operation["attributes"]["status"] in ("running", "finished")
    assert operation["links"]["self"] == f"{mine.base}/api/v3/operations/{operation['id']}"
    later = mine.ruleset(rules_for(mark), "made meanwhile")
    assert wait_finished(mine, operation)["id"] == operation["id"]
    assert [one["id"] for one in mine.get(PATH).json()["data"]] == [later["id"]]
    assert [one["id"] for one in api.get(PATH).json()["data"]] == [other["id"]]
    mine.hunt(mark.encode())
    assert {n["context_attributes"]["sources"][0]["label"] for n in mine.stream()["data"]} == {"made meanwhile"}


def test_it_has_to_be_confirmed(api, server):
    mine, name = user_of(api, server)
    made = mine.ruleset(rules_for(marker()))
    text = "Send a x-confirm-delete header with your username as a confirmation"
    for headers in ({}, {"x-confirm-delete": ""}, {"x-confirm-delete": name.upper()}, {"x-confirm-delete": "true"},
                    {"x-confirm-delete": name + "x"}):
        assert_error(mine.delete(PATH, headers=headers), 400, "BadRequestError", text)
    assert mine.get(f"{PATH}/{made['id']}").status_code == 200


def test_nobody_elses_operation(api, server):
    mine, name = user_of(api, server)
    operation = delete_all(mine, name).json()["data"]
    assert operation["attributes"]["status"] == "finished"  # there was nothing to do
    for who, which in ((api, operation["id"]), (mine, "0" * 32), (mine, "x"), (mine, operation["id"][:-1])):
        assert_error(who.get(f"/operations/{which}"), 404, "NotFoundError", which)


def test_a_kill_in_the_midst(make_server):
    one = make_server().start()
    key = one.user("deleter")
    mine = one.api(key)
    for i in range(60):
        create(mine, name=f"r{i}", rules=rules_for(marker()))
    operation = delete_all(mine, "deleter").json()["data"]
    one.kill()
    one.start()
    mine = one.api(key)
    wait_finished(mine, operation)
    assert mine.get(PATH).json()["meta"]["count"] == 0
