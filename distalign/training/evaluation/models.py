"""Models named by a folder or a Hub id: evaluated on held-out preferences, and sampled from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distalign.checks import InputError
from distalign.progress import Voice
from distalign.report import report
from distalign.training.data.load import load_preferences
from distalign.training.data.summary import tell
from distalign.training.evaluation import generate as sampling
from distalign.training.evaluation.evaluate import Evaluation, evaluation, held_out
from distalign.training.evaluation.intervals import check_resamples
from distalign.training.evaluation.prompts import prompts_of, tokenised
from distalign.training.evaluation.read_card import DTYPE, WEIGHTS, read_card
from distalign.training.evaluation.report import write
from distalign.training.evaluation.samples import Samples, write_samples
from distalign.training.model.adapters import adapter_base
from distalign.training.model.load import weights_digest
from distalign.training.model.policy import load_policy, tokenizer_of
from distalign.training.model.saved_adapter import saved_adapter
from distalign.training.model.scoring import Scores, score_examples
from distalign.training.recipe import Recipe, check_data, objective_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from distalign.training.data.rows import PreferenceData
    from distalign.training.model.scorer import Scorer

Dtype = Literal["bfloat16", "float32"]
_DIGEST = 64  # characters of SHA-256
BETA = 0.1
"""DPO's beta where none is given."""


def evaluate(
    model: str,
    data: str,
    *,
    reference: str | None = None,
    objective: str = "dpo",
    options: Mapping[str, Any] | None = None,
    samples: int = 0,
    resamples: int = 200,
    max_length: int = 1024,
    max_prompt_length: int | None = None,
    max_cut_share: float = 0.2,
    chat_template: bool | None = None,
    assistant_only_loss: bool = True,
    ranking_pairs: Literal["all", "best_worst"] = "all",
    dtype: Dtype = "bfloat16",
    skip_bad_rows: bool = False,
    seed: int = 0,
    out: Path | str | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure a model on held-out preferences: accuracy, dominance, calibration, length control, diagnostics;
    with intervals.

    Args:
        model: folder or Hub id of a model, or folder of an adapter.
        data: held-out preferences, in the formats that `train` reads.
        reference: model that training started from; None means what the card of distalign in the model's
            folder names, and for an adapter without one its base.
        objective: what the model was trained by.
        options: options of the objective; DPO's beta is `BETA` unless given.
        samples: prompts of the data to sample 4 responses from, for entropy, diversity and the divergence to
            the reference.
        resamples: of the bootstrap behind the intervals.
        max_length: tokens of prompt and completion.
        max_prompt_length: tokens of the prompt.
        max_cut_share: largest share of completions that max_length may cut.
        chat_template: apply the tokenizer's chat template; None means where the data are messages.
        assistant_only_loss: score only the assistant's messages of a completion with several turns.
        ranking_pairs: pairs made of K ranked responses.
        dtype: precision.
        skip_bad_rows: drop and count malformed rows.
        seed: of sampling and bootstrap.
        out: folder for tables, figures and a page of them, report.html; None writes nothing.
        progress: show bars.

    Raises:
        InputError: the data cannot be read, the reference is not known or not the one of the card, the
            objective refuses its options, or there are too many resamples.
    """
    check_resamples(resamples)
    chosen = dict(options or {})
    if objective == "dpo":
        chosen = {"beta": BETA, **chosen}
    recipe = Recipe(
        model=model,
        objective=objective,
        objective_options=chosen,
        train_data=data,
        max_length=max_length,
        max_prompt_length=max_prompt_length,
        max_cut_share=max_cut_share,
        chat_template=chat_template,
        assistant_only_loss=assistant_only_loss,
        ranking_pairs=ranking_pairs,
        dtype=dtype,
        skip_bad_rows=skip_bad_rows,
        seed=seed,
        lora_rank=1,  # never used: training by wdpo through='ratio' asks for an adapter, evaluation does not
    )
    found = _evaluated(recipe, reference, samples, resamples, progress)
    if out is not None:
        write(found, Path(out), f"{Path(model).name} on {Path(data).name}. ")
        report(out)
    return found


def _evaluated(
    recipe: Recipe, reference: str | None, samples: int, resamples: int, progress: bool
) -> Evaluation:
    reference, weights = (reference, None) if reference else reference_of(recipe.model)
    tokenizer = tokenizer_of(recipe.model, trust_remote_code=recipe.trust_remote_code)
    held = load_preferences(
        recipe.train_data,
        tokenizer,
        max_length=recipe.max_length,
        max_prompt_length=recipe.max_prompt_length,
        max_cut_share=recipe.max_cut_share,
        chat_template=recipe.chat_template,
        assistant_only_loss=recipe.assistant_only_loss,
        ranking_pairs=recipe.ranking_pairs,
        skip_bad_rows=recipe.skip_bad_rows,
    )
    tell("data", recipe.train_data, held, Voice())
    check_data(recipe, held)
    policy, base, drawn = _scores(recipe, reference, weights, held, tokenizer, samples, progress)
    objective = objective_of(recipe)
    return evaluation(
        held_out(held, policy, base, objective),
        objective,
        samples=drawn,
        resamples=resamples,
        seed=recipe.seed,
    )


def reference_of(model: str) -> tuple[str | None, tuple[str, str] | None]:
    """The reference of a model as its card has it; None means the adapter switched off.

    Args:
        model: folder or Hub id.

    Returns:
        (the reference, and, where the card says so, the precision and the digest of its weights).

    Raises:
        InputError: it is not known, or the card names a folder that is not there.
    """
    base, card = adapter_base(model), read_card(model)
    if card is None:
        if base is not None:
            return None, None
        raise InputError(
            f"{model} is no adapter and holds no card of distalign, so its reference is not known: give "
            "--reference MODEL, the model that training started from"
        )
    if base is not None and card.reference == base:
        return None, None
    if Path(card.reference).is_absolute() and not Path(card.reference).is_dir():
        raise InputError(
            f"the card of {model} names the reference {card.reference}, which is not there: give --reference "
            "MODEL, the model that training started from"
        )
    Voice()(f"reference: {card.reference}, which the card of {model} names; --reference names another")
    dtype, digest = card.rows.get(DTYPE), card.rows.get(WEIGHTS)
    started = saved_adapter(card.reference)
    if started is not None and digest and not digest.endswith(started.digest()):
        raise InputError(
            f"the adapter {card.reference}, which the card of {model} names as its reference, was changed "
            "since: give --reference MODEL, the model or adapter that training started from"
        )
    known = dtype and digest and len(digest) == _DIGEST and card.reference == card.base
    return card.reference, (str(dtype), str(digest)) if known else None


def _check_weights(scorer: Scorer, name: str, dtype: str, known: tuple[str, str] | None) -> None:
    """Raise where the reference has other weights than those that training started from."""
    if known is not None and known[0] == dtype and weights_digest(scorer.causal) != known[1]:
        raise InputError(
            f"{name} has other weights than the reference that the card names, so it was changed since: give "
            "--reference MODEL, the model that training started from"
        )


def _scores(
    recipe: Recipe,
    reference: str | None,
    weights: tuple[str, str] | None,
    held: PreferenceData,
    tokenizer: PreTrainedTokenizerBase,
    samples: int,
    progress: bool,
) -> tuple[Scores, Scores, Samples | None]:
    """Log-probabilities under the policy and under its reference, and samples of the policy."""
    import torch

    how: dict[str, Any] = {
        "dtype": recipe.dtype,
        "attn_implementation": recipe.attn_implementation,
        "trust_remote_code": recipe.trust_remote_code,
    }
    scorer = load_policy(recipe.model, **how)
    policy = score_examples(scorer, held.examples, progress=progress)
    prompts = list(dict.fromkeys(e.prompt for e in held.examples))[:samples]
    drawn = None
    if prompts:
        drawn = sampling.generate(
            scorer,
            tokenizer,
            prompts,
            samples_per_prompt=4,
            max_new_tokens=128,
            seed=recipe.seed,
            progress=progress,
        )
    if reference is None:
        with scorer.reference():
            return policy, score_examples(scorer, held.examples, progress=progress), _referred(scorer, drawn)
    del scorer  # never two models at once
    torch.cuda.empty_cache()
    scorer = load_policy(reference, **how)
    _check_weights(scorer, reference, recipe.dtype, weights)
    return policy, score_examples(scorer, held.examples, progress=progress), _referred(scorer, drawn)


def _template(tokenizer: Any, texts: Sequence[Any], asked: bool | None) -> str | None:
    """Digest of the chat template through which prompts went; None where all were taken as they are."""
    if not asked and all(isinstance(text, str) for text in texts):
        return None
    return hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()[:16]


def _referred(scorer: Scorer, drawn: Samples | None) -> Samples | None:
    """Samples with their reference log-probabilities."""
    return drawn and Samples(tuple(sampling.scored(scorer, drawn.rows, "ref_log_prob")), drawn.settings)


def generate(
    model: str,
    prompts: str | Path,
    *,
    out: Path | str | None = None,
    reference: str | None = None,
    samples_per_prompt: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    batch_size: int = 16,
    chat_template: bool | None = None,
    dtype: Dtype = "bfloat16",
    seed: int = 0,
    progress: bool = False,
) -> Samples:
    """Draw responses to the prompts of a file, with their log-probabilities.

    Args:
        model: folder or Hub id of a model, or folder of an adapter.
        prompts: .jsonl, .csv or .parquet file with a column `prompt`.
        out: JSONL or Parquet file to write, from which a run that was killed goes on; None writes nothing.
        reference: model whose log-probabilities are noted, too; of an adapter those of the reference that its
            card names, else of its base.
        samples_per_prompt: responses to each prompt.
        temperature: 0 takes the most probable token.
        top_p: share of probability kept at each token.
        max_new_tokens: of a response.
        batch_size: prompts drawn at once.
        chat_template: apply the tokenizer's chat template; None means where prompts are messages.
        dtype: precision.
        seed: of the sampling.
        progress: show a bar.

    Raises:
        InputError: the prompts cannot be read, a value is out of range, or `out` holds samples drawn in
            another way.
    """
    texts = prompts_of(prompts)
    if reference is None and adapter_base(model) is not None:
        reference, _ = reference_of(model)
    tokenizer = tokenizer_of(model)
    tokens = [tokenised(tokenizer, text, chat_template) for text in texts]
    path = None if out is None else Path(out)
    scorer = load_policy(model, dtype=dtype)
    drawn = sampling.generate(
        scorer,
        tokenizer,
        tokens,
        samples_per_prompt=samples_per_prompt,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        seed=seed,
        reference=reference is None and adapter_base(model) is not None,
        out=path,
        texts=texts,
        settings={
            "model": model,
            "source": str(prompts),
            "dtype": dtype,
            "chat_template": _template(tokenizer, texts, chat_template),
        },
        progress=progress,
    )
    if reference is None:
        return drawn
    del scorer  # never two models at once
    scorer = load_policy(reference, dtype=dtype)
    drawn = Samples(tuple(sampling.scored(scorer, drawn.rows, "ref_log_prob")), drawn.settings)
    if path is not None:
        write_samples(drawn, path)
    return drawn
