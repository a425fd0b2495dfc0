"""Standard output and error that outlive whoever reads them."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO


class Output(io.FileIO):
    """A file descriptor to write to; once that fails, what is written is dropped, and `error` holds why.

    A command in front of `| head` then ends as it would have ended, with the exit code of what it found.
    """

    error: OSError | None = None

    def write(self, content: Any, /) -> int:
        """Write, or drop what is written after an error."""
        if self.error is None:
            try:
                return super().write(content)
            except OSError as error:
                self.error = error
        return memoryview(content).nbytes

    @property
    def lost(self) -> OSError | None:
        """Why what was written did not arrive, unless its reader wanted no more."""
        return None if self.error is None or self.error.errno == errno.EPIPE else self.error


def take_over() -> Output | None:
    """Put such files in the place of this process's own stdout and stderr, and give back that of stdout.

    Where others have replaced them (a test, a notebook), they stay. A closed one becomes one that nobody reads.
    """
    out = None
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123
        elif stream is getattr(sys, f"__{name}__"):
            raw = Output(number, "w", closefd=False)
            wrapped = io.TextIOWrapper(
                io.BufferedWriter(raw),
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=number == 2 or raw.isatty(),
            )
            setattr(sys, name, wrapped)
            out = raw if number == 1 else out
    return out
