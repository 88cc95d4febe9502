# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What 1.8.7 and 1.23-dev answered to the same requests means the same, and makes the same sentence."""

from __future__ import annotations

import re

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint, errors, failures

from tests.lab.recorded import NEW, OLD, answers

HERE = endpoint.resolve({"url": "http://127.0.0.1:8500", "token": "00000000-1111-2222-3333-444444444444"}, {})
FAILED = sorted(name for name, answer in answers(OLD).items() if answer["status"] >= 400 and answer["body"])
# These two differ in more than words: an unhealthy state as status, and errors inside a transaction.
OTHERS = {
    name for name in FAILED if name.startswith(("autopilot_health.", "txn_")) and answers(OLD)[name]["body"][:1] == "{"
}


def error_of(version: str, name: str) -> errors.ConsulError:
    answer = answers(version)[name]
    return failures.of_status(answer["status"], answer["body"].encode(), answer["headers"], answer["request"], HERE)


def test_both_versions_were_asked_the_same() -> None:
    assert set(answers(OLD)) == set(answers(NEW))
    assert len(FAILED) - len(OTHERS) > 25


@pytest.mark.parametrize("name", [name for name in FAILED if name not in OTHERS])
def test_the_same_error_is_made_of_both_answers(name: str) -> None:
    old, new = error_of(OLD, name), error_of(NEW, name)
    assert type(old) is type(new)
    if not isinstance(new, (errors.PermissionDenied, errors.NotFound)):
        assert str(old).replace("129 > 64", "129 > 128") == str(new)
    assert "AccessorID" not in str(new) + new.consul_message and len(str(new)) < 250
    if isinstance(new, errors.PermissionDenied):
        # The missing permission is said once, and not at all where the caller says what the token needs.
        assert str(new).startswith(str(old))
        assert len(re.findall(r"(key|acl|operator):(read|write)", str(new))) <= 1
        assert isinstance(old, errors.PermissionDenied)
        assert str(new.with_advice("Before:", "After.")) == str(old.with_advice("Before:", "After."))


def test_the_accessor_id_is_in_the_details() -> None:
    error = error_of(NEW, "kv_put.half_rights")
    assert str(error).endswith('403 Permission denied. The token lacks key:write on "app/b".')
    assert error.details == {"token_accessor_id": "6622e998-21de-dcb3-223b-33f216b8b0f3"}
    assert isinstance(error, errors.PermissionDenied)
    assert error.with_advice(after="It needs more.").details == error.details
    assert error_of(NEW, "kv_put.anonymous").details == {}


@pytest.mark.parametrize("name", ["check_update_unknown", "deregister_unknown"])
@pytest.mark.parametrize("version", [OLD, NEW])
def test_an_agent_that_does_not_know_a_check_or_service_says_not_found(version: str, name: str) -> None:
    assert isinstance(error_of(version, name), errors.NotFound)
