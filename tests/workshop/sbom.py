# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Describes the libraries of a release: an SBOM in CycloneDX's JSON, and the texts of their licences. All is read from the wheels."""

from __future__ import annotations

import datetime
import email.message
import email.parser
import hashlib
import io
import re
import typing as t
import uuid
import zipfile
from dataclasses import dataclass

from ansible_collections.consulops.failover.plugins.module_utils._consul.version import COLLECTION
from ansible_collections.consulops.failover.plugins.plugin_utils._bundle import REPLACEMENTS
from ansible_collections.consulops.failover.plugins.plugin_utils._wheels import Pinned
from cyclonedx.contrib.hash.factories import HashTypeFactory
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# By their licence files: their metadata names no licence, or "BSD" alone.
LICENCES = {
    "cheroot": "BSD-3-Clause",
    "cronsim": "BSD-3-Clause",
    "idna": "BSD-3-Clause",
    "Jinja2": "BSD-3-Clause",
    "obstore": "MIT",
    "pyrage": "MIT",
}


class CannotDescribe(Exception):
    """Something about a library is not known; the sentence says what to add."""


@dataclass(frozen=True)
class Library:
    """A wheel: its pin, licence as an SPDX expression, licence texts by file name, and the libraries that it needs."""

    pinned: Pinned
    licence: str
    texts: t.Mapping[str, str]
    requires: tuple[str, ...]
    in_bundle: bool


def library(pinned: Pinned, wheel: bytes, *, in_bundle: bool) -> Library:
    """Return what a wheel says of itself. Raises CannotDescribe if its licence is not known."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" in name and not name.endswith("/")]
        metadata = email.parser.BytesParser().parsebytes(
            archive.read(next(name for name in names if name.endswith("/METADATA")))
        )
        texts = {
            name.rpartition("/")[2]: archive.read(name).decode("utf-8", "replace")
            for name in names
            if name.rpartition("/")[2].startswith(("LICENSE", "COPYING", "NOTICE"))
        }
    return Library(pinned, _licence(pinned.name, metadata), texts, _requires(metadata), in_bundle)


def _licence(name: str, metadata: email.message.Message) -> str:
    said = str(metadata["License-Expression"] or metadata["License"] or "")
    # A licence in words is no SPDX expression.
    if re.fullmatch(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*", said) and said != "BSD":
        return said
    if name not in LICENCES:
        raise CannotDescribe(
            f"the wheel of {name} does not say its licence as SPDX does: add it to tests/workshop/sbom.py."
        )
    return LICENCES[name]


def _requires(metadata: email.message.Message) -> tuple[str, ...]:
    found = [Requirement(str(line)) for line in metadata.get_all("Requires-Dist") or []]
    return tuple(canonicalize_name(one.name) for one in found if "extra" not in str(one.marker or ""))


def document(bundle: bytes, version: str, libraries: t.Sequence[Library], time: int) -> str:
    """Return the SBOM of a bundle. Libraries beside it, which a host may have in addition, are optional components."""
    application = Component(
        name="consulops",
        group=COLLECTION,
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref="consulops",
        licenses=[LicenseFactory().make_from_string("GPL-3.0-or-later")],
        hashes=[HashTypeFactory().from_hashlib_alg("sha256", hashlib.sha256(bundle).hexdigest())],
        properties=[
            Property(name="consulops:replaced", value=name.removesuffix(".py")) for name in sorted(REPLACEMENTS)
        ],
    )
    components = {one.pinned.filename: _component(one) for one in libraries}
    bom = Bom(
        components=components.values(), serial_number=uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(bundle).hexdigest())
    )
    bom.metadata.component = application
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
    by_name: dict[str, list[Component]] = {}
    for one in libraries:
        by_name.setdefault(canonicalize_name(one.pinned.name), []).append(components[one.pinned.filename])
    bom.register_dependency(application, [components[one.pinned.filename] for one in libraries if one.in_bundle])
    for one in libraries:
        needed = [component for name in one.requires for component in by_name.get(name, [])]
        bom.register_dependency(components[one.pinned.filename], needed)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2) + "\n"


def _component(one: Library) -> Component:
    pinned = one.pinned
    return Component(
        name=pinned.name,
        version=pinned.version,
        type=ComponentType.LIBRARY,
        bom_ref=pinned.filename,
        scope=ComponentScope.REQUIRED if one.in_bundle else ComponentScope.OPTIONAL,
        purl=PackageURL("pypi", None, pinned.name, pinned.version, {"file_name": pinned.filename}),
        hashes=[HashTypeFactory().from_hashlib_alg("sha256", pinned.sha256)],
        licenses=[LicenseFactory().make_from_string(one.licence)],
    )


def licence_texts(libraries: t.Sequence[Library]) -> str:
    """Return the licences of all libraries in one text; a library with wheels for several machines is in it once."""
    found: dict[str, str] = {}
    for one in sorted(libraries, key=lambda one: one.pinned.name.lower()):
        place = "in the bundle" if one.in_bundle else "beside the bundle, where a host needs it"
        lines = [f"{one.pinned.name} {one.pinned.version}: {one.licence} ({place})", ""]
        if not one.texts:
            lines.append("The wheel holds no licence text.\n")
        for name, text in sorted(one.texts.items()):
            lines += [f"-- {name}", "", text.strip(), ""]
        found[one.pinned.name] = "\n".join(lines)
    return f"\n{'=' * 80}\n\n".join(found.values())
