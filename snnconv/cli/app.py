"""The commands, as Typer is to see them: a command is one file and one line in `COMMANDS` or in `REPORT_COMMANDS`."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from snnconv.cli.bench import bench
from snnconv.cli.convert import convert
from snnconv.cli.export import export
from snnconv.cli.fold import fold
from snnconv.cli.inspect import inspect
from snnconv.cli.judge import judge
from snnconv.cli.merge import merge
from snnconv.cli.schema import schema
from snnconv.cli.verify import verify
from snnconv.errors import InputError

COMMANDS = (inspect, fold, export, verify, convert, bench)
REPORT_COMMANDS = (judge, merge, schema)


class _Root(TyperGroup):
    """The command itself: nothing is judged while its own options are read, so 1 would be a false verdict."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except typer.Exit as stop:
            # With 1, typer says that it has no completion for this shell.
            raise typer.Exit(InputError.exit_code if stop.exit_code else 0) from stop


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

reports = typer.Typer(
    cls=_Reports,
    help="Judge saved results again, render them, put shards together. `report FILE...` is `report judge FILE...`.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group, commands in ((app, COMMANDS), (reports, REPORT_COMMANDS)):
    for command in commands:
        group.command()(command)
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
