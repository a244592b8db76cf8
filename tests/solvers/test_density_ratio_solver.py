"""The exact ratio solvers against Newton on the torch objectives, a cone program, and sparse data."""

from functools import partial

import cvxpy as cp
import numpy as np
import pytest

from distalign import InputError
from distalign.objectives import ddro, rdro
from distalign.policies import Tabular
from distalign.populations import Law, Thumbs, consistency_populations
from distalign.simulation.fit import fit
from distalign.solvers.density_ratio import ddro_policy, rdro_policy


def frequencies(law):
    return [w / w.sum(-1, keepdims=True) for w in (law.weights, law.rejected_weights)]


@pytest.fixture(scope="module")
def thumbs():
    rng = np.random.default_rng(0)
    return Thumbs(rng.uniform(0.1, 0.8, (1, 8)), rng.dirichlet(np.full(8, 3.0))[None], np.ones(1))


@pytest.mark.parametrize("name", consistency_populations())
def test_exact_laws_give_the_preferred_law(name):
    population = consistency_populations()[name]
    up, down, ref = population.preferred[0], population.dispreferred[0], population.reference[0]
    for found in (rdro_policy(up, down, ref, alpha=0.5), ddro_policy(up, down, ref, prior=0.5)):
        np.testing.assert_allclose(found.policy, up, atol=1e-13)
        assert found.solved
        assert abs(found.multiplier) < 1e-12


def test_an_alpha_that_is_not_the_prior_is_biased(thumbs):
    up, down, ref = thumbs.preferred[0], thumbs.dispreferred[0], thumbs.reference[0]
    for found in (
        rdro_policy(up, down, ref, alpha=thumbs.prior + 0.2),
        ddro_policy(up, down, ref, prior=thumbs.prior - 0.1),
    ):
        assert np.abs(found.policy - up).sum() > 0.02


def test_rdro_is_the_minimiser_of_the_torch_objective(thumbs):
    law = thumbs.sample(800, np.random.default_rng(1), replicates=20)
    kept = (law.weights > 0).all(1)  # else the minimiser has a probability of 0, out of reach of logits
    law = Law(law.chosen, law.rejected, law.weights[kept], law.rejected_weights[kept])
    found = rdro_policy(*frequencies(law), thumbs.reference[0], alpha=0.4)
    slow = fit(Tabular(thumbs.reference), partial(rdro, alpha=0.4), law)
    assert kept.sum() >= 10
    assert slow.converged.all()
    assert found.solved.all()
    np.testing.assert_allclose(found.policy, slow.probs[:, 0], atol=1e-8)


def test_ddro_inside_its_domain_is_the_minimiser_of_the_torch_objective(thumbs):
    law = thumbs.sample(3000, np.random.default_rng(2), replicates=20)
    found = ddro_policy(*frequencies(law), thumbs.reference[0], prior=0.4)
    slow = fit(Tabular(thumbs.reference), partial(ddro, prior=0.4), law)
    inside = (found.policy / thumbs.reference[0]).max(1) < 0.99 / 0.4
    assert inside.sum() >= 10
    assert slow.converged[inside].all()
    np.testing.assert_allclose(found.policy[inside], slow.probs[inside, 0], atol=1e-8)


def sparse(replicates, chosen, rejected):
    rng = np.random.default_rng(3)
    ref = rng.dirichlet(np.full(8, 1.0))
    up, down = rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(8))
    return (
        rng.multinomial(chosen, up, replicates) / chosen,
        rng.multinomial(rejected, down, replicates) / rejected,
        ref,
    )


def test_ddro_on_sparse_data_is_the_optimum_of_the_convex_program():
    """Responses never rejected, never chosen and never seen: the walls 0 and 1/t are active."""
    up, down, ref = sparse(8, 6, 5)
    t = 0.45
    found = ddro_policy(up, down, ref, prior=t)
    assert found.solved.all()
    rho = found.policy / ref
    assert rho.max() <= 1 / t + 1e-9
    assert (rho > 1 / t - 1e-9).any()
    for a, b, ours in zip(up, down, rho, strict=True):
        x = cp.Variable(8, nonneg=True)
        seen, lost = a > 0, b > 0
        loss = -t * a[seen] @ cp.log(x[seen]) - (1 - t) * b[lost] @ cp.log(1 - t * x[lost])
        cp.Problem(cp.Minimize(loss), [x <= 1 / t, ref @ x == 1]).solve(solver=cp.CLARABEL)
        value = -t * a[seen] @ np.log(ours[seen]) - (1 - t) * b[lost] @ np.log(1 - t * ours[lost])
        assert value <= loss.value + 1e-7
        assert ours @ ref == pytest.approx(1)


def test_rdro_on_sparse_data_is_stationary_or_says_so():
    up, down, ref = sparse(300, 4, 60)
    found = rdro_policy(up, down, ref, alpha=0.4)
    np.testing.assert_allclose(found.policy.sum(1), 1, atol=1e-12)
    assert found.solved.any()
    rho = found.policy / ref
    m = 0.4 * up + 0.6 * down
    mu = found.multiplier[:, None]
    residual = mu * ref * rho**2 + (m + mu * ref) * rho - up
    seen = (up + down > 0) & found.solved[:, None]
    assert np.abs(residual[seen & (up > 0)]).max() < 1e-10
    assert (rho[seen & (up == 0)] == 0).all()
    plug_in = np.where(up > 0, ref * up / np.where(m > 0, m, 1), 0)
    failed = ~found.solved
    assert failed.any()
    np.testing.assert_allclose(found.policy[failed], (plug_in / plug_in.sum(1, keepdims=True))[failed])


def test_mass_left_over_goes_to_unseen_responses():
    """Chosen and rejected alike at one response of mass 1/2: its ratio is 1/m = 1, the other half stays
    unseen.
    """
    found = rdro_policy([1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.3, 0.2], alpha=0.3)
    np.testing.assert_allclose(found.policy, [0.5, 0.3, 0.2])
    assert found.solved


def test_leading_axes_are_independent(thumbs):
    up, down = frequencies(thumbs.sample(200, np.random.default_rng(4), replicates=6))
    ref = thumbs.reference[0]
    batch = rdro_policy(up.reshape(2, 3, 8), down.reshape(2, 3, 8), ref, alpha=0.3)
    alone = [rdro_policy(a, b, ref, alpha=0.3).policy for a, b in zip(up, down, strict=True)]
    np.testing.assert_allclose(batch.policy.reshape(6, 8), alone, atol=1e-15)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_batch_mean_is_the_minimiser_of_the_torch_objective(thumbs, share):
    law = thumbs.law()
    law = Law(
        law.chosen,
        law.rejected,
        share * law.weights / law.weights.sum(),
        (1 - share) * law.rejected_weights / law.rejected_weights.sum(),
    )
    found = rdro_policy(*frequencies(law), thumbs.reference[0], alpha=0.4, share=share)
    slow = fit(Tabular(thumbs.reference), partial(rdro, alpha=0.4, reduction="batch_mean"), law)
    assert slow.converged
    assert found.solved
    np.testing.assert_allclose(found.policy, slow.probs[0], atol=1e-8)
    assert np.abs(found.policy - thumbs.preferred[0]).sum() > 0.03


def test_a_share_for_each_data_set(thumbs):
    up, down, ref = thumbs.preferred[0], thumbs.dispreferred[0], thumbs.reference[0]
    alphas, shares = np.array([0.3, 0.5]), np.array([0.4, 0.5])
    for fitted in (
        lambda t, a: rdro_policy(up, down, ref, alpha=t, share=a),
        lambda t, a: ddro_policy(up, down, ref, prior=t),
    ):
        one_by_one = [fitted(t, a).policy for t, a in zip(alphas, shares, strict=True)]
        np.testing.assert_allclose(fitted(alphas, shares).policy, one_by_one, atol=1e-14)


def test_without_the_wall_ddro_leaves_its_domain_at_responses_never_rejected():
    """The convex program with the wall only where a response was rejected; the restricted law where all
    were.
    """
    up, down, ref = sparse(8, 6, 5)
    t = 0.45
    found = ddro_policy(up, down, ref, prior=t, domain="rejected")
    assert found.solved.all()
    assert (found.policy / ref)[down > 0].max() <= 1 / t + 1e-9
    assert (found.policy / ref).max() > 1.5 / t
    for a, b, ours in zip(up, down, found.policy / ref, strict=True):
        x = cp.Variable(8, nonneg=True)
        seen, lost = a > 0, b > 0
        loss = -t * a[seen] @ cp.log(x[seen]) - (1 - t) * b[lost] @ cp.log(1 - t * x[lost])
        cp.Problem(cp.Minimize(loss), [ref @ x == 1]).solve(solver=cp.CLARABEL)
        value = -t * a[seen] @ np.log(ours[seen]) - (1 - t) * b[lost] @ np.log(1 - t * ours[lost])
        assert value <= loss.value + 1e-7
        assert ours @ ref == pytest.approx(1)
    dense = [(x + 0.1) / (x + 0.1).sum(-1, keepdims=True) for x in (up, down)]
    both = [ddro_policy(*dense, ref, prior=t, domain=d).policy for d in ("everywhere", "rejected")]
    np.testing.assert_allclose(*both, atol=1e-12)


@pytest.mark.parametrize("domain", ["everywhere", "rejected"])
def test_mass_left_over_by_seen_responses(domain):
    """Nothing seen at half of the mass: the rest goes there, wall or no wall."""
    found = ddro_policy(
        [0.5, 0.5, 0.0, 0.0], [0.6, 0.4, 0.0, 0.0], [0.2, 0.2, 0.3, 0.3], prior=0.4, domain=domain
    ).policy
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"alpha": [0.5, 0.0]}, "alpha must lie strictly"),
        ({"share": 1.0}, "share must lie strictly"),
        ({"chosen": [np.nan, 1.0]}, "chosen must be"),
        ({"alpha": 1.0}, "must lie strictly between 0 and 1"),
        ({"chosen": [0.4, 0.4]}, "chosen must be"),
        ({"rejected": [2.0, -1.0]}, "rejected must be"),
        ({"ref": [1.0, 0.0]}, "ref must be"),
        ({"ref": [0.4, 0.4]}, "ref must be"),
        ({"ref": [1.0]}, "ref must be"),
    ],
)
def test_bad_input(kwargs, message):
    with pytest.raises(InputError, match=message):
        rdro_policy(
            **{"chosen": [0.5, 0.5], "rejected": [0.5, 0.5], "ref": [0.5, 0.5], "alpha": 0.5, **kwargs}
        )


def test_bad_input_of_ddro():
    for kwargs, message in (
        ({"prior": 1.0}, "prior must lie strictly"),
        ({"prior": 0.5, "domain": "seen"}, "domain must be one"),
    ):
        with pytest.raises(InputError, match=message):
            ddro_policy([0.5, 0.5], [0.5, 0.5], [0.5, 0.5], **kwargs)
