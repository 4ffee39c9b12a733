"""Analyses: what became of an upload."""

import hashlib

from weirtest import assert_error, marker, rules_for


def test_an_analysis_once_it_is_completed(api):
    data = marker().encode()
    analysis = api.upload(data)
    attributes = api.wait_analysis(analysis)
    assert attributes["status"] == "completed" and attributes["not_run"] == []
    assert set(attributes["stats"]) == {"malicious", "suspicious", "undetected", "harmless", "timeout",
                                        "confirmed-timeout", "failure", "type-unsupported"}
    assert attributes["results"] == {}
    answer = api.get(f"/analyses/{analysis}").json()
    assert answer["data"]["id"] == analysis
    assert answer["meta"] == {"file_info": {
        **{name: hashlib.new(name, data).hexdigest() for name in ("md5", "sha1", "sha256")}, "size": len(data)}}
    assert answer["data"]["links"]["self"] == f"{api.base}/api/v3/analyses/{analysis}"


def test_an_analysis_names_the_rules_generation_it_ran_with(api):
    before = api.wait_analysis(api.upload(marker().encode())).get("hunting_generation", 0)
    api.ruleset(rules_for(marker()))
    after = api.wait_analysis(api.upload(marker().encode()))["hunting_generation"]
    assert after > before


def test_the_item_of_an_analysis_is_its_file(api):
    data = marker().encode()
    analysis = api.upload(data)
    found = api.get(f"/analyses/{analysis}/item")
    assert found.status_code == 200
    assert found.json()["data"]["id"] == hashlib.sha256(data).hexdigest()
    api.wait_analysis(analysis)


def test_an_upload_again_is_another_analysis(api):
    data = marker().encode()
    first = api.upload(data)
    api.wait_analysis(first)
    second = api.upload(data)
    assert first != second and first[:66] == second[:66]
    assert api.wait_analysis(second)["status"] == api.wait_analysis(first)["status"] == "completed"


def test_ids_that_name_no_analysis(api):
    data = marker().encode()
    analysis = api.upload(data)
    api.wait_analysis(analysis)
    number = analysis.rsplit("-", 1)[1]
    for made_up in (f"f-{'0' * 64}-{number}", f"{analysis}0", analysis[:-1] + "x", analysis[:40], "u" + analysis[1:],
                    f"f-{'0' * 64}-{'9' * 30}", f"f-{'0' * 64}--1", "1", "x" * 3000, "%00", "ÿ"):
        for suffix in ("", "/item"):
            response = api.get(f"/analyses/{made_up}{suffix}")
            if made_up == "%00":
                assert_error(response, 400, "BadRequestError")
            else:
                assert_error(response, 404, "NotFoundError")
