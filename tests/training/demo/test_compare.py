"""Objectives at one distance from the reference: where a path is read, and whom a policy serves."""

import pytest
import torch

from distalign.checks import InputError
from distalign.training.data.votes import VotedPair
from distalign.training.demo.compare import accuracy_by_voters, voters
from distalign.training.demo.trajectories import Trajectory, at_distance, distance

PROMPTS = [0, 0, 1]
REFERENCE = (torch.tensor([-5.0, -6.0, -7.0]), torch.tensor([-5.5, -6.5, -4.0]))
MOVE = (torch.tensor([1.0, 0.5, 2.0]), torch.tensor([-1.0, 0.0, -2.0]))


def moved(share):
    return tuple(r + share * m for r, m in zip(REFERENCE, MOVE))


TRAJECTORY = Trajectory("dpo", (0, 3, 6), (REFERENCE, moved(0.25), moved(1.0)))


def test_spread_is_quadratic_and_blind_to_what_a_prompt_shares():
    assert distance(moved(2.0), REFERENCE, PROMPTS) == pytest.approx(
        4 * distance(moved(1.0), REFERENCE, PROMPTS)
    )
    shifts = torch.tensor([3.0, 3.0, -8.0])  # by prompt: no law over the responses of one prompt changes
    shifted = tuple(s + shifts for s in moved(1.0))
    assert distance(shifted, REFERENCE, PROMPTS) == pytest.approx(distance(moved(1.0), REFERENCE, PROMPTS))
    assert distance(shifted, REFERENCE, [0, 0, 0]) > 2 * distance(
        moved(1.0), REFERENCE, PROMPTS
    )  # the control


@pytest.mark.parametrize("share", [0.1, 0.25, 0.6, 1.0])
def test_a_path_is_read_where_it_reaches_the_target(share):
    target = distance(moved(share), REFERENCE, PROMPTS) * (1 - 1e-12)
    updates, scores = at_distance(TRAJECTORY, PROMPTS, target)
    assert torch.allclose(scores[0], moved(share)[0], atol=1e-5)
    assert updates == pytest.approx(
        3 * share / 0.25 if share <= 0.25 else 3 + 3 * (share - 0.25) / 0.75, abs=1e-3
    )


def test_a_target_out_of_reach_is_said():
    with pytest.raises(InputError, match=r"dpo does not get .* lower the target"):
        at_distance(TRAJECTORY, PROMPTS, 10.0)


def pair(user, chosen, rejected):
    return VotedPair("?", chosen, rejected, 1.0, "debate", user)


def test_voters_are_split_by_their_taste_for_length():
    votes = [pair("ann", "long one", "short") for _ in range(6)] + [
        pair("bob", "short", "long one") for _ in range(6)
    ]
    votes += [pair("eve", "long one", "short")] * 4  # too few votes
    assert voters(votes) == {"ann": True, "bob": False}
    ratio = {("?", "long one"): 0.4, ("?", "short"): -0.1}
    found = accuracy_by_voters([*votes, pair("ann", "unknown", "short")], voters(votes), ratio)
    assert found == {"votes_longer_half": 1.0, "votes_other_half": 0.0, "votes": 12.0}
    flipped = {key: -value for key, value in ratio.items()}
    assert accuracy_by_voters(votes, voters(votes), flipped)["votes_longer_half"] == 0.0


def test_an_argument_of_the_same_length_is_not_the_longer_one():
    votes = [pair("ann", "long one", "short")] * 4 + [pair("ann", "short", "long one")] * 2
    votes += [pair("bob", "long one", "short")] * 3 + [pair("bob", "short", "other")] * 3
    assert voters(votes) == {"ann": True, "bob": False}  # 2/3 and 1/2 of their votes
