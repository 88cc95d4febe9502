# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sets the Object Lock retention of an S3 object: the one request that obstore does not know.

It is signed here (Signature Version 4), with the credentials of a file or the environment.
Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectRetention.html and
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import types
import typing as t
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from ..._consul._libraries import requests, require
from ..._consul.errors import InvalidOption
from ..._consul.failures import root_reason
from .errors import StoreUnreachable
from .store_failures import Attempt, failure

MODES = ("GOVERNANCE", "COMPLIANCE")
_BODY = (
    '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>{mode}</Mode>'
    "<RetainUntilDate>{until}</RetainUntilDate></Retention>"
)


@dataclass(frozen=True)
class Credentials:
    """The key that requests are signed with; ``session_token`` belongs to a temporary one."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


@dataclass(frozen=True)
class Retention:
    """How long objects are kept, and how the store is asked for it. Not shown anywhere: it has the credentials.

    ``address`` is the bucket's, without a slash at its end.
    """

    mode: str
    days: int
    address: str
    region: str
    credentials: Credentials
    ca_file: str | None
    timeout_s: float


def retention(
    mode: str,
    days: int | None,
    settings: t.Mapping[str, t.Any],
    environ: t.Mapping[str, str],
    bucket: str,
    **how: t.Any,
) -> Retention:
    """Return the retention for the settings of an S3 store (store_config.py). Raises InvalidOption and MissingLibrary."""
    require("requests")
    if mode not in MODES:
        raise InvalidOption(f"object_lock_mode {mode!r} is not one of {', '.join(MODES)}.")
    if days is None or days < 1:
        raise InvalidOption("object_lock_mode needs object_lock_days: a number of days from 1 on.")
    key = settings.get("access_key_id") or environ.get("AWS_ACCESS_KEY_ID")
    secret = settings.get("secret_access_key") or environ.get("AWS_SECRET_ACCESS_KEY")
    token = settings.get("session_token") or (
        environ.get("AWS_SESSION_TOKEN") if "access_key_id" not in settings else None
    )
    if not key or not secret:
        raise InvalidOption(
            "object_lock_mode needs credentials in credentials_file or the environment. With the identity of the platform, "
            "set a default retention for the bucket."
        )
    region = settings["region"]
    address = (settings.get("endpoint") or f"https://s3.{region}.amazonaws.com").rstrip("/")
    # An endpoint with virtual hosts already has the bucket in its name.
    if not settings.get("endpoint") or not settings["virtual_hosted_style_request"]:
        address = f"{address}/{quote(bucket)}"
    return Retention(mode, days, address, region, Credentials(key, secret, token), **how)


def lock(found: Retention, key: str, now: datetime.datetime, attempt: Attempt) -> None:
    """Set the retention of an object, from ``now`` on. Raises StoreDenied, StoreUnreachable or another StoreError."""
    until = (now + datetime.timedelta(days=found.days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = _BODY.format(mode=found.mode, until=until).encode()
    url = f"{found.address}/{quote(key)}"
    headers = signed_headers("PUT", f"{url}?retention=", body, found.region, found.credentials, now)
    with requests.Session() as session:
        session.trust_env = False  # a .netrc would replace the signature
        try:
            answer = session.put(
                f"{url}?retention=",
                data=body,
                headers=headers,
                timeout=found.timeout_s,
                verify=found.ca_file or True,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise StoreUnreachable(f"{attempt}: {root_reason(error)}.") from None
    if answer.status_code != 200:
        raise failure(attempt, f"status code: {answer.status_code}\n{answer.text}")


def signed_headers(
    method: str,
    url: str,
    body: bytes,
    region: str,
    credentials: Credentials,
    now: datetime.datetime,
    others: t.Mapping[str, str] = types.MappingProxyType({}),
) -> dict[str, str]:
    """Return the headers of a signed request to S3; the query of ``url`` must be in canonical form.

    ``others`` are further headers, in small letters.
    """
    parts, date = urlsplit(url), now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body)
    headers = {
        **others,
        "content-md5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
        "host": parts.netloc,
        "x-amz-content-sha256": digest.hexdigest(),
        "x-amz-date": date,
    }
    if credentials.session_token:
        headers["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"{method}\n{parts.path or '/'}\n{parts.query}\n{lines}\n{names}\n{digest.hexdigest()}"
    scope = f"{date[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret_access_key}".encode()
    for word in (*scope.split("/"), text):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    )
    return headers
