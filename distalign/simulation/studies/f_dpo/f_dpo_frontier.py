r"""Compared at equal reward and a uniform reference DPO is the most diverse; "forward KL is more diverse"
needs equal beta.

Among all policies of a given expected reward the f-regularised optimum is the one nearest to the reference in
D_f. Under a uniform reference the reverse KL is log K minus the entropy, so there the reverse KL's optimum
has the largest entropy that its reward allows, and every other divergence has less. At equal beta the forward
KL does have more entropy at small beta, for the reason that it has collected less reward. Under another
reference entropy is nobody's criterion and the order changes from problem to problem. Both comparisons are
made on the same random problems (`distalign.solvers.matched_reward`, exact optima: a statement about what
training aims at, not about where it is stopped).
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
    base = (ref * reward).sum(1)
    target = base + setting * (reward.max(1) - base)
    parts = []
    for f in DIVERGENCES:
        if matched == "reward" and not defect:
            policy = policy_at_reward(reward, ref, target, f)[1].policy
        else:
            policy = regularised_policy(reward, ref, setting if matched == "beta" else SMALL_BETA, f).policy
        parts.append(
            pd.DataFrame(
                {
                    "divergence": f,
                    "problem": np.arange(problems),
                    "entropy": -(policy * np.log(policy)).sum(1),
                    "share": ((policy * reward).sum(1) - base) / (reward.max(1) - base),
                    **{f"D[{g}]": (ref * divergence(g).f(policy / ref)).sum(1) for g in DIVERGENCES},
                }
            )
        )
    return dict(pd.concat(parts, ignore_index=True))


def _excess(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with `excess`, the entropy above the reverse KL's on the same problem, in nats."""
    key = ["reference", "matched", "setting", "problem"]
    base = rows[rows.divergence == "reverse_kl"].set_index(key).entropy
    return rows.assign(
        excess=rows.entropy.to_numpy()
        - base.loc[list(rows[key].itertuples(index=False, name=None))].to_numpy()
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean entropy above the reverse KL's with its interval, mean entropy and share of reward, per
    comparison.
    """
    by = ["reference", "matched", "setting", "divergence"]
    out = summarise(_excess(rows), by, "excess")
    return out.merge(
        rows.groupby(by, as_index=False).agg(entropy=("entropy", "mean"), share=("share", "mean")), on=by
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """The order at equal reward, instance by instance and in the mean; the other order at equal beta; and
    what is optimal.
    """
    rows = _excess(rows)
    level, fixed = (
        rows[rows.matched == "reward"],
        rows[(rows.matched == "beta") & (rows.setting == SMALL_BETA)],
    )
    uniform = level[(level.reference == "uniform") & level.divergence.isin(OTHERS)]
    skewed = level[level.reference == "skewed"]
    forward = fixed[fixed.divergence == "forward_kl"]
    return [
        *(
            separation(f"uniform reference, equal reward: reverse KL more diverse than {f}", -one.excess)
            for f, one in uniform.groupby("divergence", sort=False)
        ),
        bound("... in every problem", uniform.entropy, uniform.entropy - uniform.excess),
        bound("equal reward: no divergence below its own optimum's", *_own(rows)),
        identity("equal reward", level.share - level.setting, 1e-9),
        separation(f"equal beta {SMALL_BETA:g}: forward KL more diverse than reverse KL", forward.excess),
        separation("... with less reward", _reward_gap(rows)),
        differs(
            "skewed reference, equal reward: the order can turn round", skewed.excess.clip(lower=0), 0.01
        ),
    ]


def _own(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """D_f of f's own optimum, and of the other optima of the same reward."""
    wide = {g: rows[(rows.matched == "reward") & (rows.divergence == g)] for g in DIVERGENCES}
    pairs = [(f, g) for f in DIVERGENCES for g in DIVERGENCES if g != f]
    own, others = ([wide[pair[k]][f"D[{pair[0]}]"].to_numpy() for pair in pairs] for k in (0, 1))
    return np.concatenate(own), np.concatenate(others)


def _reward_gap(rows: pd.DataFrame) -> np.ndarray:
    """Share of reward by which the reverse KL is ahead of the forward KL at the same small beta."""
    fixed = (rows.matched == "beta") & (rows.setting == SMALL_BETA)
    share = {f: rows.share[fixed & (rows.divergence == f)].to_numpy() for f in ("reverse_kl", "forward_kl")}
    return share["reverse_kl"] - share["forward_kl"]
