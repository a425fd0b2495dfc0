"""The verdict is fixed rules and a policy: every fault fails it, nothing else does, and its word never says too much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snnconv.errors import InputError
from snnconv.results import LEVELS, NOT_CHECKED, UNPROVEN, Check, DataSummary, LayerTally, Probe, Task, Verification
from snnconv.results.verdict import Policy, judge, policy_from

CONTRACT = Check("contract", "", True, "T = 4")
ACT = LayerTally("act", 1000, worst=0.074)
OUTPUT = LayerTally("output", 50, worst=0.01)
TASK = Task(200, 200, 1e-6)
SOUND = Verification(
    *("net.pth", "5" * 64, "tests:net", "net.onnx", "c" * 64, "ONNX Runtime", "sequence"),
    DataSummary("data.npz", 200, "0" * 64),
    LEVELS,
    checks=(CONTRACT,),
    layers=(ACT, OUTPUT),
    task=TASK,
)


def faults(found: Verification, policy: Policy | None = None) -> list[tuple[str, str, str]]:
    verdict = judge(found, policy)
    assert verdict.equivalent == (not verdict.faults)
    return [(check.level, check.layer, check.detail) for check in verdict.faults]


def task_faults(task: Task, policy: Policy | None = None) -> list[str]:
    """What the task level says where it fails, and that nothing else does."""
    found = faults(replace(SOUND, task=task), policy)
    assert all(level == "task" for level, _, _ in found)
    return [detail for _, _, detail in found]


# Fixed rules.


def test_what_is_sound_passes_and_says_how_sound_it_is() -> None:
    verdict = judge(SOUND)
    assert (verdict.equivalent, verdict.complete, verdict.word, verdict.faults) == (True, True, "EQUIVALENT", ())
    assert verdict.checks == (
        CONTRACT,
        Check("deployment", "act", True, "1,000 values, 0 explained flips, worst error 7.4% of its bound"),
        Check("deployment", "output", True, "worst error 1.0% of its bound"),
        Check("task", "", True, "argmax agrees on 100.00% of 200 samples, logit error 1e-06"),
    )


def test_a_bound_that_was_measured_is_called_so_in_its_check() -> None:
    tallies = (replace(ACT, measured=True), replace(OUTPUT, outside=3, measured=True))
    details = [check.detail for check in judge(replace(SOUND, layers=tallies)).checks if check.level == "deployment"]
    assert "worst error 7.4% of its measured bound" in details[0] and "outside their measured rounding bound" in details[1]


@pytest.mark.parametrize("level", ["contract", "proof", "algebra", "deployment"])
def test_a_check_that_failed_fails_the_verdict(level: str) -> None:
    failed = Check(level, "act", False, "1 of 6 in threshold differ")
    assert faults(replace(SOUND, checks=(CONTRACT, failed))) == [(level, "act", "1 of 6 in threshold differ")]


KINDS = {
    "outside": "1 values outside their rounding bound",
    "inconsistent": "1 spikes against the layer's own threshold",
    "unexplained": "1 unexplained flips",
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_fault_of_one_layer_is_enough_and_is_named_with_its_place(kind: str) -> None:
    tally = replace(ACT, **{kind: 1}, first=(12, 2))
    found = faults(replace(SOUND, layers=(tally, OUTPUT)), Policy(agreement=0))
    assert found == [("deployment", "act", f"{KINDS[kind]}, first at sample 12, step 2")]


@pytest.mark.parametrize("kind", KINDS)
def test_one_fault_on_a_probe_is_enough_and_names_the_kind_of_probe(kind: str) -> None:
    probe = Probe("extreme", 5, (ACT, replace(ACT, name="other", **{kind: 1}, first=(3, 0))), {})
    assert faults(replace(SOUND, probes=(probe,))) == [
        ("deployment", "other", f"{KINDS[kind]} on extreme probes, first at sample 3, step 0")
    ]


def test_several_kinds_of_fault_are_all_counted() -> None:
    tally = replace(ACT, outside=7, inconsistent=5, unexplained=3, first=(0, 0))
    ((_, _, detail),) = faults(replace(SOUND, layers=(tally,)))
    assert detail == (
        "7 values outside their rounding bound, 5 spikes against the layer's own threshold, 3 unexplained flips, "
        "first at sample 0, step 0"
    )


def test_an_output_outside_its_bound_is_a_fault_of_the_deployment() -> None:
    found = faults(replace(SOUND, layers=(ACT, replace(OUTPUT, outside=2, first=(4, 0)))))
    assert found == [("deployment", "output", "2 values outside their rounding bound, first at sample 4, step 0")]


def test_flips_that_rounding_explains_are_no_fault_by_themselves() -> None:
    assert not faults(replace(SOUND, layers=(replace(ACT, explained=900), OUTPUT)))


def test_logits_that_are_not_numbers_fail_however_well_the_rest_agrees() -> None:
    assert task_faults(replace(TASK, logit_error=None), Policy(agreement=0)) == [
        "argmax agrees on 100.00% of 200 samples, logit error not a number"
    ]


def test_whatever_fails_is_among_the_checks_beside_what_passes() -> None:
    verdict = judge(replace(SOUND, layers=(replace(ACT, unexplained=1), OUTPUT), task=replace(TASK, agreeing=0)))
    assert [(check.level, check.layer, check.passed) for check in verdict.checks] == [
        ("contract", "", True),
        ("deployment", "act", False),
        ("deployment", "output", True),
        ("task", "", False),
    ]
    assert verdict.word == "NOT EQUIVALENT"


# What the policy decides.


@pytest.mark.parametrize(("agreeing", "passes"), [(198, True), (197, False)])
def test_the_least_agreement_is_allowed_and_less_is_not(agreeing: int, passes: bool) -> None:
    assert (not task_faults(replace(TASK, agreeing=agreeing), Policy(agreement=0.99))) == passes


@pytest.mark.parametrize(("explained", "passes"), [(0, True), (2, True), (3, False)])
def test_the_share_of_explained_flips_is_of_the_spikes_of_all_layers(explained: int, passes: bool) -> None:
    layers = (replace(ACT, explained=explained), replace(ACT, name="other"), OUTPUT)
    found = faults(replace(SOUND, layers=layers), Policy(explained_flips=0.001))
    share = explained / 2000
    expected = [] if passes else [("deployment", "", f"{explained} of 2000 spikes flipped by rounding ({share:.1e})")]
    assert found == expected


def test_without_a_limit_flips_by_rounding_are_not_a_check() -> None:
    assert [check.layer for check in judge(SOUND).checks if check.level == "deployment"] == ["act", "output"]
    assert "" in [check.layer for check in judge(SOUND, Policy(explained_flips=0)).checks if check.level == "deployment"]


def test_no_flip_at_all_may_be_demanded() -> None:
    assert not faults(SOUND, Policy(explained_flips=0))
    assert faults(replace(SOUND, layers=(replace(ACT, explained=1),)), Policy(explained_flips=0))


LABELLED = replace(TASK, labelled=200, right_reference=180, right_candidate=180)


def test_accuracy_is_told_for_both_sides_where_there_are_labels() -> None:
    assert judge(replace(SOUND, task=LABELLED)).checks[-1].detail.endswith("accuracy 90.00% before and 90.00% after")


@pytest.mark.parametrize(("right", "passes"), [(190, True), (180, True), (176, True), (175, False), (0, False)])
def test_accuracy_may_not_drop_by_more_than_the_policy_allows(right: int, passes: bool) -> None:
    found = task_faults(replace(LABELLED, right_candidate=right), Policy(accuracy_drop=0.021))
    assert (not found) == passes
    if right == 175:
        assert found[0].endswith("accuracy 90.00% before and 87.50% after: it drops by 2.50%, more than 2.10%")


def test_a_drop_of_exactly_what_the_policy_allows_is_allowed() -> None:
    task = replace(TASK, samples=500, agreeing=500, labelled=500, right_reference=455, right_candidate=454)
    assert not task_faults(task, Policy(accuracy_drop=0.002))


def test_a_drop_is_no_matter_where_the_policy_does_not_ask() -> None:
    assert not task_faults(replace(LABELLED, right_candidate=0))


def test_a_limit_on_the_drop_of_accuracy_fails_without_labels() -> None:
    (detail,) = task_faults(TASK, Policy(accuracy_drop=1.0))
    assert detail.endswith(": the policy limits the drop of accuracy, but the data has no labels")


@pytest.mark.parametrize(("error", "passes"), [(0.0, True), (1e-4, True), (1.1e-4, False), (None, False)])
def test_the_largest_logit_error_is_allowed_and_more_is_not(error: float | None, passes: bool) -> None:
    found = task_faults(replace(TASK, logit_error=error), Policy(logit_error=1e-4))
    assert (not found) == passes
    assert passes or found[0].endswith(": the policy allows a logit error of 0.0001")


# Decisions that differ behind explained flips.


def decided(samples: int, agreeing: int, explained: int, **policy: float | None) -> dict[str, tuple[bool, str]]:
    """The checks of the task level by their names."""
    verdict = judge(replace(SOUND, task=Task(samples, agreeing, 1e-6, explained=explained)), Policy(**policy))
    return {check.layer: (check.passed, check.detail) for check in verdict.checks if check.level == "task"}


@pytest.mark.parametrize(("agreeing", "explained"), [(7, 1), (6, 2)])
def test_with_few_samples_one_or_two_explained_decisions_pass_and_are_told_apart(agreeing: int, explained: int) -> None:
    found = decided(8, agreeing, explained)
    assert found[""] == (
        True,
        f"argmax agrees on {agreeing / 8:.2%} of 8 samples, differs on {explained} behind explained flips alone, "
        "logit error 1e-06; 8 samples are too few to judge an agreement of 99.00%",
    )
    share = f"{explained} of 8 decisions ({explained / 8:.2%}) differ behind explained flips alone"
    assert found["explained decisions"] == (True, share)


def test_an_unexplained_decision_fails_beside_explained_ones_and_of_few_samples_as_well() -> None:
    found = decided(8, 6, 1)
    assert not found[""][0]
    assert found[""][1].endswith("8 samples are too few to judge an agreement of 99.00%")
    assert found["explained decisions"][0]


@pytest.mark.parametrize(
    ("samples", "explained", "limit", "passes"),
    [
        *((500, 125, 0.25, True), (500, 126, 0.25, False), (8, 3, 0.25, False), (500, 25, 0.05, True), (500, 26, 0.05, False)),
        *((1, 1, 0.25, True), (8, 1, 0.01, True), (8, 2, 0.01, False), (8, 1, 0.0, False), (8, 8, None, True)),
    ],
)
def test_explained_decisions_have_a_limit_of_their_own(samples: int, explained: int, limit: float | None, passes: bool) -> None:
    found = decided(samples, samples - explained, explained, explained_decisions=limit)
    assert found[""][0], "they count as agreeing"
    assert found.get("explained decisions", (True, ""))[0] == passes
    if not passes:
        assert found["explained decisions"][1].endswith(
            f"more than the {limit:.2%} of the policy: these decisions hang on the last bits of a sum"
        )


@pytest.mark.parametrize(
    ("samples", "agreement", "few"), [(99, 0.99, True), (100, 0.99, False), (3, 0.5, False), (8, 1.0, False)]
)
def test_a_sample_too_small_to_judge_is_said_where_a_decision_differs(samples: int, agreement: float, few: bool) -> None:
    assert ("too few" in decided(samples, samples - 1, 0, agreement=agreement)[""][1]) == few
    assert "too few" not in decided(samples, samples, 0, agreement=agreement)[""][1]


def test_an_unwatched_run_may_decide_as_an_explained_watched_one() -> None:
    task = Task(8, 7, 1e-6, explained=1, bare=8, bare_agreeing=7, bare_explained=1)
    assert judge(replace(SOUND, task=task)).equivalent
    assert not judge(replace(SOUND, task=replace(task, bare_explained=0))).equivalent


BARE = replace(TASK, bare=100, bare_agreeing=100)


def test_the_unwatched_run_is_a_check_of_its_own() -> None:
    checks = judge(replace(SOUND, task=BARE)).checks
    assert checks[-1] == Check(
        "task", "unwatched run", True, "unwatched on 100 samples: argmax agrees on 100.00%, logits as watched on 100.00%"
    )
    assert "unwatched run" not in [check.layer for check in judge(SOUND).checks]


@pytest.mark.parametrize(
    ("agreeing", "unlike", "passes"), [(99, 0, True), (98, 0, False), (100, 1, True), (100, 2, False), (0, 100, False)]
)
def test_the_unwatched_run_is_held_to_the_agreement_in_decisions_and_logits(agreeing: int, unlike: int, passes: bool) -> None:
    found = task_faults(replace(BARE, bare_agreeing=agreeing, bare_unlike=unlike), Policy(agreement=0.99))
    assert found == (
        []
        if passes
        else [f"unwatched on 100 samples: argmax agrees on {agreeing / 100:.2%}, logits as watched on {1 - unlike / 100:.2%}"]
    )


@pytest.mark.parametrize(
    ("bare", "unlike", "agreement"),
    [(1000, 1, 0.999), (100, 1, 0.99), (10, 1, 0.9), (5, 1, 0.8)],
)
def test_as_many_unlike_logits_as_decisions_may_differ(bare: int, unlike: int, agreement: float) -> None:
    task = replace(TASK, bare=bare, bare_agreeing=bare - unlike, bare_unlike=unlike)
    assert not task_faults(task, Policy(agreement=agreement))


def test_where_the_unwatched_run_fails_only_it_fails() -> None:
    verdict = judge(replace(SOUND, task=replace(BARE, bare_unlike=50)))
    assert [(check.layer, check.passed) for check in verdict.checks if check.level == "task"] == [
        ("", True),
        ("unwatched run", False),
    ]


# The word.


def test_a_fault_is_the_word_whatever_else_is_missing() -> None:
    found = replace(SOUND, levels=("task",), shard=(1, 2), layers=(), task=replace(TASK, agreeing=0))
    assert judge(found).word == "NOT EQUIVALENT"


def test_levels_that_did_not_run_are_in_the_word() -> None:
    verdict = judge(replace(SOUND, levels=("proof", "task")))
    assert (verdict.equivalent, verdict.complete) == (True, False)
    assert verdict.word == "NO FAULT FOUND in proof, task (algebra, deployment not checked)"


def test_a_shard_is_in_the_word() -> None:
    verdict = judge(replace(SOUND, shard=(2, 4)))
    assert (verdict.equivalent, verdict.complete, verdict.word) == (True, False, "NO FAULT FOUND in shard 2/4")


def test_a_shard_of_some_levels_says_both() -> None:
    verdict = judge(replace(SOUND, shard=(2, 4), levels=("deployment",)))
    assert verdict.word == "NO FAULT FOUND in shard 2/4, deployment (proof, algebra, task not checked)"


def test_one_shard_of_one_is_still_not_called_equivalent_before_it_is_merged() -> None:
    assert judge(replace(SOUND, shard=(1, 1))).word == "NO FAULT FOUND in shard 1/1"


@pytest.mark.parametrize("missing", LEVELS)
def test_without_any_one_level_nothing_is_called_equivalent(missing: str) -> None:
    verdict = judge(replace(SOUND, levels=tuple(level for level in LEVELS if level != missing)))
    assert verdict.word.startswith("NO FAULT FOUND")
    assert missing in verdict.word


def test_judging_again_is_free_and_changes_nothing() -> None:
    found = replace(SOUND, task=replace(TASK, agreeing=150))
    strict, loose = judge(found), judge(found, Policy(agreement=0.5))
    assert (strict.equivalent, loose.equivalent) == (False, True)
    assert strict.verification is loose.verification is found


# The policy.


def test_a_policy_is_read_by_the_names_of_its_settings() -> None:
    settings = {"agreement": "0.995", "explained-flips": 0, "accuracy_drop": 0.01, "logit-error": "1e-3"}
    assert policy_from(settings) == Policy(0.995, 0.0, 0.01, 1e-3)


def test_settings_go_over_the_policy_below_them() -> None:
    assert policy_from({"logit-error": 1}, Policy(0.5, 0.1, 0.2, 0.3)) == Policy(0.5, 0.1, 0.2, 1.0)
    assert policy_from({}) == Policy()


@pytest.mark.parametrize("value", ["much", "", None, [1], {}, True, "nan%"])
def test_a_value_that_is_no_number_is_named(value: object) -> None:
    with pytest.raises(InputError) as caught:
        policy_from({"logit-error": value}, where="--policy")
    assert str(caught.value) == f"--policy: logit-error is {value!r}; it is a number"


def test_a_number_of_too_many_digits_is_named() -> None:
    with pytest.raises(InputError):
        policy_from({"logit-error": 10**400})


def test_an_unknown_setting_is_told_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        policy_from({"agreements": 1}, where="pyproject.toml: [tool.snnconv.verify]")
    assert str(caught.value) == (
        "pyproject.toml: [tool.snnconv.verify]: unknown setting 'agreements'; did you mean 'agreement'? "
        "known are accuracy-drop, agreement, explained-decisions, explained-flips, logit-error"
    )


@pytest.mark.parametrize("name", ["agreement", "explained-decisions", "explained-flips", "accuracy-drop"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), "-inf"])
def test_a_share_is_from_0_to_1(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^policy: {name} is {float(value)}; it is a share from 0 to 1$"):
        policy_from({name: value})


@pytest.mark.parametrize("value", [-1e-9, float("nan")])
def test_a_logit_error_is_not_negative(value: float) -> None:
    with pytest.raises(InputError, match=r"^policy: logit-error is .*; it is not negative$"):
        policy_from({"logit-error": value})


@pytest.mark.parametrize("name", ["agreement", "explained-flips", "accuracy-drop", "logit-error"])
def test_the_ends_are_allowed(name: str) -> None:
    for value in (0, 1):
        policy_from({name: value})


# What is open.

OPEN_GRAPH = Check("proof", "graph", False, "the graph is another", open=UNPROVEN)
UNABLE = Check("algebra", "", False, "no float64 here", open=NOT_CHECKED)
ALGEBRA = Check("algebra", "", True, "")
FOUND = replace(SOUND, levels=LEVELS, checks=(*SOUND.checks, ALGEBRA))


def test_unproven_is_no_fault_and_no_equivalence() -> None:
    verdict = judge(replace(FOUND, checks=(*FOUND.checks, OPEN_GRAPH)))
    assert not verdict.equivalent and not verdict.faults
    assert verdict.word == "UNPROVEN: no fault found in algebra, deployment, task (the graph is another)"


def test_a_fault_on_another_level_outweighs_what_is_unproven() -> None:
    verdict = judge(replace(FOUND, checks=(*FOUND.checks, OPEN_GRAPH), layers=(replace(ACT, unexplained=1), OUTPUT)))
    assert verdict.word == "NOT EQUIVALENT"


def test_unproven_says_which_levels_could_not_speak() -> None:
    verdict = judge(replace(SOUND, levels=LEVELS, checks=(*SOUND.checks, OPEN_GRAPH, UNABLE)))
    assert verdict.word == "UNPROVEN: no fault found in deployment, task (algebra not checked; the graph is another)"


def test_what_was_not_checked_is_no_fault_but_nothing_is_complete_without_it() -> None:
    verdict = judge(replace(SOUND, levels=LEVELS, checks=(*SOUND.checks, Check("proof", "", True, ""), UNABLE)))
    assert verdict.equivalent and not verdict.complete and not verdict.faults
    assert verdict.word == "NO FAULT FOUND in proof, deployment, task (algebra not checked)"


def test_probes_that_were_not_run_are_named_beside_their_level() -> None:
    probes = Check("deployment", "", False, "constants stay where they are", "comparison", NOT_CHECKED)
    verdict = judge(replace(FOUND, checks=(*FOUND.checks, Check("proof", "", True, ""), probes)))
    assert verdict.word == "NO FAULT FOUND in proof, algebra, deployment, task (deployment comparison probes not checked)"


def test_nothing_is_equivalent_of_which_nothing_could_be_checked() -> None:
    verdict = judge(replace(SOUND, levels=("algebra",), checks=(*SOUND.checks, UNABLE), layers=(), task=None))
    assert not verdict.equivalent and verdict.word == "NOT CHECKED: no float64 here"
