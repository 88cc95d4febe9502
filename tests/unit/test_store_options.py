# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of object stores translated to obstore's, and its texts translated to errors."""

from __future__ import annotations

import datetime
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption, LocalFailure
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.errors import (
    StoreDenied,
    StoreError,
    StoreFailed,
    StoreUnreachable,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.object_lock import (
    Credentials,
    signed_headers,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.store import StoreOptions
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.store_config import (
    split_url,
    store_config,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.store_failures import Attempt, failure


def settings(url: str, environ: t.Mapping[str, str] | None = None, **options: t.Any) -> t.Mapping[str, t.Any]:
    return store_config(StoreOptions(url, **options), environ or {}).settings


def test_the_parts_of_a_url() -> None:
    assert split_url("s3://bucket") == ("s3", "bucket", "")
    assert split_url("s3://bucket/") == ("s3", "bucket", "")
    assert split_url("gs://bucket//a/b/") == ("gs", "bucket", "a/b")


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///prefix", "s3://key:secret@bucket/p", "s3://b/p?region=x", "s3://b/../c"]
)
def test_a_url_with_anything_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        split_url(url)
    assert "secret" not in str(caught.value)


def test_the_region_is_the_options_the_environments_or_a_default() -> None:
    assert settings("s3://b", {"AWS_REGION": "eu-west-1"}, region="eu-central-1")["region"] == "eu-central-1"
    assert settings("s3://b", {"AWS_REGION": "eu-west-1"})["region"] == "eu-west-1"
    assert settings("s3://b", {"AWS_DEFAULT_REGION": "eu-west-2"})["region"] == "eu-west-2"
    assert settings("s3://b")["region"] == "us-east-1"


def test_path_style_is_that_of_stores_with_an_endpoint() -> None:
    assert settings("s3://b")["virtual_hosted_style_request"] is True
    assert settings("s3://b", endpoint="https://s:9000")["virtual_hosted_style_request"] is False
    assert settings("s3://b", endpoint="https://b.s:9000", path_style=False)["virtual_hosted_style_request"] is True


def test_encryption_by_the_store() -> None:
    found = settings("s3://b", server_side_encryption="aws:kms", kms_key_id="key")
    assert (found["server_side_encryption"], found["sse_kms_key_id"]) == ("aws:kms", "key")
    with pytest.raises(InvalidOption, match="not one of AES256"):
        settings("s3://b", server_side_encryption="yes")
    with pytest.raises(InvalidOption, match="kms_key_id needs"):
        settings("s3://b", server_side_encryption="AES256", kms_key_id="key")


def test_a_retention_needs_a_mode_days_and_credentials() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session"}
    how: dict[str, t.Any] = {"object_lock_mode": "GOVERNANCE", "object_lock_days": 7}
    found = store_config(StoreOptions("s3://b", region="eu-west-1", **how), environ).retention
    assert found is not None and found.address == "https://s3.eu-west-1.amazonaws.com/b"
    assert found.credentials == Credentials("key", "secret", "session")
    for options, words in (
        ({**how, "object_lock_days": 0}, "needs object_lock_days"),
        ({**how, "object_lock_mode": "never"}, "not one of GOVERNANCE"),
        ({"object_lock_days": 7}, "needs object_lock_mode"),
    ):
        with pytest.raises(InvalidOption, match=words):
            settings("s3://b", environ, **options)
    with pytest.raises(InvalidOption, match="set a default retention for the bucket"):
        settings("s3://b", {}, **how)


def test_a_signed_request_names_every_header_and_not_the_secret() -> None:
    moment = datetime.datetime(2013, 5, 24, tzinfo=datetime.timezone.utc)
    headers = signed_headers("PUT", "https://h/b/k?retention=", b"x", "us-east-1", Credentials("AK", "SK", "T"), moment)
    assert headers["x-amz-date"] == "20130524T000000Z" and headers["x-amz-security-token"] == "T"
    assert (
        "SignedHeaders=content-md5;host;x-amz-content-sha256;x-amz-date;x-amz-security-token, "
        in headers["authorization"]
    )
    assert "SK" not in str(headers)


@pytest.mark.parametrize(
    "options", [{"region": "x"}, {"path_style": True}, {"server_side_encryption": "AES256"}, {"account": "a"}]
)
def test_an_option_of_another_kind_of_store_is_refused(options: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidOption, match="leave it out"):
        settings("gs://b", **options)


@pytest.mark.parametrize("endpoint", ["store:9000", "ftp://store", "https://", "https://user:x@store"])
def test_an_endpoint_is_an_address(endpoint: str) -> None:
    with pytest.raises(InvalidOption, match="endpoint must be"):
        settings("s3://b", endpoint=endpoint)


def test_plain_http_only_where_the_endpoint_says_so(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("authority")

    def client(**options: t.Any) -> t.Mapping[str, t.Any]:
        return store_config(StoreOptions("s3://b", **options), {}).client

    assert "allow_http" not in client()
    assert client(endpoint="http://s")["allow_http"] is True
    assert client(endpoint="https://s", ca_file=str(ca))["root_certificate"] == b"authority"
    with pytest.raises(LocalFailure, match="absent"):
        client(ca_file=str(tmp_path / "absent"))
    with pytest.raises(InvalidOption, match="timeout"):
        client(timeout_s=0)


def test_credentials_of_s3_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text(
        "[default]\naws_access_key_id = one\naws_secret_access_key = two\n"
        "[other]\naws_access_key_id = three\naws_secret_access_key = fo%ur\naws_session_token = five\n"
        "[half]\naws_access_key_id = one\n"
    )
    found = settings("s3://b", credentials_file=str(path))
    assert (found["access_key_id"], found["secret_access_key"]) == ("one", "two")
    found = settings("s3://b", credentials_file=str(path), profile="other")
    assert (found["secret_access_key"], found["session_token"]) == ("fo%ur", "five")
    with pytest.raises(InvalidOption, match="no aws_secret_access_key"):
        settings("s3://b", credentials_file=str(path), profile="half")
    with pytest.raises(InvalidOption, match=r"no section \[none\]"):
        settings("s3://b", credentials_file=str(path), profile="none")


def test_a_file_that_holds_no_credentials_is_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text("hunter2\n")
    with pytest.raises(InvalidOption, match="NAME = VALUE") as caught:
        settings("s3://b", credentials_file=str(path))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(LocalFailure, match="reading"):
        settings("s3://b", credentials_file=str(tmp_path / "absent"))


def test_credentials_of_azure_and_google(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text("[default]\naccount_key = a2V5\n")
    found = settings("az://c/p", account="acc", credentials_file=str(path))
    assert (found["account_name"], found["account_key"]) == ("acc", "a2V5")
    with pytest.raises(InvalidOption, match="set account"):
        settings("az://c/p")
    assert settings("gs://b", credentials_file=str(path))["application_credentials"] == str(path)
    with pytest.raises(InvalidOption, match="service account"):
        settings("gs://b", credentials_file=str(tmp_path / "absent"))


READING = Attempt("s3", "s3://b/p", "read", "a.snap")
ANSWER = (
    "Generic S3 error: Error performing GET https://s/b/p/a.snap in 2ms - Server returned non-2xx status code: {status} X: "
    "<Error><Code>{code}</Code><Message>{message}</Message></Error>\n\nDebug source:\nGeneric {{ status: {status} }}"
)
CUT = "Generic S3 error: HTTP error: error sending request\n\nDebug source:\n{}"


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (
            ANSWER.format(status=403, code="AccessDenied", message="No."),
            StoreDenied,
            "403 AccessDenied (No): the credent",
        ),
        (ANSWER.format(status=403, code="ExpiredToken", message="Old."), StoreDenied, "renew them"),
        (
            ANSWER.format(status=400, code="InvalidToken", message="Bad."),
            StoreDenied,
            "does not accept the credentials",
        ),
        (
            ANSWER.format(
                status=403, code="AuthorizationFailure", message="Server failed to authenticate the request."
            ),
            StoreDenied,
            "does not accept the credentials",
        ),
        (ANSWER.format(status=301, code="PermanentRedirect", message="There."), StoreError, "set region"),
        (ANSWER.format(status=503, code="SlowDown", message="Slow."), StoreFailed, "503 SlowDown (Slow)"),
        (ANSWER.format(status=411, code="MissingContentLength", message="?"), StoreError, "411 MissingContentLength"),
        (
            CUT.format("InvalidCertificate(\n   NotValidForName,"),
            StoreUnreachable,
            "(NotValidForName): name the authority",
        ),
        (CUT.format("source: TimedOut"), StoreUnreachable, "did not answer in time."),
        (CUT.format("source: ConnectionRefused"), StoreUnreachable, "is it running, and is endpoint right?"),
        ("something new\nof two lines", StoreUnreachable, "something new of two lines."),
        ("", StoreUnreachable, "reading a.snap in s3://b/p: ."),
    ],
)
def test_each_failure_is_one_sentence_of_a_type(text: str, kind: type[StoreError], words: str) -> None:
    error = failure(READING, text)
    assert error.__class__ is kind and words in str(error) and "\n" not in str(error)
    assert not str(error).endswith("?.")
    assert str(error).startswith("reading a.snap in s3://b/p: ")


def test_a_host_without_an_identity_is_said_whatever_answers_there() -> None:
    text = "Error performing PUT http://169.254.169.254/latest/api/token - Server returned non-2xx status code: 403 Forbidden"
    assert "set credentials_file" in str(failure(READING, text))


def test_the_missing_right_is_in_the_providers_words() -> None:
    text = ANSWER.format(status=403, code="AuthorizationPermissionMismatch", message="No.")
    assert "storage.objects.delete" in str(failure(Attempt("gs", "gs://b", "delete", "x"), text))
    assert "blobs/write" in str(failure(Attempt("az", "az://c", "write", "x"), text))
