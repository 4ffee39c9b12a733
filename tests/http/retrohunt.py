"""Retrohunt jobs, as tests make and read them."""

import os

from weirtest import wait_for

PATH = "/intelligence/retrohunt_jobs"
# A condition that no scan comes to the end of.
ENDLESS = "for all i in (1..100000) : (for all j in (1..100000) : ((i * j) % 7 < 8))"


def create(api, rules, **attributes):
    return api.post(PATH, json={"data": {"type": "retrohunt_job", "attributes": {"rules": rules, **attributes}}})


def begin(api, rules, **attributes):
    """The object of a new job."""
    response = create(api, rules, **attributes)
    assert response.status_code == 200, response.text
    return response.json()["data"]


def look(api, job):
    response = api.get(f"{PATH}/{job['id']}")
    assert response.status_code == 200, response.text
    return response.json()["data"]["attributes"]


def ended(api, job, max_s=60):
    """The attributes of a job once it has ended."""

    def end():
        attributes = look(api, job)
        return attributes if attributes["status"] in ("finished", "aborted") else None

    return wait_for(end, max_s, f"job '{job['id']}' has not ended")


def finished(api, job, max_s=60):
    attributes = ended(api, job, max_s)
    assert attributes["status"] == "finished", attributes
    return attributes


def run(api, rules, **attributes):
    """(job, attributes at its end)."""
    job = begin(api, rules, **attributes)
    return job, finished(api, job)


def matching(api, job, **params):
    """SHA-256 of the files that match, in their order; all pages."""
    found, path = [], f"{PATH}/{job['id']}/matching_files"
    page = api.get(path, params={"limit": 40, **params}).json()
    while True:
        found += [item["id"] for item in page["data"]]
        cursor = page["meta"].get("cursor")
        if not cursor:
            return found
        page = api.get(path, params={"limit": 40, "cursor": cursor}).json()


def fill(api, mark, n, data=b""):
    """n files that hold the text; their SHA-256."""
    return {api.hunt(f"{mark} {i} ".encode() + data, f"file {i}") for i in range(n)}


def told(api, job):
    """{(sha256, rule)} of the job's notifications in the stream."""
    items, params = [], {"filter": f"source_id:{job['id']}", "limit": 40}
    while True:
        page = api.stream(**params)
        items += page["data"]
        if not page["meta"].get("cursor"):
            return [(i["id"], i["context_attributes"]["hunting_info"]["rule_name"]) for i in items]
        params = {"cursor": page["meta"]["cursor"]}


def estimate(api, rules, **attributes):
    response = api.post(f"{PATH}/estimate", json={"data": {"type": "retrohunt_job",
                                                           "attributes": {"rules": rules, **attributes}}})
    assert response.status_code == 200, response.text
    return response.json()["data"]["attributes"]


def slow_rule(rounds=3_000_000):
    """A rule that takes some ten milliseconds on each file, whatever is in it."""
    return f"rule slow {{ condition: for all i in (1..{rounds}) : ((i * 7) % 5 < 8) and filesize == 7 }}"


def some_files(api, n):
    """Files for slow rules to be slow on."""
    for _ in range(n):
        api.upload(os.urandom(64))
