"""Rows of tokens as tensors: padding, positions, which token sees which, and micro-batches of a token budget.

A row is a prompt with its responses. Laid out with a shared prompt it is one line of a tensor; for the prompt
(5, 6) with the responses (7, 8) and (9,), in a tensor of width 6,

    ids        5  6  7  8  9  .      the tokens, 0 where padded
    positions  0  1  2  3  2  .      each response continues to count where the prompt ends
    segments   0  0  1  1  2  -1     0 is the prompt, k the k-th response, -1 padding

and the completion tokens 7, 8, 9 are predicted from the hidden states at the places 1, 2, 1: the first token
of every response from the prompt's last token. Tokens of a response that are not scored (`rows.unscored`) are
laid out like the others and are no targets; none stands at the end of a response. A token sees those before
it that are of segment 0 or of its own. So each response is scored as if it alone followed the prompt;
`distalign.training.model.shared_prompt` says why this is exact and how attention is told. Without sharing
every line is one text: a copy of the prompt, then one response. Positions then just count, plain causal
attention is right, and the mask, positions and segments are None. Padding stands on the right and needs no
mask either, for a causal model never looks to the right.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distalign.checks import InputError
from distalign.training.data.rows import TokenRow, Tokens

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Token rows laid out as tensors of B rows and L columns, padded on the right; `layout` makes one.

    Attributes:
        ids: (B, L) token ids, 0 where padded.
        positions: (B, L) position of each token in its own text, or None where every row is one text and
            positions just count.
        segments: (B, L) 0 for tokens of a shared prompt, k >= 1 for those of the row's k-th response, -1 for
            padding; None where every row is one text, for which plain causal attention is right.
        texts: (R, W) indices of the flattened tokens that make up the text of each response, prompt included,
            0 where padded; None as above.
        sources: (N,) index into the flattened (B * L) positions whose hidden state predicts each of N
            completion tokens.
        targets: (N,) those completion tokens.
        places: (N,) where each of them goes in a flattened table of (responses, longest response).
        lengths: (R,) scored completion tokens of each response.
        longest: the largest of `lengths`.
        longest_text: W, tokens of the longest prompt with one response.
        rows: (B,) index of the token row that each tensor row belongs to.
    """

    ids: Tensor
    positions: Tensor | None
    segments: Tensor | None
    texts: Tensor | None
    sources: Tensor
    targets: Tensor
    places: Tensor
    lengths: Tensor
    longest: int
    longest_text: int
    rows: Tensor

    @property
    def text_lengths(self) -> Tensor:
        """(R,) tokens of the text of each response where every row is one text, prompt included.

        The place that predicts a row's last token is the last but one of its text.
        """
        rows = self.sources // self.ids.shape[1]
        ends = self.sources % self.ids.shape[1] + 2
        return ends.new_zeros(len(self.lengths)).scatter_reduce(0, rows, ends, "amax")

    def sums(self, values: Tensor) -> Tensor:
        """(R,) sums over the tokens of each response of (N,) values.

        Values go to a table with one row a response, which is then summed, without atomic additions: the
        result has the same bits each time.

        Example:
            >>> laid = layout([TokenRow((1,), ((2, 3), (4,)))], share_prompt=True)
            >>> laid.sums(torch.tensor([1.0, 10.0, 100.0])).tolist()
            [11.0, 100.0]
        """
        table = values.new_zeros(len(self.lengths) * self.longest).scatter(0, self.places, values)
        return table.view(len(self.lengths), self.longest).sum(1)


def layout(rows: Sequence[TokenRow], *, share_prompt: bool, device: torch.device | str = "cpu") -> Layout:
    """Lay rows out as tensors.

    With `share_prompt`, and where some row has two or more responses, each row becomes one tensor row:
    prompt, response 1, response 2, ...; positions restart after the prompt with each response and no response
    sees another, so that every response is scored as if it alone followed the prompt. Otherwise each response
    becomes a tensor row of its own behind a copy of the prompt.

    Args:
        rows: at least one; every prompt and every response holds at least one token.
        share_prompt: as above.
        device: where the tensors live.

    Returns:
        Tensor rows and responses in the order given.

    Raises:
        InputError: no rows, an empty prompt, no response, or an empty one.

    Example:
        >>> laid = layout([TokenRow((5, 6), ((7, 8), (9,)))], share_prompt=True)
        >>> laid.ids.tolist(), laid.positions.tolist(), laid.sources.tolist()
        ([[5, 6, 7, 8, 9]], [[0, 1, 2, 3, 2]], [1, 2, 1])
        >>> layout([TokenRow((5, 6), ((7, 8), (9,)))], share_prompt=False).ids.tolist()
        [[5, 6, 7, 8], [5, 6, 9, 0]]
    """
    _check(rows)
    shared = share_prompt and any(len(row.responses) > 1 for row in rows)
    owners = range(len(rows)) if shared else [i for i, row in enumerate(rows) for _ in row.responses]
    lines = (
        [(row.prompt, *row.responses) for row in rows]
        if shared
        else [(row.prompt, response) for row in rows for response in row.responses]
    )
    tokens = _Tokens.of(lines)
    response = tokens.part > 0  # of its line; part 0 is the prompt
    scored = response & (tokens.values >= 0)
    # The first token of a response is predicted where the prompt ends, each other one where the last stands.
    before = np.where(tokens.place > 0, tokens.cell - 1, tokens.start + tokens.prompt - 1)
    counts = np.bincount(tokens.text[scored], minlength=tokens.texts)
    longest = int(counts.max())
    first = np.cumsum(counts) - counts
    table = tokens.text[scored] * longest + np.arange(len(before[scored])) - first[tokens.text[scored]]
    arrays = {
        "ids": tokens.filled(np.where(tokens.values < 0, ~tokens.values, tokens.values), 0),
        "sources": before[scored],
        "targets": tokens.values[scored],
        "places": table,
        "lengths": counts,
        "rows": np.fromiter(owners, np.int64),
    }
    if shared:
        arrays["positions"] = tokens.filled(tokens.place + response * tokens.prompt, 0)
        arrays["segments"] = tokens.filled(tokens.part, -1)
        arrays["texts"] = tokens.of_texts()
    moved = _moved(arrays, device)
    return Layout(
        ids=moved["ids"],
        positions=moved.get("positions"),
        segments=moved.get("segments"),
        texts=moved.get("texts"),
        sources=moved["sources"],
        targets=moved["targets"],
        places=moved["places"],
        lengths=moved["lengths"],
        rows=moved["rows"],
        longest=longest,
        longest_text=tokens.longest_text,
    )


@dataclass(frozen=True, eq=False)
class _Tokens:
    """All tokens of B lines, one after another, and where each of them stands.

    A line is a prompt, its part 0, with its responses, its parts 1, 2, ...; a text is a prompt with one
    response. Arrays are (n,) for n tokens where nothing else is said.
    """

    values: Places
    """Ids, or complements of those that are not scored."""
    part: Places
    """Number of the part in its line."""
    place: Places
    """Place in the part."""
    prompt: Places
    """Tokens of the line's prompt."""
    start: Places
    """Place of the line's first token in the flattened tensor."""
    cell: Places
    """Place of the token in the flattened tensor."""
    text: Places
    """Number of the text, over all lines; that of the line's first response for a token of the prompt."""
    shape: tuple[int, int]
    """(B, L)"""
    prompts: Places
    """(R,) tokens of each text's prompt."""
    starts: Places
    """(R,) place of the line's first token in the flattened tensor."""

    @classmethod
    def of(cls, lines: Sequence[Sequence[Tokens]]) -> _Tokens:
        """Number the tokens."""
        parts = [part for line in lines for part in line]
        sizes = np.fromiter(map(len, parts), np.int64, len(parts))
        several = np.fromiter(map(len, lines), np.int64, len(lines))
        values = np.fromiter(itertools.chain.from_iterable(parts), np.int64, int(sizes.sum()))
        line = np.repeat(np.arange(len(lines)), several)  # of each part, as those below
        head = (np.cumsum(several) - several)[line]
        number = np.arange(len(parts)) - head
        ends = np.cumsum(sizes)
        width = int(np.add.reduceat(sizes, np.unique(head)).max())
        of = np.repeat(np.arange(len(parts)), sizes)
        place = np.arange(len(values)) - (ends - sizes)[of]
        begins = line * width
        return cls(
            values=values,
            part=number[of],
            place=place,
            prompt=sizes[head][of],
            start=begins[of],
            cell=(begins + (ends - sizes) - (ends - sizes)[head])[of] + place,
            text=(np.cumsum(number > 0) - (number > 0))[of],
            shape=(len(lines), width),
            prompts=sizes[head][number > 0],
            starts=begins[number > 0],
        )

    @property
    def texts(self) -> int:
        """R."""
        return len(self.prompts)

    @cached_property
    def own(self) -> Places:
        """(R,) tokens of each response."""
        return np.bincount(self.text[self.part > 0], minlength=self.texts)

    @property
    def longest_text(self) -> int:
        """Tokens of the longest prompt with one response."""
        return int((self.prompts + self.own).max())

    def filled(self, values: Places, fill: int) -> Places:
        """(B, L) values at the tokens' cells, `fill` elsewhere."""
        whole = np.full(self.shape, fill)
        whole.ravel()[self.cell] = values
        return whole

    def of_texts(self) -> Places:
        """(R, W) cells of the tokens of each text, prompt included, 0 where padded."""
        column = np.arange(self.longest_text)
        response = self.part > 0
        found = np.where(column < self.prompts[:, None], self.starts[:, None] + column, 0)
        found[self.text[response], (self.prompt + self.place)[response]] = self.cell[response]
        return found


def _moved(arrays: dict[str, Places], device: torch.device | str) -> dict[str, Tensor]:
    """Arrays as tensors on a device: views of one buffer, so that one copy goes there and nothing waits."""
    flat = torch.from_numpy(np.concatenate([a.ravel() for a in arrays.values()]))
    if torch.device(device).type == "cuda":
        flat = flat.pin_memory()
    parts = flat.to(device, non_blocking=True).split([a.size for a in arrays.values()])
    return {name: part.view(a.shape) for (name, a), part in zip(arrays.items(), parts, strict=True)}


def _check(rows: Sequence[TokenRow]) -> None:
    if not rows:
        raise InputError("rows is empty: lay out at least one row")
    for i, row in enumerate(rows):
        if not row.prompt:
            raise InputError(
                f"prompt of row {i} is empty: nothing predicts the first token of its responses; start it "
                "with a beginning-of-text token"
            )
        if not row.responses or any(not response or response[-1] < 0 for response in row.responses):
            raise InputError(
                f"row {i} has no response or an empty one, or one that ends in a token that is not scored: "
                "give each row at least one token to score, and leave off what follows the last"
            )


def padded_tokens(row: TokenRow, *, share_prompt: bool) -> int:
    """Tokens that a row takes in a tensor: the prompt and all responses, where the prompt is shared.

    Otherwise each response takes a copy of the prompt and as many tokens as the longest response.

    Example:
        >>> row = TokenRow((5, 6), ((7, 8), (9,)))
        >>> padded_tokens(row, share_prompt=True), padded_tokens(row, share_prompt=False)
        (5, 8)
    """
    if share_prompt:
        return len(row.prompt) + sum(map(len, row.responses))
    return len(row.responses) * (len(row.prompt) + max(map(len, row.responses)))


def micro_batches(
    lengths: Sequence[int], *, token_budget: int | None = None, size: int | None = None
) -> list[list[int]]:
    """Split rows into micro-batches of a size, in order, or of a budget of padded tokens, longest first.

    Under a budget, micro-batches are filled in order of falling length (ties in order of index) while count x
    longest stays within it. So rows of similar length come together and there is little padding. Which rows
    are together changes no gradient here, for objectives see the global batch.

    Args:
        lengths: tokens of each row, `padded_tokens`.
        token_budget: padded tokens of a micro-batch, at least the longest row.
        size: rows of a micro-batch.

    Returns:
        Indices into `lengths`, each once.

    Raises:
        InputError: both or neither of `token_budget` and `size`, one below 1, or a row longer than the
            budget.

    Example:
        >>> micro_batches([3, 9, 4, 8], token_budget=18), micro_batches([3, 9, 4, 8], size=3)
        ([[1, 3], [2, 0]], [[0, 1, 2], [3]])
    """
    if (token_budget is None) == (size is None):
        raise InputError("give either token_budget or size, not both: one says how large a micro-batch is")
    if size is not None:
        if size < 1:
            raise InputError(
                f"size must be at least 1, got {size}: it is the number of rows of a micro-batch"
            )
        return [list(range(i, min(i + size, len(lengths)))) for i in range(0, len(lengths), size)]
    assert token_budget is not None
    out: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if lengths[index] > token_budget:
            raise InputError(
                f"token_budget is {token_budget} but row {index} has {lengths[index]} tokens: raise the "
                "budget or truncate the rows"
            )
        if out and (len(out[-1]) + 1) * lengths[out[-1][0]] <= token_budget:
            out[-1].append(index)
        else:
            out.append([index])
    return out
