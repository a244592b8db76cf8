"""KTO, BCO, the group objective, IPO's two conventions, and what objectives declare of themselves."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from objective_batches import classes, gradients, pairs, ratios

from distalign import objectives as o
from distalign.checks import InputError


def test_kto_estimates_its_reference_point_on_the_batch_without_a_gradient():
    high = ratios([3.0, 4.0], [2.0])
    given = partial(o.kto, beta=0.3, kl=3.0)
    assert o.kto(high, beta=0.3).item() == pytest.approx(given(high).item())
    torch.testing.assert_close(gradients(partial(o.kto, beta=0.3), high), gradients(given, high))
    low = ratios([-3.0, -4.0], [-2.0])
    assert o.kto(low, beta=0.3).item() == pytest.approx(o.kto(low, beta=0.3, kl=0.0).item())
    assert o.kto(low, beta=0.3, kl=torch.tensor(1.0)).item() == pytest.approx(
        o.kto(low, beta=0.3, kl=1.0).item()
    )


@pytest.mark.parametrize("loss", [partial(o.kto, beta=0.3, kl=0.2), partial(o.bco, beta=0.3)])
def test_classes_count_by_their_weight(loss):
    """Three chosen and one rejected response weigh 3 to 1, as counts or as masses."""
    rows = ratios([0.4, 0.4, 0.4], [-0.2])
    masses = ratios([0.4], [-0.2], weights=torch.tensor([0.75]), rejected_weights=torch.tensor([0.25]))
    assert loss(rows).item() == pytest.approx(loss(masses).item(), rel=1e-14)
    assert loss(rows).item() != pytest.approx(loss(ratios([0.4], [-0.2])).item(), rel=1e-3)


def test_weights_of_pairs_count_for_both_of_their_responses():
    weights = torch.tensor([3.0, 4.0])
    pairs_only = ratios([0.4, 1.0], [-0.2, 0.1], weights=weights)
    written_out = ratios([0.4, 1.0], [-0.2, 0.1], weights=weights, rejected_weights=weights)
    assert o.kto(pairs_only, beta=0.3, kl=0.0).item() == pytest.approx(
        o.kto(written_out, beta=0.3, kl=0.0).item(), rel=1e-14
    )


def test_bco_ignores_a_common_shift_and_kto_with_a_given_point_does_not():
    batch, moved = ratios([1.0, 0.0], [0.5]), ratios([3.0, 2.0], [2.5])
    assert o.bco(batch, beta=1.0).item() == pytest.approx(o.bco(moved, beta=1.0).item(), rel=1e-14)
    assert o.kto(batch, beta=1.0, kl=0.0).item() != pytest.approx(
        o.kto(moved, beta=1.0, kl=0.0).item(), rel=1e-3
    )


def test_group_gradient_is_one_exponentiated_step_from_the_shares():
    batch = pairs(
        1,
        12,
        groups=torch.tensor([5, 5, 5, 5, 5, 5, 5, 9, 9, 9, -1, -1]),
        weights=torch.arange(1.0, 13.0).double(),
    )
    losses, p = (
        torch.nn.functional.softplus(batch.rejected_ratio - batch.chosen_ratio),
        batch.chosen_frequencies,
    )
    member = torch.stack([batch.groups == g for g in (-1, 5, 9)]).double()
    share = member @ p
    mean = member @ (p * losses) / share
    q = share * (mean / 0.7).exp()
    q = q / q.sum()
    expected = ((q / share) @ member) * p * torch.expm1(-losses)
    by_chosen, _ = gradients(partial(o.group_dpo, beta=1.0, temperature=0.7), batch)
    torch.testing.assert_close(by_chosen, expected)


def test_a_group_without_weight_has_no_influence():
    groups, weights = torch.tensor([0, 0, 1, 2]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    batch = ratios([1.0, 0.0, -1.0, -50.0], [0.0] * 4, groups=groups, weights=weights)
    rest = ratios([1.0, 0.0, -1.0], [0.0] * 3, groups=groups[:3])
    loss = partial(o.group_dpo, beta=1.0, temperature=0.1)
    assert loss(batch).item() == pytest.approx(loss(rest).item(), rel=1e-14)
    assert torch.isfinite(torch.cat(gradients(loss, batch))).all()


def test_the_two_ipos_differ_by_length():
    batch = pairs(2, 4, chosen_tokens=torch.full((4,), 10), rejected_tokens=torch.full((4,), 10))
    scaled = ratios(batch.chosen_ratio / 10, batch.rejected_ratio / 10)
    assert o.ipo_per_token(batch, beta=0.1).item() == pytest.approx(o.ipo(scaled, beta=0.1).item(), rel=1e-14)
    assert o.ipo_per_token(batch, beta=0.1).item() != pytest.approx(o.ipo(batch, beta=0.1).item(), rel=1e-2)


def test_every_objective_declares_and_partials_are_looked_through():
    for name in o.names():
        assert isinstance(o.declared(getattr(o, name)), o.Declared)
    looked_through = o.declared(partial(partial(o.kldpo, beta=1.0), radius=0.1))
    assert (looked_through.data, looked_through.coupling) == ("pairs", "batch")
    assert o.declared(o.group_dpo).needs == ("groups",)

    def plain(batch):
        return batch

    with pytest.raises(InputError, match=r"plain declares neither .* put @distalign\.objectives\.objective"):
        o.declared(plain)


def test_own_objectives_are_declared_by_the_decorator_and_keep_their_name():
    @o.objective(data="pairs", coupling="pair")
    def exponential(batch, *, beta=1.0):
        """Boosting."""
        return (batch.chosen_frequencies * (-beta * (batch.chosen_ratio - batch.rejected_ratio)).exp()).sum()

    assert exponential(ratios([0.0], [0.0])).item() == 1
    assert (exponential.__name__, exponential.__doc__) == ("exponential", "Boosting.")
    with pytest.raises(
        InputError, match="exponential compares pairs but got 1 chosen and 2 rejected responses"
    ):
        exponential(ratios([0.0], [0.0, 1.0]))


def test_pairwise_objectives_point_unpaired_data_to_others():
    with pytest.raises(InputError, match=r"use an objective for unpaired data \(aot_unpaired"):
        o.dpo(classes(3, 2, 3), beta=0.1)
