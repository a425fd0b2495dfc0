"""The `snnconv` command: its commands, and how failures become exit codes.

Exit codes: 0 done or equivalent, 1 not equivalent, 2 usage or unreadable input, 3 refused or unsupported, 4 backend missing,
70 internal error.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from snnconv.errors import SnnconvError
from snnconv_cli.convert import convert
from snnconv_cli.export import export
from snnconv_cli.fold import fold
from snnconv_cli.inspect import inspect
from snnconv_cli.report import merge, report, schema
from snnconv_cli.verify import verify

COMMANDS = (inspect, fold, export, verify, convert)


_INTERRUPTED = 130


class _Reports(TyperGroup):
    """`snnconv report FILE...` is `snnconv report judge FILE...`."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["judge", *args]
        return super().parse_args(context, args)


app = typer.Typer(
    help="Put a trained spiking network on an edge device: fold its norms, prove it, export it.",
    invoke_without_command=True,
    add_completion=False,
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
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.stdout.flush()
    except TyperException as error:
        code = _fail(error.format_message(), 2, debug)
    except SnnconvError as error:
        code = _fail(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted", _INTERRUPTED)
    except (BrokenPipeError, SystemExit):
        # Whoever read the output went away: typer answers that with an exit code of 1, which here is a verdict.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
        code = _fail("the output was closed before it was complete", 2)
    except OSError as error:
        code = _fail(f"{error.filename or 'output'}: {error.strerror or error}", 2, debug)
    except MemoryError:
        code = _fail("out of memory; close other programs or use a smaller network", 2, debug)
    except Exception as error:
        hint = "" if debug else "; this is a bug of snnconv, run again with --debug and report it"
        code = _fail(f"internal error: {type(error).__name__}: {error}{hint}", 70, debug)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
