"""f_dpo_kkt, small: every fit has its certificate."""

from study_kit import failed, rows

from distalign.simulation.studies.f_dpo import f_dpo_kkt as study

PRESET = {"betas": [1.0, 0.1], "problems": 1}


def test_holds():
    found = rows(study.__name__, PRESET)
    assert not failed(study.checks(found))
    assert (study.table(found).unconverged_fits == 0).all()
    assert len(found) == 2 * (len(study.ADMISSIBLE) + 2)
