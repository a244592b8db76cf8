"""How far real preferences must move: a case known by hand, two roads, and what theory says of shrinking."""

import numpy as np
import pandas as pd
import pytest

from analysis import real_shift


def test_one_pair_by_hand():
    """DPO of a pair won with chance 0.9: the label must lose with chance 0.2714 (`kl_break_even`)."""
    found = real_shift.measures(np.array([[0.5, 0.9], [0.1, 0.5]]), np.ones((2, 2)))
    assert found["radius"] == pytest.approx(0.1124, abs=1e-4)
    assert found["loss"] == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1))


def test_two_roads_and_the_theory_of_shrinking():
    """The worst law in the ball has the reference's loss; half of DPO withstands about 2.25 times as much."""
    rows = pd.read_csv(real_shift.TABLE).dropna(subset="radius")
    assert len(rows) == 27
    assert rows.worst_loss_there.to_numpy() == pytest.approx(np.log(2), abs=1e-9)
    weak = rows[rows.data == "Polis"]  # (2 - c)^2 times the radius of DPO, where preferences are weak
    assert (weak.radius_half / weak.radius).to_numpy() == pytest.approx(1.5**2, rel=0.01)
    assert (weak.radius_least / weak.radius).to_numpy() == pytest.approx(1.99**2, rel=0.01)
    assert (rows.radius_half / rows.radius).to_numpy() == pytest.approx(1.5**2, rel=0.04)
    assert (rows.loss < np.log(2)).all()


def test_a_group_that_judges_alone(tmp_path):
    """Its law lies apart from that of everyone, and the law of everyone is the mean of its groups'."""
    votes = {str(i): [1, 1, -1, -1, 1] if i % 2 else [-1, -1, 1, 1, -1] for i in range(12)}
    people = pd.DataFrame({"participant": range(5), "group-id": [0, 0, 1, 1, 1], **votes})
    people.to_csv(tmp_path / "participants-votes.csv", index=False)
    agrees = [sum(vote == 1 for vote in votes[str(i)]) for i in range(12)]
    statements = pd.DataFrame(
        {"comment-id": range(12), "comment-body": [f"statement {i}" for i in range(12)]}
    )
    statements.assign(agrees=agrees, disagrees=5 - np.array(agrees)).to_csv(
        tmp_path / "comments.csv", index=False
    )
    everyone, one, other = real_shift.of_groups(tmp_path)
    assert [one["people"], other["people"]] == [2, 3]
    assert one["loss"] == pytest.approx((5 * everyone["loss"] - 3 * other["loss"]) / 2)
    assert min(one["moved"], other["moved"]) > 0.05
