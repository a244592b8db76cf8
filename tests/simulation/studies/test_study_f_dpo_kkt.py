"""f_dpo_kkt, small: which check sees the planted link, and a wrong oracle."""

from study_kit import failed, rows

from distalign.simulation.studies.f_dpo import f_dpo_kkt as study

PRESET = {"betas": [1.0, 0.1], "problems": 1}


def test_holds():
    found = rows(study.__name__, PRESET)
    assert not failed(study.checks(found))
    assert (study.table(found).unconverged_fits == 0).all()
    assert len(found) == 2 * (len(study.ADMISSIBLE) + 2)


def test_a_wrong_link_fails_the_reward_and_the_fit_but_not_the_solver():
    found = rows(study.__name__, PRESET, control=True)
    assert failed(study.checks(found)) == {
        "beta f'(pi/ref) - r is constant",
        "f-DPO's population minimiser = optimum",
    }


def test_a_wrong_solver_fails_the_first_check(monkeypatch):
    solver = study.regularised_policy
    monkeypatch.setattr(study, "regularised_policy", lambda r, q, beta, f: solver(r, q, 1.01 * beta, f))
    assert "stationarity solver = conic program" in failed(study.checks(rows(study.__name__, PRESET)))
