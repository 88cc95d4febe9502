# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Translates the options of a store to obstore's: addresses, credentials from a file, TLS, time-outs."""

from __future__ import annotations

import configparser
import datetime
import os
import typing as t
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..._consul.errors import InvalidOption
from ..._consul.private_file import os_errors_as
from ..._consul.units import positive_seconds
from .object_lock import Retention, retention
from .store import StoreOptions

RETRIES = 3
CONNECT_TIMEOUT_S = 5.0
DEFAULT_REGION = "us-east-1"
ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")
# Options that only one kind of store has.
_ONLY = {
    "region": "s3",
    "profile": "s3",
    "path_style": "s3",
    "server_side_encryption": "s3",
    "kms_key_id": "s3",
    "object_lock_mode": "s3",
    "object_lock_days": "s3",
    "account": "az",
}
_S3_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}
_AZURE_KEYS = {
    "account_name": "account_name",
    "account_key": "account_key",
    "sas_token": "sas_key",
    "tenant_id": "tenant_id",
    "client_id": "client_id",
    "client_secret": "client_secret",
}


@dataclass(frozen=True)
class StoreConfig:
    """What obstore gets. ``settings`` holds credentials, so this is never shown."""

    scheme: str
    bucket: str
    prefix: str
    settings: t.Mapping[str, t.Any]
    client: t.Mapping[str, t.Any]
    retry: t.Mapping[str, t.Any]
    retention: Retention | None = None


def store_config(options: StoreOptions, environ: t.Mapping[str, str]) -> StoreConfig:
    """Return the configuration of an object store. Raises InvalidOption and LocalFailure (a file that cannot be read)."""
    scheme, bucket, prefix = split_url(options.url)
    for name, only in _ONLY.items():
        if scheme != only and getattr(options, name) not in (None, StoreOptions.profile):
            raise InvalidOption(
                f"{name} is an option of {only}:// stores, and {options.url} is another one: leave it out."
            )
    if options.server_side_encryption and options.server_side_encryption not in ENCRYPTIONS:
        raise InvalidOption(
            f"server_side_encryption {options.server_side_encryption!r} is not one of {', '.join(ENCRYPTIONS)}."
        )
    if options.kms_key_id and not (options.server_side_encryption or "").startswith("aws:kms"):
        raise InvalidOption("kms_key_id needs server_side_encryption aws:kms or aws:kms:dsse.")
    settings = {"s3": _s3, "gs": _google, "az": _azure}[scheme](options, environ)
    found = None
    if options.object_lock_mode:
        how = {"ca_file": options.ca_file, "timeout_s": options.timeout_s}
        found = retention(options.object_lock_mode, options.object_lock_days, settings, environ, bucket, **how)
        settings["checksum_algorithm"] = "SHA256"  # S3 requires one for objects with a retention
    elif options.object_lock_days is not None:
        raise InvalidOption("object_lock_days needs object_lock_mode: GOVERNANCE or COMPLIANCE.")
    return StoreConfig(
        scheme,
        bucket,
        prefix,
        {name: value for name, value in settings.items() if value is not None},
        _client(options),
        {
            "max_retries": RETRIES,
            "retry_timeout": datetime.timedelta(seconds=options.timeout_s),  # a hung store is not asked again
            "backoff": {
                "init_backoff": datetime.timedelta(seconds=0.1),
                "max_backoff": datetime.timedelta(seconds=2),
                "base": 2,
            },
        },
        found,
    )


def split_url(url: str) -> tuple[str, str, str]:
    """Return (scheme, bucket or container, prefix without slashes at its ends). Raises InvalidOption."""
    scheme, _separator, rest = url.partition("://")
    bucket, _separator, prefix = rest.partition("/")
    if not bucket:
        raise InvalidOption(f"{url} names no bucket: write {scheme}://BUCKET/PREFIX.")
    if "@" in bucket or ":" in bucket or "?" in rest or "#" in rest:
        raise InvalidOption(
            f"A store's URL is {scheme}://BUCKET/PREFIX and nothing else: credentials and parameters have options of their own."
        )
    parts = [part for part in prefix.split("/") if part]
    if any(part in (".", "..") for part in parts) or not prefix.isprintable():
        raise InvalidOption(f"{url}: its prefix has a part that no object can have.")
    return scheme, bucket, "/".join(parts)


def _client(options: StoreOptions) -> dict[str, t.Any]:
    timeout_s = positive_seconds(options.timeout_s, "timeout")
    result: dict[str, t.Any] = {
        "connect_timeout": datetime.timedelta(seconds=min(CONNECT_TIMEOUT_S, timeout_s)),
        "read_timeout": datetime.timedelta(seconds=timeout_s),
        "timeout": datetime.timedelta(days=1),  # of the whole transfer, which may be long
    }
    if options.endpoint:
        parts = urlsplit(options.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise InvalidOption("endpoint must be an address like https://store.example:9000.")
        result["allow_http"] = parts.scheme == "http"
    if options.ca_file:
        with os_errors_as(f"reading {options.ca_file}"):
            result["root_certificate"] = Path(options.ca_file).read_bytes()
    return result


def _s3(options: StoreOptions, environ: t.Mapping[str, str]) -> dict[str, t.Any]:
    path_style = options.endpoint is not None if options.path_style is None else options.path_style
    region = options.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION
    settings: dict[str, t.Any] = {
        "region": region,
        "endpoint": options.endpoint,
        "virtual_hosted_style_request": not path_style,
        "server_side_encryption": options.server_side_encryption,
        "sse_kms_key_id": options.kms_key_id,
        "disable_bulk_delete": True,  # not every store that speaks S3 has it, and one object is deleted at a time
    }
    if options.credentials_file:
        settings.update(_ini(options.credentials_file, options.profile, _S3_KEYS))
        for name in ("access_key_id", "secret_access_key"):
            if name not in settings:
                raise InvalidOption(
                    f"{options.credentials_file} has no aws_{name} in its section [{options.profile}]: add it."
                )
    return settings


def _google(options: StoreOptions, _environ: t.Mapping[str, str]) -> dict[str, t.Any]:
    if options.credentials_file and not Path(options.credentials_file).is_file():
        raise InvalidOption(
            f"credentials_file {options.credentials_file} does not exist: name the key of a service account."
        )
    return {"base_url": options.endpoint, "application_credentials": options.credentials_file}


def _azure(options: StoreOptions, environ: t.Mapping[str, str]) -> dict[str, t.Any]:
    settings: dict[str, t.Any] = {"endpoint": options.endpoint, "account_name": options.account}
    if options.credentials_file:
        settings.update(_ini(options.credentials_file, options.profile, _AZURE_KEYS))
    if not (settings["account_name"] or environ.get("AZURE_STORAGE_ACCOUNT_NAME")):
        raise InvalidOption(f"{options.url} needs the name of the storage account: set account.")
    return settings


def _ini(path: str, section: str, keys: t.Mapping[str, str]) -> dict[str, str]:
    """Return the credentials of a section of an INI file, by their names for obstore."""
    parser = configparser.RawConfigParser()
    with os_errors_as(f"reading {path}"):
        data = Path(os.path.expanduser(path)).read_bytes()  # noqa: PTH111  as everywhere else
    try:
        parser.read_string(data.decode())
    except (configparser.Error, UnicodeDecodeError):
        # The error of the parser would repeat a line, which may be a secret.
        raise InvalidOption(f"credentials_file {path} is not a file of lines NAME = VALUE below [{section}].") from None
    if not parser.has_section(section):
        raise InvalidOption(f"credentials_file {path} has no section [{section}]: add it, or set profile.")
    values = dict(parser.items(section))
    return {name: values[key] for key, name in keys.items() if values.get(key)}
