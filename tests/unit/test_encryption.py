# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encrypted snapshot files: for whom, by which keys they are opened, and what is said when they are not."""

from __future__ import annotations

import hashlib
import os
import typing as t
from pathlib import Path

import pyrage
import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.errors import (
    Error,
    GuardRefused,
    InvalidOption,
    LocalFailure,
    MissingLibrary,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.encryption import (
    _libraries,
    age_files,
    age_format,
    age_keys,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.encryption.age_format import (
    DecryptionKeys,
    EncryptionKeys,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.encryption.errors import (
    DamagedEncryption,
    NoIdentity,
    WrongIdentity,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

DATA = os.urandom(300_000)


class Collected:
    """Takes what is written."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


class Full:
    """A disk without room."""

    def write(self, data: bytes) -> None:
        raise LocalFailure("writing to /x: No space left on device.")


class Pair(t.NamedTuple):
    """A recipient and a file with its identity."""

    recipient: str
    identity_file: str


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return new_pair(tmp_path / "identity")


def new_pair(path: Path) -> Pair:
    identity = pyrage.x25519.Identity.generate()
    path.write_text(f"# created: now\n# public key: {identity.to_public()}\n{identity}\n")
    return Pair(str(identity.to_public()), str(path))


def ssh_pair(path: Path, key: t.Any) -> Pair:
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return Pair(public.decode() + " me@host", str(path))


def encrypted(directory: Path, data: bytes = DATA, **keys: t.Any) -> Path:
    (directory / "plain").write_bytes(data)
    copy = Collected()
    age_files.encrypt(directory / "plain", copy, EncryptionKeys(**keys))
    (directory / "encrypted").write_bytes(copy.data)
    return directory / "encrypted"


def decrypted(path: Path, **keys: t.Any) -> bytes:
    copy = Collected()
    age_files.decrypt(path, copy, DecryptionKeys(**keys), "a.snap.age")
    return copy.data


def test_each_recipient_can_read_it_and_nobody_else(tmp_path: Path) -> None:
    first, second, third = (new_pair(tmp_path / name) for name in "abc")
    path = encrypted(tmp_path, recipients=(first.recipient, second.recipient))
    assert DATA[:1000] not in path.read_bytes()
    assert decrypted(path, identity_file=first.identity_file) == DATA
    assert decrypted(path, identity_file=second.identity_file) == DATA
    with pytest.raises(WrongIdentity, match="a.snap.age cannot be decrypted: no identity in .*/c is one of its"):
        decrypted(path, identity_file=third.identity_file)


def test_the_manifest_says_for_whom_and_describes_the_encrypted_file(tmp_path: Path, pair: Pair) -> None:
    (tmp_path / "plain").write_bytes(DATA)
    copy = Collected()
    said = age_files.encrypt(tmp_path / "plain", copy, EncryptionKeys((pair.recipient,)))
    assert said.recipients == (pair.recipient,) and said.format == "age"
    assert (said.size, said.sha256) == (len(copy.data), hashlib.sha256(copy.data).hexdigest())


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_ssh_keys_are_recipients_too(tmp_path: Path, kind: str) -> None:
    key = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else rsa.generate_private_key(65537, 2048)
    pair = ssh_pair(tmp_path / "ssh", key)
    assert decrypted(encrypted(tmp_path, recipients=(pair.recipient,)), identity_file=pair.identity_file) == DATA
    assert age_keys.shown_recipient(pair.recipient) == " ".join(pair.recipient.split()[:2])


def test_a_passphrase_opens_it_and_no_other_does(tmp_path: Path) -> None:
    (tmp_path / "right").write_text("correct horse\n")
    (tmp_path / "wrong").write_text("battery staple\n")
    path = encrypted(tmp_path, passphrase_file=str(tmp_path / "right"))
    assert decrypted(path, passphrase_file=str(tmp_path / "right")) == DATA
    with pytest.raises(WrongIdentity, match="holds another passphrase"):
        decrypted(path, passphrase_file=str(tmp_path / "wrong"))
    with pytest.raises(NoIdentity, match="set passphrase_file"):
        decrypted(path)


def test_a_passphrase_that_needs_too_much_work_is_not_called_damage(tmp_path: Path) -> None:
    """Its work factor is 2 ** 40 here; on a host that is busy, age finds the usual one too large."""
    (tmp_path / "right").write_text("correct horse")
    path = tmp_path / "a.snap.age"
    path.write_bytes(
        b"age-encryption.org/v1\n-> scrypt "
        + b"A" * 22
        + b" 40\n"
        + b"A" * 43
        + b"\n--- "
        + b"A" * 43
        + b"\n"
        + b"x" * 99
    )
    with pytest.raises(LocalFailure, match="cannot be decrypted now: the work for its passphrase"):
        decrypted(path, passphrase_file=str(tmp_path / "right"))


def test_a_file_too_large_for_a_passphrase_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(age_files, "PASSPHRASE_MAX", len(DATA) - 1)
    (tmp_path / "right").write_text("correct horse")
    with pytest.raises(GuardRefused, match="use recipients"):
        encrypted(tmp_path, passphrase_file=str(tmp_path / "right"))


def test_a_missing_identity_is_said(tmp_path: Path, pair: Pair) -> None:
    path = encrypted(tmp_path, recipients=(pair.recipient,))
    with pytest.raises(NoIdentity, match="set identity_file"):
        decrypted(path)
    with pytest.raises(LocalFailure, match="absent"):
        decrypted(path, identity_file=str(tmp_path / "absent"))


@settings(max_examples=60)
@given(where=st.integers(0, 300_700), cut=st.booleans())
def test_a_cut_or_damaged_file_is_never_taken_for_whole(
    where: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("damaged")
    pair = new_pair(directory / "identity")
    path = encrypted(directory, recipients=(pair.recipient,))
    data = path.read_bytes()
    where %= len(data)
    path.write_bytes(data[:where] if cut else data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :])
    with pytest.raises((DamagedEncryption, WrongIdentity)) as caught:
        decrypted(path, identity_file=pair.identity_file)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("a.snap.age ")


def test_a_file_of_another_kind_is_said(tmp_path: Path, pair: Pair) -> None:
    (tmp_path / "plain").write_bytes(DATA)
    with pytest.raises(DamagedEncryption, match="not encrypted with age"):
        decrypted(tmp_path / "plain", identity_file=pair.identity_file)
    assert not age_format.is_encrypted(tmp_path / "plain")
    assert age_format.is_encrypted(encrypted(tmp_path, recipients=(pair.recipient,)))


def test_a_full_disk_is_said_as_such(tmp_path: Path, pair: Pair) -> None:
    path = encrypted(tmp_path, recipients=(pair.recipient,))
    with pytest.raises(LocalFailure, match="No space left"):
        age_files.encrypt(tmp_path / "plain", Full(), EncryptionKeys((pair.recipient,)))
    with pytest.raises(LocalFailure, match="No space left"):
        age_files.decrypt(path, Full(), DecryptionKeys(pair.identity_file), "x")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("age1qqqq", "no public key of age"),
        ("ssh-ed25519 AAAA", "no public key of age"),
        ("AGE-SECRET-KEY-1QQQQ", "holds a secret key"),
    ],
)
def test_a_recipient_that_is_none_is_refused_before_anything_is_saved(key: str, words: str) -> None:
    with pytest.raises(InvalidOption, match=words) as caught:
        age_files.check_keys(EncryptionKeys((key,)))
    assert "1QQQQ" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("# only a comment\n", "holds no identity"),
        ("AGE-SECRET-KEY-1XYZ\n", "line 1 is no age identity"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nxyz\n", "no SSH key that can be used"),
        ("age-encryption.org/v1\n-> scrypt xyz\n", "encrypted with a passphrase itself"),
    ],
)
def test_an_identity_file_that_cannot_be_used_is_said_without_its_content(
    tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "identity").write_text(content)
    with pytest.raises(InvalidOption, match=words) as caught:
        age_keys.read_identities(str(tmp_path / "identity"))
    assert "XYZ" not in str(caught.value) and "xyz" not in str(caught.value)


def test_an_empty_passphrase_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(InvalidOption, match="is empty"):
        age_files.check_keys(EncryptionKeys(passphrase_file=str(tmp_path / "empty")))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_libraries, "IMPORT_ERROR", "no module")
    with pytest.raises(MissingLibrary, match="pip install pyrage"):
        age_files.check_keys(EncryptionKeys(("age1",)))


def test_every_error_is_the_houses() -> None:
    assert issubclass(NoIdentity, Error) and issubclass(WrongIdentity, Error) and issubclass(DamagedEncryption, Error)
