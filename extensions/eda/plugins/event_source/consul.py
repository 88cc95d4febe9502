# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An event source for ansible-rulebook: what happens in Consul. The work is done by the alerting wing of the collection."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import sys
import typing as t
from pathlib import Path

DOCUMENTATION = r"""
---
short_description: Receive what happens in Consul as events
description:
  - Sends an event when something begins or ends to be wrong, when checks, services, keys or the leader change,
    and for Consul's user events.
  - While Consul cannot be reached the source waits and says so in an event. It ends only for options that cannot be used.
  - With O(state_file) it goes on after a restart where it was. What changed meanwhile is an event,
    and what was acknowledged is not repeated.
  - The guide is docs/event-driven.md of the collection.
requirements:
  - requests, python-consul2 and msgpack, in the Python that runs ansible-rulebook
options:
  watch:
    description:
      - What to watch, some of V(findings), V(checks), V(services), V(kv), V(events) and V(leader).
      - Findings are made by the rules of the module consulops.failover.consul_alert_check and debounced as by the alerting agent.
    type: list
    elements: str
    required: true
  url:
    description:
      - Address of the agent. This and the other connection options are those of every module of the collection - O(datacenter),
        O(token), O(token_file), O(http_auth), O(ca_path), O(client_cert), O(client_key), O(tls_server_name), O(validate_certs),
        O(namespace), O(partition) and O(timeout). Each falls back to its CONSUL_* variable.
    type: str
  datacenters:
    description: Datacenters to watch through one agent; the agent's own without this option.
    type: list
    elements: str
  connections:
    description: Connection options of each datacenter, where these differ. Options that are not set come from above.
    type: list
    elements: dict
  state_file:
    description:
      - Absolute path of a file that keeps what was handed over. No other source may use it. Without it every start is the first one.
      - With C(feedback) an event counts as handed over when the rules have taken it, without it when it was put into the queue.
    type: path
  initial:
    description: Whether checks that fail, services, keys and the leader are events at the very first start. Findings that fire always are.
    type: bool
    default: false
  hosts:
    description: Hosts of the inventory by node of Consul. An event about such a node has them as C(meta.hosts), which limits plays to them.
    type: dict
  host_format:
    description: Makes the host's name of any other node, for example C({node}.example.com). Without it these events have no C(meta.hosts).
    type: str
  feedback:
    description: Whether the engine acknowledges events. It needs a C(name) of the source and C(--persistence-id) on the command line.
    type: bool
    default: false
  rules:
    description: For V(findings), the rules with their thresholds and times, as in the alerting agent.
    type: list
    elements: dict
  expect:
    description: For V(findings), what should be there.
    type: dict
  match:
    description: For V(findings), what the rules are limited to.
    type: list
    elements: dict
  ignore:
    description: For V(findings), what no rule is applied to.
    type: list
    elements: dict
  snapshots:
    description: For V(findings), a directory of snapshots whose age is judged.
    type: path
  for:
    description:
      - For V(findings), how long something must be wrong, one duration or an object by severity.
      - By default 30s for what is critical and 60s for a warning.
    type: raw
  recover_for:
    description: For V(findings), how long it must be right before it is resolved.
    type: str
    default: 30s
  gone_for:
    description: For V(findings), the same for what was deregistered.
    type: str
    default: 60s
  flapping:
    description: For V(findings), C(changes) and C(window) - so many changes in that time are one episode.
    type: dict
  reconcile_every:
    description: For V(findings), how often everything is read. Checks that change are noticed at once.
    type: str
    default: 10s
  services:
    description: For V(services), names of services whose instances are watched. Without it only names and tags of services are.
    type: list
    elements: str
  kv_prefixes:
    description: For V(kv), prefixes of the keys to watch.
    type: list
    elements: str
  kv_values:
    description: For V(kv), whether events have the values of keys. Values may be secrets, and ansible-rulebook logs events.
    type: bool
    default: false
  user_events:
    description: For V(events), names of the events that count; all of them without this option.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Act on Consul
  hosts: all
  sources:
    - name: consul
      consulops.failover.consul:
        url: https://consul.example.com:8501
        token_file: /etc/consulops/events.token
        watch: [findings, leader]
        state_file: /var/lib/rulebooks/consul.state
        feedback: true
        hosts: {web1: web1.example.com}
  rules:
    - name: Say what fires
      condition: event.watch == "findings" and event.state == "firing"
      throttle:
        once_within: 5 minutes
        group_by_attributes: [event.datacenter, event.rule]
      action:
        debug:
          msg: "{{ event.summary }}"
"""

ROOT = (
    Path(__file__).absolute().parents[7]
)  # holds ansible_collections; not resolved, since a development tree is a symbolic link


def _load() -> tuple[t.Any, t.Any, t.Any]:
    """Return the modules of the collection that do the work. The engine runs this file alone, by its path."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.event_source import (
        options,
        source,
    )
    from ansible_collections.consulops.failover.plugins.module_utils._consul import errors

    return options, source, errors


async def main(queue: asyncio.Queue[t.Any], args: dict[str, t.Any]) -> None:
    """Put events into the queue until the engine cancels this. Raises an error with one sentence for options that cannot be used."""
    options, source_module, errors = _load()
    loop = asyncio.get_running_loop()
    feedback = args.get("eda_feedback_queue")
    crashed = asyncio.Event()

    def put(event: dict[str, t.Any]) -> None:
        """Hand an event over, in a thread of the source, and wait until the queue has taken it."""
        handing_over = queue.put(event)
        try:
            asyncio.run_coroutine_threadsafe(handing_over, loop).result()
        except (RuntimeError, concurrent.futures.CancelledError):  # the loop has ended
            handing_over.close()
            raise errors.Aborted("The event source was stopped.") from None

    def report_crash() -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(crashed.set)

    config = options.make_source_config(args, os.environ)
    source = source_module.EventSource(config, put, wants_acknowledgement=feedback is not None, on_crash=report_crash)
    try:
        source.start()
        if feedback is None:
            await crashed.wait()
        else:
            await _acknowledge(source, feedback, crashed)
    finally:
        source.stop()
    raise RuntimeError("a thread of the event source ended by a bug; its traceback is above")


async def _acknowledge(source: t.Any, feedback: asyncio.Queue[t.Any], crashed: asyncio.Event) -> None:
    """Pass on what the engine has dealt with, until a thread of the source crashes."""
    crash, answer = asyncio.ensure_future(crashed.wait()), asyncio.ensure_future(feedback.get())
    try:
        while not crash.done():
            await asyncio.wait({answer, crash}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                source.acknowledge(answer.result())
                answer = asyncio.ensure_future(feedback.get())
    finally:
        crash.cancel()
        answer.cancel()
