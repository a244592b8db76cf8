"""Each claim says in which world it is tested, and which claim of the other world predicts the same."""

from dataclasses import replace

from distalign.claims import CLAIMS


def wrong_twins(claims):
    """Claims whose twin does not exist, or is tested in the same world as they are."""
    worlds = {c.slug: c.world for c in claims}
    return [c.slug for c in claims if c.twin and worlds.get(c.twin, c.world) == c.world]


def test_every_twin_exists_in_the_other_world():
    assert wrong_twins(CLAIMS) == []
    assert len([c for c in CLAIMS if c.twin]) >= 6


def test_the_twin_test_can_fail():
    first, second = CLAIMS[:2]
    assert first.world == second.world == "simulation"
    assert wrong_twins((replace(first, twin="no_such_claim"), second)) == [first.slug]
    assert wrong_twins((replace(first, twin=second.slug), second)) == [first.slug]
    other = replace(second, world="language model")
    assert wrong_twins((replace(first, twin=second.slug), other)) == []


def test_no_two_claims_have_the_same_twin():
    twins = [c.twin for c in CLAIMS if c.twin]
    assert len(twins) == len(set(twins))


def test_the_study_lies_where_the_world_says():
    for claim in CLAIMS:
        room = claim.study.split(".")[1]
        assert (
            (room == "bridge") == (claim.world == "language model") == claim.slug.startswith(("lm_", "free_"))
        )
