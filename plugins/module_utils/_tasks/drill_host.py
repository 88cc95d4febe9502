# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs on a host during a drill: answers requests on standard input, one line of JSON each, until that ends.

The controller sends it there as an archive (``host_program``). A host where it dies or is cut off heals by the timer of its fault.
"""

from __future__ import annotations

import json
import sys
import time
import typing as t

from .._config.validation import validated
from .._consul.errors import Error
from .drill_fault import DRILL_FAULT
from .task import Invocation

CLOCK, FAULT = "clock", "fault"  # what may be asked


def serve() -> None:
    """Answer until standard input ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # an answer is the only thing that may stand between two others
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


def _answer(request: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    if request["do"] == CLOCK:
        return {"result": time.clock_gettime_ns(time.CLOCK_BOOTTIME)}
    try:
        options = validated(DRILL_FAULT.spec, request["options"])
        return {"result": DRILL_FAULT.run(Invocation(options, bool(request["check_mode"])))}
    except Error as error:
        return {"error": str(error)}
