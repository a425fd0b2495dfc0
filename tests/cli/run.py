"""The command line run in this process or in one of its own, and the files of one small network for it to work on."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from snnconv.cli.main import main

ROOT = Path(__file__).parents[2]
ARCH = ("--arch", "tests.networks:per_channel")


@dataclass(frozen=True)
class Result:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one `error:` line; only notes and warnings may come before it, and stdout stays empty."""
        lines = self.err.splitlines()
        said = [line for line in lines if not line.startswith(("note: ", "warning: "))]
        assert len(said) == 1 and said[0].startswith("error: ") and said == lines[-1:], self.err
        assert self.out == "", self.out
        return said[0]


def run(*args: object) -> Result:
    """Run `snnconv *args` here; Python's own warnings reach stderr as they would in a process of its own."""
    out, err, argv, code = io.StringIO(), io.StringIO(), sys.argv, None
    sys.argv = ["snnconv", *map(str, args)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("default")
            for quiet in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
                warnings.simplefilter("ignore", quiet)
            warnings.showwarning = _show
            main()
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.argv = argv
    assert isinstance(code, int), f"the exit code is {code!r}"
    return Result(code, out.getvalue(), err.getvalue())


def _show(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def run_process(*args: object, cwd: Path = ROOT) -> Result:
    """Run `snnconv *args` in a process of its own, started as the installed script starts it."""
    program = [sys.executable, "-P", "-c", "from snnconv.cli.main import main; main()"]
    done = subprocess.run([*program, *map(str, args)], cwd=cwd, capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def place(folder: Path, name: str) -> Path:
    """A fresh copy of one of the files of `made` in `folder`."""
    path = folder / name
    path.write_bytes(made(name))
    return path


@cache
def made(name: str) -> bytes:
    """The bytes of a file of the small network, made through snnconv's own functions.

    net.pth, net.safetensors   its checkpoint
    raw.pt2, folded.pt2        its program before and after folding
    net.onnx, net.ts           its artifacts; step.onnx, step.ts in step form
    """
    import torch
    from safetensors.torch import save_file

    from snnconv.export import export, format_of
    from snnconv.ir import pt2
    from tests.networks import per_channel

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if name == "net.pth":
            torch.save(per_channel().state_dict(), path)
        elif name == "net.safetensors":
            save_file(per_channel().state_dict(), path)
        elif name == "raw.pt2":
            pt2.save(_folded().source, path)
        elif name == "folded.pt2":
            pt2.save(_folded(), path)
        else:
            export(_folded(), path, format_of(path), "step" if path.stem == "step" else "sequence")
        return path.read_bytes()


@cache
def _folded() -> Any:
    from snnconv.fold import fold
    from snnconv.sources import SourceOptions, load_source

    with tempfile.TemporaryDirectory() as folder:
        return fold(load_source(place(Path(folder), "net.pth"), SourceOptions(arch=ARCH[1])).program)
