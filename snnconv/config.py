"""Settings in a TOML file: `[tool.snnconv]` of a pyproject.toml, or a whole file of its own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snnconv.errors import InputError, first_line
from snnconv.results.verdict import Policy, policy_from

_MOST_PARTS = 1000


def read_settings(config: Path | None) -> tuple[Path, Mapping[str, Any]]:
    """The settings in `config`, or in ./pyproject.toml if there is one, and where they were read.

    Raises `InputError` for a file that cannot be read.
    """
    path = config if config is not None else Path("pyproject.toml")
    if config is None and not path.is_file():
        return path, {}
    try:
        whole = _parsed(path.read_bytes().decode())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "check --config") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not TOML ({first_line(error)})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    tool = whole.get("tool", {})
    ours = tool.get("snnconv") if isinstance(tool, Mapping) else tool
    if ours is None:
        return path, {} if path.name == "pyproject.toml" else whole
    if not isinstance(ours, Mapping):
        raise InputError(f"{path}: [tool.snnconv] is {ours!r}", "it is a table of settings")
    return path, ours


def _parsed(text: str) -> dict[str, Any]:
    """TOML as a table. Raises `ValueError` for a key of very many parts, for which tomllib needs memory as their square."""
    if any(line.count(".") > _MOST_PARTS for line in text.splitlines()):
        raise ValueError(f"a key of more than {_MOST_PARTS} parts")
    return tomllib.loads(text)


def read_policy(given: list[str], config: Path | None) -> Policy:
    """The policy of `KEY=VALUE` texts over that of the table `verify` of the settings. Raises `InputError`."""
    path, settings = read_settings(config)
    table = settings.get("verify", {})
    if not isinstance(table, Mapping):
        raise InputError(f"{path}: [tool.snnconv.verify] is {table!r}", "it is a table of settings")
    values = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--policy '{text}'", "it is KEY=VALUE, as in agreement=0.995")
        values[key.strip()] = value.strip()
    return policy_from(values, policy_from(table, where=f"{path}: [tool.snnconv.verify]"), where="--policy")
