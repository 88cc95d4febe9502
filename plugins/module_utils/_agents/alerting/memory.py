# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the jobs of the alerting agent and the routes of its endpoint share. It outlives reloads; what must outlive the process is in files.

``core`` may only be used while ``mutex`` is held, and nothing that can wait may be done meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
import typing as t
from dataclasses import dataclass, field

from ..._alerting.finding import Judgement
from ..._alerting.observation import Observation
from ..._consul.errors import LocalFailure
from ..._daemon.job import Context
from ..._daemon.state_directory import StateDirectory
from .clock import Clock
from .config import AlertingConfig
from .core import Core
from .delivery import Delivery, ReceiverSetup
from .delivery_worker import Listener, Outcome
from .note_parts import gather
from .notification import FIRING, Notification
from .saved_state import StateUnusable
from .send_gate import is_foreign
from .shared_state import Keys, SharedState
from .silences import Silence
from .spool import Spool
from .spool_file import key_of
from .told import Note, Told

STATE_FILE, SPOOL_FILE = "alerts.json", "spool"
CONFIGURED_WAIT_S = 60.0


@dataclass(frozen=True)
class Reading:
    """The last judgement of one watched datacenter.

    ``at`` is when it was read in full (Unix seconds), ``took_s`` how long that took. ``observation`` is what was read.
    """

    datacenter: str
    at: float
    took_s: float
    judgement: Judgement
    observation: Observation = field(repr=False)


class Memory:
    """The state of the agent, from the start of the process to its end.

    ``readings`` are by watched datacenter; ``shared`` is what was last read of what instances share, None before the first time.
    ``notes_fence`` is the fence of the lease term in which the notes of the holder before were read; ``sends`` says whether this
    instance was the one that sends when that was last known. Events: ``configured`` is set
    when ``core`` and ``delivery`` are there; ``changed`` wakes the job that sends; ``to_share`` the one that writes to Consul.
    """

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.clock = Clock()
        self.configured = threading.Event()
        self.changed = threading.Event()
        self.to_share = threading.Event()
        self.readings: dict[str, Reading] = {}
        self.shared: SharedState | None = None
        self.notes_fence = 0
        self.problems: dict[str, str] = {}
        self.crashed_receiver = ""
        self.pinged = False
        self.sends = False
        self._config: AlertingConfig | None = None
        self._core: Core | None = None
        self._delivery: Delivery | None = None
        self._noted = Told()
        self._recorded: dict[str, Notification] = {}  # and not yet in the spool
        self._notes_are_newer = False
        self._saved = ""
        self._may_save = True
        self._corrected = False

    @property
    def config(self) -> AlertingConfig:
        """The configuration in force."""
        return t.cast("AlertingConfig", self._config)

    @property
    def core(self) -> Core:
        """The core; hold ``mutex``."""
        return t.cast("Core", self._core)

    @property
    def delivery(self) -> Delivery:
        """The delivery to receivers."""
        return t.cast("Delivery", self._delivery)

    # -------------------------------------------------------------------------------------------------------------
    # Start, reload, end

    def configure(self, config: AlertingConfig, setups: t.Mapping[str, ReceiverSetup], state: StateDirectory) -> None:
        """Take a configuration: the first, or another one. Timers and queues go on. Raises InvalidOption and LocalFailure."""
        with self.mutex:
            self._config = config
            if self._core is None:
                self._core = Core(config.core, config.make_silences())
                self._load(state, self.clock.time())
            else:
                self._core.reconfigure(config.core, config.make_silences())
        if self._delivery is None:
            spool = Spool(state.path / SPOOL_FILE)
            self._delivery = Delivery(spool, Listener(self._on_result, self._on_health, self._on_crash))
            self._delivery.hold(is_foreign)  # until it is known who sends
        self._delivery.configure(setups)
        self._restore()
        self.configured.set()
        self.changed.set()
        self.to_share.set()

    def _load(self, state: StateDirectory, now: float) -> None:
        place = str(state.path / STATE_FILE)
        try:
            saved = state.read(STATE_FILE)
        except LocalFailure as error:
            self._keep_file(str(error), place)
            return
        if saved is None:
            return
        try:
            self.core.load(saved, place, now)
            self._saved = _without_time(saved.decode())
        except StateUnusable as error:
            self.problems["state"] = str(error)
            if error.is_newer:
                self._may_save = False
                return
            try:
                state.write(f"{STATE_FILE}.damaged", saved)
            except LocalFailure as failure:
                self._keep_file(f"{error} {failure}", place)

    def _keep_file(self, problem: str, place: str) -> None:
        """What cannot be read is not overwritten."""
        self._may_save = False
        self.problems["state"] = f"{problem} {place} stays as it is until the agent is started anew."

    def _restore(self) -> None:
        """Tell receivers that show a state what they were told before the start."""
        with self.mutex:
            told = self.core.told
            alerts = {
                name: [told.alerts[note.episode] for note in told.notes.values() if _is_firing(note, name)]
                for name in self.config.receivers
            }
        for name, receiver in self.delivery.receivers().items():
            receiver.restore(alerts.get(name, []))

    def save(self, state: StateDirectory) -> None:
        """Write what has changed since the last time. Raises LocalFailure."""
        with self.mutex:
            text = self.core.encode(self.clock.time())
        content = _without_time(text)
        if self._may_save and content != self._saved:
            state.write(STATE_FILE, text.encode())
            self._saved = content

    def try_to_save(self, state: StateDirectory) -> None:
        """Save. A disk that fails is a problem to report, and never a reason to send nothing."""
        try:
            self.save(state)
        except LocalFailure as error:
            self.problems["disk"] = str(error)
        else:
            self.problems.pop("disk", None)

    @property
    def disk_problem(self) -> str:
        """Why the state or messages cannot be written, "" if they can."""
        return self.problems.get("disk", "") or self.delivery.disk_problem

    def close(self, within_s: float) -> None:
        """End the threads of the receivers. What was not delivered stays in the spool."""
        if self._delivery is not None:
            self._delivery.stop(within_s)

    # -------------------------------------------------------------------------------------------------------------
    # Messages

    def record(self, notifications: t.Iterable[Notification]) -> None:
        """Note that receivers are told. Each message must be submitted afterwards."""
        with self.mutex:
            for one in notifications:
                self.core.record(one)
                self._recorded[one.id] = one

    def submit(self, notification: Notification) -> None:
        """Store a message that was recorded and let it be sent. It waits for the disk, so hold no lock."""
        self.delivery.submit(notification)
        with self.mutex:
            self._recorded.pop(notification.id, None)

    def waiting(self) -> frozenset[str]:
        """Return the IDs of all messages that are recorded and not delivered."""
        with self.mutex:
            return self.delivery.waiting().union(self._recorded)

    def _undelivered(self) -> list[Notification]:
        pending = [one for name in self.config.receivers for one in self.delivery.pending(name)]
        known = {one.id for one in pending}
        return [*pending, *(one for one in self._recorded.values() if one.id not in known)]

    # -------------------------------------------------------------------------------------------------------------
    # Events of the delivery, from its threads

    def _on_result(self, notification: Notification, outcome: Outcome, _problem: str) -> None:
        with self.mutex:
            if outcome is Outcome.DELIVERED:
                self.core.record_delivery(notification, self.clock.time(), self.waiting())
            elif outcome is Outcome.ELSEWHERE:
                self.core.record_told(notification)
            elif outcome is not Outcome.REPLACED:
                self.core.record_failure(notification, self.clock.time(), refused=outcome is Outcome.REFUSED)
        self.changed.set()
        self.to_share.set()

    def _on_health(self, _receiver: str, _problem: str) -> None:
        self.changed.set()

    def _on_crash(self, receiver: str) -> None:
        self.crashed_receiver = receiver
        self.changed.set()

    # -------------------------------------------------------------------------------------------------------------
    # Sharing

    def take_shared(self, shared: SharedState, keys: Keys) -> str:
        """Take what instances share. Return what is wrong with it, "" if nothing is."""
        noted, problems = gather(shared.note_contents, keys.notes)
        with self.mutex:
            self.shared, self._noted = shared, noted
            self._notes_are_newer = any(problem.is_newer for problem in problems)
            if not problems and not self._corrected:
                # What was loaded is compared with the spool and with what is shared, the first time that this can be read.
                fates = {**dict.fromkeys(map(key_of, self._recorded.values())), **self.delivery.fates()}
                self.core.correct_notes(noted, fates, self.clock.time())
                self._corrected = True
            pointless = self.core.merge_notes(noted, self.clock.time(), self._undelivered()) if noted.notes else []
            if shared.silences.content:
                try:
                    self.core.silences.merge(shared.silences.content, keys.silences)
                except StateUnusable as error:
                    problems.append(error)
        for one in pointless:
            self.delivery.discard(one.notification, one.told_at)
        self.changed.set()
        return " ".join(map(str, problems))

    def notes_to_share(self) -> Told | None:
        """Return the notes as they should be shared; None if a later version wrote those that are. What is damaged is replaced."""
        with self.mutex:
            if self._notes_are_newer:
                return None
            waiting = {one.id for one in self._undelivered()}
            return self.core.notes_to_share(self.clock.time(), waiting, self._noted)

    def notes_to_add(self) -> Told:
        """Return the notes that this instance must add to the shared ones although it is on standby; none to those of a later version."""
        with self.mutex:
            if self._notes_are_newer:
                return Told()
            waiting = {one.id for one in self._undelivered()}
            return self.core.notes_to_add(self.clock.time(), waiting, self._noted)

    def shared_with(self, added: Told) -> Told:
        """Return the notes that are shared, with some more."""
        with self.mutex:
            found = Told()
            found.merge(self._noted)
            found.merge(added)
            return found

    def position(self) -> int:
        """Return the position of this instance among all, from 0."""
        own = self.config.instance
        return sorted({own, *(self.shared.instances if self.shared is not None else ())}).index(own)

    # -------------------------------------------------------------------------------------------------------------
    # Silences, from the endpoint

    def add_silence(self, silence: Silence) -> None:
        """Add a silence. Raises InvalidOption."""
        with self._silences_changed():
            self.core.silences.add(silence)

    def expire_silence(self, silence_id: str) -> Silence:
        """End a silence now. Raises InvalidOption."""
        with self._silences_changed():
            return self.core.silences.expire(silence_id, self.clock.time())

    @contextlib.contextmanager
    def _silences_changed(self) -> t.Iterator[None]:
        with self.mutex:
            yield
        self.changed.set()
        self.to_share.set()


def wait_until_configured(context: Context) -> bool:
    """Wait, in a job, until the core is there; return whether to go on."""
    memory: Memory = context.memory
    while not memory.configured.is_set():
        if not context.wait_for(memory.configured, CONFIGURED_WAIT_S):
            return False
    return True


def _is_firing(note: Note, receiver: str) -> bool:
    return note.receiver == receiver and note.status == FIRING


def _without_time(state: str) -> str:
    """Return a saved state without the time at which it was saved."""
    before, name, rest = state.partition('"saved_at":')
    return before + name + rest.partition(",")[2]
