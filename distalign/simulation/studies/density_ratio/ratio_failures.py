"""How often training on the density ratio fails, by dimension, overlap of p+ and p- and learning rate.

The claim. RDRO's abstract says that the ratio p+/p-, which DDRO models, is unstable and can diverge, and that
the relative ratio is bounded. It is shown here as shares of failed runs, with reasons that are predicted
(`distalign.theory.density_ratio.failures`): the step of gradient descent is too long for the curvature, which
for DDRO grows with p+/p- and for RDRO does not; or a response was chosen and never rejected, so that DDRO's
fit gives it an infinite p+/p-. RDRO is no cure for a step beyond its own limit, and on samples its fitted
ratio exceeds 1/alpha, too, though by little. The theorems of either paper and DDRO's own stabilisers were not
seen: stabilisers are ours.

The run. Gradient descent on the logits of a table, from the reference, on labels of responses that are drawn
from it; their number is Poisson. Learning rates are multiples of RDRO's largest stable step at p+. A run has
failed if its loss was not finite in some step, if in the end pi/p_ref is above twice its largest possible
value 1/t for some response, or if total variation to p+ is then above that of the reference. These rules were
fixed beforehand, and so were the checks, but for that of DDRO with a floor: the first runs showed that by
these rules few of its runs fail where p+ and p- overlap little.

The two roads. Failures are counted in training by the package's objectives; theory has the Hessian by hand,
the shares by a formula. Whether the fit of a sample has an infinite ratio is read from an exact solver, whose
solutions make the gradient of the objectives 0, and from the counts.

The checks:

- identities, by exceptions: next to p+, gradient descent returns to it at 0.95 of the predicted largest step
  and leaves it at 1.05, for SFT, RDRO and DDRO as it stands and with three stabilisers; the fit of DDRO as it
  stands has an infinite ratio exactly where a chosen response was never rejected; the number of such samples
  is binomial with the predicted share, over all cells at the level of the ledger (tried first: Wilson's
  interval, which is too short for shares near 1, and that level for each cell, missed by one of 135); where
  p+/p- reaches 30 no run of RDRO fails at half its largest stable step, and all do at three times that step.
  Nearer to the reference few labels can make any fit worse than it;
- identities: gradients at the exact solutions; where p- has no mass RDRO's ratio is the bound 1/alpha;
- separations, where p+/p- reaches 30, at half of RDRO's largest stable step: the share of failed runs is
  larger than RDRO's for DDRO as it stands and with either linear continuation; with a floor, whose runs get
  stuck rather than run away, and squashed, which has another target, they end further from p+ than RDRO's;
- a bound: gradient norms in training stay below those of theory, of which RDRO's is twice that of squashed
  DDRO and far below those with a floor or linear in the log-ratio.

The planted defects: the losses 10 % too large; DDRO squashed whatever is asked for, or not squashed where it
is asked for; RDRO of another form; the prior of DDRO 10 % too small; the wall of DDRO enforced in the solver;
alpha of the RDRO solver 10 % too small; the predicted share 10 % too small.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from scipy.optimize import root_scalar
from scipy.stats import binom
from torch import Tensor
from torch.func import vmap

from distalign.intervals import LEVEL, SIMULTANEOUS, wilson
from distalign.objectives import ddro, rdro, sft
from distalign.populations import Law
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, no_cell, result, where
from distalign.simulation.fit import Objective
from distalign.simulation.studies.density_ratio.estimators import (
    acceptance,
    frequencies,
    torch_gradients,
    total_variation,
)
from distalign.simulation.verdict import Check, bound, identity, separation
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.theory.density_ratio import failures as theory
from distalign.types import Array

PRIOR, WALL = 0.5, 1e-3  # WALL: where stabilisers set in, beyond the largest q of the populations
RUNAWAY = 2.0  # times 1/t above which a ratio of a policy to the reference has run away
STEPS, NEAR_STEPS, STARTS, NEAR = 200, 150, 10, 1e-6
BELOW, ABOVE = 0.95, 1.05  # multiples of the largest stable step that are tried next to p+
HALF, TOO_LONG, LARGE = 0.5, 3.0, 30.0  # multiples of RDRO's step; p+/p- from which DDRO is to fail more
LABELS, CERTIFIED = (
    50,
    8,
)  # mean number of labels of a response in training; samples whose gradients are looked at
LOSSES: dict[str, Objective] = {
    "SFT": sft,
    "RDRO": partial(rdro, alpha=PRIOR),
    "DDRO as it stands": partial(ddro, prior=PRIOR),
    "DDRO, floor": partial(ddro, prior=PRIOR, stabiliser="floor", epsilon=WALL),
    "DDRO, linear in the ratio": partial(ddro, prior=PRIOR, stabiliser="linear_ratio", epsilon=WALL),
    "DDRO, linear in its logarithm": partial(ddro, prior=PRIOR, stabiliser="linear_log_ratio", epsilon=WALL),
    "DDRO, squashed": partial(ddro, prior=PRIOR, stabiliser="squash"),
}
SQUASHED, FLOOR = "DDRO, squashed", "DDRO, floor"
KEPT = ("DDRO as it stands", "DDRO, linear in the ratio", "DDRO, linear in its logarithm")
BOUNDED = {
    "SFT": "SFT",
    "RDRO": "RDRO",
    SQUASHED: "squash",
    FLOOR: "floor",
    "DDRO, linear in its logarithm": "linear_log_ratio",
}


def cells(
    responses: list[int],
    sups: list[float],
    labels: list[int],
    samples: int,
    replicates: int,
    multiples: list[float],
) -> list[dict[str, Any]]:
    """For each number of responses: runs next to p+, training and exact fits on samples, and laws apart."""
    out: list[dict[str, Any]] = []
    for k in responses:
        near = [m for m in LOSSES if m != SQUASHED]
        out += [{"part": "near", "responses": k, "method": m, "sups": sups} for m in near]
        training = {"sups": sups, "replicates": replicates, "multiples": multiples}
        out += [{"part": "training", "responses": k, "method": m, **training} for m in LOSSES]
        fits = [{"sup": sup, "labels": n, "replicates": samples} for sup in sups for n in labels]
        out += [{"part": "samples", "responses": k, **fit} for fit in fits]
        out.append({"part": "apart", "responses": k, "replicates": STARTS})
    return out


@cache
def population(responses: int, sup: float) -> tuple[Array, Array]:
    """Reference and shares q of chosen, (K,) each: scores scaled until max p+/p- = sup; fixed seed."""
    rng = np.random.default_rng(11)
    ref, h = rng.dirichlet(np.full(responses, 5.0)), rng.normal(size=responses)

    def excess(scale: float) -> float:
        q = acceptance(scale * h, ref, PRIOR)[np.argmax(h)]
        return float(np.log(q) - np.log1p(-q) - np.log(sup))

    return ref, acceptance(root_scalar(excess, bracket=(0, 8)).root * h, ref, PRIOR)


def run(rng: np.random.Generator, *, part: str, responses: int, **arguments: Any) -> dict[str, Any]:
    """The rows of one part."""
    parts: dict[str, Callable[..., pd.DataFrame]] = {
        "near": _near,
        "training": _training,
        "samples": _samples,
        "apart": _apart,
    }
    return dict(parts[part](rng, responses=responses, **arguments))


def _near(rng: np.random.Generator, responses: int, method: str, sups: list[float]) -> pd.DataFrame:
    """Distance to p+ after gradient descent next to it, in units of that at the start, on the exact laws."""
    rows = pd.DataFrame(
        list(product(sups, (BELOW, ABOVE), range(STARTS))), columns=["sup", "multiple", "replicate"]
    )
    ref, q = (np.stack(x) for x in zip(*(population(responses, sup) for sup in rows.sup), strict=True))
    up, down = ref * q / PRIOR, ref * (1 - q) / (1 - PRIOR)
    optimum, start = np.log(up / ref), NEAR * rng.normal(size=ref.shape)
    start -= start.mean(1, keepdims=True)
    limit = {sup: theory.largest_step(_family(method), *population(responses, sup)) for sup in sups}
    rates = (rows.multiple * rows.sup.map(limit)).to_numpy(float)
    found = descend(LOSSES[method], ref, (up, down), rates, NEAR_STEPS, optimum + start)
    grown = np.linalg.norm(found["theta"] - optimum, axis=1) / np.linalg.norm(start, axis=1)
    return rows.assign(grown=np.where(found["finite"], grown, np.inf))


def _training(
    rng: np.random.Generator,
    responses: int,
    method: str,
    sups: list[float],
    replicates: int,
    multiples: list[float],
) -> pd.DataFrame:
    """How runs from the reference end, at each step on the same samples."""
    parts = []
    for sup in sups:
        ref, q = population(responses, sup)
        up, down = _draw(rng, ref, q, LABELS, replicates)
        limit, p_plus = theory.largest_step("RDRO", ref, q), ref * q / PRIOR
        for multiple in multiples:
            of_runs = {"sup": sup, "multiple": multiple, "replicate": np.arange(replicates)}
            parts.append((pd.DataFrame(of_runs), limit * multiple, ref, p_plus, up, down))
    rows = pd.concat([part[0] for part in parts], ignore_index=True)
    rates = np.repeat([part[1] for part in parts], replicates)
    ref, p_plus = (np.repeat([part[i] for part in parts], replicates, axis=0) for i in (2, 3))
    laws = np.concatenate([part[4] for part in parts]), np.concatenate([part[5] for part in parts])
    found = descend(LOSSES[method], ref, laws, rates, STEPS, np.zeros_like(ref))
    policy = np.exp(found["log_probs"])
    largest, error = PRIOR * (policy / ref).max(1), total_variation(policy, p_plus)
    reasons = {
        "not_finite": np.logical_not(found["finite"]),
        "ran_away": largest > RUNAWAY,
        "worse": error > total_variation(ref, p_plus),
    }
    failed = np.any(list(reasons.values()), axis=0)
    return rows.assign(**reasons, failed=failed, error=error, norm=found["norm"])


def _samples(
    rng: np.random.Generator, responses: int, sup: float, labels: int, replicates: int
) -> pd.DataFrame:
    """Exact fits of DDRO as it stands and of RDRO on samples: largest t pi/p_ref, and what the counts say."""
    ref, q = population(responses, sup)
    up, down = _draw(rng, ref, q, labels, replicates)
    raw = ddro_policy(up, down, ref, prior=PRIOR, domain="rejected")
    relative = rdro_policy(up, down, ref, alpha=PRIOR)
    atoms, tables = np.arange(responses), []
    law = Law(atoms, atoms, up, down)
    for name, fitted in (("DDRO as it stands", raw), ("RDRO", relative)):
        largest = PRIOR * (fitted.policy / ref).max(1)
        tables.append(
            pd.DataFrame(
                {
                    "method": name,
                    "replicate": np.arange(replicates),
                    "largest": np.where(fitted.solved, largest, np.nan),
                    "infinite": largest >= 1,
                    "unanswered": ((up > 0) & (down == 0)).any(1),
                    "gradient": torch_gradients(LOSSES[name], fitted.policy, ref, law, count=CERTIFIED),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _apart(rng: np.random.Generator, responses: int, replicates: int) -> pd.DataFrame:
    """RDRO's fit on exact laws of which p- misses a response: alpha times its ratio there, less 1."""
    atoms, rows = np.arange(responses), []
    for _ in range(replicates):
        ref, q = rng.dirichlet(np.full(responses, 5.0)), rng.uniform(0.5, 1.0, responses)
        missed = int(np.argmin(ref))
        rest = atoms != missed
        q = np.where(rest, q * (PRIOR - ref[missed]) / (ref[rest] @ q[rest]), 1.0)  # below 1 in the rest
        up, down = ref * q / PRIOR, ref * (1 - q) / (1 - PRIOR)
        fitted = rdro_policy(up, down, ref, alpha=PRIOR).policy
        law = Law(atoms, atoms, up[None], down[None])
        gradient = torch_gradients(LOSSES["RDRO"], fitted[None], ref, law)[0]
        rows.append(
            {"method": "RDRO", "bounded": PRIOR * fitted[missed] / ref[missed] - 1, "gradient": gradient}
        )
    return pd.DataFrame(rows)


def _draw(
    rng: np.random.Generator, ref: Array, q: Array, labels: int, replicates: int
) -> tuple[Array, Array]:
    """(R, K) frequencies of chosen and of rejected responses; K `labels` labels on average, Poisson."""
    mean = labels * len(ref) * ref
    chosen, rejected = (rng.poisson(mean * share, (replicates, len(ref))) for share in (q, 1 - q))
    return frequencies(chosen.astype(float), rejected.astype(float))


def descend(
    loss: Objective, ref: Array, laws: tuple[Array, Array], rates: Array, steps: int, start: Array
) -> dict[str, Array]:
    """Gradient descent on the logits (R, K) relative to the reference, each row with its own laws and rate.

    A row whose loss or gradient is not finite stands still from then on.

    Returns:
        theta and log_probs (R, K) at the end, finite (R,) and norm (R,), the largest of the gradients.
    """
    log_ref = torch.from_numpy(np.log(ref))
    up, down = (torch.from_numpy(np.ascontiguousarray(law)) for law in laws)
    rate, theta = torch.tensor(rates)[:, None], torch.from_numpy(start.copy())
    finite, norm = torch.ones(len(rates), dtype=torch.bool), torch.zeros(len(rates), dtype=torch.float64)

    def value(logits: Tensor, before: Tensor, chosen: Tensor, rejected: Tensor) -> Tensor:
        log_probs = torch.log_softmax(before + logits, -1)
        sides = log_probs, log_probs, before, before
        return loss(PreferenceLogProbs(*sides, weights=chosen, rejected_weights=rejected, validate=False))

    values = vmap(value)
    for _ in range(steps):
        theta = theta.detach().requires_grad_()
        of_rows = values(theta, log_ref, up, down)
        (gradient,) = torch.autograd.grad(of_rows.sum(), theta)
        finite &= torch.isfinite(of_rows.detach()) & torch.isfinite(gradient).all(-1)
        norm = torch.where(finite, torch.maximum(norm, gradient.norm(dim=1)), norm)
        theta = torch.where(finite[:, None], theta.detach() - rate * gradient, theta.detach())
    end = torch.log_softmax(log_ref + theta, -1)
    return {"theta": theta.numpy(), "log_probs": end.numpy(), "finite": finite.numpy(), "norm": norm.numpy()}


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares of failed runs with Wilson's intervals and by reason; shares of samples whose fit of DDRO has an
    infinite ratio, beside their formula.
    """
    out = []
    by = ["responses", "sup", "method", "multiple"]
    for key, mine in rows.loc[rows.part == "training"].groupby(by):
        k, sup, name, multiple = cast(tuple[int, float, str, float], key)
        ref, q = population(int(k), float(sup))
        own = np.nan if name == SQUASHED else theory.largest_step(_family(name), ref, q)
        low, high = wilson(float(mine.failed.mean()), len(mine), LEVEL)
        out.append(
            {
                "part": "training",
                "responses": k,
                "sup": sup,
                "method": name,
                "multiple": multiple,
                "share": mine.failed.mean(),
                "low": low,
                "high": high,
                "limit": own / theory.largest_step("RDRO", ref, q),
                **{reason: mine[reason].mean() for reason in ("not_finite", "ran_away", "worse")},
                "error": mine.error.mean(),
                "largest_norm": mine.norm.max(),
                "runs": len(mine),
            }
        )
    by = ["responses", "sup", "labels", "method"]
    for key, mine in rows.loc[rows.part == "samples"].groupby(by):
        k, sup, n, name = cast(tuple[int, float, int, str], key)
        low, high = wilson(float(mine.infinite.mean()), len(mine), LEVEL)
        out.append(
            {
                "part": "samples",
                "responses": k,
                "sup": sup,
                "labels": n,
                "method": name,
                "share": mine.infinite.mean(),
                "low": low,
                "high": high,
                "predicted": _predicted(int(k), float(sup), int(n))
                if name == "DDRO as it stands"
                else np.nan,
                "largest": mine.largest.max(),
                "runs": len(mine),
            }
        )
    return pd.DataFrame(out)


def _family(name: str) -> str:
    """The loss of theory that a method is next to p+."""
    return "DDRO" if name.startswith("DDRO") else name


def _predicted(responses: int, sup: float, labels: int) -> float:
    ref, q = population(responses, sup)
    mean = labels * responses * ref
    return theory.infinite_ratio_share(mean * q, mean * (1 - q))


def checks(rows: pd.DataFrame) -> list[Check]:
    """The largest stable step, infinite ratios, failed runs, gradient norms, and RDRO's bound."""
    near, training, fits, apart = (rows.loc[rows.part == p] for p in ("near", "training", "samples", "apart"))
    raw = fits.loc[fits.method == "DDRO as it stands"]
    of_rdro = training.loc[(training.method == "RDRO") & (training.sup >= LARGE)]
    stays, leaves = (near.loc[near.multiple == m].grown for m in (BELOW, ABOVE))
    tails = []
    for key, mine in raw.groupby(["responses", "sup", "labels"]):
        k, sup, n = cast(tuple[int, float, int], key)
        predicted = _predicted(int(k), float(sup), int(n))
        count = int(mine.infinite.sum())
        tails.append(
            2 * min(binom.cdf(count, len(mine), predicted), binom.sf(count - 1, len(mine), predicted))
        )
    outside = np.array(tails) < (1 - SIMULTANEOUS) / len(tails)
    limits = theory.norm_bounds(PRIOR, WALL)
    bounded = training.loc[training.method.isin(list(BOUNDED))]
    return [
        identity(
            "next to p+: returns at 0.95 of the largest stable step, leaves at 1.05: exceptions",
            [*(stays > 1).astype(int), *(leaves < 10).astype(int)],
            0.0,
        ),
        identity(
            "DDRO's fit has an infinite ratio iff a chosen response was never rejected: exceptions",
            raw.infinite.astype(int) - raw.unanswered.astype(int),
            0.0,
        ),
        identity("number of such samples: binomial with the predicted share: cells outside", outside, 0.0),
        identity("gradients of the objectives at the exact fits", rows.gradient.dropna(), 1e-8),
        identity("RDRO's ratio where p- has no mass = 1/alpha", apart.bounded, 1e-8),
        identity(
            f"RDRO: failed runs at half its largest step, others at 3 times it, p+/p- >= {LARGE:g}",
            [
                *of_rdro.loc[of_rdro.multiple == HALF].failed.astype(int),
                *1 - of_rdro.loc[of_rdro.multiple == TOO_LONG].failed.astype(int),
            ],
            0.0,
        ),
        *(
            separation(
                f"share of failed runs at half of RDRO's step, {m} minus RDRO, p+/p- >= {LARGE:g}",
                _by_replicate(training, m, "failed") - _by_replicate(training, "RDRO", "failed"),
            )
            for m in KEPT
        ),
        *(
            separation(
                f"total variation in the end at half of RDRO's step, {m} minus RDRO, p+/p- >= {LARGE:g}",
                _by_replicate(training, m, "error") - _by_replicate(training, "RDRO", "error"),
            )
            for m in (FLOOR, SQUASHED)
        ),
        bound(
            "gradient norms in training <= their bounds",
            bounded.norm,
            bounded.method.map(BOUNDED).map(limits),
        ),
    ]


def _by_replicate(training: pd.DataFrame, method: str, column: str) -> Array:
    """(R,) mean of each replicate over the populations of large p+/p-, at half of RDRO's largest step."""
    mine = training.loc[(training.method == method) & (training.multiple == HALF) & (training.sup >= LARGE)]
    return mine.astype({column: float}).groupby("replicate")[column].mean().to_numpy()


def _squashed(right: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """DDRO of a developer who squashes the log-ratio, whatever is asked for."""
    return lambda batch, *, prior, **options: right(batch, prior=prior, stabiliser="squash")


DEFECTS = (
    Defect(
        "DDRO's loss 10 % too large",
        ddro,
        result(lambda loss: 1.1 * loss),
        where(part="near", method="DDRO as it stands"),
    ),
    Defect(
        "RDRO's loss 10 % too large", rdro, result(lambda loss: 1.1 * loss), where(part="near", method="RDRO")
    ),
    Defect(
        "DDRO squashed, whatever is asked for", ddro, _squashed, where(part="training", method={*KEPT, FLOOR})
    ),
    Defect(
        "DDRO linear in the log-ratio where it is to be squashed",
        ddro,
        argument("stabiliser", lambda _: "linear_log_ratio"),
        where(part="training", method=SQUASHED),
    ),
    Defect(
        "RDRO by least squares for the logistic form",
        rdro,
        argument("form", lambda form: "rulsif"),
        where(part="training", method="RDRO"),
    ),
    Defect("DDRO's prior 10 % too small", ddro, argument("prior", lambda t: 0.9 * t), where(part="samples")),
    Defect(
        "domain of DDRO as it stands enforced",
        ddro_policy,
        argument("domain", lambda _: "everywhere"),
        where(part="samples"),
    ),
    Defect(
        "alpha of the RDRO solver 10 % too small",
        rdro_policy,
        argument("alpha", lambda x: 0.9 * x),
        where(part="apart"),
    ),
    Defect(
        "the share of infinite ratios 10 % too small",
        theory.infinite_ratio_share,
        result(lambda share: 0.9 * share),
        no_cell,
    ),
)
