# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jira Service Management: alerts of its operations by the integration events API, the successor of Opsgenie.

Options: ``api_key_file`` or ``api_key_credential`` (of an API integration); ``url``; ``responders``, ``tags``, ``timeout``, ``proxy``
and TLS options as for Opsgenie. This API has no field for the priority: the integration's rules set it, for example by the tag
with the severity.
Source: https://developer.atlassian.com/cloud/jira/service-desk-ops/rest/v1/api-group-integration-events
"""

from __future__ import annotations

import typing as t

from .opsgenie import API, Opsgenie
from .options import HTTP, Options, spec
from .receiver import Receiver, ReceiverContext

SPEC = spec(HTTP, API, url={"type": "str", "default": "https://api.atlassian.com/jsm/ops/integration"})


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return Opsgenie(Options(name, options, context), context)
