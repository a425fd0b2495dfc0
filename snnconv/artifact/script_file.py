"""A TorchScript file: its records, read without loading any of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from snnconv.artifact.metadata import Metadata, foreign, read_metadata
from snnconv.artifact.script_archive import ScriptArchive, first_difference, read_archive
from snnconv.errors import InputError
from snnconv.files import Content


@dataclass(frozen=True)
class ScriptFile:
    """A TorchScript file that was read: nothing of it has been loaded or run."""

    content: Content
    archive: ScriptArchive
    metadata: Metadata
    format: str = "torchscript"

    @property
    def sha256(self) -> str:
        """Of the bytes that were read."""
        return self.content.sha256

    def foreign(self, ours: ScriptFile) -> str:
        """The first line of its code that is not as in `ours`, an export of snnconv's; empty if there is none."""
        return first_difference(self.archive, ours.archive)

    def structure(self) -> list[str]:
        """Objects and code, line by line, and a digest of every tensor that stands in the code itself."""
        digests = [
            f"{name} {hashlib.sha256(record).hexdigest()}"
            for name, record in self.archive.records.items()
            if name.startswith("constants/")
        ]
        return [*self.archive.outline(), *digests]


def read_script(content: Content) -> ScriptFile:
    """Read a TorchScript file that snnconv exported, without running it. Raises `InputError`."""
    archive = read_archive(content)
    if not archive.metadata:
        raise foreign(content.path)
    metadata = read_metadata(content.path, archive.metadata)
    if metadata.batch is not None:
        raise InputError(f"{content.path}: its snnconv metadata is damaged (batch {metadata.batch})", "export it again")
    return ScriptFile(content, archive, metadata)
