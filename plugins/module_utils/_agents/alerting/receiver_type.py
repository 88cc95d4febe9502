# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the configuration needs to know of a type of receivers. The modules of receivers/ are of this form."""

from __future__ import annotations

import typing as t

from ..._config.validation import Spec


class ReceiverType(t.Protocol):
    """A type of receivers. ``SPEC`` describes its options; ``type``, ``template`` and ``send_resolved`` are those of all types."""

    @property
    def SPEC(self) -> Spec:
        """The spec of the options."""
