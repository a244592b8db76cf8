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
        $ distalign score draws.parquet --score reward=path/to/reward_model --out scored.parquet

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
) -> int:
    """Make preference data of scored texts: users of a population compare the texts of each prompt.

    pairs have a label by a drawn user, soft pairs stand in both orders with weights P and 1 - P, thumbs are
    on single texts, best_worst is the best of n texts against the worst.

    For example:

        $ distalign label scored.jsonl --population readers.yaml --kind pairs --out pairs.jsonl
        $ distalign label scored.jsonl --kind best_worst --by reward --best-of 10 --out pairs.jsonl

    Args:
        scored: file that score wrote.
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
    """
    from distalign.bridge.generation import commands

    how = {"by": by, "per_prompt": per_prompt, "best_of": best_of, "seed": seed}
    return commands.label(scored, out, kind, population, reference, draws, how)
