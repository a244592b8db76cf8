"""One small file of each format through the real command: status 0, the right alternatives and users.

`python -m tests.pluralism.test_every_format FOLDER` writes the files and runs the commands one by one.
"""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ITEMS = ["beer", "milk", "tea"]
PEOPLE = ["ann", "bob", "cy", "dee"]
ORDERS = {"ann": (2, 1, 0), "bob": (2, 0, 1), "cy": (1, 2, 0), "dee": (2, 1, 0)}  # of ITEMS, best first
VOTES = pd.DataFrame(
    [
        (user, ITEMS[a], ITEMS[b], "first" if order.index(a) < order.index(b) else "second")
        for user, order in ORDERS.items()
        for a, b in ((0, 1), (2, 1), (0, 2))
    ],
    columns=["user", "first", "second", "vote"],
)
RATINGS = pd.DataFrame(
    [(user, ITEMS[i], 5 - 2 * place) for user, order in ORDERS.items() for place, i in enumerate(order)],
    columns=["user", "item", "rating"],
)
ANSWERS = [f"answer {c}" for c in "abcd"]


def rankings(orders, path):
    head = ["# FILE NAME: " + path.name, "# NUMBER ALTERNATIVES: 3", "# NUMBER VOTERS: 4"]
    names = [f"# ALTERNATIVE NAME {i}: {name}" for i, name in enumerate(ITEMS, 1)]
    path.write_text("\n".join([*head, *names, *orders]) + "\n")


def packed_zst(path):
    zstandard = pytest.importorskip("zstandard")
    path.write_bytes(zstandard.compress(VOTES.to_csv(index=False).encode()))


def polis(path, log):
    """Thirteen statements of which twelve are taken; four participants who answered all of them."""
    folder = path.parent if log else path
    folder.mkdir(exist_ok=True)
    answers = pd.DataFrame(np.random.default_rng(0).choice([1, -1, 0], size=(4, 13), p=[0.5, 0.3, 0.2]))
    answers.loc[3, 12] = np.nan  # the last statement has the fewest answers
    comments = pd.DataFrame(
        {
            "comment-id": range(13),
            "agrees": (answers == 1).sum(),
            "disagrees": (answers == -1).sum(),
            "moderated": 1,
            "comment-body": [f"text {i}" for i in range(13)],
        }
    )
    comments.to_csv(folder / "comments.csv", index=False)
    if log:
        long = answers.melt(ignore_index=False, var_name="comment-id", value_name="vote").dropna()
        long.rename_axis("voter-id").reset_index().assign(timestamp=range(len(long))).to_csv(
            path, index=False
        )
        return
    answers.columns = [str(i) for i in range(13)]
    first = pd.DataFrame({"participant": range(4), "group-id": [0, 0, 1, 1]})
    first["n-agree"], first["n-disagree"] = (answers == 1).sum(axis=1), (answers == -1).sum(axis=1)
    pd.concat([first, answers], axis=1).to_csv(folder / "participants-votes.csv", index=False)


def prism(path):
    rows = [
        {"user_id": user, "conversation_type": "unguided", "interaction_id": f"{user} {turn}", "turn": turn,
         "model_name": ITEMS[i], "score": 90 - 30 * order.index(i)}
        for user, order in ORDERS.items() for turn in (0, 1) for i in range(3)
    ]  # fmt: skip
    pd.DataFrame(rows).to_json(path, lines=True, orient="records")


def community(path):
    shown = {f"first_turn_response_{c}": answer for c, answer in zip("abcd", ANSWERS, strict=True)}
    best = ["response_a", "response_a", "response_b", "response_d"]
    rows = [
        {"annotator_id": i, "first_turn_prompt": "?", **shown, "first_turn_preferred_response": b}
        for i, b in enumerate(best)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)


def training_pairs(path):
    won = VOTES["vote"] == "first"
    table = pd.DataFrame({"prompt": "A drink?", "user": VOTES["user"]})
    table["chosen"] = VOTES["first"].where(won, VOTES["second"])
    table["rejected"] = VOTES["second"].where(won, VOTES["first"])
    table.to_json(path, lines=True, orient="records")


STATEMENTS = [f"statement {i}" for i in range(12)]
# file, how it is written, alternatives, users, and what the report says of the reading
FORMATS = {
    "votes.csv": (lambda p: VOTES.to_csv(p, index=False), ITEMS, 4, "12 votes"),
    "votes.tsv": (lambda p: VOTES.to_csv(p, index=False, sep="\t"), ITEMS, 4, "12 votes"),
    "semicolons.csv": (lambda p: VOTES.to_csv(p, index=False, sep=";"), ITEMS, 4, "12 votes"),
    "votes.parquet": (VOTES.to_parquet, ITEMS, 4, "12 votes"),
    "votes.jsonl": (lambda p: VOTES.to_json(p, lines=True, orient="records"), ITEMS, 4, "12 votes"),
    "votes.csv.gz": (
        lambda p: p.write_bytes(gzip.compress(VOTES.to_csv(index=False).encode())),
        *(ITEMS, 4, "12 votes"),
    ),
    "votes.csv.zst": (packed_zst, ITEMS, 4, "12 votes"),
    "drinks.soc": (lambda p: rankings(["3: 3,2,1", "1: 2,3,1"], p), ITEMS, 4, "12 votes"),
    "drinks.soi": (lambda p: rankings(["3: 3,2,1", "1: 2,3"], p), ITEMS, 4, "10 votes"),
    "drinks.toc": (lambda p: rankings(["3: 3,{1,2}", "1: 2,3,1"], p), ITEMS, 4, "12 votes"),
    "drinks.toi": (lambda p: rankings(["3: {2,3},1", "1: 2,3"], p), ITEMS, 4, "10 votes"),
    "ratings.csv": (lambda p: RATINGS.to_csv(p, index=False), ITEMS, 4, "utilities are their ratings"),
    "some_ratings.csv": (lambda p: RATINGS[:-1].to_csv(p, index=False), ITEMS, 4, "became 10 votes"),
    "wide.csv": (
        lambda p: (
            RATINGS.assign(rating=RATINGS["rating"] / 5)
            .pivot(index="user", columns="item", values="rating")
            .to_csv(p)
        ),
        *(ITEMS, 4, "name the users were left out: 'user'"),
    ),
    "polis": (lambda p: polis(p, log=False), STATEMENTS, 4, "Polis"),
    "log/votes.csv": (lambda p: polis(p, log=True), STATEMENTS, 4, "Polis"),
    "utterances.jsonl": (prism, ITEMS, 4, "24 ratings became 24 votes"),
    "community.csv": (community, ANSWERS, 4, "4 choices became 12 votes"),
    "pairs.jsonl": (training_pairs, ITEMS, 4, "12 pairs became as many votes"),
}


def alone(folder, words):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "distalign", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def through_the_command(folder, name, run=alone):
    """The command in words, and (status, alternatives, users, report) of running it."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    FORMATS[name][0](path)
    words = ["simulate", name, "--methods", "Borda", "NLHF", "--bootstrap", "0", "--workers", "1"]
    made = run(folder, [*words, "--out", "out"])
    told = " ".join(["distalign", *words])
    if made.returncode:
        return told, (made.returncode, [], 0, made.stderr)
    report = (folder / "out" / "report.md").read_text(encoding="utf-8")
    table = pd.read_csv(folder / "out" / "policies.csv")
    users = re.search(r"^(\d+) types of users", report, re.MULTILINE)
    assert users is not None
    alternatives = list(dict.fromkeys(table["alternative"].astype(str)))
    return told, (made.returncode, alternatives, int(users[1]), report)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_through_one_command(tmp_path, run, name):
    _, alternatives, users, sentence = FORMATS[name]
    _, (status, found, people, report) = through_the_command(tmp_path, name, lambda _, words: run(*words))
    assert status == 0, report
    assert (sorted(found), people) == (sorted(alternatives), users)
    assert sentence in report


if __name__ == "__main__":
    for each in FORMATS:
        place = Path(sys.argv[1]) / each.replace("/", "_")
        place.mkdir(parents=True)
        command, (status, found, people, _) = through_the_command(place, each)
        print(f"| `{command}` | {status} | {len(found)} | {people} |", flush=True)
