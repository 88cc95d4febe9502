# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry of agent types: an agent pays for no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.registry import AGENT_TYPES
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._daemon.agent_config import make_config

UTILS = "ansible_collections.consulops.failover.plugins.module_utils"
PROGRAM = f"""
import json, sys
from {UTILS}._agents.registry import AGENT_TYPES
from {UTILS}._daemon.agent_config import make_config
make_config(json.loads(sys.argv[1]), {{}}, AGENT_TYPES)
start = "{UTILS}._agents."
print(*sorted({{name[len(start):].split(".")[0] for name in sys.modules if name.startswith(start)}} - {{"registry"}}))
print(*sorted({{"cronsim", "hcl2"}} & set(sys.modules)))
"""
SET = {"source": {"datacenter": "dc1"}, "destination": {"datacenter": "dc2"}, "prefixes": ["app/"]}
LEAST: dict[str, tuple[dict[str, t.Any], str]] = {
    "alerting": ({"receivers": {"log": {"type": "file", "path": "/log"}}, "route": {"receiver": "log"}}, ""),
    "replication": ({"sets": {"app": SET}}, ""),
    "snapshot": ({"policies": {"a": {"interval": "1h", "destinations": {"a": {"url": "/snapshots"}}}}}, "cronsim"),
}


@pytest.mark.parametrize("name", LEAST)
def test_an_agent_imports_no_other_agent_and_no_library_of_others(name: str) -> None:
    options, libraries = LEAST[name]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps({"agent": name, "options": options})],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == f"{name}\n{libraries}\n"


def test_every_type_is_known_by_its_name_and_others_are_refused() -> None:
    assert set(LEAST) == set(AGENT_TYPES) and len(AGENT_TYPES) == len(LEAST)
    assert all(one.spec for one in AGENT_TYPES.values())
    wrong: t.Any
    for wrong in ("watch", 1, None, []):
        with pytest.raises(InvalidOption, match="agent"):
            make_config({"agent": wrong}, {}, AGENT_TYPES)
