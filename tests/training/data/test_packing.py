"""Layouts say where every token went; micro-batches hold every row once and stay within their budget."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distalign.checks import InputError
from distalign.training.data.packing import layout, micro_batches, padded_tokens
from distalign.training.data.rows import TokenRow, token_ids, unscored
from distalign.training.model.scorer import Scorer
from distalign.training.model.shared_prompt import visible
from tests.training.tiny import tiny_llama

ROWS = [TokenRow((1, 2, 3), ((4, 5), (6,), (7, 8, 9))), TokenRow((10,), ((11, 12),))]


def test_shared_row_by_hand():
    laid = layout(ROWS, share_prompt=True)
    assert laid.ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 0, 0, 0, 0, 0, 0]]
    assert laid.positions.tolist() == [[0, 1, 2, 3, 4, 3, 3, 4, 5], [0, 1, 2, 0, 0, 0, 0, 0, 0]]
    assert laid.segments.tolist() == [[0, 0, 0, 1, 1, 2, 3, 3, 3], [0, 1, 1, -1, -1, -1, -1, -1, -1]]
    assert laid.texts.tolist() == [
        [0, 1, 2, 3, 4, 0],
        [0, 1, 2, 5, 0, 0],
        [0, 1, 2, 6, 7, 8],
        [9, 10, 11, 0, 0, 0],
    ]
    assert laid.sources.tolist() == [2, 3, 2, 2, 6, 7, 9, 10]
    assert laid.targets.tolist() == [4, 5, 6, 7, 8, 9, 11, 12]
    assert laid.lengths.tolist() == [2, 1, 3, 2]
    assert laid.rows.tolist() == [0, 1]
    assert (laid.longest, laid.longest_text) == (3, 6)


def test_rows_apart_by_hand():
    laid = layout(ROWS, share_prompt=False)
    assert laid.ids.tolist() == [
        [1, 2, 3, 4, 5, 0],
        [1, 2, 3, 6, 0, 0],
        [1, 2, 3, 7, 8, 9],
        [10, 11, 12, 0, 0, 0],
    ]
    assert laid.positions is None
    assert laid.segments is None
    assert laid.texts is None
    assert laid.sources.tolist() == [2, 3, 8, 14, 15, 16, 18, 19]
    assert laid.rows.tolist() == [0, 0, 0, 1]


def test_nothing_to_share_is_laid_out_plainly():
    assert layout(ROWS[1:], share_prompt=True).segments is None


def test_sums_by_response():
    laid = layout(ROWS, share_prompt=True)
    assert laid.sums(torch.tensor([1.0, 2, 4, 8, 16, 32, 64, 128])).tolist() == [3, 4, 56, 192]


def test_a_query_sees_its_prompt_and_its_own_past_only():
    laid = layout(ROWS, share_prompt=True)
    seen = visible(laid.segments)[:, 0]
    for k, text in enumerate(laid.texts.tolist()[:3], 1):
        own = text[: 3 + len(ROWS[0].responses[k - 1])]
        for i, query in enumerate(own):
            if query >= 3:
                assert seen[0, query].nonzero().flatten().tolist() == own[: i + 1]
    assert seen.any(2).all()  # padding included: nobody sees nothing


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([], "rows is empty"),
        ([TokenRow((), ((1,),))], "prompt of row 0"),
        ([TokenRow((1,), ())], "row 0 has no response"),
        ([ROWS[0], TokenRow((1,), ((1,), ()))], "row 1 has no response"),
    ],
)
def test_empty_things_are_named(rows, word):
    with pytest.raises(InputError, match=word):
        layout(rows, share_prompt=True)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(50, 200))
def test_micro_batches_hold_each_row_once_within_budget(lengths, budget):
    parts = micro_batches(lengths, token_budget=budget)
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    assert all(len(part) * max(lengths[i] for i in part) <= budget for part in parts)
    for part, later in pairwise(parts):  # none could have taken the next row
        assert (len(part) + 1) * lengths[part[0]] > budget or lengths[later[0]] > lengths[part[0]]


def test_budget_counts_what_a_layout_holds():
    for share in (True, False):
        laid = layout([ROWS[0]] * 3, share_prompt=share)
        assert laid.ids.numel() == 3 * padded_tokens(ROWS[0], share_prompt=share)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "either"),
        ({"token_budget": 9, "size": 1}, "either"),
        ({"size": 0}, "at least 1"),
        ({"token_budget": 4}, "row 1"),
    ],
)
def test_micro_batches_refuse(options, word):
    with pytest.raises(InputError, match=word):
        micro_batches([1, 5], **options)


# -- tokens that are read but not scored --

PARTLY = [TokenRow((1, 2, 3), ((4, *unscored((5, 6)), 7), (8, 9))), TokenRow((3,), ((*unscored((9,)), 4),))]


def test_unscored_tokens_are_read_and_are_no_targets():
    laid = layout(PARTLY, share_prompt=True)
    assert laid.ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 9, 4, 0, 0, 0, 0, 0, 0]]
    assert laid.sources.tolist() == [2, 5, 2, 7, 10]
    assert laid.targets.tolist() == [4, 7, 8, 9, 4]
    assert laid.lengths.tolist() == [2, 2, 1]
    assert laid.sums(torch.tensor([1.0, 2, 4, 8, 16])).tolist() == [3, 12, 16]


@pytest.mark.parametrize("share", [True, False])
def test_the_score_leaves_out_just_the_tokens_that_are_not_scored(share):
    """Against the model's own logits of each whole text."""
    model = tiny_llama().double()
    with torch.no_grad():
        scores = Scorer(model, share_prompt=share)(layout(PARTLY, share_prompt=share))
        texts = [(row.prompt, response) for row in PARTLY for response in row.responses]
        for (prompt, response), score in zip(texts, scores, strict=True):
            text = torch.tensor([[*prompt, *token_ids(response)]])
            each = model(input_ids=text).logits.log_softmax(-1)[0, :-1].gather(1, text[0, 1:, None])[:, 0]
            counted = torch.tensor([token >= 0 for token in response])
            assert float(score) == pytest.approx(float(each[len(prompt) - 1 :][counted].sum()), abs=1e-9)


def test_a_response_that_ends_in_an_unscored_token_is_refused():
    for response in (unscored((2,)), (3, *unscored((2,)))):
        with pytest.raises(InputError, match="ends in a token that is not scored"):
            layout([TokenRow((1,), (response,))], share_prompt=True)


# -- any rows --

WORD = st.integers(0, 9)
RESPONSE = st.builds(
    lambda body, end: (*(~t if hidden else t for t, hidden in body), end),
    st.lists(st.tuples(WORD, st.booleans()), max_size=5),
    WORD,
)
SOME = st.lists(
    st.builds(
        TokenRow,
        st.lists(WORD, min_size=1, max_size=4).map(tuple),
        st.lists(RESPONSE, min_size=1, max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=4,
)


@given(SOME, st.booleans())
def test_any_rows_read_back_from_their_layout(rows, share):
    laid = layout(rows, share_prompt=share)
    flat, responses = laid.ids.flatten(), [(row, one) for row in rows for one in row.responses]
    targets, sources = (x.split(laid.lengths.tolist()) for x in (laid.targets, laid.sources))
    for i, (row, response) in enumerate(responses):
        text = [*row.prompt, *token_ids(response)]
        scored = [len(row.prompt) + j for j, token in enumerate(response) if token >= 0]
        assert targets[i].tolist() == [text[j] for j in scored]
        assert flat[sources[i]].tolist() == [text[j - 1] for j in scored]
        if laid.texts is None:
            assert laid.ids[i, : len(text)].tolist() == text
            assert not laid.ids[i, len(text) :].any()
            continue
        places = laid.texts[i, : len(text)]
        assert flat[places].tolist() == text
        assert laid.positions.flatten()[places].tolist() == list(range(len(text)))
        number = 1 + sum(before is row for before, _ in responses[:i])
        assert laid.segments.flatten()[places[len(row.prompt) :]].unique().tolist() == [number]
        assert sources[i].tolist() == [int(places[j - 1]) for j in scored]
    assert laid.sums(torch.ones(len(laid.targets))).tolist() == laid.lengths.tolist()
