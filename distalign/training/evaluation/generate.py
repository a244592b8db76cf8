"""Sampling from a language model: batched, seeded, resumable."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from distalign.checks import InputError, nonnegative
from distalign.progress import progress_bar
from distalign.training.data.rows import TokenRow, Tokens
from distalign.training.evaluation.samples import Sample, Samples, read_samples, write_samples
from distalign.training.model.scoring import score_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from distalign.training.model.scorer import Scorer

_PLAIN: dict[str, Any] = {
    "num_beams": 1,
    "min_length": 0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "remove_invalid_values": False,
} | dict.fromkeys(
    (
        "bad_words_ids",
        "begin_suppress_tokens",
        "exponential_decay_length_penalty",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "guidance_scale",
        "min_new_tokens",
        "min_p",
        "sequence_bias",
        "stop_strings",
        "suppress_tokens",
        "top_h",
        "watermarking_config",
    )
)
"""Generation settings of transformers under which a token is drawn from the model's own law.

transformers takes what a call leaves open from the model's generation_config.json, and samples would then be
of another policy than the one that is scored.
"""

LARGEST = 10**9  # of a count: more than anybody draws, and far below where torch's whole numbers end
COLDEST = 1e-6  # below it logits over the temperature leave single precision


def generate(
    scorer: Scorer,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Tokens],
    *,
    samples_per_prompt: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    batch_size: int = 16,
    seed: int = 0,
    reference: bool = False,
    out: Path | None = None,
    texts: Sequence[Any] | None = None,
    settings: dict[str, Any] | None = None,
    progress: bool = False,
) -> Samples:
    """Draw responses and score them under the policy at temperature 1, and under the reference.

    Prompts are cut into batches in order, and each batch has a random stream of its own, so a run that was
    killed goes on with the same responses. Prompts are padded on the left.

    A finished batch is a file in the folder `OUT.parts`; at the end they are joined in `out` and removed, so
    that no response is written more than twice.

    Args:
        scorer: the policy.
        tokenizer: its tokenizer.
        prompts: token ids, each at least one.
        samples_per_prompt: responses to each prompt.
        temperature: 0 takes the most probable token.
        top_p: share of probability that is kept at each token, in (0, 1].
        max_new_tokens: of a response.
        batch_size: prompts drawn at once.
        seed: of the sampling.
        reference: score under the reference, too: the adapter of a LoRA policy is switched off.
        out: file to write; a run that was interrupted goes on from its parts. None keeps nothing.
        texts: the prompts as they are to be noted in the file, text or messages; scores need them. A response
            to a text is noted with the space before it, if there is one, so that the two can be joined.
        settings: more to note in the file, for instance the model's name; another run's file is refused where
            they differ.
        progress: show a bar.

    Raises:
        InputError: a value is out of range, a prompt is empty, or `out` holds samples drawn in another way.
    """
    _check(prompts, samples_per_prompt, temperature, top_p, max_new_tokens, batch_size)
    drawing = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens, "seed": seed}
    counts = {"samples_per_prompt": samples_per_prompt, "batch_size": batch_size, "prompts": len(prompts)}
    noted_settings: dict[str, Any] = {**(settings or {}), **drawing, **counts}
    rows = _finished(out, noted_settings)
    start = len(rows) // samples_per_prompt
    with progress_bar(len(prompts), "sampling", "prompt", shown=progress, initial=start) as bar:
        for first in range(start, len(prompts), batch_size):
            batch = prompts[first : first + batch_size]
            drawn = scored(scorer, _draw_batch(scorer, tokenizer, batch, first, noted_settings))
            if reference:
                with scorer.reference():
                    drawn = scored(scorer, drawn, "ref_log_prob")
            if texts is not None:
                drawn = [_noted(tokenizer, row, texts[row.prompt_index]) for row in drawn]
            rows += drawn
            if out is not None:
                write_samples(Samples(tuple(drawn), noted_settings), _part(out, first))
            bar.update(len(batch))
    whole = Samples(tuple(rows), noted_settings)
    if out is not None:
        if start < len(prompts) or not out.is_file():
            write_samples(whole, out)
        shutil.rmtree(_part(out, 0).parent, ignore_errors=True)
    return whole


def _noted(tokenizer: PreTrainedTokenizerBase, row: Sample, prompt: Any) -> Sample:
    """The sample with its prompt.

    Some tokenizers (SentencePiece, whole words) leave out the space before a response that is decoded alone.
    What goes on with a text is therefore decoded behind it; where tokens are more than the text, as with a
    chat template, the response stays as it is.
    """

    def decoded(tokens: Tokens) -> str:
        return str(tokenizer.decode(list(tokens), skip_special_tokens=True))

    if isinstance(prompt, str):
        before, whole = decoded(row.prompt_tokens), decoded(row.prompt_tokens + row.response_tokens)
        if before.strip() == prompt.strip() and whole.startswith(before):
            return replace(row, prompt=prompt, response=whole[len(before) :])
    return replace(row, prompt=prompt)


def _part(out: Path, first: int) -> Path:
    """The file of the finished batch that starts with prompt `first`."""
    return out.with_name(f"{out.name}.parts") / f"{first:09d}{out.suffix}"


def scored(scorer: Scorer, rows: Iterable[Sample], name: str = "log_prob") -> list[Sample]:
    """The samples with `name` filled in by the scorer.

    `name` is `log_prob` for the policy and `ref_log_prob` for the reference.
    """
    rows = list(rows)
    values = score_rows(scorer, [TokenRow(row.prompt_tokens, (row.response_tokens,)) for row in rows])
    return [replace(row, **{name: float(value)}) for row, value in zip(rows, values, strict=True)]


def _check(
    prompts: Sequence[Tokens], count: int, temperature: float, top_p: float, longest: int, batch_size: int
) -> None:
    for name, value in (
        ("samples_per_prompt", count),
        ("max_new_tokens", longest),
        ("batch_size", batch_size),
    ):
        if not 1 <= value <= LARGEST:
            raise InputError(f"{name} must be from 1 to {LARGEST:,}, got {value}")
    nonnegative("temperature", temperature, "1 draws from the policy, 0 takes the most probable token")
    if 0 < temperature < COLDEST:
        raise InputError(
            f"temperature must be 0 or at least {COLDEST:g}, got {temperature:g}: 0 takes the most "
            "probable token"
        )
    if not 0 < top_p <= 1:
        raise InputError(f"top_p must lie in (0, 1], got {top_p}: 1 keeps the whole distribution")
    empty = [i for i, prompt in enumerate(prompts) if not prompt]
    if not len(prompts) or empty:
        raise InputError(
            f"prompt {empty[0]} is empty: give it at least one token" if empty else "no prompts were given"
        )


def _finished(out: Path | None, settings: dict[str, Any]) -> list[Sample]:
    """Samples of whole batches, in a file or in parts that were begun with the same settings.

    Raises:
        InputError: they were drawn in another way.
    """
    if out is None:
        return []
    count, batch = settings["samples_per_prompt"], settings["batch_size"]
    rows = _rows_of(out, settings) if out.is_file() else []
    if len(rows) < settings["prompts"] * count:
        rows = rows[: len(rows) // (batch * count) * batch * count]
    while (part := _part(out, len(rows) // count)).is_file():
        rows += _rows_of(part, settings)
    return rows


def _rows_of(path: Path, settings: Mapping[str, Any]) -> list[Sample]:
    earlier = read_samples(path)
    differing = [name for name in settings if earlier.settings.get(name) != settings[name]]
    if differing:
        name = differing[0]
        raise InputError(
            f"{path} holds samples drawn with {name} {earlier.settings.get(name)!r}, now {settings[name]!r}: "
            "choose another --out, or remove it"
        )
    return list(earlier.rows)


def _draw_batch(
    scorer: Scorer,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Tokens],
    first: int,
    settings: Mapping[str, Any],
) -> list[Sample]:
    """Samples of one batch of prompts, numbered from `first`, without log-probabilities."""
    ends = end_tokens(scorer.model, tokenizer)
    responses = draw(scorer.model, tokenizer, prompts, settings, _batch_seed(settings["seed"], first), ends)
    return [
        sample
        for i, several in enumerate(responses)
        for sample in samples_of(tokenizer, first + i, prompts[i], several, ends)
    ]


def samples_of(
    tokenizer: PreTrainedTokenizerBase,
    prompt_index: int,
    prompt: Tokens,
    responses: Sequence[Tokens],
    ends: set[int],
) -> list[Sample]:
    """What `draw` drew to one prompt, decoded, without log-probabilities."""
    return [
        Sample(
            prompt_index=prompt_index,
            sample=k,
            prompt_tokens=prompt,
            response_tokens=response,
            response=str(tokenizer.decode(list(response), skip_special_tokens=True)),
            finished=response[-1] in ends,
        )
        for k, response in enumerate(responses)
    ]


def draw(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Tokens],
    settings: Mapping[str, Any],
    seed: int,
    ends: set[int],
) -> list[list[Tokens]]:
    """Token ids of the responses to each prompt; at temperature 0 they are all the same one.

    Args:
        model: of transformers or peft.
        tokenizer: its tokenizer, which names a token to pad with.
        prompts: token ids.
        settings: samples_per_prompt, temperature, top_p and max_new_tokens. Nothing else moves the law: what
            the model's own generation settings say of it, for instance suppressed tokens, is switched off.
        seed: of this call; the caller's random numbers stay where they are.
        ends: tokens that end a response, of `end_tokens`.
    """
    device, count = next(model.parameters()).device, settings["samples_per_prompt"]
    width, pad = max(map(len, prompts)), int(tokenizer.pad_token_id or 0)  # type: ignore[arg-type]
    ids = torch.tensor([(pad,) * (width - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([(0,) * (width - len(p)) + (1,) * len(p) for p in prompts], device=device)
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature := settings["temperature"]:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": settings["top_p"], "top_k": 0}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        drawn = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=settings["max_new_tokens"],
            num_return_sequences=count if temperature else 1,
            pad_token_id=pad,
            eos_token_id=sorted(ends) or None,
            **_PLAIN,
            **sampling,
        )
    responses = [_until_end(tuple(row), ends) for row in drawn[:, width:].tolist()]
    each = len(responses) // len(prompts)
    return [(responses[i * each : (i + 1) * each] * count)[:count] for i in range(len(prompts))]


def _batch_seed(seed: int, first: int) -> int:
    """The seed of the batch that starts with prompt `first`; no two batches of any two runs share one."""
    return int(
        np.random.SeedSequence(seed, spawn_key=(first,)).generate_state(1, np.uint64)[0] >> np.uint64(1)
    )


def end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens that end a response: the tokenizer's, and those the model's generation settings name."""
    named = getattr(model.generation_config, "eos_token_id", None)
    listed = named if isinstance(named, list) else [named]
    return {int(i) for i in (*listed, tokenizer.eos_token_id) if i is not None}  # type: ignore[arg-type]


def _until_end(tokens: Tokens, ends: set[int]) -> Tokens:
    """The tokens up to the first that ends a response, which is included."""
    stop = next((i for i, token in enumerate(tokens) if token in ends), None)
    return tokens if stop is None else tokens[: stop + 1]
