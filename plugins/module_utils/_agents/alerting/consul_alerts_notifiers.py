# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a receiver of a notifier of consul-alerts. Secrets are kept apart from the options. Pure.

Source: https://github.com/AcalephStorage/consul-alerts, the directory notifier
"""

from __future__ import annotations

import email.utils
import ipaddress
import typing as t
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ..._config.import_notes import CHANGED, NO_EQUAL, PROBLEM
from ..._config.imported_values import Values
from ..._consul.errors import InvalidOption
from .receivers.http_client import checked_url
from .receivers.mail_message import is_address
from .receivers.smtp import PORTS
from .templates import DEFAULT_SUBJECT, MAX_SUBJECT

LOG_PATH = "/var/log/consulops/consul-alerts.log"
VICTOROPS_URL = "https://alert.victorops.com/integrations/generic/20131114/alert"
_OWN_WORDS = "our templates are Jinja2 and have other variables (docs/alerts.md): write it anew as template."
_DETAILED = "messages always have the details."
_NAMED = "messages name the datacenter instead."


@dataclass(frozen=True)
class Draft:
    """A receiver: its options, its secrets by the name of their options without ``_file``, and how its alerts are grouped."""

    options: dict[str, t.Any]
    secrets: dict[str, str] = field(default_factory=dict)
    group_by: tuple[str, ...] | None = None


def make_draft(notifier: str, values: Values) -> Draft | None:
    """Return the receiver for a notifier that is enabled, None if it has no equal or lacks what it needs; notes say why."""
    draft = MAKERS[notifier](values)
    values.flag("enabled", True)  # the caller has asked; of a profile's options it means nothing
    values.close()
    return draft


def make_program(path: str, values: Values) -> Draft | None:
    """Return the receiver for a custom notifier, which is the path of a program."""
    name = values.names[0]
    if not path.startswith("/"):
        values.note(PROBLEM, [name], "it is not the absolute path of a program, so it is not taken over.")
        return None
    sentence = (
        "the program gets one JSON object on its standard input (docs/receivers.md), not a list of messages: adapt it."
    )
    values.note(CHANGED, [name], sentence)
    return Draft({"type": "exec", "command": [path]})


# ---------------------------------------------------------------------------------------------------------------
# Mail and log


def _email(values: Values) -> Draft | None:
    host, sender = values.text("url"), values.text("sender-email")
    receivers = [address for address in values.texts("receivers") if is_address(address)]
    if len(receivers) < len(values.texts("receivers")):
        values.note(PROBLEM, ["receivers"], "what is no mail address is left out.")
    alias = values.text("sender-alias", "Consul Alerts")
    port = values.number("port", PORTS["starttls"])
    username, password = values.text("username"), values.text("password")
    values.note(NO_EQUAL, ["template"], _OWN_WORDS)
    group_by = _mail_groups(values)
    template = _subject(values)
    if not host or not receivers or not is_address(sender):
        return _incomplete(values, "url, sender-email and receivers")
    if not 0 < port < 65536:
        values.note(PROBLEM, ["port"], "it is not a port, so 587 is used.")
        port = PORTS["starttls"]
    options = {
        "type": "smtp",
        "host": host,
        "port": port,
        "tls": _mail_tls(values, host, port),
        "from": email.utils.formataddr((alias if alias.isprintable() else "", sender)),
        "to": receivers,
        **template,
    }
    if not username or not password:
        values.note(
            CHANGED, ["username", "password"], "without both there is no login; consul-alerts always tried one."
        )
        return Draft(options, group_by=group_by)
    return Draft({**options, "username": username}, {"password": password}, group_by)


def _mail_groups(values: Values) -> tuple[str, ...] | None:
    each, each_node = values.flag("one-per-alert", False), values.flag("one-per-node", False)
    values.note(CHANGED, ["one-per-alert"], 'it is group_by: ["..."] of the route.')
    values.note(CHANGED, ["one-per-node"], "it is group_by: [node] of the route.")
    if each:
        return ("...",)
    return ("node",) if each_node else None


def _mail_tls(values: Values, host: str, port: int) -> str:
    if port == PORTS["implicit"]:
        values.note(
            CHANGED, ["port"], "465 is TLS from the first byte here (tls: implicit), which consul-alerts could not do."
        )
        return "implicit"
    if _is_loopback(host):
        values.note(
            CHANGED,
            ["url"],
            "mail to this host itself goes without TLS (tls: none); set tls: starttls if it can do it.",
        )
        return "none"
    values.note(
        CHANGED,
        ["url"],
        "STARTTLS with a valid certificate is required (tls: starttls); consul-alerts used it if it was offered.",
    )
    return "starttls"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _log(values: Values) -> Draft:
    path = values.text("path")
    if not path.startswith("/") or path.startswith("/tmp/") or not path.isprintable():
        values.note(
            CHANGED, ["path"], f"the file is {LOG_PATH}: a directory that everybody may write into is no place for it."
        )
        path = LOG_PATH
    return Draft({"type": "file", "path": path, "format": "text"})


# ---------------------------------------------------------------------------------------------------------------
# Chat


def _slack(values: Values) -> Draft | None:
    values.note(NO_EQUAL, ["detailed"], _DETAILED)
    return _chat("slack", values, {"icon-emoji": "icon_emoji"})


def _mattermost_webhook(values: Values) -> Draft | None:
    return _chat("mattermost", values, {})


def _chat(type_name: str, values: Values, more: t.Mapping[str, str]) -> Draft | None:
    names = {"channel": "channel", "username": "username", "icon-url": "icon_url", **more}
    overrides = {option: values.text(name) for name, option in names.items()}
    template = _subject(values)
    url = values.text("url")
    if not url:
        return _incomplete(values, "url")
    if not _is_url(url):
        values.note(
            PROBLEM, ["url"], "it is no address of the form https://host/path, so the notifier is not taken over."
        )
        return None
    given = {option: text for option, text in overrides.items() if text}
    return Draft({"type": type_name, **given, **template}, {"url": url})


# ---------------------------------------------------------------------------------------------------------------
# On-call services


def _pagerduty(values: Values) -> Draft | None:
    values.note(NO_EQUAL, ["client-name"], "events name the agent's host.")
    values.note(
        CHANGED,
        ["max-retry", "retry-base-interval"],
        "every receiver tries for 24 h with growing pauses (give_up_after).",
    )
    client_url = values.text("client-url")
    key = values.text("service-key")
    if not key:
        return _incomplete(values, "service-key")
    values.note(
        CHANGED,
        ["service-key"],
        "events go to version 2 of the Events API: if PagerDuty refuses the key, add an integration of that kind.",
    )
    if client_url and not _is_url(client_url):
        values.note(PROBLEM, ["client-url"], "it is no address of the form https://host/path, so it is left out.")
        client_url = ""
    return Draft({"type": "pagerduty", **({"client_url": client_url} if client_url else {})}, {"routing_key": key})


def _opsgenie(values: Values) -> Draft | None:
    values.note(NO_EQUAL, ["cluster-name"], _NAMED)
    key = values.text("api-key")
    if not key:
        return _incomplete(values, "api-key")
    values.note(
        CHANGED,
        ["api-key"],
        "each check has an alert of its own there now; if you move on, the type jira_service_management has the same options.",
    )
    return Draft({"type": "opsgenie"}, {"api_key": key})


def _victorops(values: Values) -> Draft | None:
    key, routing_key = values.text("api-key"), values.text("routing-key")
    if not key or not routing_key:
        return _incomplete(values, "api-key and routing-key")
    url = f"{VICTOROPS_URL}/{key}"
    if not _is_url(url):
        values.note(PROBLEM, ["api-key"], "it cannot be a part of an address, so the notifier is not taken over.")
        return None
    values.note(
        CHANGED, ["api-key"], "it is a part of the address in url_file; each check is an incident of its own now."
    )
    return Draft({"type": "victorops", "routing_key": routing_key}, {"url": url})


def _ilert(values: Values) -> Draft | None:
    own_key = "the key of an incident is made of datacenter, node, service, check and rule."
    values.note(NO_EQUAL, ["incident-key-template", "incident-key-include-host"], own_key)
    key = values.text("api-key")
    if not key:
        return _incomplete(values, "api-key")
    values.note(CHANGED, ["api-key"], "a warning opens an alert of low priority; consul-alerts closed one.")
    return Draft({"type": "ilert"}, {"integration_key": key})


# ---------------------------------------------------------------------------------------------------------------
# Others


def _awssns(values: Values) -> Draft | None:
    values.note(NO_EQUAL, ["template"], _OWN_WORDS)
    region, topic = values.text("region"), values.text("topic-arn")
    template = _subject(values)
    if not topic:
        return _incomplete(values, "topic-arn")
    values.note(
        CHANGED,
        ["topic-arn"],
        "the library botocore is needed on the host; credentials are where AWS's tools have them.",
    )
    return Draft({"type": "aws_sns", "topic_arn": topic, **({"region": region} if region else {}), **template})


def _http_endpoint(values: Values) -> Draft | None:
    values.note(NO_EQUAL, ["cluster-name"], _NAMED)
    values.note(
        NO_EQUAL,
        ["payload"],
        "the webhook sends the whole notification as JSON; for a body of your own set format: text, content_type and template.text.",
    )
    url = values.text("base-url") + values.text("endpoint")
    if not url:
        return _incomplete(values, "base-url")
    options, secrets = {"type": "webhook"}, {"url": url}
    try:
        parts = urlsplit(url)
        user, at, host = parts.netloc.rpartition("@")
    except ValueError:
        at = ""
    if at:
        username, _colon, password = user.partition(":")
        secrets["url"] = parts._replace(netloc=host).geturl()
        if username and password:
            options["username"], secrets["password"] = unquote(username), unquote(password)
    if not _is_url(secrets["url"]):
        sentence = "together they are no address of the form https://host/path, so the notifier is not taken over."
        values.note(PROBLEM, ["base-url", "endpoint"], sentence)
        return None
    values.note(
        CHANGED,
        ["base-url", "endpoint"],
        "together they are the address in url_file; every status of 200 to 299 is a success.",
    )
    return Draft(options, secrets)


def _none(sentence: str) -> t.Callable[[Values], None]:
    def make(values: Values) -> None:
        values.note(NO_EQUAL, values.names, sentence)

    return make


_mattermost = _none(
    "version 3 of Mattermost's API is gone: make an incoming webhook and a receiver of the type mattermost."
)
_hipchat = _none("HipChat is gone: choose another receiver.")
_influxdb = _none(
    "it writes to InfluxDB 0.8: the type influxdb needs url, org, bucket and a token of version 2 or later."
)

MAKERS: dict[str, t.Callable[[Values], Draft | None]] = {
    "log": _log,
    "email": _email,
    "slack": _slack,
    "mattermost": _mattermost,
    "mattermost-webhook": _mattermost_webhook,
    "pagerduty": _pagerduty,
    "hipchat": _hipchat,
    "opsgenie": _opsgenie,
    "awssns": _awssns,
    "victorops": _victorops,
    "influxdb": _influxdb,
    "http-endpoint": _http_endpoint,
    "ilert": _ilert,
}
NOTIFIERS = tuple(MAKERS)
WITHOUT_EQUAL = ("mattermost", "hipchat", "influxdb")


def _incomplete(values: Values, needed: str) -> Draft | None:
    """Note that a notifier lacks what it needs; return no receiver."""
    names = [name for name in values.names if name != "enabled"] or values.names
    values.note(PROBLEM, names, f"the notifier cannot work without a usable {needed}, so it is not taken over.")
    return None


def _is_url(url: str) -> bool:
    try:
        checked_url(url, "")
    except InvalidOption:
        return False
    return url.isprintable()


def _subject(values: Values) -> dict[str, t.Any]:
    """Return a template with the name of the cluster at the beginning of subjects, {} without such a name."""
    name = values.text("cluster-name")
    if not name:
        return {}
    if set(name) & set("{}") or not name.isprintable() or len(name) > MAX_SUBJECT // 2:
        values.note(NO_EQUAL, ["cluster-name"], _NAMED)
        return {}
    values.note(CHANGED, ["cluster-name"], "it is at the beginning of template.subject.")
    return {"template": {"subject": f"[{name}] {DEFAULT_SUBJECT}"}}
