"""A causal language model whose responses can all be enumerated, and exact answers by plain formulas.

Tokens are 0, which ends a text, and 1 to 3; a response has at most 6 tokens. Of the 4^6 = 4,096 token
sequences, those that agree up to the end-of-text token are one response, which leaves 1,093: 364 that end by
themselves and 729 that are cut. Nothing here calls the estimators, or a solver that they call.
"""

import itertools
from functools import cache

import numpy as np
import torch
from scipy.optimize import brentq

from distalign.training.data.rows import TokenRow
from distalign.training.model.scorer import Scorer
from distalign.training.model.scoring import score_rows

END, VOCABULARY, LONGEST = 0, 4, 6
SHARE = 0.1
PROMPTS = tuple(itertools.product((1, 2, 3), repeat=2))
"""All 9 prompts of two tokens."""
RESPONSES = tuple(
    (*body, *end)
    for length in range(LONGEST + 1)
    for body in itertools.product((1, 2, 3), repeat=length)
    for end in (((END,),) if length < LONGEST else ((),))
)


def causal_model(seed, *, towards=None, share=0.0):
    """A random Llama in float64 over four tokens, its weights moved a share of the way to another seed's."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.25,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).double().eval()
    if towards is not None:
        with torch.no_grad():
            for mine, other in zip(model.parameters(), causal_model(towards).parameters(), strict=True):
                mine.add_(share * (other - mine))
    return model


def log_table(model, prompts=PROMPTS, *, share_prompt=False, group=100):
    """(S, K) log-probabilities of all responses from the scorer of the package."""
    rows = [
        TokenRow(prompt, RESPONSES[i : i + group])
        for prompt in prompts
        for i in range(0, len(RESPONSES), group)
    ]
    scorer = Scorer(model, share_prompt=share_prompt)
    return score_rows(scorer, rows, token_budget=16384).double().numpy().reshape(len(prompts), -1)


@cache
def reference():
    """(S, K) log-probabilities of the reference."""
    return log_table(causal_model(0))


@cache
def trained():
    """(S, K) log-probabilities of another model, 0.32 nats away: what a run might end at."""
    return log_table(causal_model(0, towards=1, share=SHARE))


def features(seed, scale=1.0):
    """(K,) a score of every response: a linear one of tokens and bigrams, bounded by tanh to +- scale."""
    rng = np.random.default_rng(seed)
    one, two = rng.normal(size=4), rng.normal(size=(4, 4))
    raw = np.array([one[list(y)].sum() + two[list(y[:-1]), list(y[1:])].sum() for y in RESPONSES])
    return scale * np.tanh((raw - raw.mean()) / raw.std())


REWARD = features(10, 1.5)
UTILITIES, SHARES, SHARPNESS = (
    np.stack([features(s) for s in (11, 12, 13)]),
    (0.5, 0.3, 0.2),
    (1.0, 2.0, 3.0),
)


@cache
def win():
    """(K, K) preferences of three types of users, not Bradley-Terry."""
    gaps = UTILITIES[:, :, None] - UTILITIES[:, None, :]
    weights = np.array(SHARES)[:, None, None]
    return (weights / (1 + np.exp(-np.array(SHARPNESS)[:, None, None] * gaps))).sum(0)


def tilted(q, logits):
    """(K,) the law proportional to q exp(logits)."""
    p = q * np.exp(logits - logits.max())
    return p / p.sum()


INVERSE = {
    "forward_kl": lambda s: 1 / (1 - s),
    "jensen_shannon": lambda s: np.exp(s) / (2 - np.exp(s)),
    "alpha:0.5": lambda s: (1 - s / 2) ** -2.0,
    "reverse_kl": np.exp,
}
"""(f')^{-1} without constants that c(x) takes up, except for the reverse KL, where it is e^s."""
SUPREMUM = {"forward_kl": 1.0, "jensen_shannon": np.log(2), "alpha:0.5": 2.0, "reverse_kl": np.inf}


def f_optimum(q, reward, beta, f):
    """(K,) q (f')^{-1}((r - c) / beta) with c found by bisection."""

    def mass(c):
        return float(q @ INVERSE[f]((reward - c) / beta)) - 1

    low = reward.max() - beta * min(SUPREMUM[f], 50.0)
    c = brentq(mass, low + 1e-12, reward.max() + 50 * beta, xtol=1e-14)
    return q * INVERSE[f]((reward - c) / beta)


def projected(q, p):
    """(K,) the Bradley-Terry reward of comparisons with product weights, by Newton's method."""
    r = np.zeros(len(q))
    for _ in range(50):
        chance = 1 / (1 + np.exp(r[None, :] - r[:, None]))
        pull = q * ((p - chance) @ q)
        edges = np.outer(q, q) * chance * chance.T
        hessian = np.diag(edges.sum(1)) - edges + np.outer(q, q)  # the last term fixes the constant
        step = np.linalg.solve(hessian, pull)
        r = r + step
        if np.abs(step).max() < 1e-12:
            return r
    raise AssertionError("Newton's method did not converge")


def equilibrium(q, p, strength):
    """(K,) the fixed point of the best reply, damped."""
    policy = q
    for _ in range(5000):
        after = tilted(q, (p - p.T) @ policy / strength)
        if np.abs(after - policy).sum() < 1e-13:
            return after
        policy = (policy + after) / 2
    raise AssertionError("the iteration did not converge")


def divergence(p, q):
    """KL(p || q) in nats."""
    on = p > 0
    return float(p[on] @ np.log(p[on] / q[on]))


def ball_optimum(q, utility, budget):
    """(K,) the tilt by the utility that spends the budget."""
    strength = brentq(lambda s: divergence(tilted(q, s * utility), q) - budget, 1e-6, 50, xtol=1e-13)
    return tilted(q, strength * utility)


def sample(log_law, count, rng):
    """(S, count) indices of responses, independent draws of each row."""
    return np.stack([rng.choice(len(row), count, p=np.exp(row) / np.exp(row).sum()) for row in log_law])
