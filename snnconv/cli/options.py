"""Options that several commands share, and how they become snnconv's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snnconv.errors import InputError
from snnconv.hints import meant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnconv.data import Preview, Samples
    from snnconv.results.verdict import Policy, Verdict
    from snnconv.sources import Source

TIME_FORMS = ("sequence", "step")
PRINTED = ("text", "json", "github")


def choice(name: str, known: tuple[str, ...], help: str, default: str | bool = True) -> Any:
    """An option whose value is one of a few words, which a shell completes; `default` is what its help calls the default."""
    return typer.Option(name, metavar="|".join(known), autocompletion=lambda: list(known), help=help, show_default=default)


SourceFile = Annotated[Path, typer.Argument(metavar="SOURCE", help="Checkpoint: .pth, .pt, .safetensors, or a .pt2 of snnconv.")]
Arch = Annotated[str | None, typer.Option(metavar="NAME|MODULE:FACTORY", help="Architecture; recognised if left out.")]
Timesteps = Annotated[int | None, typer.Option(metavar="T", help="Number of time steps.")]
Input = Annotated[str | None, choice("--input", ("static", "event"), "One image shown T times, or T frames.")]
InputShape = Annotated[str | None, typer.Option(metavar="C,H,W", help="Shape of one frame.")]
Readout = Annotated[str | None, choice("--readout", ("mean", "sum", "last", "none"), "How the outputs of all steps are reduced.")]
Leak = Annotated[float | None, typer.Option(help="Leak of the neurons, where the checkpoint does not hold it.")]
Threshold = Annotated[float | None, typer.Option(help="Firing threshold, where the checkpoint does not hold it.")]
Strict = Annotated[bool | None, typer.Option("--strict/--no-strict", help="Fire on > or on >=.")]
Config = Annotated[Path | None, typer.Option(metavar="FILE", help="TOML with these options; else pyproject.toml.")]
DataPlace = Annotated[
    str | None,
    typer.Option("--data", metavar="PLACE", help="Samples: .npz, .npy, a folder of .npz, or package.module:factory."),
]
Labels = Annotated[Path | None, typer.Option(metavar="FILE.npy", help="Integer labels [N] that go with an .npy of samples.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the probes, and of the synthetic input without --data.")]
PolicySettings = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="KEY=VALUE",
        help="What the verdict demands: agreement, explained-decisions, explained-flips, accuracy-drop, logit-error; repeatable.",
    ),
]
TimeForm = Annotated[str, choice("--time", TIME_FORMS, "Whole sequence, or one step with its state.")]
Batch = Annotated[str, typer.Option(metavar="N|dynamic", help="Batch size of the artifact.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Report = Annotated[
    list[Path] | None, typer.Option(metavar="FILE", help="Also write .json, .xml (JUnit), .md or .html; repeatable.")
]
Format = Annotated[str | None, choice("--format", PRINTED, "What is printed on stdout.", default="text")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@dataclass(frozen=True)
class SourceArguments:
    """A source as the command line describes it; each field is an argument or option of every command that reads one."""

    path: SourceFile
    arch: Arch = None
    timesteps: Timesteps = None
    input: Input = None
    input_shape: InputShape = None
    readout: Readout = None
    leak: Leak = None
    threshold: Threshold = None
    strict: Strict = None
    config: Config = None

    def load(self, data: Preview | None = None) -> Source:
        """The source that they, and what they leave open the data, describe; a word on stderr about what was assumed."""
        from snnconv.sources import SourceOptions, configure, load_source
        from snnconv.sources.options import parse_shape

        shape = None if self.input_shape is None else parse_shape(self.input_shape)
        given = {name: getattr(self, name) for name in ("arch", "timesteps", "input", "readout", "leak", "threshold", "strict")}
        options = SourceOptions(input_shape=shape, **given, samples=() if data is None else data.shapes)
        source = load_source(self.path, configure(options, self.config))
        say_assumed(source.settings, fixed=source.module is None)
        return source


def reads_source(command: Callable[..., int]) -> Callable[..., int]:
    """`command(source, ...)` as Typer is to see it: the fields of `SourceArguments` in the place of `source`."""
    fields = inspect.signature(SourceArguments, eval_str=True).parameters.values()
    rest = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "source"]

    @wraps(command)
    def spread(**given: Any) -> int:
        source = SourceArguments(**{field.name: given.pop(field.name) for field in fields})
        return command(source, **given)

    spread.__signature__ = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in (*fields, *rest)])  # type: ignore[attr-defined]
    return spread


def say_assumed(settings: Mapping[str, str], fixed: bool = False) -> None:
    """A word on stderr about settings that are in no file; `fixed` if those of a program can be given only when it is folded."""
    from snnconv.report.provenance import assumed, settings_line

    names = assumed(settings)
    if names:
        said = settings_line(names)
        options = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        todo = "to override, fold again with" if fixed else "override with"
        typer.echo(f"note: assumed {said} (in no file); {todo} {options}", err=True)


def preview_data(place: str | None, labels: Path | None) -> Preview | None:
    """What can be seen of the user's data before the source is loaded."""
    from snnconv.data import preview

    if place is not None:
        return preview(place, labels)
    if labels is not None:
        raise InputError(f"{labels}: labels without samples", "name the samples with --data")
    return None


def read_data(data: Preview | None, source: Source, seed: int) -> Samples:
    """The user's data, or synthetic input and a loud word about it on stderr."""
    from snnconv.data import synthetic

    contract = source.program.contract
    if data is not None:
        return data.open(contract)
    typer.echo("warning: no --data given; verifying on synthetic noise, which says little about the real task", err=True)
    return synthetic(contract, seed)


def policy(settings: list[str] | None, config: Path | None = None) -> Policy:
    """The policy that the options and the settings file describe."""
    from snnconv.config import read_policy

    return read_policy(settings or [], config)


def output_format(text: str | None, json: bool) -> str:
    """`text`, `json` or `github`."""
    if json and text not in (None, "json"):
        raise InputError(f"--json and --format {text} exclude each other", "give one of them")
    return "json" if json else one_of("--format", text or "text", PRINTED)


def say_if_dropped(verdict: Verdict) -> None:
    """A word on stderr about an artifact that did not pass."""
    if not verdict.equivalent:
        candidate = verdict.verification.candidate
        typer.echo(f"error: {candidate}: not written, it is not equivalent to its source", err=True)


def batch_size(text: str) -> int | None:
    """`dynamic` as None, a number as itself."""
    if text == "dynamic":
        return None
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise InputError(f"--batch is '{text}'", "it is a positive number or 'dynamic'")


def time_form(text: str) -> str:
    """`sequence` or `step`."""
    return one_of("--time", text, TIME_FORMS)


def one_of(option: str, text: str, known: Sequence[str]) -> str:
    """`text`, if it is one of the known words. Raises `InputError` otherwise."""
    if text not in known:
        *others, last = map(repr, known)
        raise InputError(f"{option} is '{text}'", f"{meant(text, known)}it is {', '.join(others)} or {last}")
    return text
