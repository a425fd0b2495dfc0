"""The `snnconv` command: its commands, and how failures become exit codes.

Exit codes: 0 done or equivalent, 1 not equivalent, 2 usage or unreadable input, 3 refused or unsupported, 4 backend missing,
130 interrupted, 70 internal error. A reader that goes away (`| head`) changes none of them.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from snnconv.cli import streams
from snnconv.cli.convert import convert
from snnconv.cli.export import export
from snnconv.cli.fold import fold
from snnconv.cli.inspect import inspect
from snnconv.cli.report import merge, report, schema
from snnconv.cli.verify import verify
from snnconv.errors import SnnconvError, out_of_memory, plain

COMMANDS = (inspect, fold, export, verify, convert)

_USAGE = 2
_INTERRUPTED = 130


class _Root(TyperGroup):
    """The command itself: nothing is judged while its own options are read, so 1 would be a false verdict."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except typer.Exit as stop:
            # With 1, typer says that it has no completion for this shell.
            raise typer.Exit(_USAGE if stop.exit_code else 0) from stop


class _Reports(TyperGroup):
    """`snnconv report FILE...` is `snnconv report judge FILE...`."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        named = args[0] in (*self.commands, "-h", "--help") if args else context.resilient_parsing  # as a shell completes it
        if not named:
            args = ["judge", *args]
        return super().parse_args(context, args)


app = typer.Typer(
    cls=_Root,
    help="Put a trained spiking network on an edge device: fold its norms, prove it, export it.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS:
    app.command()(command)

reports = typer.Typer(
    cls=_Reports,
    help="Judge saved results again, render them, put shards together. `report FILE...` is `report judge FILE...`.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
reports.command("judge")(report)
reports.command("merge")(merge)
reports.command("schema")(schema)
app.add_typer(reports, name="report")


def _version(wanted: bool) -> None:
    if wanted:
        from snnconv import __version__

        typer.echo(f"snnconv {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version and exit."),
) -> None:
    """Put a trained spiking network on an edge device: fold its norms, prove it, export it."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line; every failure is one `error:` line on stderr unless --debug is given."""
    debug = "--debug" in sys.argv
    # Importing spikingjelly makes torch warn of a compiler for GPUs that is not there.
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    out = streams.take_over()
    code = _run(debug)
    if out is not None and out.lost is not None:
        code = _fail(f"output: {out.lost.strerror}", _USAGE)
    sys.exit(code)


def _run(debug: bool) -> int:
    try:
        code = app(standalone_mode=False, prog_name="snnconv")
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except TyperException as error:
        return _fail(_usage(error), _USAGE, debug)
    except SnnconvError as error:
        return _fail(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", _INTERRUPTED)
    except SystemExit as stop:
        # So typer ends what completes a command in a shell, and, with 1, what meets a closed pipe; here 1 is a verdict.
        return _fail("a pipe was closed", _USAGE) if isinstance(stop.__context__, OSError) else int(stop.code or 0)
    except OSError as error:
        return _fail(f"{error.filename or 'output'}: {error.strerror or error}", _USAGE, debug)
    except BaseException as error:  # nothing ends in Python's own 1, which would be a verdict
        if out_of_memory(error):
            return _fail("out of memory; close other programs or use a smaller network", _USAGE, debug)
        hint = "" if debug else "; this is a bug of snnconv, run again with --debug and report it"
        return _fail(plain(f"internal error: {type(error).__name__}: {error}{hint}"), 70, debug)


def _usage(error: TyperException) -> str:
    near = sorted(getattr(error, "possibilities", None) or ())
    return f"{error.message}; did you mean {' or '.join(near)}?" if near else error.format_message()


def _fail(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
