# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Amazon SNS and Apprise, whose libraries are optional and not among the tests' own: stand-ins record how they are called."""

from __future__ import annotations

import sys
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._agents.alerting.receivers.receiver import (
    DeliveryFailed,
)
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption

from tests.lab.notifications import alert, notification
from tests.lab.receiving import make_receiver, secret_file

TOPIC = "arn:aws:sns:eu-central-1:123456789012:alerts"
BOTH = notification(alert("web1"), alert("web2", status="resolved"))


class _BotoCoreError(Exception):
    pass


class _ClientError(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code}) when calling the Publish operation: no")
        self.response = {"Error": {"Code": code}}


class Aws:
    """What botocore was asked for."""

    def __init__(self) -> None:
        self.clients: list[dict[str, t.Any]] = []
        self.published: list[dict[str, t.Any]] = []
        self.error: Exception | None = None

    def get_session(self) -> Aws:
        return self

    def create_client(self, service: str, **arguments: t.Any) -> Aws:
        assert service == "sns"
        self.clients.append(arguments)
        return self

    def publish(self, **arguments: t.Any) -> None:
        self.published.append(arguments)
        if self.error is not None:
            raise t.cast("Exception", self.error)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    aws = Aws()
    modules: dict[str, dict[str, t.Any]] = {
        "botocore": {},
        "botocore.session": {"get_session": aws.get_session},
        "botocore.config": {"Config": lambda **arguments: arguments},
        "botocore.exceptions": {"ClientError": _ClientError, "BotoCoreError": _BotoCoreError},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return aws


def test_sns_gets_a_message_that_it_allows(aws: Aws, tmp_path: Path) -> None:
    receiver = make_receiver(
        "aws_sns",
        topic_arn=TOPIC,
        access_key_id="AKIA",
        secret_access_key_file=secret_file(tmp_path, "secret"),
        ca_path="/ca.pem",
        timeout="3s",
    )
    long = alert("wéb\n" + "x" * 200, output="ö" * 300_000)
    receiver.send(notification(long))
    (client,), (message,) = aws.clients, aws.published
    assert client["region_name"] == "eu-central-1" and client["verify"] == "/ca.pem"
    assert (client["aws_access_key_id"], client["aws_secret_access_key"]) == ("AKIA", "secret")
    assert client["config"]["connect_timeout"] == 3 and client["config"]["retries"] == {"total_max_attempts": 1}
    assert message["TopicArn"] == TOPIC and "MessageGroupId" not in message
    assert message["Subject"].isascii() and len(message["Subject"]) < 100 and "\n" not in message["Subject"]
    assert 1 <= len(message["Message"].encode()) <= 262_144
    assert message["MessageAttributes"]["severity"] == {"DataType": "String", "StringValue": "critical"}


def test_a_fifo_topic_gets_keys_by_which_it_recognises_a_repetition(aws: Aws) -> None:
    receiver = make_receiver("aws_sns", topic_arn=f"{TOPIC}.fifo")
    receiver.send(BOTH)
    receiver.send(BOTH)
    first, second = aws.published
    assert first == second and len(first["MessageDeduplicationId"]) <= 128 and first["MessageGroupId"]
    assert "aws_access_key_id" not in aws.clients[0]


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        (_ClientError("InvalidParameter"), True),
        (_ClientError("AuthorizationError"), False),
        (_BotoCoreError("Unable to locate credentials"), False),
    ],
)
def test_what_sns_says_is_passed_on(aws: Aws, error: Exception, permanent: bool) -> None:
    aws.error = error
    with pytest.raises(DeliveryFailed, match="SNS") as failure:
        make_receiver("aws_sns", topic_arn=TOPIC).send(BOTH)
    assert failure.value.permanent is permanent and str(error) in str(failure.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topic_arn": "alerts"}, r"topic_arn: this is not the ARN of an SNS topic"),
        ({"topic_arn": TOPIC, "access_key_id": "AKIA"}, r"access_key_id: give it together with"),
    ],
)
def test_sns_options_that_cannot_be_used_are_refused(aws: Aws, options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=rf"^receivers\.ops\.{message}"):
        make_receiver("aws_sns", **options)


class AppriseLibrary(types.ModuleType):
    """Takes addresses of scheme json, and delivers unless the address is among ``broken``."""

    def __init__(self) -> None:
        super().__init__("apprise")
        self.sent: list[tuple[str, dict[str, t.Any]]] = []
        self.broken: set[str] = set()
        library = self

        class Apprise:
            def __init__(self) -> None:
                self.url = ""

            def add(self, url: str) -> bool:
                self.url = url
                return url.startswith("json://")

            def notify(self, **arguments: t.Any) -> bool:
                library.sent.append((self.url, arguments))
                return self.url not in library.broken

        self.Apprise = Apprise


@pytest.fixture
def apprise(monkeypatch: pytest.MonkeyPatch) -> AppriseLibrary:
    library = AppriseLibrary()
    monkeypatch.setitem(sys.modules, "apprise", library)
    return library


def test_apprise_sends_to_every_address_and_again_only_to_those_that_failed(
    apprise: AppriseLibrary, tmp_path: Path
) -> None:
    receiver = make_receiver(
        "apprise", urls_file=secret_file(tmp_path, "json://one\n\njson://two/secret\njson://three")
    )
    apprise.broken = {"json://two/secret"}
    with pytest.raises(DeliveryFailed, match="^Apprise could not send to the address in line 2") as failure:
        receiver.send(BOTH)
    assert not failure.value.permanent and "secret" not in str(failure.value)
    apprise.broken = set()
    receiver.send(BOTH)
    assert [url for url, _arguments in apprise.sent] == [
        "json://one",
        "json://two/secret",
        "json://two/secret",
        "json://three",
    ]
    assert apprise.sent[0][1] == {
        "title": "[firing] firing web1/shop/http, resolved web2/shop/http",
        "body": "critical: check http of shop on web1 is critical connection refused\n"
        "critical: check http of shop on web2 is critical connection refused",
        "notify_type": "failure",
        "body_format": "text",
    }


def test_an_address_that_apprise_does_not_know_is_refused_by_its_line(apprise: AppriseLibrary, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"urls_file: Apprise does not understand the address in line 2\.$"):
        make_receiver("apprise", urls_file=secret_file(tmp_path, "json://one\nsecret"))
