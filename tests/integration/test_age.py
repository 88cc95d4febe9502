# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encrypted snapshots and Debian's age: each reads what the other wrote."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.private_file import PrivateFile
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.encryption import age_files
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.encryption.age_format import (
    DecryptionKeys,
    EncryptionKeys,
)

from tests.workshop import debian

DATA = os.urandom(5_000_000)


@pytest.fixture(scope="module")
def age() -> Path:
    return debian.age()


@pytest.fixture
def identity(age: Path, tmp_path: Path) -> tuple[str, str]:
    """A recipient and the file of its identity, of age-keygen."""
    keygen = str(age.with_name("age-keygen"))
    path = str(tmp_path / "identity")
    subprocess.run([keygen, "-o", path], check=True, stderr=subprocess.DEVNULL)
    done = subprocess.run([keygen, "-y", path], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip(), path


def test_age_decrypts_ours(age: Path, identity: tuple[str, str], tmp_path: Path) -> None:
    recipient, path = identity
    (tmp_path / "plain").write_bytes(DATA)
    with PrivateFile(tmp_path) as copy:
        age_files.encrypt(tmp_path / "plain", copy, EncryptionKeys((recipient,)))
        copy.commit(tmp_path / "a.snap.age")
    done = subprocess.run(
        [str(age), "-d", "-i", path, str(tmp_path / "a.snap.age")], check=True, stdout=subprocess.PIPE
    )
    assert done.stdout == DATA


@pytest.mark.parametrize("options", [(), ("--armor",)], ids=["binary", "armored"])
def test_ours_decrypts_ages(age: Path, identity: tuple[str, str], tmp_path: Path, options: tuple[str, ...]) -> None:
    recipient, path = identity
    (tmp_path / "plain").write_bytes(DATA)
    encrypted = tmp_path / "a.snap.age"
    command = [str(age), *options, "-r", recipient, "-o", str(encrypted), str(tmp_path / "plain")]
    subprocess.run(command, check=True)
    with PrivateFile(tmp_path) as copy:
        age_files.decrypt(encrypted, copy, DecryptionKeys(path), "a.snap.age")
        copy.flush()
        assert copy.path.read_bytes() == DATA
