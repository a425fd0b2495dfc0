"""The README's examples: its commands with what they print, and its Python.

`python -m tests.readme --update` runs every command anew and writes what it prints into README.md, where that differs in more
than times, speeds, versions and roundings.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cli.run import ROOT, Result, run_process

README = ROOT / "README.md"
PROMPT = "$ snnconv "
REST = "..."
"""Stands for any lines."""
VARYING = (
    (r"(ONNX Runtime|TorchScript|torch) [\d.]+(\+\w+)?", r"\1 V"),
    (r"\d+\.\d+ (MB|ms|s)\b", r"# \1"),
    (r"\d+\.\d+x", "#x"),
    (r"\d+\.\d%", "#%"),
    (r"(logit error|logits to|within) [\d.e+-]+", r"\1 #"),
    (r"nearest [\d.e+-]+ units", "nearest # units"),
    (r"─+", "─"),
    (r" +", " "),
)


@dataclass(frozen=True)
class Command:
    """A command of the README: what stands behind `$ snnconv`, and the lines it is said to print."""

    line: str
    output: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        return self.line.split()

    def agrees(self, printed: str) -> bool:
        """Whether it printed what the README says, but for what varies."""
        said = "".join("(.*\n)*" if line == REST else re.escape(f"{normal(line)}\n") for line in self.output)
        return re.fullmatch(said, f"{normal(printed)}\n") is not None

    def renewed(self, printed: str) -> tuple[str, ...]:
        """The lines for the README: those printed, and where it leaves some out, as many before and behind them as now."""
        lines = shown(printed)
        if REST not in self.output:
            return lines
        before = self.output.index(REST)
        behind = len(self.output) - before - 1
        return (*lines[:before], REST, *lines[len(lines) - behind :])


def shown(text: str) -> tuple[str, ...]:
    """The lines of an output as the README has them: without empty ones and blanks at their ends."""
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())


def normal(text: str) -> str:
    """An output without what varies from run to run and from machine to machine."""
    plain = "\n".join(line.strip() for line in shown(text))
    for pattern, replacement in VARYING:
        plain = re.sub(pattern, replacement, plain)
    return plain


def blocks(kind: str = "") -> list[str]:
    """The fenced blocks of a kind ("python"), or those of no kind, in their order."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [block for name, block in fenced if name == kind]


def commands() -> list[Command]:
    """Every command of the README, in its order."""
    return [command for block in blocks() for command in _commands(block)]


def _commands(block: str) -> Iterator[Command]:
    for text in re.split(rf"^{re.escape(PROMPT)}", block, flags=re.MULTILINE)[1:]:
        line, *output = text.splitlines()
        yield Command(line, tuple(output))


def scratch(folder: Path) -> Path:
    """`folder` with the samples in it, as the README finds them."""
    (folder / "samples").symlink_to(ROOT / "samples", target_is_directory=True)
    return folder


def rewritten(run: Callable[[Command], str]) -> str:
    """The README with what its commands print today, where the README does not agree with it."""
    text = README.read_text(encoding="utf-8")
    for command in commands():
        printed = run(command)
        if not command.agrees(printed):
            old, new = ("\n".join((PROMPT + command.line, *lines)) for lines in (command.output, command.renewed(printed)))
            text = text.replace(f"{old}\n", f"{new}\n")
    return text


def _printed(command: Command, folder: Path) -> str:
    result: Result = run_process(*command.arguments, cwd=folder)
    if result.code:
        sys.exit(f"snnconv {command.line}\nexits {result.code}: {result.err}")
    return result.out


def update() -> None:
    """Write what the commands print today into the README."""
    with tempfile.TemporaryDirectory() as name:
        folder = scratch(Path(name))
        README.write_text(rewritten(lambda command: _printed(command, folder)), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit(__doc__)
    update()
