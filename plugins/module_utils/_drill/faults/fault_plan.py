# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans a fault of a host: what puts it there, the script that heals it, and the timer that runs the script. Pure."""

from __future__ import annotations

import ipaddress
import json
import re
import typing as t
from dataclasses import asdict, dataclass

from ..._consul.errors import InvalidOption
from ..._consul.units import human_bytes
from . import disk_fault
from .fault_step import DIRECTORY, Step

FAULTS = (*disk_fault.FAULTS, "isolated", "killed", "paused", "stopped")
DIRECTIONS = ("both", "in", "out")
TABLE = "consulops_drill"
MARKER = f"{DIRECTORY}/fault.json"
SCRIPT = f"{DIRECTORY}/heal"
HEALED = f"{DIRECTORY}/healed"
TIMER = "consulops-drill-heal"
LEAST_HEAL_AFTER_S, MOST_HEAL_AFTER_S = 10, 3600
SSH_PORT = 22
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._@-]*\.service")


@dataclass(frozen=True)
class Controller:
    """Where the SSH connection that runs this comes from, and the port of the SSH server that it came to."""

    address: str
    ssh_port: int = SSH_PORT


@dataclass(frozen=True)
class Fault:
    """A fault as it was asked for.

    ``peers`` and ``direction`` are of ``isolated``, ``path`` and ``leave_free`` (in bytes) of a file system, and ``unit`` is
    of the others.
    """

    drill: str
    fault: str
    unit: str = ""
    peers: tuple[str, ...] = ()
    direction: str = ""
    path: str = ""
    leave_free: int = 0

    def __str__(self) -> str:
        if self.fault == "disk_full":
            return f"{self.path} is full" + (f" but for {human_bytes(self.leave_free)}" if self.leave_free else "")
        if self.fault == "disk_frozen":
            return f"{self.path} is frozen"
        if self.fault == "isolated":
            way = {"both": "from and to", "in": "from", "out": "to"}[self.direction]
            return f"packets {way} {', '.join(self.peers)} are dropped"
        return f"{self.unit} is {self.fault}"

    def to_json(self) -> str:
        """Return the content of the marker."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Fault:
        """Return the fault of a marker. Raises ValueError, TypeError or KeyError if it is none."""
        data = json.loads(text)
        return cls(**{**data, "peers": tuple(data["peers"])})


def make_fault(
    drill: str,
    fault: str,
    unit: str,
    peers: t.Sequence[str],
    direction: str,
    path: str | None = None,
    leave_free: int = 0,
) -> Fault:
    """Return the fault that options ask for. Raises InvalidOption."""
    if not NAME.fullmatch(drill):
        raise InvalidOption(
            f"drill {drill!r} is not a name: use up to 64 letters, digits, dots, dashes and underscores."
        )
    if peers and fault != "isolated":
        raise InvalidOption(f"peers are of the fault isolated, and the fault is {fault}.")
    if path is not None and fault not in disk_fault.FAULTS:
        raise InvalidOption(f"path is of the faults {' and '.join(disk_fault.FAULTS)}, and the fault is {fault}.")
    if leave_free and fault != "disk_full":
        raise InvalidOption(f"leave_free is of the fault disk_full, and the fault is {fault}.")
    if fault in disk_fault.FAULTS:
        return Fault(drill, fault, path=disk_fault.check_path(path, fault), leave_free=leave_free)
    if fault != "isolated":
        if not UNIT.fullmatch(unit):
            raise InvalidOption(f"unit {unit!r} is not the name of a service of systemd, for example consul.service.")
        return Fault(drill, fault, unit)
    if not peers:
        raise InvalidOption("The fault isolated needs peers, the addresses from which the host is cut off.")
    return Fault(drill, fault, peers=tuple(sorted({_address(peer) for peer in peers})), direction=direction)


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise InvalidOption(f"peers: {text!r} is not an IP address.") from error
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        raise InvalidOption(f"peers: {text} is not the address of another host.")
    return str(address)


def check_heal_after(seconds: int) -> None:
    """Raise InvalidOption unless a fault may last that many seconds without being healed."""
    if not LEAST_HEAL_AFTER_S <= seconds <= MOST_HEAL_AFTER_S:
        raise InvalidOption(
            f"heal_after is {seconds}: it must be between {LEAST_HEAL_AFTER_S} and {MOST_HEAL_AFTER_S} seconds."
        )


def packet_filter(fault: Fault, ssh_port: int) -> str:
    """Return the rules of an isolated host for nft. SSH to this host is let through first, from any address."""
    lines = []
    for chain, way, port, end in (("input", "in", "dport", "saddr"), ("output", "out", "sport", "daddr")):
        if fault.direction not in ("both", way):
            continue
        rules = [f"tcp {port} {ssh_port} accept"]
        for family, version in (("ip", 4), ("ip6", 6)):
            found = [peer for peer in fault.peers if ipaddress.ip_address(peer).version == version]
            if found and version == 6:  # as ARP, which is no IP, and without which the other direction would end too
                rules.append("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept")
            if found:
                rules.append(f"{family} {end} {{ {', '.join(found)} }} drop")
        hook = f"type filter hook {chain} priority -10; policy accept;"
        lines += [f" chain {chain} {{", f"  {hook}", *(f"  {rule}" for rule in rules), " }"]
    return "\n".join([f"table inet {TABLE} {{", *lines, "}", ""])


def drop_in(unit: str) -> str:
    """Return the path of the file that keeps systemd from starting a killed unit again."""
    return f"/run/systemd/system/{unit}.d/consulops-drill.conf"


DROP_IN = "[Service]\nRestart=no\n"


def heal_script(fault: Fault) -> str:
    """Return the script that heals a fault. Without a marker it does nothing, so it may run at any time and more than once."""
    steps = {
        **{name: disk_fault.heal_steps(name) for name in disk_fault.FAULTS},
        "isolated": [f"if nft list table inet {TABLE} >/dev/null 2>&1; then nft delete table inet {TABLE}; fi"],
        "paused": [f"systemctl kill -s CONT {fault.unit}"],
        "stopped": [f"systemctl start --no-block {fault.unit}"],
        "killed": [
            f"rm -f {drop_in(fault.unit)}",
            f"rmdir {drop_in(fault.unit).rpartition('/')[0]} 2>/dev/null || :",
            "systemctl daemon-reload",
            f"systemctl reset-failed {fault.unit} 2>/dev/null || :",
            f"systemctl start --no-block {fault.unit}",
        ],
    }[fault.fault]
    return "\n".join(
        [
            "#!/bin/sh",
            f"# Heals the fault of the drill {fault.drill}: {fault}.",
            "set -e",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            f"test -e {MARKER} || exit 0",
            *steps,
            f'echo "{fault.drill} $(date +%s.%N) $(cut -d" " -f1 /proc/uptime)" > {HEALED}',
            f"rm -f {MARKER} {SCRIPT}",
            f"systemctl stop {TIMER}.timer 2>/dev/null || :",
            "",
        ]
    )


def arm_command(heal_after_s: int) -> list[str]:
    """Return the command that lets systemd run the script later, and again if it fails, whoever is gone by then."""
    return [
        *("systemd-run", "--quiet", "--collect", f"--unit={TIMER}", f"--on-active={heal_after_s}s"),
        *("--timer-property=AccuracySec=100ms", "--property=Type=oneshot"),
        *("--property=Restart=on-failure", "--property=RestartSec=2s", "/bin/sh", SCRIPT),
    ]


def put_steps(fault: Fault, ssh_port: int) -> list[Step]:
    """Return what puts the fault on the host, in order. The last step makes the fault, those before it prepare it."""
    if fault.fault in disk_fault.FAULTS:
        return disk_fault.put_steps(fault.fault, fault.path, fault.leave_free)
    if fault.fault == "isolated":
        return [Step(("nft", "-f", "-"), packet_filter(fault, ssh_port))]
    if fault.fault == "paused":
        return [Step(("systemctl", "kill", "-s", "STOP", fault.unit))]
    if fault.fault == "stopped":
        return [Step(("systemctl", "stop", fault.unit))]
    return [
        Step(("install", "-D", "-m", "644", "/dev/stdin", drop_in(fault.unit)), DROP_IN),
        Step(("systemctl", "daemon-reload")),
        Step(("systemctl", "kill", "-s", "KILL", fault.unit)),
    ]
