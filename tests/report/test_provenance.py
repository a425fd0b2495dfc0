"""Settings are shown with their origin; what was assumed is told apart from what is only a convention."""

from __future__ import annotations

from snnconv.report.provenance import assumed, provenance, settings, settings_line
from tests.report.examples import bad, good


def test_settings_have_the_names_of_the_field_and_the_architecture_is_left_out() -> None:
    held = {"arch": "a:b (option)", "timesteps": "4 (default)", "strict": "True and False (layers)", "v_reset": "0 (layers)"}
    assert settings(held) == [("T", "4 (default)"), ("fires on", "> and >= (layers)"), ("v-reset", "0 (layers)")]
    assert settings_line(held) == "T = 4 (default), fires on > and >= (layers), v-reset 0 (layers)"


def test_what_nobody_gave_was_assumed() -> None:
    assert assumed({"timesteps": "4 (default)", "leak": "0.25 (layers)"}) == {"timesteps": "4"}


def test_conventions_alone_are_no_assumption() -> None:
    assert assumed({"readout": "mean (default)", "input": "static (default)"}) == {}
    assert assumed({"readout": "mean (default)", "leak": "0.25 (default)"}) == {"readout": "mean", "leak": "0.25"}


def test_the_provenance_names_files_data_policy_and_versions() -> None:
    said = dict(provenance(good()))
    assert said["source sha256"] == "5b" * 32 and said["data"] == "500 samples of fashion_test500.npz"
    assert said["policy agreement"] == "0.99" and said["policy accuracy-drop"] == "no limit"
    assert said["shard"] == "the whole data" and dict(provenance(bad()))["shard"] == "1/4"
    assert said["torch"] == "2.13.0"
