# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A test notification: clearly marked, sent through a receiver of a configuration as the agent would send it. For the command."""

from __future__ import annotations

import time
import typing as t

from ..._consul.errors import InvalidOption
from .agent import OPTIONS_PATH, make_receiver
from .config import ReceiverConfig
from .notification import FIRING, RESOLVED, Alert, Notification
from .receivers.receiver import DeliveryFailed

RULE = "test_notification"
SENDS_NOTHING = {"prometheus": "it shows alerts on the agent's endpoint"}


class TrialFailed(DeliveryFailed):
    """A receiver did not take the test notification. The sentence is that of the receiver."""


def trial_notification(receiver: str, instance: str, datacenter: str, now: float, *, resolved: bool) -> Notification:
    """Return the notification. All that are sent to a receiver are of one episode, so ``resolved`` closes what another opened."""
    alert = Alert(
        key=f"{datacenter}/{RULE}/{receiver}",
        episode=f"{RULE}-{receiver}",
        status=RESOLVED if resolved else FIRING,
        severity="warning",
        rule=RULE,
        datacenter=datacenter,
        summary=f"TEST of the receiver {receiver}, sent by hand on {instance}: nothing is wrong",
        since=now,
        output="This is a test.",
        advice="Nothing needs to be done.",
        ended=now if resolved else None,
        reason="recovered" if resolved else "",
    )
    return Notification(
        id=f"{RULE}-{receiver}-{int(now * 1000)}",
        receiver=receiver,
        kind="resolved" if resolved else "firing",
        alerts=(alert,),
        time=now,
        group={"rule": RULE},
        instance=instance,
    )


def send_trial(config: ReceiverConfig, notification: Notification, environ: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Send a notification, once and at once, and return what became of it.

    Raises TrialFailed, and InvalidOption if the receiver cannot be made, for want of a secret for example.
    """
    if config.type in SENDS_NOTHING:
        raise InvalidOption(
            f"{OPTIONS_PATH}.receivers.{config.name}: a receiver of type {config.type} is sent nothing, "
            f"because {SENDS_NOTHING[config.type]}."
        )
    receiver, started = make_receiver(config, environ, notification.instance), time.monotonic()
    try:
        receiver.send(notification)
    except DeliveryFailed as error:
        raise TrialFailed(f"The receiver {config.name} did not take the test notification: {error}") from None
    finally:
        receiver.close()
    return {
        "receiver": config.name,
        "type": config.type,
        "status": notification.alerts[0].status,
        "notification": notification.id,
        "answer": receiver.answer,
        "seconds": round(time.monotonic() - started, 3),
    }
