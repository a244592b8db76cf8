"""Metadata, workflows and templates: what a host of repositories and the package index read."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import distalign

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

# The keys that a workflow may have, by the place where they stand.
WORKFLOW = {"name", "on", "permissions", "env", "defaults", "concurrency", "jobs"}
JOB = {
    "name",
    "needs",
    "if",
    "runs-on",
    "timeout-minutes",
    "strategy",
    "env",
    "defaults",
    "permissions",
    "steps",
}
STEP = {"name", "id", "if", "uses", "with", "run", "env", "shell", "working-directory", "timeout-minutes"}
EVENTS = {"push", "pull_request", "workflow_dispatch", "schedule", "release"}


def faults(text):
    """What a host would refuse, or not find, in a workflow."""
    flow = yaml.safe_load(text)
    flow = {("on" if key is True else key): value for key, value in flow.items()}  # YAML 1.1 reads on as true
    found = [f"unknown key {key}" for key in flow.keys() - WORKFLOW]
    found += [f"missing key {key}" for key in {"name", "on", "permissions", "jobs"} - flow.keys()]
    found += [f"unknown event {event}" for event in set(flow.get("on") or ()) - EVENTS]
    for name, job in (flow.get("jobs") or {}).items():
        found += [f"{name}: unknown key {key}" for key in job.keys() - JOB]
        found += [
            f"{name}: missing key {key}" for key in {"runs-on", "timeout-minutes", "steps"} - job.keys()
        ]
        needs = job.get("needs", [])
        asked = [needs] if isinstance(needs, str) else needs
        found += [f"{name}: needs {other}, which is no job" for other in asked if other not in flow["jobs"]]
        matrix = (job.get("strategy") or {}).get("matrix", {})
        used = set(re.findall(r"\$\{\{ *matrix\.([\w-]+) *\}\}", yaml.safe_dump(job)))
        found += [f"{name}: matrix.{key} is not defined" for key in used - set(matrix)]
        found += [f"{name}: matrix.{key} is not used" for key in set(matrix) - used]
        for step in job.get("steps") or ():
            found += [f"{name}: unknown key {key}" for key in step.keys() - STEP]
            if ("uses" in step) == ("run" in step):
                found.append(f"{name}: a step needs either uses or run")
            if not re.fullmatch(r"[\w-]+/[\w./-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", step.get("uses", "a/b@v1")):
                found.append(f"{name}: {step['uses']} is not pinned")
            for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", "")):
                found += [f"{name}: make has no {target}"] if target not in TARGETS else []
            for path in re.findall(r"\btests/[\w/]+\.py", step.get("run", "")):
                found += [f"{name}: there is no {path}"] if not (ROOT / path).is_file() else []
    return found


def test_there_is_a_workflow_for_each_check():
    assert {path.stem for path in WORKFLOWS} == {"audit", "docs", "lint", "tests", "wheel"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_what_a_host_accepts(path):
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("make lint", "make lnt", "make has no lnt"),
        ("runs-on:", "run-on:", "missing key runs-on"),
        ("@v4", "@main", "is not pinned"),
        ("- run: make lint", "- name: nothing", "either uses or run"),
        ('"3.11"', "${{ matrix.python }}", "matrix.python is not defined"),
        ("pull_request:", "pull_requests:", "unknown event"),
    ],
)
def test_faults_of_workflows_are_found(old, new, fault):
    text = (ROOT / ".github/workflows/lint.yml").read_text(encoding="utf-8")
    assert old in text
    assert any(fault in said for said in faults(text.replace(old, new)))


def test_the_versions_of_python_agree():
    declared = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    assert declared == {"3.11", "3.12", "3.13", "3.14"}
    flow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    assert set(flow["jobs"]["whole"]["strategy"]["matrix"]["python"]) == declared
    assert PROJECT["requires-python"] == ">=3.11"


def test_the_version_and_the_licence_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == distalign.__version__ == str(citation["version"])
    assert PROJECT["license"] == citation["license"] == "Apache-2.0"  # an SPDX expression
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert not [c for c in PROJECT["classifiers"] if c.startswith("License ::")]  # SPDX stands in their place


CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # names that differ there


def test_the_conda_recipe_says_what_pyproject_says():
    recipe = yaml.safe_load((ROOT / "conda/recipe.yaml").read_text(encoding="utf-8"))
    asked = [re.fullmatch(r"([\w.-]+)(>=.*)", line).groups() for line in PROJECT["dependencies"]]
    expected = {f"{CONDA.get(name.lower(), name.lower())} {least}" for name, least in asked}
    python = f"python {PROJECT['requires-python']}"
    assert set(recipe["requirements"]["run"]) == expected | {python}
    assert python in recipe["requirements"]["host"]
    assert recipe["context"]["version"] == PROJECT["version"]
    assert recipe["about"]["license"] == PROJECT["license"]
    assert (ROOT / recipe["about"]["license_file"]).is_file()
    assert recipe["build"]["noarch"] == "python"
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert dict([entry.split(" = ")]) == PROJECT["scripts"]


def test_forms_of_issues_are_complete():
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert len(forms) == 3
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= form.keys(), path
        ids = [field["id"] for field in form["body"]]
        assert len(set(ids)) == len(ids)
        assert all(f["type"] in ("textarea", "input") and f["attributes"]["label"] for f in form["body"])


def test_hooks_before_a_commit_are_those_of_make_lint():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0][
        "hooks"
    ]
    assert [hook["entry"].split(" --")[0] for hook in hooks] == ["ruff check", "ruff format"]
    assert all(hook["language"] == "python" and hook["additional_dependencies"] for hook in hooks)


@pytest.mark.parametrize("name", ["SECURITY.md", "CODE_OF_CONDUCT.md", "docs/public_api.md"])
def test_links_of_the_pages_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).is_file()] == []


@pytest.mark.parametrize(
    ("audited", "weak", "left_out", "status"), [(40, [], 1, 0), (40, [{"id": "CVE-1"}], 0, 1), (0, [], 40, 1)]
)
def test_an_index_that_knows_no_weaknesses_is_no_pass(audited, weak, left_out, status, tmp_path):
    """pip-audit ends with status 0 where it could audit no package at all."""
    script = re.search(r"^define AUDITED\n(.*?)^endef", (ROOT / "Makefile").read_text("utf-8"), re.M | re.S)
    found = [{"name": f"p{i}", "version": "1", "vulns": weak} for i in range(audited)]
    found += [{"name": f"q{i}", "skip_reason": "not found"} for i in range(left_out)]
    report = tmp_path / "audit.json"
    report.write_text(json.dumps({"dependencies": found}))
    assert script
    done = subprocess.run(
        [sys.executable, "-c", script[1], report], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
