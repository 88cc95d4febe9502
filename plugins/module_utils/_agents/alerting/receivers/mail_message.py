# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A notification as a mail: plain text and HTML, stable identities, one thread for each incident. Pure."""

from __future__ import annotations

import datetime
import email.message
import email.policy
import email.utils
import hashlib
import typing as t
from dataclasses import dataclass

from ..notification import FIRING, Notification
from .message_fields import incident_key, shortened
from .receiver import Rendered

SUBJECT_LIMIT = 200
REFERENCES_LIMIT = 20
# Seven bits, so that every server takes it; CRLF as on the wire.
WIRE_POLICY = email.policy.SMTP.clone(cte_type="7bit")


@dataclass(frozen=True)
class Envelope:
    """Who a mail is from and to; ``sender`` and ``recipients`` as they are written in headers."""

    sender: str
    recipients: tuple[str, ...]
    reply_to: str = ""

    @property
    def sender_address(self) -> str:
        """The address for MAIL FROM."""
        return email.utils.parseaddr(self.sender)[1]

    @property
    def domain(self) -> str:
        """The domain of the sender, which message identities end in."""
        return self.sender_address.rpartition("@")[2]


def compose(notification: Notification, words: Rendered, envelope: Envelope) -> bytes:
    """Return the mail as it goes over the wire. Composed again, it is the same, so that programs can tell a repetition."""
    message = email.message.EmailMessage(policy=WIRE_POLICY)
    message["From"] = envelope.sender
    message["To"] = ", ".join(envelope.recipients)
    if envelope.reply_to:
        message["Reply-To"] = envelope.reply_to
    message["Subject"] = _subject(_clean(" ".join(words.subject.split())))
    message["Date"] = datetime.datetime.fromtimestamp(int(notification.time), datetime.timezone.utc)
    message["Message-ID"] = f"<{_digest(notification.id)}@{envelope.domain}>"
    # Every mail about an incident refers to the incident's own identity, and so mail programs show them as one thread.
    incidents = list(dict.fromkeys(incident_key(alert) for alert in notification.alerts))
    references = [f"<{incident}@{envelope.domain}>" for incident in incidents[:REFERENCES_LIMIT]]
    if references:
        message["References"] = " ".join(references)
        message["In-Reply-To"] = references[0]
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834, against answers of absent people
    message["X-Auto-Response-Suppress"] = "All"  # the same for Exchange
    if notification.severity == "critical" and any(alert.status == FIRING for alert in notification.alerts):
        message["Importance"] = "high"
    message.set_content(_clean(words.text) or " ")
    if words.html:
        message.add_alternative(_clean(words.html), subtype="html")
        _fix_boundary(message, _digest(notification.id))
    return bytes(message)


def is_address(text: t.Any) -> bool:
    """Return whether a text is a mail address, with or without a name, that goes into a header."""
    if not isinstance(text, str) or not text.isprintable():
        return False
    address = email.utils.parseaddr(text)[1]
    local, at, domain = address.rpartition("@")
    return bool(local and at and domain and address.isascii() and " " not in address)


def _subject(text: str) -> str:
    """Return a subject that has no more than SUBJECT_LIMIT characters as it is read.

    Where it is folded before encoded words, the library writes a space twice.
    """
    limit = SUBJECT_LIMIT
    while True:
        shown = shortened(text, limit)
        header = WIRE_POLICY.header_factory("Subject", shown).fold(policy=WIRE_POLICY)
        surplus = len(email.message_from_string(header, policy=email.policy.default)["Subject"]) - SUBJECT_LIMIT
        if surplus <= 0:
            return shown
        limit -= surplus


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _clean(text: str) -> str:
    """Return a text without halves of surrogate pairs, which cannot be encoded."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _fix_boundary(message: email.message.EmailMessage, digest: str) -> None:
    """Use a boundary that is the same each time; the library's own is random."""
    message.set_boundary(f"=={digest}==")
