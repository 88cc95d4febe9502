# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The streams of the event source: each watches one thing of one datacenter in its thread, and sends what has changed.

A stream compares what Consul answers with its position, not with indexes: so a restart of Consul, a restored state and the time in
which nobody watched are treated alike. What the token may not see is unknown, so it never counts as deleted.
"""

from __future__ import annotations

import functools
import json
import time
import typing as t

from ...._alerting import presence
from ...._alerting.observe import home_datacenter
from ...._alerting.reader import FAILING
from ...._alerting.rules.checks import parse_checks
from ...._consul import errors, kv
from ...._consul.acl_filter import needed_rights
from ...._consul.answer_fields import to_object, to_rows, to_text, to_texts
from ...._consul.client import Client, Response
from ...._consul.key_path import key_path
from ...._consul.retry import BackOff
from ...._consul.watch import Watch
from ..events_job import parse_events
from . import changes
from .changes import Change
from .failures import DENIED, Stopped, stopped_by
from .positions import Position, apply

if t.TYPE_CHECKING:
    from .source import EventSource

WAIT_S = 10.0  # of one blocking query: so much later a Consul that hangs is noticed
LEAST_S = 0.1  # between two queries, however fast things change
RIGHTS_S = 10.0  # between two questions what the token may see
POLL_S = 1.0  # what no blocking query can wait for


class Stream:
    """One watched thing. ``what`` names it for people, ``name`` in the state file."""

    what = ""
    path = ""
    params: t.Mapping[str, t.Any] = {}

    def __init__(self, source: EventSource, client: Client) -> None:
        self.source = source
        self.client = client
        self.name = ""
        self.datacenter = client.endpoint.datacenter or ""
        self.position: Position = {}
        self._is_known = False
        self._limit: Stopped | None = None  # what the token may not see

    # -------------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Watch until the source stops. What fails is reported and tried again."""
        stored = self.source.positions.get(self.name)
        self._is_known, self.position = stored is not None, stored or {}
        back_off = BackOff()
        while not self.source.stopping.is_set():
            try:
                try:
                    self._name_datacenter()
                    self.follow(back_off)
                except errors.ConsulError as error:
                    if isinstance(error, errors.Aborted):
                        return
                    self.report(stopped_by(error))
                    self.pause(back_off.next_s())
            except errors.Aborted:
                return

    def follow(self, back_off: BackOff) -> None:
        """Send what changes, until something fails. Raises a ConsulError."""
        self._limit = self.check_rights()
        checked = time.monotonic()
        watch = Watch(self.client, self.path, self.params, wait_s=WAIT_S, partial_ok=True)
        while not self.source.stopping.is_set():
            result = watch.next()
            if result.changed:
                self.take(result.response)
            if time.monotonic() - checked >= RIGHTS_S:
                self._limit = self.check_rights()
                checked = time.monotonic()
            if result.response.is_filtered and self._limit is None:
                self._limit = Stopped(DENIED, f"the token sees a part of it only. It needs {needed_rights(self.path)}.")
            self.report(self._limit)
            back_off.reset()
            self.pause(LEAST_S)

    def known_of(self, found: t.Container[str], *responses: Response) -> Position:
        """Return the position, without the keys that are not in ``found`` if the token may only not see them any more.

        Before 1.11 Consul leaves them out without a word, so what the token may see is asked each time that something is gone.
        """
        if all(key in found for key in self.position):
            return self.position
        self._limit = self.check_rights()
        if self._limit is None and not any(response.is_filtered for response in responses):
            return self.position
        return {key: value for key, value in self.position.items() if key in found}

    def check_rights(self) -> Stopped | None:
        """Return what the token may not see, as far as Consul says it. Raises PermissionDenied if it may see nothing."""
        return None

    def take(self, response: Response) -> None:
        """Compare an answer with the position and send the changes."""
        raise NotImplementedError

    # -------------------------------------------------------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """Wait; Aborted when the source stops meanwhile."""
        if self.source.stopping.wait(seconds):
            raise errors.Aborted("The event source was stopped.")

    def report(self, stopped: Stopped | None) -> None:
        """Report how this stream fares, None if it works."""
        self.source.report(self.name, self.what, self.datacenter or str(self.client.endpoint), stopped)

    def send(self, found: t.Sequence[Change], *, is_old: bool = False) -> None:
        """Send changes. ``is_old``: at the very first start they were there before."""
        is_first, self._is_known = not self._is_known, True
        if is_first and is_old:
            self.position = {change.key: change.value for change in found if change.value is not None}
            self.source.begin(self.name, self.position)
            return
        if is_first:
            self.source.begin(self.name, {})
        for change in found:
            self.source.send(self.name, change)
            apply(self.position, {change.key: change.value})

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.source.clock.time()

    @property
    def skips_old(self) -> bool:
        """Whether what is there at the very first start is no event."""
        return not self.source.config.initial

    def _name_datacenter(self) -> None:
        if not self.datacenter:
            self.datacenter = home_datacenter(self.client)

    def may_read(self, *rules: tuple[str, str]) -> Stopped | None:
        """Return that the token lacks some rights to read (resource, name), None if it has them, or if Consul does not say it."""
        if all(self.client.may(resource, "read", name) is not False for resource, name in rules):
            return None
        return Stopped(DENIED, f"the token may not see all of it. It needs {needed_rights(self.path)}.")


class CheckStream(Stream):
    """The checks that are not passing, however many are."""

    what = "checks"
    path = "/v1/health/state/any"
    params = {"filter": FAILING}

    def check_rights(self) -> Stopped | None:
        return self.may_read(("node", ""), ("service", ""))

    def take(self, response: Response) -> None:
        failing = response.parse(parse_checks).checks
        found = {changes.check_key(check) for check in failing}
        position = self.known_of(found, response)
        gone = [key for key in position if key not in found]
        places = presence.read_missing(self.client, [_place(key) for key in gone]) if gone else ()
        missing = {changes.join_key(*place) for place in places}
        self.send(changes.check_changes(position, failing, missing, self.datacenter, self.now), is_old=self.skips_old)


def _place(key: str) -> tuple[str, str, str]:
    node, service, check = changes.split_key(key)
    return node, service, check


class ServiceStream(Stream):
    """The names and tags of services, or the instances of some."""

    what = "services"
    path = "/v1/catalog/services"

    def check_rights(self) -> Stopped | None:
        names = self.source.config.services or ("",)
        nodes = (("node", ""),) if self.source.config.services else ()
        return self.may_read(*(("service", name) for name in names), *nodes)

    def take(self, response: Response) -> None:
        names = self.source.config.services
        answers = [self.client.get(f"/v1/catalog/service/{name}", partial_ok=True) for name in names]
        found: dict[str, t.Any] = {} if names else response.parse(_tags)
        for name, answer in zip(names, answers):
            found.update(answer.parse(functools.partial(_instances, name)))
        position = self.known_of(found, *(answers or [response]))
        self.send(changes.service_changes(position, found, self.datacenter, self.now), is_old=self.skips_old)


def _tags(body: t.Any) -> dict[str, t.Any]:
    return {changes.join_key(name): {"tags": sorted(to_texts(tags))} for name, tags in to_object(body).items()}


def _instances(name: str, rows: t.Any) -> dict[str, t.Any]:
    return {
        changes.join_key(name, to_text(row["Node"]), to_text(row["ServiceID"])): {
            "address": to_text(row["ServiceAddress"]) or to_text(row["Address"]),
            "port": row["ServicePort"],
            "tags": sorted(to_texts(row["ServiceTags"])),
        }
        for row in to_rows(rows)
    }


class KeyStream(Stream):
    """The keys below a prefix."""

    params = {"recurse": ""}

    def __init__(self, source: EventSource, client: Client, prefix: str) -> None:
        super().__init__(source, client)
        self._prefix = prefix
        self.path = key_path(prefix)
        self.what = f'keys below "{prefix}"'

    def check_rights(self) -> Stopped | None:
        try:
            kv.check_readable(self.client, self._prefix)  # a denied list looks empty
        except errors.PermissionDenied as error:
            raise error.with_advice(after=f"The token needs {needed_rights(self.path)}.") from None
        return None

    def take(self, response: Response) -> None:
        entries = kv.entries_of(response)
        position = self.known_of({entry.key for entry in entries}, response)
        with_values = self.source.config.kv_values
        found = changes.key_changes(position, entries, self.datacenter, self.now, with_values=with_values)
        self.send(found, is_old=self.skips_old)


class UserEventStream(Stream):
    """The events that were fired with ``consul event``, as the agent that answers remembers them."""

    what = "events"
    path = "/v1/event/list"

    def check_rights(self) -> Stopped | None:
        return self.may_read(*(("event", name) for name in self.source.config.user_events or ("",)))

    def take(self, response: Response) -> None:
        found = [{**json.loads(one.document), "id": one.id} for one in response.parse(parse_events)]
        names = self.source.config.user_events
        self.send(
            changes.user_event_changes(self.position, found, names, self.datacenter, self.now), is_old=self.skips_old
        )
        forgotten = changes.forgotten_events(self.position)
        apply(self.position, forgotten)
        self.source.forget(self.name, forgotten)


class LeaderStream(Stream):
    """Who leads the datacenter. No blocking query waits for that, so it is asked every second."""

    what = "leader"

    def follow(self, back_off: BackOff) -> None:
        while not self.source.stopping.is_set():
            address = self._leader()
            if address != self.position.get("leader", {}).get("address"):
                node = self._node_of(address) if address else ""
                change = changes.leader_change(self.position, address, node, self.datacenter, self.now)
                self.send([change] if change else [], is_old=self.skips_old)
            self.report(None)
            back_off.reset()
            self.pause(POLL_S)

    def _leader(self) -> str:
        """Return the leader's address, "" while there is none. Raises a ConsulError."""
        try:
            self.client.check_leader()  # the next request names a dead leader for seconds
        except errors.NoLeader:
            return ""
        return self.client.get("/v1/status/leader").parse(to_text)

    def _node_of(self, address: str) -> str:
        """Return the name of the leader's node, "" if the token may not see it."""
        response = self.client.get("/v1/health/service/consul", partial_ok=True)
        nodes = response.parse(
            lambda rows: {to_text(row["Node"]["Address"]): to_text(row["Node"]["Node"]) for row in to_rows(rows)}
        )
        return nodes.get(address.rpartition(":")[0].strip("[]"), "")
