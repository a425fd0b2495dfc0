"""Commands made of groups of options: what Typer sees, and what the command is given."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from snnconv.cli.command import command
from snnconv.cli.options import CHECKPOINTS, FORMATS
from snnconv.export import FORMATS as REGISTERED
from snnconv.export import format_names
from snnconv.lower import FORMS
from snnconv.words import TIME_FORMS


@dataclass(frozen=True)
class Place:
    """A group with an argument."""

    path: str
    config: str | None = None


@dataclass(frozen=True)
class Demand:
    """A group that shares an option with the other."""

    policy: str = "strict"
    config: str | None = None


given: dict[str, Any] = {}


@command
def compare(place: Place, level: str, demand: Demand, resume: bool = False) -> int:
    """Compare."""
    given.update(place=place, level=level, demand=demand, resume=resume)
    return 3


def test_typer_sees_the_options_of_the_groups_in_order_and_each_once() -> None:
    parameters = inspect.signature(compare).parameters
    assert list(parameters) == ["path", "config", "level", "policy", "resume", "debug"]
    assert parameters["path"].default is inspect.Parameter.empty
    assert [parameters[name].default for name in ("config", "policy", "resume", "debug")] == [None, "strict", False, False]


def test_a_command_is_given_its_groups_and_gives_its_exit_code() -> None:
    code = compare(path="net.pth", config="snn.toml", level="task", policy="mild", resume=True, debug=True)
    assert code == 3
    assert given == {
        "place": Place("net.pth", "snn.toml"),
        "level": "task",
        "demand": Demand("mild", "snn.toml"),
        "resume": True,
    }


def test_a_command_keeps_its_name_and_what_it_says_of_itself() -> None:
    assert (compare.__name__, compare.__doc__) == ("compare", "Compare.")


def test_help_lists_what_there_is_to_choose() -> None:
    assert {name: REGISTERED[name].suffixes for name in format_names()} == FORMATS
    assert tuple(FORMS.own) == TIME_FORMS
    assert not set(CHECKPOINTS) & {suffix for format in REGISTERED for suffix in format.suffixes}
