# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Object stores: SeaweedFS and rclone as real S3 servers, and a proxy that injects faults in front of the first."""

from __future__ import annotations

import os
import time
import typing as t
import uuid
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul.private_file import PrivateFile
from ansible_collections.consulops.failover.plugins.module_utils._snapshot import stored_snapshots
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.errors import (
    AlreadyStored,
    NotStored,
    StoreDenied,
    StoredWrong,
    StoreError,
    StoreFailed,
    StoreUnreachable,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.object_store import (
    WHOLE_MAX,
    open_object_store,
)
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores.store import Store, StoreOptions

from tests.lab.object_stores import Rclone, SeaweedFS
from tests.lab.snapshot_files import manifest_of, written
from tests.lab.store_faults import StoreProxy

SMALL = os.urandom(300_000)
LARGE = os.urandom(3 * WHOLE_MAX + 12_345)


@pytest.fixture(autouse=True)
def no_cloud_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables with which a developer's shell names a cloud."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def bucket(seaweedfs: SeaweedFS) -> str:
    return seaweedfs.bucket("object-stores")


@pytest.fixture
def place() -> str:
    """A prefix of this test alone."""
    return f"a/{uuid.uuid4().hex}"


OpenStore = t.Callable[..., Store]


@pytest.fixture
def at(seaweedfs: SeaweedFS, bucket: str, place: str) -> OpenStore:
    """Return a function that opens the place of the test as a user."""

    def open_at(user: str = "owner", **changes: t.Any) -> Store:
        options = {
            "url": f"s3://{bucket}/{place}/",
            "endpoint": seaweedfs.url,
            "ca_file": seaweedfs.ca_file,
            "credentials_file": seaweedfs.credentials(user),
            "timeout_s": 20.0,
            **changes,
        }
        return open_object_store(StoreOptions(**options), {})

    return open_at


@pytest.fixture
def proxy(seaweedfs: SeaweedFS) -> t.Iterator[StoreProxy]:
    with StoreProxy(seaweedfs.url, seaweedfs.ca_file) as running:
        yield running


@pytest.fixture
def through(at: OpenStore, proxy: StoreProxy) -> Store:
    """The place of the test through the proxy."""
    return at(endpoint=proxy.url, timeout_s=5.0)


def contents(store: Store, name: str) -> bytes:
    with store.open(name) as source:
        return b"".join(iter(lambda: source.read(100_000), b""))


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_an_object_is_stored_listed_read_and_deleted(at: OpenStore, tmp_path: Path, data: bytes) -> None:
    store = at()
    store.create("a.snap", written(tmp_path, data))
    [found] = store.objects()
    assert (found.name, found.size) == ("a.snap", len(data)) and abs(found.modified - time.time()) < 300
    assert contents(store, "a.snap") == data
    store.delete("a.snap")
    store.delete("a.snap")
    assert list(store.objects()) == []
    with pytest.raises(NotStored, match="has no object a.snap"):
        contents(store, "a.snap")


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_an_object_is_never_overwritten(at: OpenStore, tmp_path: Path, data: bytes) -> None:
    store = at()
    store.create("a.snap", written(tmp_path, b"first"))
    with pytest.raises(AlreadyStored, match="nothing was written"):
        store.create("a.snap", written(tmp_path, data))
    assert contents(store, "a.snap") == b"first"


def test_the_store_itself_refuses_what_was_created_meanwhile(
    at: OpenStore, through: Store, proxy: StoreProxy, tmp_path: Path
) -> None:
    other = written(tmp_path, b"theirs", "other")

    def create_first(method: str, _path: str) -> str:
        if method == "PUT":
            proxy.choose = lambda method, path: ""
            at().create("a.snap", other)
        return ""

    proxy.choose = create_first
    with pytest.raises(AlreadyStored):
        through.create("a.snap", written(tmp_path, SMALL))
    assert contents(at(), "a.snap") == b"theirs"


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_store_that_ignores_the_condition_is_asked_before(rclone: Rclone, tmp_path: Path, data: bytes) -> None:
    name = rclone.bucket(f"b{uuid.uuid4().hex}")
    options = StoreOptions(f"s3://{name}/x", endpoint=rclone.url, credentials_file=rclone.credentials())
    store = open_object_store(options, {})
    store.create("a.snap", written(tmp_path, data))
    with pytest.raises(AlreadyStored):
        store.create("a.snap", written(tmp_path, b"second"))
    assert contents(store, "a.snap") == data
    assert [found.name for found in store.objects()] == ["a.snap"]


def test_small_objects_are_read_together_empty_ones_too_up_to_a_limit(at: OpenStore) -> None:
    """A range of an empty object is an error to S3."""
    store = at()
    store.create("empty.json", b"")
    store.create("full.json", b"x" * 100)
    found = store.read_many(["empty.json", "full.json", "gone.json"], 100)
    assert found == {"empty.json": b"", "full.json": b"x" * 100}
    with pytest.raises(StoreError, match="full.json has more than 99 bytes"):
        store.read_many(["full.json"], 99)


def test_names_below_the_prefix_are_not_part_of_the_store(
    at: OpenStore, bucket: str, place: str, tmp_path: Path
) -> None:
    at(url=f"s3://{bucket}/{place}/below").create("a.snap", written(tmp_path, SMALL))
    at(url=f"s3://{bucket}/{place}-beside").create("a.snap", written(tmp_path, SMALL))
    assert list(at().objects()) == []


def test_a_snapshot_is_uploaded_read_back_listed_and_fetched(at: OpenStore, tmp_path: Path) -> None:
    store = at()
    manifest = manifest_of(LARGE)
    stored_snapshots.upload(store, written(tmp_path, LARGE), "a.snap", manifest)
    [found] = stored_snapshots.list_store(store)
    assert found.problem == "" and found.manifest == manifest
    with PrivateFile(tmp_path) as copy:
        stored_snapshots.fetch(store, found, copy)
        assert copy.path.read_bytes() == LARGE


@pytest.mark.parametrize(
    ("user", "action", "right"),
    [
        ("reader", "create", "s3:PutObject"),
        ("writer", "objects", "s3:ListBucket"),
        ("lister", "read", "s3:GetObject"),
        ("reader", "delete", "s3:DeleteObject"),
    ],
)
def test_a_right_that_is_missing_is_named(at: OpenStore, tmp_path: Path, user: str, action: str, right: str) -> None:
    source = written(tmp_path, SMALL)
    at().create("a.snap", source)
    actions: dict[str, t.Callable[[Store], object]] = {
        "create": lambda store: store.create("b.snap", source),
        "objects": lambda store: list(store.objects()),
        "read": lambda store: contents(store, "a.snap"),
        "delete": lambda store: store.delete("a.snap"),
    }
    with pytest.raises(StoreDenied, match=f"403 AccessDenied.*need {right} there") as caught:
        actions[action](at(user))
    assert caught.value.right
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_who_may_only_write_can_store_small_objects(at: OpenStore, tmp_path: Path) -> None:
    at("writer").create("a.snap", written(tmp_path, SMALL))
    assert contents(at(), "a.snap") == SMALL
    with pytest.raises(AlreadyStored):  # even though it may not look
        at("lister").create("a.snap", written(tmp_path, SMALL))


@pytest.mark.parametrize(("user", "code"), [("nobody", "InvalidAccessKeyId"), ("owner", "SignatureDoesNotMatch")])
def test_wrong_credentials_are_no_missing_right(
    at: OpenStore, seaweedfs: SeaweedFS, tmp_path: Path, user: str, code: str
) -> None:
    wrong = tmp_path / "credentials"
    wrong.write_text(f"[backup]\naws_access_key_id = {user}\naws_secret_access_key = s3cr3t\n")
    store = at(credentials_file=str(wrong), profile="backup")
    with pytest.raises(StoreDenied, match=f"{code}.*does not accept the credentials") as caught:
        list(store.objects())
    assert caught.value.right == "" and "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("action", ["create", "objects", "read"])
def test_a_bucket_that_does_not_exist_is_said(at: OpenStore, tmp_path: Path, action: str) -> None:
    store = at(url="s3://no-such-bucket/x")
    with pytest.raises(StoreError, match="NoSuchBucket.*there is no such bucket"):
        if action == "create":
            store.create("a.snap", written(tmp_path, SMALL))
        elif action == "objects":
            list(store.objects())
        else:
            contents(store, "a.snap")


def test_a_certificate_that_is_not_trusted_is_said(at: OpenStore) -> None:
    with pytest.raises(StoreUnreachable, match=r"not trusted here \(UnknownIssuer\): name the authority with ca_file"):
        list(at(ca_file=None).objects())


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("https://127.0.0.1:1", "refuses the connection"),
        ("https://store.invalid", "its name is not known"),
    ],
)
def test_a_store_that_cannot_be_reached_is_said(at: OpenStore, endpoint: str, words: str) -> None:
    with pytest.raises(StoreUnreachable, match=words):
        list(at(endpoint=endpoint, timeout_s=2.0).objects())


@pytest.mark.parametrize("status", ["500", "503"])
def test_an_error_of_the_store_that_passes_is_not_noticed(
    through: Store, proxy: StoreProxy, tmp_path: Path, status: str
) -> None:
    proxy.fail("PUT", status, times=2)
    through.create("a.snap", written(tmp_path, SMALL))
    assert contents(through, "a.snap") == SMALL


@pytest.mark.parametrize(("status", "words"), [("500", "500 InternalError"), ("503", "503 SlowDown")])
def test_an_error_of_the_store_that_stays_is_said(
    through: Store, at: OpenStore, proxy: StoreProxy, tmp_path: Path, status: str, words: str
) -> None:
    proxy.fail("PUT", status)
    with pytest.raises(StoreFailed, match=f"storing a.snap in s3://.*{words}.*Try again"):
        through.create("a.snap", written(tmp_path, SMALL))
    assert list(at().objects()) == []


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_an_upload_that_is_cut_leaves_nothing(
    through: Store, at: OpenStore, proxy: StoreProxy, tmp_path: Path, data: bytes
) -> None:
    proxy.fail("PUT", "cut-upload")
    with pytest.raises(StoreUnreachable, match="cut the connection"):
        through.create("a.snap", written(tmp_path, data))
    assert list(at().objects()) == []


def test_an_upload_whose_answer_was_lost_is_recognised_as_ones_own(
    through: Store, at: OpenStore, proxy: StoreProxy, tmp_path: Path
) -> None:
    proxy.fail("PUT", "lose", times=1)
    through.create("a.snap", written(tmp_path, SMALL))
    assert contents(at(), "a.snap") == SMALL


def test_a_store_that_hangs_is_given_up(at: OpenStore, proxy: StoreProxy, tmp_path: Path) -> None:
    store = at(endpoint=proxy.url, timeout_s=0.5)
    proxy.fail("PUT", "hang")
    started = time.monotonic()
    with pytest.raises(StoreUnreachable, match="did not answer in time"):
        store.create("a.snap", written(tmp_path, SMALL))
    assert time.monotonic() - started < 15


def test_what_comes_back_changed_gets_no_manifest(
    through: Store, at: OpenStore, proxy: StoreProxy, tmp_path: Path
) -> None:
    proxy.fail("GET", "flip")
    with pytest.raises(StoredWrong, match="gave back a.snap .* It was deleted again"):
        stored_snapshots.upload(through, written(tmp_path, SMALL), "a.snap", manifest_of(SMALL))
    assert stored_snapshots.list_store(at()) == []


def test_a_download_that_is_cut_is_an_error_or_taken_up_again(
    through: Store, at: OpenStore, proxy: StoreProxy, tmp_path: Path
) -> None:
    at().create("a.snap", written(tmp_path, LARGE))
    proxy.fail("GET", "cut")
    with pytest.raises(StoreUnreachable, match="cut the connection"):
        contents(through, "a.snap")


def test_a_missing_identity_of_the_platform_is_said(at: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")  # never that of the machine
    with pytest.raises(StoreDenied, match="no identity of the platform: set credentials_file"):
        list(at(credentials_file=None, timeout_s=1.0).objects())


def test_credentials_of_the_environment_are_used(
    at: OpenStore, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secrets["owner"])
    assert list(at(credentials_file=None).objects()) == []


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_retention_keeps_an_object_from_being_destroyed(
    at: OpenStore, seaweedfs: SeaweedFS, tmp_path: Path, data: bytes
) -> None:
    name = seaweedfs.locked_bucket(f"b{uuid.uuid4().hex}")
    store = at(url=f"s3://{name}/x y", object_lock_mode="GOVERNANCE", object_lock_days=2)
    store.create("a.snap", written(tmp_path, data))
    said = seaweedfs.bucket_request("GET", f"/{name}/x%20y/a.snap?retention=", {}).text
    assert "<Mode>GOVERNANCE</Mode>" in said
    until = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 2 * 86400))
    assert f"<RetainUntilDate>{until}" in said
    assert contents(store, "a.snap") == data


def test_a_retention_that_cannot_be_set_is_said(at: OpenStore, proxy: StoreProxy, tmp_path: Path) -> None:
    how = {"object_lock_mode": "GOVERNANCE", "object_lock_days": 2}
    with pytest.raises(StoreError, match="setting the retention of a.snap in s3://.*Object Lock"):
        at(**how).create("a.snap", written(tmp_path, SMALL))
    proxy.fail("PUT", "403", "retention")
    with pytest.raises(StoreDenied, match="need s3:PutObjectRetention there"):
        at(endpoint=proxy.url, **how).create("b.snap", written(tmp_path, SMALL))
    proxy.fail("PUT", "cut-upload", "retention")
    with pytest.raises(StoreUnreachable, match="setting the retention"):
        at(endpoint=proxy.url, **how).create("c.snap", written(tmp_path, SMALL))
