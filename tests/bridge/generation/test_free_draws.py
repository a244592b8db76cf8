"""Texts that `distalign generate` draws follow the enumerated law, and become tables only if they do."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from distalign.bridge import generation as free
from distalign.checks import InputError
from distalign.training.evaluation.generate import generate
from distalign.training.evaluation.samples import read_samples
from distalign.training.model.scorer import Scorer
from tests.bridge.generation.enumerable import END, LONGEST, PROMPTS, RESPONSES, causal_model, reference

COUNT = 2000


class Characters:
    """A tokenizer of four tokens."""

    pad_token_id = eos_token_id = END

    def decode(self, tokens, skip_special_tokens=True):
        return "".join("_abc"[t] for t in tokens if t != END or not skip_special_tokens)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def drawn(temperature=1.0, out=None, prompts=PROMPTS[:2], count=COUNT):
    return generate(
        Scorer(causal_model(0)),
        Characters(),
        prompts,
        samples_per_prompt=count,
        temperature=temperature,
        max_new_tokens=LONGEST,
        batch_size=1,
        out=out,
    )


def p_value(samples):
    """That the first prompt's texts are draws of the enumerated law, rare responses pooled."""
    counts = Counter(row.response_tokens for row in samples.rows if row.prompt_index == 0)
    law = np.exp(reference()[0]) / np.exp(reference()[0]).sum()
    common = law * COUNT >= 5
    seen = np.array([counts[y] for y in RESPONSES])
    assert seen.sum() == COUNT
    pooled = [np.append(x[common], x[~common].sum()) for x in (seen, law * COUNT)]
    return chisquare(*pooled).pvalue


@pytest.mark.filterwarnings("ignore:.*cut at the largest length")
def test_texts_follow_the_law_that_the_scorer_finds():
    samples = drawn()
    assert p_value(samples) > 1e-3
    table = free.draws_of(samples)
    place = {y: k for k, y in enumerate(RESPONSES)}
    true = [reference()[row.prompt_index, place[row.response_tokens]] for row in samples.rows]
    np.testing.assert_allclose(table.log_prob.ravel(), true, atol=1e-5)
    assert table.prompts == (0, 1)
    assert len(table.texts[1]) == COUNT
    assert table.cut == np.mean([len(row.response) == LONGEST for row in samples.rows])


def test_another_temperature_is_seen_and_refused():
    samples = drawn(0.7)
    assert p_value(samples) < 1e-6
    with pytest.raises(InputError, match=r"temperature 0\.7 and top_p 1, which is another policy"):
        free.draws_of(samples)


def test_an_interrupted_run_goes_on_with_the_same_texts(tmp_path):
    whole = drawn(out=tmp_path / "whole.jsonl", prompts=PROMPTS[:3], count=5)
    lines = (tmp_path / "whole.jsonl").read_text().splitlines()
    head = lines[0][: lines[0].index('"sha256"')].rstrip(", ") + "}"  # the digest is of all lines
    (tmp_path / "cut.jsonl").write_text("\n".join([head, *lines[1:8]]) + "\n")
    assert drawn(out=tmp_path / "cut.jsonl", prompts=PROMPTS[:3], count=5).rows == whole.rows
    assert read_samples(tmp_path / "cut.jsonl").rows == whole.rows


def test_tables_that_cannot_be_used_are_refused():
    samples = drawn(prompts=PROMPTS[:2], count=4)
    with pytest.raises(InputError, match="between 3 and 4 texts"):
        free.draws_of(replace(samples, rows=samples.rows[1:]))
    with pytest.raises(InputError, match="no log-probabilities"):
        free.draws_of(replace(samples, rows=tuple(replace(row, log_prob=None) for row in samples.rows)))
    with pytest.raises(InputError, match="empty"):
        free.draws_of(replace(samples, rows=()))
    unfinished = replace(samples, rows=tuple(replace(row, finished=False) for row in samples.rows))
    with pytest.warns(UserWarning, match="100% of the texts were cut"):
        free.draws_of(unfinished)
