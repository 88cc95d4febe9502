# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a process is isolated: it reaches no network, is nobody who may do anything, and cannot become more. Pure but for reading /proc.

Sources: proc(5), and include/uapi/linux/route.h for the columns of /proc/net/route
"""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

LOOPBACK = "lo"


def problem_of_network(pid: int, *, is_ours: bool = False) -> str | None:
    """Return why the network of a process is not isolated, None if it has a loopback interface and nothing else.

    That of this process is only isolated where it ``is_ours`` by intention: on another loopback interface other programs listen.
    """
    net = Path(f"/proc/{pid}/net")
    try:
        if not is_ours and os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):  # noqa: PTH115
            return "its network is that of this host"
        return problem_of_tables(
            (net / "dev").read_text(encoding="utf-8"),
            (net / "route").read_text(encoding="utf-8"),
            _read_if_there(net / "ipv6_route"),
        )
    except OSError as error:
        return f"its network cannot be looked at ({error.strerror})"


def problem_of_process(pid: int) -> str | None:
    """Return why the rights of a process are too many, None if it has none and can get none."""
    try:
        return problem_of_status(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    except OSError as error:
        return f"its rights cannot be looked at ({error.strerror})"


def problem_of_tables(interfaces: str, routes: str, ipv6_routes: str) -> str | None:
    """Return what is wrong with the contents of /proc/net/dev, route and ipv6_route, None for nothing."""
    names = [line.partition(":")[0].strip() for line in interfaces.splitlines() if ":" in line]
    others = [name for name in names if name != LOOPBACK]
    if others:
        return f"it has the network interface {others[0]}"
    used = [line.split()[0] for line in routes.splitlines()[1:] if line.strip()]
    used += [line.split()[-1] for line in ipv6_routes.splitlines() if line.strip()]
    away = [name for name in used if name != LOOPBACK]
    return f"it has a route through {away[0]}" if away else None


def problem_of_status(text: str) -> str | None:
    """Return what is wrong with the contents of /proc/PID/status, None for nothing."""
    fields = _fields(text)
    if "0" in fields.get("Uid", "0").split():
        return "it runs as root"
    if any(int(fields.get(name, "1"), 16) for name in ("CapPrm", "CapEff")):
        return "it has capabilities"
    return None if fields.get("NoNewPrivs") == "1" else "it could gain rights by running a program with setuid"


def peak_memory(pid: int) -> int | None:
    """Return how much memory a process has had at most, bytes, None if it is gone."""
    try:
        fields = _fields(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    except OSError:
        return None
    return int(fields["VmHWM"].split()[0]) * 1024 if "VmHWM" in fields else None  # a zombie has none


def _fields(text: str) -> t.Mapping[str, str]:
    return {name: value.strip() for name, _colon, value in (line.partition(":") for line in text.splitlines())}


def _read_if_there(path: Path) -> str:
    """Return the text of a file, "" without one: a kernel may have no IPv6."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
