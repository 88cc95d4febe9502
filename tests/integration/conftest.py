# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of real datacenters: shared ones for tests that only add to them, and a new lab for each test that breaks things."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.consulops.failover.plugins.module_utils._consul import endpoint
from ansible_collections.consulops.failover.plugins.module_utils._consul.client import Client

from tests.lab.agents import make_bundle
from tests.lab.alerting import Instances
from tests.lab.consul import Datacenter, Lab
from tests.lab.faults import Proxy
from tests.lab.fill import fill
from tests.lab.http_service import HttpService
from tests.lab.object_stores import Rclone, SeaweedFS
from tests.lab.probes import Probes
from tests.lab.replicating import Replicators
from tests.lab.snapshotting import Snapshotters
from tests.lab.tls import Authority

MakeClient = t.Callable[..., Client]


@pytest.fixture(scope="session")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def lab(tmp_path: Path) -> t.Iterator[Lab]:
    """A lab for this test alone."""
    with Lab(tmp_path / "lab") as created:
        yield created


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    """A lab for the tests of one file, which leave its servers running."""
    with Lab(tmp_path_factory.mktemp("own")) as created:
        yield created


@pytest.fixture
def proxy(shared_lab: Lab) -> t.Iterator[t.Callable[..., Proxy]]:
    """Return a maker of proxies in front of a server; they are closed after the test."""
    made: list[Proxy] = []

    def make(target: str, **options: t.Any) -> Proxy:
        made.append(Proxy(target, f"{shared_lab.network}.250", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def hook() -> t.Iterator[HttpService]:
    """A webhook that records what the alerting agent tells it."""
    with HttpService() as service:
        yield service


@pytest.fixture
def instances(own_lab: Lab, bundle: Path, tmp_path: Path, hook: HttpService) -> t.Iterator[Instances]:
    """Starts instances of the alerting agent in the lab of the file, and stops them after the test."""
    with Instances(own_lab, bundle, tmp_path / "agents", hook) as made:
        yield made


@pytest.fixture(scope="session")
def dc1(shared_lab: Lab) -> Datacenter:
    """One server without ACLs, filled with every kind of record."""
    datacenter = shared_lab.datacenter("dc1")
    fill(datacenter)
    return datacenter


@pytest.fixture(scope="session")
def secured(shared_lab: Lab) -> Datacenter:
    """One server with ACLs, default deny, filled with every kind of record."""
    datacenter = shared_lab.datacenter("secured", acl=True)
    fill(datacenter)
    return datacenter


@pytest.fixture(scope="session")
def federation(shared_lab: Lab) -> tuple[Datacenter, Datacenter]:
    """Two datacenters joined over the WAN."""
    one, two = shared_lab.datacenter("east"), shared_lab.datacenter("west")
    fill(one, keys=30)
    fill(two, keys=50)
    shared_lab.join_wan(one, two)
    return one, two


@pytest.fixture(scope="module")
def datacenter(own_lab: Lab) -> Datacenter:
    """A datacenter of the file: one server, without ACLs."""
    return own_lab.datacenter()


@pytest.fixture(scope="module")
def east(own_lab: Lab) -> Datacenter:
    """A datacenter of the file, which is the source of replications."""
    return own_lab.datacenter("east")


@pytest.fixture(scope="module")
def west(own_lab: Lab) -> Datacenter:
    """A datacenter of the file, which is their destination."""
    return own_lab.datacenter("west")


@pytest.fixture
def replicators(own_lab: Lab, bundle: Path, tmp_path: Path) -> t.Iterator[Replicators]:
    """Starts instances of the replication agent, and stops them after the test."""
    with Replicators(own_lab, bundle, tmp_path / "agents") as made:
        yield made


@pytest.fixture
def snapshotters(own_lab: Lab, bundle: Path, tmp_path: Path) -> t.Iterator[Snapshotters]:
    """Starts instances of the snapshot agent, and stops them after the test."""
    with Snapshotters(own_lab, bundle, tmp_path / "agents") as made:
        yield made


@pytest.fixture
def probes(own_lab: Lab, datacenter: Datacenter, tmp_path: Path) -> t.Iterator[Probes]:
    """Starts probe agents of the file's datacenter, and stops them after the test, in which that may have been paused."""
    made = Probes(own_lab, datacenter, tmp_path)
    yield made
    datacenter.servers[0].resume()
    made.stop()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle: the file that the role installs on hosts, with byte code. Test hosts get it without."""
    return make_bundle(tmp_path_factory.mktemp("bundle"), byte_code=True)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> t.Iterator[SeaweedFS]:
    """An S3 server with TLS, which has several users; every test makes buckets or prefixes of its own."""
    server = SeaweedFS(tmp_path_factory.mktemp("stores") / "seaweedfs", authority)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Rclone]:
    """An S3 server that ignores If-None-Match."""
    server = Rclone(tmp_path_factory.mktemp("stores") / "rclone")
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def tls_datacenter(shared_lab: Lab, authority: Authority) -> Datacenter:
    """One server that speaks HTTPS and requires a client certificate."""
    return shared_lab.datacenter("tls", authority=authority, extra={"verify_incoming_https": True})


@pytest.fixture
def make_client() -> t.Iterator[MakeClient]:
    """Return a function that makes clients from connection options and closes them after the test."""
    made: list[Client] = []

    def make(at: Datacenter | None = None, /, **options: t.Any) -> Client:
        if at is not None:
            options.setdefault("url", at.url)
            options.setdefault("token", at.token)
        client = Client(endpoint.resolve({"timeout": 5, **options}, {}))
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


def tls_options(datacenter: Datacenter, authority: Authority, tmp_path: Path) -> dict[str, t.Any]:
    """Return the connection options for a datacenter that requires a client certificate."""
    pair = authority.issue(tmp_path / "client", "client.tls.consul")
    return {
        "url": datacenter.servers[0].https_url,
        "ca_path": str(authority.ca_path),
        "client_cert": str(pair.certificate),
        "client_key": str(pair.key),
    }
