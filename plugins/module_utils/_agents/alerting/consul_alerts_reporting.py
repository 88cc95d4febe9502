# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes receivers and routes of the notifiers, profiles and selections of consul-alerts. Pure.

consul-alerts takes the first selection that matches, by service, check, host and status, and in each by exact name before regular
expression. Its profile names the notifiers; one without a list means all that are enabled.
"""

from __future__ import annotations

import itertools
import re
import typing as t

from ..._config.durations import seconds_text
from ..._config.import_notes import CHANGED, NO_EQUAL, PROBLEM, Notes
from ..._config.imported_values import Value, Values, parse_json, whole_number
from .consul_alerts_notifiers import NOTIFIERS, WITHOUT_EQUAL, Draft, make_draft, make_program
from .consul_alerts_patterns import compiled, exact, from_regexp

NEVER, ALWAYS = "never", "always"
FIELDS = {"services": "service", "checks": "check", "hosts": "node", "status": "severity"}  # in the order of selection
SEVERITIES = ("warning", "critical")
EVERYTHING = {"rule": "*"}
Options = dict[str, t.Any]


class Target(t.NamedTuple):
    """A receiver, and how its alerts are grouped (None for the default)."""

    receiver: str
    group_by: tuple[str, ...] | None


class Profile(t.NamedTuple):
    """Who is told, and when again. ``is_silent`` means nobody, on purpose."""

    targets: tuple[Target, ...]
    repeat_every: str
    is_silent: bool = False


class Reporting:
    """Receivers, routes and secrets, made of the keys below ``config/``. ``secrets`` are by file name, None if unusable."""

    def __init__(self, config: t.Mapping[str, Value], secrets_directory: str, notes: Notes) -> None:
        self._config = config
        self._directory = secrets_directory.rstrip("/")
        self._notes = notes
        self.receivers: dict[str, Options] = {}
        self.secrets: dict[str, str | None] = {}
        self._fields = self._fields_by_notifier()
        self._targets: dict[str, list[Target]] = {}
        self._make_targets()
        self._profiles: dict[str, Profile] = {}
        self._silent_routes = False

    def options(self) -> Options:
        """Return the options ``receivers``, ``fallback_receiver``, ``route`` and, if needed, ``time_intervals``."""
        routes = [route for kind in FIELDS for route in self._selections(kind)]
        default = self._profile("default")
        self._note_unused_profiles()
        if not self.receivers:
            self.receivers["journal"] = {"type": "syslog"}
            place = next(
                (value.key for path, value in self._config.items() if path.startswith("notifiers/")), "notifiers"
            )
            self._notes.add(
                PROBLEM, [place], "no notifier could be taken over, so alerts go to this host's syslog: add receivers."
            )
        root: Options = {
            "receiver": self._first_receiver(default),
            "repeat_every": default.repeat_every,
            "routes": routes,
        }
        if default.is_silent or len(default.targets) > 1 or any(target.group_by for target in default.targets):
            last = self._route(EVERYTHING, default)
            routes += last.get("routes", [last])
        options: Options = {
            "receivers": self.receivers,
            "fallback_receiver": self._fallback(root["receiver"]),
            "route": root,
        }
        if self._silent_routes:
            options["time_intervals"] = [{"name": ALWAYS, "time_intervals": [{"years": ["1:9999"]}]}]
        return options

    def _first_receiver(self, default: Profile) -> str:
        """Return who gets what no route covers."""
        return self._best([target.receiver for target in default.targets] or list(self.receivers))

    def _fallback(self, first: str) -> str:
        return self._best([name for name in self.receivers if name != first] or [first])

    def _best(self, names: t.Sequence[str]) -> str:
        """Return the first receiver that is no file, because a file is read by nobody."""
        return next((name for name in names if self.receivers[name]["type"] != "file"), names[0])

    # -----------------------------------------------------------------------------------------------------------
    # Receivers

    def _fields_by_notifier(self) -> dict[str, dict[str, Value]]:
        fields: dict[str, dict[str, Value]] = {name: {} for name in NOTIFIERS}
        for path, value in self._config.items():
            kind, _slash, rest = path.partition("/")
            name, slash, field = rest.partition("/")
            if kind != "notifiers" or name == "custom":
                continue
            if name in fields and slash:
                fields[name][field] = value
            else:
                self._notes.add(PROBLEM, [value.key], "consul-alerts has no such notifier, so it is not taken over.")
        return fields

    def _make_targets(self) -> None:
        for name, fields in self._fields.items():
            values = Values(name, fields, self._notes)
            if values.flag("enabled", name == "log"):
                draft = make_draft(name, values)
                if draft:
                    self._targets[name] = [self._add(name, draft)]
            else:
                self._notes.add(
                    NO_EQUAL, values.keys(), f"the notifier {name} is not enabled, so it is not taken over."
                )
        if "log" in self._targets and not self._fields["log"]:
            place = next(iter(self._config.values())).key.partition("/config/")[0] if self._config else "consul-alerts"
            sentence = f"consul-alerts logs alerts unless told otherwise, so there is the receiver {self._targets['log'][0].receiver}."
            self._notes.add(CHANGED, [f"{place}/config/notifiers/log"], sentence)
        for path, value in self._config.items():
            if path.startswith("notifiers/custom/"):
                name = path[len("notifiers/custom/") :]
                values = Values(name, {name: value}, self._notes)
                draft = make_program(values.text(name), values)
                if draft:
                    self._targets.setdefault(name, []).append(self._add(name, draft))

    def _add(self, wanted: str, draft: Draft) -> Target:
        base = re.sub("[^A-Za-z0-9._-]+", "-", wanted)[:56].strip("._-") or "receiver"
        taken = {name.lower() for name in self.receivers}
        names = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
        name = next(one for one in names if one.lower() not in taken)
        options = dict(draft.options)
        for option, secret in draft.secrets.items():
            file = f"{name}.{option}"
            usable = secret.isprintable() and bool(secret.strip())
            self.secrets[file] = secret if usable else None
            options[f"{option}_file"] = f"{self._directory}/{file}"
            if not usable:
                self._notes.add(
                    PROBLEM, [wanted], f"the secret for {file} is not one line of text: write the file yourself."
                )
        self.receivers[name] = options
        return Target(name, draft.group_by)

    # -----------------------------------------------------------------------------------------------------------
    # Profiles

    def _profile(self, name: str) -> Profile:
        if name not in self._profiles:
            value = self._config.get(f"notif-profiles/{name}")
            self._profiles[name] = self._all(NEVER) if value is None else self._read_profile(name, value)
        return self._profiles[name]

    def _all(self, repeat_every: str) -> Profile:
        return Profile(tuple(target for targets in self._targets.values() for target in targets), repeat_every)

    def _read_profile(self, name: str, value: Value) -> Profile:
        given = parse_json(value.value)
        self._notes.translated.add(value.key)
        if not isinstance(given, dict):
            self._notes.add(PROBLEM, [value.key], "it is not a JSON object, so all enabled notifiers are told, once.")
            return self._all(NEVER)
        fields = {field.lower(): item for field, item in given.items()}  # as Go reads JSON
        unknown = set(fields) - {"interval", "notiflist", "varoverrides"}
        if unknown:
            self._notes.add(PROBLEM, [value.key], "it has options that consul-alerts does not know; they are left out.")
        repeat_every = self._interval(value, fields.get("interval"))
        overrides = self._objects(value, "VarOverrides", fields.get("varoverrides"))
        listed = fields.get("notiflist")
        if listed is not None and not (
            isinstance(listed, dict) and all(isinstance(one, bool) for one in listed.values())
        ):
            self._notes.add(
                PROBLEM, [value.key], "NotifList is not an object of true and false, so all enabled notifiers are told."
            )
            listed = None
        names = [notifier for notifier, chosen in listed.items() if chosen] if listed else list(self._targets)
        targets: list[Target] = []
        for notifier in names:
            if notifier not in self._targets:
                self._notes.add(PROBLEM, [value.key], f"it names {notifier}, {self._why_missing(notifier)}.")
                continue
            fields_given = overrides.pop(notifier, None)
            variant = self._variant(name, value, notifier, fields_given) if fields_given else None
            targets += [variant] if variant else self._targets[notifier]
        if overrides:
            self._notes.add(
                NO_EQUAL, [value.key], f"VarOverrides for {', '.join(sorted(overrides))} change nothing that it uses."
            )
        if names and not targets:
            self._notes.add(
                PROBLEM, [value.key], "none of its notifiers could be taken over, so the default receiver is told."
            )
        return Profile(tuple(dict.fromkeys(targets)), repeat_every, is_silent=bool(listed) and not names)

    def _why_missing(self, notifier: str) -> str:
        if notifier in WITHOUT_EQUAL:
            return "which has no equal or is not enabled"
        return "which is not taken over" if notifier in NOTIFIERS else "which does not exist"

    def _variant(self, profile: str, value: Value, notifier: str, given: t.Mapping[str, t.Any]) -> Target | None:
        """Return a receiver of its own for a notifier whose options a profile overrides."""
        if notifier not in NOTIFIERS:
            self._notes.add(NO_EQUAL, [value.key], f"VarOverrides change nothing of {notifier}, a program.")
            return None
        changed = {
            field: Value(value.key, item, is_json=True)
            for field, item in given.items()
            if item not in (None, "", [], False)
        }
        draft = make_draft(notifier, Values(notifier, {**self._fields[notifier], **changed}, self._notes))
        if draft is None:
            return None
        target = self._add(f"{notifier}-{profile}", draft)
        self._notes.add(
            CHANGED, [value.key], f"what VarOverrides change of {notifier} is the receiver {target.receiver}."
        )
        return target

    def _objects(self, value: Value, field: str, given: t.Any) -> dict[str, dict[str, t.Any]]:
        if given is None:
            return {}
        if not isinstance(given, dict) or not all(isinstance(one, dict) for one in given.values()):
            self._notes.add(PROBLEM, [value.key], f"{field} is not an object of objects, so it is left out.")
            return {}
        return dict(given)

    def _interval(self, value: Value, given: t.Any) -> str:
        minutes = 0 if given is None or isinstance(given, str) else whole_number(given)
        if minutes is None or isinstance(given, str):
            self._notes.add(
                PROBLEM, [value.key], "Interval is not a whole number of minutes, so there are no reminders."
            )
            return NEVER
        if minutes <= 0:
            return NEVER
        self._notes.add(
            CHANGED,
            [value.key],
            "Interval is repeat_every of the route, to the second; a reminder shows the state of then.",
        )
        return seconds_text(minutes * 60)

    def _note_unused_profiles(self) -> None:
        for path, value in self._config.items():
            if path.startswith("notif-profiles/") and path[len("notif-profiles/") :] not in self._profiles:
                self._notes.add(NO_EQUAL, [value.key], "no selection names the profile, so it is not taken over.")

    # -----------------------------------------------------------------------------------------------------------
    # Selections

    def _selections(self, kind: str) -> t.Iterator[Options]:
        exactly = f"notif-selection/{kind}/"
        for path, value in self._config.items():
            if path.startswith(exactly):
                yield from self._selected(kind, value, exact(path[len(exactly) :]), value.value)
        value = self._config.get(f"notif-selection/{kind}")  # type: ignore[assignment]
        if value is None:
            return
        self._notes.translated.add(value.key)
        given = parse_json(value.value)
        if not isinstance(given, dict) or not all(isinstance(profile, str) for profile in given.values()):
            self._notes.add(
                PROBLEM, [value.key], "it is not a JSON object of regular expressions and profiles, so it is left out."
            )
            return
        if len(given) > 1:
            sentence = "the expressions are tried in their order; consul-alerts took any one of those that matched."
            self._notes.add(CHANGED, [value.key], sentence)
        for text, profile in given.items():
            pattern = from_regexp(text)
            if pattern is None:
                self._notes.add(
                    PROBLEM, [value.key], f"the expression {text!r} cannot be read by Python: add its route yourself."
                )
            else:
                yield from self._selected(kind, value, pattern, profile)

    def _selected(self, kind: str, value: Value, pattern: str, profile: str) -> t.Iterator[Options]:
        self._notes.translated.add(value.key)
        match: t.Any = pattern
        if kind == "status":
            match = statuses(pattern)
            if not match:
                self._notes.add(
                    NO_EQUAL,
                    [value.key],
                    "a recovery goes to those who were told of the failure, so there is no route for it.",
                )
                return
            self._notes.add(
                CHANGED, [value.key], "routes go by the worst severity of the alert, not by the status of the moment."
            )
        name = profile.strip(" \t\r\n")
        if f"notif-profiles/{name}" not in self._config and name != "default":
            self._notes.add(
                PROBLEM, [value.key], "it names a profile that does not exist, so all enabled notifiers are told."
            )
        yield self._route({FIELDS[kind]: match}, self._profile(name))

    def _route(self, match: Options, profile: Profile) -> Options:
        route: Options = {"match": match, "repeat_every": profile.repeat_every}
        if profile.is_silent:
            self._silent_routes = True
            return {**route, "mute_times": [ALWAYS]}
        if not profile.targets:
            return route
        if len(profile.targets) == 1:
            return {**route, **_destination(profile.targets[0])}
        routes = [{"match": EVERYTHING, **_destination(target), "continue": True} for target in profile.targets]
        return {**route, "routes": routes}


def statuses(pattern: str) -> list[str]:
    """Return which of our severities a pattern for a status of consul-alerts matches."""
    if not pattern.startswith("re:"):
        return [status for status in SEVERITIES if status == pattern]
    expression = compiled(pattern[len("re:") :])
    return [status for status in SEVERITIES if expression is not None and expression.search(status)]


def _destination(target: Target) -> Options:
    grouping = {} if target.group_by is None else {"group_by": list(target.group_by)}
    return {"receiver": target.receiver, **grouping}
