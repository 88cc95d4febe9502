# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a file of rules/ provides: rules of one subject, how their data is read, and how it is judged."""

from __future__ import annotations

import typing as t

from .judging import Judging
from .reader import Reader
from .rule import Rule


class Reading(t.NamedTuple):
    """One part of what is read. ``what`` names it in sentences about what could not be read.

    ``collect`` sends the requests and adds parts to the reader's observation. It raises a ConsulError. It is called when one of
    ``rules`` is on, always if there are none. ``only_named``: one of them must be on because an entry names it.
    """

    what: str
    collect: t.Callable[[Reader], None]
    rules: tuple[str, ...] = ()
    only_named: bool = False


class RuleGroup(t.NamedTuple):
    """Rules of one subject. ``judge`` is pure: it reads the observation of what it is given and adds findings.

    With ``needs_leader`` the group is neither read nor judged while the datacenter has no leader.
    """

    rules: tuple[Rule, ...]
    judge: t.Callable[[Judging], None]
    readings: tuple[Reading, ...] = ()
    needs_leader: bool = False
