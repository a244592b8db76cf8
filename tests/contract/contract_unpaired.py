"""The rows of the contract that read unpaired data, and those of both AOTs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from contract_kit import DPO, Batch, Case, Limit, Loss, U, V, mean, of_classes, sigma, sp
from contract_minimisers import mirrored, no_minimiser_but_a_classifier, of_aot, preferred
from torch import Tensor
from torch.nn.functional import softplus

from distalign import objectives as o
from distalign.objectives import declared


def aot_cases(function: Callable[..., Tensor], gaps: tuple[float, ...]) -> list[Case]:
    """`gaps` are the differences of the sorted hand-computed values."""
    paired = declared(function).data == "pairs"
    name, bad = function.__name__, ({"margin": None}, {"margin": -1.0})

    def form(penalty: str, margin: float = 1.0) -> Loss:
        return partial(function, penalty=penalty, margin=margin)

    def one_hinge(b: Batch) -> Tensor:
        return (1 - b.chosen_ratio + b.rejected_ratio).relu().sum()

    return [
        Case(
            f"{name} logistic",
            partial(function, beta=0.5),
            mean(*(sp(-x / 2) for x in gaps)),
            (Limit("one pair: DPO", partial(function, beta=1.0), DPO, cut=True),),
            monotone=True,
            minimiser=of_aot("logistic", paired=paired),
            bad=({"beta": 0.0}, {"beta": None}, {"penalty": "zero_one"}),
        ),
        Case(
            f"{name} squared_hinge",
            form("squared_hinge"),
            mean(*(max(1 - x, 0) ** 2 for x in gaps)),
            (
                Limit(
                    "margin out of reach: least squares",
                    form("squared_hinge", 99.0),
                    form("least_squares", 99.0),
                ),
            ),
            monotone=True,
            minimiser=of_aot("squared_hinge", paired=paired),
            bad=bad,
        ),
        Case(
            f"{name} hinge",
            form("hinge"),
            mean(*(max(1 - x, 0) for x in gaps)),
            (Limit("one pair: hinge of the difference", form("hinge"), one_hinge, cut=True),),
            monotone=True,
            minimiser=of_aot("hinge", paired=paired),
            bad=bad,
        ),
        Case(
            f"{name} least_squares",
            form("least_squares"),
            mean(*((1 - x) ** 2 for x in gaps)),
            (Limit("one pair: IPO", form("least_squares"), partial(o.ipo, beta=0.5), cut=True),),
            minimiser=of_aot("least_squares", paired=paired),
            bad=bad,
        ),
    ]


def frozen_bco(at: Batch) -> Loss:
    d = torch.cat([at.chosen_ratio, at.rejected_ratio]).mean().detach() / 2
    return lambda b: torch.cat([softplus(d - b.chosen_ratio / 2), softplus(b.rejected_ratio / 2 - d)]).mean()


def frozen_kto(at: Batch) -> Loss:
    return partial(
        o.kto, beta=0.5, kl=max(0.0, float(torch.cat([at.chosen_ratio, at.rejected_ratio]).mean()))
    )


def half(b: Batch) -> Tensor:
    return b.chosen.new_tensor(0.5)


def ratio(x: float) -> float:
    """r = p+/p- that a log-ratio x implies at prior 1/10."""
    return 0.9 * math.exp(x) / (1 - math.exp(x) / 10)


def ddro_case(name: str, h: Callable[[float], float], k: Callable[[float], float], limit: Limit) -> Case:
    """Prior 1/10: t e^2 = 0.74 keeps the three pairs inside the domain."""
    return Case(
        f"ddro {name}",
        partial(o.ddro, prior=0.1, ratio_loss=name),
        of_classes(h, k),
        (limit,),
        pulls=(),
        barrier=True,
        monotone=True,
        minimiser=preferred(0.1),
        bad=({"prior": 0.0}, {"prior": 1.0}, {"ratio_loss": "ratio"}, {"stabiliser": "clip"}),
    )


def ddro_cases() -> list[Case]:
    def ddro(prior: float, name: str = "label_mle") -> Loss:
        return partial(o.ddro, prior=prior, ratio_loss=name)

    def squares(b: Batch) -> Tensor:
        return (2 * b.rejected_ratio).exp().mean() / 2 - b.chosen_ratio.exp().mean()

    def mass(b: Batch) -> Tensor:
        return b.rejected_ratio.exp().mean() - b.chosen_ratio.mean()

    return [
        ddro_case(
            "label_mle",
            lambda u: -(u - math.log(10)) / 10,
            lambda v: -0.9 * math.log(1 - math.exp(v) / 10),
            Limit("prior 1/2: half of logistic", ddro(0.5), ddro(0.5, "logistic"), factor=0.5),
        ),
        ddro_case(
            "logistic",
            lambda u: math.log(1 + 1 / ratio(u)),
            lambda v: math.log(1 + ratio(v)),
            Limit("prior 1/2: twice the label likelihood", ddro(0.5, "logistic"), ddro(0.5), factor=2.0),
        ),
        ddro_case(
            "lsif",
            lambda u: -ratio(u),
            lambda v: ratio(v) ** 2 / 2,
            Limit("prior -> 0: least squares on e^u", ddro(1e-9, "lsif"), squares, 1e-6),
        ),
        ddro_case(
            "kliep",
            lambda u: -math.log(ratio(u)),
            ratio,
            Limit("prior -> 0: SFT and a mass", ddro(1e-9, "kliep"), mass, 1e-6),
        ),
    ]


def stabilised_cases() -> list[Case]:
    """Prior 1/4 and epsilon 1/20: t e^2 = 1.85 is beyond the wall, the other pairs are inside."""
    both, wall = ("chosen", "rejected"), math.log(0.05)

    def case(name: str, complement: Callable[[float], float], pulls: tuple[str, ...], **other: Any) -> Case:
        loss = partial(o.ddro, prior=0.25, stabiliser=name)
        hand = of_classes(lambda u: (math.log(4) - u) / 4, lambda v: -0.75 * complement(math.exp(v) / 4))
        rest = {
            "hand": hand,
            "limits": (Limit("inside the domain: none", loss, partial(o.ddro, prior=0.25)),),
            **other,
        }
        return Case(
            f"ddro {name}",
            loss,
            pulls=pulls,
            monotone=True,
            minimiser=preferred(0.25, holds=name != "squash"),
            bad=({"epsilon": 0.0}, {"epsilon": 1.0}),
            **rest,
        )

    def cross_entropy(b: Batch) -> Tensor:
        shift = math.log(4)
        return softplus(shift - b.chosen_ratio).mean() / 4 + 0.75 * softplus(b.rejected_ratio - shift).mean()

    squash = partial(o.ddro, prior=0.25, stabiliser="squash")
    return [
        case("floor", lambda x: math.log(max(1 - x, 0.05)), both[:1]),
        case("linear_ratio", lambda x: math.log(1 - x) if x < 0.95 else wall - (x - 0.95) / 0.05, both),
        case(
            "linear_log_ratio",
            lambda x: math.log(1 - x) if x < 0.95 else wall - 19 * math.log(x / 0.95),
            both,
        ),
        case(
            "squash",
            lambda x: 0.0,
            both,
            limits=(Limit("is cross entropy with an offset", squash, cross_entropy),),
            hand=of_classes(
                lambda u: math.log(1 + 4 * math.exp(-u)) / 4, lambda v: 0.75 * math.log(1 + math.exp(v) / 4)
            ),
        ),
    ]


def label_regression(b: Batch) -> Tensor:
    return softplus(-b.chosen_ratio).mean() + softplus(b.rejected_ratio).mean()


def rdro_form_cases() -> list[Case]:
    """Contract rows of the two forms in e^u itself; their rejected term vanishes at small ratios, RuLSIF's
    chosen term, too.
    """

    def case(
        form: str,
        chosen: Callable[[float], float],
        rejected: Callable[[float], float],
        limit: Limit,
        pulls: tuple[str, ...],
    ) -> Case:
        return Case(
            f"rdro {form}",
            partial(o.rdro, alpha=0.4, form=form),
            of_classes(chosen, rejected),
            (limit,),
            pulls=pulls,
            minimiser=preferred(0.4),
            bad=({"alpha": 0.0}, {"alpha": 1.0}, {"form": "lsif"}),
        )

    def small(form: str) -> Loss:
        return partial(o.rdro, alpha=1e-9, form=form)

    def direct(name: str) -> Loss:
        return partial(o.ddro, prior=1e-9, ratio_loss=name)

    return [
        case(
            "rulsif",
            lambda u: 0.2 * math.exp(2 * u) - math.exp(u),
            lambda v: 0.3 * math.exp(2 * v),
            Limit("alpha -> 0: LSIF", small("rulsif"), direct("lsif"), 1e-6),
            ("rejected",),
        ),
        case(
            "rkliep",
            lambda u: 0.4 * math.exp(u) - u,
            lambda v: 0.6 * math.exp(v),
            Limit("alpha -> 0: KLIEP", small("rkliep"), direct("kliep"), 1e-6),
            ("chosen", "rejected"),
        ),
    ]


RDRO_HAND = of_classes(lambda u: 1.4 * sp(u) - u, lambda v: 0.6 * sp(v))
UNPAIRED = [
    *aot_cases(o.aot_unpaired, (0.0, 0.0, -1.0)),  # -1, 0, 1 against -1, 0, 2
    Case(
        "kto",
        partial(o.kto, beta=0.5),
        mean(*(sigma((1 / 6 - u) / 2) for u in U), *(sigma((v - 1 / 6) / 2) for v in V)),
        (Limit("beta -> 0: one half", partial(o.kto, beta=1e-9), half, 1e-8),),
        frozen=frozen_kto,
        pulls=(),
        monotone=True,
        minimiser=no_minimiser_but_a_classifier,
        bad=({"beta": 0.0}, {"desirable_weight": -1.0}, {"undesirable_weight": -1.0}),
    ),
    Case(
        "kto kl",
        partial(o.kto, beta=0.5, kl=0.5, desirable_weight=2.0),
        mean(*(2 * sigma((0.5 - u) / 2) for u in U), *(sigma((v - 0.5) / 2) for v in V)),
        (Limit("beta -> 0: one half", partial(o.kto, beta=1e-9, kl=0.5), half, 1e-8),),
        pulls=(),
        monotone=True,
        minimiser=no_minimiser_but_a_classifier,
        bad=({"kl": -1.0},),
    ),
    Case(
        "bco",
        partial(o.bco, beta=0.5),
        mean(*(sp(1 / 12 - u / 2) for u in U), *(sp(v / 2 - 1 / 12) for v in V)),
        (Limit("one pair: DPO at half of beta", partial(o.bco, beta=2.0), DPO, cut=True),),
        frozen=frozen_bco,
        monotone=True,
        minimiser=mirrored,
    ),
    *ddro_cases(),
    *stabilised_cases(),
    *rdro_form_cases(),
    Case(
        "rdro class_mean",
        partial(o.rdro, alpha=0.4),
        RDRO_HAND,
        (Limit("alpha -> 0: label regression", partial(o.rdro, alpha=1e-9), label_regression, 1e-7),),
        minimiser=preferred(0.4),
        bad=({"alpha": 0.0}, {"alpha": 1.0}, {"reduction": "sum"}),
    ),
    Case(
        "rdro batch_mean",
        partial(o.rdro, alpha=0.4, reduction="batch_mean"),
        RDRO_HAND / 2,
        (
            Limit(
                "classes of equal size: half",
                partial(o.rdro, alpha=0.4, reduction="batch_mean"),
                partial(o.rdro, alpha=0.4),
                factor=0.5,
            ),
        ),
        minimiser=preferred(0.4, holds=False),
        bad=({"alpha": 0.0}, {"alpha": 1.0}),
    ),
]
