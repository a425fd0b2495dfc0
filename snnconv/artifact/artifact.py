"""What a file of an artifact is, whichever engine runs it."""

from __future__ import annotations

from typing import Protocol

from snnconv.artifact.metadata import Metadata


class Artifact(Protocol):
    """An artifact that was read: nothing of it has been loaded into an engine or run."""

    @property
    def format(self) -> str:
        """The name of its format in `snnconv.artifact.formats.FORMATS`."""
        ...

    @property
    def sha256(self) -> str:
        """Of the bytes that were read."""
        ...

    @property
    def metadata(self) -> Metadata:
        """What it says about itself."""
        ...

    def structure(self) -> list[str]:
        """What it computes, line by line, whatever its values are called; the values of its constants are not in it."""
        ...
