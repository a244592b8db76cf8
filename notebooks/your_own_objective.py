# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own objective
#
# An objective is one function of `PreferenceLogProbs`. Write it, ask an oracle where it is minimised, hold it to the points every objective
# here keeps, and train a language model with it: in this order, because each step is cheaper than the next.
#
# The example is the *exponential loss*, boosting's in the place of DPO's logistic one:
#
# $$L = \mathbb{E}\; e^{-\beta (u - v)/2}, \qquad u = \log\frac{\pi(y_w)}{\pi_{ref}(y_w)},\quad v = \log\frac{\pi(y_l)}{\pi_{ref}(y_l)} .$$
#
# It is nobody's proposal here: a stand-in whose answers can be worked out.

# %%
import warnings
from dataclasses import replace
from functools import partial

import matplotlib
import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display
from scipy.optimize import minimize
from torch.autograd import gradcheck

from distalign import InputError, Population, PreferenceLogProbs, Tabular, fit, two_pass_backward
from distalign.bridge import load, reference_law, train_policy
from distalign.checks import positive
from distalign.figures import METHODS, STYLE, legend_below, letter, new, picture
from distalign.objectives import declared, dpo, objective
from distalign.populations import cyclic

torch.set_num_threads(1)
matplotlib.rcParams.update(STYLE)
warnings.filterwarnings("ignore", "IProgress")  # progress bars of other libraries
rng = np.random.default_rng(0)

# %% [markdown]
# ## One function
#
# `@objective` declares two things the loss cannot say itself: which data it reads, and what ties its terms together (`pair`: a weighted mean of
# one term a pair, so micro-batches may be cut as you like). Frequencies instead of a plain mean make one function serve a batch, a table of
# counts and an exact law.


# %%
@objective(data="pairs", coupling="pair")
def exponential(batch: PreferenceLogProbs, *, beta: float) -> torch.Tensor:
    """Mean of exp(-beta (u - v) / 2)."""
    positive("beta", beta, "0.1 is common")
    return (batch.chosen_frequencies * torch.exp(-beta * (batch.chosen_ratio - batch.rejected_ratio) / 2)).sum()


zeros = torch.zeros(2, dtype=torch.float64)
by_hand = PreferenceLogProbs(torch.tensor([2.0, 0.0]).double().log1p(), zeros, zeros, zeros)  # u - v = log 3 and 0
print("two pairs by hand: (1/sqrt(3) + 1)/2 =", (3**-0.5 + 1) / 2, "and", exponential(by_hand, beta=1.0).item())

# %% [markdown]
# ## Against an oracle
#
# With people who are Bradley-Terry with rewards $h$, a pair is answered $\sigma(h_w - h_l)$ and the mean of $e^{-t/2}$ is least at $t = h_w - h_l$,
# the log odds, as for DPO: so $\pi^\star \propto \pi_{ref}\, e^{h/\beta}$. That is one road; the fit, which knows nothing of it, is the other. For
# people whom no reward explains there is no closed form, and the second road is a numpy twin under another optimiser.

# %%
h, reference, beta = 2 * rng.normal(size=6), rng.dirichlet(np.full(6, 3.0)), 0.7
bradley_terry = Population(1 / (1 + np.exp(h - h[:, None])), reference)
own = fit(Tabular(reference), partial(exponential, beta=beta), bradley_terry.pairs())
closed = reference * np.exp(h / beta)
closed /= closed.sum()
print("certified:", bool(own.converged), " largest difference to the closed form:", np.abs(own.probs[0] - closed).max())

circle = Population(cyclic(6, strength=2.0), reference)
law = circle.pairs()


def twin(theta):
    """The same loss in plain numpy, theta = log pi/pi_ref up to a constant."""
    return law.weights @ np.exp(-beta * (theta[law.chosen] - theta[law.rejected]) / 2) / law.weights.sum()


slow = reference * np.exp(minimize(twin, np.zeros(6), method="BFGS", options={"gtol": 1e-10}).x)
fast = {name: fit(Tabular(reference), loss, law) for name, loss in
        (("exponential", partial(exponential, beta=beta)), ("DPO", partial(dpo, beta=beta)))}
print("no reward: largest difference to the twin:", np.abs(fast["exponential"].probs[0] - slow / slow.sum()).max(),
      " to DPO:", np.abs(fast["exponential"].probs[0] - fast["DPO"].probs[0]).max())

# %%
t = np.linspace(-4, 4, 81)
figure, panels = new(height=2.3, panels=2)
for name, loss in (("DPO", dpo), ("exponential", exponential)):
    colour, _, line = METHODS["DPO" if name == "DPO" else "KLDPO"]
    one = [float(loss(PreferenceLogProbs(*torch.tensor([[x], [0.0], [0.0], [0.0]])), beta=1.0)) for x in t]
    panels[0].plot(t, one, color=colour, linestyle=line, label=name)
    panels[1].plot(range(6), fast[name].probs[0], color=colour, linestyle=line, marker="o", label=name)
panels[1].plot(range(6), reference, color="#777777", linestyle=":", marker="x", label="reference")
panels[0].set(title="one pair", xlabel=r"$\beta\,(u - v)$", ylabel="loss", ylim=(0, 6))
panels[1].set(title="minimiser, people of no reward", xlabel="response", ylabel="probability", ylim=(0, None))
letter(figure)
legend_below(figure, columns=3)
Image(picture(figure), width=620)

# %% [markdown]
# Two losses that agree wherever a reward exists and part where none does.
#
# ## Does it buy anything?
#
# From samples, that is. Under Bradley-Terry DPO is maximum likelihood, so nothing should beat it when samples are many. (A replicate whose
# sample has no finite minimiser, one response never losing, is left out for both.)

# %%
rows = []
for n in (250, 1000, 4000):
    sample = bradley_terry.sample_pairs(n, rng, replicates=2000)
    fits = {name: fit(Tabular(reference), partial(loss, beta=beta), sample) for name, loss in
            (("exponential", exponential), ("DPO", dpo))}
    kept = fits["DPO"].converged & fits["exponential"].converged
    error = {name: 0.5 * np.abs(f.probs[kept, 0] - closed).sum(-1) for name, f in fits.items()}
    difference = error["exponential"] - error["DPO"]
    rows.append({"n": n, "kept": kept.sum(), **{name: e.mean() for name, e in error.items()}, "difference": difference.mean(),
                 "standard error": difference.std() / np.sqrt(kept.sum())})
print("total variation to the optimum")
found = pd.DataFrame(rows)
figure, (axes,) = new(height=2.2)
axes.errorbar(found.n, found.difference, 2.6 * found["standard error"], color="black", marker="o", linestyle="none", capsize=2)
axes.axhline(0, color="#D55E00", linewidth=0.8)
axes.annotate("DPO", (found.n.iloc[0], 0), color="#D55E00", fontsize=7, va="bottom")
axes.set(xscale="log", xlabel="comparisons", xticks=found.n, xticklabels=found.n, xlim=(200, 5000), ylabel="error of the exponential loss\nminus that of DPO")
axes.minorticks_off()
display(Image(picture(figure), width=330))
found.round(5)

# %% [markdown]
# Bars are 99 % intervals of the paired difference. No: a little is lost at each size, more than chance explains, and little beside the error itself.

# %% [markdown]
# ## The points every objective keeps
#
# The contract of `tests/contract` has ten; these four find most mistakes. The last one finds one here.

# %%
loss = partial(exponential, beta=beta)
leaves = [torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
zero = torch.zeros(5, dtype=torch.float64)
print("gradient = finite differences:", gradcheck(lambda u, v: loss(PreferenceLogProbs(u, v, zero, zero)), leaves))

some = PreferenceLogProbs(*(x.detach() for x in leaves), zero, zero)
twice = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4])
repeated = PreferenceLogProbs(some.chosen[twice], some.rejected[twice], zero[:1].expand(8), zero[:1].expand(8))
counted = replace(some, weights=torch.tensor([2.0, 1.0, 3.0, 1.0, 1.0], dtype=torch.float64))
print("a weight of 3 is three copies:", torch.allclose(loss(repeated), loss(counted), rtol=1e-14))

for wrong in ({"beta": -1.0},):
    try:
        exponential(some, **wrong)
    except InputError as error:
        print("bad input is one sentence:", error)

far = torch.tensor([1000.0], requires_grad=True)
try:
    loss(PreferenceLogProbs(-far, far, far.detach() * 0, far.detach() * 0))
except InputError as error:
    print("log-ratios of a thousand nats:", error)

# %% [markdown]
# Whole responses do move by hundreds of nats, and an infinite loss ends a training run. The cure is the usual one: continue the exponential by
# its tangent beyond a point no healthy pair reaches. Where the minimiser lies below it, nothing changes.


# %%
@objective(data="pairs", coupling="pair")
def tame(batch: PreferenceLogProbs, *, beta: float, cap: float = 5.0) -> torch.Tensor:
    """Mean of e^x, x = -beta (u - v) / 2, continued by its tangent beyond x = cap."""
    positive("beta", beta, "0.1 is common")
    x = -beta * (batch.chosen_ratio - batch.rejected_ratio) / 2
    return (batch.chosen_frequencies * torch.exp(x.clamp(max=cap)) * (1 + (x - cap).clamp(min=0))).sum()


value = tame(PreferenceLogProbs(-far, far, far.detach() * 0, far.detach() * 0), beta=beta)
again = fit(Tabular(reference), partial(tame, beta=beta), law)
print("a thousand nats:", value.item(), torch.autograd.grad(value, far)[0].item(),
      " minimiser moved by", np.abs(again.probs - fast["exponential"].probs).max())

# %% [markdown]
# ## On a language model
#
# Unchanged. First a small transformer over six candidate responses, so that the answer is known: total variation to the certified minimiser
# over all policies, on the same law.

# %%
model = load("tiny", seed=1, responses=6)
people = Population(cyclic(6, strength=2.0), reference_law(model)[0])
rows = []
for name, loss in (("tame exponential", partial(tame, beta=beta)), ("DPO", partial(dpo, beta=beta))):
    exact, trained = fit(Tabular(people.reference), loss, people.pairs()), train_policy(model, loss, people.pairs(), steps=150)
    rows.append({"objective": name, "reference": 0.5 * np.abs(people.reference[0] - exact.probs[0]).sum(),
                 "after 150 steps": 0.5 * np.abs(trained.probs - exact.probs[0]).sum()})
print("total variation to the minimiser over all policies")
pd.DataFrame(rows)

# %% [markdown]
# Then sequences in micro-batches, where the objective's declaration is put to use: the gradient is that of the global batch however it is cut.
# (Averaging micro-batches is right for this loss if they are equal in size, and wrong otherwise.)

# %%
theta = torch.randn(4, dtype=torch.float64, requires_grad=True)
features = torch.from_numpy(rng.normal(size=(24, 2, 4)))


def score(rows):
    nothing = torch.zeros(len(rows), dtype=torch.float64)
    return PreferenceLogProbs(rows[:, 0] @ theta, rows[:, 1] @ theta, nothing, nothing)


loss = partial(tame, beta=beta)
(whole,) = torch.autograd.grad(loss(score(features)), theta)
parts = features.split([1, 2, 5, 16])
naive = torch.stack([torch.autograd.grad(loss(score(part)), theta)[0] for part in parts]).mean(0)
theta.grad = None
two_pass_backward(loss, score, list(parts))
print(declared(loss))
print("relative error, averaged:", float((naive - whole).norm() / whole.norm()), " global:", float((theta.grad - whole).norm() / whole.norm()))

# %% [markdown]
# ## A rule, and how fast it learns
#
# What maps comparisons to a policy need not be a loss. A rule is a function of the win matrix, and stands beside the methods of distalign in
# `simulate`.


# %%
from distalign import Scenario, sample_complexity, simulate


def my_rule(problem):  # problem.win, .counts, .votes, .reference, .budget
    return problem.win.mean(1) / problem.win.mean(1).sum()


camps = Scenario([[1.0, 0.0, 0.6], [0.0, 1.0, 0.6]], kl_budget=0.5)
simulate(camps, [my_rule, "NLHF"]).table[["method", "average_utility", "distortion", "kl", "gain"]]

# %% [markdown]
# Its error from n users, with intervals over fresh samples and the slope: the picture that this field draws by hand.

# %%
curve = sample_complexity(my_rule, camps, [100, 1000, 10000], 20)
display(Image(picture(curve.plot().figure), width=450))
curve.table

# %% [markdown]
# ## To keep it
#
# Put the function into a file of `distalign/objectives` and its name into `__init__.py`: `distalign train --objective NAME`, the evaluation and
# the planner know it from there on. `CONTRIBUTING.md` has the steps, contract and claim included. With TRL it needs no file:
# `GlobalDPOTrainer(..., objective=partial(tame, beta=0.1))` of `distalign.integrations.trl`.
