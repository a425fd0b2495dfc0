"""Saved results as the arguments of a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snnconv.errors import InputError

if TYPE_CHECKING:
    from snnconv.results import Verification

Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="Results of verify or convert: .json.")]


@dataclass(frozen=True)
class SavedResults:
    """Files that `verify` or `convert` wrote with --report FILE.json."""

    files: Files

    def read(self) -> list[Verification]:
        """Every verification in them, at least one. Raises `InputError`."""
        from snnconv.results.reading import read_results

        found = [verification for path in self.files for verification in read_results(path)]
        if not found:
            raise InputError(
                f"{', '.join(map(str, self.files))}: no results in there", "name what verify --report FILE.json wrote"
            )
        return found
