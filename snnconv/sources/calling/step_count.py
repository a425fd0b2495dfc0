"""Where the number of time steps T stands in a network's own code, and running the network for another number.

A network that loops over time, or repeats its image, has T somewhere: in an attribute, an argument, a global of its module, or
as a number in its forward. Each of these is a `Place`; while a place is held at n, the network runs for n steps.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from types import CellType, CodeType, FunctionType
from typing import Any, Protocol

from torch import Tensor, nn

from snnconv.fresh_state import held
from snnconv.sources.calling.own_code import codes_of, own_functions, put

NAMES = frozenset(
    {
        "length",
        "max_steps",
        "n_steps",
        "n_t",
        "n_timesteps",
        "nb_steps",
        "nsteps",
        "num_step",
        "num_steps",
        "num_timesteps",
        "seq_len",
        "sequence_length",
        "sim_steps",
        "sim_time",
        "simulation_length",
        "simulation_steps",
        "step",
        "steps",
        "t",
        "time",
        "time_length",
        "time_step",
        "time_steps",
        "time_window",
        "time_windows",
        "timestep",
        "timesteps",
        "timewindow",
        "total_steps",
        "tw",
        "window",
    }
)
"""What networks call T, in lower case."""


BATCH_NAMES = frozenset({"b", "batch", "batch_num", "batch_size", "batchsize", "bs", "n_batch"})
"""What networks call the size of a batch, in lower case."""

_LONGEST = 1000
"""The largest number that is looked for."""


class Place(Protocol):
    """One place in which T stands."""

    @property
    def usual(self) -> bool:
        """Whether its name is one that networks give to T."""

    def held(self, module: nn.Module, written: int, steps: int) -> AbstractContextManager[None]:
        """A block in which `steps` stands there, in the place of `written`."""


@dataclass(frozen=True)
class Attribute:
    """The attribute `name` of the layer at `path`."""

    path: str
    name: str

    def __str__(self) -> str:
        return f"self.{self.path + '.' if self.path else ''}{self.name}"

    @property
    def usual(self) -> bool:
        """Whether its name is one that networks give to T."""
        return self.name.lower() in NAMES

    @contextmanager
    def held(self, module: nn.Module, written: int, steps: int) -> Iterator[None]:
        """A block in which the attribute is `steps`."""
        layer = module.get_submodule(self.path)
        vars(layer)[self.name] = steps
        try:
            yield
        finally:
            vars(layer)[self.name] = written


@dataclass(frozen=True)
class Global:
    """The global `name` that functions of a module read."""

    namespace: dict[str, Any] = field(repr=False)
    name: str

    def __str__(self) -> str:
        return f"the global {self.name}"

    @property
    def usual(self) -> bool:
        """Whether its name is one that networks give to T."""
        return self.name.lower() in NAMES

    @contextmanager
    def held(self, module: nn.Module, written: int, steps: int) -> Iterator[None]:
        """A block in which the global is `steps`."""
        with put(self.namespace, self.name, steps):
            yield


@dataclass(frozen=True)
class Loops:
    """The loops `for ... in range(T)` of functions with these globals, whatever their T comes from."""

    namespace: dict[str, Any] = field(repr=False)
    usual: bool = True

    def __str__(self) -> str:
        return "range() in its forward"

    @contextmanager
    def held(self, module: nn.Module, written: int, steps: int) -> Iterator[None]:
        """A block in which every `range` of `written` numbers has `steps`."""
        own = self.namespace.get("range", builtins.range)

        def limited(*bounds: Any) -> Any:
            whole = own(*bounds)
            if not isinstance(whole, range) or len(whole) != written:
                return whole
            return range(whole.start, whole.start + steps * whole.step, whole.step)

        with put(self.namespace, "range", limited):
            yield


@dataclass(frozen=True)
class Number:
    """The number T in the code of a function."""

    function: FunctionType
    usual: bool = False

    def __str__(self) -> str:
        return f"a number in {self.function.__qualname__}"

    @contextmanager
    def held(self, module: nn.Module, written: int, steps: int) -> Iterator[None]:
        """A block in which the function computes with `steps` wherever `written` is in its code."""
        code = self.function.__code__
        self.function.__code__ = _with_number(code, written, steps)
        try:
            yield
        finally:
            self.function.__code__ = code


@dataclass(frozen=True)
class Default:
    """The default of an argument `name` of a function."""

    function: FunctionType
    name: str

    def __str__(self) -> str:
        return f"the argument {self.name} of {self.function.__qualname__}"

    @property
    def usual(self) -> bool:
        """Whether its name is one that networks give to T."""
        return self.name.lower() in NAMES

    @contextmanager
    def held(self, module: nn.Module, written: int, steps: int) -> Iterator[None]:
        """A block in which `steps` is the default."""
        positional, keywords = self.function.__defaults__, self.function.__kwdefaults__
        first = self.function.__code__.co_argcount - len(positional or ())
        names = self.function.__code__.co_varnames[first:]
        if keywords and self.name in keywords:
            self.function.__kwdefaults__ = {**keywords, self.name: steps}
        else:
            values = zip(names, positional or (), strict=False)
            self.function.__defaults__ = tuple(steps if name == self.name else value for name, value in values)
        try:
            yield
        finally:
            self.function.__defaults__, self.function.__kwdefaults__ = positional, keywords


@dataclass(frozen=True)
class Enclosed:
    """The variable `name` of the function around a function."""

    function: FunctionType
    name: str

    def __str__(self) -> str:
        return f"{self.name} around {self.function.__qualname__}"

    @property
    def usual(self) -> bool:
        """Whether its name is one that networks give to T."""
        return self.name.lower() in NAMES

    @contextmanager
    def held(self, module: nn.Module, written: int, steps: int) -> Iterator[None]:
        """A block in which the variable is `steps`."""
        cell = _cells(self.function)[self.name]
        cell.cell_contents = steps
        try:
            yield
        finally:
            cell.cell_contents = written


@dataclass(frozen=True)
class StepCount:
    """The number of steps that a network takes by itself.

    Attributes:
        places: where the number stands; none if the network reads it off its input.
        written: the number that stands there.
        argument: the argument of the network's forward that must be given T.
    """

    places: tuple[Place, ...] = ()
    written: int = 0
    argument: str | None = None

    @contextmanager
    def at(self, module: nn.Module, steps: int) -> Iterator[dict[str, int]]:
        """A block in which `module` runs for `steps` steps, if it is called with the arguments that the block gets."""
        with ExitStack() as held:
            for place in self.places if steps != self.written else ():
                held.enter_context(place.held(module, self.written, steps))
            yield {} if self.argument is None else {self.argument: steps}


def required_argument(module: nn.Module) -> str | None:
    """The argument of the forward of `module` that must be given T, if there is one: it has such a name, and no default.

    `t` and `step` name the number of one step there.
    """
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    return next((p.name for p in parameters if p.default is p.empty and p.name.lower() in NAMES - {"t", "step"}), None)


def guesses(module: nn.Module, written: int) -> Iterator[tuple[Place, ...]]:
    """Sets of places that may all hold T, which is `written`, in the order in which they are worth a try."""
    yield ()
    places = list(_places(module, written))
    usual = [place for place in places if place.usual]
    attributes = [place for place in usual if isinstance(place, Attribute)]
    named = [place for place in usual if not isinstance(place, Loops)]
    seen: list[tuple[Place, ...]] = [()]
    sets: list[list[Place]] = [list(attributes), named, usual, *([place] for place in places), places]
    for guess in sets:
        if tuple(guess) not in seen:
            seen.append(tuple(guess))
            yield tuple(guess)


def candidates(module: nn.Module) -> list[int]:
    """Numbers that may be the T of a network: those in places with a name of T, and those in functions that loop."""
    looping = [code.co_consts for code in _own_codes(module) if "range" in code.co_names]
    return _counts([*_named(module, NAMES), *(number for constants in looping for number in constants)])


def batch_sizes(module: nn.Module) -> list[int]:
    """Numbers that may be a size of the batch that a network holds: those in places with such a name, and those of its states."""
    tensors = (value for layer in module.modules() for value in held(layer).values() if isinstance(value, Tensor))
    return _counts([*_named(module, BATCH_NAMES), *(len(tensor) for tensor in tensors if tensor.dim() > 1)])


def _named(module: nn.Module, names: Collection[str]) -> Iterator[Any]:
    """What stands under one of the names in the network's own code and layers."""
    yield from (v for layer in module.modules() for name, v in vars(layer).items() if name.lower() in names)
    for function in own_functions(module):
        parameters = inspect.signature(function).parameters.values()
        yield from (p.default for p in parameters if p.name.lower() in names)
        for code in codes_of(function.__code__):
            yield from (function.__globals__.get(name) for name in code.co_names if name.lower() in names)


def _own_codes(module: nn.Module) -> Iterator[CodeType]:
    return (code for function in own_functions(module) for code in codes_of(function.__code__))


def _counts(values: Iterable[Any]) -> list[int]:
    return [n for n in dict.fromkeys(values) if isinstance(n, int) and not isinstance(n, bool) and 1 < n <= _LONGEST]


def _places(module: nn.Module, written: int) -> Iterator[Place]:
    """Every place in the network's own code and layers in which the number stands."""
    for path, layer in module.named_modules():
        for name, value in vars(layer).items():
            place = Attribute(path, name)
            if _is_number(value, written) and (place.usual or not type(layer).__module__.startswith("torch.nn.")):
                yield place
    functions = list(own_functions(module))
    for function in functions:
        parameters = inspect.signature(function).parameters.values()
        yield from (Default(function, p.name) for p in parameters if _is_number(p.default, written))
        yield from (Enclosed(function, name) for name, cell in _cells(function).items() if _is_number(_content(cell), written))
    namespaces = {id(f.__globals__): f.__globals__ for f in functions}
    for key, namespace in namespaces.items():
        read = {name for f in functions if id(f.__globals__) == key for code in codes_of(f.__code__) for name in code.co_names}
        yield from (Global(namespace, name) for name in sorted(read) if _is_number(namespace.get(name), written))
    yield from (Loops(namespace) for namespace in namespaces.values())
    for function in functions:
        if any(_is_number(constant, written) for code in codes_of(function.__code__) for constant in code.co_consts):
            yield Number(function)


def _is_number(value: object, number: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == number


def _cells(function: FunctionType) -> dict[str, CellType]:
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it has none yet
        return None


def _with_number(code: CodeType, written: int, steps: int) -> CodeType:
    def other(constant: Any) -> Any:
        if isinstance(constant, CodeType):
            return _with_number(constant, written, steps)
        return steps if _is_number(constant, written) else constant

    return code.replace(co_consts=tuple(other(constant) for constant in code.co_consts))
