# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A token in a file that appears, changes or cannot be read while a process runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._config.credentials import resolve_credentials
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import InvalidOption, TokenUnavailable
from ansible_collections.consulops.failover.plugins.module_utils._consul.token_file import TokenFile


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def test_a_file_that_is_replaced_has_another_token_and_one_that_cannot_be_read_the_one_of_before(
    tmp_path: Path,
) -> None:
    path = tmp_path / "token"
    file = TokenFile(str(path), "token_file")
    with pytest.raises(
        TokenUnavailable, match=r"^token_file .*/token: No such file or directory, so the token cannot be read\.$"
    ):
        file.read()
    for number, (text, token) in enumerate(
        (("first\n", "first"), ("second", "second"), ("", "second"), ("a b", "second"))
    ):
        replace(path, text)
        assert file.read() == token, number
    path.unlink()
    assert file.read() == "second"
    assert file.secrets == ("first", "second")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty: put the token's SecretID into it"),
        (b"a b", "characters that no Consul"),
        (b"\xff", "not plain text"),
    ],
)
def test_a_file_without_a_token_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(TokenUnavailable, match=f"{path} .*{said}"):
        TokenFile(str(path), "token_file").read()


def test_connections_are_the_same_while_their_token_is_in_the_same_file(tmp_path: Path) -> None:
    """So that a reload after a token was replaced starts nothing anew."""
    path = tmp_path / "token"
    replace(path, "first")
    before = endpoint.resolve({"token_file": str(path)}, {})
    assert before.token == "first"
    replace(path, "second")
    after = endpoint.resolve({}, {"CONSUL_HTTP_TOKEN_FILE": str(path)})
    assert before == after and hash(before) == hash(after) and before.token == after.token == "second"
    assert before.redact("first and second") == "… and …"
    assert "first" not in repr(before)


def test_only_agents_start_without_a_token_that_may_come_later(tmp_path: Path) -> None:
    options = {"token_file": str(tmp_path / "token")}
    with pytest.raises(InvalidOption, match="No such file"):
        endpoint.resolve(options, {})
    late = endpoint.resolve(options, {}, late_token=True)
    assert late.token is None
    with pytest.raises(InvalidOption, match="No such file"):
        endpoint.check_token(late)
    replace(tmp_path / "token", "there")
    endpoint.check_token(late)
    assert late.token == "there"


def test_a_credential_may_be_missing_below_the_options_that_say_so(tmp_path: Path) -> None:
    options = {"receivers": {"ops": {"url_file": "credential:hook"}}, "receivers_x": "credential:hook"}
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    with pytest.raises(InvalidOption, match=r"^receivers_x: the unit has no credential 'hook'"):
        resolve_credentials(options, environ, late={"receivers"})
    (tmp_path / "hook").write_text("x")
    found = resolve_credentials(options, environ, late={"receivers"})
    (tmp_path / "hook").unlink()
    del options["receivers_x"], found["receivers_x"]
    assert resolve_credentials(options, environ, late={"receivers"}) == found
    options["receivers"]["ops"]["url_file"] = "credential:../hook"  # type: ignore[index]
    with pytest.raises(InvalidOption):
        resolve_credentials(options, environ, late={"receivers"})
