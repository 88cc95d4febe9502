# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the answer of a prepared query would come from: the local datacenter, then each datacenter it fails over to, in Consul's order.

Each is asked for the instances that the query would choose there. What did not answer is unknown. Consul itself would go on to the next.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from .._consul import errors
from .._consul.client import Client
from .prepared_queries import instance_of
from .query_definition import Definition


@dataclass(frozen=True)
class Step:
    """One place that is asked. ``healthy`` is how many instances the query would choose, None when unknown; ``problem`` then says why."""

    datacenter: str
    peer: str
    healthy: int | None
    problem: str = ""


@dataclass(frozen=True)
class Place:
    """A place of the order, a datacenter or a peer. With ``problem`` it is not asked, because Consul skips it or we cannot."""

    datacenter: str = ""
    peer: str = ""
    problem: str = ""
    is_skipped: bool = False


@dataclass(frozen=True)
class Plan:
    """The places of a query in Consul's order, the local datacenter first."""

    steps: tuple[Step, ...]

    def as_result(self) -> dict[str, t.Any]:
        return {
            "steps": [asdict(step) for step in self.steps],
            "now": answer_of(self.steps),
            "without_local": answer_of(self.steps[1:]),
        }


def answer_of(steps: t.Sequence[Step]) -> dict[str, t.Any]:
    """Return where the first instances are; not known when a place before them is unknown, or when no place has any and one is unknown."""
    for step in steps:
        if step.healthy is None:
            return {"known": False, "datacenter": None, "peer": None}
        if step.healthy:
            return {"known": True, "datacenter": step.datacenter or None, "peer": step.peer or None}
    return {"known": True, "datacenter": None, "peer": None}


def places(definition: Definition, local: str | None, known: t.Sequence[str]) -> list[Place]:
    """Return the order in which Consul asks others. ``known`` are all datacenters, the nearest first.

    As the servers do it: the nearest ones, then those of the list that were not asked yet; unknown ones are skipped.
    """
    if definition["sameness_group"]:
        return [Place(problem=f"the members of the sameness group {definition['sameness_group']} are not asked")]
    if definition["failover.targets"]:
        return [_target_place(target, known) for target in definition["failover.targets"]]
    nearest_n, listed = definition["failover.nearest_n"], definition["failover.datacenters"]
    if local is None and nearest_n:
        return [Place(problem="the name of the local datacenter is unknown: the token may not read the agent")]
    others = [name for name in known if name != local]
    nearest = others[:nearest_n]
    found = [Place(name) for name in nearest]
    for name in listed:
        if name in nearest:
            continue
        found.append(Place(name) if name in others else _skipped(name, is_local=name == local))
    return found


def _skipped(name: str, is_local: bool) -> Place:
    why = "it is the local one, which was asked already" if is_local else "this datacenter knows no such datacenter"
    return Place(name, problem=f"Consul skips it: {why}", is_skipped=True)


def _target_place(target: t.Mapping[str, str], known: t.Sequence[str]) -> Place:
    if target.get("peer"):
        return Place(peer=target["peer"], problem="cluster peers are not asked")
    name = target["datacenter"]
    return Place(name) if name in known else _skipped(name, is_local=False)


def chosen(entries: t.Iterable[t.Any], definition: Definition) -> list[dict[str, t.Any]]:
    """Return the instances of a health answer that a query would choose. Raises KeyError, TypeError, … for another shape."""
    return [instance_of(entry) for entry in entries if _is_chosen(entry, definition)]


def _is_chosen(entry: t.Any, definition: Definition) -> bool:
    ignored = definition["ignore_check_ids"]
    statuses = {check["Status"] for check in entry["Checks"] or [] if check["CheckID"] not in ignored}
    if "critical" in statuses or (definition["only_passing"] and not statuses <= {"passing"}):
        return False
    has_meta = all(
        meta.get(name) == value
        for meta, wanted in (
            (entry["Node"].get("Meta") or {}, definition["node_meta"]),
            (entry["Service"].get("Meta") or {}, definition["service_meta"]),
        )
        for name, value in wanted.items()
    )
    return has_meta and _has_tags({tag.lower() for tag in entry["Service"].get("Tags") or []}, definition["tags"])


def _has_tags(tags: set[str], wanted: t.Iterable[str]) -> bool:
    """Whether tags are as wanted: with ! in front one must not be there. Consul compares them without regard to case."""
    return all((tag[1:].lower() not in tags) if tag.startswith("!") else (tag.lower() in tags) for tag in wanted)


def make_plan(client: Client, definition: Definition) -> Plan:
    """Ask each place in its order. ``definition`` is that of a query, or what a template makes for a name. Raises a ConsulError."""
    known = client.get("/v1/catalog/datacenters").strings()
    local = client.endpoint.datacenter or client.whoami().datacenter
    order = [Place(local or ""), *places(definition, local, known)]
    return Plan(tuple(_ask(client, place, definition) for place in order))


def _ask(client: Client, place: Place, definition: Definition) -> Step:
    if place.problem:
        return Step(place.datacenter, place.peer, 0 if place.is_skipped else None, place.problem)
    kind = "connect" if definition["connect"] else "service"
    params = {"dc": place.datacenter} if place.datacenter else {}
    try:
        response = client.get(f"/v1/health/{kind}/{definition['service']}", params)
        found = response.parse(lambda entries: chosen(entries, definition))
    except errors.ConsulError as error:
        return Step(place.datacenter, place.peer, None, str(error))
    if not found and client.may("service", "read", definition["service"]) is False:
        problem = (
            f'the token may not see the instances: it needs service "{definition["service"]}" {{ policy = "read" }}'
        )
        return Step(place.datacenter, place.peer, None, problem)
    # Where the local datacenter has no name for us, its instances know it.
    return Step(place.datacenter or (found[0]["datacenter"] if found else ""), place.peer, len(found))
