# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts real object stores that speak S3, on random ports of loopback, and stops exactly those.

SeaweedFS is the store that everything is tested with: it checks signatures and rights, honours If-None-Match, has multipart
uploads and Object Lock, speaks TLS, and starts in some seconds. rclone is the store that ignores If-None-Match.
"""

from __future__ import annotations

import base64
import ctypes
import datetime
import email.utils
import hashlib
import hmac
import json
import secrets
import signal
import socket
import subprocess
import types
import typing as t
from pathlib import Path

import requests
from ansible_collections.consulops.failover.plugins.module_utils._snapshot.stores import object_lock

from tests.workshop import store_servers

from .consul import eventually
from .tls import Authority

HOST = "127.0.0.1"
PR_SET_PDEATHSIG = 1
READY_WITHIN_S = 60.0
_libc = ctypes.CDLL(None, use_errno=True)
# Users and what SeaweedFS allows them. To delete is the right to write there.
USERS = {
    "owner": ["Admin", "Read", "Write", "List", "Tagging"],
    "reader": ["Read", "List"],
    "writer": ["Write"],
    "lister": ["Write", "List"],
}


class ObjectStoreServer:
    """A running store. ``url`` is its endpoint; ``credentials`` writes a file of credentials for one of its users.

    ``ca_file`` is the authority of its certificate, "" for a store without TLS.
    """

    url: str
    ca_file = ""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.secrets = {name: secrets.token_hex(16) for name in USERS}
        self._process: subprocess.Popen[bytes] | None = None

    def credentials(self, user: str = "owner") -> str:
        """Return the path of a file with the credentials of a user, or wrong ones for a name that is none."""
        path = self.directory / f"{user}.credentials"
        secret = self.secrets.get(user, "wrong")
        path.write_text(f"[default]\naws_access_key_id = {user}\naws_secret_access_key = {secret}\n", encoding="utf-8")
        return str(path)

    def stop(self) -> None:
        """Stop it at once: its data is thrown away."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _run(self, command: t.Sequence[str]) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )

    def log(self) -> str:
        """Return what it has logged."""
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")

    def bucket_request(
        self, method: str, path: str, headers: t.Mapping[str, str] = types.MappingProxyType({})
    ) -> requests.Response:
        """Send a signed request of the owner to a store that speaks S3; ``path`` has a canonical query."""
        credentials = object_lock.Credentials("owner", self.secrets["owner"])
        now = datetime.datetime.now(datetime.timezone.utc)
        url = self.url + path
        signed = object_lock.signed_headers(method, url, b"", "us-east-1", credentials, now, headers)
        return requests.request(method, url, headers=signed, verify=self.ca_file or True, timeout=10)

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self.log()[-3000:]
        return requests.get(self.url, timeout=5, verify=self.ca_file or True).status_code < 500


class SeaweedFS(ObjectStoreServer):
    """SeaweedFS with TLS."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        super().__init__(directory)
        self.ca_file = str(authority.ca_path)
        self._pair = authority.issue(directory / "tls", "store.example", [HOST])

    def start(self) -> SeaweedFS:
        """Start it and wait until it answers."""
        (self.directory / "data").mkdir()
        identities = [
            {
                "name": name,
                "credentials": [{"accessKey": name, "secretKey": self.secrets[name]}],
                "actions": actions,
            }
            for name, actions in USERS.items()
        ]
        config = self.directory / "s3.json"
        config.write_text(json.dumps({"identities": identities}), encoding="utf-8")
        master, volume, filer, s3 = _free_ports(4)
        self.url = f"https://{HOST}:{s3}"
        self._filer = f"http://{HOST}:{filer}"
        self._run(
            [
                str(store_servers.weed()),
                "-logtostderr=true",
                "server",
                *(f"-ip={HOST}", f"-ip.bind={HOST}", f"-dir={self.directory / 'data'}"),
                *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
                *("-master.volumeSizeLimitMB=64", "-volume.max=50", "-master.telemetry=false"),
                *("-s3", f"-s3.port={s3}", f"-s3.config={config}", "-s3.autoCreateBucket=false"),
                *(f"-s3.cert.file={self._pair.certificate}", f"-s3.key.file={self._pair.key}"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            ]
        )
        eventually(self._answers, READY_WITHIN_S, "SeaweedFS answers", 0.1)
        return self

    def bucket(self, name: str) -> str:
        """Create a bucket and return its name."""
        eventually(lambda: requests.post(f"{self._filer}/buckets/{name}/", timeout=10).ok, 30, "a bucket is made")
        return name

    def locked_bucket(self, name: str) -> str:
        """Create a bucket with Object Lock and return its name."""
        self.bucket_request("PUT", f"/{name}", {"x-amz-bucket-object-lock-enabled": "true"}).raise_for_status()
        return name


class Rclone(ObjectStoreServer):
    """rclone's S3 server, without TLS: it ignores If-None-Match and overwrites."""

    def start(self) -> Rclone:
        """Start it and wait until it answers."""
        (port,) = _free_ports(1)
        self.url = f"http://{HOST}:{port}"
        (self.directory / "data").mkdir()
        self._run(
            [
                str(store_servers.rclone()),
                *("serve", "s3", str(self.directory / "data"), f"--addr={HOST}:{port}", "--config=/dev/null"),
                f"--auth-key=owner,{self.secrets['owner']}",
            ]
        )
        eventually(self._answers, READY_WITHIN_S, "rclone answers", 0.1)
        return self

    def bucket(self, name: str) -> str:
        """Create a bucket and return its name.

        Not behind the server's back: without a cache of directories it keeps half a processor busy for as long as it runs.
        """
        self.bucket_request("PUT", f"/{name}").raise_for_status()
        return name


class Azurite(ObjectStoreServer):
    """Microsoft's emulator of Azure Blob Storage, with TLS. Installing it takes a minute and 360 MB, so it is used where it is."""

    ACCOUNT = "devstoreaccount1"
    # The emulator's documented key: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    VERSION = "2021-08-06"

    def __init__(self, program: str, directory: Path, authority: Authority) -> None:
        super().__init__(directory)
        self._program = program
        self.ca_file = str(authority.ca_path)
        self._pair = authority.issue(directory / "tls", "blob.example", [HOST])

    def start(self) -> Azurite:
        """Start it and wait until it answers."""
        (port,) = _free_ports(1)
        self.url = f"https://{HOST}:{port}/{self.ACCOUNT}"
        self._run(
            [
                self._program,
                *("--blobHost", HOST, "--blobPort", str(port), "--location", str(self.directory / "data")),
                *("--cert", str(self._pair.certificate), "--key", str(self._pair.key)),
                *("--skipApiVersionCheck", "--disableTelemetry"),
            ]
        )
        eventually(self._answers, READY_WITHIN_S, "Azurite answers", 0.1)
        return self

    def credentials(self, user: str = "owner") -> str:
        """Return the path of a file with the account's key, or for another user with a wrong one."""
        path = self.directory / f"{user}.credentials"
        key = self.KEY if user == "owner" else base64.b64encode(b"wrong" * 12).decode()
        path.write_text(f"[default]\naccount_key = {key}\n", encoding="utf-8")
        return str(path)

    def bucket(self, name: str) -> str:
        """Create a container and return its name."""
        date = email.utils.formatdate(usegmt=True)
        headers = {"x-ms-date": date, "x-ms-version": self.VERSION}
        canonical = "".join(f"{header}:{value}\n" for header, value in headers.items())
        text = "PUT" + "\n" * 12 + canonical + f"/{self.ACCOUNT}/{self.ACCOUNT}/{name}\nrestype:container"
        digest = hmac.new(base64.b64decode(self.KEY), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {self.ACCOUNT}:{base64.b64encode(digest).decode()}"
        url = f"{self.url}/{name}?restype=container"
        requests.put(url, headers=headers, verify=self.ca_file, timeout=10).raise_for_status()
        return name


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now, and whose neighbours 10,000 above are: SeaweedFS takes those for gRPC."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as low, socket.socket() as high:
            low.bind((HOST, 0))
            port = low.getsockname()[1] % 20_000 + 12_000
            if port in found:
                continue
            with socket.socket() as probe:
                try:
                    probe.bind((HOST, port))
                    high.bind((HOST, port + 10_000))
                except OSError:
                    continue
            found.append(port)
    return found
