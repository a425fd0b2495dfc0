"""Checkpoints of the MPBN authors, recognised from keys and shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from snnconv.errors import InputError
from snnconv.hints import factory_meant, meant
from snnconv.ir.program import Origin
from snnconv.sources.calling import SingleStep
from snnconv.sources.capturing import capture_source
from snnconv.sources.checkpoint import Checkpoint, Fit, Wanted, fit, read_checkpoint, take
from snnconv.sources.kind import SourceKind
from snnconv.sources.mpbn import ARCHITECTURES, Architecture, Layers
from snnconv.sources.options import Resolver, SourceOptions
from snnconv.sources.source import Source

_ROOT = "model."


def claims(path: Path, options: SourceOptions) -> bool:
    """Whether no factory was named: every checkpoint may be one of these."""
    return options.arch is None or ":" not in options.arch


def load(path: Path, options: SourceOptions) -> Source:
    """Load an official checkpoint.

    Raises `InputError` if it is none, naming the nearest architecture and the keys that differ.
    """
    arch, tensors, checkpoint, notes = recognise(path, options)
    resolve = Resolver(options)
    resolve.reject("output", reason=f"{arch.name} has one output")
    resolve.reject("keep_norm", reason=f"every norm of {arch.name} folds")
    resolve("arch", arch.name, "recognised")
    resolve.given("weights", "ignore", "rename")
    leak, threshold, strict = resolve("leak", 0.25), resolve("threshold", 0.5), resolve("strict", True)
    stem = tensors[arch.plan.stem_key]
    contract = resolve.contract(_frame(resolve.frame((stem.shape[1], arch.size, arch.size)), stem), timesteps=4)
    module = arch.module(tensors, Layers(leak, threshold, strict, contract.timesteps))
    origin = Origin(arch.name, checkpoint.sha256, resolve.resolved, _reference(arch))
    return capture_source(module, contract, origin, notes, forward=SingleStep())


def _reference(arch: Architecture) -> str:
    return f"snnconv's form of {arch.name}, checked against a run of the authors' code ({arch.golden})"


def _named(name: str) -> Architecture:
    named = next((arch for arch in ARCHITECTURES if arch.name == name), None)
    if named is None:
        names = [arch.name for arch in ARCHITECTURES]
        hint = meant(name, names) or factory_meant(name)
        raise InputError(f"--arch '{name}' is unknown", f"{hint}it is one of {', '.join(names)}, or package.module:factory")
    return named


def recognise(path: Path, options: SourceOptions) -> tuple[Architecture, dict[str, Tensor], Checkpoint, tuple[str, ...]]:
    """The architecture of an official checkpoint, its tensors by the authors' keys without `model.`, the file, and notes.

    Raises `InputError` if it is none, naming the nearest architecture and the keys that differ.
    """
    chosen = (_named(options.arch),) if options.arch else ARCHITECTURES
    checkpoint = read_checkpoint(path)
    arch, found = nearest(checkpoint, chosen, options)
    if found.problem:
        what = "does not fit" if options.arch else "not a network that snnconv knows; nearest is"
        todo = "pass --arch package.module:factory for a network of your own, or --arch NAME"
        raise InputError(f"{path}: {what} {arch.name}: {found.problem}", todo)
    fitted = take(checkpoint, found, options)
    return arch, {key.removeprefix(_ROOT): value for key, value in fitted.tensors.items()}, checkpoint, fitted.notes


def nearest(checkpoint: Checkpoint, known: Sequence[Architecture], options: SourceOptions) -> tuple[Architecture, Fit]:
    """The architecture of which the greatest share of keys and shapes agrees with the checkpoint's, and how it fits."""
    return max(((arch, fit(checkpoint, _wanted(arch), options)) for arch in known), key=lambda pair: _agreement(*pair))


def _wanted(arch: Architecture) -> Wanted:
    """The authors' tensors, for any number of input channels and classes."""
    shapes: dict[str, tuple[int | None, ...]] = dict(arch.shapes())
    stem, head = arch.plan.stem_key, arch.plan.head_key
    shapes[stem] = (shapes[stem][0], None, *shapes[stem][2:])
    shapes[head] = (None, *shapes[head][1:])
    shapes[head.replace("weight", "bias")] = (None,)
    return Wanted({f"{_ROOT}{key}": shape for key, shape in shapes.items()})


def _agreement(arch: Architecture, found: Fit) -> float:
    """The share of all keys, of the architecture and of the file, that agree with their shapes."""
    return found.match.agreement / (len(arch.shapes()) + len(found.match.extra))


def _frame(shape: tuple[int, ...], stem: Tensor) -> tuple[int, ...]:
    """The shape of one frame. Raises `InputError` if the first convolution does not take it."""
    if len(shape) != 3 or shape[0] != stem.shape[1]:
        raise InputError(
            f"input shape {list(shape)} does not fit: the first convolution takes {stem.shape[1]} channels",
            f"pass --input-shape {stem.shape[1]},H,W",
        )
    return shape


KIND = SourceKind(claims, load)
