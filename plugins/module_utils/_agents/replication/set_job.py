# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job of one set: holds a term of its lease, watches the source, and lets the follower write what changes.

What can pass is waited for with the lease held; an error that leaves it open what is stored ends the run, and the next one begins with
a comparison of everything.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import typing as t

from ..._consul import errors
from ..._consul.retry import BackOff, is_transient
from ..._consul.shard_plan import ShardSpec
from ..._daemon.job import Context
from ..._replication import control
from ..._replication.change_watch import ChangeWatch, Wake, Watched
from ..._replication.follow_progress import ChangedShard
from ..._replication.follower import Follower
from ..._replication.outcome import Interrupted
from ..._replication.source_heartbeat import SourceHeartbeat
from .config import SetConfig
from .direction_term import DirectionTerm
from .memory import Memory
from .set_status import BEHIND, COMPARING, FOLLOWING, FROZEN, SetStatus, status_of
from .status_publisher import SetPublisher

log = logging.getLogger("consulops")

CONTROL, RESTORES = "control", "restores"
FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 300.0  # of keys that could not be written, and of a side that does not answer
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
JITTER = 0.1  # of the time between two verifications

Group = tuple[int, t.Optional[ShardSpec]]  # the number of the mapping and what is watched, None for its whole prefix


def source_connection(name: str) -> str:
    """Return the name of the connection to the source of a set."""
    return f"source {name}"


def destination_connection(name: str) -> str:
    """Return the name of the connection to the destination of a set."""
    return f"destination {name}"


def run_set(context: Context, config: SetConfig) -> None:
    """Replicate one set until the lease term ends or the agent stops. Raises an Error when the run cannot go on."""
    _SetRun(context, config).run()


class _SetRun:
    def __init__(self, context: Context, config: SetConfig) -> None:
        self._context = context
        self._config = config
        self._memory: Memory = context.memory
        self._source = context.client(source_connection(config.name))
        self._destination = context.client(destination_connection(config.name))
        self._event = threading.Event()
        self._at_source = ChangeWatch(self._source, self._event, config.request.consistency)
        self._at_destination = ChangeWatch(self._destination, self._event)
        self._follower = Follower(self._source, self._destination, config.request, config.follow, context.lease.guard)
        self._publisher = SetPublisher(self._destination, config.name, context.lease.guard)
        self._control = control.Control()
        self._direction = config.direction and DirectionTerm(
            config.direction, self._source, self._destination, context.lease.guard
        )
        self._may_be_restored = False
        self._heartbeat = self._make_heartbeat()
        self._status = SetStatus(config.name, state=COMPARING, heartbeat=self._heartbeat)
        self._wakes: dict[Group, Wake] = {}
        self._verify_at = 0.0  # monotonic, as the following
        self._retry_at: float | None = None
        self._paused_until = 0.0
        self._last_wake = 0.0
        self._retries = BackOff(FIRST_RETRY_S, LONGEST_RETRY_S)
        self._pauses = BackOff(FIRST_PAUSE_S, LONGEST_PAUSE_S)

    def _make_heartbeat(self) -> SourceHeartbeat | None:
        config = self._config
        every_s = config.follow.heartbeat_s
        if not every_s:
            return None
        return SourceHeartbeat(self._source, config.name, every_s, self._event, config.request.consistency)

    def run(self) -> None:
        """Work until ``context.stopping``."""
        self._at_destination.set_watched({CONTROL: Watched(ShardSpec(control.control_folder(self._config.name)))})
        if self._heartbeat is not None:
            self._heartbeat.start()
        try:
            self._read_control()
            while not self._context.stopping.is_set():
                self._round()
        finally:
            self._memory.forget(self._config.name)
            self._context.show(self._memory.section())
            if self._heartbeat is not None:
                self._heartbeat.close()
            for watch, client in ((self._at_source, self._source), (self._at_destination, self._destination)):
                watch.close()
                client.abort()  # ends the queries in flight

    # -----------------------------------------------------------------------------------------------------------

    def _round(self) -> None:
        """Wait for something to do, and do it."""
        self._context.wait_for(self._event, self._wait_s())
        self._event.clear()
        if self._context.stopping.is_set():
            return
        wakes = self._at_source.take()
        for name, wake in wakes.items():
            self._add_wake(t.cast("Group", name), wake)
        if self._at_source.take_interruption():
            self._at_source.start_over()
            self._may_be_restored = True
        control_wake = self._at_destination.take().get(CONTROL)
        if control_wake is not None:  # also after each batch of this agent, while there are no such keys
            self._read_control(is_empty=control_wake.is_empty)
        if time.monotonic() < self._paused_until:
            self._show(self._status.problem)
            self._publisher.publish(self._status)
            return
        try:
            self._work()
            self._publisher.publish(self._status)
        except Interrupted as error:
            self._explain(error)
        except errors.ConsulError as error:
            # Nothing was written. Before the first comparison there is nothing to follow either.
            if self._follower.verification is None or not _can_pass(error):
                raise
            pause_s = self._pauses.next_s()
            log.debug("%s: trying again in %.2f s: %s", self._config.name, pause_s, error)
            self._paused_until = time.monotonic() + pause_s
            self._show(str(error))
            self._publisher.publish(self._status)

    @property
    def _frozen(self) -> str | None:
        """Who ended all writes and why, None if nobody did."""
        lost = self._direction.lost if self._direction is not None else None
        return self._control.frozen if lost is None else lost

    def _take_direction(self) -> None:
        """Take the direction if it is time to look at it. Raises a ConsulError; nothing is written then."""
        in_effect = self._direction.take() if self._direction is not None else None
        if in_effect is not None:
            self._follower.more_guards = (in_effect,)
            self._read_control()

    def _look_at_direction_again(self) -> None:
        if self._direction is not None:
            self._direction.look_again()
            self._event.set()

    def _work(self) -> None:
        self._take_direction()
        if self._frozen is not None:
            self._verify_at = 0.0  # whatever happens meanwhile: everything is compared when it is thawed
            self._wakes.clear()
            self._show()
            return
        if self._may_be_restored and self._follower.is_restored():
            self._verify_at = 0.0
        self._may_be_restored = False
        acknowledged = self._control.acknowledged
        is_acknowledged = bool(acknowledged) and acknowledged == self._follower.decision.digest
        if self._control.compare_at:
            self._follower.forget()
            self._verify_at = 0.0
        if time.monotonic() >= self._verify_at or is_acknowledged:
            self._compare_all()
            return
        if self._is_quiet():
            self._follow()
        elif self._wakes or (self._heartbeat is not None and self._heartbeat.take()):
            self._show()
        if self._retry_at is not None and time.monotonic() >= self._retry_at:
            self._retry()

    def _compare_all(self) -> None:
        self._set_state(COMPARING)
        started = time.monotonic()
        taken = dict(self._wakes)
        self._follower.compare_all(self._control.acknowledged, time.time())
        if self._control.acknowledged and not self._follower.decision.is_paused:
            self._control = self._control._replace(acknowledged="")
        if self._control.compare_at:
            control.end_comparison(self._destination, self._config.name, self._control.compare_at)
            self._control = self._control._replace(compare_at=0)
        self._watch_groups()
        # What woke before the comparison began is part of it.
        self._wakes = {name: wake for name, wake in self._wakes.items() if taken.get(name) != wake}
        every_s = self._config.follow.verify_every_s
        self._verify_at = time.monotonic() + every_s * random.uniform(1 - JITTER, 1 + JITTER)
        self._succeeded(time.monotonic() - started)

    def _watch_groups(self) -> None:
        """Watch the groups of all mappings, and the prefixes in which keys can be created that are in no group."""
        wanted: dict[t.Hashable, Watched] = {RESTORES: Watched(None)}
        for number, watched in enumerate(self._follower.watched):
            wanted.update(((number, spec), Watched(spec)) for spec in watched.groups)
            if not watched.has_every_key:
                wanted[number, None] = Watched(ShardSpec(watched.mapping.source), rare=True)
        self._at_source.set_watched(wanted)
        self._wakes = {name: wake for name, wake in self._wakes.items() if name in wanted}

    # -----------------------------------------------------------------------------------------------------------
    # Changes

    def _follow(self) -> None:
        """Handle everything that woke: first the groups, then the prefixes in which a key may be in no group."""
        wakes = self._wakes
        started = time.monotonic()
        if any(wake.is_reset for wake in wakes.values()) and self._follower.is_restored():
            self._compare_all_next()
            return
        groups = [name for name in wakes if name[1] is not None]
        if not self._write_groups(groups, min((wakes[name].since for name in groups), default=0.0)):
            return
        self._forget_wakes(groups)
        for number in [number for number, spec in wakes if spec is None]:
            since = wakes[number, None].since
            if self._follower.find_others(self._follower.watched[number]):
                self._watch_groups()
                every_group = [(number, spec) for spec in self._follower.watched[number].groups]
                if not self._write_groups(every_group, since):
                    return
            self._forget_wakes([(number, None)])
        self._succeeded(time.monotonic() - started)

    def _write_groups(self, groups: t.Sequence[Group], since: float) -> bool:
        """Compare the shards of some groups that changed ``since``; return False when everything must be compared instead."""
        changed = [
            shard
            for number, watched in enumerate(self._follower.watched)
            for shard in self._follower.changed_shards(
                watched, [spec for one, spec in groups if one == number and spec], self._indexes_of(number)
            )
        ]
        self._status.pending = len(changed)
        if changed:
            if not self._compare(changed):
                return False
            self._status.lag_s = time.monotonic() - since
        return True

    def _indexes_of(self, number: int) -> dict[ShardSpec, int]:
        """Return the indexes of the groups of a mapping that woke."""
        return {spec: wake.at_index for (one, spec), wake in self._wakes.items() if one == number and spec}

    def _forget_wakes(self, names: t.Iterable[Group]) -> None:
        for name in names:
            self._wakes.pop(name, None)

    def _compare_all_next(self) -> None:
        self._verify_at = 0.0
        self._event.set()

    def _compare(self, shards: t.Sequence[ChangedShard]) -> bool:
        """Compare shards; return False when everything must be compared instead, which is done next."""
        if self._follower.compare_shards(shards, time.time()):
            return True
        self._compare_all_next()
        return False

    def _retry(self) -> None:
        """Compare the shards again in which a key could not be written or deleted."""
        if self._compare(self._follower.shards_to_retry()):
            self._retry_at = time.monotonic() + self._retries.next_s()
            self._succeeded(0.0)

    def _is_quiet(self) -> bool:
        """Return whether changes are handled now: it was quiet for long enough, or they wait for too long."""
        return bool(self._wakes) and self._quiet_in_s() <= 0

    def _quiet_in_s(self) -> float:
        options, now = self._config.follow, time.monotonic()
        if not options.quiet_s:
            return 0.0
        first = min(wake.since for wake in self._wakes.values())
        return min(self._last_wake + options.quiet_s - now, first + options.longest_wait_s - now)

    def _add_wake(self, name: Group, wake: Wake) -> None:
        before = self._wakes.get(name)
        since = before.since if before else wake.since
        self._wakes[name] = wake._replace(since=since, is_reset=wake.is_reset or bool(before and before.is_reset))
        self._last_wake = time.monotonic()

    # -----------------------------------------------------------------------------------------------------------

    def _read_control(self, *, is_empty: bool = False) -> None:
        before, name = self._control, self._config.name
        self._control = control.Control() if is_empty else control.read_control(self._destination, name)
        if self._control == before:
            return
        if (self._control.direction, self._control.is_reversed) != (before.direction, before.is_reversed):
            self._look_at_direction_again()
        if (self._control.frozen is None) != (before.frozen is None):
            log.warning(
                "%s: %s", name, "thawed" if self._control.frozen is None else f"frozen by {self._control.frozen}"
            )
        self._show()

    def _explain(self, error: Interrupted) -> None:
        """Go on after a batch that was refused because the set was frozen. Raises the error, or Conflict when the lease is lost."""
        self._follower.forget()
        self._verify_at = 0.0
        self._look_at_direction_again()
        self._read_control()
        self._take_direction()
        if self._frozen is not None:
            self._event.set()
            return
        if not self._context.lease.confirm():
            raise errors.Conflict(str(error), 409)
        raise error

    def _succeeded(self, took_s: float) -> None:
        self._pauses.reset()
        self._paused_until = 0.0
        if not self._follower.problems.retried():
            self._retry_at = None
            self._retries.reset()
        elif self._retry_at is None:
            self._retry_at = time.monotonic() + self._retries.next_s()
        self._status.pending = 0
        self._show(took_s=took_s)

    def _wait_s(self) -> float:
        """Return how long to wait for an event."""
        now = time.monotonic()
        due_in_s = self._publisher.due_in_s(self._status, now)
        times = [] if due_in_s is None else [due_in_s]
        if now < self._paused_until:
            return min([self._paused_until - now, *times])
        if self._direction is not None:
            times.append(self._direction.due_in_s(now))
        if self._frozen is not None:
            return min([60.0, *times])
        times.append(self._verify_at - now)
        if self._retry_at is not None:
            times.append(self._retry_at - now)
        if self._wakes:
            times.append(self._quiet_in_s())
        return max(0.0, min(times))

    def _set_state(self, state: str) -> None:
        self._status.state = state
        self._memory.update(self._config.name, self._status)

    def _show(self, problem: str = "", *, took_s: float = 0.0) -> None:
        """Report what there is to know."""
        frozen = self._frozen
        problem = problem or self._at_source.problem or self._at_destination.problem
        problem_since = None if not problem else self._status.problem_since or time.monotonic()
        self._status = status_of(
            self._follower,
            self._status,
            state=FROZEN if frozen is not None else BEHIND if problem or self._wakes else FOLLOWING,
            frozen=frozen,
            pending_since=min((wake.since for wake in self._wakes.values()), default=None),
            waiting=len(self._wakes),
            acknowledged=self._control.acknowledged,
            problem=problem,
            problem_since=problem_since,
        )
        self._memory.update(self._config.name, self._status)
        self._context.show(self._memory.section())
        if problem:
            self._context.report_problem(problem)
        else:
            self._context.report(self._status.summary, took_s=took_s, problem=self._status.finding)


def _can_pass(error: errors.ConsulError) -> bool:
    """Return whether a failure can pass by itself or by what somebody does elsewhere."""
    return is_transient(error) or isinstance(error, errors.PermissionDenied)
