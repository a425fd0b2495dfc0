"""A network of the user's own: `--arch package.module:factory` builds it, the checkpoint fills it.

The factory takes no arguments and returns a module whose neurons are `snnconv.nn.LIF` or have an adapter (`snnconv.adapters`) and
whose forward is one time step, or all of them (`snnconv.sources.forwards`). It may carry attributes `timesteps` and
`input_shape`. Naming it is the user's word that its code may run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from snnconv import adapters
from snnconv.errors import BackendMissing, InputError
from snnconv.results import DEFAULT
from snnconv.sources.checkpoint import Checkpoint, misfit, read_checkpoint
from snnconv.sources.options import Resolver, SourceOptions
from snnconv.sources.source import Source, captured
from snnconv.user_code import imported, running_user_code


def claims(path: Path, options: SourceOptions) -> bool:
    """Whenever a factory was named."""
    return options.arch is not None and ":" in options.arch


def load(path: Path, options: SourceOptions) -> Source:
    """Build the module and load the checkpoint into it. Raises `InputError`."""
    settle = Resolver(options)
    arch = settle("arch", "")
    settle.reject("leak", "threshold", "strict", reason="the factory sets the constants of its neurons")
    checkpoint = read_checkpoint(path)
    module = build(arch)
    notes = _fill(module, checkpoint, arch)
    frame = tuple(settle("input_shape", _input_shape(module, options, arch), "factory"))
    contract = settle.contract(frame, *_timesteps(module, arch))
    noted = replace(checkpoint, notes=(*checkpoint.notes, *notes))
    return captured(module, arch, noted, contract, settle, reference=f"the user's code, {arch}")


def build(arch: str) -> nn.Module:
    """Import and call a `package.module:factory`. Raises `InputError` where that fails."""
    try:
        factory = imported(arch, called=f"--arch {arch}")
        with running_user_code(f"--arch {arch}", "calling it", "it takes no arguments"):
            module = factory()
    except InputError as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
        if missing in adapters.FRAMEWORKS:
            raise BackendMissing(f"--arch {arch} needs {missing}", adapters.installing(missing)) from error
        raise
    adapters.load()
    if not isinstance(module, nn.Module):
        raise InputError(f"--arch {arch}: returns a {type(module).__name__}", "it must return a torch.nn.Module")
    return module


def _fill(module: nn.Module, checkpoint: Checkpoint, arch: str) -> tuple[str, ...]:
    """Load the checkpoint; what it has otherwise than the factory is told, and holds."""
    layout = {key: tuple(value.shape) for key, value in _state(module, arch).items()}
    problem = misfit(checkpoint.state, layout)
    if problem:
        raise InputError(f"{checkpoint.path}: does not fit --arch {arch}: {problem}", "use the factory it was trained with")
    known: dict[str, Tensor] = {key: value for key, value in checkpoint.state.items() if key in layout}
    before = {key: value.clone() for key, value in _state(module, arch).items()}
    with running_user_code(f"--arch {arch}", "loading the checkpoint into it"):
        module.load_state_dict(known, strict=False)
    return adapters.settled(module, before)


def _state(module: nn.Module, arch: str) -> dict[str, Tensor]:
    with running_user_code(f"--arch {arch}", "its state-dict"):
        return module.state_dict()


def _timesteps(module: nn.Module, arch: str) -> tuple[int, str]:
    """The module's own T, or the stated default, and which of the two it is."""
    with running_user_code(f"--arch {arch}", "its attribute timesteps"):
        steps = getattr(module, "timesteps", None)
    if steps is None:
        return 4, DEFAULT
    if not isinstance(steps, int) or steps < 1:
        raise InputError(f"--arch {arch}: its attribute timesteps is {steps!r}", "it is a whole number, at least 1")
    return steps, "factory"


def _input_shape(module: nn.Module, options: SourceOptions, arch: str) -> tuple[int, ...] | None:
    with running_user_code(f"--arch {arch}", "its attribute input_shape"):
        shape = getattr(module, "input_shape", None)
    if options.input_shape is not None:
        return None
    if shape is None:
        raise InputError(
            "the shape of one frame is not known", "pass --input-shape C,H,W or give the module an attribute `input_shape`"
        )
    if not isinstance(shape, tuple | list) or not shape or not all(isinstance(n, int) and n > 0 for n in shape):
        raise InputError(f"--arch {arch}: its attribute input_shape is {shape!r}", "it is a tuple of sizes, as in (3, 32, 32)")
    return tuple(shape)
