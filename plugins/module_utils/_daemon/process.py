# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The process of an agent: signals, systemd, reload, and the exit code. What it runs is the supervisor's business."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
import typing as t

from .._config import credentials
from .._consul import errors
from .._consul.version import VERSION
from . import agent_config
from .agent_config import AgentConfig, AgentTypes
from .http_endpoint import HttpEndpoint
from .job import Surroundings
from .journal_log import log_to_journal
from .lease import Pace
from .registration import Registration, RegistrationSpec
from .state_directory import StateDirectory
from .status import ACTIVE, STARTING, STOPPING, AgentStatus
from .status_board import StatusBoard
from .supervisor import Limits, Supervisor
from .systemd import notify, watchdog_s
from .waker import Waker
from .web_app import Application, Served, make_application

log = logging.getLogger("consulops")

STOP_LIMITS = Limits(grace_s=0.4, cut_s=0.2, release_s=0.4)  # with the end of the process less than 1.5 s
RELOAD_LIMITS = Limits(grace_s=0.3, cut_s=0.1, release_s=0.2)  # a stop right after it still takes less than 2 s
CLOSE_WITHIN_S = 0.2
DEREGISTER_WITHIN_S = 0.8  # beside the limits above, not after them
TICK_S = 5.0
READY_AFTER_S = 10.0  # an unreachable Consul must not block the boot of the host


def run(path: str, agent_types: AgentTypes) -> t.NoReturn:
    """Run the agent of a configuration file until SIGTERM or SIGINT, and end the process.

    Raises InvalidOption or LocalFailure at the start only; later errors are logged and retried.
    """
    # Before anything else: until then SIGHUP ends the process instead of reloading it.
    waker = Waker()
    waker.listen_to(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    environ = dict(os.environ)
    config = agent_config.read_config(path, credentials.with_credentials(environ), agent_types)
    log_to_journal(config.log_level)
    code = _AgentProcess(path, environ, config, agent_types, waker).run()
    # Taking the interpreter down would take longer than stopping the agent, and its threads may hang in a request.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


class _AgentProcess:
    def __init__(
        self, path: str, environ: dict[str, str], config: AgentConfig, agent_types: AgentTypes, waker: Waker
    ) -> None:
        self._path = path
        self._environ = environ
        self._state = StateDirectory(environ)
        self._agent_types = agent_types
        self._config = config
        self._waker = waker
        self._ready = False
        self._last_notified = ""
        self._started_at = time.monotonic()
        self._registration: Registration | None = None
        self._board = StatusBoard(config.agent, config.name, socket.gethostname(), self._on_change)
        self._pace = Pace(config.first_pause_s, config.longest_pause_s, config.step_down_after_failures)
        self._supervisor = Supervisor(self._pace, self._waker.wake)
        self._memory = config.agent_type.memory()
        self._endpoint = (
            HttpEndpoint(config.listen, self._application(config, self._memory)) if config.listen.enabled else None
        )
        self._apply(config, self._memory)

    def run(self) -> int:
        """Handle signals and notify systemd until the process is asked to end. Returns the exit code."""
        watchdog = watchdog_s(self._environ)
        tick_s = TICK_S if watchdog is None else min(TICK_S, watchdog / 3)
        while True:
            self._board.change(stalled=self._supervisor.stalled())
            self._notify_systemd(watched=watchdog is not None)
            signals = self._waker.wait(tick_s if self._ready else 0.2)
            if signals & {signal.SIGTERM, signal.SIGINT}:
                self._stop()
                return 0
            if signal.SIGHUP in signals:
                self._reload()
            if self._supervisor.is_broken or (self._registration is not None and self._registration.is_broken):
                log.error("a thread ended because of a bug (the traceback is above); systemd restarts the agent")
                self._stop()  # another instance need not wait for the TTL of the lease
                return 1

    def _application(self, config: AgentConfig, memory: t.Any) -> Application:
        own_names = {self._board.current.node}
        return make_application(
            Served(
                lambda: self._board.current,
                config.access,
                config.plan.routes,
                own_names,
                memory,
                config.agent_type.metrics,
            )
        )

    def _memory_of(self, config: AgentConfig) -> t.Any:
        """Return what jobs and routes share under a configuration: what they shared before, unless it is another agent."""
        is_same = (config.agent, config.name) == (self._config.agent, self._config.name)
        return self._memory if is_same else config.agent_type.memory()

    def _apply(self, config: AgentConfig, memory: t.Any) -> None:
        """Make what runs equal to a configuration; what it does not change is not touched."""
        self._pace.first_pause_s = config.first_pause_s
        self._pace.longest_pause_s = config.longest_pause_s
        self._pace.step_down_after_failures = config.step_down_after_failures
        self._board.change(agent=config.agent, name=config.name)
        for lease in config.plan.leases:
            log.info("%s %s: agent %s, lease %s of %s", config.name, VERSION, config.agent, lease.key, lease.endpoint)
        surroundings = Surroundings(
            config.agent,
            config.name,
            self._board.current.node,
            self._state,
            self._board,
            config.plan.connections,
            memory,
        )
        self._supervisor.apply(surroundings, config.plan, RELOAD_LIMITS)
        self._register(RegistrationSpec.of(config))
        if memory is not self._memory:
            self._config.agent_type.close(self._memory, CLOSE_WITHIN_S)
        self._config, self._memory = config, memory

    def _register(self, spec: RegistrationSpec | None) -> None:
        old = self._registration
        if old is not None and old.spec == spec:
            return
        if old is not None:
            old.request_stop(deregister=not old.spec.is_same_service(spec))
            old.join(RELOAD_LIMITS.release_s)
        self._registration = None if spec is None else Registration(spec, self._board, self._waker.wake)
        if self._registration is not None:
            self._registration.start()

    def _reload(self) -> None:
        """Switch to the new configuration; if it cannot be used, log why and continue with the old one."""
        old = self._endpoint
        notify(self._environ, RELOADING="1")
        try:
            environ = credentials.with_credentials(self._environ)
            config = agent_config.read_config(self._path, environ, self._agent_types)
            memory = self._memory_of(config)
            application = self._application(config, memory)
            new = None
            if old is not None and old.listen == config.listen:
                old.reload(application)
                new = old
            elif config.listen.enabled:
                new = HttpEndpoint(config.listen, application, old)
        except errors.Error as error:
            log.error("the reload failed, the old configuration stays in force: %s", error)
            self._board.change(reload_problem=str(error))
            notify(self._environ, READY="1", STATUS=f"the new configuration cannot be used: {error}")
            return
        log.info("reloading the configuration")
        log_to_journal(config.log_level)
        self._endpoint = new
        if old is not None and new is not old:
            old.stop()
        self._apply(config, memory)
        self._board.change(reloads=self._board.current.reloads + 1, reload_problem="")
        notify(self._environ, READY="1")
        self._last_notified = ""  # systemd may still show the problem of an earlier reload

    def _stop(self) -> None:
        started = time.monotonic()
        notify(self._environ, STOPPING="1", STATUS="stopping")
        if self._registration is not None:
            self._registration.request_stop()
        self._board.change(is_stopping=True)
        released = self._supervisor.stop(STOP_LIMITS)
        self._config.agent_type.close(self._memory, CLOSE_WITHIN_S)
        if self._registration is not None:
            self._registration.join(max(0.0, DEREGISTER_WITHIN_S - (time.monotonic() - started)))
        note = "" if released else "; Consul did not answer, so the lease ends with its TTL"
        log.info("stopped after %.1f s%s", time.monotonic() - started, note)

    def _notify_systemd(self, *, watched: bool) -> None:
        status = self._board.current
        fields = {"STATUS": status.sentence} if status.sentence != self._last_notified else {}
        if not self._ready and (status.state != STARTING or time.monotonic() - self._started_at > READY_AFTER_S):
            fields["READY"] = "1"
        if watched and status.is_alive:
            fields["WATCHDOG"] = "1"
        if fields and notify(self._environ, **fields):
            self._last_notified = status.sentence
            self._ready = self._ready or "READY" in fields

    def _on_change(self, before: AgentStatus, after: AgentStatus) -> None:
        """Log a new state or problem, and publish it to Consul and systemd. Called from any thread."""
        level = logging.WARNING if after.problem else logging.INFO
        if after.state not in (STARTING, STOPPING):
            lease = after.main_lease
            fence = f" (fence {lease.fence})" if lease is not None and after.state == ACTIVE and lease.is_held else ""
            log.log(level, "%s%s", after.sentence, fence)
        registration = self._registration
        if registration is not None:
            registration.publish()
        self._waker.wake()
