# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A callback of Ansible that reports nothing: loading it makes ansible-playbook pack byte code with modules, see packing.py."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible.plugins.callback import CallbackBase

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.lab import packing

DOCUMENTATION = """
name: byte_code
type: aggregate
short_description: Packs byte code with modules
description:
  - Reports nothing. While it is loaded, the hosts of the tests get modules with byte code.
"""


class CallbackModule(CallbackBase):
    """Ansible loads it before it forks the processes that pack modules."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "byte_code"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        packing.install()
