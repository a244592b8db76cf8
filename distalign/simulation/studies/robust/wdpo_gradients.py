"""WDPO without double backward: DPO's gradient at moved inputs is the penalty's gradient to first order in
the move.

The claim is ours; the paper differentiates twice. Let g_i be the gradient of pair i's loss by its inputs
z_i. The parameter gradient of WDPO's penalty is a derivative along a move u of the inputs,

    P = delta d/ds grad_theta DPO(z + s u) at s = 0,                                               (1)

with u = g and delta = 2 rho for the squared form, and u_i = g_i / sqrt(mean ||g||^2) and delta = rho for
the root form. With phi(s) the DPO gradient at z + s u, two forms need no double backward:

- adversarial: one ordinary backward pass at z + delta u, in error by delta ||phi''|| / (2 ||phi'||),
  relative; (2)
- central: two passes at z +- delta u, in error by delta^2 ||phi'''|| / (6 ||phi'||), relative. (3)

The run. Two policies in float64: one linear in features, and a one-layer causal attention over token
embeddings. The reference reads the moved inputs, too (`ratio`), or the clean ones (`policy`). One cell per
policy, form of the penalty and what the penalty goes through.

The two roads. Double backward through `distalign.objectives.wdpo` gives the penalty's gradient; the two
forms give its approximations, and `torch.func.jvp` the derivatives of phi that predict their errors. The
penalty's gradient is computed again by the forward derivative along the move, and by differences of the
loss's value.

The checks:

- growth: the errors of both forms are (2) and (3) up to 2 %, for moves up to 1e-4 and 1e-3;
- identities: double backward is the forward derivative (1), and agrees with differences of the value;
  through the ratio the penalty is 0 at the reference; through the policy alone it is that of margins 0
  there, a formula of the linear policy's features; and a prompt that both responses share is penalised by
  the sum of the gradients of its two copies.

The planted defects: the radius 5 % too large; the gradient inside the penalty held constant; and the
reference held constant where the penalty should go through the ratio.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import grad, jvp

from distalign.objectives import dpo, wdpo
from distalign.objectives.wdpo import _square_norms
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, result
from distalign.simulation.verdict import Check, growth, identity


def _held(squares: Tensor) -> Tensor:
    return squares.detach()


def _through_the_ratio(arguments: Mapping[str, Any]) -> bool:
    return arguments["through"] == "ratio"


DEFECTS = (
    Defect("the radius 5 % too large", wdpo, argument("radius", lambda r: 1.05 * r)),
    Defect("the gradient inside the penalty held constant", _square_norms, result(_held)),
    Defect("the reference held constant", wdpo, argument("through", lambda _: "policy"), _through_the_ratio),
)
PAIRS, BETA, RADIUS = 24, 1.0, 0.1
FEATURES, TOKENS, PROMPT, WIDTH, VOCABULARY = 6, 6, 3, 4, 7
# Moves up to which the leading error is asked to describe the error.
NEAR, LEADING = {"adversarial": 1e-4, "central": 1e-3}, 0.02
SIZES = {"linear": FEATURES, "attention": 3 * WIDTH * WIDTH + WIDTH * VOCABULARY}


def cells(moves: list[float], instances: int) -> list[dict[str, Any]]:
    """One cell per policy, form and what the penalty goes through."""
    return [
        {"policy": policy, "form": form, "through": through, "moves": moves, "instances": instances}
        for policy in SIZES
        for form in ("root", "squared")
        for through in ("ratio", "policy")
    ]


def run(
    rng: np.random.Generator,
    *,
    policy: str,
    form: str,
    through: str,
    moves: list[float],
    instances: int,
) -> dict[str, Any]:
    """Errors of both forms at each move, and the tests that need no move, for each random instance."""
    tables = []
    for instance in range(instances):
        scale = 1 if policy == "linear" else WIDTH**-0.5
        theta, ref = (torch.from_numpy(scale * rng.normal(size=SIZES[policy])) for _ in range(2))
        z = torch.from_numpy(
            rng.normal(size=(PAIRS, 2, *((FEATURES,) if policy == "linear" else (TOKENS, WIDTH))))
        )
        tokens = torch.from_numpy(rng.integers(VOCABULARY, size=(PAIRS, 2, TOKENS - PROMPT)))
        z[:, 1, :PROMPT] = z[:, 0, :PROMPT] if policy == "attention" else z[:, 1, :PROMPT]
        policy_and_data = _PolicyAndData(policy, form, through, theta, ref, z, tokens)
        tables.append(policy_and_data.errors(moves).assign(instance=instance, **policy_and_data.facts(rng)))
    return dict(pd.concat(tables, ignore_index=True))


class _PolicyAndData:
    """One policy and its reference, a form of the penalty, and one data set of pairs."""

    def __init__(
        self, policy: str, form: str, through: str, theta: Tensor, ref: Tensor, z: Tensor, tokens: Tensor
    ) -> None:
        self.policy, self.form, self.through, self.tokens = policy, form, through, tokens
        self.theta, self.ref, self.z = theta, ref, z

    def scores(self, theta: Tensor, z: Tensor) -> Tensor:
        """(n, 2) log-probabilities of chosen and rejected: features times theta, or sums over a causal
        attention's tokens.
        """
        if self.policy == "linear":
            return z @ theta
        q, k, v = (theta[i * WIDTH**2 : (i + 1) * WIDTH**2].reshape(WIDTH, WIDTH) for i in range(3))
        out = theta[3 * WIDTH**2 :].reshape(WIDTH, VOCABULARY)
        attention = (z @ q) @ (z @ k).mT / WIDTH**0.5
        future = torch.triu(torch.ones(TOKENS, TOKENS, dtype=torch.bool), 1)
        hidden = z + torch.softmax(attention.masked_fill(future, -torch.inf), -1) @ (z @ v)
        logits = torch.log_softmax(torch.tanh(hidden[..., PROMPT - 1 : -1, :]) @ out, -1)
        return logits.gather(-1, self.tokens[..., None]).squeeze(-1).sum(-1)

    def batch(self, theta: Tensor, z: Tensor, **fields: Any) -> PreferenceLogProbs:
        """The seam to the torch objectives at inputs z; the reference reads z, too, or the clean inputs."""
        at, ref = self.scores(theta, z), self.scores(self.ref, z if self.through == "ratio" else self.z)
        return PreferenceLogProbs(at[:, 0], at[:, 1], ref[:, 0], ref[:, 1], validate=False, **fields)

    def loss(self, theta: Tensor, inputs: Tensor, radius: float = RADIUS) -> Tensor:
        return wdpo(
            self.batch(theta, inputs, inputs=(inputs,)),
            beta=BETA,
            radius=radius,
            form=self.form,
            through=self.through,
        )

    def plain(self, s: Tensor | float, move: Tensor) -> Tensor:
        """phi(s): DPO's parameter gradient at inputs moved by s u."""
        return grad(lambda theta: dpo(self.batch(theta, self.z + s * move), beta=BETA))(self.theta)

    def move(self) -> Tensor:
        """u of equation (1): the direction in which the inputs move."""
        leaf = self.z.clone().requires_grad_()
        g = PAIRS * torch.autograd.grad(dpo(self.batch(self.theta, leaf), beta=BETA), leaf)[0]
        return g if self.form == "squared" else g / (g**2).flatten(1).sum(1).mean().sqrt()

    def penalty(self) -> Tensor:
        """Gradient of the penalty by double backward, divided by delta: the right-hand side of (1)."""
        leaf = self.theta.clone().requires_grad_()
        both = [
            torch.autograd.grad(self.loss(leaf, self.z.clone().requires_grad_(), r), leaf)[0]
            for r in (RADIUS, 0.0)
        ]
        return (both[0] - both[1]) / (RADIUS * (2 if self.form == "squared" else 1))

    def errors(self, moves: list[float]) -> pd.DataFrame:
        """Relative errors of both forms at each move, measured and to leading order, (2) and (3)."""
        u, exact, at = self.move(), self.penalty(), torch.zeros((), dtype=torch.float64)
        orders: list[Callable[[Tensor], Tensor]] = [lambda s: self.plain(s, u)]
        for _ in range(3):
            orders.append(lambda s, f=orders[-1]: jvp(f, (s,), (torch.ones_like(s),))[1])  # type: ignore[arg-type]
        with warnings.catch_warnings():
            # torch scripts its own rules for forward derivatives when it first needs them, and warns of that
            warnings.filterwarnings("ignore", message=".*torch.jit.script")
            first, second, third = (f(at) for f in orders[1:])
        rows = [{"method": "forward", "move": np.nan, "error": float((first - exact).norm() / exact.norm())}]
        for d in moves:
            ahead, behind = self.plain(d, u), self.plain(-d, u)
            rows.append(
                {
                    "method": "adversarial",
                    "move": d,
                    "predicted": float(d / 2 * second.norm() / first.norm()),
                    "error": float(((ahead - self.plain(0.0, u)) / d - exact).norm() / exact.norm()),
                }
            )
            rows.append(
                {
                    "method": "central",
                    "move": d,
                    "predicted": float(d**2 / 6 * third.norm() / first.norm()),
                    "error": float(((ahead - behind) / (2 * d) - exact).norm() / exact.norm()),
                }
            )
        return pd.DataFrame(rows)

    def facts(self, rng: np.random.Generator) -> dict[str, float]:
        """What needs no move: the penalty at the reference, its gradient by differences, and the effect of
        a shared prompt.
        """
        with_theta = _PolicyAndData(
            self.policy, self.form, self.through, self.ref, self.ref, self.z, self.tokens
        )
        leaf = self.z.clone().requires_grad_()
        start = (
            with_theta.loss(self.ref, leaf) - dpo(with_theta.batch(self.ref, self.z), beta=BETA)
        ) / RADIUS
        theta, direction = (
            self.theta.clone().requires_grad_(),
            torch.from_numpy(rng.normal(size=len(self.theta))),
        )
        slope = torch.autograd.grad(self.loss(theta, leaf), theta)[0] @ direction
        half_step = 1e-5
        values = [
            float(self.loss(self.theta + x * direction, leaf).detach()) for x in (half_step, -half_step)
        ]
        measured = {
            "start": float(start.detach()),
            "expected_start": self._start(),
            "value_error": abs((values[0] - values[1]) / (2 * half_step) / float(slope) - 1),
        }
        return {
            **measured,
            **(self._prompts() if self.policy == "attention" and self.form == "squared" else {}),
        }

    def _start(self) -> float:
        """The penalty at the reference: 0 through the ratio, and through the policy alone that of two inputs
        with gradients sigma(0) beta times the reference's parameter; NaN for the attention.
        """
        if self.through == "ratio":
            return 0.0
        if self.policy == "attention":
            return float("nan")
        square = 2 * (BETA / 2) ** 2 * float(self.ref @ self.ref)
        return square if self.form == "squared" else square**0.5

    def _prompts(self) -> dict[str, float]:
        """The squared penalty where the prompt is one input of both responses, and what it should be: that
        of the sum of the gradients of its two copies, which DPO's backward pass gives.
        """
        prompt, rest = (
            self.z[:, 0, :PROMPT].clone().requires_grad_(),
            self.z[:, :, PROMPT:].clone().requires_grad_(),
        )
        whole = torch.cat([prompt[:, None].expand(-1, 2, -1, -1), rest], 2)
        shared = wdpo(
            self.batch(self.theta, whole, inputs=(prompt, rest)),
            beta=BETA,
            radius=1.0,
            form="squared",
            through=self.through,
        )
        leaf = self.z.clone().requires_grad_()
        base = dpo(self.batch(self.theta, leaf), beta=BETA)
        g = PAIRS * torch.autograd.grad(base, leaf)[0]
        both = torch.cat([g[:, :, :PROMPT].sum(1).flatten(1), g[:, :, PROMPT:].flatten(1)], 1)
        return {
            "shared": float((shared - base).detach()),
            "summed": float(both.square().sum(1).mean()),
            "copied": float(g.square().flatten(1).sum(1).mean()),
        }


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean errors and their predictions per policy, form and move."""
    moved = rows.loc[rows.method != "forward"]
    return moved.groupby(["policy", "form", "through", "method", "move"], as_index=False).agg(
        error=("error", "mean"),
        low=("error", "min"),
        high=("error", "max"),
        predicted=("predicted", "mean"),
        start=("start", "mean"),
        shared=("shared", "mean"),
        copied=("copied", "mean"),
        instances=("instance", "nunique"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Order and constant of both forms' errors, the exact roads, the start of a run, and the prompt."""
    exact, out = rows.loc[rows.method == "forward"], []
    for method, far in NEAR.items():
        near_moves = rows.loc[(rows.method == method) & (rows.move <= far)]
        out.append(
            growth(
                f"{method} form: error = its leading term, for moves up to {far:g}",
                near_moves.error,
                near_moves.predicted,
                LEADING,
            )
        )
    prompts, start = exact.dropna(subset=["shared"]), exact.start - exact.expected_start
    return [
        *out,
        identity("double backward = forward derivative along the move, relative", exact.error, 1e-12),
        identity("double backward = differences of the loss's value, relative", exact.value_error, 1e-5),
        identity("penalty at the reference, through the ratio", start[exact.through == "ratio"], 1e-12),
        identity(
            "penalty at the reference, through the policy: that of margins 0",
            start[exact.through == "policy"].dropna(),
            1e-12,
        ),
        identity(
            "a shared prompt is penalised by the sum of its copies' gradients",
            prompts.shared - prompts.summed,
            1e-12,
        ),
    ]
