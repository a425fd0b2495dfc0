"""Importing what registers adapters: the files of the frameworks that are in use, and packages with adapters of their own."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from snnconv.errors import BackendMissing
from snnconv.registry import Registry
from snnconv.user_code import FRAMEWORKS

PACKAGES: Registry[object] = Registry("snnconv.adapters", {})
"""The modules of other packages that register adapters when they are imported."""


def load() -> None:
    """Import the file of every framework that the process has imported, and every package with adapters.

    Raises `BackendMissing` for a version of a framework that is not supported.
    """
    for framework, major in FRAMEWORKS.items():
        if sys.modules.get(framework) is not None:
            installed = _version(framework)
            if installed.partition(".")[0] != str(major):
                raise BackendMissing(f"{framework} {installed} is installed; {major}.x is supported", installing(framework))
            import_module(f"snnconv.adapters.{framework}")
    for _ in PACKAGES:
        pass  # reaching an entry imports it


def installing(framework: str) -> str:
    """The command that installs a framework."""
    return f"pip install 'snnconv[{framework}]'"


def _version(framework: str) -> str:
    try:
        return version(framework)
    except PackageNotFoundError:  # it runs from a checkout
        return str(getattr(sys.modules[framework], "__version__", "of no version"))
