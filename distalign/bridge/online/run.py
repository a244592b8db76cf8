r"""An online run between updates: it writes, judges, scores and differentiates.

An update needs one pass with gradients. What its texts are worth is known before, and an advantage couples
the texts of one prompt only, so each micro-batch of whole prompts has all that its part of the gradient
needs:

    gradient  =  \sum_b (n_b / S) (gradient of the mean over the n_b prompts of micro-batch b),          (1)

whatever the micro-batches.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from distalign.bridge.generation.draws import CUT_SHARE
from distalign.bridge.online import losses
from distalign.bridge.online.judges import Judge, Reward, bradley_terry
from distalign.bridge.online.texts import Prompts, Texts, write_texts
from distalign.checks import InputError
from distalign.policy_gradient import estimated_divergence
from distalign.progress import Voice
from distalign.training.course import Course
from distalign.training.data.packing import micro_batches, padded_tokens
from distalign.training.model.scorer import Scorer
from distalign.training.recipe_checks import ON_OWN_TEXTS
from distalign.training.recipe_online import OnlineRecipe
from distalign.types import Array

COLUMNS = (
    "step",
    "epoch",
    "loss",
    "reward",
    "reward_spread",
    "kl",
    "divergence",
    "entropy",
    "response_tokens",
    "unfinished",
    "grad_norm",
    "learning_rate",
    "tokens",
)
"""Of metrics.csv: docs/fine_tuning.md says what they are."""


@dataclass(frozen=True)
class OnlineStep:
    """What an update measured, under the weights that wrote its texts.

    Attributes:
        loss: () of the global batch: minus the estimate of the objective for rlhf and nlhf, else the loss of
            the pairs.
        texts: what the policy wrote.
        rewards: (S, K) rewards, or None where texts are compared by a preference.
        log_prob: (S, K) log pi of the texts.
        log_ratio: (S, K) log pi - log pi_ref, in nats.
    """

    loss: Tensor
    texts: Texts
    rewards: Array | None
    log_prob: Tensor
    log_ratio: Tensor


@dataclass(kw_only=True)
class OnlineRun(Course[OnlineStep]):
    """An online run between updates.

    Attributes:
        prompts: what it writes to.
        judge: what its texts are worth.
        reference: a frozen copy of the model, or None where an adapter can be switched off.
        say: takes a line for the user.
        told_of_cuts: whether the user was told that many texts are cut.
    """

    columns: ClassVar[tuple[str, ...]] = COLUMNS

    prompts: Prompts
    judge: Judge
    reference: Scorer | None
    say: Voice
    told_of_cuts: bool = False

    @property
    def asked(self) -> OnlineRecipe:
        """The recipe, which is an online one."""
        assert isinstance(self.recipe, OnlineRecipe)
        return self.recipe

    @property
    def digest(self) -> str:
        """Hex digest of the prompts, with what the reward is."""
        return f"{self.prompts.digest} {self.judge.identity}"

    @property
    def size(self) -> int:
        """Prompts of the global batch."""
        return self.recipe.batch_size

    # -- an update --

    def gradient(self) -> OnlineStep:
        """Write the texts of update `done`, judge them, and add to the gradients.

        Raises:
            InputError: a reward is not finite, or the first texts are all worth the same.
        """
        texts = write_texts(self.asked, self.prompts, self.scorer, self.tokenizer, self.done)
        rewards = self.judge.rewards(texts) if isinstance(self.judge, Reward) else None
        margins = self.judge.margins(texts) if not isinstance(self.judge, Reward) else None
        self._check(texts, rewards if margins is None else margins)
        return self.backward(texts, rewards=rewards, margins=margins)

    def _check(self, texts: Texts, judged: Array | None) -> None:
        recipe = self.asked
        if self.done == 0 and judged is not None and _spread_within_prompts(judged) == 0:
            raise InputError(
                f"{recipe.reward or recipe.preference} is the same for all {texts.shape[1]} texts of each "
                "prompt of the first update, and only texts to one prompt are compared, so there is nothing "
                "to learn: give another reward, or raise samples_per_prompt"
            )
        if texts.cut > CUT_SHARE and not self.told_of_cuts:
            self.told_of_cuts = True
            self.say.warn(
                f"update {self.done + 1}: {texts.cut:.0%} of the texts were cut at max_new_tokens "
                f"{recipe.max_new_tokens}, so what is trained are beginnings of texts: raise it to train on "
                "whole ones"
            )

    def backward(
        self, texts: Texts, *, rewards: Array | None = None, margins: Array | None = None
    ) -> OnlineStep:
        """Add to the gradients that of the global batch, Eq. (1), one micro-batch at a time.

        Args:
            texts: of the policy as it is.
            rewards: (S, K); what rlhf reads, and what the others turn into margins where there are none.
            margins: (S, K, K) 2 P(y_j preferred to y_k) - 1.
        """
        if self.recipe.objective != "rlhf" and margins is None and rewards is not None:
            margins = bradley_terry(rewards)
        s, k = texts.shape
        worth = torch.from_numpy(rewards if margins is None else margins).to(self.world.device)
        scores, ratios = (torch.zeros(s, k, dtype=torch.float64) for _ in range(2))
        parts, loss_of = [], losses.of_micro_batch(self.recipe)
        for batch in self._micro_batches(texts):
            laid = self.scorer.layout([texts.rows[i] for i in batch])
            reference = self._reference(laid).view(-1, k)
            live = self.scorer(laid).view(-1, k)
            part = loss_of(live, reference, worth[batch], texts.lengths[batch]) * (len(batch) / s)
            part.backward()
            parts.append(part.detach())
            scores[batch] = live.detach().double().cpu()
            ratios[batch] = (live.detach().double() - reference.double()).cpu()
        loss = torch.stack(parts).sum().cpu()
        if self.recipe.objective in ON_OWN_TEXTS:  # what was differentiated has the gradient, not the value
            loss = -losses.method_of(self.recipe)(worth.cpu(), ratios).value
        return OnlineStep(loss, texts, rewards, scores, ratios)

    def _micro_batches(self, texts: Texts) -> list[list[int]]:
        share, budget = self.scorer.share_prompt, self.recipe.micro_batch_tokens
        lengths = [padded_tokens(row, share_prompt=share) for row in texts.rows]
        if budget is None:
            return micro_batches(lengths, size=self.recipe.per_device_train_batch_size)
        return micro_batches(lengths, token_budget=max(budget, *lengths))  # a prompt's texts stay together

    def _reference(self, laid: Any) -> Tensor:
        """(n * K,) log pi_ref in the layout of the policy, so that the rounding of the two cancels."""
        scorer = self.scorer if self.reference is None else self.reference
        with torch.no_grad(), scorer.reference() if self.reference is None else nullcontext():
            return scorer(laid)

    # -- what the loop asks for --

    def seen(self, found: OnlineStep) -> int:
        """Tokens of the update's texts and prompts."""
        return found.texts.tokens

    def row(self, found: OnlineStep) -> dict[str, float]:
        """Metrics of the update's texts."""
        f = str(self.recipe.objective_options.get("divergence", "reverse_kl"))
        row = {
            "epoch": self.done * self.size / len(self.prompts.tokens),
            "loss": float(found.loss),
            "kl": float(found.log_ratio.mean()),
            "divergence": float(estimated_divergence(found.log_ratio, f)),
            "entropy": float(-found.log_prob.mean()),
            "response_tokens": float(found.texts.lengths.mean()),
            "unfinished": found.texts.cut,
        }
        if found.rewards is not None:
            row["reward"] = float(found.rewards.mean())
            row["reward_spread"] = float(found.rewards.std(1, ddof=1).mean())
        return row

    def non_finite(self, found: OnlineStep, norm: float) -> InputError:
        """The sentence that names the prompts of the batch."""
        bad = (~torch.isfinite(found.log_ratio)).any(1).nonzero()[:, 0].tolist()
        which = [str(found.texts.samples[i * found.texts.shape[1]].prompt)[:40] for i in bad[:8]]
        scores = f"log-probabilities of texts to {which} are not finite"
        return InputError(
            f"update {self.done + 1}: loss {float(found.loss)} and norm of the gradient {norm} are not both "
            f"finite, and {scores if which else 'all log-probabilities are finite'}. The state before this "
            f"update is saved in {self.folder}: lower learning_rate and set another output_dir"
        )

    def results(self, say: Callable[[str], object], progress: bool) -> dict[str, float]:
        """Write the model card; what the policy writes now is for `distalign generate` and its readers."""
        from distalign.training.evaluation.card import write_card

        facts = {
            "updates": self.done,
            "tokens": self.tokens,
            "prompts": len(self.prompts.tokens),
            "prompts of the global batch": self.size,
            "digest of prompts, and what the reward is": self.digest,
            "weights before training": self.weights,
        }
        self.world.once(lambda: write_card(self.folder / "model", self.recipe, None, facts=facts))
        say(f"model: {self.folder / 'model'}")
        return {}


def _spread_within_prompts(judged: Array) -> float:
    """Largest minus smallest of what the texts of a prompt are worth, of the prompt where it is largest.

    Example: each prompt's texts are worth the same.
        >>> _spread_within_prompts(np.array([[1.0, 1.0], [2.0, 2.0]]))
        0.0
    """
    return float(np.ptp(judged.reshape(len(judged), -1), axis=1).max())
