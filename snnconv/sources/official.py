"""Checkpoints of the MPBN authors, recognised from keys and shapes alone."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from snnconv.errors import InputError
from snnconv.hints import factory_meant, meant
from snnconv.ir.program import Origin
from snnconv.sources.calling import SingleStep
from snnconv.sources.capturing import capture_source
from snnconv.sources.checkpoint import Checkpoint, misfit, read_checkpoint
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
    chosen = _named(options.arch) if options.arch else None
    checkpoint = read_checkpoint(path)
    tensors = _without_root(checkpoint.tensors)
    arch = chosen or _nearest(tensors)
    _ensure_fits(arch, tensors, checkpoint, recognised=chosen is None)
    resolve = Resolver(options)
    resolve.reject("output", reason=f"{arch.name} has one output")
    resolve("arch", arch.name, "recognised")
    leak, threshold, strict = resolve("leak", 0.25), resolve("threshold", 0.5), resolve("strict", True)
    stem = tensors[arch.plan.stem_key]
    contract = resolve.contract(_frame(resolve.frame((stem.shape[1], arch.size, arch.size)), stem), timesteps=4)
    module = arch.module(tensors, Layers(leak, threshold, strict, contract.timesteps))
    origin = Origin(arch.name, checkpoint.sha256, resolve.resolved, _reference(arch))
    return capture_source(module, contract, origin, checkpoint.notes, forward=SingleStep())


def _reference(arch: Architecture) -> str:
    return f"snnconv's form of {arch.name}, checked against a run of the authors' code ({arch.golden})"


def _named(name: str) -> Architecture:
    named = next((arch for arch in ARCHITECTURES if arch.name == name), None)
    if named is None:
        names = [arch.name for arch in ARCHITECTURES]
        hint = meant(name, names) or factory_meant(name)
        raise InputError(f"--arch '{name}' is unknown", f"{hint}it is one of {', '.join(names)}, or package.module:factory")
    return named


def _without_root(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    rooted = all(key.startswith(_ROOT) for key in tensors)
    return {key.removeprefix(_ROOT): value for key, value in tensors.items()} if rooted else tensors


def _nearest(tensors: dict[str, Tensor]) -> Architecture:
    """The architecture of which the greatest share of keys and shapes agrees with the tensors."""

    def agreement(arch: Architecture) -> float:
        layout = arch.layout_like(tensors)
        equal = sum(key in tensors and tuple(tensors[key].shape) == shape for key, shape in layout.items())
        return equal / len(layout.keys() | tensors.keys())

    return max(ARCHITECTURES, key=agreement)


def _ensure_fits(arch: Architecture, tensors: dict[str, Tensor], checkpoint: Checkpoint, recognised: bool) -> None:
    """Raise `InputError` unless the tensors have exactly the layout of `arch`."""
    problem = misfit(tensors, arch.layout_like(tensors))
    if problem:
        what = "not a network that snnconv knows; nearest is" if recognised else "does not fit"
        raise InputError(
            f"{checkpoint.path}: {what} {arch.name}: {problem}",
            "pass --arch package.module:factory for a network of your own, or --arch NAME",
        )


def _frame(shape: tuple[int, ...], stem: Tensor) -> tuple[int, ...]:
    """The shape of one frame. Raises `InputError` if the first convolution does not take it."""
    if len(shape) != 3 or shape[0] != stem.shape[1]:
        raise InputError(
            f"input shape {list(shape)} does not fit: the first convolution takes {stem.shape[1]} channels",
            f"pass --input-shape {stem.shape[1]},H,W",
        )
    return shape


KIND = SourceKind(claims, load)
