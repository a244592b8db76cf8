"""Hard labels of a writer: layouts without loops, labels by the chances of their pairs, the stopping rule."""

from dataclasses import fields
from functools import partial

import numpy as np
import pytest
import torch

from distalign.bridge.generation.labelled import label_batch, labelled, train_on_labels
from distalign.bridge.generation.writer import Texts, tiny_writer
from distalign.checks import InputError
from distalign.objectives import ddro, dpo


@pytest.fixture(scope="module")
def written():
    writer = tiny_writer(0, prompts=2)
    texts = writer.draw(40, torch.Generator().manual_seed(1))
    return writer, texts, writer.log_prob(texts)


def even(chance):
    return lambda part: np.full((2, 2, 2), [[0.5, chance], [1 - chance, 0.5]])


def test_layout_is_that_of_the_scorer(written):
    writer, texts, _ = written
    quick, slow = writer.layout(texts), writer.scorer.layout(texts.rows(writer.prompts))
    for field in fields(slow):
        mine, theirs = getattr(quick, field.name), getattr(slow, field.name)
        assert torch.equal(mine, theirs) if isinstance(theirs, torch.Tensor) else mine == theirs, field.name


def test_labels_have_the_chances_of_their_pairs(written):
    _, texts, reference = written
    certain = labelled(texts, reference, even(1.0), np.random.default_rng(0))
    assert (certain.chosen.tokens == texts[:, ::2].tokens).all()
    assert (certain.ref_rejected == reference[:, 1::2]).all()
    many = Texts(np.tile(texts.tokens, (1, 50, 1)))
    coins = labelled(many, np.tile(reference, (1, 50)), even(0.8), np.random.default_rng(0))
    first = np.tile(reference, (1, 50))[:, ::2]
    assert (coins.ref_chosen == first).mean() == pytest.approx(0.8, abs=0.04)


def test_a_batch_scores_each_text_where_its_pair_is(written):
    writer, texts, reference = written
    batch = label_batch(writer, labelled(texts, reference, even(0.5), np.random.default_rng(0)))
    assert batch.chosen_ratio.abs().max() < 1e-5
    assert batch.rejected_ratio.abs().max() < 1e-5


def test_training_ends_at_the_lowest_held_out_loss(written):
    writer, texts, reference = written
    labels = labelled(texts, reference, even(1.0), np.random.default_rng(0))
    settings = {"batch": 8, "steps": 30, "every": 2, "pace": 10.0}
    run = train_on_labels(writer, partial(dpo, beta=1.0), labels, np.random.default_rng(0), **settings)
    kept = label_batch(writer, labels.at(np.arange(0, len(labels), 5)))
    lowest = dpo(kept, beta=1.0).item()
    assert lowest <= np.log(2) + 1e-6
    assert not run.failed
    assert run.update < 30  # random texts with labels that no score explains are soon memorised
    assert run.update == 0 or lowest < np.log(2)


def test_a_loss_outside_its_domain_fails_the_run(written):
    writer, texts, reference = written
    labels = labelled(texts, reference, even(0.5), np.random.default_rng(0))
    loose = partial(ddro, prior=0.5, stabiliser="none")
    settings = {"batch": 8, "steps": 40, "every": 5, "pace": 50.0}
    assert train_on_labels(writer, loose, labels, np.random.default_rng(0), **settings).failed


def test_bad_input_is_refused(written):
    writer, texts, reference = written
    with pytest.raises(InputError, match="even number"):
        labelled(texts[:, :3], reference[:, :3], even(0.5), np.random.default_rng(0))
    few = labelled(texts[:, :4], reference[:, :4], even(0.5), np.random.default_rng(0))
    with pytest.raises(InputError, match="at least 5"):
        train_on_labels(
            writer, partial(dpo, beta=1.0), few, np.random.default_rng(0), batch=1, steps=1, every=1
        )
