r"""AOT against DPO where a model writes freely: dominance on prompts that were never trained on.

The claim is ours. Bradley-Terry users have a reward that is a sum over tokens and pairs of neighbours, the
same for all prompts. A writer is trained on two prompts and measured on others. Its margins log pi(y+) -
log pi(y-) should dominate the reference's; the violation sqrt(\int (Q_V - Q_U)_+^2), in nats, is taken over
all pairs of held-out draws of a prompt, with the users' probabilities as weights, so no label is drawn. It is
0 at the reference and grows with the distance from it, so that every AOT has a DPO beside it which is trained
on the same texts to the same KL: at the beta whose optimum, on draws of the training prompts, has AOT's KL.
What is left to it is made up by a multiple of DPO's log-ratios, prompt by prompt (`multiple_left`).

Predicted before training. DPO's optimum on a prompt that was never trained on is the tilt by the reward, as
on any other, so draws of the reference carry its KL and its violation. AOT has no such prediction. A descent
over all log-ratios of a table of draws gives nearly all weight to a few of them, which a prediction refuses
(`distalign.bridge.generation.tilts.Tilt`): what AOT asks for, quantile by quantile, is met by laws that take
log pi_ref out of the margins, at any beta. So beta is no price of its KL. Unpaired AOT asks that the
log-ratios of chosen texts dominate those of rejected ones. Where both classes come from the same prompts
DPO's optimum does that already, for its log-ratios rise with the reward: nothing is to be won, and nothing
holds the margins.

The run. `size` 0 is the population: fresh groups of draws, each once, soft labels, all pairs of an update
sorted together. Otherwise it is the number of labelled pairs of each training prompt, up to 128 of them in an
update. What training sees is the violation on these very pairs, prompt by prompt; the violation on held-out
prompts less that is the gap. The violation on new texts to the training prompts is in the table, too: what is
not learnt from few labels are other texts, hardly other prompts.

DPO as trained violates dominance more than its own optimum at the same KL (`optimum_violation`), for noise of
training widens the law of its margins. AOT is held against the trained one, whose noise is of the same kind.
Against the optimum it wins in some worlds only, and after a few dozen updates hardly in any: worlds differ,
by a factor of 1 to 12 in violation, and intervals over prompts of a few worlds say little about others.

The checks:

- separations on held-out prompts: the logarithm of the violation, DPO trained to AOT's KL minus AOT; the KL,
  AOT minus DPO at a quarter of its beta; the logarithm of the violation of the margins, unpaired AOT minus
  paired AOT; the gap with the fewest labels minus that on the population;
- an identity: where both classes come from the same prompts the chosen dominate the rejected under DPO;
- growth: DPO's mean KL on held-out prompts is that of its optimum to 25 %;
- a bound: the effective size of AOT's law on the table is below what a prediction needs;
- an identity: both roads agree for every prompt, 1 being the end of an interval at the level of all cells.

The planted defects: AOT of one pair at a time, which is DPO; an excess that is taken for a violation;
unpaired AOT that takes the margins of pairs; DPO that takes the rejected for the chosen; DPO's beta 20 % too
small; and fresh texts that are written by the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import logsumexp
from torch import Tensor

from distalign.bridge.candidates.displacement import divergence, multiple_at
from distalign.bridge.generation.labelled import label_batch, labelled
from distalign.bridge.generation.learning import descend, group_batch
from distalign.bridge.generation.tilts import SMALLEST_SIZE, Tilt, rlhf, win_matrix
from distalign.bridge.generation.writer import Texts, Writer
from distalign.bridge.studies.free.world import World, generator_of, world
from distalign.bridge.studies.mistakes import fresh_texts_of_the_reference, sides_exchanged
from distalign.checks import InputError
from distalign.objectives import aot_paired, aot_unpaired, dpo
from distalign.preferences import PreferenceLogProbs, metrics
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.rates import summarise
from distalign.simulation.studies.aot.mistakes import pair_by_pair
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.types import Array

# SCALE is the reward of a score of 1, in logits; BETA is AOT's slope, PLAIN that of the DPO whose end is
# predicted. FEW labelled pairs, pairs of an update on labels at most;
# updates that bring DPO to its optimum; draws and steps of the table
SCALE, BETA, PLAIN, PACE = 0.85, 4.0, 1.0, 2.0
FEW, AT_ONCE, ARRIVED, TABLE_DRAWS, TABLE_STEPS = 16, 128, 100, 64, 60
KL_TOLERANCE, CLASS_TOLERANCE = 0.25, 0.05
Loss = Callable[[PreferenceLogProbs], Tensor]


def _margins_of_pairs(right: Callable[..., Any]) -> Callable[..., Any]:
    """`aot_unpaired` by a developer who takes the margins of pairs."""
    return lambda batch, **options: aot_paired(batch, **options)


DEFECTS = (
    Defect(
        "AOT of one pair at a time, which is DPO",
        aot_paired,
        pair_by_pair,
        lambda cell: cell["method"] == "DPO" or (cell["method"] == "paired" and cell["size"] == 0),
    ),
    Defect(
        "the excess of the policy over the reference is taken for its violation",
        metrics,
        argument("batch", sides_exchanged),
        where(method="paired", size=FEW),
    ),
    Defect("unpaired AOT takes margins", aot_unpaired, _margins_of_pairs, where(method="unpaired")),
    Defect(
        "DPO takes the rejected for the chosen",
        dpo,
        argument("batch", sides_exchanged),
        where(method="DPO", seed=0),
    ),
    Defect("DPO's beta 20 % too small", dpo, argument("beta", lambda b: 0.8 * b), where(method="DPO")),
    fresh_texts_of_the_reference(where(method="unpaired", seed=0)),
)


def cells(
    policy: str,
    seeds: int,
    sizes: list[int],
    steps: int,
    others: int,
    prompts: int = 2,
    held: int = 10,
    group: int = 40,
    draws: int = 64,
) -> list[dict[str, Any]]:
    """One cell per seed and method; paired AOT has one for each number of labelled pairs, 0 the population.

    Args:
        policy: of the writer.
        seeds: worlds of paired AOT on the population.
        sizes: labelled pairs of each training prompt, the fewest of them FEW, and 0.
        steps: updates of each training.
        others: worlds of all else.
        prompts: that are trained on.
        held: that are not.
        group: draws of a prompt in an update on the population.
        draws: of each prompt, for what is measured.
    """
    runs = [("paired", n) for n in sizes] + [("unpaired", 0), ("DPO", 0)]
    shared = {"policy": policy, "prompts": prompts, "held": held, "group": group, "draws": draws}
    return [
        {
            **shared,
            "seed": seed,
            "method": method,
            "size": n,
            "steps": max(steps, ARRIVED) if method == "DPO" else steps,
        }
        for seed in range(max(seeds, others))
        for method, n in runs
        if seed < (seeds if (method, n) == ("paired", 0) else others)
    ]


@dataclass(frozen=True, eq=False)
class Data:
    """What both methods of a cell are trained on.

    Attributes:
        learner: the writer of the world, to the training prompts alone.
        batch: of update i, with gradients.
        seen: the batch whose violation training sees, prompt by prompt; None on the population.
    """

    learner: Writer
    batch: Callable[[int], PreferenceLogProbs]
    seen: Callable[[], list[PreferenceLogProbs]] | None

    def train(self, loss: Loss, steps: int) -> None:
        """Train from the reference, and leave the writer where training ends."""
        descend(self.learner, lambda i: loss(self.batch(i)), steps=steps, pace=PACE)


def run(
    rng: np.random.Generator,
    *,
    policy: str,
    seed: int,
    method: str,
    size: int,
    steps: int,
    prompts: int,
    held: int,
    group: int,
    draws: int,
) -> dict[str, Any]:
    """One row a prompt: violation and KL of a method and of the DPO beside it."""
    here = world(policy, seed, prompts + held, draws)
    score = here.score(0)

    def wins(texts: Texts) -> Array:
        return win_matrix(SCALE * score(texts)[None], [1.0], [1.0])

    reward, win = SCALE * score(here.draws), wins(here.draws)
    data = _data(here, wins, rng, prompts=prompts, size=size, group=group, steps=steps)
    data.train(_loss(method), steps)
    found, seen, every = here.measured(rng), _seen(data), prompts + held
    spent = _spent(found.log_rho)
    optimum = np.stack([_matched(r, kl)[0] for r, kl in zip(reward, spent, strict=True)])
    columns = {
        "prompt": np.arange(every),
        "held": np.arange(every) >= prompts,
        "size": np.full(every, float(size) if size else np.inf),
        "violation": _margins(here, found.log_rho, win),
        "optimum_violation": _margins(here, optimum, win),
        "kl": spent,
        "fresh_kl": found.fresh.kl(),
        "roads": found.apart(reward, SCALE * score(found.texts)),
        "seen": np.full(every, seen),
        "predicted_kl": rlhf(reward, PLAIN if method == "DPO" else BETA).kl(),
    }
    if method == "DPO":
        return columns | {
            "classes": _classes(here, found.log_rho, win),
            "table_size": np.full(every, _on_table(here, win[:prompts]).effective_size().max()),
        }
    # the beta whose optimum on draws of the training prompts has AOT's KL there
    beta = 1 / multiple_at(_uniform(reward[:prompts]), reward[:prompts], spent[:prompts].mean())
    data.train(partial(dpo, beta=beta), steps)
    rival = here.writer.log_prob(here.draws) - here.reference
    matched = [_matched(moved, kl) for moved, kl in zip(rival, spent, strict=True)]
    return columns | {
        "rival_violation": _margins(here, np.stack([moved for moved, _ in matched]), win),
        "rival_seen": np.full(every, _seen(data)),
        "rival_kl": _spent(rival),
        "multiple_left": np.array([left for _, left in matched]),
    }


def _loss(method: str) -> Loss:
    return {
        "paired": partial(aot_paired, beta=BETA),
        "unpaired": partial(aot_unpaired, beta=BETA),
        "DPO": partial(dpo, beta=PLAIN),
    }[method]


def _data(
    here: World,
    wins: Callable[[Texts], Array],
    rng: np.random.Generator,
    *,
    prompts: int,
    size: int,
    group: int,
    steps: int,
) -> Data:
    """Fresh groups of draws to the training prompts, or labelled pairs of them."""
    whole = here.writer
    learner = Writer(
        whole.scorer.model,
        whole.prompts[:prompts],
        ends=whole.ends,
        longest=whole.longest,
        learning_rate=whole.learning_rate,
        tokenizer=whole.tokenizer,
        share_prompt=whole.scorer.share_prompt,
    )
    texts = learner.draw(2 * size if size else group * steps, generator_of(rng))
    reference = learner.log_prob(texts)
    if not size:

        def batch(i: int) -> PreferenceLogProbs:
            part = slice(i * group, (i + 1) * group)
            scores = learner.scores(learner.layout(texts[:, part]))
            given = torch.as_tensor(reference[:, part]).flatten()
            return group_batch(scores, given, torch.as_tensor(wins(texts[:, part])))

        return Data(learner, batch, None)
    labels = labelled(texts, reference, lambda part: wins(texts[:, part]), rng)
    count = min(size, AT_ONCE)

    def pairs(i: int) -> PreferenceLogProbs:
        return label_batch(learner, labels.at(np.arange(i * count, (i + 1) * count) % size))

    def seen() -> list[PreferenceLogProbs]:
        with torch.no_grad():
            whole_batch = label_batch(learner, labels)
        sides = (whole_batch.chosen, whole_batch.rejected, whole_batch.ref_chosen, whole_batch.ref_rejected)
        return [PreferenceLogProbs(*one) for one in zip(*(x.view(prompts, -1) for x in sides), strict=True)]

    return Data(learner, pairs, seen)


def _seen(data: Data) -> float:
    """Mean violation on the pairs that were trained on; NaN on the population."""
    return np.nan if data.seen is None else float(np.mean([_violation(one) for one in data.seen()]))


def _violation(batch: PreferenceLogProbs) -> float:
    """How far the policy's margins fail to dominate the reference's, in nats."""
    zero, weights = torch.zeros_like(batch.margin), batch.weights
    return metrics(PreferenceLogProbs(batch.margin, batch.ref_margin, zero, zero, weights, weights))[
        "dominance_w2"
    ]


def _pairs(here: World, log_rho: Array, win: Array) -> list[PreferenceLogProbs]:
    """All pairs of draws of each prompt under a law with these log-ratios."""
    return [
        group_batch(torch.as_tensor(ref + rho), torch.as_tensor(ref), torch.as_tensor(chance[None]))
        for ref, rho, chance in zip(here.reference, log_rho, win, strict=True)
    ]


def _margins(here: World, log_rho: Array, win: Array) -> Array:
    """(S,) violation by the margins."""
    return np.array([_violation(batch) for batch in _pairs(here, log_rho, win)])


def _classes(here: World, log_rho: Array, win: Array) -> Array:
    """(S,) how far the log-ratios of chosen texts fail to dominate those of rejected ones, in nats."""
    return np.array([metrics(batch)["dominance_w2"] for batch in _pairs(here, log_rho, win)])


def _spent(log_rho: Array) -> Array:
    """(S,) KL of the laws on the draws that have these log-ratios."""
    return np.array([divergence(_law(one), _uniform(one)) for one in log_rho])


def _law(log_rho: Array) -> Array:
    """Log-weights of draws with these log-ratios."""
    return log_rho - logsumexp(log_rho, axis=-1, keepdims=True)  # pyright: ignore[reportOperatorIssue]


def _uniform(log_rho: Array) -> Array:
    """Log-weights of draws under the reference."""
    return np.full(log_rho.shape, -np.log(log_rho.shape[-1]))


def _matched(moved: Array, kl: float) -> tuple[Array, float]:
    """The multiple of log-ratios that has this KL on the draws, and what they were multiplied by; NaN where
    none has.
    """
    try:
        left = multiple_at(_uniform(moved[None]), moved[None], kl)
    except InputError:
        return np.full_like(moved, np.nan), np.nan
    return left * moved, left


def _on_table(here: World, win: Array) -> Tilt:
    """The law on a few draws that a descent of paired AOT over all log-ratios finds."""
    given = torch.as_tensor(here.reference[: len(win), :TABLE_DRAWS]).flatten()
    chances = torch.as_tensor(win[:, :TABLE_DRAWS, :TABLE_DRAWS])
    theta = torch.zeros_like(given, requires_grad=True)
    optimiser = torch.optim.LBFGS([theta], max_iter=TABLE_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = aot_paired(group_batch(given + theta, given, chances), beta=BETA)
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    return Tilt("AOT on the table", _law(theta.detach().numpy().reshape(len(win), -1)))


def _held(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of prompts that were not trained on, with the gaps to what training saw.

    On the population training sees new texts to its prompts, so their violation stands for it.
    """
    by = ["seed", "method", "size"]
    new = pd.DataFrame(rows.loc[~rows.held]).groupby(by, as_index=False)
    means = new.agg(new_violation=("violation", "mean"), new_rival_violation=("rival_violation", "mean"))
    held = pd.DataFrame(rows.loc[rows.held]).merge(means, on=by, how="left")
    for side in ("", "rival_"):
        seen = held[f"{side}seen"].fillna(held[f"new_{side}violation"])
        held[f"{side}gap"] = held[f"{side}violation"] - seen
    held["log_ratio"] = np.log(held.rival_violation) - np.log(held.violation)
    return held


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Violation on held-out prompts per method and number of labels, with that of DPO beside it, and KLs."""
    held, by = _held(rows), ["method", "size"]
    columns = (
        "rival_violation",
        "optimum_violation",
        "new_violation",
        "seen",
        "gap",
        "rival_gap",
        "log_ratio",
        "classes",
        "kl",
        "fresh_kl",
        "predicted_kl",
        "rival_kl",
        "multiple_left",
        "table_size",
    )
    return summarise(held, by, "violation").merge(
        held.groupby(by, as_index=False).agg(**{c: (c, "mean") for c in columns}), on=by
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """AOT beside DPO at one KL, the gap by labels, what draws predict, and both roads."""
    held = _held(rows)

    def of(method: str, size: float) -> pd.DataFrame:
        mine = held.loc[(held.method == method) & (held["size"] == size)]
        return pd.DataFrame(mine).set_index(["seed", "prompt"])

    population, fewest = of("paired", np.inf), of("paired", FEW)
    unpaired, plain = of("unpaired", np.inf), of("DPO", np.inf)
    return [
        separation("held-out prompts: log violation, DPO at AOT's KL minus AOT", population.log_ratio),
        separation(
            f"held-out prompts: KL of fresh texts, AOT at beta {BETA:g} minus DPO at beta {PLAIN:g}",
            population.fresh_kl - plain.fresh_kl,
        ),
        separation(
            "held-out prompts: log violation, unpaired AOT minus paired AOT",
            np.log(unpaired.violation) - np.log(population.violation),
        ),
        separation(
            "held-out minus seen violation: the fewest labels minus the population",
            fewest.gap - population.gap,
        ),
        identity(
            "classes of the same prompts: violation of their dominance by DPO, nats",
            plain.classes,
            CLASS_TOLERANCE,
        ),
        growth(
            "mean KL of DPO on held-out prompts = that of its optimum",
            plain.kl.mean(),
            plain.predicted_kl.mean(),
            KL_TOLERANCE,
        ),
        bound("effective size of AOT's law on the table", plain.table_size, SMALLEST_SIZE),
        identity("both roads agree, in lengths of their interval", rows.roads, 1.0),
    ]
