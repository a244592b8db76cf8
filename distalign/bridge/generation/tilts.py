r"""Population optima of a language model that writes freely, as weights on draws of its reference.

The responses are all token sequences that the model can write, which nobody can enumerate. But every
population optimum is a tilt of the reference policy,

    target(y | x) = w(x, y) pi_ref(y | x),                                                                 (1)

so N draws y_1, ..., y_N of pi_ref(. | x) carry it. They are taken as N alternatives of reference probability
1/N each (repeated texts stay), and the exact solvers of the package are applied to that table. This is the
sample-average approximation of the problem over all sequences, with

    E_target g  ~  \sum_i w_i g(y_i),   \sum_i w_i = 1,   KL(target || pi_ref)  ~  \sum_i w_i log(N w_i),  (2)

of bias O(1/N) and error O(N^{-1/2}). No weight exceeds 1, so no KL above log N can be represented.
`Tilt.require` refuses a prediction that the draws do not carry.

The draws must come from the model itself, at temperature 1 without truncation and up to T tokens; a text cut
at T is a response of T tokens, and the end-of-text token is a token of the response. Another sampling rule is
another reference policy.

Shapes: S prompts with N draws each; scores are (S, N) and win matrices (S, N, N).

Source: ours. The tilts themselves are those of the papers; each function names its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_softmax, xlogy

from distalign.checks import InputError, laws, nonnegative, positive, reals
from distalign.divergences import Divergence, divergence
from distalign.solvers.choice.certified import CertifiedPolicy, checked_win
from distalign.solvers.choice.games import kl_nlhf, regularised_nlhf
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.solvers.choice.reward import reward_mle
from distalign.solvers.kkt import regularised_policy
from distalign.types import Array

SMALLEST_SIZE = 30.0
"""Effective sample size below which a prediction is refused."""
LARGEST_WEIGHT = 0.1
"""Weight of a single draw above which a prediction is refused."""
SPARE_NATS = 3.0
"""The KL of a prediction must stay this far below log N.

It is log N less the entropy of the weights, which is at least the logarithm of the effective sample size: a
prediction of effective size 30 passes. The rule is for its sentence, which is in nats.
"""


@dataclass(frozen=True)
class Tilt:
    """A population optimum as weights on draws of the reference.

    Attributes:
        method: what it is the optimum of, for messages and tables.
        log_weights: (S, N) log w of equation (2); each row of total weight 1, -inf where the optimum drops a
            text.

    Example:
        >>> tilt = Tilt("uniform", np.log(np.full((1, 50), 0.02)))
        >>> tilt.kl().round(12).tolist(), tilt.effective_size().round(9).tolist()
        ([0.0], [50.0])
    """

    method: str
    log_weights: Array

    @property
    def weights(self) -> Array:
        """(S, N) the weights w, of sum 1 in each row."""
        return np.exp(self.log_weights)

    @property
    def log_ratio(self) -> Array:
        """(S, N) log(N w), the estimate of log target/pi_ref of each draw, in nats."""
        return self.log_weights + np.log(self.log_weights.shape[1])

    def mean(self, values: ArrayLike) -> Array:
        """(S,) E_target g of each prompt, for (S, N) values g of the draws.

        Raises:
            InputError: values are not finite or have another shape.
        """
        g = reals("values", values, "(S, N)", "give one finite number for each draw")
        if g.shape != self.log_weights.shape:
            raise InputError(
                f"values must be {self.log_weights.shape}, one for each draw, got shape {g.shape}"
            )
        return (self.weights * g).sum(1)

    def kl(self) -> Array:
        """(S,) KL(target || pi_ref) of each prompt, in nats."""
        n = self.log_weights.shape[1]
        return xlogy(self.weights, n * self.weights).sum(1)

    def entropy(self, ref_log_prob: ArrayLike) -> Array:
        """(S,) entropy of the target in nats:  -sum_i w_i (log(N w_i) + log pi_ref(y_i)).

        Args:
            ref_log_prob: (S, N) log pi_ref(y_i | x) of the draws.
        """
        return -self.mean(ref_log_prob) - self.kl()

    def effective_size(self) -> Array:
        """(S,) 1 / sum_i w_i^2: how many equally weighted draws would carry as much."""
        return 1 / (self.weights**2).sum(1)

    def largest_weight(self) -> Array:
        """(S,) the largest weight of a single draw."""
        return self.weights.max(1)

    def refusals(self) -> tuple[str, ...]:
        """Why the draws do not carry this prediction, a sentence each with its remedy; empty if they do."""
        size, weight, kl = self.effective_size(), self.largest_weight(), self.kl()
        most = np.log(self.log_weights.shape[1]) - SPARE_NATS
        remedy = "draw more texts a prompt, or ask for a smaller KL (larger beta, smaller ball)"
        found = []
        if size.min() < SMALLEST_SIZE:
            found.append(
                f"{self.method}: prompt {size.argmin()} has an effective sample size of {size.min():.1f} "
                f"below {SMALLEST_SIZE:g}: {remedy}"
            )
        if weight.max() > LARGEST_WEIGHT:
            found.append(
                f"{self.method}: one draw of prompt {weight.argmax()} carries a weight of {weight.max():.3f} "
                f"above {LARGEST_WEIGHT:g}: {remedy}"
            )
        if kl.max() > most:
            found.append(
                f"{self.method}: prompt {kl.argmax()} asks for a KL of {kl.max():.3f} nats above "
                f"log N - {SPARE_NATS:g} = {most:.3f}: {remedy}"
            )
        return tuple(found)

    def require(self) -> Tilt:
        """This tilt, if the draws carry it.

        Raises:
            InputError: the effective sample size of a prompt is below 30, a draw has a weight above 0.1, or
                the KL is above log N - 3.
        """
        refused = self.refusals()
        if refused:
            raise InputError(refused[0])
        return self


def rlhf(reward: ArrayLike, beta: float) -> Tilt:
    r"""RLHF, and DPO where preferences are Bradley-Terry with this reward:  w \propto exp(r / beta).

    Where they are not, give `bradley_terry_reward` of the win matrix.

    Args:
        reward: (S, N) rewards of the draws; DPO's are in logits.
        beta: price of a nat, above 0, in units of reward.

    Raises:
        InputError: rewards are not finite or the same for all draws of a prompt, or beta is not above 0.

    Source: arXiv 2305.18290, Eq. 4.

    Example:
        >>> rlhf([[0.0, np.log(3.0)]], beta=1.0).weights.round(9).tolist()
        [[0.25, 0.75]]
    """
    positive("beta", beta, "it is the price of a nat in units of reward")
    return _softmax(f"RLHF, beta {beta:g}", _varied("reward", reward) / beta)


def f_dpo(reward: ArrayLike, beta: float, f: str | Divergence) -> Tilt:
    r"""f-DPO:  w = (f')^{-1}((r - c(x)) / beta)  with c(x) such that the mean of w is 1.

    Args:
        reward: (S, N) rewards of the draws, in logits: true ones under Bradley-Terry, else those of
            `bradley_terry_reward`.
        beta: strength of the penalty, above 0.
        f: a divergence of `distalign.divergences` or its name.

    Raises:
        InputError: as `rlhf`, the divergence has no inverse link, or the optimum could not be computed.

    Source: arXiv 2309.16240, Theorem 1; `distalign.solvers.kkt`.

    Example: with the forward KL N w = 1 / (1 + c - r) for beta = 1; here c = -1/3.
        >>> f_dpo([[0.0, -4 / 3]], 1.0, "forward_kl").weights.round(9).tolist()
        [[0.75, 0.25]]
    """
    r, f = _varied("reward", reward), divergence(f)
    best = regularised_policy(r, np.full(r.shape, 1 / r.shape[1]), beta, f)
    if not (best.mass_defect.max() <= 1e-9 and best.stationarity.max() <= 1e-6 * (beta + np.ptp(r))):
        raise InputError(
            f"beta {beta:g} leaves the optimum for {f.name} unsolved (mass wrong by "
            f"{best.mass_defect.max():.1e}): take a larger one"
        )
    return _softmax(f"f-DPO ({f.name}), beta {beta:g}", best.log_policy)


def kldpo(reward: ArrayLike, beta: float, temperature: float) -> Tilt:
    r"""KLDPO at a fixed temperature tau under Bradley-Terry:  RLHF at beta (1 + tau) / tau.

    Args:
        reward: (S, N) Bradley-Terry rewards of the draws, in logits. Where preferences are not
            Bradley-Terry no such form is known: do not give their projection.
        beta: of DPO, above 0.
        temperature: tau, above 0.

    Raises:
        InputError: as `rlhf`, or tau is not above 0.

    Source: the objective is arXiv 2502.01930, Algorithm 2; the shrinkage is ours
        (`distalign.objectives.kldpo`).

    Example:
        >>> kldpo([[0.0, 2 * np.log(3.0)]], beta=1.0, temperature=1.0).weights.round(9).tolist()
        [[0.25, 0.75]]
    """
    positive("beta", beta, "it is the price of a nat in units of reward")
    positive("temperature", temperature, "it is the price of a nat of the worst case")
    shrunk = rlhf(reward, beta * (1 + temperature) / temperature)
    return Tilt(f"KLDPO, beta {beta:g}, temperature {temperature:g}", shrunk.log_weights)


def ipo(win: ArrayLike, beta: float) -> Tilt:
    r"""IPO on pairs of draws:  w_i \propto exp(mean_j P(y_i > y_j) / beta).

    IPO regresses log-ratio differences on (2P - 1) / (2 beta) with product weights; the least-squares answer
    is the mean over opponents, whether preferences are Bradley-Terry or not. It is not the tilt by a
    Bradley-Terry reward.

    Args:
        win: (S, N, N) P(y_i preferred to y_j), 1/2 on the diagonal.
        beta: of `distalign.objectives.ipo`, above 0.

    Raises:
        InputError: not win matrices, or beta is not above 0.

    Source: Azar et al. 2023, arXiv 2310.12036, Section 4 with the identity.

    Example:
        >>> ipo([[[0.5, 1.0], [0.0, 0.5]]], beta=0.5 / np.log(3.0)).weights.round(9).tolist()
        [[0.75, 0.25]]
    """
    positive("beta", beta, "it is the price of a nat in units of probability")
    return _softmax(f"IPO, beta {beta:g}", _win(win).mean(2) / beta)


def p_plus(win: ArrayLike) -> Tilt:
    r"""The law of preferred texts, pairs drawn from the reference:  w_i N = 2 mean_j P(y_i > y_j).

    It is what SFT on chosen texts, DDRO and RDRO end at.

    Args:
        win: (S, N, N) P(y_i preferred to y_j), 1/2 on the diagonal.

    Raises:
        InputError: not win matrices.

    Source: arXiv 2505.07558 and 2604.04410 (the target); the form is ours.

    Example:
        >>> p_plus([[[0.5, 1.0], [0.0, 0.5]]]).weights.round(9).tolist()
        [[0.75, 0.25]]
    """
    return _softmax("law of preferred texts", _log(_win(win).mean(2)))


def p_plus_thumbs(up: ArrayLike) -> Tilt:
    r"""The law of texts with a thumb up:  w_i N = P(up | x, y_i) / t(x),  t(x) its mean over the reference.

    Args:
        up: (S, N) P(up | x, y_i), in [0, 1].

    Raises:
        InputError: not probabilities, or all 0 for a prompt.

    Source: as `p_plus`.

    Example:
        >>> p_plus_thumbs([[0.2, 0.6]]).weights.round(9).tolist()
        [[0.25, 0.75]]
    """
    p = reals("up", up, "(S, N)", "give the probability of a thumb up for each draw")
    if not ((p >= 0) & (p <= 1)).all() or not p.max(1).min() > 0:
        raise InputError(
            "up must hold probabilities of a thumb up, not all 0 for any prompt: a prompt whose texts nobody "
            "likes has no law of liked texts, leave it out"
        )
    return _softmax("law of texts with a thumb up", _log(p))


def kl_ball(utility: ArrayLike, budget: float) -> Tilt:
    r"""The largest average utility in the ball KL(pi || pi_ref) <= tau:  w \propto exp(u / lambda).

    Args:
        utility: (S, N) average utilities, or rewards, of the draws.
        budget: tau in nats for every prompt, at least 0.

    Raises:
        InputError: utilities are not finite or the same for all draws of a prompt, or the budget is negative.

    Source: `distalign.solvers.choice.kl_linear`.

    Example:
        >>> kl_ball([[1.0, 0.0]], 0.1).weights.round(6).tolist()
        [[0.719795, 0.280205]]
    """
    nonnegative("budget", budget, "it is the KL of the ball in nats")
    u = _varied("utility", utility)
    even = np.full(u.shape[1], -np.log(u.shape[1]))
    name = f"largest utility, KL {budget:g}"
    return Tilt(name, np.stack([_solved(name, kl_linear_maximisation(row, even, budget)) for row in u]))


def nlhf(win: ArrayLike, *, strength: float | None = None, budget: float | None = None) -> Tilt:
    r"""Nash learning from human feedback: the equilibrium of the game between two copies of the policy.

    With a strength lambda it is  w \propto exp(M w / lambda), M = 2P - 1; with a budget, that of the game
    whose players choose from the KL ball. The opponent is the policy itself, not the reference.

    Args:
        win: (S, N, N) P(y_i preferred to y_j), 1/2 on the diagonal.
        strength: lambda in units of M = 2P - 1, above 0; exactly one of strength and budget is given.
        budget: KL of the ball in nats.

    Raises:
        InputError: not win matrices, not exactly one of the two, or the game could not be solved.

    Source: arXiv 2312.00886 and arXiv 2505.23749; `distalign.solvers.choice.games`.

    Example:
        >>> tilt = nlhf([[[0.5, 0.75], [0.25, 0.5]]], strength=1.0)
        >>> float((tilt.log_weights[0, 0] - tilt.log_weights[0, 1]).round(9))
        0.5
    """
    if (strength is None) == (budget is None):
        raise InputError("give exactly one of strength and budget: one prices a nat, the other bounds them")
    p = _win(win)
    even = np.full(p.shape[1], -np.log(p.shape[1]))
    if strength is not None:
        name = f"NLHF, lambda {strength:g}"
        return Tilt(name, np.stack([_solved(name, regularised_nlhf(one, even, strength)) for one in p]))
    assert budget is not None
    name = f"NLHF, KL {budget:g}"
    return Tilt(name, np.stack([_solved(name, kl_nlhf(one, even, budget)) for one in p]))


def bradley_terry_reward(win: ArrayLike) -> Array:
    r"""(S, N) the Bradley-Terry reward that a fit on pairs of draws finds, in logits, of mean 0.

    It maximises  \sum_{ij} P_ij log sigma(r_i - r_j). Where preferences are not Bradley-Terry, DPO and f-DPO
    end at the tilt by this reward.

    Args:
        win: (S, N, N) P(y_i preferred to y_j), 1/2 on the diagonal.

    Raises:
        InputError: not win matrices, or the fit did not converge.

    Source: `distalign.solvers.choice.reward`.

    Example:
        >>> bradley_terry_reward([[[0.5, 0.75], [0.25, 0.5]]]).round(6).tolist()
        [[0.549306, -0.549306]]
    """
    p = _win(win)
    fits = [reward_mle(one, np.full(len(one), 1 / len(one))) for one in p]
    if not all(fit.certified for fit in fits):
        raise InputError(
            "win holds preferences so near 0 and 1 that no Bradley-Terry reward can be computed: give users "
            "smaller temperatures"
        )
    return np.stack([fit.reward for fit in fits])


def win_matrix(utilities: ArrayLike, shares: ArrayLike, sharpness: ArrayLike) -> Array:
    r"""(S, N, N) preferences of users:  P(y_i > y_j) = \sum_k s_k sigma(b_k (u_k(y_i) - u_k(y_j))).

    Args:
        utilities: (K, S, N) u_k of each type of user, for each draw.
        shares: (K,) s_k, of sum 1.
        sharpness: (K,) b_k, at least 0: a user of 0 tosses a coin.

    Raises:
        InputError: shapes do not fit, shares are no law, or a sharpness is negative.

    Source: Gölz et al., arXiv 2505.23749, Section 2.

    Example:
        >>> win_matrix([[[np.log(3.0), 0.0]]], [1.0], [1.0]).round(9).tolist()
        [[[0.5, 0.75], [0.25, 0.5]]]
    """
    u = reals("utilities", utilities, "(K, S, N)", "give the utility of each draw for each type")
    s = laws("shares", shares, "(K,)")
    b = reals("sharpness", sharpness, "(K,)", "give one for each type of user")
    if not len(u) == len(s) == len(b) or not (b >= 0).all():
        raise InputError(
            f"utilities, shares and sharpness must have one entry a type, and no sharpness below 0, got "
            f"{len(u)}, {len(s)} and {len(b)} types"
        )
    return sum(
        share * expit(scale * (one[:, :, None] - one[:, None, :]))
        for share, scale, one in zip(s, b, u, strict=True)
    )  # type: ignore[return-value]


def _softmax(method: str, logits: Array) -> Tilt:
    return Tilt(method, log_softmax(logits, axis=1))


def _log(values: Array) -> Array:
    """Logarithms, -inf of 0."""
    with np.errstate(divide="ignore"):
        return np.log(values)


def _varied(name: str, values: ArrayLike) -> Array:
    """(S, N) finite scores that differ within each prompt."""
    x = reals(name, values, "(S, N)", "give one finite number for each draw")
    flat = np.flatnonzero(np.ptp(x, axis=1) == 0)
    if len(flat):
        raise InputError(
            f"{name} is the same for all draws of prompt {flat[0]}, so there is nothing to learn there: "
            "leave the prompt out, or score something else"
        )
    return x


def _win(win: ArrayLike) -> Array:
    """(S, N, N) checked win matrices."""
    p = reals("win", win, "(S, N, N)", "give P(y_i preferred to y_j) for each pair of draws of each prompt")
    return np.stack([checked_win(one) for one in p])


def _solved(method: str, found: CertifiedPolicy) -> Array:
    if not found.certified:
        raise InputError(
            f"{method} could not be solved on these draws (certificate {found.certificate:.1e}): take a "
            "larger strength or a smaller budget"
        )
    return found.log_policy
