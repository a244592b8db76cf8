"""At equal reward under a uniform reference DPO's optimum is the most diverse; forward KL is at equal beta.

The paper finds the forward KL most diverse and the reverse KL least, in trained models. Ours is that for
exact optima this is a statement at equal beta. Among all policies of a given expected reward the
f-regularised optimum is the one nearest to the reference in D_f. Under a uniform reference the reverse KL
is log K minus the entropy, so there the reverse KL's optimum has the largest entropy that its reward
allows, and every other divergence has less. At equal beta the forward KL does have more entropy at small
beta, for the reason that it has collected less reward. Under another reference no divergence maximises
entropy, and the order changes from problem to problem.

Both comparisons are made on the same random problems, with exact optima (`distalign.solvers.matched_reward`
at equal reward, `distalign.solvers.kkt` at equal beta): this is about what training aims at, not about where
it is stopped. The largest entropy that a reward allows is that of ref exp(r / beta), whose beta is found here
from the closed form and not by those solvers.

The checks ask at equal reward that each other divergence has less than that entropy, in the mean and in
every problem (the alpha-divergence next to the reverse KL comes first), and that the reverse KL has it; that
no divergence has a smaller D_f than its own optimum; and that the rewards are equal. At a small equal beta
they ask that the forward KL has more entropy, with less reward. Under a skewed reference the order must turn
round somewhere.

The planted defects: policies of a given reward at a beta that is 10 % too large; the two KLs in each other's
place; and a reference that the solver forgets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from distalign.divergences import Divergence, divergence
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, differs, identity, separation
from distalign.solvers.kkt import RegularisedOptimum, regularised_policy
from distalign.solvers.matched_reward import policy_at_reward
from distalign.theory.f_dpo.closed_forms import reverse_kl_optimum
from distalign.types import Array

DIVERGENCES = ("reverse_kl", "alpha:0.3", "jensen_shannon", "forward_kl")
OTHERS = DIVERGENCES[1:]
RESPONSES = 8
SMALL_BETA = 0.3  # of a reward of standard deviation 1: where the common comparison is made
SAME = 1e-9  # nats: two roads to one entropy


def _too_strong(right: Callable[..., Any]) -> Callable[..., Any]:
    """`policy_at_reward` with a beta that is 10 % too large."""

    def wrong(reward: Array, ref: Array, target: Array, f: str) -> tuple[Array, RegularisedOptimum]:
        beta, _ = right(reward, ref, target, f)
        return 1.1 * beta, regularised_policy(reward, ref, 1.1 * beta, f)

    return wrong


def _exchanged(name: str | Divergence) -> str | Divergence:
    """The name of a KL exchanged for that of the other one."""
    exchanged = {"reverse_kl": "forward_kl", "forward_kl": "reverse_kl"}
    return exchanged.get(name, name) if isinstance(name, str) else name


DEFECTS = (
    Defect("a beta 10 % too large at equal reward", policy_at_reward, _too_strong),
    Defect("the two KLs in each other's place", divergence, argument("name", _exchanged)),
    Defect(
        "the solver forgets the reference",
        regularised_policy,
        argument("ref", lambda q: np.full_like(q, 1 / q.shape[-1])),
        where(reference="skewed"),
    ),
)


def cells(shares: list[float], betas: list[float], problems: int) -> list[dict[str, Any]]:
    """One cell per reference and setting: a share of the attainable gain in reward, or a beta."""
    return [
        {"reference": ref, "matched": m, "setting": x, "problems": problems}
        for ref in ("uniform", "skewed")
        for m, values in (("reward", shares), ("beta", betas))
        for x in values
    ]


def run(
    rng: np.random.Generator,
    *,
    reference: str,
    matched: str,
    setting: float,
    problems: int,
) -> dict[str, Any]:
    """Entropy, reward and divergences of each optimum on each problem."""
    reward = rng.normal(size=(problems, RESPONSES))
    ref = np.full_like(reward, 1 / RESPONSES)
    if reference == "skewed":
        ref = 0.8 * rng.dirichlet(np.ones(RESPONSES), problems) + 0.2 / RESPONSES
    reference_reward = (ref * reward).sum(1)
    target = reference_reward + setting * (reward.max(1) - reference_reward)
    most = _most_entropy(reward, target) if matched == "reward" else np.full(problems, np.nan)
    frames = []
    for f in DIVERGENCES:
        if matched == "reward":
            policy = policy_at_reward(reward, ref, target, f)[1].policy
        else:
            policy = regularised_policy(reward, ref, setting, f).policy
        frames.append(
            pd.DataFrame(
                {
                    "divergence": f,
                    "problem": np.arange(problems),
                    "entropy": _entropy(policy),
                    "most": most,
                    "share": ((policy * reward).sum(1) - reference_reward)
                    / (reward.max(1) - reference_reward),
                    **{f"D[{g}]": (ref * divergence(g).f(policy / ref)).sum(1) for g in DIVERGENCES},
                }
            )
        )
    return dict(pd.concat(frames, ignore_index=True))


def _entropy(policy: Array) -> Array:
    """(R,) entropy of each policy, in nats."""
    return -(policy * np.log(policy)).sum(1)


def _most_entropy(reward: Array, target: Array) -> Array:
    """(R,) the largest entropy of a policy with expected reward `target`, that of exp(r / beta) / Z.

    Bisection of log beta; the expected reward falls with beta.
    """
    low, high = np.full(len(target), -14.0), np.full(len(target), 14.0)

    def policy(log_beta: Array) -> Array:
        return reverse_kl_optimum(reward / np.exp(log_beta)[:, None], np.full_like(reward, 1 / RESPONSES), 1)

    for _ in range(60):
        middle = (low + high) / 2
        above = (policy(middle) * reward).sum(1) > target
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return _entropy(policy(low))


def _excess(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with `excess`, the entropy above the reverse KL's on the same problem, in nats."""
    key = ["reference", "matched", "setting", "problem"]
    of_reverse_kl = rows[rows.divergence == "reverse_kl"].set_index(key).entropy
    return rows.assign(
        excess=rows.entropy.to_numpy()
        - of_reverse_kl.loc[list(rows[key].itertuples(index=False, name=None))].to_numpy()
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean entropy above the reverse KL's with its interval, per comparison. Also mean entropy and mean
    share of the attainable reward.
    """
    by = ["reference", "matched", "setting", "divergence"]
    summary = summarise(_excess(rows), by, "excess")
    return summary.merge(
        rows.groupby(by, as_index=False).agg(entropy=("entropy", "mean"), share=("share", "mean")), on=by
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The order at equal reward, the other order at equal beta, and what each optimum minimises."""
    rows = _excess(rows)
    equal_reward, equal_beta = (
        rows[rows.matched == "reward"],
        rows[(rows.matched == "beta") & (rows.setting == SMALL_BETA)],
    )
    uniform = equal_reward[equal_reward.reference == "uniform"]
    others = uniform[uniform.divergence.isin(OTHERS)]
    skewed = equal_reward[equal_reward.reference == "skewed"]
    forward = equal_beta[equal_beta.divergence == "forward_kl"]
    lacking = {f: of_f.most - of_f.entropy for f, of_f in uniform.groupby("divergence")}
    return [
        *(
            separation(
                f"uniform reference, equal reward: reverse KL more diverse than {f}", lacking[f] - SAME
            )
            for f in OTHERS
        ),
        bound("... in every problem", others.entropy, others.most),
        identity("the reverse KL's optimum has the largest entropy", lacking["reverse_kl"], SAME),
        bound("equal reward: no divergence below its own optimum's", *_own(rows)),
        identity("equal reward", equal_reward.share - equal_reward.setting, 1e-9),
        separation(f"equal beta {SMALL_BETA:g}: forward KL more diverse than reverse KL", forward.excess),
        separation("... with less reward", _reward_gap(rows)),
        differs(
            "skewed reference, equal reward: the order can turn round", skewed.excess.clip(lower=0), 0.01
        ),
    ]


def _own(rows: pd.DataFrame) -> tuple[Array, Array]:
    """D_f of f's own optimum, and of the other optima of the same reward."""
    by_divergence = {g: rows[(rows.matched == "reward") & (rows.divergence == g)] for g in DIVERGENCES}
    pairs = [(f, g) for f in DIVERGENCES for g in DIVERGENCES if g != f]
    own, others = ([by_divergence[pair[k]][f"D[{pair[0]}]"].to_numpy() for pair in pairs] for k in (0, 1))
    return np.concatenate(own), np.concatenate(others)


def _reward_gap(rows: pd.DataFrame) -> Array:
    """Share of reward by which the reverse KL is ahead of the forward KL at the same small beta."""
    at_small_beta = (rows.matched == "beta") & (rows.setting == SMALL_BETA)
    share = {
        f: rows.share[at_small_beta & (rows.divergence == f)].to_numpy() for f in ("reverse_kl", "forward_kl")
    }
    return share["reverse_kl"] - share["forward_kl"]
