r"""A loud minority and a model that writes freely: RLHF follows it, self-play does not.

The claim. In one ball of KL to the reference, Nash learning from human feedback loses at most the factor
C(b) against the best average utility, while the loss of RLHF and DPO is not bounded by it where comparisons
fall on texts that the reference does not write (Theorems 6 and 7 of arXiv 2505.23749). The test on a model
that writes freely, and by policy gradients on its own texts, is ours.

The users answer by Bradley-Terry at temperature b with utilities in [0, 1]. A random score of the tokens
divides the texts in two halves. Most users like one half a little; few like the other half better. Nearly
all comparisons were collected against one foreign text, which the model hardly ever writes and which most
users love. Against it the minority's half loses less often than the majority's, so one Bradley-Terry reward
ranks the minority's half first. Asked directly, people prefer the majority's half.

The methods. DPO is trained on pairs of draws and of draws with the foreign text, with soft labels. RLHF is
trained by policy gradient on texts of its own with the Bradley-Terry reward of the same comparisons, which
is known for any text: r(y) solves E_{y'} sigma(r(y) - r(y')) = E_{y'} P(y > y') over the compared texts y'.
NLHF is self-play by policy gradient: the gain of a text is its margin against the other texts of the
policy.

The prediction, made on draws of the reference before anything is trained: RLHF and DPO end at the tilt by
exp(r / beta), NLHF at the equilibrium w ~ exp(M w / lambda). For each prompt the strength is the one at
which the predicted policy spends 0.4 nats. All are judged in the ball of 0.5 nats, against the best average
utility in it, so that no policy gains by staying at home; one that leaves the ball fails.

DPO and RLHF have one optimum over all texts, but not one way to it. DPO is trained on the foreign text
itself and has to raise it by r/beta - log Z, here about 18 nats, which alone is worth more than the ball;
the weights that do it are those that write all other texts. RLHF never meets a text that the model does not
write.

What was found first. By DPO the foreign text does rise by 16 of its 18 nats, and the texts turn to the
minority's half as predicted, but the model spends 4 nats and not 0.4: the rest goes to texts that share the
foreign one's tokens. With a third of the rate and more updates it is no better. The policy gradients stay
in the ball and have about three quarters of the predicted change of utility after sixty updates: the step
between the halves is sharper than what the model has learnt by then (slope 0.7 of its log-ratios on the
predicted).

So DPO's change of utility is held to its prediction on the average of the writers only. In one writer of
three, at full size, its texts turned to the majority's half and ended above the reference. That its
distortion is larger than NLHF's was a check once. It was dropped, for every policy that is less good than
self-play passes it, a DPO with the sign of its logits exchanged among them.

C(b) = 2.53 is shown in the table and is no check: in this ball no policy at all has a distortion above 2.6.

The checks:

- separations: RLHF has a larger distortion than NLHF; NLHF raises the average utility, and RLHF lowers it
  below that of the reference;
- bounds: each method makes at least half of the predicted change of average utility;
- a bound: RLHF and NLHF spend at most 0.5 nats; a separation: DPO spends more;
- growth: DPO raises the foreign text by the nats of its optimum, to 20 %;
- an identity: both roads agree for every prompt, 1 being the end of an interval at the level of all cells.

The planted defects: self-play with the sign of the margins exchanged; DPO with the sign of its logits
exchanged; a policy gradient of RLHF that goes downhill; one of self-play whose penalty is half as large;
and fresh texts that are written by the reference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit, log_softmax

from distalign.bridge.candidates.displacement import multiple_at
from distalign.bridge.generation.learning import (
    descend,
    group_batch,
    leave_one_out,
    policy_gradient,
    self_play,
)
from distalign.bridge.generation.tilts import Tilt, kl_ball, nlhf, rlhf
from distalign.bridge.generation.writer import Texts, Writer
from distalign.bridge.studies.free.world import World, generator_of, world
from distalign.bridge.studies.mistakes import fresh_texts_of_the_reference
from distalign.objectives import dpo
from distalign.objectives.dpo import pair_logits
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, growth, identity, separation
from distalign.solvers.choice.games import regularised_nlhf
from distalign.solvers.choice.reward import reward_mle
from distalign.theory.distortion.constants import minimax_distortion
from distalign.types import Array

BT_TEMPERATURE, MINORITY = 5.0, 0.13
LIKES, LOVES, STEEPNESS = 0.285, 0.47, 8.0  # of the majority and of the minority; of the step between halves
OF_FOREIGN = (1.0, 0.285)  # utilities of the foreign text for the majority and the minority
FOREIGN = 0.91  # of every comparison's two texts
KL_BUDGET, AIM = 0.5, 0.4  # nats: the ball in which all are judged, and what the methods mean to spend
METHODS, PACE = ("DPO", "RLHF", "NLHF"), 4.0
SHARE, RAISE_TOLERANCE = 0.5, 0.2
DEFECTS = (
    Defect(
        "self-play with the sign of the margins exchanged",
        self_play,
        result(lambda x: -x),
        where(method="NLHF"),
    ),
    Defect("the sign of DPO's logits exchanged", pair_logits, result(lambda x: -x), where(method="DPO")),
    Defect(
        "the policy gradient of RLHF goes downhill", leave_one_out, result(lambda x: -x), where(method="RLHF")
    ),
    Defect(
        "a penalty of the policy gradient half as large",
        policy_gradient,
        argument("beta", lambda b: b / 2),
        where(method="NLHF"),
    ),
    fresh_texts_of_the_reference(where(method="DPO")),
)


def cells(
    policy: str, seeds: int, steps: int, prompts: int = 4, group: int = 24, draws: int = 300
) -> list[dict[str, Any]]:
    """One cell per seed and method."""
    return [
        {
            "policy": policy,
            "seed": seed,
            "method": method,
            "steps": steps,
            "prompts": prompts,
            "group": group,
            "draws": draws,
        }
        for seed in range(seeds)
        for method in METHODS
    ]


def run(
    rng: np.random.Generator,
    *,
    policy: str,
    seed: int,
    method: str,
    steps: int,
    prompts: int,
    group: int,
    draws: int,
) -> dict[str, Any]:
    """One row a prompt: average utility, KL and distortion, predicted and as trained."""
    here = world(policy, seed, prompts, draws)
    users = Users(here)
    predicted, strength = users.predicted(method)
    predicted.require()
    {"DPO": _train_dpo, "RLHF": _train_rlhf, "NLHF": _train_nlhf}[method](
        users, strength[:, None], rng, steps=steps, group=group
    )
    found = here.measured(rng)
    utility, of_fresh = users.average(here.draws), users.average(found.texts)
    best = kl_ball(utility, KL_BUDGET).mean(utility)
    reached = found.reweighted.mean(utility) if found.in_range else found.fresh.mean(of_fresh)
    return {
        "prompt": np.arange(prompts),
        "utility": reached,
        "predicted_utility": predicted.mean(utility),
        "reference": utility.mean(1),
        "best": best,
        "kl": found.kl(),
        "distortion": best / reached,
        "predicted": best / predicted.mean(utility),
        "roads": found.apart(utility, of_fresh),
        **users.foreign_raised(),
    }


class Users:
    """The population, the foreign text and what its comparisons say.

    Attributes:
        world: the writer and its draws.
        score: divides the texts in halves.
        foreign: (S, 1) the foreign text of each prompt.
        reward: (S, N + 1) the Bradley-Terry reward of draws and foreign text, in logits.
        compared: (N + 1,) the law of a compared text.
    """

    def __init__(self, here: World) -> None:
        """Ask everybody."""
        self.world, self.score = here, here.score(0)
        self.foreign = unlikely(here.writer)
        count = here.reference.shape[1]
        self.compared = np.append(np.full(count, (1 - FOREIGN) / count), FOREIGN)
        self._anchors = np.concatenate([self.utilities(here.draws), self._of_foreign(len(here.reference))], 2)
        wins = self._chance(self._anchors, self._anchors)
        self.win = wins[:, :-1, :-1]
        self.reward = np.stack([reward_mle(one, self.compared).reward for one in wins])

    def utilities(self, texts: Texts) -> Array:
        """(2, S, K) utilities of the majority and of the minority."""
        second = expit(STEEPNESS * self.score(texts))
        return np.stack([LIKES * (1 - second), LOVES * second])

    def average(self, texts: Texts) -> Array:
        """(S, K) average utility."""
        majority, minority = self.utilities(texts)
        return (1 - MINORITY) * majority + MINORITY * minority

    def preferences(self, texts: Texts, *, with_foreign: bool = False) -> Array:
        """(S, K, K) win matrices of texts, the foreign one last where it is asked for."""
        utilities = self.utilities(texts)
        if with_foreign:
            utilities = np.concatenate([utilities, self._of_foreign(utilities.shape[1])], 2)
        return self._chance(utilities, utilities)

    def reward_of(self, texts: Texts) -> Array:
        """(S, K) the reward of any text, by bisection: it expects the wins that the text has."""
        wins = self._chance(self.utilities(texts), self._anchors) @ self.compared
        low, high = np.full(wins.shape, self.reward.min() - 20), np.full(wins.shape, self.reward.max() + 20)
        for _ in range(40):
            middle = (low + high) / 2
            small = expit(middle[:, :, None] - self.reward[:, None, :]) @ self.compared < wins
            low, high = np.where(small, middle, low), np.where(small, high, middle)
        return (low + high) / 2

    def predicted(self, method: str) -> tuple[Tilt, Array]:
        """The optimum of a method that spends AIM nats of each prompt, and (S,) its beta or lambda."""
        if method == "NLHF":
            strength = np.array([_strength(one) for one in self.win])
            tilts = [nlhf(one[None], strength=x) for one, x in zip(self.win, strength, strict=True)]
        else:
            even = np.full((1, self.win.shape[1]), -np.log(self.win.shape[1]))
            strength = np.array([1 / multiple_at(even, one[None, :-1], AIM) for one in self.reward])
            tilts = [rlhf(one[None, :-1], x) for one, x in zip(self.reward, strength, strict=True)]
        return Tilt(method, np.concatenate([tilt.log_weights for tilt in tilts])), strength

    def foreign_raised(self) -> dict[str, Array]:
        """How far the foreign text has been raised, in nats, and what DPO's optimum says of it."""
        writer = self.world.writer
        now = writer.log_prob(self.foreign)[:, 0]
        with writer.reference():
            given = writer.log_prob(self.foreign)[:, 0]
        _, beta = self.predicted("DPO")
        logits = self.reward / beta[:, None]
        rest = self.reward.shape[1] - 1
        start = np.column_stack([np.full((len(given), rest), -np.log(rest)), given])
        raised = log_softmax(start + logits, axis=1) - start
        return {
            "raised": now - given,
            "predicted_raised": raised[:, -1],
            "dpo_kl": (np.exp(start + raised) * raised).sum(1),
        }

    def _of_foreign(self, prompts: int) -> Array:
        return np.broadcast_to(np.array(OF_FOREIGN)[:, None, None], (2, prompts, 1))

    @staticmethod
    def _chance(one: Array, other: Array) -> Array:
        """(S, K, L) share of users that prefer the first, (2, S, K) and (2, S, L) utilities."""
        chance = expit(BT_TEMPERATURE * (one[:, :, :, None] - other[:, :, None, :]))
        return (1 - MINORITY) * chance[0] + MINORITY * chance[1]


def _strength(win: Array) -> float:
    """The lambda at which the equilibrium spends AIM nats, by bisection of its logarithm."""
    even = np.full(len(win), -np.log(len(win)))
    low, high = np.log(1e-2), np.log(10.0)
    for _ in range(30):
        middle = (low + high) / 2
        spends = regularised_nlhf(win, even, float(np.exp(middle))).kl(even)
        low, high = (middle, high) if spends > AIM else (low, middle)
    return float(np.exp((low + high) / 2))


@torch.no_grad()
def unlikely(writer: Writer) -> Texts:
    """(S, 1) a text of each prompt whose tokens are the least likely ones, one after the other."""
    causal = writer.scorer.causal
    device = causal.get_input_embeddings().weight.device
    ends = torch.tensor(sorted(writer.ends), dtype=torch.long)
    texts = []
    for prompt in writer.prompts:
        ids = torch.tensor([prompt], device=device)
        for _ in range(writer.longest):
            logits = causal(input_ids=ids).logits[:, -1]
            logits[:, ends] = torch.inf
            ids = torch.cat([ids, logits.argmin(-1, keepdim=True)], 1)
        texts.append(ids[:, len(prompt) :].cpu().numpy())
    return Texts(np.stack(texts))


def _train_dpo(users: Users, beta: Array, rng: np.random.Generator, *, steps: int, group: int) -> None:
    """DPO on groups of draws with the foreign text, pairs weighted as they are compared."""
    writer = users.world.writer
    texts, reference = users.world.pool(group * steps, rng)
    own = np.append(np.full(group, (1 - FOREIGN) / group), FOREIGN)
    weights = torch.as_tensor(np.outer(own, own)[~np.eye(group + 1, dtype=bool)]).repeat(len(beta))
    foreign = writer.log_prob(users.foreign)
    scale = torch.as_tensor(np.repeat(beta, group + 1, 1)).flatten()

    def loss(i: int) -> torch.Tensor:
        part = slice(i * group, (i + 1) * group)
        both = Texts(np.concatenate([texts[:, part].tokens, users.foreign.tokens], 1))
        given = torch.as_tensor(np.concatenate([reference[:, part], foreign], 1)).flatten()
        win = torch.as_tensor(users.preferences(texts[:, part], with_foreign=True))
        batch = group_batch(scale * writer.scores(writer.layout(both)), scale * given, win)
        assert batch.weights is not None
        return dpo(replace(batch, weights=batch.weights * weights), beta=1.0)

    descend(writer, loss, steps=steps, pace=PACE)


def _train_rlhf(users: Users, beta: Array, rng: np.random.Generator, *, steps: int, group: int) -> None:
    _on_policy(users, users.reward_of, beta, rng, steps, group)


def _train_nlhf(users: Users, strength: Array, rng: np.random.Generator, *, steps: int, group: int) -> None:
    _on_policy(users, lambda texts: self_play(users.preferences(texts)), strength, rng, steps, group)


def _on_policy(
    users: Users, gain: Any, strength: Array, rng: np.random.Generator, steps: int, group: int
) -> None:
    """Policy gradient on the gain in units of the strength, which differs between prompts."""
    policy_gradient(
        users.world.writer,
        lambda texts: gain(texts) / strength,
        beta=1.0,
        steps=steps,
        group=group,
        generator=generator_of(rng),
        pace=PACE,
    )


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean distortion with its interval, predicted and as trained, with utilities and KL."""
    columns = (
        "predicted",
        "utility",
        "predicted_utility",
        "best",
        "reference",
        "kl",
        "raised",
        "predicted_raised",
        "dpo_kl",
    )
    out = summarise(rows, ["method"], "distortion").merge(
        rows.groupby("method", as_index=False).agg(**{c: (c, "mean") for c in columns}), on="method"
    )
    return out.assign(bound=float(minimax_distortion(BT_TEMPERATURE)))


def checks(rows: pd.DataFrame) -> list[Check]:
    """NLHF within C(b), the others worse; utilities against their prediction; what is spent; both roads."""
    by = {
        q: rows.pivot(index=["seed", "prompt"], columns="method", values=q)
        for q in ("distortion", "utility", "reference", "kl")
    }
    found, gained = by["distortion"], by["utility"] - by["reference"]
    measured = ["utility", "predicted_utility", "reference", "raised", "predicted_raised"]
    means = pd.DataFrame(rows.groupby("method")[measured].mean())
    share = (means.utility - means.reference) / (means.predicted_utility - means.reference)
    return [
        separation("distortion, RLHF by policy gradient minus NLHF", found.RLHF - found.NLHF),
        separation("average utility, NLHF minus reference", gained.NLHF),
        separation("average utility, reference minus RLHF", -gained.RLHF),
        *(
            bound(
                f"{method}: half of the predicted change of average utility at most what it made",
                SHARE,
                share[method],
            )
            for method in METHODS
        ),
        bound(f"RLHF and NLHF spend at most {KL_BUDGET:g} nats", by["kl"][["RLHF", "NLHF"]], KL_BUDGET),
        separation(f"KL that DPO spends, minus {KL_BUDGET:g} nats", by["kl"].DPO - KL_BUDGET),
        growth(
            "nats by which DPO raises the foreign text = those of its optimum",
            means.raised.DPO,
            means.predicted_raised.DPO,
            RAISE_TOLERANCE,
        ),
        identity("both roads agree, in lengths of their interval", rows.roads, 1.0),
    ]
