"""Tables that are no votes, brought to votes: PRISM, Community Alignment, and preference pairs with users.

PRISM (Kirk et al., arXiv 2404.16019), file utterances.jsonl: one row a response of a language model, with
user_id, interaction_id (a prompt and the responses to it), model_name and score (1 to 100). Community
Alignment (Zhang et al., arXiv 2507.09650): one row a conversation, with annotator_id, first_turn_prompt,
first_turn_response_a to _d and first_turn_preferred_response (`response_a`, ...).

Preference pairs as `distalign.training` reads them: chosen, rejected, a user in each row, perhaps a prompt
and a weight.

Source: the data are those of their collectors; the reading is ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from distalign.checks import InputError, suggestion
from distalign.pluralism.sources.columns import USER, WEIGHT, roles_of
from distalign.pluralism.sources.tables import columns_of, read_columns, text_of

_TURN = "first_turn_"
Rows = tuple[pd.DataFrame, tuple[str, ...]]
"""A table with columns user, first, second, vote and perhaps weight, and sentences on how it was made."""


def adapter_of(columns: Iterable[str]) -> Callable[[Path, str | None], Rows] | None:
    """The adapter whose columns these are; None for other tables.

    Example:
        >>> adapter_of(["user_id", "interaction_id", "model_name", "score"]).__name__
        'prism'
    """
    present = set(columns)
    if {"user_id", "interaction_id", "model_name", "score"} <= present:
        return prism
    if {"annotator_id", f"{_TURN}prompt", f"{_TURN}preferred_response"} <= present:
        return community_alignment
    if {"chosen", "rejected"} <= present and present & set(USER):
        return preference_pairs
    return None


def prism(path: Path, topic: str | None) -> Rows:
    """Votes on language models from PRISM's ratings: one for each two responses to the same prompt.

    The higher score wins and equal scores are an "equal"; two responses of one model are not compared.

    Args:
        path: utterances.jsonl, or a table with its columns.
        topic: a conversation_type; None takes all.

    Raises:
        InputError: the topic is unknown, or nothing is compared.
    """
    extra = ["conversation_type"] if topic is not None else []
    table = read_columns(path, ["user_id", "interaction_id", "model_name", "score", *extra])
    if topic is not None:
        kinds = sorted(set(text_of(table["conversation_type"])))  # pyright: ignore[reportArgumentType]
        if topic not in kinds:
            raise InputError(f"topic {topic!r} is not in {path}: {suggestion(topic, kinds)}")
        table = table.loc[text_of(table["conversation_type"]) == topic]  # pyright: ignore[reportArgumentType]
    table = table.assign(score=pd.to_numeric(table["score"], errors="coerce"), row=np.arange(len(table)))
    rated = table.dropna(subset=["score", "model_name"])
    pairs = rated.merge(rated, on=["user_id", "interaction_id"], suffixes=("", "_2"))
    pairs = pairs.loc[pairs["row"] < pairs["row_2"]]
    apart = pairs.loc[pairs["model_name"] != pairs["model_name_2"]]
    if apart.empty:
        raise InputError(f"{path}: no two models were rated on the same prompt, so nothing is compared")
    vote = np.sign(apart["score"] - apart["score_2"]).map({1.0: "first", -1.0: "second", 0.0: "equal"})
    votes = pd.DataFrame(
        {"user": apart["user_id"], "first": apart["model_name"], "second": apart["model_name_2"]}
    )
    told = f"{len(rated)} ratings became {len(apart)} votes: one for each two models rated on the same prompt"
    same = f"; {len(pairs) - len(apart)} pairs of responses of one model were left out."
    return votes.assign(vote=vote), (told + same,)


def community_alignment(path: Path, topic: str | None) -> Rows:
    """Votes on the responses to one prompt: the preferred response beats each of the others.

    Only first turns are read, for later ones follow on different conversations.

    Args:
        path: a table with the columns of Community Alignment.
        topic: the prompt; may be left out where there is one.

    Raises:
        InputError: there are several prompts and none is named, the one named is unknown, or a preferred
            response is none of those shown.
    """
    shown = [c for c in columns_of(path) if re.fullmatch(f"{_TURN}response_[a-z]", c)]
    table = read_columns(path, ["annotator_id", f"{_TURN}prompt", f"{_TURN}preferred_response", *shown])
    table = table.apply(text_of).apply(lambda column: column.str.split().str.join(" "))
    counts = pd.Series(table[f"{_TURN}prompt"]).value_counts()
    prompts = [str(prompt) for prompt in counts.index]
    topic = " ".join((topic or (prompts[0] if len(prompts) == 1 else "")).split())
    if topic not in prompts:
        raise InputError(
            f"{path} holds {len(counts)} prompts: choose one with topic; answered most often, by "
            f"{counts.iloc[0]}: {prompts[0][:200]!r}"
        )
    answered = table.loc[(table[f"{_TURN}prompt"] == topic) & (table[f"{_TURN}preferred_response"] != "")]
    column = _TURN + answered[f"{_TURN}preferred_response"]
    if not column.isin(shown).all():
        raise InputError(f"{path}: {column[~column.isin(shown)].iloc[0]!r} is none of the responses shown")
    best = answered[shown].to_numpy()[np.arange(len(answered)), pd.Index(shown).get_indexer(column)]
    parts = [
        pd.DataFrame(
            {"user": answered["annotator_id"], "first": best, "second": answered[c], "vote": "first"}
        )
        for c in shown
    ]
    votes = pd.concat(parts).query("first != second and second != ''")
    told = (
        f"{len(answered)} choices became {len(votes)} votes: the preferred response beats each of the others."
    )
    return votes, (told,)


def preference_pairs(path: Path, topic: str | None) -> Rows:
    """Votes on the texts that answer one prompt: the chosen text beats the rejected one.

    Args:
        path: a table with columns chosen, rejected and a user, perhaps prompt and weight.
        topic: the prompt; may be left out where there is one.

    Raises:
        InputError: there are several prompts and none is named, the one named is unknown, two columns could
            be the user or the weight, or a text is a list of messages.
    """
    present = columns_of(path)
    role = roles_of(present, {"user": USER, "weight": WEIGHT}, {}, path)
    extra = ["prompt"] if "prompt" in present else []
    table = read_columns(path, [*role.values(), "chosen", "rejected", *extra])
    if not table[["chosen", "rejected"]].map(lambda cell: isinstance(cell, str)).to_numpy().all():
        raise InputError(
            f"{path}: chosen and rejected must be texts to be voted on, not lists of messages: write the "
            "content of the last message"
        )
    if "prompt" in present:
        counts = pd.Series(text_of(table["prompt"])).value_counts()  # pyright: ignore[reportArgumentType]
        topic = topic or (str(counts.index[0]) if len(counts) == 1 else "")
        if topic not in counts.index:
            raise InputError(
                f"{path} holds {len(counts)} prompts: choose one with topic; most pairs, {counts.iloc[0]}, "
                f"answer {str(counts.index[0])[:200]!r}"
            )
        table = table.loc[text_of(table["prompt"]) == topic]  # pyright: ignore[reportArgumentType]
    votes = pd.DataFrame(
        {"user": table[role["user"]], "first": table["chosen"], "second": table["rejected"], "vote": "first"}
    )
    if "weight" in role:
        votes["weight"] = table[role["weight"]]
    return votes, (f"{len(votes)} pairs became as many votes for the chosen text.",)
