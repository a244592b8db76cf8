"""A language model as a policy over finitely many responses: its probabilities of them, normalised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distalign.bridge.candidates.probe import WORDS, Rows
from distalign.policies import Tabular
from distalign.training.model.scorer import Scorer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LanguageModel:
    r"""The law of a causal language model on K candidate responses to each of S prompts.

        pi(y|s) = p(y|s) / \sum_{y'} p(y'|s),   p(y|s) = \prod_t p(token_t | s, tokens before)

    over the candidates y' only, which is not the law of what the model would say freely. So a language model
    is a map from its weights to the parameter of a `Tabular` policy,

        theta_{s,y} = log p(y|s) - log p_0(y|s),   p_0 the model as given,

    and all that follows (seam, objective, law) is the code of the small policies. At the start theta is 0 to
    the last bit.

    Shapes: S prompts of K responses each. Units: nats. Not covered: sampling, and responses outside the
    candidates.

    Attributes:
        scorer: the model, in evaluation mode, dropout 0.
        start: the reference, as a `Tabular` policy.
        parameters: the weights that learn, which are the adapters of a model that has some, and else all
            weights that require a gradient.
        learning_rate: a learning rate of Adam that suits `parameters`.

    Args:
        model: of transformers, or a `PeftModel`; it is the reference policy as given.
        rows: S prompts with equally many responses.
        learning_rate: as above.

    Raises:
        InputError: the model is one that `Scorer` refuses.

    Source: ours.

    Example:
        >>> from distalign.bridge.candidates.probe import tiny_rows
        >>> policy = LanguageModel(tiny_model(0), tiny_rows(0, 2, 5))
        >>> tuple(policy.log_probs().shape), bool((policy.theta() == 0).all())
        ((2, 5), True)
    """

    def __init__(self, model: nn.Module, rows: Rows, *, learning_rate: float = 1e-3) -> None:
        """Score the candidates once: that is the reference."""
        self.scorer = Scorer(model.eval())
        self.learning_rate = learning_rate
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._initial = [p.detach().clone() for p in self.parameters]
        self._laid = self.scorer.layout(rows)
        self._shape = (len(rows), len(rows[0].responses))
        with torch.no_grad():
            self._reference_scores = self._scores()
        self.start = Tabular(torch.softmax(self._reference_scores.view(self._shape), -1))

    def theta(self) -> Tensor:
        """(S K,) float64 changes of the responses' log-probabilities; gradients flow to the weights."""
        return self._scores() - self._reference_scores

    def log_probs(self) -> Tensor:
        """(S, K) float64 log-probabilities of the candidates, each row of total probability 1."""
        return self.start.log_probs(self.theta())

    @torch.no_grad()
    def reset(self) -> None:
        """Give the weights back every bit they had."""
        for parameter, initial in zip(self.parameters, self._initial, strict=True):
            parameter.copy_(initial)

    def _scores(self) -> Tensor:
        return self.scorer(self._laid).double().cpu()


def tiny_model(seed: int, *, spread: float = 0.1) -> PreTrainedModel:
    """A random Llama of 2 layers, hidden 32, 64 words and 23 thousand weights in float64: no file, no
    tokenizer.

    Args:
        seed: of the weights.
        spread: standard deviation of the initial weights. The default spreads a token's log-probabilities by
            about 0.6 nats, so that a law over responses of three tokens is far from uniform and leaves no
            response out.

    Example:
        >>> sum(p.numel() for p in tiny_model(0).parameters())
        24736
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        initializer_range=spread,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model.double()
