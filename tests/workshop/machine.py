# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds out what this machine lacks before the first test runs, and installs what apt can install.

``python3 tests/workshop/machine.py [STAGE...]`` is the first thing that make runs. It uses the standard library only, for
it runs before there is a virtual environment. ``run.py`` asks it again which stages cannot run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.workshop import debian  # noqa: E402

OLDEST_PYTHON = (3, 11)  # ansible-core 2.19 needs it on the controller
# Program on PATH -> Debian package that has it.
BASE_PROGRAMS = {"git": "git"}
HOST_PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "bridge": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "ps": "procps",
    "mount": "mount",
    "nsenter": "util-linux",
}
OLDEST_JAVA = 17
EDA_PROGRAMS = {"java": "openjdk-17-jre-headless"}
SCENARIOS = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
# What a stage needs beside Python.
NEEDS = {
    "integration": ("consul", "alertmanager", "prometheus", "age"),
    "py-consul": ("consul",),
    "python-consul": ("consul",),
    "pythons": ("consul", "pythons"),
    "hosts": ("consul", "hosts"),
    "eda": ("consul", "java"),
    **{f"molecule-{scenario}": ("consul", "hosts") for scenario in SCENARIOS},
}


def main(stages: t.Sequence[str]) -> int:
    """Install what is missing, say what stays missing, and return 1 if the run must not start."""
    everything = not stages
    stages = stages or list(NEEDS)
    needs = {need for stage in stages for need in NEEDS.get(stage, ())}
    install(packages_for(needs))
    problem = base_problem()
    if problem:
        print(problem, file=sys.stderr)
        return 1
    missing = stages_that_cannot_run(stages)
    for line in not_run_lines(missing):
        print(f"-- {line}")
    if missing and os.environ.get("CI"):
        print("CI is set, so every stage must run: this run fails before its first test.", file=sys.stderr)
        return 1
    return 1 if missing and not everything else 0


def packages_for(needs: t.Collection[str]) -> list[str]:
    """Return the Debian packages whose programs are not here: what every stage needs, and what ``needs`` name."""
    wanted = {
        **BASE_PROGRAMS,
        **(HOST_PROGRAMS if "hosts" in needs else {}),
        **(EDA_PROGRAMS if "java" in needs else {}),
    }
    packages = {package for program, package in wanted.items() if not shutil.which(program)}
    if not _has_venv():
        packages.add("python3-venv")
    return sorted(packages)


def install(packages: t.Sequence[str]) -> None:
    """Install packages with apt if this is root on a machine with apt; say so. Failures show in what is still missing."""
    if not packages or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    print(f"-- installing with apt-get, once: {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = ROOT / ".cache" / "logs" / "apt.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
            done = subprocess.run(
                ["apt-get", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
    if done.returncode != 0:
        print(f"-- apt-get failed; see {log.relative_to(ROOT)}", file=sys.stderr)


def base_problem() -> str | None:
    """Return why not even the stages without any needs can run, or None."""
    if sys.version_info < OLDEST_PYTHON:
        version = ".".join(map(str, sys.version_info[:2]))
        return f"Python 3.11 or later is needed, and this is {version}: make test PYTHON=/path/to/python3.11"
    if not _has_venv():
        return "Python's venv and ensurepip are needed: apt-get install python3-venv"
    missing = sorted(program for program in BASE_PROGRAMS if not shutil.which(program))
    return f"Programs are missing: apt-get install {' '.join(missing)}" if missing else None


def stages_that_cannot_run(stages: t.Iterable[str]) -> dict[str, str]:
    """Return those of ``stages`` that cannot run on this machine, and why. Fetches what they need into the cache."""
    problems = {
        "consul": _consul_problem,
        "alertmanager": _alertmanager_problem,
        "prometheus": _prometheus_problem,
        "age": _age_problem,
        "pythons": _pythons_problem,
        "hosts": hosts_problem,
        "java": java_problem,
    }
    needs = {stage: NEEDS[stage] for stage in stages if stage in NEEDS}
    found = {need: problems[need]() for need in sorted({need for wanted in needs.values() for need in wanted})}
    reasons = {stage: [reason for need in wanted if (reason := found[need])] for stage, wanted in needs.items()}
    return {stage: reason[0] for stage, reason in reasons.items() if reason}


def not_run_lines(missing: t.Mapping[str, str]) -> list[str]:
    """Return one line for each reason: the stages that do not run, and the command that runs them."""
    lines = []
    for reason in dict.fromkeys(missing.values()):
        stages = [stage for stage, why in missing.items() if why == reason]
        targets = " ".join(dict.fromkeys(stage.split("-")[0] if "molecule" in stage else stage for stage in stages))
        root = "sudo " if os.geteuid() != 0 and {"hosts", "molecule"} & set(targets.split()) else ""
        lines.append(f"not run here: {', '.join(stages)}. {reason} To run them: {root}make {targets}")
    return lines


def hosts_problem() -> str | None:
    """Return why systemd hosts cannot be booted here, or None."""
    packages = sorted({package for program, package in HOST_PROGRAMS.items() if not shutil.which(program)})
    if os.geteuid() != 0:
        return "Booting test hosts needs root (network namespaces, mounts, systemd-nspawn)."
    if packages:
        return f"Booting test hosts needs programs that are not here: apt-get install {' '.join(packages)}."
    if not can_mount():
        return "Booting test hosts needs a root that may make namespaces and mounts, which this container forbids."
    return None


def java_problem() -> str | None:
    """Return why ansible-rulebook cannot run here, or None."""
    if not shutil.which("java"):
        return f"ansible-rulebook needs Java 17: apt-get install {EDA_PROGRAMS['java']}."
    # It is printed on standard error: openjdk version "17.0.15" 2025-04-15
    done = subprocess.run(["java", "-version"], stderr=subprocess.PIPE, text=True, check=False)
    version = re.search(r'version "(\d+)', done.stderr)
    if version is None or int(version[1]) < OLDEST_JAVA:
        return f"ansible-rulebook needs Java {OLDEST_JAVA}, and java on PATH is older: apt-get install {EDA_PROGRAMS['java']}."
    return None


def can_mount() -> bool:
    """Return whether this process may make network namespaces and mounts: root inside many containers may not."""
    if os.geteuid() != 0:
        return False
    probe = ["unshare", "--net", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode == 0


def _has_venv() -> bool:
    # Debian's python3 has the module venv, but not what puts pip into one.
    probe = [sys.executable, "-c", "import ensurepip, venv"]
    return subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode == 0


def _consul_problem() -> str | None:
    try:
        debian.consul()
    except debian.CannotFetch as error:
        return f"{error} {debian.CONSUL_HELP}."
    return None


def _alertmanager_problem() -> str | None:
    try:
        debian.alertmanager()
    except debian.CannotFetch as error:
        return f"{error} {debian.ALERTMANAGER_HELP}."
    return None


def _prometheus_problem() -> str | None:
    try:
        debian.prometheus()
    except debian.CannotFetch as error:
        return f"{error} {debian.PROMETHEUS_HELP}."
    return None


def _age_problem() -> str | None:
    try:
        debian.age()
    except debian.CannotFetch as error:
        return f"{error} {debian.AGE_HELP}."
    return None


def _pythons_problem() -> str | None:
    try:
        for wanted in (debian.OLDEST, debian.NEW):
            debian.python(wanted)
    except debian.CannotFetch as error:
        return f"{error} {debian.PYTHON_HELP}."
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
