"""The model card of an adapter merged into its base."""

from __future__ import annotations

from pathlib import Path

import distalign
from distalign.bibliography import DISTALIGN
from distalign.training.evaluation.card import REFERENCE
from distalign.training.evaluation.read_card import ADAPTER, DTYPE, WEIGHTS, read_card
from distalign.training.model.saved_adapter import SavedAdapter


def merged_card(adapter: SavedAdapter, weights: str, precision: str) -> str:
    """What a merged model was made of.

    Args:
        adapter: that was merged.
        weights: digest of its base.
        precision: of the weights of both.
    """
    own = read_card(adapter.folder)
    reference = adapter.base if own is None else own.reference
    kind = "DoRA" if adapter.config.get("use_dora") else "LoRA"
    rows = [
        ("adapter", str(adapter.folder)),
        (ADAPTER, adapter.digest()),
        ("kind", f"{kind} of rank {adapter.rank}"),
        ("base", adapter.base),
        (WEIGHTS, weights),
        (DTYPE, precision),
        ("distalign", distalign.__version__),
    ]
    table = "\n".join(["|  |  |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])
    four = own is not None and own.rows.get("load_in_4bit") == "True"
    note = (
        "\n\nThe adapter was trained on 4-bit weights of its base and is merged into the whole ones, so this "
        "model is not exactly the one that was trained."
        if four
        else ""
    )
    said = (
        f"The card of the adapter names the reference `{reference}`."
        if own is not None
        else f"The adapter has no card of distalign; `{reference}` is taken for the reference."
    )
    return (
        f"---\nlibrary_name: transformers\nbase_model: {adapter.base}\n{REFERENCE}: {reference}\ntags:\n"
        f"- distalign\n- merged\n---\n\n# {adapter.folder.name}, merged into {Path(adapter.base).name}\n\n"
        f"The weights of `{adapter.base}` with the adapter of `{adapter.folder}` added, in {precision}. "
        f"{said}{note}\n\n## Made of\n\n{table}\n\n## Citation\n\n```bibtex\n{DISTALIGN}\n```\n"
    )
