"""Balls and games agree with roads of their own, which see small mistakes (`certificates` has thousands)."""

import pytest

from tests.robustness import certificates


def test_a_sample_of_balls_and_games_is_certified():
    rows = list(certificates.rows(200, seed=1))
    assert len(rows) == 7
    assert [row for row in rows if row["verdict"] != "certified"] == []


BALLS = {
    "kl_worst_case": "kl",
    "chi2_worst_case": "chi2",
    "cvar_worst_case": "cvar",
    "total_variation_worst_case": "total variation",
}


@pytest.mark.parametrize("name", BALLS)
@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_a_radius_one_in_a_hundred_off_is_seen(name, factor, monkeypatch):
    right = getattr(certificates, name)
    monkeypatch.setattr(certificates, name, lambda v, p, radius: right(v, p, min(factor * radius, 0.999)))
    assert max(fault for kind, fault in certificates.balls(50, 0) if kind == BALLS[name]) > 1e-4


def test_another_cost_and_another_budget_are_seen(monkeypatch):
    ball, game = certificates.wasserstein_worst_case, certificates.kl_nlhf
    monkeypatch.setattr(
        certificates, "wasserstein_worst_case", lambda v, p, cost, **how: ball(v, p, 1.01 * cost, **how)
    )
    monkeypatch.setattr(
        certificates, "kl_nlhf", lambda win, reference, budget: game(win, reference, 0.99 * budget)
    )
    assert max(fault for kind, fault in certificates.balls(50, 0) if kind == "wasserstein") > 1e-4
    assert max(fault for kind, fault in certificates.games(50, 0) if kind != "lottery") > 1e-5
