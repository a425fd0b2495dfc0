"""Checkpoints of the MPBN authors, recognised from keys and shapes alone."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from snnconv.errors import InputError
from snnconv.hints import factory_meant, meant
from snnconv.sources.checkpoint import Checkpoint, misfit, read_checkpoint
from snnconv.sources.mpbn import ARCHITECTURES, Architecture, Layers
from snnconv.sources.options import Resolver, SourceOptions
from snnconv.sources.source import Source, captured

_ROOT = "model."


def claims(path: Path, options: SourceOptions) -> bool:
    """Every checkpoint for which no factory was named."""
    return options.arch is None or ":" not in options.arch


def load(path: Path, options: SourceOptions) -> Source:
    """Load an official checkpoint. Raises `InputError` naming the nearest architecture and the keys that differ."""
    chosen = _named(options.arch) if options.arch else None
    checkpoint = read_checkpoint(path)
    state = _without_root(checkpoint.state)
    arch = chosen or _nearest(state)
    _check(arch, state, checkpoint, recognised=chosen is None)
    settle = Resolver(options)
    settle("arch", arch.name, "recognised")
    leak, threshold, strict = settle("leak", 0.25), settle("threshold", 0.5), settle("strict", True)
    stem = state[arch.plan.stem_key]
    contract = settle.contract(_frame(settle.frame((stem.shape[1], arch.size, arch.size)), stem), timesteps=4)
    module = arch.module(state, Layers(leak, threshold, strict, contract.timesteps))
    return captured(module, arch.name, checkpoint, contract, settle, _reference(arch))


def _reference(arch: Architecture) -> str:
    return f"snnconv's form of {arch.name}, checked against a run of the authors' code ({arch.golden})"


def _named(name: str) -> Architecture:
    found = next((arch for arch in ARCHITECTURES if arch.name == name), None)
    if found is None:
        names = [arch.name for arch in ARCHITECTURES]
        hint = meant(name, names) or factory_meant(name)
        raise InputError(f"--arch '{name}' is unknown", f"{hint}it is one of {', '.join(names)}, or package.module:factory")
    return found


def _without_root(state: dict[str, Tensor]) -> dict[str, Tensor]:
    whole = all(key.startswith(_ROOT) for key in state)
    return {key.removeprefix(_ROOT): value for key, value in state.items()} if whole else state


def _nearest(state: dict[str, Tensor]) -> Architecture:
    def agreement(arch: Architecture) -> float:
        layout = arch.fitted(state)
        alike = sum(key in state and tuple(state[key].shape) == shape for key, shape in layout.items())
        return alike / len(layout.keys() | state.keys())

    return max(ARCHITECTURES, key=agreement)


def _check(arch: Architecture, state: dict[str, Tensor], checkpoint: Checkpoint, recognised: bool) -> None:
    """Raise `InputError` unless `state` has exactly the layout of `arch`."""
    problem = misfit(state, arch.fitted(state))
    if problem:
        what = "not a network that snnconv knows; nearest is" if recognised else "does not fit"
        raise InputError(
            f"{checkpoint.path}: {what} {arch.name}: {problem}",
            "pass --arch package.module:factory for a network of your own, or --arch NAME",
        )


def _frame(shape: tuple[int, ...], stem: Tensor) -> tuple[int, ...]:
    if len(shape) != 3 or shape[0] != stem.shape[1]:
        raise InputError(
            f"input shape {list(shape)} does not fit: the first convolution takes {stem.shape[1]} channels",
            f"pass --input-shape {stem.shape[1]},H,W",
        )
    return shape
