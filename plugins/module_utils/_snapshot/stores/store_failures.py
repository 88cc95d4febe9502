# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Maps what obstore says of a failed request to one typed error, with the store's own words and what can be done.

obstore has a text and no fields, so the text is read: the status, and the code and message in the store's XML or JSON.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .errors import StoreDenied, StoreError, StoreFailed, StoreUnreachable

MAX_SHOWN_CHARACTERS = 200

# What credentials need for each kind of request, in the words of the provider.
_RIGHTS: t.Mapping[str, t.Mapping[str, str]] = {
    "s3": {
        "write": "s3:PutObject",
        "list": "s3:ListBucket",
        "read": "s3:GetObject",
        "delete": "s3:DeleteObject",
        "lock": "s3:PutObjectRetention",
    },
    "gs": {
        "write": "storage.objects.create",
        "list": "storage.objects.list",
        "read": "storage.objects.get",
        "delete": "storage.objects.delete",
    },
    "az": {
        "write": "Microsoft.Storage/…/blobs/write",
        "list": "Microsoft.Storage/…/blobs/read",
        "read": "Microsoft.Storage/…/blobs/read",
        "delete": "Microsoft.Storage/…/blobs/delete",
    },
}
_DOING = {
    "write": "storing",
    "list": "listing",
    "read": "reading",
    "delete": "deleting",
    "lock": "setting the retention of",
}
# The store does not know the credentials, so no right of theirs is missing.
_WRONG_CREDENTIALS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "RequestTimeTooSkewed",
    "NoAuthenticationInformation",
)
_NO_OBJECT_LOCK = ("InvalidRequest", "ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration")
_ADVICE = {
    "NoSuchBucket": "there is no such bucket: create it, or correct the URL, region or endpoint",
    "ContainerNotFound": "there is no such container: create it, or correct the URL or account",
    "RequestTimeTooSkewed": "the clock of this host is wrong: correct it",
    "ExpiredToken": "the credentials have expired: renew them",
    "PermanentRedirect": "the bucket is in another region: set region",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set region",
}
# (part of the text, what it means)
_CONNECTION = (
    ("InvalidCertificate(", "its TLS certificate is not trusted here ({found}): name the authority with ca_file"),
    ("InvalidContentType", "that port does not speak TLS: correct endpoint"),
    ("dns error", "its name is not known: correct endpoint or region"),
    ("ConnectionRefused", "it refuses the connection: is it running, and is endpoint right?"),
    ("TimedOut", "it did not answer in time"),
    ("ConnectionReset", "it cut the connection"),
    ("BrokenPipe", "it cut the connection"),
    ("IncompleteMessage", "it cut the connection"),
    ("UnexpectedEof", "it cut the connection"),
)
# Where the identity of the platform is asked for: EC2, Google Compute Engine, Azure.
_IDENTITY = re.compile(r"/latest/(api/token|meta-data)|/computeMetadata/|/metadata/identity")


@dataclass(frozen=True)
class Attempt:
    """What was tried: on which store, ``right`` (write, list, read, delete or lock), and the object's name ("" for a list)."""

    scheme: str
    shown: str
    right: str
    name: str = ""

    def __str__(self) -> str:
        return f"{_DOING[self.right]} {self.name + ' in ' if self.name else ''}{self.shown}"


def failure(attempt: Attempt, text: str, *, denied: bool = False) -> StoreError:
    """Return the error for what obstore said. ``denied``: it is known to be a refusal of the credentials."""
    head = text.split("\n\nDebug source:")[0]
    status = _number(r"status code: (\d{3})", head) or _number(r"status: (\d{3})", text)
    code = _match(r"<Code>\s*([^<]+?)\s*</Code>", text) or _match(r"\(code: (\w+)\)", text)
    message = _match(r"<Message>\s*([^<]+?)\s*(?:\n|</Message>|\\n)", text) or ""
    said = " ".join(
        filter(None, (str(status or ""), code, f"({message[:MAX_SHOWN_CHARACTERS].rstrip('.')})" if message else ""))
    )
    start = f"{attempt}: "
    if _IDENTITY.search(head):
        return StoreDenied(
            f"{start}no credentials were given, and this host has no identity of the platform: set credentials_file, or the "
            "provider's environment variables."
        )
    if attempt.right == "lock" and status != 403 and code in _NO_OBJECT_LOCK:
        return StoreError(f"{start}the store says {said}: has the bucket Object Lock? It gets it when it is made.")
    if code in _ADVICE:
        known: type[StoreError] = StoreDenied if code in _WRONG_CREDENTIALS else StoreError
        return known(f"{start}the store says {said}: {_ADVICE[code]}.")
    # Azure says AuthorizationFailure both of a wrong key and of a right that is missing.
    if code in _WRONG_CREDENTIALS or status == 401 or "failed to authenticate" in message:
        return StoreDenied(f"{start}the store says {said}: it does not accept the credentials. Correct them.")
    if denied or status == 403 or code == "AccessDenied":
        right = _RIGHTS[attempt.scheme][attempt.right]
        return StoreDenied(f"{start}the store says {said}: the credentials need {right} there.", attempt.right)
    if status is not None and status >= 500:
        return StoreFailed(f"{start}the store says {said}, also when asked again. Try again when it is well.")
    if status is not None:
        return StoreError(f"{start}the store says {said}. Correct the options, or ask its operator.")
    for part, meaning in _CONNECTION:
        if part in text:
            found = _match(r"InvalidCertificate\(\s*(\w+)", text) or ""
            sentence = f"{start}{meaning.format(found=found)}"
            return StoreUnreachable(sentence if sentence.endswith("?") else f"{sentence}.")
    return StoreUnreachable(f"{start}{' '.join(head.split())[:MAX_SHOWN_CHARACTERS].rstrip('.')}.")


def _match(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


def _number(pattern: str, text: str) -> int | None:
    found = _match(pattern, text)
    return int(found) if found else None
