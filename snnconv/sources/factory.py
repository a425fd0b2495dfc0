"""A network of the user's own: `--arch package.module:factory` builds it, and the checkpoint is loaded into it.

The factory takes no arguments and returns a module whose neurons are `snnconv.nn.LIF` or have an adapter (`snnconv.adapters`) and
whose forward is one time step, or all of them (`snnconv.sources.forwards`). The module may have attributes `timesteps` and
`input_shape`. By naming the factory, the user allows its code to run.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from snnconv import adapters
from snnconv.errors import BackendMissing, InputError
from snnconv.ir.program import Origin
from snnconv.results import DEFAULT
from snnconv.sources.capturing import capture_source
from snnconv.sources.checkpoint import Checkpoint, Wanted, fit, read_checkpoint, take
from snnconv.sources.kind import SourceKind
from snnconv.sources.left_behind import watched_runs
from snnconv.sources.options import Resolver, SourceOptions
from snnconv.sources.source import Source
from snnconv.user_code import imported, running_user_code


def claims(path: Path, options: SourceOptions) -> bool:
    """Whether a factory was named."""
    return options.arch is not None and ":" in options.arch


def load(path: Path, options: SourceOptions) -> Source:
    """Build the module, load the checkpoint into it, and capture it.

    Raises `InputError` if the factory fails, or the checkpoint or an option does not fit, and `Refused` if the module cannot be
    captured.
    """
    resolve = Resolver(options)
    arch = resolve("arch", "")
    resolve.reject("leak", "threshold", "strict", reason="the factory sets the constants of its neurons")
    checkpoint = read_checkpoint(path)
    with watched_runs() as runs:
        module = build(arch)
    left = runs.take_back(module)
    resolve.given("weights", "ignore", "rename")
    notes = (*left, *_load_into(module, checkpoint, options))
    frame = tuple(resolve("input_shape", _input_shape(module, options, arch), "factory"))
    contract = resolve.contract(frame, *_timesteps(module, arch))
    if options.output is not None:
        resolve("output", None)
    norms = resolve.kept_norms()
    origin = Origin(arch, checkpoint.sha256, resolve.resolved, f"the user's code, {arch}", norms)
    return capture_source(module, contract, origin, notes, options.output)


def build(arch: str) -> nn.Module:
    """Import and call a `package.module:factory`.

    Raises `InputError` if that fails, and `BackendMissing` if it needs a spiking framework that is not installed.
    """
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


def _load_into(module: nn.Module, checkpoint: Checkpoint, options: SourceOptions) -> tuple[str, ...]:
    """Load the checkpoint into the module, over what the factory had set.

    Returns notes on what was chosen and left out, and on the constants that differ. Raises `InputError` if it does not fit.
    """
    arch = str(options.arch)
    state = _state(module, arch)
    found = fit(checkpoint, _wanted(module, state), options)
    if found.problem:
        raise InputError(
            f"{checkpoint.path}: does not fit --arch {arch}: {found.problem}", found.todo or "use the factory it was trained with"
        )
    fitted = take(checkpoint, found, options)
    before = {key: value.clone() for key, value in state.items()}
    with running_user_code(f"--arch {arch}", "loading the checkpoint into it"):
        module.load_state_dict(fitted.tensors, strict=False)
    return (*fitted.notes, *adapters.checkpoint_loaded(module, before))


def _wanted(module: nn.Module, state: dict[str, Tensor]) -> Wanted:
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    return Wanted(shapes, adapters.added_later(module) & shapes.keys(), frozenset(adapters.interfaces_of(module)))


def _state(module: nn.Module, arch: str) -> dict[str, Tensor]:
    """The tensors of the module's state-dict. Raises `InputError` if a layer does not know its shapes yet."""
    with running_user_code(f"--arch {arch}", "its state-dict"):
        state = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    lazy = [key for key, value in state.items() if is_lazy(value)]
    if lazy:
        raise InputError(f"--arch {arch}: '{lazy[0]}' has no shape yet", "run the network once in the factory, or give its sizes")
    return state


def _timesteps(module: nn.Module, arch: str) -> tuple[int, str]:
    """The module's own T, or the stated default, and which of the two it is. Raises `InputError` if it is no T."""
    with running_user_code(f"--arch {arch}", "its attribute timesteps"):
        steps = getattr(module, "timesteps", None)
    if steps is None:
        return 4, DEFAULT
    if not isinstance(steps, int) or steps < 1:
        raise InputError(f"--arch {arch}: its attribute timesteps is {steps!r}", "it is a whole number, at least 1")
    return steps, "factory"


def _input_shape(module: nn.Module, options: SourceOptions, arch: str) -> tuple[int, ...] | None:
    """The module's own shape of one frame, None if an option gives it. Raises `InputError` if neither does."""
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


KIND = SourceKind(claims, load)
