"""Instances that are hard for the solvers: nearly separable, repeated atoms, zero weights, collapse, huge.

Every iterative solver of `distalign.solvers` is called on each of them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from distalign.solvers import (
    bradley_terry_rewards,
    ddro_policy,
    exact_strength,
    policy_at_reward,
    rdro_policy,
    regularised_policy,
    robust,
    sinkhorn,
    soft_sort,
)
from distalign.solvers.choice import (
    borda_worst_population,
    clipped_rlhf,
    kl_linear_maximisation,
    kl_nlhf,
    lottery_worst_population,
    maximal_lottery,
    nash_md,
    regularised_nlhf,
    reward_mle,
    rlhf,
)
from distalign.solvers.choice.tournaments import ranked_pairs, schulze
from distalign.solvers.choice.veto import plurality_veto
from distalign.solvers.choice.welfare import group_mixture, maxmin, nash_welfare
from distalign.solvers.robust.wasserstein_euclidean import robust_loss

Instance = tuple[str, Callable[[], Any]]


def laws(seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, features, law): data that are hard for a fit over a ball of laws."""
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(6, 2))
    v[3:] = -v[:3]
    p = rng.dirichlet(np.ones(6))
    yield "ordinary", v, p
    yield "nearly separable", v, np.array([0.4, 0.3, 0.3 - 3e-9, 1e-9, 1e-9, 1e-9])
    yield "separable", v[:3] + np.array([3, 0]), p[:3] / p[:3].sum()
    yield "repeated", np.repeat(v, 3, 0), np.repeat(p, 3) / 3
    yield "one atom", v, np.eye(6)[0]
    yield "two of six", v, np.array([0.9, 0, 0, 0.1, 0, 0])
    yield "equal features", np.ones((6, 2)), p
    yield "zero features", np.zeros((6, 2)), p
    yield "huge features", 1e8 * v, p
    yield "tiny features", 1e-8 * v, p
    yield "one direction", v[:, :1] * [1.0, 1.0], p
    wide = rng.normal(size=(8, 3))
    wide[4:] = -wide[:4]
    yield "three dimensions", wide, rng.dirichlet(np.ones(8))
    yield "of the issue", 1.33 * rng.normal(size=(4, 3)), rng.dirichlet(np.ones(4))


RADII = (1e-12, 1e-3, 0.3, 6.4)


def robust_instances(seed: int) -> Iterator[Instance]:
    """Fits over balls, their worst cases and their collapse radii."""
    for name, v, p in laws(seed):
        distance = np.linalg.norm(v[:, None] - v, axis=-1)
        yield f"collapse_radius, {name}", lambda v=v, p=p: robust.collapse_radius(v, p)
        yield (
            f"wasserstein_collapse_radius, {name}",
            lambda v=v, p=p, d=distance: robust.wasserstein_collapse_radius(v, p, d),
        )
        edge = float(np.nan_to_num(robust.euclidean_collapse_radius(v, p, order=1)[0]))
        for radius in (*RADII, edge * (1 - 1e-12), edge):
            if not radius > 0:
                continue
            for fit in (robust.fit_kl_ball, robust.fit_norm, robust.fit_euclidean):
                yield (
                    f"{fit.__name__}, {name}, radius {radius:.3g}",
                    lambda fit=fit, v=v, p=p, r=radius: fit(v, p, radius=r),
                )
            for order in (1.0, 2.0):
                yield (
                    f"fit_finite, {name}, radius {radius:.3g}, order {order:g}",
                    lambda v=v, p=p, d=distance, r=radius, o=order: robust.fit_finite(
                        v, p, d**o, radius=r, order=o
                    ),
                )
            yield (
                f"fit_replicates, {name}, radius {radius:.3g}",
                lambda v=v, p=p, d=distance, r=radius: robust.fit_replicates(v, [p, p], d, radius=r),
            )
            yield (
                f"fit_norm_with_flips, {name}, radius {radius:.3g}",
                lambda v=v, p=p, r=radius: robust.fit_norm_with_flips(v, p, radius=r, flip_cost=0.5),
            )
            yield (
                f"fit_euclidean_penalised, {name}, eta {radius:.3g}",
                lambda v=v, p=p, r=radius: robust.fit_euclidean_penalised(v, p, eta=r),
            )
            yield (
                f"fit_kl_temperature, {name}, temperature {radius:.3g}",
                lambda v=v, p=p, r=radius: robust.fit_kl_temperature(v, p, temperature=r),
            )
            yield (
                f"kl_worst_case, {name}, radius {radius:.3g}",
                lambda v=v, p=p, r=radius: robust.kl_worst_case(v[:, 0], p, r),
            )
            yield (
                f"wasserstein_worst_case, {name}, radius {radius:.3g}",
                lambda v=v, p=p, d=distance, r=radius: robust.wasserstein_worst_case(v[:, 0], p, d, radius=r),
            )
            yield (
                f"fit_chi2_ball, {name}, radius {radius:.3g}",
                lambda v=v, p=p, r=radius: robust.fit_chi2_ball(v, p, radius=r),
            )
            yield (
                f"chi2_worst_case, {name}, radius {radius:.3g}",
                lambda v=v, p=p, r=radius: robust.chi2_worst_case(v[:, 0], p, r),
            )
            yield (
                f"robust_loss, {name}, radius {radius:.3g}",
                lambda v=v, p=p, r=radius: robust_loss(np.full(v.shape[1], 0.3), v, p, radius=r),
            )
            yield (
                f"sinkhorn, {name}, strength {radius:.3g}",
                lambda p=p, d=distance, r=radius: sinkhorn(d, p, p, r),
            )
        for share in (1e-12, 0.3, 1 - 1e-12):
            yield (
                f"cvar_worst_case, {name}, level {share:g}",
                lambda v=v, p=p, s=share: robust.cvar_worst_case(v[:, 0], p, s),
            )
            yield (
                f"total_variation_worst_case, {name}, radius {share:g}",
                lambda v=v, p=p, s=share: robust.total_variation_worst_case(v[:, 0], p, s),
            )
        for collapse in (
            robust.chi2_collapse_radius,
            robust.cvar_collapse_level,
            robust.total_variation_collapse_radius,
        ):
            yield f"{collapse.__name__}, {name}", lambda f=collapse, v=v, p=p: f(v, p)
        yield f"regularity_number, {name}", lambda v=v, p=p: robust.regularity_number(v, p, radius=0.1)


def games(seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, win matrix, log reference)."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(size=(9, 12))
    even = np.log(np.full(12, 1 / 12))
    for name, slope in (("ordinary", 3.0), ("steep", 1e3), ("flat", 1e-9)):
        win = (1 / (1 + np.exp(-np.clip(slope * (u[:, :, None] - u[:, None]), -700, 700)))).mean(0)
        yield name, (win + 1 - win.T) / 2, even
    yield "ties", np.full((12, 12), 0.5), even
    order = np.arange(12)
    yield "certain", np.where(order[:, None] < order, 1.0, np.where(order[:, None] > order, 0.0, 0.5)), even
    ring = np.full((12, 12), 0.5)
    ring[order, (order + 1) % 12], ring[(order + 1) % 12, order] = 1.0, 0.0
    yield "cycle", ring, even
    cloned = np.repeat(np.repeat(ring[:4, :4], 3, 0), 3, 1)
    yield "clones", cloned, even
    low = np.append(np.full(11, np.log1p(-np.exp(-30)) - np.log(11)), -30.0)
    win = (1 / (1 + np.exp(-3 * (u[:, :, None] - u[:, None])))).mean(0)
    yield "unlikely reference", (win + 1 - win.T) / 2, low - np.log(np.exp(low).sum())


BUDGETS = (1e-22, 1e-16, 1e-12, 1e-8, 1e-3, 1.0, 30.0, np.inf)


def choice_instances(seed: int) -> Iterator[Instance]:
    """Games, rewards and rules."""
    for name, win, q in games(seed):
        mu = np.exp(q)
        reward = np.log(np.maximum(win @ mu, 1e-9))
        yield f"reward_mle, {name}", lambda w=win, mu=mu: reward_mle(w, mu)
        for ties in ("any", "uniform", "adversarial"):
            yield (
                f"maximal_lottery {ties}, {name}",
                lambda w=win, t=ties: maximal_lottery(w, t, np.linspace(0, 1, len(w))),
            )
        for strength in (1e-6, 1e-2, 1.0, 1e6):
            yield (
                f"regularised_nlhf, {name}, strength {strength:g}",
                lambda w=win, q=q, s=strength: regularised_nlhf(w, q, s),
            )
            yield (
                f"nash_md, {name}, strength {strength:g}",
                lambda w=win, q=q, s=strength: nash_md(w, q, s, 50),
            )
        yield f"schulze, {name}", lambda w=win: schulze(w)
        yield f"ranked_pairs, {name}", lambda w=win: ranked_pairs(w)
        yield (
            f"plurality_veto, {name}",
            lambda q=q: plurality_veto(np.exp(q), lambda alive: alive / alive.sum()),
        )
        for groups, rewards in (
            ("two groups", np.array([reward, -reward])),
            ("equal groups", np.array([reward, reward])),
            ("groups of other units", np.array([reward, 1e-8 * reward[::-1], 1e8 * reward])),
        ):
            shares = np.full(len(rewards), 1 / len(rewards))
            for budget in (1e-12, 1e-3, 1.0, 30.0):
                call = f"{name}, {groups}, budget {budget:g}"
                yield f"maxmin, {call}", lambda r=rewards, q=q, b=budget: maxmin(r, q, b)
                for welfare in (nash_welfare, group_mixture):
                    yield (
                        f"{welfare.__name__}, {call}",
                        lambda f=welfare, r=rewards, s=shares, q=q, b=budget: f(r, s, q, b),
                    )
        for budget in BUDGETS:
            yield f"kl_nlhf, {name}, budget {budget:g}", lambda w=win, q=q, b=budget: kl_nlhf(w, q, b)
            yield f"rlhf, {name}, budget {budget:g}", lambda w=win, mu=mu, q=q, b=budget: rlhf(w, mu, q, b)
            yield (
                f"clipped_rlhf, {name}, budget {budget:g}",
                lambda w=win, mu=mu, q=q, b=budget: clipped_rlhf(w, mu, q, b),
            )
            yield (
                f"kl_linear_maximisation, {name}, budget {budget:g}",
                lambda r=reward, q=q, b=budget: kl_linear_maximisation(r, q, b),
            )
    for temperature in (1e-3, 1.0, 50.0):
        for epsilon in (1e-6, 1e-2, 0.5):
            yield (
                f"borda_worst_population, b {temperature:g}, epsilon {epsilon:g}",
                lambda b=temperature, e=epsilon: borda_worst_population(b, [0.0, 1.0, 0.0], epsilon=e),
            )
            yield (
                f"lottery_worst_population, b {temperature:g}, epsilon {epsilon:g}",
                lambda b=temperature, e=epsilon: lottery_worst_population(b, [0.0, 1.0], epsilon=e),
            )


def law_instances(seed: int) -> Iterator[Instance]:
    """Density ratios, regularised optima and Bradley-Terry fits."""
    rng = np.random.default_rng(seed)
    ref = np.full(5, 0.2)
    for name, up, down in (
        ("ordinary", rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))),
        ("disjoint", np.array([0.5, 0.5, 0, 0, 0]), np.array([0, 0, 0.5, 0.5, 0])),
        ("equal", ref, ref),
        ("point", np.eye(5)[0], np.eye(5)[0]),
    ):
        for share in (1e-9, 0.5, 1 - 1e-9):
            yield (
                f"rdro_policy, {name}, {share}",
                lambda a=up, b=down, s=share: rdro_policy(a, b, ref, alpha=s),
            )
            yield (
                f"ddro_policy, {name}, {share}",
                lambda a=up, b=down, s=share: ddro_policy(a, b, ref, prior=s),
            )
    reward = rng.normal(size=5)
    for f in ("reverse_kl", "forward_kl", "jensen_shannon", "chi2_plus_kl", "alpha:0.3"):
        for beta in (1e-9, 1e-3, 1.0, 1e9):
            yield (
                f"regularised_policy {f}, beta {beta:g}",
                lambda f=f, b=beta: regularised_policy(reward, ref, b, f),
            )
        for share in (1e-9, 0.5, 1 - 1e-9):
            target = reward.mean() + share * (reward.max() - reward.mean())
            yield f"policy_at_reward {f}, {share}", lambda f=f, t=target: policy_at_reward(reward, ref, t, f)
    for name, values in (
        ("ordinary", rng.normal(size=200)),
        ("equal", np.ones(200)),
        ("huge", 1e8 * rng.normal(size=200)),
        ("nearly equal", 1 + 1e-15 * np.arange(200)),
    ):
        yield f"exact_strength, {name}", lambda x=values: exact_strength(x)
        for strength in (1e-12, 1.0, 1e12):
            yield f"soft_sort, {name}, strength {strength:g}", lambda x=values, s=strength: soft_sort(x, s)
    for name, wins in (
        ("nearly separable", [[0, 1e9, 1e9], [1, 0, 1e9], [1, 1, 0]]),
        ("huge counts", [[0, 3e50, 1e50], [1e50, 0, 1e50], [2e50, 1e50, 0]]),
    ):
        yield f"bradley_terry_rewards, {name}", lambda w=wins: bradley_terry_rewards(w)


def instances(seed: int = 0) -> Iterator[Instance]:
    """All of them."""
    yield from robust_instances(seed)
    yield from choice_instances(seed)
    yield from law_instances(seed)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """(what the call returned or raised, seconds of this process)."""
    began = time.process_time()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            out = call()
        except Exception as error:
            out = error
    return out, time.process_time() - began
