"""Settings come from --config or ./pyproject.toml, and the command line goes over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnconv.config import read_policy, read_settings
from snnconv.errors import InputError
from snnconv.results.verdict import Policy


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


PYPROJECT = '[project]\nname = "mine"\n[tool.snnconv.verify]\nagreement = 0.9\nexplained-flips = 0\n'


def test_without_a_file_nothing_is_set(here: Path) -> None:
    assert read_settings(None) == (Path("pyproject.toml"), {})
    assert read_policy([], None) == Policy()


def test_the_policy_stands_in_pyproject(here: Path) -> None:
    Path("pyproject.toml").write_text(PYPROJECT)
    assert read_policy([], None) == Policy(0.9, 0.0)


def test_a_pyproject_of_something_else_sets_nothing(here: Path) -> None:
    for text in ("", "[project]\nname = 'verify'\n", "[tool.ruff]\nline-length = 100\n", "[verify]\nagreement = 0.1\n"):
        Path("pyproject.toml").write_text(text)
        assert read_policy([], None) == Policy()


def test_a_file_of_its_own_needs_no_prefix_but_may_have_it(here: Path) -> None:
    for text in ("[verify]\nagreement = 0.8\n", "[tool.snnconv.verify]\nagreement = 0.8\n"):
        Path("snn.toml").write_text(text)
        assert read_policy([], Path("snn.toml")) == Policy(0.8)


def test_a_file_that_is_named_stands_alone(here: Path) -> None:
    Path("pyproject.toml").write_text(PYPROJECT)
    Path("snn.toml").write_text("[verify]\nlogit-error = 0.5\n")
    assert read_policy([], Path("snn.toml")) == Policy(logit_error=0.5)


def test_the_command_line_goes_over_the_file_setting_by_setting(here: Path) -> None:
    Path("pyproject.toml").write_text(PYPROJECT)
    assert read_policy(["agreement=0.95", "logit-error = 1e-3"], None) == Policy(0.95, 0.0, None, 1e-3)


def test_the_last_of_two_values_counts(here: Path) -> None:
    assert read_policy(["agreement=0.1", "agreement=0.2"], None) == Policy(0.2)


@pytest.mark.parametrize("text", ["agreement", "", "0.99"])
def test_a_setting_is_key_and_value(text: str, here: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_policy([text], None)
    assert str(caught.value) == f"--policy '{text}'; it is KEY=VALUE, as in agreement=0.995"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("agreed=1", "--policy: unknown setting 'agreed'; did you mean 'agreement'? known are accuracy-drop, agreement"),
        ("=1", "--policy: unknown setting ''"),
        ("agreement=all", "--policy: agreement is 'all'; it is a number"),
        ("agreement=", "--policy: agreement is ''; it is a number"),
        ("agreement=0.9=1", "--policy: agreement is '0.9=1'"),
        ("agreement=2", "agreement is 2.0; it is a share from 0 to 1"),
    ],
)
def test_a_wrong_setting_of_the_command_line_is_named(text: str, words: str, here: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_policy([text], None)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tool.snnconv.verify.agreed = 1", "unknown setting 'agreed'"),
        ("tool.snnconv.verify.agreement = '1%'", "agreement is '1%'; it is a number"),
        ("tool.snnconv.verify.agreement = true", "agreement is True; it is a number"),
        ("tool.snnconv.verify = 3", "[tool.snnconv.verify] is 3; it is a table of settings"),
        ("tool.snnconv = 'x'", "[tool.snnconv] is 'x'; it is a table of settings"),
        ("tool = 4", "[tool.snnconv] is 4; it is a table of settings"),
        ("agreement: 1", "not TOML"),
        ("agreement = '\udcff'", "not TOML"),
    ],
)
def test_a_wrong_file_is_named(text: str, words: str, here: Path) -> None:
    for name in ("pyproject.toml", "snn.toml"):
        Path(name).write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(InputError) as caught:
            read_policy([], None if name == "pyproject.toml" else Path(name))
        assert str(caught.value).startswith(f"{name}: ")
        assert words in str(caught.value)


def test_a_value_out_of_range_is_blamed_on_its_file(here: Path) -> None:
    Path("snn.toml").write_text("[verify]\nagreement = 2\n")
    with pytest.raises(InputError, match=r"^snn\.toml"):
        read_policy([], Path("snn.toml"))


def test_a_file_that_is_named_must_be_there(here: Path) -> None:
    with pytest.raises(InputError, match=r"^nope\.toml: no such file; check --config$"):
        read_policy([], Path("nope.toml"))
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_policy([], here)
