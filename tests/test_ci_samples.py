"""The samples for CI: valid files, and scripts that hand on every argument and every exit code.

The scripts run under bash as the runners run them, with a `snnconv` on the path that writes down how it was called.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the samples run under the bash of Linux and macOS")

ROOT = Path(__file__).parents[1]
CI = ROOT / "samples" / "ci"
ACTION = CI / "action"
SCHEMAS = {"action/action.yml": "github-actions", "workflow.yml": "github-workflows", "gitlab.yml": "gitlab-ci"}
BROKEN = {
    "action/action.yml": ("using: composite", "using: composed"),
    "workflow.yml": ("runs-on:", "runs_on:"),
    "gitlab.yml": ("when: always", "when: sometimes"),
}
README_SCHEMAS = ("github-workflows", "gitlab-ci", "gitlab-ci")
INPUT = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")

FAKE = """#!/usr/bin/env bash
printf '%s\\0' "$@" >"$FAKE_ARGV"
while (($#)); do
  if [[ $1 == --report && -n $FAKE_REPORT ]]; then
    printf '%s\\n' "$FAKE_REPORT" >"$2"
  fi
  shift
done
exit "$FAKE_CODE"
"""
INTERRUPTIBLE = f"""#!{sys.executable}
import pathlib, sys, time
pathlib.Path("started").touch()
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.2)
    sys.exit(130)
"""
AWKWARD = 'models/it\'s "$(touch pwned)"; touch pwned & `touch pwned` *.onnx'


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def readme_blocks() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (CI / "README.md").read_text(), re.DOTALL)


def step(steps: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(one for one in steps if one.get("name") == name)


def action() -> dict[str, Any]:
    return read(ACTION / "action.yml")


def action_env(name: str, **inputs: str) -> dict[str, str]:
    """The environment that GitHub gives the step `name` of the action for these inputs, `-` as `_`."""
    document = action()
    values = {key: one.get("default", "") for key, one in document["inputs"].items()}
    given = {key.replace("_", "-"): value for key, value in inputs.items()}
    assert given.keys() <= values.keys()
    values |= given
    env = step(document["runs"]["steps"], name)["env"]
    return {key: INPUT.sub(lambda match: values[match[1]], text) for key, text in env.items()}


def gitlab_job(name: str) -> dict[str, Any]:
    return read(CI / "gitlab.yml")[name]


def gitlab_env(name: str, **variables: str) -> dict[str, str]:
    return gitlab_job(".snnconv")["variables"] | gitlab_job(name).get("variables", {}) | variables


def scripts() -> dict[str, str]:
    """Every piece of shell in the samples, by where it stands."""
    found = {f"action/{path.name}": path.read_text() for path in sorted(ACTION.glob("*.sh"))}
    for number, one in enumerate(action()["runs"]["steps"]):
        if "run" in one:
            found[f"action/action.yml step {number}"] = one["run"]
    for job, content in read(CI / "workflow.yml")["jobs"].items():
        for number, one in enumerate(content["steps"]):
            if "run" in one:
                found[f"workflow.yml {job} step {number}"] = one["run"]
    for job, content in read(CI / "gitlab.yml").items():
        for key in ("before_script", "script"):
            if key in content:
                found[f"gitlab.yml {job} {key}"] = "\n".join(content[key])
    return found


@dataclass(frozen=True)
class Ran:
    """How a script ended, and the arguments that `snnconv` got from it (None: it was not called)."""

    code: int
    text: str
    argv: list[str] | None
    summary: str
    outputs: dict[str, str]

    @property
    def command(self) -> list[str]:
        assert self.argv is not None, self.text
        return self.argv

    def values(self, option: str) -> list[str]:
        """The values that follow `option`."""
        return [value for key, value in zip(self.command, self.command[1:], strict=False) if key == option]

    @property
    def positionals(self) -> list[str]:
        return self.command[self.command.index("--") + 1 :]


class Machine:
    """A machine of a CI service: a working directory, and a path with a fake `snnconv` and a fake `python`."""

    def __init__(self, folder: Path) -> None:
        self.work, self.bin = folder / "work", folder / "bin"
        self.argv, self.summary, self.outputs = folder / "argv", folder / "summary.md", folder / "outputs"
        self.work.mkdir()
        self.bin.mkdir()
        self.install("snnconv", FAKE)
        self.install("python", FAKE)

    def install(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def environment(self, env: dict[str, str], code: int = 0, report: str = "the report") -> dict[str, str]:
        return {
            "PATH": f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "GITHUB_ACTION_PATH": str(ACTION),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_OUTPUT": str(self.outputs),
            "FAKE_ARGV": str(self.argv),
            "FAKE_CODE": str(code),
            "FAKE_REPORT": report,
            **env,
        }

    def run(self, script: str, env: dict[str, str], code: int = 0, report: str = "the report") -> Ran:
        """Run `script` as `shell: bash` does; `snnconv` writes `report` to every `--report` and exits with `code`."""
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        environment = self.environment(env, code, report)
        done = subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, check=False, timeout=60)
        return self.ran(done.returncode, done.stdout + done.stderr)

    def ran(self, code: int, text: str) -> Ran:
        argv = self.argv.read_text().split("\0")[:-1] if self.argv.exists() else None
        summary = self.summary.read_text() if self.summary.exists() else ""
        lines = self.outputs.read_text().splitlines() if self.outputs.exists() else []
        return Ran(code, text, argv, summary, dict(line.split("=", 1) for line in lines))

    def verify(self, code: int = 0, report: str = "the report", **inputs: str) -> Ran:
        """Run the step of the action that verifies."""
        given = {"source": "net.pth", "candidates": "net.onnx", "data": "test.npz"} | inputs
        return self.run(step(action()["runs"]["steps"], "Verify")["run"], action_env("Verify", **given), code, report)

    def gitlab(self, job: str, code: int = 0, **variables: str) -> Ran:
        given = {"SNNCONV_SOURCE": "net.pth", "SNNCONV_CANDIDATES": "net.onnx", "SNNCONV_DATA": "test.npz"} | variables
        return self.run("\n".join(gitlab_job(job)["script"]), gitlab_env(job, **given), code)

    def shards(self, pattern: str, count: int) -> list[str]:
        names = [pattern.format(i) for i in range(1, count + 1)]
        for name in names:
            (self.work / name).parent.mkdir(parents=True)
            (self.work / name).write_text("{}")
        return names

    def merge(self, code: int = 0, report: str = "the whole") -> Ran:
        one = step(read(CI / "workflow.yml")["jobs"]["whole"]["steps"], "Merge")
        return self.run(one["run"], {key: str(value) for key, value in one["env"].items()}, code, report)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# The files


def schema_errors(schema: str, path: Path) -> str:
    """What is wrong with the file by a schema that check-jsonschema brings along; nothing is fetched."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout + done.stderr if done.returncode else ""


def unhidden(text: str) -> str:
    """A GitLab file with its hidden jobs made plain ones, since its schema lets hidden ones be anything."""
    return re.sub(r"(?m)^(  extends: )?\.", r"\1visible", text)


@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items())
def test_every_file_is_valid(name: str, schema: str, tmp_path: Path) -> None:
    assert schema_errors(schema, CI / name) == ""
    (tmp_path / "unhidden.yml").write_text(unhidden((CI / name).read_text()))
    assert schema_errors(schema, tmp_path / "unhidden.yml") == ""


@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items())
def test_a_broken_file_is_not(name: str, schema: str, tmp_path: Path) -> None:
    text, (right, wrong) = (CI / name).read_text(), BROKEN[name]
    assert right in text
    (tmp_path / "broken.yml").write_text(unhidden(text.replace(right, wrong)))
    assert schema_errors(schema, tmp_path / "broken.yml") != ""


def test_the_examples_of_the_readme_are_valid(tmp_path: Path) -> None:
    for block, schema in zip(readme_blocks(), README_SCHEMAS, strict=True):
        (tmp_path / "example.yml").write_text(block)
        assert schema_errors(schema, tmp_path / "example.yml") == ""


def test_every_file_is_tested_here() -> None:
    files = {path.relative_to(CI).as_posix() for path in CI.rglob("*") if path.is_file()}
    assert files == {*SCHEMAS, "action/install.sh", "action/verify.sh", "README.md"}


def test_no_expression_reaches_a_shell() -> None:
    for where, script in scripts().items():
        assert "${{" not in script, where


def test_every_script_of_more_than_one_command_stops_at_the_first_failure() -> None:
    for where, script in scripts().items():
        assert "set -euo pipefail\n" in script or len(script.strip().splitlines()) == 1, where


def test_every_script_is_free_of_the_mistakes_that_shellcheck_knows(tmp_path: Path) -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    for number, script in enumerate(scripts().values()):
        (tmp_path / f"{number}.sh").write_text(script)
    files = sorted(tmp_path.glob("*.sh"))
    for file in files:
        subprocess.run(["bash", "-n", str(file)], check=True)
    done = subprocess.run([str(shellcheck), "--shell=bash", *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_input_of_the_action_is_used_and_none_is_made_up() -> None:
    text = (ACTION / "action.yml").read_text()
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(action()["inputs"])


@pytest.mark.parametrize(("name", "script"), [("Verify", "verify.sh"), ("Install snnconv", "install.sh")])
def test_the_action_sets_the_variables_that_its_scripts_read(name: str, script: str) -> None:
    read_there = set(re.findall(r"\$\{?(SNNCONV_\w+)", (ACTION / script).read_text()))
    assert set(action_env(name)) == read_there


def test_every_use_of_the_action_gives_it_inputs_that_it_has() -> None:
    documents = [read(CI / "workflow.yml"), YAML(typ="safe").load(readme_blocks()[0])]
    uses = [
        one
        for document in documents
        for job in document["jobs"].values()
        for one in job["steps"]
        if "/samples/ci/action@" in one.get("uses", "")
    ]
    assert len(uses) == 3
    inputs = action()["inputs"]
    required = {key for key, one in inputs.items() if one.get("required")}
    for one in uses:
        assert required <= set(one["with"]) <= set(inputs)


def test_the_workflow_may_only_read_and_every_action_has_a_major_version() -> None:
    workflow = read(CI / "workflow.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    steps = [*action()["runs"]["steps"], *(one for job in workflow["jobs"].values() for one in job["steps"])]
    for uses in (one["uses"] for one in steps if "uses" in one):
        assert re.fullmatch(r"[\w./-]+@v\d+", uses)


def test_the_reports_are_uploaded_whatever_the_verdict() -> None:
    for steps in (action()["runs"]["steps"], read(CI / "workflow.yml")["jobs"]["whole"]["steps"]):
        (upload,) = [one for one in steps if one.get("uses", "").startswith("actions/upload-artifact@")]
        assert upload["if"].startswith("always()")
    assert gitlab_job(".snnconv")["artifacts"]["when"] == "always"


def test_as_many_shards_are_merged_as_are_run() -> None:
    jobs = read(CI / "workflow.yml")["jobs"]
    assert step(jobs["whole"]["steps"], "Merge")["env"]["SHARDS"] == len(jobs["shards"]["strategy"]["matrix"]["shard"])
    assert gitlab_job(".snnconv-merge")["variables"]["SNNCONV_SHARDS"] == str(gitlab_job(".snnconv-shards")["parallel"])


# The action


def test_the_plain_call(machine: Machine) -> None:
    ran = machine.verify()
    reports = [f"snnconv-reports/report.{suffix}" for suffix in ("json", "xml", "md", "html")]
    assert ran.command == [
        *("verify", "--data", "test.npz", "--level", "proof,algebra,deployment,task"),
        *("--format", "github", "--resume", "snnconv-reports/journal"),
        *(part for report in reports for part in ("--report", report)),
        *("--", "net.pth", "net.onnx"),
    ]


def test_every_input_reaches_the_command_whole(machine: Machine) -> None:
    ran = machine.verify(
        source="my models/net.pth",
        candidates=f"my models/a.onnx\n\n{AWKWARD}\r\n-dashed.ts\n   \n",
        data="pkg.mod:factory",
        arch="my.nets:build it",
        policy="agreement=0.995\nlogit-error=1e-3\n",
        level="proof,task",
        shard="2/4",
        args="--labels\nmy labels.npy\n--timesteps=8",
        reports="my reports",
    )
    assert ran.positionals == ["my models/net.pth", "my models/a.onnx", AWKWARD, "-dashed.ts"]
    assert ran.values("--data") == ["pkg.mod:factory"]
    assert ran.values("--arch") == ["my.nets:build it"]
    assert ran.values("--policy") == ["agreement=0.995", "logit-error=1e-3"]
    assert ran.values("--level") == ["proof,task"]
    assert ran.values("--shard") == ["2/4"]
    assert ran.values("--labels") == ["my labels.npy"]
    assert "--timesteps=8" in ran.command
    assert ran.values("--report")[0] == "my reports/report.json"
    assert ran.values("--resume") == ["my reports/journal"]
    assert ran.outputs["report"] == "my reports/report.json"
    assert not (machine.work / "pwned").exists()


@pytest.mark.parametrize(
    ("code", "verdict"), [(0, "equivalent"), (1, "not-equivalent"), (2, "error"), (3, "error"), (4, "error"), (70, "error")]
)
def test_the_exit_code_and_the_verdict_are_those_of_the_command(machine: Machine, code: int, verdict: str) -> None:
    ran = machine.verify(code, report="the report" if code < 2 else "")
    assert ran.code == code
    assert ran.outputs == {"verdict": verdict, "exit-code": str(code), "report": "snnconv-reports/report.json"}
    if code < 2:
        assert ran.summary == "the report\n"
    else:
        assert f"exited with code {code}" in ran.summary


def test_the_summary_is_added_to_what_is_there(machine: Machine) -> None:
    machine.summary.write_text("before\n")
    assert machine.verify().summary == "before\nthe report\n"


def test_a_command_that_dies_with_1_and_no_report_gave_no_verdict(machine: Machine) -> None:
    ran = machine.verify(1, report="")
    assert ran.code == 1
    assert ran.outputs["verdict"] == "error"


def test_the_report_of_an_earlier_run_is_never_taken_for_this_one(machine: Machine) -> None:
    machine.verify(1, report="old")
    machine.summary.unlink()
    ran = machine.verify(1, report="")
    assert ran.outputs["verdict"] == "error"
    assert "old" not in ran.summary


def test_the_journal_of_an_earlier_run_is_kept(machine: Machine) -> None:
    (machine.work / "snnconv-reports").mkdir()
    (machine.work / "snnconv-reports" / "journal").write_text("half")
    machine.verify()
    assert (machine.work / "snnconv-reports" / "journal").read_text() == "half"


def test_a_report_too_long_for_a_summary_is_named_instead(machine: Machine) -> None:
    long = "".join(f'printf "%1100000s" x >"$reports/report.{suffix}";' for suffix in ("md", "json"))
    machine.install("snnconv", f"#!/usr/bin/env bash\nreports=snnconv-reports; {long}\nexit 1\n")
    ran = machine.verify()
    assert ran.code == 1
    assert len(ran.summary) < 1000
    assert "not-equivalent" in ran.summary


@pytest.mark.parametrize("name", ["source", "candidates", "data", "reports"])
def test_an_input_left_empty_is_wrong_usage(machine: Machine, name: str) -> None:
    ran = machine.verify(**{name: ""})
    assert ran.code == 2
    assert ran.argv is None
    assert f"::error title=snnconv verify::the input '{name}'" in ran.text


def test_a_reports_folder_cannot_smuggle_in_an_output(machine: Machine) -> None:
    ran = machine.verify(reports="x\nverdict=equivalent")
    assert ran.code == 2
    assert ran.outputs == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_job_interrupts_the_command_and_still_reports(machine: Machine, number: signal.Signals) -> None:
    machine.install("snnconv", INTERRUPTIBLE)
    env = machine.environment(action_env("Verify", source="net.pth", candidates="net.onnx", data="test.npz"))
    run = step(action()["runs"]["steps"], "Verify")["run"]
    with subprocess.Popen(["bash", "-c", run], cwd=machine.work, env=env) as process:
        deadline = time.monotonic() + 30
        while not (machine.work / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        code = process.wait(timeout=30)
    ran = machine.ran(code, "")
    assert ran.code == 130
    assert ran.outputs["verdict"] == "error"
    assert ran.outputs["exit-code"] == "130"
    assert "exited with code 130" in ran.summary


def install(machine: Machine, **inputs: str) -> Ran:
    run = step(action()["runs"]["steps"], "Install snnconv")["run"]
    return machine.run(run, action_env("Install snnconv", **inputs))


def test_torch_comes_from_the_cpu_index(machine: Machine) -> None:
    ran = install(machine, snnconv="snnconv[report] == 0.2.0")
    index = "https://download.pytorch.org/whl/cpu"
    assert ran.command == ["-m", "pip", "install", "--extra-index-url", index, "snnconv[report] == 0.2.0"]


def test_the_action_installs_the_repository_it_is_a_part_of(machine: Machine) -> None:
    ran = install(machine, torch_index="")
    assert ran.command[:4] == ["-m", "pip", "install", "--constraint"]
    folder, extra = ran.command[-1].removesuffix("[report]"), ran.command[-1].endswith("[report]")
    assert extra
    assert Path(folder).resolve() == ROOT.resolve()
    assert Path(ran.command[4]).resolve() == (ROOT / "constraints.txt").resolve()


def test_a_copy_of_the_action_asks_what_to_install(machine: Machine) -> None:
    copy = machine.work / "my" / "own" / "actions" / "verify"
    copy.mkdir(parents=True)
    (copy / "install.sh").write_text((ACTION / "install.sh").read_text())
    run = step(action()["runs"]["steps"], "Install snnconv")["run"]
    ran = machine.run(run, action_env("Install snnconv") | {"GITHUB_ACTION_PATH": str(copy)})
    assert ran.code == 2
    assert ran.argv is None
    assert "set the input 'snnconv'" in ran.text


def test_the_extra_that_the_samples_install_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "report" in project["optional-dependencies"]


# The workflow


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_merge_has_every_shard_and_decides(machine: Machine, code: int) -> None:
    names = machine.shards("shards/snnconv-shard-{}/report.json", 4)
    ran = machine.merge(code)
    assert ran.code == code
    assert ran.command[:6] == ["report", "merge", *names]
    assert ran.values("--report") == ["whole.json", "whole.xml", "whole.md", "whole.html"]
    assert ran.summary == "the whole\n"


@pytest.mark.parametrize("count", [0, 3])
def test_the_merge_fails_without_all_of_the_shards(machine: Machine, count: int) -> None:
    machine.shards("shards/snnconv-shard-{}/report.json", count)
    ran = machine.merge()
    assert ran.code == 2
    assert ran.argv is None
    assert f"{count} of 4 shards" in ran.text


# GitLab


def test_on_gitlab_every_variable_reaches_the_command_whole(machine: Machine) -> None:
    ran = machine.gitlab(
        ".snnconv-verify",
        SNNCONV_SOURCE="my models/net.pth",
        SNNCONV_CANDIDATES=f"my models/a.onnx\n\n{AWKWARD}\r\n-dashed.ts\n",
        SNNCONV_ARCH="my.nets:build it",
        SNNCONV_LEVEL="proof,task",
        SNNCONV_POLICY="agreement=0.995\nlogit-error=1e-3\n",
        SNNCONV_ARGS="--labels\nmy labels.npy",
    )
    assert ran.positionals == ["my models/net.pth", "my models/a.onnx", AWKWARD, "-dashed.ts"]
    assert ran.values("--data") == ["test.npz"]
    assert ran.values("--arch") == ["my.nets:build it"]
    assert ran.values("--level") == ["proof,task"]
    assert ran.values("--policy") == ["agreement=0.995", "logit-error=1e-3"]
    assert ran.values("--labels") == ["my labels.npy"]
    assert "--shard" not in ran.command
    assert gitlab_job(".snnconv-verify")["artifacts"]["reports"]["junit"] in ran.values("--report")
    assert not (machine.work / "pwned").exists()


@pytest.mark.parametrize("code", range(5))
def test_on_gitlab_the_exit_code_is_that_of_the_command(machine: Machine, code: int) -> None:
    assert machine.gitlab(".snnconv-verify", code).code == code


def test_on_gitlab_a_variable_left_empty_is_wrong_usage(machine: Machine) -> None:
    ran = machine.gitlab(".snnconv-verify", SNNCONV_DATA="")
    assert ran.code == 2
    assert ran.argv is None


def test_on_gitlab_a_parallel_job_runs_its_shard(machine: Machine) -> None:
    ran = machine.gitlab(".snnconv-shards", CI_NODE_INDEX="3", CI_NODE_TOTAL="4")
    assert ran.values("--shard") == ["3/4"]
    assert ran.values("--report")[0] == "snnconv-reports/shard-3/report.json"


@pytest.mark.parametrize("code", [0, 1, 2])
def test_on_gitlab_the_merge_has_every_shard_and_decides(machine: Machine, code: int) -> None:
    names = machine.shards("snnconv-reports/shard-{}/report.json", 4)
    ran = machine.gitlab(".snnconv-merge", code)
    assert ran.code == code
    assert ran.command[:6] == ["report", "merge", *names]
    assert gitlab_job(".snnconv-merge")["artifacts"]["reports"]["junit"] in ran.values("--report")


def test_on_gitlab_the_merge_fails_without_all_of_the_shards(machine: Machine) -> None:
    machine.shards("snnconv-reports/shard-{}/report.json", 3)
    ran = machine.gitlab(".snnconv-merge")
    assert ran.code == 2
    assert ran.argv is None


# The real command


def options(argv: list[str]) -> set[str]:
    before = argv[: argv.index("--")] if "--" in argv else argv
    return {part.partition("=")[0] for part in before if part.startswith("--")}


def in_readme(command: str) -> set[str]:
    text = (CI / "README.md").read_text()
    calls = re.findall(rf"snnconv {command} (.*)", text)
    assert calls
    return options([part for call in calls for part in call.split()])


def has(*command: str) -> set[str]:
    """The options that `snnconv` names in its help for `command`."""
    call = [sys.executable, "-m", "snnconv", *command, "--help"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", done.stdout)) if done.returncode == 0 else set()


def test_verify_has_every_option_that_the_samples_use(machine: Machine) -> None:
    everything = {"arch": "a", "policy": "a=1", "level": "task", "shard": "1/2"}
    used = options(machine.verify(**everything).command) | in_readme("verify") | {"--data", "--arch", "--shard", "--resume"}
    gitlab = {"SNNCONV_ARCH": "a", "SNNCONV_LEVEL": "task", "SNNCONV_POLICY": "a=1", "CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "2"}
    used |= options(machine.gitlab(".snnconv-verify", **gitlab).command)
    assert len(used) == 8
    assert used - has("verify") == set()


def test_merge_has_every_option_that_the_samples_use(machine: Machine) -> None:
    machine.shards("shards/snnconv-shard-{}/report.json", 4)
    machine.shards("snnconv-reports/shard-{}/report.json", 4)
    used = options(machine.merge().command) | options(machine.gitlab(".snnconv-merge").command) | in_readme("report merge")
    assert used == {"--report", "--format"}
    assert used - has("report", "merge") == set()
