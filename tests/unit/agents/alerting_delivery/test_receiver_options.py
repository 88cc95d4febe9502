# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of receivers: what is refused before anything is sent, and that the documentation names them all."""

from __future__ import annotations

import json
import re
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers import options as parts
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.registry import RECEIVERS
from ansible_collections.consulops.failover.plugins.module_utils._config.validation import validated
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption
from ansible_collections.consulops.failover.plugins.module_utils._consul.units import parse_duration

from tests.lab.receiving import make_receiver, secret_file
from tests.lab.tls import Authority

ROOT = Path(__file__).resolve().parents[4]
URL = "https://hooks.example.org/hook"
MAIL: dict[str, t.Any] = {"host": "mail.example.org", "from": "a@example.org", "to": ["b@example.org"]}


@pytest.mark.parametrize("kind", sorted(RECEIVERS))
def test_every_option_is_documented_and_no_secret_is_a_value(kind: str) -> None:
    module: t.Any = RECEIVERS[kind]
    text = " ".join((module.__doc__ or "").split())
    shared = {*parts.COMMON}
    if "TLS options" in text:
        shared |= set(parts.TLS)
    missing = [name for name in module.SPEC if name not in shared and not re.search(rf"``(?:…)?{name}``", text)]
    missing = [name for name in missing if not (name.startswith("secret_access_key") and "secret_access_key" in text)]
    assert missing == []
    assert [name for name, rules in module.SPEC.items() if rules.get("no_log")] == []
    for name in ("give_up_after", "timeout"):
        assert parse_duration(module.SPEC[name]["default"], name) > 0


def test_the_examples_of_the_guide_can_be_used_and_there_is_one_for_every_type() -> None:
    text = (ROOT / "docs" / "receivers.md").read_text(encoding="utf-8")
    kinds = set()
    for block in re.findall(r"^```json\n(.*?)^```", text, re.M | re.S):
        for name, options in json.loads(block).items():
            kind = options.pop("type")
            kinds.add(kind)
            validated(RECEIVERS[kind].SPEC, options, f"receivers.{name}")
    assert kinds == set(RECEIVERS)


@pytest.mark.parametrize("kind", sorted(RECEIVERS))
def test_unknown_options_are_refused(kind: str) -> None:
    with pytest.raises(InvalidOption, match=r"^receivers\.ops\.colour: unknown option"):
        validated(RECEIVERS[kind].SPEC, {"colour": "red"}, "receivers.ops")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("webhook", {}, r"url_file: give this option, or url_credential"),
        ("webhook", {"url": "hooks.example.org"}, r"url: this is not an address"),
        ("webhook", {"url": "ftp://hooks.example.org"}, r"url: this is not an address"),
        ("webhook", {"url": "https://hooks.example.org:x/"}, r"url: this is not an address"),
        ("webhook", {"url": "https://a:b@hooks.example.org/"}, r"url: the address holds a user name or password"),
        ("webhook", {"url": URL, "url_file": "SECRET"}, r"url: url_file or url_credential is given too"),
        ("webhook", {"url": URL, "timeout": "soon"}, r"timeout 'soon' is not a duration"),
        ("webhook", {"url": URL, "timeout": "0s"}, r"timeout: 0s must be longer than 0"),
        ("webhook", {"url": URL, "headers": {"Authorization": "Bearer x"}}, r"headers\.Authorization: secrets are not allowed"),
        ("webhook", {"url": URL, "headers": {"X-Api-Key": "x"}}, r"headers\.X-Api-Key: secrets are not allowed"),
        ("webhook", {"url": URL, "headers": {"Host": "x"}}, r"headers\.Host: this is not a header that can be set"),
        ("webhook", {"url": URL, "headers": {"a b": "x"}}, r"headers\.a b: this is not a header"),
        ("webhook", {"url": URL, "headers": {"A": "x\r\nB: y"}}, r"headers\.A: expected text"),
        ("webhook", {"url": URL, "headers": {"A": {"vault": "x"}}}, r"headers\.A: expected text, "),
        ("webhook", {"url": URL, "headers": {"A": {}}}, r"headers\.A: expected text, "),
        ("webhook", {"url": URL, "username": "me"}, r"username: give it together with password_file"),
        ("webhook", {"url": URL, "password_file": "SECRET"}, r"username: give it together with password_file"),
        ("webhook", {"url": URL, "username": "me", "password_file": "SECRET", "bearer_token_file": "SECRET"}, r"username: give either"),
        ("webhook", {"url": URL, "password_file": "/does/not/exist"}, r"password_file /does/not/exist cannot be read: No such file"),
        ("webhook", {"url": URL, "bearer_token_credential": "hook"}, r"bearer_token_credential: systemd did not start"),
        ("webhook", {"url": URL, "ca_path": "/does/not/exist"}, r"ca_path /does/not/exist cannot be"),
        ("webhook", {"url": URL, "client_key": "/k"}, r"client_key: it is given without client_cert"),
        ("webhook", {"url": URL, "proxy": "http://a:b@proxy"}, r"proxy: the address holds a user name"),
        ("slack", {"url_file": "EMPTY"}, r"url_file .* is empty"),
        ("slack", {"url_file": "TWO"}, r"url_file .* must hold one line, not 2"),
        ("slack", {"url_file": "BINARY"}, r"url_file .* is not text in UTF-8"),
        ("slack", {"url_file": "CONTROL"}, r"url_file .* holds control characters"),
        ("slack", {"url_file": "LONG"}, r"url_file .* is larger than 65,536 bytes"),
        ("slack", {"url_file": "SECRET"}, r"url_file: this is not an address"),
        ("slack", {"url_file": "SECRET", "url_credential": "x"}, r"url_credential: url_file is given too"),
        ("alertmanager", {"urls": []}, r"urls: name one address at least"),
        ("alertmanager", {"urls": [URL, "x"]}, r"urls\[1\]: this is not an address"),
        ("opsgenie", {"api_key_file": "SECRET", "responders": [{"name": "x"}]}, r"responders\[0\]\.type: expected one of team"),
        ("victorops", {"url_file": "SECRET", "routing_key": "x"}, r"url_file: this is not an address"),
        ("influxdb", {"url": URL, "org": "o", "bucket": "b", "token_file": "SECRET", "measurement": "_x"}, r"measurement: "),
        ("smtp", {**MAIL, "to": []}, r"to: name one address at least"),
        ("smtp", {**MAIL, "to": ["b@example.org", "nobody"]}, r"to\[1\]: 'nobody' is not a mail address"),
        ("smtp", {**MAIL, "from": "a@example.org\nBcc: x@example.org"}, r"from: .* is not a mail address"),
        ("smtp", {**MAIL, "reply_to": "x"}, r"reply_to: 'x' is not a mail address"),
        ("smtp", {**MAIL, "port": 70000}, r"port: 70000 is not a port"),
        ("smtp", {**MAIL, "username": "me"}, r"username: give it together with password_file"),
        ("smtp", {**MAIL, "tls": "none", "username": "me", "password_file": "SECRET"}, r"username: a password would be sent in the clear"),
        ("exec", {"command": []}, r"command: a list is needed that begins with the absolute path"),
        ("exec", {"command": ["sh", "-c", "true"]}, r"command: a list is needed that begins with the absolute path"),
        ("exec", {"command": ["/does/not/exist"]}, r"command: /does/not/exist is not a program"),
        ("exec", {"command": ["/"]}, r"command: / is not a program"),
        ("file", {"path": "alerts.log"}, r"path: an absolute path is needed"),
        ("file", {"path": "/tmp/x", "mode": "rw"}, r"mode: expected three octal digits"),
        ("file", {"path": "/tmp/x", "mode": "0666"}, r"mode: expected three octal digits, .* nobody else may write"),
        ("syslog", {"transport": "udp"}, r"host: this option is required with transport udp"),
        ("syslog", {"transport": "tls", "host": "x", "port": -1}, r"port: -1 is not a port"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used_are_refused_with_their_path(
    kind: str, options: dict[str, t.Any], message: str, tmp_path: Path
) -> None:
    files = {"SECRET": "secret", "EMPTY": "\n", "TWO": "a\nb", "CONTROL": "a\x07b", "LONG": "x" * 70_000}
    for name, text in files.items():
        secret_file(tmp_path, text, name)
    (tmp_path / "BINARY").write_bytes(b"\xff\xfe")
    given: dict[str, t.Any] = {
        name: str(tmp_path / value) if isinstance(value, str) and (tmp_path / value).is_file() else value
        for name, value in options.items()
    }
    with pytest.raises(InvalidOption, match=rf"^receivers\.ops\.{message}"):
        make_receiver(kind, **given)


def test_a_certificate_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue(tmp_path, "monitor1")
    make_receiver("webhook", url=URL, client_cert=str(pair.certificate), client_key=str(pair.key))
    with pytest.raises(InvalidOption, match=r"^receivers\.ops\.client_cert .* cannot be used"):
        make_receiver("webhook", url=URL, client_cert=str(pair.certificate), client_key=str(pair.certificate))


def test_a_credential_of_systemd_is_a_secret(tmp_path: Path) -> None:
    secret_file(tmp_path, URL, "hook")
    make_receiver("slack", url_credential="hook", credentials=str(tmp_path))
    for name, message in (("other", "cannot be read"), ("../hook", "is not the name of a credential")):
        with pytest.raises(InvalidOption, match=message):
            make_receiver("slack", url_credential=name, credentials=str(tmp_path))


def test_the_password_may_go_to_this_host_in_the_clear(tmp_path: Path) -> None:
    secret = secret_file(tmp_path, "secret")
    for host in ("127.0.0.1", "::1", "localhost"):
        make_receiver("smtp", **{**MAIL, "host": host, "tls": "none", "username": "me", "password_file": secret})


@pytest.mark.parametrize(("kind", "library"), [("aws_sns", "botocore"), ("apprise", "apprise")])
def test_a_library_that_is_missing_is_named(
    kind: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (library, f"{library}.session"):
        monkeypatch.setitem(sys.modules, name, None)
    options = {
        "aws_sns": {"topic_arn": "arn:aws:sns:eu-west-1:123456789012:alerts"},
        "apprise": {"urls_file": secret_file(tmp_path, "mailto://x")},
    }[kind]
    with pytest.raises(
        InvalidOption, match=rf"^receivers\.ops\.type: .* library {library} .* python3 -m pip install {library}$"
    ):
        make_receiver(kind, **t.cast("dict[str, t.Any]", options))
