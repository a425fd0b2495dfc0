"""The recipes of docs/contributing: the files and changes that they show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.stem for path in (ROOT / "docs" / "contributing").glob("*.md") if path.stem != "index")


@dataclass(frozen=True)
class Block:
    """A fenced block with a title: the whole of a new file or, in a `diff`, a change of one that there is."""

    kind: str
    path: str
    text: str

    def apply(self, folder: Path) -> None:
        """Make the file or the change in a copy of the repository. The old lines of a change must stand there exactly once."""
        file = folder / self.path
        if self.kind != "diff":
            assert not file.exists(), f"{self.path} is there already"
            file.write_text(self.text)
            return
        old, new = ("".join(f"{line[1:]}\n" for line in self.text.splitlines() if line[:1] != without) for without in ("+", "-"))
        text = file.read_text()
        assert text.count(old) == 1, f"{self.path} holds these lines {text.count(old)} times:\n{old}"
        file.write_text(text.replace(old, new))


def blocks(recipe: str) -> Iterator[Block]:
    """The titled blocks of a recipe, in their order."""
    text = (ROOT / "docs" / "contributing" / f"{recipe}.md").read_text(encoding="utf-8")
    for kind, path, body in re.findall(r'^```(\w+) title="(.+?)"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL):
        yield Block(kind, path, body)


def in_tree(recipe: str) -> list[Block]:
    """What a recipe changes in the repository."""
    return [block for block in blocks(recipe) if block.path.startswith(("snnconv/", "tests/"))]


def block(recipe: str, path: str) -> Block:
    """The block of that title."""
    (found,) = (block for block in blocks(recipe) if block.path == path)
    return found
