# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prepared queries of real Consul servers: written once, never guessed, with the rights that the guide names."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

from tests.lab.ansible import ModuleFailed, run_module, run_playbook
from tests.lab.consul import ROOT, Datacenter, Lab, consul_version, eventually
from tests.lab.fill import new_token

MODULE = "consul_prepared_query"
WHOLE: dict[str, t.Any] = {
    "service": "web",
    "tags": ["v2", "!old"],
    "near": "_agent",
    "only_passing": True,
    "ignore_check_ids": ["flaky"],
    "node_meta": {"zone": "a", "size": 3},
    "service_meta": {"canary": False},
    "connect": True,
    "failover": {"nearest_n": 1, "datacenters": ["west", "north"]},
    "dns": {"ttl": "1m"},
}


@pytest.fixture(scope="module")
def locked(own_lab: Lab) -> Datacenter:
    """A datacenter with ACLs, and one instance of web."""
    found = own_lab.datacenter("locked", acl=True)
    found.put("/v1/agent/service/register", {"Name": "web", "Port": 80})
    eventually(lambda: found.get("/v1/health/service/web?passing"), what="web is there")
    return found


@pytest.fixture(scope="module")
def pair(own_lab: Lab) -> tuple[Datacenter, Datacenter]:
    """Two federated datacenters; only the second one has an instance of shop."""
    one, two = own_lab.datacenter("dc1"), own_lab.datacenter("dc2")
    own_lab.join_wan(one, two)
    for number, name in enumerate(("shop", "web")):
        node = f"far-{number}"
        check = {"Node": node, "CheckID": "c", "Name": "c", "Status": "passing"}
        service = {"Service": name, "Port": 81}
        two.put("/v1/catalog/register", {"Node": node, "Address": "192.0.2.1", "Service": service, "Check": check})
    return one, two


def run(at: Datacenter, name: str | None, **options: t.Any) -> dict[str, t.Any]:
    """Run the module with the management token, or another one."""
    named = {} if name is None else {"name": name}
    return run_module(MODULE, **{"url": at.url, "token": at.token, **named, **options})


def refused(at: Datacenter, name: str | None, **options: t.Any) -> str:
    """Run the module, which must fail, and return its sentence."""
    with pytest.raises(ModuleFailed) as failure:
        run(at, name, **options)
    sentence = str(failure.value.result["msg"])
    assert "\n" not in sentence and failure.value.result.get("exception") is None
    return sentence


def stored(at: Datacenter, name: str) -> list[dict[str, t.Any]]:
    """Return the queries of a name as Consul has them."""
    return [query for query in at.get("/v1/query") if query["Name"] == name]


def test_a_query_with_every_field_is_written_once(pair: tuple[Datacenter, Datacenter]) -> None:
    dc1, _dc2 = pair
    before = run(dc1, "whole", check=True, **WHOLE)
    assert before["changed"] and before["id"] is None and stored(dc1, "whole") == []
    made = run(dc1, "whole", **WHOLE)
    (query,) = stored(dc1, "whole")
    assert made["changed"] and made["id"] == query["ID"] and made["query"] == before["query"]
    assert query["Service"] == {
        "Service": "web",
        "Failover": {"NearestN": 1, "Datacenters": ["west", "north"]},
        "OnlyPassing": True,
        "IgnoreCheckIDs": ["flaky"],
        "Near": "_agent",
        "Tags": ["!old", "v2"],
        "NodeMeta": {"size": "3", "zone": "a"},
        "ServiceMeta": {"canary": "false"},
        "Connect": True,
    }
    again = run(dc1, "whole", **{**WHOLE, "tags": ["!old", "v2"], "dns": {"ttl": "60s"}})
    assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"]
    assert stored(dc1, "whole")[0]["ModifyIndex"] == query["ModifyIndex"]


def test_what_a_task_does_not_name_is_consuls_default_again(pair: tuple[Datacenter, Datacenter]) -> None:
    dc1, _dc2 = pair
    made = run(dc1, "plain", **WHOLE)
    changed = run(dc1, "plain", service="web")
    assert changed["changed"] and changed["id"] == made["id"]
    assert changed["diff"]["before"]["tags"] == ["!old", "v2"] and changed["diff"]["after"]["tags"] == []
    assert not stored(dc1, "plain")[0]["Service"]["OnlyPassing"]
    assert not run(dc1, "plain", service="web")["changed"]


def test_a_name_in_other_letters_is_the_same_query(pair: tuple[Datacenter, Datacenter]) -> None:
    dc1, _dc2 = pair
    made = run(dc1, "Letters", service="web")
    renamed = run(dc1, "letters", service="web")
    assert renamed["changed"] and renamed["id"] == made["id"] and stored(dc1, "letters") and not stored(dc1, "Letters")


def test_a_query_that_is_absent_stays_so(pair: tuple[Datacenter, Datacenter]) -> None:
    dc1, _dc2 = pair
    made = run(dc1, "to/go", service="web")
    assert run(dc1, "to/go", state="absent", check=True)["changed"] and stored(dc1, "to/go")
    gone = run(dc1, "to/go", state="absent")
    assert (
        gone["changed"]
        and gone["id"] == made["id"]
        and gone["diff"]["before"]["name"] == "to/go"
        and not stored(dc1, "to/go")
    )
    assert not run(dc1, "to/go", state="absent")["changed"]
    assert not run(dc1, None, id=made["id"], state="absent")["changed"]
    assert "leave id out" in refused(dc1, None, id=made["id"], service="web")


def test_an_id_chooses_and_a_name_beside_it_renames(pair: tuple[Datacenter, Datacenter]) -> None:
    dc1, _dc2 = pair
    made = run(dc1, "first-name", service="web")
    assert not run(dc1, None, id=made["id"], service="web")["changed"]
    assert run(dc1, "second-name", id=made["id"], service="web")["changed"]
    assert [query["ID"] for query in stored(dc1, "second-name")] == [made["id"]]
    run(dc1, "third-name", service="web")
    sentence = refused(dc1, "third-name", id=made["id"], service="web")
    assert "aliases an existing query name" in sentence and sentence.endswith("Nothing was changed.")


def test_a_template_answers_for_names_and_is_explained(pair: tuple[Datacenter, Datacenter]) -> None:
    dc1, _dc2 = pair
    template = {"regexp": "^geo-(.*?)(-v2)?$", "remove_empty_tags": True}
    options: dict[str, t.Any] = {"service": "${match(1)}", "tags": ["${match(2)}"], "template": template}
    options["failover"] = {"datacenters": ["dc2"]}
    assert run(dc1, "geo-", check=True, execute=True, plan=True, explain="geo-shop", **options)["plan"] is None
    made = run(dc1, "geo-", execute=True, plan=True, explain="geo-shop", **options)
    assert (
        made["explanation"]["id"] == made["id"]
        and made["explanation"]["service"] == "shop"
        and made["explanation"]["tags"] == []
    )
    assert (
        made["execution"]["answers"]
        and made["execution"]["datacenter"] == "dc2"
        and made["execution"]["failovers"] == 1
    )
    assert made["plan"]["now"] == {"known": True, "datacenter": "dc2", "peer": None}
    assert not run(dc1, "geo-", **options)["changed"]
    assert run(dc1, "geo-", explain="nobody", **options)["explanation"] is None
    assert "need explain for a template" in refused(dc1, "geo-", execute=True, **options)


def test_the_template_for_every_name_is_the_one_without_a_name(pair: tuple[Datacenter, Datacenter]) -> None:
    dc1, _dc2 = pair
    options: dict[str, t.Any] = {"service": "${name.full}", "template": {}}
    made = run(dc1, "", **options)
    try:
        assert not run(dc1, "", **options)["changed"]
        assert run(dc1, "not-there", state="absent")["changed"] is False  # the template answers for it, and is not it
        assert 'name "" is that of the template' in refused(dc1, "", service="web")
    finally:
        assert run(dc1, "", state="absent")["id"] == made["id"]


def test_an_execution_without_nodes_is_no_answer_and_the_plan_says_where_one_would_come_from(
    pair: tuple[Datacenter, Datacenter],
) -> None:
    dc1, _dc2 = pair
    alone = run(dc1, "alone", service="shop", execute=True, plan=True)
    assert alone["execution"]["answers"] is False and alone["execution"]["nodes"] == []
    assert alone["plan"]["now"] == {"known": True, "datacenter": None, "peer": None}
    helped = run(dc1, "alone", service="shop", failover={"datacenters": ["dc9", "dc2"]}, execute=True, plan=True)
    assert [node["node"] for node in helped["execution"]["nodes"]] == ["far-0"]
    assert [(step["datacenter"], step["healthy"]) for step in helped["plan"]["steps"]] == [
        ("dc1", 0),
        ("dc9", 0),
        ("dc2", 1),
    ]
    assert "Consul skips it" in helped["plan"]["steps"][1]["problem"]
    assert helped["plan"]["now"]["datacenter"] == helped["plan"]["without_local"]["datacenter"] == "dc2"
    nearest = run(dc1, "alone", service="shop", failover={"nearest_n": 1}, plan=True, check=True)
    assert nearest["changed"] and nearest["plan"]["now"]["datacenter"] == "dc2"


def test_a_datacenter_that_does_not_answer_is_unknown(lab: Lab) -> None:
    one, two = lab.datacenter("dc1"), lab.datacenter("dc2")
    lab.join_wan(one, two)
    two.servers[0].pause()
    found = run(one, "web", service="web", failover={"datacenters": ["dc2"]}, plan=True, timeout=2)
    assert found["plan"]["steps"][1]["healthy"] is None and "within 2 s" in found["plan"]["steps"][1]["problem"]
    assert found["plan"]["now"]["known"] is False and found["plan"]["without_local"]["known"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dns": {"ttl": "1d"}}, "is not a duration"),
        ({"template": {"regexp": "("}}, "Consul refused the prepared query"),
        ({"session": "11111111-1111-1111-1111-111111111111"}, "invalid session"),
        ({"service": ""}, "service is missing"),
        ({"node_meta": {"a b": "c"}}, "Consul refused the prepared query"),
    ],
)
def test_what_consul_refuses_is_one_sentence(
    pair: tuple[Datacenter, Datacenter], options: dict[str, t.Any], words: str
) -> None:
    dc1, _dc2 = pair
    sentence = refused(dc1, "refused", **{"service": "web", **options})
    assert words in sentence and sentence.endswith("Nothing was changed.")
    assert stored(dc1, "refused") == []


@pytest.mark.parametrize("option", [{"failover": {"targets": [{"datacenter": "dc2"}]}}, {"peer": "cluster-b"}])
def test_an_old_consul_is_named_for_a_field_that_it_does_not_know(
    own_lab: Lab, pair: tuple[Datacenter, Datacenter], option: dict[str, t.Any]
) -> None:
    if consul_version(own_lab.binary) >= (1, 14):
        pytest.skip("this Consul knows the fields")
    dc1, _dc2 = pair
    before = run(dc1, "aged", service="web")
    sentence = refused(dc1, "aged", service="web", **option)
    assert "is too old for" in sentence and sentence.endswith("Nothing was changed.")
    assert run(dc1, "aged", service="web") == {
        **before,
        "changed": False,
        "diff": {"before": before["query"], "after": before["query"]},
    }


def test_a_query_of_a_session_goes_with_it(pair: tuple[Datacenter, Datacenter]) -> None:
    dc1, _dc2 = pair
    session = dc1.put("/v1/session/create", {"Name": "queries"})["ID"]
    assert run(dc1, "bound", service="web", session=session)["changed"]
    assert not run(dc1, "bound", service="web", session=session)["changed"]
    dc1.put(f"/v1/session/destroy/{session}")
    assert not run(dc1, "bound", state="absent")["changed"]


def test_the_example_of_the_guide_runs_and_runs_again(pair: tuple[Datacenter, Datacenter], tmp_path: Path) -> None:
    dc1, _dc2 = pair
    guide = (ROOT / "docs/service-failover.md").read_text(encoding="utf-8")
    plays = yaml.safe_load(guide.partition("```yaml\n")[2].partition("```")[0])
    for changed in (1, 0):
        done = run_playbook(tmp_path, plays, "-e", f"consul_url={dc1.url}")
        assert done.returncode == 0 and f"changed={changed} " in done.stdout, done.stdout
    assert stored(dc1, "web")[0]["DNS"] == {"TTL": "5s"}


# ---------------------------------------------------------------------------------------------------------------
# Rights and the stored token

EXACTLY = 'query "mine" { policy = "write" }'
SEES = 'service "web" { policy = "read" } node_prefix "" { policy = "read" }'


def test_the_policy_of_the_guide_is_enough(locked: Datacenter) -> None:
    token = new_token(locked, f"{EXACTLY} {SEES}", "exact")
    made = run(locked, "mine", token=token, service="web", execute=True, plan=True)
    assert made["changed"] and made["execution"]["answers"] and made["plan"]["now"]["datacenter"] == "locked"
    assert not run(locked, "mine", token=token, service="web")["changed"]
    assert run(locked, "mine", token=token, service="web", only_passing=True)["changed"]
    assert run(locked, "mine", token=token, state="absent")["changed"]
    assert not run(locked, "mine", token=token, state="absent")["changed"]


def test_without_the_right_to_write_one_sentence_says_so_in_check_mode_too(locked: Datacenter) -> None:
    run(locked, "mine", service="web")
    reader = new_token(locked, 'query "mine" { policy = "read" }', "reader")
    for check in (True, False):
        for change in ({"service": "api"}, {"state": "absent"}):
            sentence = refused(locked, "mine", token=reader, check=check, **change)
            assert EXACTLY in sentence and sentence.endswith("Nothing was changed.")
    assert not run(locked, "mine", token=reader, service="web")["changed"]


def test_a_query_that_the_token_may_not_read_is_unknown_and_never_absent(locked: Datacenter) -> None:
    run(locked, "mine", service="web")
    blind = new_token(locked, SEES, "blind")
    for options in ({"service": "web"}, {"state": "absent"}):
        for name in ("mine", "never-made"):
            sentence = refused(locked, name, token=blind, **options)
            assert "is unknown" in sentence and f'query "{name}" {{ policy = "write" }}' in sentence
    assert len(stored(locked, "mine")) == 1


def test_without_the_right_to_see_instances_the_answer_is_unknown(locked: Datacenter) -> None:
    token = new_token(locked, EXACTLY, "sightless")
    found = run(locked, "mine", token=token, service="web", execute=True, plan=True)
    assert found["execution"]["answers"] is None and 'service "web"' in found["execution"]["problem"]
    assert found["plan"]["now"]["known"] is False and 'service "web"' in found["plan"]["steps"][0]["problem"]


def test_a_stored_token_is_compared_and_never_shown(locked: Datacenter) -> None:
    secret = new_token(locked, SEES, "stored")
    made = run(locked, "secret", service="web", stored_token=secret)
    assert made["changed"] and made["query"]["stored_token"] == "set" and secret not in str(made)
    again = run(locked, "secret", service="web", stored_token=secret)
    assert not again["changed"] and secret not in str(again)
    kept = run(locked, "secret", service="web", only_passing=True)
    assert kept["changed"] and stored(locked, "secret")[0]["Token"] == secret and secret not in str(kept)
    other = new_token(locked, SEES, "other")
    changed = run(locked, "secret", service="web", only_passing=True, stored_token=other)
    assert changed["changed"] and changed["diff"]["after"]["stored_token"] == "set (changed)"
    assert secret not in str(changed) and other not in str(changed)
    assert run(locked, "secret", service="web", only_passing=True, stored_token="")["changed"]
    assert stored(locked, "secret")[0]["Token"] == ""


def test_a_hidden_token_is_unknown_and_never_taken_away(locked: Datacenter) -> None:
    secret = new_token(locked, SEES, "stored")
    run(locked, "mine", service="web", stored_token=secret)
    writer = new_token(locked, EXACTLY, "writer")
    same = run(locked, "mine", token=writer, service="web")
    assert not same["changed"] and same["query"]["stored_token"] == "hidden"
    sentence = refused(locked, "mine", token=writer, service="api")
    assert "would take it away" in sentence and sentence.endswith("Nothing was changed.")
    unsure = run(locked, "mine", token=writer, service="web", stored_token=secret)
    assert not unsure["changed"] and "was not compared" in str(unsure["warnings"])
    assert run(locked, "mine", token=writer, service="web", stored_token=secret, update_stored_token="always")[
        "changed"
    ]
    assert run(locked, "mine", token=writer, service="api", stored_token=secret)["changed"]
    assert stored(locked, "mine")[0]["Token"] == secret
    run(locked, "mine", service="web", stored_token="")


def test_an_execution_that_consul_denies_is_unknown(locked: Datacenter) -> None:
    found = run(locked, "wrong-token", service="web", stored_token="11111111-1111-1111-1111-111111111111", execute=True)
    assert (
        found["changed"] and found["execution"]["answers"] is None and "ACL not found" in found["execution"]["problem"]
    )
