"""Scores of data, each distinct sequence once: the pairs of real data share most of their responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from distalign.progress import progress_bar
from distalign.training.data.packing import micro_batches, padded_tokens
from distalign.training.data.rows import Example, TokenRow

if TYPE_CHECKING:
    from distalign.training.model.scorer import Scorer
    from distalign.training.parallel import World

Scores = tuple[Tensor, Tensor]
"""((n,), (m,)) log-probabilities of chosen and rejected responses, in the order of the examples that have
them.
"""

# tokens of a row: responses of one prompt share it, but the dense mask of eager attention grows with its
# square
_ROW = 2048


def unique_rows(examples: Sequence[Example], max_tokens: int) -> tuple[list[TokenRow], list[int], list[int]]:
    """Every distinct (prompt, response) once.

    Responses of one prompt stand together, in rows of at most `max_tokens`.

    Returns:
        (rows, place of each chosen response among all responses of the rows, the same of each rejected one).

    Example: three pairs over the same three responses.
        >>> pairs = [Example((1,), (2,), (3,)), Example((1,), (3,), (4,)), Example((1,), (2,), (4,))]
        >>> unique_rows(pairs, 9)
        ([TokenRow(prompt=(1,), responses=((2,), (3,), (4,)))], [0, 1, 0], [1, 2, 2])
    """
    wanted: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
    for e in examples:
        wanted.setdefault(e.prompt, {}).update(
            {side: None for side in (e.chosen, e.rejected) if side is not None}
        )
    rows: list[TokenRow] = []
    places: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    for prompt, responses in wanted.items():
        row, used = [], len(prompt)
        for response in responses:
            if row and used + len(response) > max_tokens:
                rows.append(TokenRow(prompt, tuple(row)))
                row, used = [], len(prompt)
            places[prompt, response] = len(places)
            row, used = [*row, response], used + len(response)
        rows.append(TokenRow(prompt, tuple(row)))
    return (
        rows,
        [places[e.prompt, e.chosen] for e in examples if e.chosen is not None],
        [places[e.prompt, e.rejected] for e in examples if e.rejected is not None],
    )


def score_examples(
    scorer: Scorer,
    examples: Sequence[Example],
    *,
    token_budget: int = 4096,
    world: World | None = None,
    progress: bool = False,
) -> Scores:
    """((n,), (m,)) log-probabilities of the chosen and rejected responses in order.

    Each distinct sequence is scored once. With a world of several processes each of them calls this, scores
    its share and gets all scores.
    """
    rows, chosen, rejected = unique_rows(examples, min(token_budget, _ROW))
    scores = score_rows(scorer, rows, token_budget=token_budget, world=world, progress=progress)
    return scores[chosen], scores[rejected]


def score_rows(
    scorer: Scorer,
    rows: Sequence[TokenRow],
    *,
    token_budget: int = 4096,
    world: World | None = None,
    progress: bool = False,
) -> Tensor:
    """(sum of K,) log-probabilities of all responses, rows in order, on the CPU and without gradients."""
    lengths = [padded_tokens(row, share_prompt=scorer.share_prompt) for row in rows]
    starts = np.concatenate([[0], np.cumsum([len(row.responses) for row in rows])])
    batches = micro_batches(lengths, token_budget=max([token_budget, *lengths]))
    rank, size = (world.rank, world.size) if world else (0, 1)
    out = torch.zeros(int(starts[-1]))
    with (
        torch.no_grad(),
        progress_bar(len(rows), "scoring", "row", shown=progress and rank == 0) as bar,
    ):
        for first in range(0, len(batches), size):  # as many passes for each process, as sharded weights ask
            batch = batches[min(first + rank, len(batches) - 1)]
            scores = scorer(scorer.layout([rows[i] for i in batch])).float().cpu()
            if first + rank < len(batches):
                out[torch.cat([torch.arange(int(starts[i]), int(starts[i + 1])) for i in batch])] = scores
            bar.update(sum(map(len, batches[first : first + size])))
    if world is None or size == 1:
        return out
    everywhere = out.to(world.device)
    world.sum([everywhere])
    return everywhere.cpu()
