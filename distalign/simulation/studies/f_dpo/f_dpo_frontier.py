"""At equal reward under a uniform reference DPO's optimum is the most diverse; forward KL is at equal beta.

The paper finds the forward KL most diverse and the reverse KL least, in trained models. Ours is that for
exact optima this is a statement at equal beta. Among all policies of a given expected reward the
f-regularised optimum is the one nearest to the reference in D_f. Under a uniform reference the reverse KL
is log K minus the entropy, so there the reverse KL's optimum has the largest entropy that its reward
allows, and every other divergence has less. At equal beta the forward KL does have more entropy at small
beta, for the reason that it has collected less reward. Under another reference no divergence maximises
entropy, and the order changes from problem to problem.

Both comparisons are made on the same random problems, with exact optima (`distalign.solvers.matched_reward`
at equal reward, `distalign.solvers.kkt` at equal beta): this is about what training aims at, not about
where it is stopped.

The checks ask at equal reward that the reverse KL has more entropy than each other divergence, in the mean
and in every problem; that no divergence has a smaller D_f than its own optimum; and that the rewards are
equal. At a small equal beta they ask for the other order, with less reward. Under a skewed reference the
order must turn round somewhere.

The planted defect compares policies at equal beta where the claim says equal reward. The rewards then
differ and the forward KL has more entropy, so the checks at equal reward must fail.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from distalign.divergences import divergence
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, differs, identity, separation
from distalign.solvers.kkt import regularised_policy
from distalign.solvers.matched_reward import policy_at_reward

DEFECT = "policies compared at equal beta where the claim says equal reward"
DIVERGENCES = ("reverse_kl", "forward_kl", "jensen_shannon", "alpha:0.3")
OTHERS = DIVERGENCES[1:]
RESPONSES = 8
SMALL_BETA = 0.3  # of a reward of standard deviation 1: where the common comparison is made


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
    defect: bool = False,
) -> dict[str, Any]:
    """Entropy, reward and divergences of each optimum on each problem."""
    reward = rng.normal(size=(problems, RESPONSES))
    ref = np.full_like(reward, 1 / RESPONSES)
    if reference == "skewed":
        ref = 0.8 * rng.dirichlet(np.ones(RESPONSES), problems) + 0.2 / RESPONSES
    reference_reward = (ref * reward).sum(1)
    target = reference_reward + setting * (reward.max(1) - reference_reward)
    frames = []
    for f in DIVERGENCES:
        if matched == "reward" and not defect:
            policy = policy_at_reward(reward, ref, target, f)[1].policy
        else:
            policy = regularised_policy(reward, ref, setting if matched == "beta" else SMALL_BETA, f).policy
        frames.append(
            pd.DataFrame(
                {
                    "divergence": f,
                    "problem": np.arange(problems),
                    "entropy": -(policy * np.log(policy)).sum(1),
                    "share": ((policy * reward).sum(1) - reference_reward)
                    / (reward.max(1) - reference_reward),
                    **{f"D[{g}]": (ref * divergence(g).f(policy / ref)).sum(1) for g in DIVERGENCES},
                }
            )
        )
    return dict(pd.concat(frames, ignore_index=True))


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
    uniform = equal_reward[(equal_reward.reference == "uniform") & equal_reward.divergence.isin(OTHERS)]
    skewed = equal_reward[equal_reward.reference == "skewed"]
    forward = equal_beta[equal_beta.divergence == "forward_kl"]
    return [
        *(
            separation(
                f"uniform reference, equal reward: reverse KL more diverse than {f}", -of_divergence.excess
            )
            for f, of_divergence in uniform.groupby("divergence", sort=False)
        ),
        bound("... in every problem", uniform.entropy, uniform.entropy - uniform.excess),
        bound("equal reward: no divergence below its own optimum's", *_own(rows)),
        identity("equal reward", equal_reward.share - equal_reward.setting, 1e-9),
        separation(f"equal beta {SMALL_BETA:g}: forward KL more diverse than reverse KL", forward.excess),
        separation("... with less reward", _reward_gap(rows)),
        differs(
            "skewed reference, equal reward: the order can turn round", skewed.excess.clip(lower=0), 0.01
        ),
    ]


def _own(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """D_f of f's own optimum, and of the other optima of the same reward."""
    by_divergence = {g: rows[(rows.matched == "reward") & (rows.divergence == g)] for g in DIVERGENCES}
    pairs = [(f, g) for f in DIVERGENCES for g in DIVERGENCES if g != f]
    own, others = ([by_divergence[pair[k]][f"D[{pair[0]}]"].to_numpy() for pair in pairs] for k in (0, 1))
    return np.concatenate(own), np.concatenate(others)


def _reward_gap(rows: pd.DataFrame) -> np.ndarray:
    """Share of reward by which the reverse KL is ahead of the forward KL at the same small beta."""
    at_small_beta = (rows.matched == "beta") & (rows.setting == SMALL_BETA)
    share = {
        f: rows.share[at_small_beta & (rows.divergence == f)].to_numpy() for f in ("reverse_kl", "forward_kl")
    }
    return share["reverse_kl"] - share["forward_kl"]
