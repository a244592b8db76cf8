"""The model card that is saved beside a trained model.

It says what was trained, on what data and how well, what is known of the objective, and what the numbers do
not show.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

import distalign
from distalign.bibliography import DISTALIGN, PAPERS
from distalign.claims import CLAIMS, Claim
from distalign.figures import committed
from distalign.files import write_text
from distalign.objectives import description_of
from distalign.training.data.rows import PreferenceData, prompt_digest
from distalign.training.evaluation.dictionary import METRICS
from distalign.training.evaluation.evaluate import Evaluation
from distalign.training.model.adapters import adapter_base
from distalign.training.recipe import Recipe, objective_of
from distalign.training.recipe_checks import ON_OWN_TEXTS, named_objective

REFERENCE = "reference_model"
"""Key of the card's front matter: the model, or the adapter, whose log-probabilities were the reference."""

_LIMITS = (
    "Held-out accuracy is agreement of the policy's implied reward with held-out preferences. It is not a "
    "win rate of responses: nobody compared what this model writes.",
    "Claims above are tested in simulation, where the exact answer is known, or are identities of the loss. "
    "That they hold there is no proof for this model, whose assumptions (the policy class holds the optimum, "
    "preferences follow the model, data suffice) cannot be checked here.",
    "A difference of two metrics means little where their intervals overlap; intervals do not include the "
    "randomness of training.",
    "Safety, truthfulness, bias and skills outside the data were not evaluated.",
)


def write_card(
    folder: Path,
    recipe: Recipe,
    data: PreferenceData | None,
    *,
    held: PreferenceData | None = None,
    evaluation: Evaluation | None = None,
    facts: Mapping[str, object] | None = None,
) -> Path:
    """Write README.md beside the model.

    Args:
        folder: of the saved model.
        recipe: the run.
        data: what it was trained on; None if the policy wrote its texts itself.
        held: what it was evaluated on.
        evaluation: what was found there.
        facts: more to list under provenance, for instance updates made and tokens seen.

    Raises:
        InputError: the file cannot be written.
    """
    path = folder / "README.md"
    text = card(recipe, data, held=held, evaluation=evaluation, facts=facts)
    write_text(path, text)
    return path


def card(
    recipe: Recipe,
    data: PreferenceData | None,
    *,
    held: PreferenceData | None = None,
    evaluation: Evaluation | None = None,
    facts: Mapping[str, object] | None = None,
) -> str:
    """The card as Markdown; arguments as in `write_card`."""
    sections = [
        _front_matter(recipe),
        f"# {Path(recipe.model).name}, trained by {recipe.objective}",
        f"`{recipe.model}` fine-tuned {_trained_weights(recipe)} on "
        f"{'preferences' if data else 'texts of its own'} with distalign {distalign.__version__}.",
        _objective(recipe),
    ]
    if data is not None:
        sections.append(_data("Training data", recipe.train_data, data))
    if held is not None:
        where = (
            recipe.eval_data
            or f"{recipe.eval_fraction:g} of the prompts of the training data, not trained on"
        )
        sections.append(_data("Held-out data", where, held))
    sections += [
        _results(evaluation),
        _claims(recipe),
        "## What this does not show\n\n" + "\n".join(f"- {x}" for x in _LIMITS),
        _recipe(recipe),
        _provenance(recipe, facts or {}),
        _citation(recipe),
    ]
    return "\n\n".join(sections) + "\n"


def equation(objective: str) -> str:
    """What an objective's docstring says before its arguments.

    That is a sentence, its equation and what the symbols mean.

    Example:
        >>> print(equation("sft").splitlines()[2])
            L = -\\sum_i p_i log pi(y_i+ | x_i)
    """
    text = inspect.getdoc(named_objective(objective)) or ""
    for end in ("\n\nShapes:", "\n\nArgs:", "\n\nRaises:"):
        text = text.split(end)[0]
    return text


def source(objective: str) -> str:
    """The paragraph of an objective's docstring that names its source."""
    text = inspect.getdoc(named_objective(objective)) or ""
    return " ".join(text.split("Source:")[-1].split("\n\n")[0].split())


def claims_of(objective: str) -> tuple[Claim, ...]:
    """Claims whose code under test is this objective."""
    return tuple(c for c in CLAIMS if c.code.endswith(f".{objective}") and ".objectives." in c.code)


def _front_matter(recipe: Recipe) -> str:
    library = "peft" if recipe.adapts else "transformers"
    base = adapter_base(recipe.model)
    reference = recipe.model if recipe.adapter_reference != "base" else base or recipe.model
    return (
        f"---\nlibrary_name: {library}\nbase_model: {base or recipe.model}\n{REFERENCE}: {reference}\ntags:\n"
        f"- distalign\n- preference-alignment\n- {recipe.objective}\n---"
    )


def _trained_weights(recipe: Recipe) -> str:
    if not recipe.adapts:
        return "in all weights"
    four = " on 4-bit weights" if recipe.load_in_4bit else ""
    if recipe.adapter_reference is not None:
        return f"in its own LoRA weights{four}"
    copies = f" and copies of {recipe.lora_modules_to_save}" if recipe.lora_modules_to_save else ""
    return f"by {'DoRA' if recipe.use_dora else 'LoRA'} of rank {recipe.lora_rank}{copies}{four}"


def _objective(recipe: Recipe) -> str:
    options = (
        _table(("option", "value"), list(recipe.objective_options.items()))
        if recipe.objective_options
        else "No options."
    )
    lines = equation(recipe.objective).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return f"## Objective\n\n{options}\n\n" + "\n".join(lines) + f"\n\nSource: {source(recipe.objective)}"


def _data(title: str, where: str, data: PreferenceData) -> str:
    rows = [
        ("source", where),
        ("kind", "pairs" if data.paired else "labelled responses"),
        ("examples", len(data.examples)),
        ("distinct prompts", len({prompt_digest(e) for e in data.examples})),
        ("digest of token ids, weights, groups", data.digest),
    ]
    if data.groups:
        rows.append(("groups", len(data.groups)))
    return f"## {title}\n\n" + _table(("", ""), [*rows, *data.report.items()])


def _results(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "## Results\n\nNothing was held out, so nothing was measured."
    rows = []
    for row in evaluation.table.to_dict("records"):
        interval = "" if math.isnan(row["low_95"]) else f"[{row['low_95']:.4g}, {row['high_95']:.4g}]"
        rows.append(
            (
                row["metric"],
                f"{row['value']:.4g}",
                interval,
                row["interval"],
                row["n"],
                row["clusters"],
                row["unit"],
            )
        )
    text = _table(("metric", "value", "95 % interval", "interval by", "n", "clusters", "unit"), rows)
    words = "\n".join(f"- **{name}**: {METRICS[name][1]}" for name in evaluation.table.metric)
    notes = "".join(f"\n- Note: {note}." for note in evaluation.notes)
    return f"## Results\n\n{text}\n\n{words}{notes}"


def _claims(recipe: Recipe) -> str:
    mine, verdicts = claims_of(recipe.objective), _verdicts()
    if not mine:
        return (
            f"## What is known of the objective\n\nNo claim of distalign has {recipe.objective} under test."
        )
    rows = [
        (c.slug, c.kind, verdicts.get(c.slug, "not in the committed ledger"), c.source, c.prediction)
        for c in mine
    ]
    return (
        "## What is known of the objective\n\nClaims that put this very function to the test in simulation, "
        "with their committed verdicts; `distalign verify SLUG` runs one.\n\n"
        + _table(("claim", "kind", "verdict", "source", "prediction"), rows)
    )


def _verdicts() -> dict[str, str]:
    ledger = committed("ledger")
    if not ledger.is_file():
        return {}
    table = pd.read_csv(ledger)
    return dict(zip(table.slug, table.verdict.astype(str), strict=True))


def _recipe(recipe: Recipe) -> str:
    return "## Recipe\n\n" + _table(("key", "value"), [(k, v) for k, v in asdict(recipe).items()])


def _provenance(recipe: Recipe, facts: Mapping[str, object]) -> str:
    rows = [
        ("distalign", distalign.__version__),
        ("digest of its objectives and training code", training_code_digest()),
        ("python", platform.python_version()),
        *((name, _version(name)) for name in ("torch", "transformers", "peft")),
        ("seed", recipe.seed),
        *facts.items(),
    ]
    return "## Provenance\n\n" + _table(("", ""), rows)


def training_code_digest() -> str:
    """SHA-256 over the source of objectives and training code: what could change the numbers of the card."""
    digest, root = hashlib.sha256(), Path(distalign.__file__).parent
    files = [*root.glob("*.py"), *(root / "objectives").rglob("*.py"), *(root / "training").rglob("*.py")]
    for path in sorted(files):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _citation(recipe: Recipe) -> str:
    paper = "" if recipe.objective in ON_OWN_TEXTS else description_of(objective_of(recipe)).paper
    papers = [p.bibtex() for p in PAPERS if p.name == paper]
    return "## Citation\n\n```bibtex\n" + "\n\n".join([*papers, DISTALIGN]) + "\n```"


def _table(head: tuple[str, ...], rows: list) -> str:
    lines = [
        " | ".join(head),
        " | ".join("---" for _ in head),
        *(" | ".join(map(_cell, row)) for row in rows),
    ]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
