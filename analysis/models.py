"""Which models are scored right: `python -m analysis.models` measures every causal architecture of the
installed transformers, the page shows it.
"""

import json
import os
import re
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from analysis.ledger import ROOT
from analysis.tiny_models import VARIANTS, tiny_config, tiny_model
from distalign.checks import InputError
from distalign.figures import write_table
from distalign.training.data.rows import TokenRow

TABLE, BEFORE = ROOT / "docs" / "models.csv", ROOT / "docs" / "models_before.csv"
LIMIT = 60
"""CPU seconds for one architecture; one that takes longer is not measured."""
SCORES, GRADIENTS = 1e-4, 1e-3
"""Largest relative errors of scores and gradients in float32 that count as exact."""


TEXT = """# Models

Written by `python -m analysis` from `docs/models.csv`, which `python -m analysis.models` measures: do not
edit.

Every `model_type` that `AutoModelForCausalLM` of the installed transformers knows is built tiny, with random
weights and with windows and chunks of a few tokens, saved, loaded and scored: six responses to three prompts
in one padded micro-batch, most of them longer than the windows. The reference is plain transformers, one
unpadded pass for each response, in float32. A model is exact where scores agree to {scores:g} and
gradients by all parameters to {gradients:g} (relative); the table shows the errors. Rows with a comma are
options of a config that change what a model computes.

* **exact**: prompts are shared by their responses.
* **exact unshared**: sharing would not be exact (recurrent layers, convolutions, positions that the model
  counts itself), so `share_prompt: auto` copies the prompt for each response.
* **refused**: an error before training says why. `share_prompt: true` is refused where sharing is not exact.
* **wrong**: scored, and off. **crash**: ended with an error that is no sentence for the user.
* **not built**: no tiny model could be made from the config's class, or it does not run by itself.

{counts}

Before models were measured, what is exact unshared was refused unless `share_prompt: false` was said.

bfloat16: whether the same holds in half precision, where the error may be three times that of plain
transformers in bfloat16.

{table}
"""


def text(n: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(3, 97, (n,), generator=torch.Generator().manual_seed(seed)).tolist())


ROWS = [
    TokenRow(text(9, 1), (text(12, 2), text(5, 3))),
    TokenRow(text(3, 4), (text(15, 5), text(1, 6), text(7, 7))),
    TokenRow(text(4, 8), (text(6, 9),)),
]
"""Texts of 4 to 21 tokens, most of them longer than the windows and chunks of the tiny models."""


def truth(model: Any) -> Tensor:
    """(R,) scores by plain transformers: one unpadded pass for each response, log_softmax of the logits."""
    out = []
    for row in ROWS:
        for response in row.responses:
            ids = torch.tensor([row.prompt + response])
            logits = model(input_ids=ids, use_cache=False).logits[0, len(row.prompt) - 1 : -1]
            out.append(logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None]).sum())
    return torch.stack(out)


def gradients(scores: Tensor, model: Any) -> dict[str, Tensor]:
    """Gradient by each parameter of a weighted sum of the scores."""
    model.zero_grad()
    (torch.linspace(-1, 1.5, len(scores), dtype=scores.dtype) * scores).sum().backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def distance(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Relative error of all gradients that the reference has; one that is missing counts in full."""
    zero = torch.zeros(())
    error = sum((found.get(n, zero) - wanted[n]).square().sum() for n in wanted)
    return float((error / sum(g.square().sum() for g in wanted.values())).sqrt())


def verdict(attempt: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What an attempt to score comes to: exact, refused, wrong or crash, with the reason."""
    try:
        found = attempt()
    except InputError as error:
        return {"verdict": "refused", "reason": " ".join(str(error).split())}
    except Exception as error:
        return {"verdict": "crash", "reason": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    right = found["score_error"] < SCORES and found["gradient_error"] < GRADIENTS
    return {"verdict": "exact" if right else "wrong", "reason": "", **found}


def compared(folder: str, attention: str, share: Any, wanted: Tensor, slopes: dict[str, Tensor]) -> dict:
    """Errors of the scorer on all rows in one padded micro-batch."""
    from distalign.training.model.load import load_model
    from distalign.training.model.scorer import Scorer

    model = load_model(folder, dtype="float32", attn_implementation=attention)
    scorer = Scorer(model) if share is None else Scorer(model, share_prompt=share)
    scores = scorer(scorer.layout(ROWS))
    return {
        "score_error": float((scores.detach() - wanted).abs().max() / wanted.abs().max()),
        "gradient_error": distance(gradients(scores, model), slopes),
        "shared": scorer.share_prompt,
    }


def half(folder: str, attention: str, wanted: Tensor) -> dict[str, Any]:
    """The same scores in bfloat16, against the errors of plain transformers in bfloat16."""
    from distalign.training.model.load import load_model
    from distalign.training.model.scorer import Scorer

    model = load_model(folder, attn_implementation=attention)
    with torch.no_grad():
        try:
            own = (truth(model.eval()).float() - wanted).abs().max()
        except RuntimeError as error:
            raise InputError(f"plain transformers does not run in bfloat16: {error}") from error
        scorer = Scorer(model.train())
        error = (scorer(scorer.layout(ROWS)) - wanted).abs().max()
    return {"score_error": 0.0 if error <= 3 * own + 0.05 * 15 else float(error), "gradient_error": 0.0}


def built(name: str) -> tuple[Any, str]:
    model_type, changes = VARIANTS.get(name, (name, {}))
    for attention in ("sdpa", "eager"):
        try:
            return tiny_model(tiny_config(model_type, **changes), attention), attention
        except ValueError as error:
            if attention == "eager" or ("attn" not in str(error) and "attention" not in str(error)):
                raise
    raise AssertionError


def measure(name: str, half_too: bool = True) -> dict[str, Any]:
    """The row of one architecture."""
    row: dict[str, Any] = {"architecture": name}
    try:
        model, row["attention"] = built(name)
        row["class"] = type(model).__name__
        wanted = truth(model.eval())
        slopes = {n: g.clone() for n, g in gradients(wanted, model).items()}
        wanted = wanted.detach()
        if not bool(wanted.isfinite().all()) or not slopes:
            raise ValueError("its own scores are not finite")
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        return row | {"verdict": "not built", "reason": reason}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        attention = row["attention"]
        modes = {
            label: verdict(lambda share=share: compared(folder, attention, share, wanted, slopes))
            for label, share in (("default", None), ("shared", True), ("apart", False))
        }
        row |= modes["default"] | {label: modes[label]["verdict"] for label in ("shared", "apart")}
        row["all"] = modes
        if half_too:
            found = verdict(lambda: half(folder, attention, wanted))
            row["bfloat16"] = found["verdict"]
            row["bfloat16_reason"] = found["reason"]
    return row


def names() -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return [*sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES), *VARIANTS]


def apart(name: str, half_too: bool) -> dict[str, Any]:
    """`measure` in a process of its own, with a limit on its time."""
    if not hasattr(os, "fork"):
        raise InputError("architectures are measured in forked processes: run this on Linux or macOS")
    read, write = os.pipe()
    child = os.fork()
    if not child:
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
        os.close(read)
        with os.fdopen(write, "w", encoding="utf-8") as out:
            json.dump(measure(name, half_too), out)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as out:
        said = out.read()
    _, status = os.waitpid(child, 0)
    if not said:
        why = "not measured" if status == signal.SIGVTALRM else "crash"
        return {"architecture": name, "verdict": why, "reason": f"ended by signal {status} in {LIMIT} s"}
    return json.loads(said)


def sweep(only: list[str] | None = None, half_too: bool = True) -> Iterator[dict[str, Any]]:
    """The row of every architecture."""
    import peft  # noqa: F401
    import transformers

    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    for name in only or names():
        start = time.time()
        row = apart(name, half_too)
        print(json.dumps(row | {"seconds": round(time.time() - start, 1)}), flush=True)
        yield row


def kind(row: dict[str, Any]) -> str:
    """What a user meets: exact, exact unshared, refused, wrong, crash, not built."""
    if "all" not in row:
        return row["verdict"]
    verdicts = {mode["verdict"] for mode in row["all"].values()}
    for bad in ("wrong", "crash"):
        if bad in verdicts:
            return bad
    if row["verdict"] == "exact" and row["all"]["default"]["shared"]:
        return "exact"
    return "exact unshared" if "exact" in (row["verdict"], row["apart"]) else "refused"


def table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """One row an architecture, in the order of the sweep; errors by their power of ten."""
    columns = ("architecture", "class", "attention", "kind", "score_error", "gradient_error", "bfloat16")
    out = pd.DataFrame(
        [
            {name: row.get(name, "") for name in columns}
            | {"kind": kind(row), "reason": re.sub(r"/tmp/\S+", "FOLDER", row.get("reason", ""))}
            for row in rows
        ]
    )
    for name in ("score_error", "gradient_error"):
        out[name] = [f"{max(float(v), 1e-9):.0e}" if v != "" else "" for v in out[name]]
    return out


def page() -> str:
    """docs/models.md."""
    rows = pd.read_csv(TABLE, keep_default_na=False)
    counts = rows.kind.value_counts()
    before = pd.read_csv(BEFORE, keep_default_na=False).kind.value_counts()
    kinds = ["exact", "exact unshared", "refused", "wrong", "crash", "not built", "not measured"]
    head = ["| | " + " | ".join(kinds) + " |", "|" + "---|" * (len(kinds) + 1)]
    shown = [
        f"| {label} | " + " | ".join(str(c.get(k, 0)) for k in kinds) + " |"
        for label, c in (("before models were measured", before), ("now", counts))
    ]
    lines = [
        "| architecture | class | attention | scores | error | of the gradient | bfloat16 | why |",
        "|" + "---|" * 8,
    ]
    for row in rows.itertuples():
        why = str(row.reason).replace("|", "\\|")
        cells = [row.architecture, row[2], row.attention, row.kind, row.score_error, row.gradient_error]
        lines.append("| " + " | ".join(map(str, [*cells, row.bfloat16, why])) + " |")
    return TEXT.format(
        scores=SCORES, gradients=GRADIENTS, counts="\n".join([*head, *shown]), table="\n".join(lines)
    )


if __name__ == "__main__":
    options = [a for a in sys.argv[1:] if a.startswith("-")]
    chosen = [a for a in sys.argv[1:] if not a.startswith("-")]
    measured = table(sweep(chosen, "--float32" not in options))
    if not chosen:
        write_table(measured, TABLE)
