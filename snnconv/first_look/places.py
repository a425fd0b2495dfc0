"""The places in a network's own code and layers in which a number stands, such as the number of its time steps T.

A network that loops over time, or repeats its image, has T somewhere: in an attribute, an argument, a global of its module, a
configuration that it reads, or as a number in its forward. Each of these is a `Place`; while a place is held at n, the network
runs for n steps.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from types import CodeType, FunctionType
from typing import Any, Protocol

from torch import nn

from snnconv.first_look.configuration import VALUE, Names, holding, is_configuration, last_of, numbers_in
from snnconv.first_look.own_code import cells_of, codes_of, content_of, own_functions, put

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


class Place(Protocol):
    """One place in which T stands."""

    @property
    def usual(self) -> bool:
        """Whether its name is one that networks give to T."""

    def held(self, module: nn.Module, written: int, steps: int) -> AbstractContextManager[None]:
        """A block in which `steps` stands there, in the place of `written`."""


class _Named:
    """A place that has a name."""

    names: Names

    @property
    def usual(self) -> bool:
        """Whether its name is one that networks give to T."""
        return is_usual(self.names)


@dataclass(frozen=True)
class Attribute(_Named):
    """An attribute of the layer at `path`, or what stands in a configuration that is one."""

    path: str
    names: Names

    def __str__(self) -> str:
        return ".".join(filter(None, ("self", self.path, *self.names)))

    def held(self, module: nn.Module, written: int, steps: int) -> AbstractContextManager[None]:
        """A block in which it is `steps`."""
        return holding(module.get_submodule(self.path), self.names, steps)


@dataclass(frozen=True)
class Global(_Named):
    """A name that functions read around them, or what stands in a configuration of that name."""

    namespace: dict[str, Any] = field(repr=False)
    names: Names

    def __str__(self) -> str:
        return ".".join(self.names) if len(self.names) > 1 else f"the global {self.names[0]}"

    def held(self, module: nn.Module, written: int, steps: int) -> AbstractContextManager[None]:
        """A block in which it is `steps`."""
        return holding(self.namespace, self.names, steps)


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
class Default(_Named):
    """The default of an argument of a function."""

    function: FunctionType
    names: Names

    def __str__(self) -> str:
        return f"the argument {self.names[0]} of {self.function.__qualname__}"

    @contextmanager
    def held(self, module: nn.Module, written: int, steps: int) -> Iterator[None]:
        """A block in which `steps` is the default."""
        positional, keywords = self.function.__defaults__, self.function.__kwdefaults__
        first = self.function.__code__.co_argcount - len(positional or ())
        names = self.function.__code__.co_varnames[first:]
        if keywords and self.names[0] in keywords:
            self.function.__kwdefaults__ = {**keywords, self.names[0]: steps}
        else:
            values = zip(names, positional or (), strict=False)
            self.function.__defaults__ = tuple(steps if name == self.names[0] else value for name, value in values)
        try:
            yield
        finally:
            self.function.__defaults__, self.function.__kwdefaults__ = positional, keywords


@dataclass(frozen=True)
class Enclosed(_Named):
    """The variable of the function around a function."""

    function: FunctionType
    names: Names

    def __str__(self) -> str:
        return f"{self.names[0]} around {self.function.__qualname__}"

    @contextmanager
    def held(self, module: nn.Module, written: int, steps: int) -> Iterator[None]:
        """A block in which the variable is `steps`."""
        cell = cells_of(self.function)[self.names[0]]
        cell.cell_contents = steps
        try:
            yield
        finally:
            cell.cell_contents = written


def is_usual(names: Names) -> bool:
    """Whether the last of the names is one that networks give to T."""
    return last_of(names).lower() in NAMES


def places_of(module: nn.Module, written: int) -> Iterator[Place]:
    """Every place in the network's own code and layers in which the number stands."""
    yield from (place for place, number in _named_places(module) if number == written)
    functions = list(own_functions(module))
    namespaces = {id(f.__globals__): f.__globals__ for f in functions}
    yield from (Loops(namespace) for namespace in namespaces.values())
    for function in functions:
        if any(_is_number(constant, written) for code in codes_of(function.__code__) for constant in code.co_consts):
            yield Number(function)


def places_named(module: nn.Module, names: Collection[str]) -> Iterator[tuple[Place, int]]:
    """The places that go by one of the names, which are in lower case, with the number that stands there."""
    return ((place, number) for place, number in _named_places(module) if last_of(place.names).lower() in names)


def _named_places(module: nn.Module) -> Iterator[tuple[Attribute | Global | Default | Enclosed, int]]:
    """The places that have a name, with the number that stands there."""
    functions = list(own_functions(module))
    return chain(_of_layers(module), _of_arguments(functions), _around(functions))


def _of_layers(module: nn.Module) -> Iterator[tuple[Attribute, int]]:
    for path, layer in module.named_modules():
        for names, number in numbers_in(layer):
            if is_usual(names) or not type(layer).__module__.startswith("torch.nn."):
                yield Attribute(path, names), number


def _of_arguments(functions: Collection[FunctionType]) -> Iterator[tuple[Default, int]]:
    for function in functions:
        for parameter in inspect.signature(function).parameters.values():
            if _is_whole(parameter.default):
                yield Default(function, (parameter.name,)), parameter.default


def _around(functions: Collection[FunctionType]) -> Iterator[tuple[Global | Enclosed, int]]:
    """The places around functions that these read by name, each once."""
    read = {name for function in functions for name in _names_in(function)}
    seen = set[tuple[int, Names]]()
    for function in functions:
        cells = {name: content_of(cell) for name, cell in cells_of(function).items()}
        yield from ((Enclosed(function, (name,)), value) for name, value in cells.items() if _is_whole(value))
        names_read = {name for code in codes_of(function.__code__) for name in code.co_names}
        around = [({name: value}, name) for name, value in cells.items() if not _is_whole(value)]
        around += [(function.__globals__, name) for name in sorted(names_read & function.__globals__.keys())]
        for namespace, name in around:
            for names, number in _numbers_at(namespace[name]):
                key = id(namespace if namespace is function.__globals__ else namespace[name]), (name, *names)
                if key not in seen and read.issuperset(set(names) - {VALUE}):
                    seen.add(key)
                    yield Global(namespace, (name, *names)), number


def _numbers_at(value: Any) -> Iterator[tuple[Names, int]]:
    """The number that a value is, or those in the configuration that it is."""
    if _is_whole(value):
        yield (), value
    elif is_configuration(value):
        yield from numbers_in(value)


def _names_in(function: FunctionType) -> Iterator[str]:
    """Every name in the code of a function, and every text that may be one."""
    for code in codes_of(function.__code__):
        yield from (*code.co_names, *code.co_varnames, *(constant for constant in code.co_consts if isinstance(constant, str)))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object, number: int) -> bool:
    return _is_whole(value) and value == number


def _with_number(code: CodeType, written: int, steps: int) -> CodeType:
    def other(constant: Any) -> Any:
        if isinstance(constant, CodeType):
            return _with_number(constant, written, steps)
        return steps if _is_number(constant, written) else constant

    return code.replace(co_consts=tuple(other(constant) for constant in code.co_consts))
