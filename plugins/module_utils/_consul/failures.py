# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Maps what went wrong with a request to one typed error of errors.py, with Consul's own words and advice.

Used by client.py, response.py and library.py.
"""

from __future__ import annotations

import re
import typing as t

from . import errors
from ._libraries import requests, urllib3
from .endpoint import Endpoint

MAX_SHOWN_CHARACTERS = 300  # of an error body in a message


def excerpt(body: bytes, endpoint: Endpoint) -> str:
    """Return the start of a body as one line of text, without the endpoint's secrets."""
    text = " ".join(body[: 4 * MAX_SHOWN_CHARACTERS].decode("utf-8", "replace").split())
    text = endpoint.redact(text)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "…"


def root_reason(error: BaseException) -> str:
    """Return the innermost reason of nested connection errors, without object addresses."""
    innermost = error
    for _level in range(8):
        inner = getattr(innermost, "reason", None) or (innermost.args[-1] if innermost.args else None)
        if not isinstance(inner, BaseException):
            inner = innermost.__cause__
        if inner is None or inner is innermost:
            break
        innermost = inner
    text = getattr(innermost, "strerror", None) or str(innermost) or type(innermost).__name__
    return re.sub(r"<[^>]*>:? ?", "", str(text)).strip().rstrip(".")


# ---------------------------------------------------------------------------------------------------------------
# Without a response

_UNTRUSTED = "its certificate is not signed by an authority trusted here: name the right one with ca_path"
_NOT_TLS = "that port does not speak TLS: use http:// or the HTTPS port (8501)"

TLS_ADVICE = (
    # (part of OpenSSL's message, advice)
    ("certificate has expired", "its certificate has expired: renew the certificate of that Consul agent"),
    ("not yet valid", "its certificate is not valid yet: compare the clocks of both hosts"),
    ("self-signed certificate", _UNTRUSTED),
    ("unable to get local issuer", _UNTRUSTED),
    (
        "match",
        "its certificate is for another name: set tls_server_name (Consul's own is server.<datacenter>.consul)",
    ),
    (
        "unknown ca",
        "it does not trust the authority of client_cert: use a certificate signed by an authority it trusts",
    ),
    ("certificate required", "it asks for a client certificate: set client_cert and client_key"),
    ("bad certificate", "it refused or missed the client certificate: set client_cert and client_key"),
    ("wrong version number", _NOT_TLS),
    ("record layer", _NOT_TLS),
)


def of_connection(
    error: Exception, request_line: str, endpoint: Endpoint, read_timeout_s: float
) -> errors.Unreachable | errors.InvalidOption:
    """Return the typed error for a request that got no response."""
    failure = _of_connection(error, request_line, endpoint, read_timeout_s)
    if isinstance(failure, errors.Unreachable) and _is_without_connection(error):
        failure.was_sent = False
    return failure


def _is_without_connection(error: BaseException) -> bool:
    """Return whether a failure, or one that it wraps, says that no connection came about."""
    for _level in range(8):
        if isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)):
            return True
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            return False
        error = inner
    return False


def _of_connection(
    error: Exception, request_line: str, endpoint: Endpoint, read_timeout_s: float
) -> errors.Unreachable | errors.InvalidOption:
    reason = root_reason(error)
    tls = endpoint.base_url.startswith("https:")
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader)):
        return errors.InvalidOption(f"{request_line}: {reason}.")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return errors.TimedOut(f"{request_line}: no connection within {endpoint.timeout_s:g} s. Is the address right?")
    if isinstance(error, requests.exceptions.ReadTimeout) or "timed out" in reason.lower():
        return errors.TimedOut(
            f"{request_line}: no answer within {read_timeout_s:g} s. The agent accepts connections but does not respond."
        )
    if tls and (isinstance(error, requests.exceptions.SSLError) or "alert" in reason.lower()):
        lowered = reason.replace("self signed", "self-signed").lower()
        advice = next((advice for words, advice in TLS_ADVICE if words in lowered), "check certificates and address")
        return errors.TLSFailed(f"{request_line}: TLS failed ({reason}); {advice}.")
    advice = "Is the Consul agent running there?"
    if "reset" in reason.lower() or "closed connection" in reason.lower():
        advice = "The agent closed the connection without a response; if that port speaks TLS, use https://."
    return errors.Unreachable(f"{request_line}: {reason}. {advice}")


# ---------------------------------------------------------------------------------------------------------------
# With a response


def of_status(
    status: int, body: bytes, headers: t.Mapping[str, str], request_line: str, endpoint: Endpoint
) -> errors.ConsulError:
    """Return the typed error for a response whose status was not expected."""
    text = _VERSIONS_WORDS.sub("", excerpt(body, endpoint))
    error_type, advice = _classified(status, text, headers, endpoint)
    found = denial(text)
    if found is not None and error_type is errors.PermissionDenied:
        sentence = f"{request_line}: {status} {DENIED}."
        return errors.PermissionDenied(
            sentence, status, found.reason, found.missing, found.accessor_id, found.is_anonymous
        )
    unknown = _UNKNOWN_TO_AGENT.match(text)
    if unknown is not None and error_type is errors.NotFound:
        words = f"Unknown {unknown['what'].lower()} {unknown['name']}"
        return errors.NotFound(f"{request_line}: {words}.", status, words)
    sentence = f"{request_line}: {status} {text or '(no text)'}. {advice}".replace(".. ", ". ").rstrip()
    return error_type(sentence, status, text)


# What only some versions put around the same words.
_VERSIONS_WORDS = re.compile(r"^apply failed: | See https?://\S+$")
DENIED = "Permission denied"
# A check or service that the agent does not know: 500 and the bare name on 1.8.7, 404 and advice on 1.23-dev.
_UNKNOWN_TO_AGENT = re.compile(
    r"unknown (?P<what>check|service)(?: id)? \{?(?P<name>\"(?:[^\"\\]|\\.)*\")", re.IGNORECASE
)
# Newer versions say whose permission is missing, and which. Seen on 1.23-dev, but for "provided token": Consul's acl/errors.go
# says that where it has no accessor ID.
_DENIAL = re.compile(
    r"permission denied: (?:token with AccessorID '(?P<accessor>[^']*)'|provided token|(?P<anonymous>anonymous token)) "
    r"lacks permission "
    r"'(?P<permission>[^']*)'(?: on (?P<resource>\"(?:[^\"\\]|\\.)*\"))?",
    re.IGNORECASE,
)


class Denial(t.NamedTuple):
    """What a newer Consul says of a denied request: the permission, for example ``key:write on "app/b"``, and the token's accessor ID."""

    missing: str
    accessor_id: str
    is_anonymous: bool

    @property
    def reason(self) -> str:
        """The reason in a few words: without the accessor ID, and without the key, which the reader knows."""
        return f"{DENIED}: the token lacks {self.missing.partition(' ')[0]}"


def denial(consul_message: str) -> Denial | None:
    """Return what Consul says of a denied request, None where it says no more than that it is denied."""
    match = _DENIAL.search(consul_message)
    if match is None:
        return None
    resource = f" on {match['resource']}" if match["resource"] else ""
    return Denial(match["permission"] + resource, match["accessor"] or "", match["anonymous"] is not None)


def _classified(
    status: int, consul_message: str, headers: t.Mapping[str, str], endpoint: Endpoint
) -> tuple[type[errors.ConsulError], str]:
    lowered = consul_message.lower()
    if "location" in {name.lower() for name in headers} or 300 <= status < 400:
        target = headers.get("Location", "elsewhere")
        return (
            errors.InvalidResponse,
            f"It redirects to {target}, which is not followed because the token would go along.",
        )
    if "no path to datacenter" in lowered:
        return (
            errors.UnknownDatacenter,
            f"That agent knows no datacenter {endpoint.datacenter!r}: check with consul members -wan.",
        )
    if "no cluster leader" in lowered or "no leader" in lowered:
        return errors.NoLeader, "Consul has no leader now: check with consul operator raft list-peers."
    if re.search(
        r"rpc error.*(failed to get conn|connection refused|no route|i/o timeout|eof|connection reset|broken pipe)",
        lowered,
    ):
        return (
            errors.NoLeader,
            "The server that this agent forwards requests to does not answer: an election may be under way.",
        )
    if "acl not found" in lowered:
        return (
            errors.PermissionDenied,
            "Consul does not know the token: was it deleted, or does it belong to another datacenter?",
        )
    if status in (401, 403) or "permission denied" in lowered:
        return errors.PermissionDenied, "" if endpoint.token else "No token was given."
    if "invalid session ttl" in lowered:
        return errors.Rejected, "The servers' session_ttl_min and session_ttl_max allow no other."
    # Of a check or service of an agent; 1.8.7 says it with 500.
    if status == 404 or re.match(r"unknown (check|service)\b", lowered):
        return errors.NotFound, ""
    if status == 409:
        return errors.Conflict, "Nothing was written."
    if status == 413 or "exceeds" in lowered and "limit" in lowered:
        return errors.RequestTooLarge, ""
    if status == 429 or "rate limit" in lowered or "too many" in lowered:
        return errors.TooManyRequests, "Consul limits requests: try again later or send fewer at once."
    if "client sent an http request to an https server" in lowered:
        return errors.InvalidResponse, "That port speaks TLS: use https://."
    if 400 <= status < 500:
        return errors.Rejected, ""
    if status >= 500:
        return errors.ServerFailed, ""
    return errors.InvalidResponse, "That is not a response of Consul's HTTP API."
