# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``consulops alert``: test-receiver."""

from __future__ import annotations

import argparse
import os
import socket

from ..._config import credentials
from ..._consul.errors import InvalidOption
from .. import agent_access, arguments
from .base import Command, Outcome, Result


def _test_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("receiver", metavar="NAME", help="the receiver, as the configuration names it")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=arguments.file_name,
        required=True,
        help="the configuration of the alerting agent",
    )
    parser.add_argument(
        "--resolved", action="store_true", help="report the end of the test, which closes what a test has opened"
    )


def _test(options: argparse.Namespace) -> Outcome:
    from ..._agents.alerting import config as alerting_config
    from ..._agents.alerting.agent import ALERTING, OPTIONS_PATH
    from ..._agents.alerting.receivers.registry import RECEIVERS
    from ..._agents.alerting.trial import send_trial, trial_notification
    from ..._daemon import agent_config

    environ = credentials.with_credentials(os.environ)
    config = agent_config.read_config(options.config, environ, {agent_access.ALERTING: ALERTING})
    receivers = alerting_config.make_alerting_config(config.options, RECEIVERS, path=OPTIONS_PATH).receivers
    if options.receiver not in receivers:
        raise InvalidOption(
            f"{options.config}: there is no receiver {options.receiver!r}; there are {', '.join(sorted(receivers))}."
        )
    notification = trial_notification(
        options.receiver,
        socket.gethostname(),
        config.connection.datacenter or "test",
        agent_access.now(),
        resolved=options.resolved,
    )
    try:
        result: Result = send_trial(receivers[options.receiver], notification, environ)
    except InvalidOption as error:
        raise InvalidOption(f"{options.config}: {error}") from None
    return Outcome(result, _lines(result))


def _lines(result: Result) -> list[str]:
    answer = f": {result['answer']}" if result["answer"] else ""
    return [
        f"{result['receiver']} ({result['type']}) took the test notification within {result['seconds']:.1f} s{answer}"
    ]


COMMANDS = (
    Command(
        "test-receiver",
        "send one test notification through a receiver, and wait for the outcome",
        _test,
        _test_arguments,
    ),
)
