"""A real model that trains on its own texts, against what its draws predict: `python -m benchmarks.smollm2`.

SmolLM2-135M-Instruct goes on four openings of a sentence. `distalign predict` says from 256 draws a prompt,
before anything is trained, at which strength each method spends 0.3 nats and what the users gain there. The
model is then trained online, by NLHF in self-play and by DPO on fresh pairs, at the strength of that row, and
measured by both roads: the draws of before reweighted, and fresh texts. Each update
has fresh texts, so there is no set of texts to remember.

Every step is a command of `distalign`. A step whose output is in the folder is not made again. About an
hour and a half of one core.

`python -m benchmarks.smollm2 --claims` trains the same model as the claims `free_consistency` and
`free_shift` train the tiny writer: on fresh groups of its own texts to four prompts, each once, for users
whose scores are random functions of the tokens. Fewer texts an update and fewer methods than the claims;
an hour and a half of one core, and 15 GB for WDPO. Finished cells are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from distalign.bridge.generation.draws import rows_by_prompt
from distalign.bridge.generation.estimates import Fresh, Reweighted, overlap
from distalign.bridge.generation.matching import log_ratio
from distalign.bridge.generation.users import Scale, Utilities, read_users, table_of, utilities_of
from distalign.bridge.studies.free import free_consistency, free_shift
from distalign.bridge.studies.free.free_shift import CONFLICT
from distalign.simulation import sweep
from distalign.simulation.verdict import identity, separation
from distalign.training.demo.model import demo_model
from distalign.training.evaluation.samples import Samples, read_samples

PROMPTS = ("The movie was", "My day at work was", "The food at this place is", "Our new neighbour seems")
DRAWS, TOKENS, NATS, UPDATES = 256, 12, 0.3, 100
METHODS = {"nlhf": ("NLHF", "--strength"), "dpo": ("DPO, RLHF", "--beta")}
DRAWN = [
    *("--samples-per-prompt", str(DRAWS), "--max-new-tokens", str(TOKENS), "--dtype", "float32"),
    *("--batch-size", "64"),
]
TRAINED = [
    *("--reward", "none", "--preference", "readers", "--chat-template", "false", "--max-length", "40"),
    *("--max-new-tokens", str(TOKENS), "--samples-per-prompt", "8", "--per-device-train-batch-size", "4"),
    *("--gradient-accumulation-steps", "1", "--max-steps", str(UPDATES), "--dtype", "float32"),
]

OFFLINE = {"policy": "smollm2", "seeds": 1, "steps": 60, "prompts": 4, "group": 8, "draws": 128}
STUDIED = {  # methods of each claim, and what else its cells are asked for
    free_consistency: (("RDRO", "DDRO", "SFT", "DPO"), {"sizes": [0]}),
    free_shift: (("DPO", "KLDPO", "WDPO"), {}),
}


def step(made: Path, *words: str) -> None:
    """Run a command, unless what it makes is there."""
    if not made.exists():
        print("distalign", *words, flush=True)
        threads = {"OMP_NUM_THREADS": "1", **os.environ}
        subprocess.run([sys.executable, "-m", "distalign", *words], check=True, env=threads)


def prepared(out: Path, model: str) -> pd.DataFrame:
    """Draws of the model, their scores, and what they predict, by method."""
    prompts = out / "four.jsonl"
    if not prompts.exists():
        prompts.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS), encoding="utf-8")
    draws, scored, said = out / "draws.parquet", out / "scored.parquet", out / "predict"
    step(draws, "generate", model, "--prompts", str(prompts), *DRAWN, "--out", str(draws))
    step(scored, "score", str(draws), "--score", "sentiment", "length", "--out", str(scored))
    words = ("--population", "readers", "--kl", str(NATS), "--out", str(said))
    step(said / "predict.csv", "predict", str(scored), *words)
    return pd.read_csv(said / "predict.csv").set_index("method")


def trained(out: Path, model: str, name: str, strength: float) -> None:
    """A model trained on its own texts, its fresh texts with their scores, and the draws as it sees them."""
    run, prompts = out / f"run_{name}", str(out / "four.jsonl")
    data = ("--train-data", prompts, "--reference-samples", str(out / "scored.parquet"))
    words = ("--objective", name, METHODS[name][1], str(strength), "--output-dir", str(run))
    step(run / "model", "train", "smollm2_rlhf", "--model", model, *data, *TRAINED, *words)
    fresh, again = out / f"fresh_{name}.parquet", out / f"again_{name}.parquet"
    shared = ("--prompts", prompts, *DRAWN)
    step(
        fresh,
        "generate",
        str(run / "model"),
        "--reference",
        model,
        *shared,
        "--seed",
        "1",
        "--out",
        str(fresh),
    )
    step(again, "generate", model, "--reference", str(run / "model"), *shared, "--out", str(again))
    scored = out / f"scored_{name}.parquet"
    step(scored, "score", str(fresh), "--score", "sentiment", "length", "--out", str(scored))


def log_ratios(samples: Samples) -> np.ndarray:
    """(S, N) the log-probability under the model that wrote the texts minus that under the other."""
    return np.array([[log_ratio(row) for row in rows] for rows in rows_by_prompt(samples).values()], float)


def rows_of(out: Path, name: str, predicted: pd.Series, optimum: float) -> list[dict[str, object]]:
    """What was predicted beside what each road finds, a row a number.

    `optimum` is the strength of the tilt by the average utility that spends as much.
    """
    users, draws = read_users("readers"), read_samples(out / "scored.parquet")
    scale = Scale.of(draws, users.scores)
    before = utilities_of(draws, users, scale)
    texts = read_samples(out / f"scored_{name}.parquet")
    after = utilities_of(texts, users, scale)
    log_rho = -log_ratios(read_samples(out / f"again_{name}.parquet"))
    fresh = Fresh(log_ratios(read_samples(out / f"fresh_{name}.parquet")))
    model = Reweighted(log_rho)
    reference = before.average.mean(1)
    found = {
        "kl": (model.kl(), fresh.log_ratio),
        "gain": (model.mean(before.average) - reference, after.average - reference[:, None]),
        "worst_off": (_worst(before, model), _worst_values(after)),
        "sentiment": (model.mean(table_of(draws, "sentiment")), table_of(texts, "sentiment")),
    }
    unread = np.full((len(PROMPTS), 2), np.nan)
    found |= {
        "mean_rho": (model.mean_rho(), unread),
        "slope": (_slopes(log_rho, before.average / optimum), unread),
        "correlation": (_correlations(log_rho, before.average), unread),
    }
    expected = {"mean_rho": 1.0, "slope": 1.0}
    together = overlap(log_rho, fresh.log_ratio).passed
    return [
        {
            "method": name,
            "strength": predicted.strength,
            "what": what,
            "predicted": predicted.get(what, expected.get(what, np.nan)),
            "predicted_low": predicted.get(f"{what}_low", np.nan),
            "predicted_high": predicted.get(f"{what}_high", np.nan),
            "reweighted": float(np.mean(again)),
            "fresh": float(each.mean()),
            "fresh_error": float(np.sqrt((each.var(1, ddof=1) / each.shape[1]).mean() / len(each))),
            "roads_agree": together,
        }
        for what, (again, each) in found.items()
    ]


def _slopes(log_rho: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(S,) least-squares slopes of log rho on the log-ratio of the optimum, over the draws of a prompt."""
    x, y = (values - values.mean(1, keepdims=True) for values in (target, log_rho))
    return (x * y).sum(1) / (x * x).sum(1)


def _correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(S,) correlations of two numbers of each draw, over the draws of a prompt."""
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(one, other, strict=True)])


def _worst(utilities: Utilities, model: Reweighted) -> np.ndarray:
    """(S,) what the type gets that gets least over all prompts, on reweighted draws."""
    got = np.stack([model.mean(one) for one in utilities.values])
    return got[got.mean(1).argmin()]


def _worst_values(utilities: Utilities) -> np.ndarray:
    """(S, N) what that type gets from each fresh text."""
    return utilities.values[utilities.values.mean((1, 2)).argmin()]


def of_claims(out: Path) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """The tables of both claims on this model, and those of their checks whose methods are there."""
    rows, tables = {}, []
    for study, (methods, more) in STUDIED.items():
        slug = study.__name__.rpartition(".")[2]
        cells = [
            c
            for c in sweep.cells_of(slug, study.__name__, {**OFFLINE, **more}, 0)
            if c.arguments["method"] in methods and c.arguments.get("angle", CONFLICT) == CONFLICT
        ]
        sweep.run(cells, out / "cells")
        rows[slug] = sweep.rows(cells, out / "cells")
        tables.append(study.table(rows[slug]))
    error, start = (
        rows["free_consistency"].pivot(index="prompt", columns="method", values=q) for q in ("error", "start")
    )
    checks = {
        "free_consistency": [
            *(separation(f"KL to p+, {m} minus RDRO", error[m] - error.RDRO) for m in ("DPO", "SFT", "DDRO")),
            *(separation(f"KL to p+, reference minus {m}", start[m] - error[m]) for m in error),
            identity("both roads agree, in lengths of their interval", rows["free_consistency"].roads, 1.0),
        ],
        "free_shift": free_shift.checks(rows["free_shift"]),
    }
    told = pd.DataFrame([{"claim": slug, **asdict(c)} for slug, several in checks.items() for c in several])
    return tables, told


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out/smollm2"))
    parser.add_argument("--claims", action="store_true", help="two claims on free writing, on this model")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.claims:
        tables, judged = of_claims(given.out)
        for shown in (*tables, judged):
            print(shown.round(4).to_string(index=False))
        judged.to_csv(given.out / "smollm2_claims.csv", index=False)
        sys.exit()
    smollm2, everything = str(demo_model()), []
    laws = prepared(given.out, smollm2)
    for short, (method, _) in METHODS.items():
        strength = float(f"{laws.loc[method].strength:.2g}")
        trained(given.out, smollm2, short, strength)
        everything += rows_of(given.out, short, laws.loc[method], laws.loc["optimum"].strength)
    table = pd.DataFrame(everything)
    one, other = (log_ratios(read_samples(given.out / f"again_{short}.parquet")) for short in METHODS)
    alike = _correlations(one, other).round(3).tolist()
    print("correlation of the log-ratios of both methods, by prompt:", alike)
    table.to_csv(given.out / "smollm2.csv", index=False)
    print(table.round(4).to_string(index=False))
