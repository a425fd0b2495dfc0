"""A hint names what is nearest, and nothing if nothing is near."""

from __future__ import annotations

import pytest

from snnconv.hints import factory_meant, meant

MEANT = {
    "common.py:net": "common:net",
    "./common.py:net": "common:net",
    "../nets/common.py:net": "common:net",
    "/home/me/common.py:net": "common:net",
    "common/net.py:net": "common.net:net",
    "common/net:net": "common.net:net",
    "common.net": "common:net",
    "package.common.net": "package.common:net",
    "common.py": "common:FACTORY",
    "common:net": "",
    "package.common:net": "",
    "common": "",
    "": "",
    ":": "",
}


@pytest.mark.parametrize("text", MEANT)
def test_a_path_or_a_dotted_name_is_told_as_module_and_factory(text: str) -> None:
    assert factory_meant(text) == (MEANT[text] and f"did you mean {MEANT[text]}? ")


@pytest.mark.parametrize(("word", "near"), [("sequnce", "sequence"), ("STEP", "step"), ("sequences", "sequence"), ("both", "")])
def test_the_nearest_name_is_told(word: str, near: str) -> None:
    assert meant(word, ("sequence", "step")) == (near and f"did you mean '{near}'? ")


def test_among_no_names_none_is_near() -> None:
    assert meant("", ()) == ""
