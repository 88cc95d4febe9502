# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of an agent: signals, systemd, and the parts that live as long as one configuration does."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass

from .._config import credentials
from .._consul import errors
from .._consul.version import VERSION
from . import agent_config
from .agent_config import AgentConfig
from .http_endpoint import Web
from .registration import Registration
from .run_loop import Loop
from .status import ACTIVE, STARTING, STOPPING, AgentStatus, Status
from .systemd import notify, watchdog_s

log = logging.getLogger("consulops")

STOP_WITHIN_S = 1.5
RELOAD_WITHIN_S = 0.4  # with the time to stop it must stay below two seconds, for who reloads and stops at once
DEREGISTER_S = 0.3  # of the one, for telling Consul's catalogue
TICK_S = 5.0
LONGEST_CYCLE_S = 600.0  # a loop that shows no sign of life for so long is dead: systemd shall start it again
READY_AFTER_S = 10.0  # a Consul that is away does not keep a host from booting


def run(path: str) -> int:
    """Run the agent of a configuration file until SIGTERM or SIGINT. Raises InvalidOption or LocalFailure at the start only."""
    environ = dict(os.environ)
    config = agent_config.read_config(path, credentials.surroundings(environ))
    _log_to_journal(config.log_level)
    return _Process(path, environ, config).run()


@dataclass
class _Parts:
    """What runs under one configuration."""

    config: AgentConfig
    loop: Loop
    web: Web | None


class _Waker:
    """Wakes the main thread: a signal or another thread rings, and what rang is known. A handler may not take locks."""

    def __init__(self) -> None:
        self._hear, self._strike = socket.socketpair()
        for end in (self._hear, self._strike):
            end.setblocking(False)

    def listen_to(self, *signals: int) -> None:
        """Ring with the number of each of these signals, which then do nothing else."""
        signal.set_wakeup_fd(self._strike.fileno(), warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, lambda _number, _frame: None)

    def wake(self) -> None:
        """Ring from any thread."""
        with contextlib.suppress(BlockingIOError):
            self._strike.send(b"\0")

    def wait(self, within_s: float) -> set[int]:
        """Wait for a wake and return the signals that came."""
        select.select([self._hear], [], [], within_s)
        with contextlib.suppress(BlockingIOError):
            return set(self._hear.recv(4096)) - {0}
        return set()


class _Process:
    def __init__(self, path: str, environ: dict[str, str], config: AgentConfig) -> None:
        self._path = path
        self._environ = environ
        self._waker = _Waker()
        self._registration: Registration | None = None
        self._status = Status(config.agent, config.name, socket.gethostname(), self._changed)
        self._ready = False
        self._last_notified = ""
        self._began = time.monotonic()
        self._parts = self._started(config)

    def run(self) -> int:
        """Wait for signals, and publish systemd how it is, until the end is asked for."""
        self._waker.listen_to(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        watchdog = watchdog_s(self._environ)
        tick_s = TICK_S if watchdog is None else min(TICK_S, watchdog / 3)
        while True:
            self._notify_systemd(watched=watchdog is not None)
            came = self._waker.wait(tick_s if self._ready else 0.2)
            if came & {signal.SIGTERM, signal.SIGINT}:
                self._stop()
                return 0
            if signal.SIGHUP in came:
                self._reload()
            if not self._parts.loop.runs or (self._registration and not self._registration.runs):
                log.error("a thread ended by a mistake in it, which stands above; systemd starts the agent again")
                return 1

    def _started(self, config: AgentConfig, web: Web | None = None) -> _Parts:
        if web is None and config.listen.enabled:
            web = Web(config.listen, self._status)
        parts = _Parts(config, Loop(config, self._status), web)
        self._registration = Registration(config, self._status) if config.service.register else None
        log.info(
            "%s %s: agent %s, lease %s of %s", config.name, VERSION, config.agent, config.lease.key, config.connection
        )
        parts.loop.start()
        if self._registration:
            self._registration.start()
        return parts

    def _reload(self) -> None:
        """Take a new configuration over, or say why not and go on with the old one."""
        old = self._parts
        notify(self._environ, RELOADING="1")
        try:
            config = agent_config.read_config(self._path, credentials.surroundings(self._environ))
            moved = config.listen != old.config.listen
            web = Web(config.listen, self._status) if moved and config.listen.enabled else None
        except errors.Error as error:
            log.error("the configuration was not taken over, the old one goes on: %s", error)
            self._status.not_reloaded(str(error))
            notify(self._environ, READY="1", STATUS=f"the new configuration cannot be used: {error}")
            return
        log.info("taking the configuration over")
        _log_to_journal(config.log_level)
        old.loop.stop(RELOAD_WITHIN_S - DEREGISTER_S)
        if self._registration:
            same = Registration.is_same(config, old.config)
            self._registration.stop(DEREGISTER_S, deregister=not same)
        if moved and old.web:
            old.web.stop()
        self._parts = self._started(config, web if moved else old.web)
        self._status.reloaded()
        notify(self._environ, READY="1")
        self._last_notified = ""  # systemd may still show what was wrong with the last one

    def _stop(self) -> None:
        began = time.monotonic()
        notify(self._environ, STOPPING="1", STATUS="stopping")
        parts = self._parts
        ended = parts.loop.stop(STOP_WITHIN_S - DEREGISTER_S)
        self._status.stopping()
        if self._registration:
            self._registration.stop(DEREGISTER_S)
        how = "" if ended else "; Consul did not answer, so the lease ends by itself"
        log.info("stopped after %.1f s%s", time.monotonic() - began, how)

    def _notify_systemd(self, *, watched: bool) -> None:
        status = self._status.current
        told = {"STATUS": status.sentence} if status.sentence != self._last_notified else {}
        if not self._ready and (status.state != STARTING or time.monotonic() - self._began > READY_AFTER_S):
            told["READY"] = "1"
        if watched and time.monotonic() - self._parts.loop.last_sign_of_life < LONGEST_CYCLE_S:
            told["WATCHDOG"] = "1"
        if told and notify(self._environ, **told):
            self._last_notified = status.sentence
            self._ready = self._ready or "READY" in told

    def _changed(self, status: AgentStatus) -> None:
        """Hear of a new state or problem, from any thread."""
        level = logging.WARNING if status.problem else logging.INFO
        if status.state not in (STARTING, STOPPING):
            log.log(level, "%s%s", status.sentence, f" (fence {status.fence})" if status.state == ACTIVE else "")
        if self._registration:
            self._registration.publish()
        self._waker.wake()


def _log_to_journal(level: str) -> None:
    """Log to standard error with the priority that journald reads from the front of a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Journal())
    root = logging.getLogger("consulops")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(level.upper())


class _Journal(logging.Formatter):
    """``<4>a warning`` where journald listens, ``WARNING a warning`` elsewhere. Source: sd-daemon(3)."""

    PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}

    def format(self, record: logging.LogRecord) -> str:
        text = " ".join(super().format(record).split())
        if "JOURNAL_STREAM" in os.environ:
            return f"<{self.PRIORITIES.get(record.levelno, 5)}>{text}"
        return f"{record.levelname} {text}"
