"""What a file of an artifact is, whichever engine runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from snnconv.artifact.metadata import Metadata
from snnconv.ir.program import TimeContract


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


class Foreign(ABC):
    """A file that snnconv did not write: nothing says what it holds, but it can be run as the contract of a source says.

    It is an artifact whose `metadata` and `structure` raise `InputError`.
    """

    @abstractmethod
    def misfit(self, contract: TimeContract) -> str:
        """Why it cannot be run with inputs of `contract`, in words; empty if it can."""

    @abstractmethod
    def under(self, contract: TimeContract) -> Artifact:
        """It as an artifact that keeps `contract`, of which neither neurons nor constants are known."""
