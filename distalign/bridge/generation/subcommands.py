"""Flags of the command line's commands on texts that a model wrote.

What the commands do is in `distalign.bridge.generation.commands`, which is imported when one of them runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from distalign.training import flags


def score(
    samples: Positional[Path],
    /,
    *,
    score: tuple[str, ...],
    out: Path,
    batch_size: int = 16,
    dtype: Literal["float32", "bfloat16"] = "float32",
    chat_template: flags.PerhapsSwitch = None,
    trust_remote_code: flags.Switch = False,
) -> int:
    """Score texts of generate, a column for each score; what was scored once is not scored again.

    A score is length (tokens), sentiment (the lexicon of vaderSentiment), the folder or Hub id of a
    sequence-classification model, or a function module:function of a list of prompts and a list of responses.
    NAME=SCORE calls its column NAME.

    For example:

        $ distalign score draws.jsonl --score length sentiment --out scored.jsonl
        $ distalign score draws.jsonl --score reward=my/model --out scored.jsonl

    Args:
        samples: file that generate wrote.
        score: length, sentiment, models or functions.
        out: JSONL or Parquet file to write; computed scores are kept beside it, in OUT.cache.
        batch_size: texts scored at once.
        dtype: precision of a model.
        chat_template: render texts for a model by its chat template; none means where its tokenizer has one.
        trust_remote_code: run code that comes with a model.
    """
    from distalign.bridge.generation import commands

    how = {"dtype": dtype, "chat_template": chat_template, "trust_remote_code": trust_remote_code}
    return commands.score(samples, score, out, batch_size, how)


def label(
    scored: Positional[Path],
    /,
    *,
    out: Path,
    kind: Literal["pairs", "soft", "thumbs", "best_worst"] = "pairs",
    population: str | None = None,
    reference: Path | None = None,
    by: str = "average",
    per_prompt: int = 0,
    best_of: int = 10,
    draws: str = "",
    seed: int = 0,
    texts: Path | None = None,
    prompt: str = "",
    topic: str | None = None,
) -> int:
    """Make preference data of scored texts: users of a population compare the texts of each prompt.

    pairs have a label by a drawn user, soft pairs stand in both orders with weights P and 1 - P, thumbs are
    on single texts, best_worst is the best of n texts against the worst. With --texts and --prompt the file
    is one of real people's votes, as simulate reads it, and each vote becomes weighted pairs with its user.

    For example:

        $ distalign label scored.jsonl --population readers.yaml --out pairs.jsonl
        $ distalign label scored.jsonl --kind best_worst --by reward --out out.jsonl
        $ distalign label votes.csv --texts tea.csv --prompt "Tea?" --out tea.jsonl

    Args:
        scored: file that score wrote; or a file of votes.
        out: JSONL file to write, which train reads.
        kind: of preferences.
        population: YAML file as simulate reads it, whose users have a mixture of scores; or the example
            readers.
        reference: scored draws of the training prompts, on which scores are standardised; by default those
            that are labelled.
        by: for best_worst, the average utility of the population or the name of a score.
        per_prompt: labels of each prompt; 0 uses every draw once.
        best_of: texts of a group whose best and worst become a pair.
        draws: FIRST:END, which draws of each prompt are used, from 0; all unless given.
        seed: of pairs, users and answers.
        texts: of votes, a table of the items' texts with columns item (or argument) and text.
        prompt: of votes, what the texts answer.
        topic: of votes, the one to read where there are several.
    """
    from distalign.bridge.generation import commands

    how = {"by": by, "per_prompt": per_prompt, "best_of": best_of, "seed": seed}
    if texts is not None or prompt or topic is not None:
        asked = {**how, "kind": kind, "population": population, "reference": reference, "draws": draws}
        return commands.label_votes(scored, texts, prompt, topic, out, asked)
    return commands.label(scored, out, kind, population, reference, draws, how)


def judge(
    ours: Positional[Path],
    /,
    *,
    against: Path | None = None,
    score: str | None = None,
    verdicts: str | None = None,
    draws: Path | None = None,
    beta: float = 0.1,
    out: Path = Path("out/judge"),
    seed: int = 0,
) -> int:
    """Judge a model by its texts: win rates, KL, calibration.

    Win rates are against another model's texts, also at equal length. All numbers have intervals. No model is
    loaded; out gets tables, JSON, and the texts as AlpacaEval reads them.

    For example:

        $ distalign judge mine.jsonl --against base.jsonl --score sentiment
        $ distalign judge mine.jsonl --against base.jsonl --verdicts verdicts.csv

    Args:
        ours: file that generate or score wrote.
        against: texts of another model to the same prompts, drawn in the same way.
        score: which score decides who wins; the only one unless given.
        verdicts: of a judge, in place of scores: .jsonl, .csv or .parquet file with columns prompt_index and
            winner (a is ours, b the other, or tie), perhaps sample_a and sample_b.
        draws: texts of the reference that generate scored with --reference MODEL, the model judged, for the
            divergence by reweighting.
        beta: of DPO, which scales the implied reward whose calibration is measured.
        out: folder for tables, JSON and the texts for AlpacaEval.
        seed: of the bootstrap behind the intervals of calibration errors.
    """
    from distalign.bridge.generation import judge_commands

    return judge_commands.judge(ours, out, against, draws, verdicts, score=score, beta=beta, seed=seed)


def predict(
    draws: Positional[Path],
    /,
    *,
    population: str,
    kl: float = 0.5,
    beta: tuple[float, ...] = (),
    divergences: tuple[str, ...] = ("forward_kl", "jensen_shannon", "alpha:0.5"),
    out: Path = Path("out/predict"),
) -> int:
    """Predict where each method ends, before anything is trained.

    The table has utility, by group and worst-off, KL, entropy and distortion, with intervals. Every method's
    optimum is the reference policy reweighted, so scored draws of the reference carry it. What they do not
    carry is refused, with the reason. No model is loaded.

    For example:

        $ distalign predict scored.parquet --population readers
        $ distalign predict scored.parquet --population readers.yaml --beta 0.1 1

    Args:
        draws: file that score wrote, of texts of the model before training, at temperature 1.
        population: YAML file as simulate reads it, whose users have a mixture of scores; or the example
            readers.
        kl: nats of the ball that distortion compares in, a mean over prompts; without --beta every method is
            predicted at the strength at which it spends them.
        beta: strengths to predict at: beta of DPO, f-DPO, IPO and KLDPO, lambda of NLHF.
        divergences: of f-DPO.
        out: folder for the table, JSON and the figure.
    """
    from distalign.bridge.generation import judge_commands

    return judge_commands.predict(draws, population, out, kl, beta, divergences)
