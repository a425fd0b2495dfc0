"""Progress on stderr: a bar in a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stages(total: int) -> Iterator[Callable[[str], Callable[[str, float], None]]]:
    """A bar over `total` stages: `begin(name)` starts the next one and returns `update(part, share)` for what happens in it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<36}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=total)
        begun = 0

        def begin(name: str) -> Callable[[str, float], None]:
            nonlocal begun
            done = begun
            begun += 1

            def update(part: str, share: float) -> None:
                bar.update(task, description=f"{name}: {part}" if part else name, completed=done + share)

            update("", 0.0)
            return update

        yield begin
