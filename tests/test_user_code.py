"""Whatever code of the user's own raises is told with its line, and stays what it is if it is none of its faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from snnconv.errors import InputError, Refused
from snnconv.user_code import HOOKING_ROOMS, UserCodeError, described, imported, running_user_code


class Odd(Exception):
    """An error that cannot print itself."""

    def __str__(self) -> str:
        raise RuntimeError("not even this")


def asserts() -> None:
    raise AssertionError  # as a bare assert does, to which pytest would add a text


def recurses() -> None:
    recurses()


def raising(error: BaseException) -> Callable[[], None]:
    def fails() -> None:
        raise error

    return fails


RAISED = {
    "AssertionError": (asserts, "AssertionError, in test_user_code.py line 23 (raise AssertionError"),
    "KeyError": (raising(KeyError("width")), "KeyError: 'width', in test_user_code.py line"),
    "RecursionError": (recurses, "RecursionError: maximum recursion depth exceeded, in test_user_code.py line"),
    "NotImplementedError": (raising(NotImplementedError()), "NotImplementedError, in"),
    "StopIteration": (raising(StopIteration()), "StopIteration, in"),
    "SystemExit": (raising(SystemExit(3)), "SystemExit: 3, in"),
    "GeneratorExit": (raising(GeneratorExit()), "GeneratorExit, in"),
    "a BaseException": (raising(BaseException("all")), "BaseException: all, in"),
    "an error that cannot be printed": (raising(Odd()), "Odd, in"),
    "an error of torch": (lambda: torch.ones(2) @ torch.ones(3), "RuntimeError: inconsistent tensor size"),
}


@pytest.mark.parametrize("name", RAISED)
def test_what_is_raised_is_told_with_its_line_and_its_cause(name: str) -> None:
    code, words = RAISED[name]
    with pytest.raises(UserCodeError) as caught, running_user_code("--arch net:make", "calling it"):
        code()
    assert str(caught.value).startswith("--arch net:make: calling it fails: " + words)
    assert "test_user_code.py line" in str(caught.value) and str(Path(__file__).parent) not in str(caught.value)
    assert caught.value.__cause__ is not None and caught.value.exit_code == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), Refused("no"), InputError("no")], ids=repr)
def test_interrupts_and_errors_of_our_own_stay_what_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, running_user_code("net", "its forward"):
        raise error
    assert caught.value is error


def test_the_trace_of_an_interpreter_is_no_part_of_a_text() -> None:
    error = AssertionError("\n\nWhile executing %add : call_function\nOriginal traceback:\nNone")
    assert described(error) == "AssertionError"
    assert described(ValueError("too wide\n\nWhile executing %add : call_function")) == "ValueError: too wide"


def test_what_fails_within_needs_no_advice_on_the_call() -> None:
    with pytest.raises(UserCodeError) as caught, running_user_code("net", "calling it", "it takes no arguments"):
        raise LookupError("width")
    assert not caught.value.todo


def test_a_file_with_a_wrong_line_is_named_with_that_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "snnconv_test_syntax.py").write_text("x = 1\ndef net(:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserCodeError, match=r"SyntaxError: .*, in snnconv_test_syntax.py line 2 \(def net\(:\)$"):
        imported("snnconv_test_syntax:net")


def test_the_rooms_that_hook_into_a_network_exist() -> None:
    assert all((room / "__init__.py").is_file() for room in HOOKING_ROOMS)
