# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that writes keys on a host of the lab, as a unit of systemd, and what it noted of each of its writes.

``start_writer(host, token, number)`` installs and starts it. Every key below ``app/own/HOST/`` is written once. While ``SHARED`` exists on
the host, it also writes four keys below ``app/shared/NUMBER/``, which the writer with this number in the other datacenter writes too.
"""

from __future__ import annotations

import json
import typing as t

from .hosts import Host

UNIT = "orders"
OWN, SHARED_PREFIX = "app/own/", "app/shared/"
HISTORY = "var/log/orders.jsonl"
SHARED = "/run/orders-shared"

# Each line is flushed before the next write, and SIGTERM ends it between two writes, so the history lacks no write that was acknowledged.
PROGRAM = """import http.client, json, os, signal, sys, threading, time
host, number, token = sys.argv[1:]
stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
def write(key, value, log):
    connection = http.client.HTTPConnection("127.0.0.1", 8500, timeout=3)
    try:
        connection.request("PUT", "/v1/kv/" + key, value, {"X-Consul-Token": token})
        answer = connection.getresponse()
        answer.read()
        done = answer.status == 200
    except (OSError, http.client.HTTPException):
        done = False
    finally:
        connection.close()
    print(json.dumps([key, value, "acknowledged" if done else "unknown"]), file=log, flush=True)
with open("/var/log/orders.jsonl", "a") as log:
    while not stopping.wait(0.2):
        value = f"{host}-{time.time_ns()}"
        write(f"app/own/{host}/{value}", value, log)
        if os.path.exists("/run/orders-shared"):
            write(f"app/shared/{number}/{time.time_ns() % 4}", value + "-shared", log)
"""
SERVICE = """[Unit]
Description=Orders
After=network-online.target
[Service]
ExecStart=/usr/bin/python3 -I /usr/local/bin/orders {host} {number} {token}
[Install]
WantedBy=multi-user.target
"""


class Write(t.NamedTuple):
    """One write: whether it was acknowledged, else nobody knows whether it was made."""

    key: str
    value: str
    is_acknowledged: bool


def start_writer(host: Host, token: str, number: int) -> None:
    """Install the writer, let it start at each boot, and start it with an empty history."""
    host.run("install", "-m", "755", "/dev/stdin", "/usr/local/bin/orders", stdin=PROGRAM)
    unit = SERVICE.format(host=host.name, number=number, token=token)
    host.run("install", "-m", "600", "/dev/stdin", f"/etc/systemd/system/{UNIT}.service", stdin=unit)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "stop", UNIT)
    host.run("rm", "-f", f"/{HISTORY}")
    host.run("systemctl", "enable", "-q", "--now", UNIT)


def share(host: Host, is_shared: bool) -> None:
    """Let the writer of a host write the shared keys too, or no more."""
    host.run(*(("touch",) if is_shared else ("rm", "-f")), SHARED)


def history_of(host: Host) -> list[Write]:
    """Return the writes of a host in their order, also while it is off. The line that is being written is left out."""
    path = host.root / HISTORY
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [Write(key, value, outcome == "acknowledged") for key, value, outcome in map(json.loads, lines)]


def last_values(writes: t.Collection[Write]) -> dict[str, set[str]]:
    """Return which values each key may have: that of its last acknowledged write, and unknown ones, which may be made late."""
    found = {one.key: {one.value} for one in writes if one.is_acknowledged}
    for one in writes:
        if not one.is_acknowledged and one.key in found:
            found[one.key].add(one.value)
    return found
