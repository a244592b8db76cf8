"""Which policy the claims on language models train: its name stands in their presets and can be replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from distalign.checks import InputError
from distalign.claims.claim import Claim

NAMES = ("tabular", "loglinear", "tiny", "smollm2")
# For a model of texts four prompts with candidates are written, and eight openings to go on from.
OF_TEXTS = {
    "lm_f_dpo_frontier": {"prompts": 4},
    "lm_aot_unpaired": {"prompts": 4},
    "free_dominance": {"held": 6},
}


def check_name(name: str) -> None:
    """Raise unless `name` is one of NAMES or `lm:DIR` with a folder DIR that holds a model; nothing is
    loaded.

    Raises:
        InputError: it is neither.
    """
    if name in NAMES:
        return
    kind, _, folder = name.partition(":")
    if kind != "lm" or not folder:
        raise InputError(
            f"policy must be one of {', '.join(NAMES)} or lm:DIR with the folder of a model, got {name!r}"
        )
    if not (Path(folder) / "config.json").is_file():
        raise InputError(
            f"policy {name!r}: the folder {folder} holds no config.json: name one written by save_pretrained"
        )


def with_policy(
    chosen: Sequence[Claim], policy: str, say: Callable[[str], object] = lambda line: None
) -> tuple[Claim, ...]:
    """The claims with this policy in every preset; as they are where none is named.

    Defects stay planted in the policy of the smallest preset, which is kept under the name "control". A model
    of texts has the prompts that are written for it (OF_TEXTS), and a line says so where a preset has more.

    Raises:
        InputError: an unknown policy, or a claim that trains no language model.

    Example:
        >>> from distalign.claims import claims
        >>> (claim,) = with_policy(claims(("lm_kldpo_shrinkage",)), "tabular")
        >>> {name: preset["policy"] for name, preset in claim.presets.items()}
        {'test': 'tabular', 'quick': 'tabular', 'full': 'tabular', 'control': 'tiny'}
    """
    if not policy:
        return tuple(chosen)
    check_name(policy)
    others = [claim.slug for claim in chosen if claim.world != "language model"]
    if others:
        raise InputError(
            f"policy: {others[0]} has no language model to replace: name claims that start with lm_ or free_"
        )
    out = []
    for claim in chosen:
        fewer = OF_TEXTS.get(claim.slug, {}) if policy == "smollm2" or policy.startswith("lm:") else {}
        for name, number in fewer.items():
            say(f"{claim.slug}: {name} {number}, for no more prompts are written for a model of texts")
        presets = {name: {**preset, **fewer, "policy": policy} for name, preset in claim.presets.items()}
        out.append(replace(claim, presets={**presets, "control": claim.presets["test"]}))
    return tuple(out)
