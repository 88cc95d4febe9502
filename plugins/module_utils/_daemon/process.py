# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process of an agent: signals, systemd notifications, reload, and starting and stopping its run loop and endpoint."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from dataclasses import dataclass

from .._config import credentials
from .._consul import errors
from .._consul.version import VERSION
from . import agent_config
from .agent_config import AgentConfig
from .http_endpoint import HttpEndpoint
from .journal_log import log_to_journal
from .registration import Registration
from .run_loop import RunLoop
from .status import ACTIVE, STARTING, STOPPING, AgentStatus, StatusTracker
from .systemd import notify, watchdog_s
from .waker import Waker

log = logging.getLogger("consulops")

STOP_WITHIN_S = 1.5
RELOAD_WITHIN_S = 0.4  # a stop right after a reload must still take less than two seconds in total
DEREGISTER_WITHIN_S = 0.3  # the part of both that is reserved for Consul's catalog
TICK_S = 5.0
MAX_CYCLE_S = 600.0  # without a heartbeat for so long the loop counts as hung, and the watchdog restarts the process
READY_AFTER_S = 10.0  # an unreachable Consul must not block the boot of the host


def run(path: str) -> int:
    """Run the agent of a configuration file until SIGTERM or SIGINT, and return the exit code.

    Raises InvalidOption or LocalFailure at the start only; later errors are logged and retried.
    """
    environ = dict(os.environ)
    config = agent_config.read_config(path, credentials.with_credentials(environ))
    log_to_journal(config.log_level)
    return _AgentProcess(path, environ, config).run()


@dataclass
class _Running:
    """What runs under one configuration."""

    config: AgentConfig
    loop: RunLoop
    endpoint: HttpEndpoint | None
    registration: Registration | None


class _AgentProcess:
    def __init__(self, path: str, environ: dict[str, str], config: AgentConfig) -> None:
        self._path = path
        self._environ = environ
        self._waker = Waker()
        self._registration: Registration | None = None
        self._tracker = StatusTracker(config.agent, config.name, socket.gethostname(), self._on_change)
        self._ready = False
        self._last_notified = ""
        self._started_at = time.monotonic()
        self._running = self._start(config, self._open_endpoint(config))

    def run(self) -> int:
        """Handle signals and notify systemd until the process is asked to end. Returns the exit code."""
        self._waker.listen_to(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        watchdog = watchdog_s(self._environ)
        tick_s = TICK_S if watchdog is None else min(TICK_S, watchdog / 3)
        while True:
            self._notify_systemd(watched=watchdog is not None)
            signals = self._waker.wait(tick_s if self._ready else 0.2)
            if signals & {signal.SIGTERM, signal.SIGINT}:
                self._stop()
                return 0
            if signal.SIGHUP in signals:
                self._reload()
            running = self._running
            if not running.loop.is_running or (running.registration and not running.registration.is_running):
                log.error("a thread ended because of a bug (the traceback is above); systemd restarts the agent")
                return 1

    def _open_endpoint(self, config: AgentConfig, replaces: HttpEndpoint | None = None) -> HttpEndpoint | None:
        return HttpEndpoint(config.listen, self._tracker, replaces) if config.listen.enabled else None

    def _start(self, config: AgentConfig, endpoint: HttpEndpoint | None) -> _Running:
        self._registration = Registration(config, self._tracker) if config.service.register else None
        running = _Running(config, RunLoop(config, self._tracker), endpoint, self._registration)
        log.info(
            "%s %s: agent %s, lease %s of %s", config.name, VERSION, config.agent, config.lease.key, config.connection
        )
        running.loop.start()
        if running.registration:
            running.registration.start()
        return running

    def _reload(self) -> None:
        """Switch to the new configuration; if it cannot be used, log why and continue with the old one."""
        old = self._running
        notify(self._environ, RELOADING="1")
        try:
            config = agent_config.read_config(self._path, credentials.with_credentials(self._environ))
            keeps_endpoint = config.listen == old.config.listen
            endpoint = old.endpoint if keeps_endpoint else self._open_endpoint(config, old.endpoint)
        except errors.Error as error:
            log.error("the reload failed, the old configuration stays in force: %s", error)
            self._tracker.not_reloaded(str(error))
            notify(self._environ, READY="1", STATUS=f"the new configuration cannot be used: {error}")
            return
        log.info("reloading the configuration")
        log_to_journal(config.log_level)
        old.loop.stop(RELOAD_WITHIN_S - DEREGISTER_WITHIN_S)
        if old.registration:
            keeps_service = Registration.is_same(config, old.config)
            old.registration.stop(DEREGISTER_WITHIN_S, deregister=not keeps_service)
        if old.endpoint and not keeps_endpoint:
            old.endpoint.stop()
        self._running = self._start(config, endpoint)
        self._tracker.reloaded()
        notify(self._environ, READY="1")
        self._last_notified = ""  # systemd may still show the problem of an earlier reload

    def _stop(self) -> None:
        started = time.monotonic()
        notify(self._environ, STOPPING="1", STATUS="stopping")
        released = self._running.loop.stop(STOP_WITHIN_S - DEREGISTER_WITHIN_S)
        self._tracker.stopping()
        if self._running.registration:
            self._running.registration.stop(DEREGISTER_WITHIN_S)
        note = "" if released else "; Consul did not answer, so the lease ends with its TTL"
        log.info("stopped after %.1f s%s", time.monotonic() - started, note)

    def _notify_systemd(self, *, watched: bool) -> None:
        status = self._tracker.current
        fields = {"STATUS": status.sentence} if status.sentence != self._last_notified else {}
        if not self._ready and (status.state != STARTING or time.monotonic() - self._started_at > READY_AFTER_S):
            fields["READY"] = "1"
        if watched and time.monotonic() - self._running.loop.last_heartbeat < MAX_CYCLE_S:
            fields["WATCHDOG"] = "1"
        if fields and notify(self._environ, **fields):
            self._last_notified = status.sentence
            self._ready = self._ready or "READY" in fields

    def _on_change(self, status: AgentStatus) -> None:
        """Log a new state or problem, and publish it to Consul and systemd. Called from any thread."""
        level = logging.WARNING if status.problem else logging.INFO
        if status.state not in (STARTING, STOPPING):
            log.log(level, "%s%s", status.sentence, f" (fence {status.fence})" if status.state == ACTIVE else "")
        if self._registration:
            self._registration.publish()
        self._waker.wake()
