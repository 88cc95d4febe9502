# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Amazon SNS: publishes each notification to a topic. Needs the library botocore on the host.

Options: ``topic_arn``; ``region`` (by default the topic's); ``endpoint_url`` (for a VPC endpoint); ``access_key_id`` with
``secret_access_key_file`` or ``secret_access_key_credential``; without these botocore looks for credentials where AWS's tools do
(role of the instance, environment, files); ``timeout``, ``proxy``, ``ca_path``, ``validate_certs``.
Source: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

from __future__ import annotations

import hashlib
import re
import typing as t

from ..notification import Notification
from .http_client import checked_url
from .message_fields import shortened_bytes
from .optional_library import optional_library
from .options import Options, secret_spec, spec
from .receiver import DeliveryFailed, Receiver, ReceiverContext

SUBJECT_LIMIT = 100  # characters of ASCII; the limit itself is not allowed
MESSAGE_LIMIT_BYTES = 250_000  # of 256 KiB, which attributes count for too
ARN = re.compile(r"arn:[a-z0-9-]+:sns:([a-z0-9-]+):[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")
PERMANENT = {"InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid", "ValidationException"}

SPEC = spec(
    secret_spec("secret_access_key"),
    topic_arn={"type": "str", "required": True},
    region={"type": "str"},
    endpoint_url={"type": "str"},
    access_key_id={"type": "str"},
    proxy={"type": "str"},
    ca_path={"type": "path"},
    validate_certs={"type": "bool", "default": True},
)


def make(name: str, options: t.Mapping[str, t.Any], context: ReceiverContext) -> Receiver:
    """Return the receiver. Raises InvalidOption."""
    return AwsSns(Options(name, options, context), context)


class AwsSns(Receiver):
    """Publishes by botocore, whose own retries are switched off."""

    def __init__(self, options: Options, context: ReceiverContext) -> None:
        where = options.path("type")
        self._session = optional_library("botocore.session", "botocore", where)
        self._config = optional_library("botocore.config", "botocore", where)
        self._errors = optional_library("botocore.exceptions", "botocore", where)
        self._topic = options["topic_arn"]
        match = ARN.fullmatch(self._topic)
        if not match:
            raise options.invalid("topic_arn", "this is not the ARN of an SNS topic.")
        self._is_fifo = match[2] is not None
        self._region = options["region"] or match[1]
        for option in ("endpoint_url", "proxy"):
            if options[option]:
                checked_url(options[option], options.path(option))
        self._endpoint_url = options["endpoint_url"]
        self._proxy = options["proxy"]
        self._verify = options["ca_path"] if options["validate_certs"] else False
        self._key_id = options["access_key_id"]
        self._key = options.optional_secret("secret_access_key")
        if (self._key_id is None) != (self._key is None):
            raise options.invalid("access_key_id", "give it together with secret_access_key_file or …_credential.")
        self._timeout_s = options.duration_s("timeout")
        self._render = context.render

    def send(self, notification: Notification) -> None:
        """Publish one message."""
        words = self._render(notification)
        arguments: dict[str, t.Any] = {
            "TopicArn": self._topic,
            "Subject": subject(words.subject),
            "Message": shortened_bytes(words.text or words.subject, MESSAGE_LIMIT_BYTES),
            "MessageAttributes": {
                "severity": {"DataType": "String", "StringValue": notification.severity},
                "kind": {"DataType": "String", "StringValue": notification.kind},
            },
        }
        if self._is_fifo:
            group = "\0".join(f"{name}={value}" for name, value in sorted(notification.group.items()))
            arguments["MessageGroupId"] = hashlib.sha256(group.encode("utf-8", "surrogatepass")).hexdigest()
            identity = notification.id.encode("utf-8", "surrogatepass")
            arguments["MessageDeduplicationId"] = hashlib.sha256(identity).hexdigest()
        try:
            self._client().publish(**arguments)
        except self._errors.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise DeliveryFailed(f"SNS refused the message: {error}.", permanent=code in PERMANENT) from None
        except self._errors.BotoCoreError as error:
            raise DeliveryFailed(f"SNS {self._topic}: {str(error).rstrip('.')}.") from None

    def _client(self) -> t.Any:
        """Return a new client, so that a replaced key is used."""
        keys = {"aws_access_key_id": self._key_id, "aws_secret_access_key": self._key.read()} if self._key else {}
        config = self._config.Config(
            connect_timeout=self._timeout_s,
            read_timeout=self._timeout_s,
            retries={"total_max_attempts": 1},
            proxies={"https": self._proxy, "http": self._proxy} if self._proxy else None,
        )
        return self._session.get_session().create_client(
            "sns",
            region_name=self._region,
            endpoint_url=self._endpoint_url,
            verify=self._verify,
            config=config,
            **keys,
        )


def subject(text: str) -> str:
    """Return a subject as SNS allows it: ASCII without line breaks, beginning with a letter, digit or punctuation mark."""
    plain = " ".join(text.encode("ascii", "replace").decode().split())
    plain = re.sub(r"[^ -~]", "?", plain)
    return plain[: SUBJECT_LIMIT - 1] or "Alert"
