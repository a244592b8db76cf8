"""Bad inputs of theory, oracles, populations and policies: their formulas, one spoilt argument at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from distalign import populations
from distalign.populations.sequences import Sequences
from tests.robustness.spoilt import (
    Good,
    choice,
    cost,
    count,
    function,
    indices,
    law,
    log_law,
    lone_law,
    masses,
    nonnegative,
    nonnegative_masses,
    nonnegatives,
    number,
    other,
    positive,
    positives,
    reals,
    sample_size,
    scalars,
    sizes,
    square,
    switch,
    table,
    unit,
    units,
    up_to_half_unit,
    vector,
    whole,
    win,
)
from tests.robustness.verdicts import Case
from tests.robustness.walk import Fresh, walk

LAW = np.array([0.4, 0.3, 0.2, 0.1])
FLAT = np.full(4, 0.25)
V = np.array([[1.0, 0.5], [-1.0, 0.3], [0.5, -1.0], [-0.4, -0.6]])
COST = np.linalg.norm(V[:, None] - V, axis=-1)
WIN = np.array([[0.5, 0.7, 0.6, 0.8], [0.3, 0.5, 0.6, 0.7], [0.4, 0.4, 0.5, 0.55], [0.2, 0.3, 0.45, 0.5]])
LOSSES = np.array([0.3, 0.7, 0.1, 1.2])
COVARIANCE = np.array([[0.25, -0.25], [-0.25, 0.25]])
PAIRS = np.outer(LAW, FLAT)
RNG = Fresh(lambda: np.random.default_rng(0))
USERS = populations.BradleyTerryUsers(
    np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]]), np.array([0.25, 0.75]), 2.0
)
POPULATION = populations.Population(WIN, LAW)
SEQUENCES = Sequences(3, 2)
LINEAR = populations.log_linear_bradley_terry(np.random.default_rng(0), 1, 3, 2, norm=1.0, beta=1.0)

NAMES: Good = {
    "alpha": (0.4, unit),
    "atoms": (36, count),
    "batch": (3, count),
    "beta": (0.7, positive),
    "bound_at_one": (400.0, positive),
    "bt_temperature": (5.0, positive),
    "chosen": (LAW, law),
    "clamp": (10.0, positive),
    "cost": (COST, cost),
    "covariance": (COVARIANCE, square),
    "correlation": (0.3, up_to_half_unit),
    "coverage": (0.09, positive),
    "curvature": (1.0, positive),
    "degrees": (120.0, number),
    "delta": (0.05, unit),
    "dimension": (3, count),
    "distance": (0.75, number),
    "divergence": ("jensen_shannon", choice),
    "epsilon": (1e-3, unit),
    "estimator": ("rdro", choice),
    "exponent": (-0.5, number),
    "gap": (0.25, units),
    "joint": (PAIRS, masses),
    "kl_budget": (0.1, positive),
    "largest": (4.0, positive),
    "level": (0.95, unit),
    "lipschitz": (1.0, nonnegative),
    "log_reference": (np.log(LAW), log_law),
    "loss": ("rdro logistic", choice),
    "losses": (LOSSES, reals),
    "lottery": (np.array([0.5, 0.5]), law),
    "margin": (0.7, number),
    "margins": (LOSSES, reals),
    "multiplier": (0.9, positive),
    "multiplier_high": (1.0, positive),
    "multiplier_low": (1.0, positive),
    "n": (100, sample_size),
    "norm": (1.0, nonnegative),
    "order": (1.0, positive),
    "p": (LAW, law),
    "policy": (np.array([0.5, 0.5]), law),
    "prior": (0.5, unit),
    "q": (LAW[::-1].copy(), law),
    "radius": (0.05, positive),
    "ratio": (1.0, positive),
    "ref": (FLAT, law),
    "reference": (FLAT, law),
    "regulariser": (0.01, positive),
    "rejected": (LAW[::-1].copy(), law),
    "responses": (5, count),
    "reward": (np.array([1.0, 0.3, 0.2, -0.5]), reals),
    "rho": (np.array([1.0, 1.5]), nonnegatives),
    "rng": (RNG, other),
    "scores": (V, reals),
    "share": (0.5, unit),
    "shift": (0.3, number),
    "spread": (0.1, positive),
    "spread_u": (1.0, positive),
    "spread_v": (1.5, positive),
    "strength": (0.4, nonnegative),
    "sup": (3.0, positive),
    "support": (3, count),
    "t": (0.5, unit),
    "target": (0.4, number),
    "temperature": (1.3, positive),
    "theta": (np.array([0.5, 0.2]), vector),
    "theta_star": (np.array([0.5, 0.2]), reals),
    "tolerance": (1e-7, positive),
    "types": (np.array([[1.0, 0.0], [0.0, 0.01]]), reals),
    "u": (np.array([0.1, 0.7, -0.3, 2.0]), reals),
    "users": (USERS, other),
    "v": (V, reals),
    "weights": (LAW, law),
    "win": (WIN, win),
}
"""What a parameter of this name usually takes."""

AOT = "distalign.theory.aot"
ROBUST = "distalign.theory.robust"
RATIO = "distalign.theory.density_ratio"
DISTORTION = "distalign.theory.distortion"
F_DPO = "distalign.theory.f_dpo"
ORACLES = "distalign.oracles"
POPULATIONS = "distalign.populations"

VALUES = {"u": (LOSSES, reals), "v": (np.array([0.1, 0.7, -0.3, 2.0]), reals)}
MANY = {"bt_temperature": (np.array([5.0, 6.0]), positives), "alternatives": (11, sample_size)}
SECOND = {"utility": (0.5, units), **MANY}
CROWD = {"types": (8, count), "alternatives": (7, count)}
NORMALS = {
    "mean_u": (0.4, number),
    "mean_v": (0.0, number),
    "sd_u": (1.0, nonnegative),
    "sd_v": (1.5, nonnegative),
}
UNBOUNDED = {"spread_u": (1.0, nonnegative), "spread_v": (1.5, nonnegative)}

SIZES = {"sd_u": (1.0, positive), "sd_v": (1.5, positive), "strength": (1.0, positive)}
PLACES = {"mean_u": (0.4, number), "mean_v": (0.0, number), "margin": (0.7, number)}
CLIP = {"quantile": (0.45, unit), "window": (0.375, positive), "log_ratio": (10.0, positive)}
FEATURE = {"feature": (np.array([0.3, 1.0, -0.5, 0.2]), reals), "pairs": (PAIRS + PAIRS.T, masses)}

SMALL_LAW = {"reference": (FLAT, law), "acceptance": (np.array([0.2, 0.8, 0.5, 0.4]), units)}
BREGMAN = {
    "generator": ("sba", choice),
    "power": (0.5, number),
    "pairs": (PAIRS + PAIRS.T, masses),
    "reference": (FLAT, law),
}
CLASS = {"features": (V, reals), "covariance": (WIN @ WIN.T, square), "pairs": (PAIRS + PAIRS.T, masses)}
TEXTS = {
    "displacement": (np.array([0.1, -0.3, 0.2, 0.0]), vector),
    "features": (V, reals),
    "gain": (LOSSES, vector),
    "policy": (LAW, law),
    "rate": (0.1, positive),
    "texts": (4, count),
    "updates": (3, whole),
    "weight": (np.array([1.0, 0.5, 2.0, 1.0]), positives),
}
VETO = {
    "blocks": (4, count),
    "per_block": (3, count),
    "middle": (0.5, unit),
    "from_the_bottom": (False, switch),
    "favourites": (4, count),
    "idle": (3, count),
}
ANSWERS = {
    "difference": (0.7, scalars),
    "variance": (0.2, nonnegatives),
    "third_moment": (0.1, scalars),
    "pair_bias": (WIN - WIN.T, reals),
    "rewards": (np.array([1.0, 0.3, 0.2, -0.5]), vector),
    "weights": (PAIRS + PAIRS.T, masses),
}
DETOUR = {"least": (1e-3, units), "utility": (0.3, units), "bt_temperature": (5.0, positives)}

SPECIAL: dict[str, Good] = {
    **{f"{RATIO}.{what}": SMALL_LAW | {"method": ("RDRO", choice)} for what in ("curvature", "largest_step")},
    **{f"{DISTORTION}.{what}": VETO for what in ("veto_share", "favourites_distortion")},
    **{f"{DISTORTION}.{what}": ANSWERS for what in ("anonymous_bias", "corrected_bias", "fitted_bias")},
    **{f"{DISTORTION}.{what}": DETOUR for what in ("detour_utility", "detour_distortion")},
    **{f"{F_DPO}.{what}": BREGMAN for what in ("pair_weight", "bregman_covariance", "limit_policy")},
    f"{F_DPO}.divergence": BREGMAN | {"data": (1.5, positives), "model": (0.7, positives)},
    **{f"{F_DPO}.{what}": CLASS for what in ("auxiliary_covariance", "dpo_covariance")},
    f"{F_DPO}.natural_step": {
        "reward": (np.array([[1.0, 0.3, 0.2, -0.5]]), reals),
        "features": (V[None], reals),
        "reference": (FLAT[None], table),
        "prompts": (np.ones(1), lone_law),
    },
    f"{F_DPO}.distance_to_rlhf": FEATURE,
    f"{RATIO}.infinite_ratio_share": {
        "chosen": (10 * LAW, nonnegatives),
        "rejected": (10 * FLAT, nonnegatives),
    },
    f"{POPULATIONS}.last_choices": {
        "among": (np.array([True, True, False]), other),
        "from_the_bottom": (False, switch),
    },
    f"{POPULATIONS}.sample_repeated": {"number": (20, count), "replicates": (2, count)},
    **{f"{AOT}.entropic_{what}": SIZES | PLACES for what in ("correlation", "excess", "value", "value_sd")},
    **{
        f"{DISTORTION}.{what}": CLIP
        for what in (
            "hidden_share",
            "hidden_ratio",
            "mismatch_budget",
            "mismatch_distortion",
            "upper_end",
            "unmatched_distortion",
        )
    },
    f"{F_DPO}.regret_constant": {
        "weight": (np.array([1.0, 1.0]), positives),
        "policy": (np.array([0.5, 0.5]), law),
    },
    **{
        f"{F_DPO}.{what}": TEXTS
        for what in (
            "class_curvature",
            "covariance_moment",
            "decay",
            "least_texts",
            "mean_excess",
            "second_moment",
        )
    },
    f"{F_DPO}.stationary_excess": TEXTS | {"curvature": (np.eye(2), square)},
    f"{F_DPO}.regret_limit": {"convexity": (1.0, positive), "reward": (np.array([1.0, 0.3, -0.5]), vector)},
    f"{F_DPO}.regret_floor": {"policy": (LAW, law)},
    **{f"{F_DPO}.{what}": FEATURE for what in ("dpo_parameter", "reversal_share", "rlhf_parameter")},
    f"{F_DPO}.tilted": FEATURE | {"theta": (0.5, number)},
    f"{ROBUST}.losses_at": {"v": (V, vector)},
    f"{POPULATIONS}.chain_gain": {"gap": (0.25, nonnegative)},
    f"{ROBUST}.euclidean_optimum": {"start": (np.array([0.5, 0.2]), reals)},
    f"{POPULATIONS}.sample_wins": {
        "number": (20, count),
        "comparisons": (3, count),
        "pair_law": (np.full(3, 1 / 3), law),
        "replicates": (2, count),
    },
    f"{POPULATIONS}.Sequences": {"vocabulary": (3, count), "length": (2, count)},
    f"{POPULATIONS}.markov_labels": {"space": (SEQUENCES, other), "difference": (0.3, number)},
    f"{POPULATIONS}.copeland_worst_case": {"clones": (2, count)},
    f"{AOT}.batch_bias_constant": {"curvature": (lambda x: np.full_like(x, 2.0), function), **UNBOUNDED},
    f"{AOT}.clt_sd": {
        "derivative": (lambda x: -2 * (0.7 - x), function),
        "quantile_u": (lambda t: t, function),
        "quantile_v": (lambda t: 1.5 * t, function),
        "points": (2001, count),
    },
    f"{AOT}.covariance": {"chosen": (V, reals), "rejected": (V, reals)},
    f"{AOT}.excess_constant": {"hessian": (np.eye(2), square)},
    f"{AOT}.explicit_bound": UNBOUNDED,
    **{f"{ROBUST}.{what}": {"multiplier": (0.9, positive)} for what in ("log_looseness", "looseness_series")},
    f"{ROBUST}.weak_gain": {"factor": (0.5, units)},
    f"{AOT}.paired_covariance": {"policy": (V, reals), "reference": (V[::-1].copy(), reals)},
    f"{AOT}.law_spread": {"x": (LOSSES, reals)},
    f"{AOT}.class_spread": {"envelope": (LOSSES, nonnegatives)},
    f"{AOT}.paired_excess_bound": {
        "spread_optimum": (1.0, nonnegative),
        "spread_reference": (0.5, nonnegative),
        "spread_class": (3.0, nonnegative),
    },
    f"{AOT}.false_violation": {"gap": (0.25, units)},
    f"{AOT}.gaussian_least_squares": NORMALS,
    f"{AOT}.gaussian_least_squares_sd": NORMALS,
    f"{AOT}.learned_spread": {"spread_v": (1.5, nonnegative), "law": ("uniform", choice)},
    f"{AOT}.order_variance": {"law": ("normal", choice)},
    f"{AOT}.potentials": {**VALUES, "penalty": (np.square, function)},
    f"{AOT}.ray_limit": {
        "scores": (np.array([[1.0, 0.0], [0.2, 0.4]]), reals),
        "reference": (np.full((2, 2), 0.5), table),
    },
    f"{AOT}.sorted_bias": {"penalty": (np.square, function), **UNBOUNDED},
    f"{DISTORTION}.three_cycle_probability_of_users": {"users": (3, count)},
    f"{ROBUST}.chi2_covariance": {
        "theta": (np.array([0.5, 0.2]), reals),
        "threshold": (0.2, number),
        "radius": (0.05, positive),
    },
    f"{ROBUST}.chi2_optimum": {"start": (np.array([0.5, 0.2]), reals)},
    f"{ROBUST}.excess_loss": {"n": (np.array([100.0, 200.0]), positives)},
    f"{ROBUST}.pair_optimum": {
        "method": ("KLDPO", choice),
        "p": (np.array([0.9, 0.6]), units),
        "setting": (1.0, positive),
    },
    f"{ROBUST}.repaired_kl_error_bound": {"spread": (0.1, nonnegative)},
    f"{ROBUST}.sandwich": {"radius": (0.05, nonnegative), "theta": (np.array([0.5, 0.2]), reals)},
    f"{ROBUST}.transport_limit": {
        "v": (np.array([[1.0], [-1.0]]), reals),
        "cost": (np.array([[0.0, 2.0], [2.0, 0.0]]), cost),
        "p": (np.array([0.9, 0.1]), law),
        "theta": (np.array([np.log(4)]), reals),
        "multiplier": (np.log(4) / 2, positive),
        "radius": (0.2, positive),
    },
    f"{RATIO}.first_order_limit": {"moved": (np.array([0.01, -0.01, 0.0, 0.0]), reals)},
    f"{RATIO}.kto_policy": {
        "beta": (0.3, unit),
        "chosen": (LAW, masses),
        "rejected": (FLAT, nonnegative_masses),
    },
    f"{RATIO}.bco_policy": {"chosen": (LAW, masses), "rejected": (FLAT, nonnegative_masses)},
    f"{RATIO}.unpaired_covariance": {"features": (V, reals)},
    f"{RATIO}.divergence_constant": {"target": (np.array([0.5, 0.5]), law)},
    f"{RATIO}.divergence_deviation": {"target": (np.array([0.5, 0.5]), law)},
    f"{DISTORTION}.answer_covariance": {
        "wins_by_type": (np.array([0.9, 0.1, 0.2, 0.3]), units),
        "one_ranking": (False, switch),
    },
    f"{DISTORTION}.borda_distortion": MANY,
    f"{DISTORTION}.exponential_rlhf_distortion": MANY,
    f"{DISTORTION}.minimax_distortion": MANY,
    f"{DISTORTION}.unsupported_multiplier": MANY,
    f"{DISTORTION}.unsupported_rlhf_distortion": MANY,
    f"{DISTORTION}.worst_gamma": MANY,
    f"{DISTORTION}.correlated_rlhf_distortion": MANY,
    f"{DISTORTION}.dictator_distortion": SECOND,
    f"{DISTORTION}.plurality_distortion": SECOND,
    f"{DISTORTION}.borda_multipliers": {"equal": (False, switch), **MANY},
    f"{DISTORTION}.linearised_margin": {"other": (0.2, scalars), **SECOND, "utility": (0.7, scalars)},
    f"{DISTORTION}.saturation": {"win": (0.3, unit), "covariance": (0.21, positive), "share": (0.125, unit)},
    f"{DISTORTION}.tied_distortion": {"distortion": (np.array([1.0, 3.0]), sample_size)},
    f"{DISTORTION}.win_error": {
        "users": (100, sample_size),
        "comparisons": (3, sample_size),
        "win": (0.5, units),
        "covariance": (0.21, nonnegative),
        "share": (0.5, units),
    },
    f"{F_DPO}.calibration_bound": {"mean_divergence": (0.02, nonnegatives)},
    f"{F_DPO}.policy_covariance": {"weight": (np.array([1.0, 1.0]), vector)},
    f"{F_DPO}.reward_covariance": {"pairs": (PAIRS, masses)},
    f"{F_DPO}.second_order_gap": {"skew_difference": (1.0, number)},
    f"{F_DPO}.chi2_interior_optimum": {"beta": (5.0, positive)},
    f"{ORACLES}.borda_bound": {
        "comparison": (np.array([0.5, 0.5]), law),
        "best": (0, whole),
        "winner": (1, whole),
    },
    f"{ORACLES}.lottery_bound": {"best": (0, whole)},
    f"{ORACLES}.wasserstein_distance": {
        "p": (LAW, masses),
        "q": (FLAT, masses),
        "cost": (COST, nonnegative_masses),
    },
    f"{ORACLES}.hinge_minimum": {
        "margin": (np.zeros(4), reals),
        "delta": (V, reals),
        "start": (np.array([0.1, 0.1]), reals),
    },
    f"{ORACLES}.kl_linear_maximisation": {"kl_budget": (0.1, nonnegative)},
    f"{ORACLES}.kl_nlhf": {"kl_budget": (0.1, nonnegative)},
    f"{ORACLES}.kl_nlhf_by_mirror_descent": {"adaptive": (True, switch), "tolerance": (1e-3, positive)},
    f"{ORACLES}.maximal_lottery": {"method": ("highs", choice)},
    f"{ORACLES}.nearest_dominating": {
        **VALUES,
        "power": (2.0, positive),
        "support": (np.array([-0.5, 0.0, 1.0, 3.0]), vector),
    },
    f"{ORACLES}.optimal_transport": {**VALUES, "cost": (np.square, function)},
    f"{ORACLES}.entropic_plan": {"cost": (COST, reals), "strength": (0.4, positive)},
    **{f"{ORACLES}.total_variation_ball_{what}": {"radius": (0.1, unit)} for what in ("fit", "value")},
    f"{ORACLES}.transport_cost": {**VALUES, "cost": (np.square, function)},
    f"{ORACLES}.project_on_permutahedron": {
        "target": (LOSSES, reals),
        "values": (np.array([1.0, 3.0, 2.0, 7.0]), reals),
    },
    f"{ORACLES}.regularised_nlhf": {"strength": (0.4, positive)},
    f"{ORACLES}.reward_mle": {"pair_weights": (np.ones((4, 4)), masses)},
    f"{ORACLES}.wasserstein_norm_fit": {"norm": ("l2", choice), "flip_cost": (0.9, positive)},
    f"{POPULATIONS}.BradleyTerryUsers": {
        "utilities": (USERS.utilities, reals),
        "weights": (USERS.weights, law),
    },
    f"{POPULATIONS}.Law": {
        "chosen": (np.array([0, 1, 0]), indices),
        "rejected": (np.array([1, 0, 2]), indices),
        "weights": (np.array([2.0, 1.0, 1.0]), nonnegative_masses),
        "rejected_weights": (np.array([2.0, 1.0, 1.0]), nonnegative_masses),
    },
    f"{POPULATIONS}.Population": {"prompts": (np.array([1.0]), lone_law)},
    f"{POPULATIONS}.Thumbs": {
        "acceptance": (np.array([[0.2, 0.8, 0.5, 0.4]]), table),
        "reference": (LAW[None], table),
        "prompts": (np.array([1.0]), lone_law),
    },
    f"{POPULATIONS}.at_angle": {"theta": (np.array([4.0, 0.0, 0.0]), vector)},
    f"{POPULATIONS}.common_second": {"alternatives": (5, count), "utility": (0.5, unit)},
    f"{POPULATIONS}.correlated_worst_case": {"alternatives": (6, count), "spare": (0.01, unit)},
    f"{POPULATIONS}.correlated_margins": {
        "responses": (5, count),
        "correlation": (0.3, up_to_half_unit),
        "sd": (2.0, nonnegative),
    },
    f"{POPULATIONS}.impartial_culture": {"responses": (5, count), "users": (3, count)},
    f"{POPULATIONS}.cyclic": {"responses": (5, count)},
    f"{POPULATIONS}.exponential_worst_case": {
        "merged": (True, switch),
        "clones": (4, count),
        "log_excluded": (-1e4, number),
    },
    f"{POPULATIONS}.unsupported_worst_case": {"log_excluded": (-1e9, number)},
    f"{POPULATIONS}.log_linear_bradley_terry": {"prompts": (3, count), "responses": (4, count)},
    f"{POPULATIONS}.mixture": {
        "weights": (np.array([0.5, 0.5]), law),
        "populations": ([POPULATION, POPULATION], other),
    },
    f"{POPULATIONS}.mixture_shift": {
        "start": (POPULATION, other),
        "end": (POPULATION, other),
        "share": (0.5, units),
    },
    f"{POPULATIONS}.reward_shift": {
        "start": (LINEAR, other),
        "theta_end": (np.array([0.5, 0.2]), reals),
        "share": (0.5, units),
    },
    f"{POPULATIONS}.random_intransitive": {"responses": (5, count), "sd": (2.0, nonnegative)},
    f"{POPULATIONS}.rock_paper_scissors": {
        "tiers": (2, count),
        "within": (4.0, nonnegative),
        "between": (3.0, nonnegative),
    },
    f"{POPULATIONS}.universal_worst_case": {"alternatives": (4, count), "strict": (True, switch)},
    f"{POPULATIONS}.ideal_points": CROWD,
    f"{POPULATIONS}.two_camps": CROWD,
    f"{POPULATIONS}.unstructured": CROWD,
    f"{POPULATIONS}.win_matrix": {"utilities": (USERS.utilities, reals), "weights": (USERS.weights, law)},
    f"{POPULATIONS}.worst_off": {"policy": (np.array([0.2, 0.3, 0.5]), law)},
}
"""What one function takes."""

ROOMS = (AOT, ROBUST, RATIO, DISTORTION, F_DPO, ORACLES, POPULATIONS)


SIZED = (reals, vector, positive, positives, nonnegative, nonnegatives, number)


def formula_cases() -> Iterator[Case]:
    """All of them."""
    names, special = _of_all_sizes(NAMES), {name: _of_all_sizes(good) for name, good in SPECIAL.items()}
    return chain.from_iterable(walk(room, names, special) for room in ROOMS)


def _of_all_sizes(good: Good) -> Good:
    """The same, with numbers that are large or small but far from the ends of double precision."""
    return {name: (value, sizes(spoil) if spoil in SIZED else spoil) for name, (value, spoil) in good.items()}
