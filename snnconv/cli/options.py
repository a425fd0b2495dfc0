"""The options that several commands share, in groups: each says what its options are and what they mean to snnconv."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snnconv.errors import InputError
from snnconv.hints import meant
from snnconv.report import REPORTS
from snnconv.results.verdict import Policy
from snnconv.words import INPUTS, NORMS, READOUTS, TIME_FORMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snnconv.request import Loaded, Request, Target
    from snnconv.results import Verdict
    from snnconv.sources import Source, SourceOptions

CHECKPOINTS = (".pth", ".pt", ".safetensors")
FORMATS = {"onnx": (".onnx",), "torchscript": (".ts", ".torchscript")}
PRINTED = ("text", "json", "github")

SUFFIXES = ", ".join(suffixes[0] for suffixes in FORMATS.values())
"""The suffixes of artifacts in words; of several for the same format the first."""


def choice(name: str, known: Collection[str], help: str, default: str | bool = True) -> Any:
    """An option whose value is one of a few words, which a shell completes; `default` is what its help calls the default."""
    return typer.Option(name, metavar="|".join(known), autocompletion=lambda: list(known), help=help, show_default=default)


def one_of(option: str, text: str, known: Collection[str]) -> str:
    """`text`, if it is one of the known words. Raises `InputError` otherwise."""
    if text not in known:
        *others, last = map(repr, known)
        raise InputError(f"{option} is '{text}'", f"{meant(text, known)}it is {', '.join(others)} or {last}")
    return text


Arch = Annotated[str | None, typer.Option(metavar="NAME|MODULE:FACTORY", help="Architecture; recognised if left out.")]
Batch = Annotated[str, typer.Option(metavar="N|dynamic", help="Batch size of the artifact.")]
Config = Annotated[Path | None, typer.Option(metavar="FILE", help="TOML with these options; else pyproject.toml.")]
Data = Annotated[
    str | None, typer.Option(metavar="PLACE", help="Samples: .npz, .npy, a folder of .npz, or package.module:factory.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
Format = Annotated[str | None, choice("--format", PRINTED, "What is printed on stdout.", default="text")]
Ignore = Annotated[
    list[str] | None, typer.Option(metavar="KEYS", help="Leave out keys of the checkpoint, * for any characters; repeatable.")
]
Input = Annotated[str | None, choice("--input", INPUTS, "One image shown T times, or T frames.")]
InputShape = Annotated[str | None, typer.Option(metavar="C,H,W", help="Shape of one frame.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
KeepNorm = Annotated[
    str | None,
    typer.Option("--keep-norm", metavar="|".join(NORMS), help="Keep these norms, which do not fold; with commas."),
]
Labels = Annotated[Path | None, typer.Option(metavar="FILE.npy", help="Integer labels [N] that go with an .npy of samples.")]
Leak = Annotated[float | None, typer.Option(help="Leak of the neurons, if the checkpoint does not hold it.")]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        metavar="NAME|INDEX,...|all",
        help="Outputs of a network that returns several, in this order; one that is called all by its index.",
    ),
]
PolicySettings = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="KEY=VALUE",
        help=f"What the verdict demands: {', '.join(f.name.replace('_', '-') for f in fields(Policy))}; repeatable.",
    ),
]
Readout = Annotated[str | None, choice("--readout", READOUTS, "How the outputs of all steps are reduced.")]
Rename = Annotated[
    list[str] | None, typer.Option(metavar="FROM=TO", help="Let keys of the checkpoint begin with TO, not FROM; repeatable.")
]
Report = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help=f"Also write a report, of the kind of its suffix ({', '.join(REPORTS.own)}); repeatable."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the probes, and of the synthetic input without --data.")]
SourceFile = Annotated[
    Path, typer.Argument(metavar="SOURCE", help=f"Checkpoint: {', '.join(CHECKPOINTS)}, or a .pt2 of snnconv.")
]
Strict = Annotated[bool | None, typer.Option("--strict/--no-strict", help="Fire on > or on >=.")]
Threshold = Annotated[float | None, typer.Option(help="Firing threshold, if the checkpoint does not hold it.")]
EngineName = Annotated[
    str | None,
    typer.Option("--engine", metavar="NAME", help="What runs the artifacts; by default the first that knows their format."),
]
TimeForm = Annotated[str, choice("--time", TIME_FORMS, "Whole sequence, or one step with its state.")]
Timesteps = Annotated[int | None, typer.Option(metavar="T", help="Number of time steps.")]
Weights = Annotated[str | None, typer.Option(metavar="KEY", help="Which set of weights of the checkpoint, if it holds several.")]


@dataclass(frozen=True)
class SourceArguments:
    """A source: its file, and what the file does not say."""

    path: SourceFile
    arch: Arch = None
    timesteps: Timesteps = None
    input: Input = None
    input_shape: InputShape = None
    readout: Readout = None
    output: Output = None
    leak: Leak = None
    threshold: Threshold = None
    strict: Strict = None
    weights: Weights = None
    ignore: Ignore = None
    rename: Rename = None
    keep_norm: KeepNorm = None
    config: Config = None

    def options(self) -> SourceOptions:
        """What the options and the settings file say. Raises `InputError` for a setting that makes no sense."""
        from snnconv.sources import SourceOptions, configure
        from snnconv.sources.options import parse_norms, parse_shape

        shape = None if self.input_shape is None else parse_shape(self.input_shape)
        names = ("arch", "timesteps", "input", "readout", "output", "leak", "threshold", "strict", "weights")
        given = {name: getattr(self, name) for name in names}
        ignore, rename = (tuple(rules) if rules else None for rules in (self.ignore, self.rename))
        norms = None if self.keep_norm is None else parse_norms(self.keep_norm)
        options = SourceOptions(input_shape=shape, ignore=ignore, rename=rename, keep_norm=norms, **given)
        return configure(options, self.config)

    def load(self) -> Source:
        """The source without any data. A note on stderr tells what was assumed. Raises what `load_source` does."""
        from snnconv.sources import load_source

        source = load_source(self.path, self.options())
        say_assumed(source.settings, fixed=source.module is None)
        return source


@dataclass(frozen=True)
class DataArguments:
    """The samples to verify on, and the seed of whatever is random."""

    data: Data = None
    labels: Labels = None
    seed: Seed = 0


@dataclass(frozen=True)
class PolicyArguments:
    """What the verdict demands."""

    policy: PolicySettings = None
    config: Config = None

    def read(self) -> Policy:
        """The policy of the options over that of the settings file. Raises `InputError`."""
        from snnconv.config import read_policy

        return read_policy(self.policy or [], self.config)


@dataclass(frozen=True)
class ArtifactArguments:
    """The artifacts to make."""

    time: TimeForm = "sequence"
    batch: Batch = "dynamic"
    force: Force = False

    def __post_init__(self) -> None:
        if self.time not in TIME_FORMS:
            from snnconv.lower import FORMS

            one_of("--time", self.time, FORMS.names())
        if self.batch != "dynamic" and not (self.batch.isascii() and self.batch.isdigit() and int(self.batch)):
            raise InputError(f"--batch is '{self.batch}'", "it is a positive number or 'dynamic'")

    def target(self, path: Path, format: str | None = None) -> Target:
        """The artifact to make at `path`, in `format` or in the one of its suffix. Raises `InputError` if it cannot go there."""
        from snnconv.convert import check_output
        from snnconv.request import Target

        return Target(check_output(path, self.force), format, self.time, None if self.batch == "dynamic" else int(self.batch))


@dataclass(frozen=True)
class ReportArguments:
    """Where results go besides the terminal."""

    report: Report = None
    json: Json = False

    @property
    def files(self) -> list[Path]:
        """The reports to write."""
        return self.report or []

    @property
    def printed(self) -> str:
        """What goes to stdout: "text", "json" or "github"."""
        return "json" if self.json else "text"

    def check(self) -> None:
        """Raise, before any work is done, `InputError` or `BackendMissing` for a report that could not be written."""
        from snnconv.report import check_reports

        check_reports(self.files)


@dataclass(frozen=True)
class PrintArguments(ReportArguments):
    """Where results go, on stdout also as annotations of GitHub."""

    format: Format = None

    def __post_init__(self) -> None:
        if self.json and self.format not in (None, "json"):
            raise InputError(f"--json and --format {self.format} exclude each other", "give one of them")
        one_of("--format", self.format or "text", PRINTED)

    @property
    def printed(self) -> str:
        """What goes to stdout: "text", "json" or "github"."""
        return self.format or super().printed


def load(request: Request) -> Loaded:
    """The source and the samples of a request, with a word on stderr about settings and samples that nobody gave."""
    loaded = request.load()
    say_assumed(loaded.source.settings, fixed=loaded.source.module is None)
    say_if_noise(request)
    return loaded


def say_if_noise(request: Request) -> None:
    """A loud word on stderr if the samples of a request are noise."""
    if request.data is None:
        typer.echo("warning: no --data given; verifying on synthetic noise, which says little about the real task", err=True)


def say_assumed(settings: Mapping[str, str], fixed: bool = False) -> None:
    """A note on stderr about settings that are in no file; `fixed` if those of a program can be given only when it is folded."""
    from snnconv.report.provenance import assumed, settings_line

    names = assumed(settings)
    if names:
        said = settings_line(names)
        options = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        todo = "to override, fold again with" if fixed else "override with"
        typer.echo(f"note: assumed {said} (in no file); {todo} {options}", err=True)


def say_if_dropped(verdict: Verdict) -> None:
    """A word on stderr about an artifact that did not pass."""
    if not verdict.equivalent:
        candidate = verdict.verification.candidate
        typer.echo(f"error: {candidate}: not written, it is not equivalent to its source", err=True)
