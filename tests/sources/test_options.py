"""Options of a source: what a configuration file may say, and who overrides whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snnconv.errors import InputError
from snnconv.sources import SourceOptions, configure
from snnconv.sources.options import Resolver, parse_shape

FULL = """
arch = "vgg16_bn"
timesteps = 8
input = "event"
input-shape = [2, 48, 48]
readout = "last"
leak = 1
threshold = 0.75
strict = false
"""
VALUES: dict[str, Any] = {
    "arch": "vgg16_bn",
    "timesteps": 8,
    "input": "event",
    "input_shape": (2, 48, 48),
    "readout": "last",
    "leak": 1.0,
    "threshold": 0.75,
    "strict": False,
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "snn.toml"
    path.write_text(FULL)
    return path


def written(folder: Path, text: str, name: str = "snn.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_settles_every_option(config: Path) -> None:
    options = configure(SourceOptions(), config)
    assert {name: getattr(options, name) for name in VALUES} == VALUES
    assert isinstance(options.leak, float)
    assert options.configured == dict.fromkeys(VALUES, "snn.toml")


@pytest.mark.parametrize("name", VALUES)
def test_an_option_overrides_the_file(name: str, config: Path) -> None:
    given: dict[str, Any] = {"arch": "a:b", "timesteps": 1, "input": "static", "input_shape": (1, 2, 3), "readout": "sum"}
    given |= {"leak": 0.0, "threshold": 0.25, "strict": True}
    options = configure(SourceOptions(**{name: given[name]}), config)
    assert getattr(options, name) == given[name]
    assert name not in options.configured
    assert set(options.configured) == set(VALUES) - {name}


def test_false_and_zero_are_given_values(config: Path) -> None:
    options = configure(SourceOptions(strict=False, leak=0.0), config)
    assert (options.strict, options.leak) == (False, 0.0)


@pytest.mark.parametrize("name", ["snn.toml", "pyproject.toml", "other.toml"])
def test_settings_may_stand_under_tool_snnconv(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, "[tool.ruff]\nline-length = 99\n[tool.snnconv]\ntimesteps = 3\n", name)
    options = configure(SourceOptions(), path)
    assert (options.timesteps, options.configured) == (3, {"timesteps": name})


def test_pyproject_here_is_read_without_being_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "[project]\nname = 'x'\n[tool.snnconv]\nreadout = 'sum'\n", "pyproject.toml")
    monkeypatch.chdir(tmp_path)
    assert configure(SourceOptions(), None).readout == "sum"


def test_a_file_that_is_named_replaces_pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "[tool.snnconv]\nreadout = 'sum'\ntimesteps = 9\n", "pyproject.toml")
    monkeypatch.chdir(tmp_path)
    options = configure(SourceOptions(), written(tmp_path, "timesteps = 2"))
    assert (options.timesteps, options.readout) == (2, None)


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "[tool.ruff]\n", "[tool.snnconv]\n"])
def test_a_pyproject_without_settings_says_nothing(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, text, "pyproject.toml")
    monkeypatch.chdir(tmp_path)
    assert configure(SourceOptions(), None) == SourceOptions()


def test_no_pyproject_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = SourceOptions(timesteps=3)
    assert configure(given, None) == given


@pytest.mark.parametrize("text", ["input_shape = [1, 28, 28]", "input-shape = '1,28,28'", "input-shape = [1, 28, 28]"])
def test_a_shape_may_be_a_list_or_text_and_its_key_spelt_either_way(text: str, tmp_path: Path) -> None:
    assert configure(SourceOptions(), written(tmp_path, text)).input_shape == (1, 28, 28)


@pytest.mark.parametrize(
    "text",
    [
        "timesteps = 'four'",
        "timesteps = 4.0",
        "timesteps = true",
        "timesteps = 0",
        "arch = 3",
        "input = 'video'",
        "input-shape = 3",
        "input-shape = []",
        "input-shape = [1, 2.5, 3]",
        "input-shape = [1, -2, 3]",
        "readout = 'median'",
        "leak = '0.5'",
        "leak = true",
        "threshold = [0.5]",
        "strict = 1",
        "strict = 'yes'",
        "Timesteps = 4",
        "configured = {}\nleaky = 1",
    ],
)
def test_what_a_file_may_not_say_is_an_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        configure(SourceOptions(), written(tmp_path, text))


@pytest.mark.parametrize("text", ["timesteps = 0", "readout = 'median'", "input-shape = [0, 1, 1]"])
def test_an_error_about_a_value_names_the_file(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"snn\.toml"):
        configure(SourceOptions(), written(tmp_path, text))


SPELT = (
    "3,32,32",
    " 3, 32 ,32",
    "3x32x32",
    "3 X 32 X 32",
    "3\N{MULTIPLICATION SIGN}32\N{MULTIPLICATION SIGN}32",
    "3 32 32",
    "(3, 32, 32)",
    "[3,32,32]",
    "(3, 32, 32,)",
)


@pytest.mark.parametrize(("text", "shape"), [*((text, (3, 32, 32)) for text in SPELT), ("7", (7,)), ("(7,)", (7,))])
def test_a_shape_is_understood_as_people_spell_it(text: str, shape: tuple[int, ...]) -> None:
    assert parse_shape(text) == shape


@pytest.mark.parametrize("text", ["", "abc", "3,,3", "3,32,", "3x32x", "3.0,1", "[3,1,1", "(3,1]", "()", "((3,1))", "C,H,W"])
def test_what_is_no_shape_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="as in 3,32,32"):
        parse_shape(text)


@pytest.mark.parametrize(
    "wrong",
    [{"timesteps": 0}, {"input": "video"}, {"readout": "median"}, {"input_shape": ()}, {"input_shape": (3, 0, 3)}],
    ids=str,
)
def test_wrong_values_are_refused_from_python_too(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        SourceOptions(**wrong)


def test_a_resolver_remembers_where_each_setting_came_from() -> None:
    resolve = Resolver(SourceOptions(timesteps=2, leak=0.5, configured={"leak": "snn.toml"}))
    assert resolve("timesteps", 4) == 2
    assert resolve("leak", 0.25) == 0.5
    assert resolve("threshold", 0.5) == 0.5
    assert resolve("input_shape", (3, 8, 8), "factory") == (3, 8, 8)
    assert resolve.resolved == {
        "timesteps": "2 (option)",
        "leak": "0.5 (snn.toml)",
        "threshold": "0.5 (default)",
        "input_shape": "3,8,8 (factory)",
    }


def test_a_resolver_rejects_what_does_not_apply() -> None:
    resolve = Resolver(SourceOptions(input_shape=(1, 2, 3)))
    resolve.reject("leak", "arch", reason="of reasons")
    with pytest.raises(InputError, match="--input-shape does not apply: of reasons; leave it out"):
        resolve.reject("leak", "input_shape", reason="of reasons")


# What follows from the data.


def settled(samples: tuple[tuple[int, ...], ...], frame: tuple[int, ...] = (2, 8, 8), **given: Any) -> tuple[Any, ...]:
    """Kind of input and T, each with its origin, for data whose samples may have these shapes."""
    resolve = Resolver(SourceOptions(**given, samples=samples))
    contract = resolve.contract(frame, timesteps=4)
    assert (contract.input_shape, contract.batch_shape(1)[1:]) == (
        frame,
        ((contract.timesteps,) if contract.event else ()) + frame,
    )
    return resolve.resolved["input"], resolve.resolved["timesteps"]


@pytest.mark.parametrize(
    ("samples", "frame", "found"),
    [
        ((), (2, 8, 8), ("static (default)", "4 (default)")),
        (((2, 8, 8),), (2, 8, 8), ("static (default)", "4 (default)")),
        (((6, 2, 8, 8),), (2, 8, 8), ("event (data)", "6 (data)")),
        (((4, 2, 8, 8),), (2, 8, 8), ("event (data)", "4 (data)")),
        (((20,),), (20,), ("static (default)", "4 (default)")),
        (((7, 20),), (20,), ("event (data)", "7 (data)")),
        (((5, 3, 16),), (3, 16), ("event (data)", "5 (data)")),
        (((8, 6, 2, 8, 8), (6, 2, 8, 8)), (2, 8, 8), ("event (data)", "6 (data)")),
        (((8, 2, 8, 8), (2, 8, 8)), (2, 8, 8), ("static (default)", "4 (default)")),
        (((9,),), (2, 8, 8), ("static (default)", "4 (default)")),
        (((0, 2, 8, 8),), (2, 8, 8), ("static (default)", "4 (default)")),
    ],
)
def test_the_kind_of_input_and_t_follow_from_the_data(
    samples: tuple[tuple[int, ...], ...], frame: tuple[int, ...], found: tuple[str, str]
) -> None:
    assert settled(samples, frame) == found


def test_what_is_given_and_agrees_with_the_data_keeps_its_origin() -> None:
    assert settled(((6, 2, 8, 8),), input="event", timesteps=6) == ("event (option)", "6 (option)")
    assert settled(((2, 8, 8),), input="static", timesteps=6) == ("static (option)", "6 (option)")
    assert settled(((6, 2, 8, 8), (2, 8, 8)), input="event") == ("event (option)", "6 (data)"), "an item may be a sample"


@pytest.mark.parametrize(
    ("sample", "given", "said"),
    [
        (
            (6, 2, 8, 8),
            {"input": "static"},
            "input is static (option), but one sample of the data is [6, 2, 8, 8]: frames over time",
        ),
        ((2, 8, 8), {"input": "event"}, "input is event (option), but one sample of the data is [2, 8, 8]: one image"),
        ((6, 2, 8, 8), {"timesteps": 4}, "timesteps is 4 (option), but one sample of the data is [6, 2, 8, 8]: 6 frames"),
        (
            *((6, 2, 8, 8), {"timesteps": 4, "configured": {"timesteps": "snn.toml"}}),
            "timesteps is 4 (snn.toml), but one sample of the data is [6, 2, 8, 8]: 6 frames; pass --timesteps 6 to",
        ),
    ],
)
def test_a_contradiction_names_both_sides(sample: tuple[int, ...], given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        settled((sample,), **given)
    assert str(caught.value).startswith(said)
    assert "--" in caught.value.todo


def test_t_of_the_network_itself_is_no_default() -> None:
    resolve = Resolver(SourceOptions(samples=((6, 2, 8, 8),)))
    with pytest.raises(InputError, match=r"timesteps is 4 \(factory\), but one sample of the data is \[6, 2, 8, 8\]: 6 frames"):
        resolve.contract((2, 8, 8), 4, "factory")


@pytest.mark.parametrize(
    ("sample", "given", "found"),
    [
        ((3, 48, 48), {}, "3,48,48 (data)"),
        ((4, 3, 48, 48), {}, "3,48,48 (data)"),
        ((1, 48, 48), {}, "3,32,32 (default)"),
        ((48, 48), {}, "3,32,32 (default)"),
        ((3, 48, 48), {"input_shape": (3, 40, 40)}, "3,40,40 (option)"),
    ],
)
def test_the_sizes_of_a_frame_follow_from_data_of_as_many_channels(
    sample: tuple[int, ...], given: dict[str, Any], found: str
) -> None:
    resolve = Resolver(SourceOptions(**given, samples=(sample,)))
    resolve.frame((3, 32, 32))
    assert resolve.resolved["input_shape"] == found


def test_a_number_is_shown_in_full_where_it_would_lose_something() -> None:
    resolve = Resolver(SourceOptions(leak=0.12345678, threshold=0.5))
    resolve("leak", 0.25), resolve("threshold", 1.0)
    assert resolve.resolved == {"leak": "0.12345678 (option)", "threshold": "0.5 (option)"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weights = 'model_ema'", {"weights": "model_ema"}),
        ("ignore = 'aux.*'", {"ignore": ("aux.*",)}),
        ("ignore = ['aux.*', '*.v']", {"ignore": ("aux.*", "*.v")}),
        ("rename = ['a=b', 'c=']", {"rename": ("a=b", "c=")}),
    ],
)
def test_a_file_says_what_of_a_checkpoint_is_taken(text: str, expected: dict[str, object], tmp_path: Path) -> None:
    options = configure(SourceOptions(), written(tmp_path, text))
    assert {name: getattr(options, name) for name in expected} == expected


@pytest.mark.parametrize("rule", ["a", "=b", ""])
def test_a_rule_of_renaming_has_two_sides(rule: str) -> None:
    with pytest.raises(InputError, match=f"rename is '{rule}'; it is FROM=TO, as in backbone=net"):
        SourceOptions(rename=("x=y", rule))
