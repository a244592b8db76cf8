"""The rows of the contract that read pairs, and all rows together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from contract_kit import (
    DPO,
    GROUPS,
    LOSSES,
    REF_CHOSEN,
    REJECTED_TOKENS,
    TOKENS,
    Batch,
    Case,
    Limit,
    Loss,
    Robust,
    U,
    V,
    dpo_losses,
    mean,
    of_pairs,
    sigma,
    sp,
)
from contract_minimisers import (
    WON,
    ball,
    chi2_ball,
    groups,
    has_difference,
    is_regularised,
    is_tilted,
    preferred,
    stationary_when_shrunk,
)
from contract_robust import bounded, chi2_bounded, of_groups, priced, wasserstein
from contract_unpaired import UNPAIRED, aot_cases
from scipy.optimize import minimize_scalar
from scipy.special import logit
from torch import Tensor

from distalign import objectives as o

NO_LIMIT = {2: "no hyper-parameter has a limit with a name"}
NO_TABLE = {
    5: "a table reads no inputs; closed form in tests/objectives/test_wdpo.py",
    6: "refused: it needs input gradients",
    7: "a table reads no inputs",
}
SQUARES = of_pairs(
    lambda u, v: 2 * sigma(v - u) ** 2
)  # ||grad||^2 by both inputs of a pair, theta - theta_ref = 1


def near(b: Batch) -> Batch:
    """Log-ratios a ten-thousandth of what they were: only f''(1) is left of a divergence."""
    return replace(
        b, chosen=b.ref_chosen + 1e-4 * b.chosen_ratio, rejected=b.ref_rejected + 1e-4 * b.rejected_ratio
    )


def worst_group(b: Batch) -> Tensor:
    assert b.groups is not None
    return torch.stack([dpo_losses(b)[b.groups == g].mean() for g in b.groups.unique()]).amax()


def one_token(b: Batch) -> Tensor:
    ones = replace(b, chosen_tokens=torch.ones_like(b.chosen), rejected_tokens=torch.ones_like(b.rejected))
    return o.ipo_per_token(ones, beta=0.5)


def f_dpo_case(
    name: str, curvature: float, g: Callable[[float], float], pulls: tuple[str, ...], *limits: Limit
) -> Case:
    loss = partial(o.f_dpo, beta=0.5, divergence=name)
    small = Limit(
        "near the reference: DPO", lambda b: loss(near(b)), lambda b: o.dpo(near(b), beta=curvature / 2), 1e-6
    )
    return Case(
        f"f_dpo {name}",
        loss,
        of_pairs(lambda u, v: sp((g(v) - g(u)) / 2)),
        (small, *limits),
        pulls=pulls,
        monotone=True,
        minimiser=is_regularised(name),
        bad=({"beta": -1.0}, {"divergence": "chi2"}, {"divergence": "alpha:2"}),
    )


def f_dpo_cases() -> list[Case]:
    def f(name: str, beta: float = 0.5) -> Loss:
        return partial(o.f_dpo, beta=beta, divergence=name)

    both = "chosen", "rejected"
    return [
        f_dpo_case("reverse_kl", 1, lambda x: x, both, Limit("is DPO", f("reverse_kl", 1.0), DPO)),
        f_dpo_case(
            "forward_kl",
            1,
            lambda x: -math.exp(-x),
            both[:1],
            Limit("alpha -> 1", f("alpha:0.9999999"), f("forward_kl"), 1e-6),
        ),
        f_dpo_case(
            "alpha:0.3",
            1,
            lambda x: -math.exp(-0.3 * x) / 0.3,
            both[:1],
            Limit("alpha -> 0: DPO", f("alpha:1e-9", 1.0), DPO, 1e-7),
        ),
        f_dpo_case("jensen_shannon", 1 / 2, lambda x: x - sp(x), both[:1]),
        f_dpo_case(
            "squared_hellinger",
            1 / 2,
            lambda x: -math.exp(-x / 2),
            both[:1],
            Limit("alpha = 1/2 at half of beta", f("squared_hellinger", 1.0), f("alpha:0.5")),
        ),
        f_dpo_case("jeffreys", 2, lambda x: x - math.exp(-x), both),
        f_dpo_case("chi2_plus_kl", 2, lambda x: x + math.exp(x), both),
    ]


def bpo_cases() -> list[Case]:
    def bpo(generator: str, power: float = 0.5) -> Loss:
        return partial(o.bpo, beta=0.5, generator=generator, power=power)

    def plus(loss: Loss, constant: float) -> Loss:
        return lambda b: loss(b) + constant

    def exponential(b: Batch) -> Tensor:
        return (-(b.chosen_ratio - b.rejected_ratio) / 4).exp() @ b.chosen_frequencies

    def sba(u: float, v: float) -> float:
        r = math.exp((v - u) / 2)
        return ((r**1.5 - 1) / 1.5 + 2 * (1 - r**-0.5)) / 4

    values: dict[str, tuple[Callable[[float, float], float], tuple[Limit, ...]]] = {
        "logistic": (
            lambda u, v: sp((v - u) / 2),
            (Limit("is DPO", bpo("logistic"), partial(o.dpo, beta=0.5)),),
        ),
        "kliep": (
            lambda u, v: math.exp((v - u) / 2) - (u - v) / 2,
            (Limit("sba, k -> 0", plus(bpo("sba", 1e-9), 0.25), bpo("kliep"), 1e-7, 0.25),),
        ),
        "lsif": (
            lambda u, v: math.exp(v - u) - 2 * math.exp((u - v) / 2),
            (Limit("sba, k = 1", plus(bpo("sba", 1.0), -0.125), bpo("lsif"), factor=0.125),),
        ),
        "sba": (
            sba,
            (Limit("k = -1/2: exponential loss", plus(bpo("sba", -0.5), 1.0), exponential),),
        ),
    }
    return [
        Case(
            f"bpo {name}",
            bpo(name),
            of_pairs(hand),
            limits,
            monotone=True,
            minimiser=is_tilted(2.0),
            bad=({"beta": 0.0}, {"generator": "hellinger"}, {"power": -1.0})[: 3 if name == "sba" else 2],
        )
        for name, (hand, limits) in values.items()
    ]


def frozen_released(at: Batch) -> Loss:
    held = dpo_losses(at).detach()
    return lambda b: (((held - held.mean()) / 2).exp().clamp(max=10) * dpo_losses(b)).mean()


def chi2_case() -> Case:
    loss = partial(o.chi2_dpo, beta=1.0)
    middle = mean(*LOSSES)
    variance = mean(*((x - middle) ** 2 for x in LOSSES))
    return Case(
        "chi2_dpo",
        partial(loss, radius=0.1),
        middle + math.sqrt(0.2 * variance),
        (
            Limit("radius 0: DPO", partial(loss, radius=0.0), DPO),
            Limit(
                "radius above (n - 1) / 2: largest loss",
                partial(loss, radius=2.6),
                lambda b: dpo_losses(b).amax(),
            ),
            Limit(
                "a small radius: KLDPO",
                partial(loss, radius=1e-6),
                partial(o.kldpo, beta=1.0, radius=1e-6),
                1e-5,
            ),
            Limit("one pair: DPO", partial(loss, radius=0.1), DPO, cut=True),
        ),
        kink=True,
        monotone=True,
        minimiser=chi2_ball,
        robust=Robust("radius", 1, chi2_bounded),
        bad=({"radius": -0.1}, {"beta": 0.0}),
    )


def kldpo_cases() -> list[Case]:
    kl = partial(o.kldpo, beta=1.0)
    released = partial(kl, weights="released")
    dual = minimize_scalar(
        lambda lam: lam * (0.1 + math.log(mean(*(math.exp(x / lam) for x in LOSSES)))),
        bounds=(1e-2, 1e2),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return [
        Case(
            "kldpo temperature",
            partial(kl, temperature=2.0),
            2 * math.log(mean(*(math.exp(x / 2) for x in LOSSES))),
            (
                Limit("tau -> inf: DPO", partial(kl, temperature=1e6), DPO, 1e-5),
                Limit(
                    "tau -> 0: largest loss",
                    partial(kl, temperature=1e-3),
                    lambda b: dpo_losses(b).amax(),
                    1e-2,
                ),
            ),
            monotone=True,
            minimiser=is_tilted(2 / 3),
            robust=Robust("temperature", 1, priced(1)),
            bad=(
                {"temperature": 0.0},
                {"temperature": None},
                {"radius": 0.1},
                {"weights": "clipped"},
                {"beta": 0.0},
            ),
        ),
        Case(
            "kldpo radius",
            partial(kl, radius=0.1),
            dual.fun,
            (
                Limit("radius 0: DPO", partial(kl, radius=0.0), DPO),
                Limit(
                    "radius above log n: largest loss",
                    partial(kl, radius=3.0),
                    lambda b: dpo_losses(b).amax(),
                ),
            ),
            kink=True,
            monotone=True,
            minimiser=ball,
            robust=Robust("radius", 1, bounded),
            bad=({"radius": -0.1}, {"temperature": 1.0}, {"weights": "released"}),
        ),
        Case(
            "kldpo released",
            partial(released, temperature=2.0),
            mean(*(min(math.exp((x - mean(*LOSSES)) / 2), 10) * x for x in LOSSES)),
            (
                Limit("one pair: DPO", partial(released, temperature=2.0), DPO, cut=True),
                Limit("tau -> inf: DPO", partial(released, temperature=1e9), DPO, 1e-7),
            ),
            frozen=frozen_released,
            monotone=True,
            minimiser=stationary_when_shrunk,
            bad=({"temperature": -1.0},),
            skip={8: "weights are not normalised: one outlier among many pairs brings the value below DPO's"},
        ),
    ]


def wdpo_cases() -> list[Case]:
    def case(form: str, through: str) -> Case:
        loss = partial(o.wdpo, beta=1.0, radius=0.1, form=form, through=through)
        squares = SQUARES * (1 if through == "ratio" else 4)  # theta = 2 against theta - theta_ref = 1
        return Case(
            f"wdpo {form} {through}",
            loss,
            mean(*LOSSES) + 0.1 * (squares**0.5 if form == "root" else squares),
            (Limit("radius 0: DPO", partial(loss, radius=0.0), DPO),),
            kink=(form, through) == ("root", "ratio"),
            robust=Robust("radius", 1, wasserstein(form, through)),
            bad=({"radius": -1.0}, {"form": "cube"}, {"through": "both"}, {"beta": 0.0}),
            skip=NO_TABLE,
        )

    return [case(form, through) for form in ("root", "squared") for through in ("ratio", "policy")]


PAIRED = [
    Case(
        "dpo",
        partial(o.dpo, beta=0.5),
        of_pairs(lambda u, v: sp((v - u) / 2)),
        monotone=True,
        minimiser=is_tilted(2.0),
        skip=NO_LIMIT,
    ),
    Case(
        "cdpo",
        partial(o.cdpo, beta=0.5, label_smoothing=0.1),
        of_pairs(lambda u, v: 0.9 * sp((v - u) / 2) + 0.1 * sp((u - v) / 2)),
        (Limit("no smoothing: DPO", partial(o.cdpo, beta=1.0, label_smoothing=0.0), DPO),),
        minimiser=has_difference(logit(0.9 * WON + 0.1 * (1 - WON)) / 0.5),
        bad=({"beta": 0.0}, {"label_smoothing": 0.5}, {"label_smoothing": -0.1}),
    ),
    Case(
        "rdpo",
        partial(o.rdpo, beta=0.5, flip_rate=0.1),
        of_pairs(lambda u, v: (0.9 * sp((v - u) / 2) - 0.1 * sp((u - v) / 2)) / 0.8),
        (Limit("no flips: DPO", partial(o.rdpo, beta=1.0, flip_rate=0.0), DPO),),
        monotone=True,
        minimiser=has_difference(logit((WON - 0.1) / 0.8) / 0.5),
        bad=({"beta": 0.0}, {"flip_rate": 0.5}, {"flip_rate": -0.1}),
    ),
    Case(
        "ipo",
        partial(o.ipo, beta=0.5),
        of_pairs(lambda u, v: (u - v - 1) ** 2),
        minimiser=has_difference(2 * WON - 1),
        skip=NO_LIMIT,
    ),
    Case(
        "ipo_per_token",
        partial(o.ipo_per_token, beta=0.5),
        mean(*((u / a - v / b - 1) ** 2 for u, v, a, b in zip(U, V, TOKENS, REJECTED_TOKENS))),
        (Limit("one token each: IPO", one_token, partial(o.ipo, beta=0.5)),),
        minimiser=has_difference(2 * WON - 1, np.array([2.0, 3.0])),
    ),
    *f_dpo_cases(),
    *bpo_cases(),
    Case(
        "chi_po",
        partial(o.chi_po, beta=0.5, clip=2.0),
        of_pairs(lambda u, v: sp(-min(max((u + math.exp(u) - v - math.exp(v)) / 2, -2), 2))),
        (
            Limit(
                "no clip: f_dpo",
                partial(o.chi_po, beta=0.5, clip=1e3),
                partial(o.f_dpo, beta=0.5, divergence="chi2_plus_kl"),
            ),
        ),
        pulls=(),
        monotone=True,
        minimiser=is_regularised("chi2_plus_kl"),
        bad=({"beta": 0.0}, {"clip": 0.0}),
    ),
    *aot_cases(o.aot_paired, (-1.0, -2.0, 2.0)),  # margins -3, -2, 3 against -2, 0, 1
    *kldpo_cases(),
    chi2_case(),
    *wdpo_cases(),
    Case(
        "dr_dpo",
        partial(o.dr_dpo, beta=1.0, temperature=2.0),
        -2 * math.log(mean(*(math.exp(-x / 2) for x in LOSSES))),
        (Limit("tau -> inf: DPO", partial(o.dr_dpo, beta=1.0, temperature=1e6), DPO, 1e-5),),
        monotone=True,
        minimiser=is_tilted(2.0),
        robust=Robust("temperature", -1, priced(-1)),
        bad=({"temperature": 0.0}, {"beta": 0.0}),
    ),
    Case(
        "group_dpo",
        partial(o.group_dpo, beta=1.0, temperature=0.5),
        math.log(2 / 3 * math.exp(2 * mean(*LOSSES[:2])) + 1 / 3 * math.exp(2 * LOSSES[2])) / 2,
        (
            Limit("tau -> inf: DPO", partial(o.group_dpo, beta=1.0, temperature=1e6), DPO, 1e-5),
            Limit(
                "one group: DPO",
                lambda b: o.group_dpo(replace(b, groups=0 * b.groups), beta=1.0, temperature=0.5),
                DPO,
            ),
            Limit(
                "tau -> 0: worst group", partial(o.group_dpo, beta=1.0, temperature=1e-3), worst_group, 1e-2
            ),
        ),
        monotone=True,
        minimiser=groups,
        robust=Robust("temperature", 1, of_groups),
        bad=({"temperature": 0.0}, {"beta": 0.0}),
    ),
]
SFT = Case(
    "sft",
    o.sft,
    mean(*(-r - u for r, u in zip(REF_CHOSEN, U))),
    pulls=("chosen",),
    monotone=True,
    minimiser=preferred(0.4),
    bad=(),
    skip={2: "no hyper-parameter"},
)
CASES = [SFT, *PAIRED, *UNPAIRED]
assert len(GROUPS) == len(U)
assert len({case.name for case in CASES}) == len(CASES)
