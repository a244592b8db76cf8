"""Quick plants as few defects as its checks need, and the others where these are not enough."""

import pytest

from analysis import controls
from distalign.claims import CLAIMS, claims
from distalign.simulation import ledger, sweep
from distalign.simulation.committed import committed_defects

CLAIM = claims(("aot_penalties",))[0]


def test_the_chosen_defects_fail_every_check_and_none_is_needless():
    few = committed_defects()
    assert list(few) == [c.slug for c in CLAIMS]
    for slug, there in controls.committed_controls().groupby("slug"):
        table = controls.fails(there)
        chosen = table[[d for d in table.columns if d in few[slug]]]
        assert set(chosen.columns) == few[slug]
        assert (chosen.any(axis=1) == table.any(axis=1)).all()
        for text in chosen.columns:
            assert not (chosen.drop(columns=text).any(axis=1) == table.any(axis=1)).all(), (slug, text)


def test_only_quick_leaves_defects_out():
    few = committed_defects()[CLAIM.slug]
    quick, full = (ledger.plan((CLAIM,), preset, 0)[CLAIM.slug] for preset in ("quick", "full"))
    assert set(quick.controls) == {"", *few}
    assert few < set(full.controls)
    assert not full.spare
    assert set(quick.spare) == set(full.controls) - set(quick.controls)
    assert not {c.defect for c in quick.all} & set(quick.spare)


@pytest.mark.parametrize("named", ["one defect", "no claim"])
def test_a_check_that_fails_on_no_chosen_defect_has_the_others_planted(named, tmp_path, monkeypatch):
    slug = "aot_dual"
    claim = claims((slug,))[0]
    every = list(ledger.plan((claim,), "full", 0)[slug].controls)
    few = {slug: {every[1]}} if named == "one defect" else {}
    monkeypatch.setattr(ledger, "committed_defects", lambda: few)
    plan = ledger.plan((claim,), "quick", 0)[slug]
    assert list(plan.controls) == (every[:2] if few else every)
    sweep.run(plan.all, tmp_path)
    found = ledger.entry(claim, plan, tmp_path)
    assert list(found.controls) == every
    assert found.as_expected
