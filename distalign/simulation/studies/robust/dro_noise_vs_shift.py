"""KLDPO and Dr. DPO are one formula with opposite signs, so each loses to DPO where the other wins.

The claim is ours. Training labels are flipped with probability e, and the policy is judged on clean labels
of a reward that has moved a share s of the way to another reward at an angle of 120 degrees. Flipped labels
shrink the margin that DPO learns and KLDPO shrinks it again, so there KLDPO loses to DPO and Dr. DPO wins;
a conflicting reward asks for a shorter margin, and it is the other way round. Everything is exact: infinite
data, no sampling.

The run has two parts:

- `grid`: random log-linear populations. The excess of each method's loss on the clean, moved law over DPO's
  is paired by population. DPO's solution times KLDPO's factor tau / (1 + tau) runs along as a control.
- `optima`: policies with one free margin per prompt. Each torch objective is minimised, for a pair whose
  chosen response wins with probability p.

The two roads. In `grid` Newton's method on the torch losses gives the policies, and the population gives
the loss they are judged by. In `optima` the fitted margins stand against the closed forms of
`distalign.theory.robust.algorithms.pair_optimum`.

The checks:

- with labels flipped at 0.2: DPO's loss is above Dr. DPO's and KLDPO's above DPO's; Dr. DPO's is above that
  of rDPO, which is told the flip rate; and cDPO's is above DPO's;
- with clean labels and the reward moved all the way: Dr. DPO's loss is above DPO's, and DPO's above
  KLDPO's;
- the margin of one pair is its closed form, for every objective.

The planted defects: the sign of the tilt turned in Dr. DPO, and in KLDPO, and the sign of the correction
turned in rDPO, and in cDPO, each of which then wins where it should lose; and Dr. DPO's temperature 5 % too
large, which moves the margin.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from distalign.objectives import cdpo, chi_po, dpo, dr_dpo, ipo, kldpo, rdpo
from distalign.policies import Tabular
from distalign.populations import Population, at_angle, log_linear_bradley_terry, reward_shift
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.studies.robust import toy
from distalign.simulation.verdict import Check, identity, separation
from distalign.theory.robust.algorithms import pair_optimum
from distalign.theory.robust.kldpo import shrinkage_factor

DEFECTS = (
    Defect(
        "the sign of the tilt turned in Dr. DPO",
        dr_dpo,
        lambda right: lambda batch, *, beta, temperature: kldpo(batch, beta=beta, temperature=temperature),
        where(part="grid"),
    ),
    Defect(
        "the sign of the tilt turned in KLDPO",
        kldpo,
        lambda right: lambda batch, *, beta, temperature: dr_dpo(batch, beta=beta, temperature=temperature),
        where(part="grid"),
    ),
    Defect(
        "the sign of the flip rate turned in rDPO",
        rdpo,
        lambda right: lambda batch, *, beta, flip_rate: cdpo(batch, beta=beta, label_smoothing=flip_rate),
        where(part="grid"),
    ),
    Defect(
        "the sign of the smoothing turned in cDPO",
        cdpo,
        lambda right: (
            lambda batch, *, beta, label_smoothing: rdpo(batch, beta=beta, flip_rate=label_smoothing)
        ),
        where(part="grid"),
    ),
    Defect(
        "Dr. DPO's temperature 5 % too large",
        dr_dpo,
        argument("temperature", lambda t: 1.05 * t),
        where(part="optima"),
    ),
)
PROMPTS, RESPONSES, DIMENSION, NORM, ANGLE = 6, 5, 5, 2.5, 120.0
# tau of KLDPO (it shrinks by 1/2), beta' of Dr. DPO (it stretches by 3/2), epsilon of cDPO
TEMPERATURE, STRETCH, SMOOTHING = 1.0, 3.0, 0.1
NOISY, MOVED = 0.2, 1.0  # flip rate and share of the moved reward that the checks compare at
LIKELY = np.array([0.55, 0.7, 0.9, 0.97])  # win probabilities of the pairs in `optima`
METHODS = ("KLDPO", "shrunk DPO", "Dr. DPO", "cDPO", "rDPO")
CLIP = 50.0


def cells(flips: list[float], shares: list[float], instances: int, blocks: int) -> list[dict[str, Any]]:
    """One cell per block of random populations, and one for the closed forms."""
    return [
        {"part": "optima"},
        *(
            {"part": "grid", "flips": flips, "shares": shares, "instances": instances, "block": i}
            for i in range(blocks)
        ),
    ]


def run(rng: np.random.Generator, *, part: str, **arguments: Any) -> dict[str, Any]:
    """The rows of one part of the study."""
    return _optima() if part == "optima" else _grid(rng, **arguments)


def _objectives(flip: float) -> dict[str, Any]:
    return {
        "DPO": partial(dpo, beta=1.0),
        "KLDPO": partial(kldpo, beta=1.0, temperature=TEMPERATURE),
        "Dr. DPO": partial(dr_dpo, beta=1.0, temperature=STRETCH),
        "cDPO": partial(cdpo, beta=1.0, label_smoothing=SMOOTHING),
        "rDPO": partial(rdpo, beta=1.0, flip_rate=flip),
    }


def _grid(
    rng: np.random.Generator,
    *,
    flips: list[float],
    shares: list[float],
    instances: int,
    block: int,
) -> dict[str, Any]:
    """Clean loss of every method on every moved law."""
    instances_drawn = [
        log_linear_bradley_terry(rng, PROMPTS, RESPONSES, DIMENSION, norm=NORM, beta=1.0)
        for _ in range(instances)
    ]
    moved_instances = [
        [reward_shift(a, end, s) for s in shares]
        for a in instances_drawn
        for end in [at_angle(a.theta_star, ANGLE, rng)]
    ]
    v, clean = (np.stack(x) for x in zip(*(toy.atoms(a) for a in instances_drawn), strict=True))
    moved_laws = np.stack([[toy.atoms(b)[1] for b in row] for row in moved_instances])
    moved_optima = np.stack([[b.theta_star for b in row] for row in moved_instances])
    least_loss = (moved_laws * toy.losses(moved_optima, v[:, None])).sum(-1)
    flipped_laws = np.stack([toy.flipped(a) for a in instances_drawn])
    tables = []
    for flip in flips:
        for method, (theta, converged) in _fits(v, (1 - flip) * clean + flip * flipped_laws, flip).items():
            excess = (moved_laws * toy.losses(theta, v)[:, None]).sum(-1) - least_loss
            tables += [
                pd.DataFrame(
                    {
                        "method": method,
                        "flip": flip,
                        "shift": share,
                        "instance": block * instances + np.arange(instances),
                        "excess": np.where(converged, excess[:, i], np.nan),
                        "cosine": toy.cosine(theta, np.stack([a.theta_star for a in instances_drawn])),
                        "length": np.linalg.norm(theta, axis=1) / NORM,
                    }
                )
                for i, share in enumerate(shares)
            ]
    return dict(pd.concat(tables, ignore_index=True))


def _fits(v: np.ndarray, p: np.ndarray, flip: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(R, d) minimiser of each method and whether it is certified, with DPO's shrunk by KLDPO's factor as
    control.
    """
    fits = {}
    for method, objective in _objectives(flip).items():

        def loss(theta: Tensor, v: Tensor, p: Tensor, objective: Any = objective) -> Tensor:
            return objective(toy.batch(v @ theta, p))

        fits[method] = toy.fits(loss, v, p)
    theta, converged = fits["DPO"]
    return {**fits, "shrunk DPO": (shrinkage_factor(TEMPERATURE) * theta, converged)}


def _optima() -> dict[str, Any]:
    """The fitted margin of one prompt with two responses, per win probability, and its closed form."""
    objectives = {
        **_objectives(SMOOTHING),
        "IPO": partial(ipo, beta=1.0),
        "chi-PO": partial(chi_po, beta=1.0, clip=CLIP),
    }
    settings = {"KLDPO": TEMPERATURE, "Dr. DPO": STRETCH, "cDPO": SMOOTHING, "rDPO": SMOOTHING}
    tables = []
    for method, objective in objectives.items():
        p = LIKELY if method != "rDPO" else np.clip(LIKELY, SMOOTHING + 0.05, 1 - SMOOTHING - 0.05)
        population = Population(
            win=np.stack([[[0.5, x], [1 - x, 0.5]] for x in p]), reference=np.full((len(p), 2), 0.5)
        )
        minimiser = fit(Tabular(population.reference), objective, population.pairs(distinct=True))
        ratios = minimiser.log_probs - np.log(population.reference)
        # chi-PO's closed form is of its link, e^x + x, of the log-ratio x; the others' is of x itself.
        link = np.exp(ratios) + ratios if method == "chi-PO" else ratios
        tables.append(
            pd.DataFrame(
                {
                    "method": method,
                    "p": p,
                    "fitted": link[:, 0] - link[:, 1],
                    "closed": pair_optimum(method, p, settings.get(method, np.nan)),
                }
            )
        )
    return dict(pd.concat(tables, ignore_index=True))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean excess over DPO's, with its interval, per method, noise and shift."""
    wide = _over_dpo(rows)
    long = wide.reset_index().melt(
        id_vars=["flip", "shift", "instance"], value_name="excess", var_name="method"
    )
    lengths = (
        rows.loc[rows.part == "grid"]
        .groupby(["method", "flip", "shift"], as_index=False)[["length", "cosine"]]
        .mean()
    )
    return summarise(long, ["method", "flip", "shift"], "excess").merge(lengths)


def _over_dpo(rows: pd.DataFrame) -> pd.DataFrame:
    """Excess loss minus DPO's: one column per method, one row per population, noise and shift."""
    wide = rows.loc[rows.part == "grid"].pivot(
        index=["flip", "shift", "instance"], columns="method", values="excess"
    )
    return wide[list(METHODS)].sub(wide["DPO"], axis=0)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Where each tilt wins and loses against DPO, what knowing the flip rate is worth, and the closed
    forms.
    """
    wide, optima = _over_dpo(rows), rows.loc[rows.part == "optima"]
    noise, shift = (
        wide.xs((NOISY, 0.0), level=("flip", "shift")),
        wide.xs((0.0, MOVED), level=("flip", "shift")),
    )
    noise_name, shift_name = f"labels flipped at {NOISY:g}", "clean labels, reward moved"
    return [
        separation(f"{noise_name}: DPO's loss minus Dr. DPO's", -noise["Dr. DPO"]),
        separation(f"{noise_name}: KLDPO's minus DPO's", noise["KLDPO"]),
        separation(f"{shift_name}: Dr. DPO's minus DPO's", shift["Dr. DPO"]),
        separation(f"{shift_name}: DPO's minus KLDPO's", -shift["KLDPO"]),
        separation(
            f"{noise_name}: Dr. DPO's minus rDPO's at the true rate", noise["Dr. DPO"] - noise["rDPO"]
        ),
        separation(f"{noise_name}: cDPO's minus DPO's", noise["cDPO"]),
        identity("margin of one pair = closed form", optima.fitted - optima.closed, 1e-6),
    ]
