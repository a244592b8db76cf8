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
# # A tour of distalign
#
# Alignment objectives come with theorems, and language models come with neither the population nor the optimum the theorems speak of.
# distalign writes each objective **once**, as a function of log-probabilities, and takes it to two worlds: policies small enough for an
# oracle, where a claim can be tested, and language models, where it is meant to be used. Less than a minute, on a laptop.

# %%
import tempfile
import warnings
from functools import partial

import numpy as np
import pandas as pd
import torch
from IPython.display import Image

from distalign import Population, PreferenceLogProbs, Tabular, fit, metrics, verify
from distalign.bridge import load, reference_law, train_policy
from distalign.figures import committed, picture
from distalign.objectives import aot_unpaired, dpo, rdro, sft
from distalign.populations import cyclic
from distalign.populations.worst_cases import borda_worst_case
from distalign.simulation import log_slope
from distalign.simulation.ledger import number
from distalign.solvers.choice.games import maximal_lottery
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import borda
from distalign.solvers.density_ratio import rdro_policy
from distalign.theory.distortion.constants import minimax_distortion

torch.set_num_threads(1)
warnings.filterwarnings("ignore", "IProgress")  # progress bars of other libraries
rng = np.random.default_rng(0)

# %% [markdown]
# ## The one idea
#
# An objective sees a policy through four vectors: log-probabilities of chosen and rejected responses, under the policy and under the
# reference. No trainer, no tokenizer, no device. Counts may differ; weights are welcome.

# %%
torch.manual_seed(0)
chosen, rejected = -60 + 5 * torch.randn(16), -61 + 5 * torch.randn(24)  # of whole responses, in nats
batch = PreferenceLogProbs(chosen, rejected, ref_chosen=chosen - 0.3, ref_rejected=rejected + 0.2 * torch.randn(24))
print("AOT", round(aot_unpaired(batch, beta=0.1).item(), 4), " RDRO", round(rdro(batch, alpha=0.4).item(), 4))
metrics(batch)

# %% [markdown]
# ## The same function in two worlds
#
# Six responses, and people whose preferences go round in circles, so that no reward explains them. The law of preferred responses $p_+$ is
# known. Left: the objective minimised over *all* policies by Newton's method, with a certificate. Right: the same function on the same
# law, minimised over the 25 thousand weights of a small transformer by Adam.

# %%
model = load("tiny", seed=0, responses=6)
people = Population(win=cyclic(6, strength=2.0), reference=reference_law(model)[0])
pairs, target = people.pairs(), people.preferred[0]


def distance(policy):
    return 0.5 * np.abs(policy - target).sum(-1)


objectives = {"SFT on the chosen": sft, "RDRO": partial(rdro, alpha=0.5), "DPO, beta 0.5": partial(dpo, beta=0.5)}
rows = [{"objective": "none: the reference", "over all policies": distance(people.reference[0]),
         "small transformer": distance(people.reference[0])}]
for name, objective in objectives.items():
    exact, trained = fit(Tabular(people.reference), objective, pairs), train_policy(model, objective, pairs, steps=150)
    assert exact.converged
    rows.append({"objective": name, "over all policies": distance(exact.probs[0]), "small transformer": distance(trained.probs[0]),
                 "between the two": 0.5 * np.abs(exact.probs[0] - trained.probs[0]).sum()})
print("total variation to the law of preferred responses")
pd.DataFrame(rows).set_index("objective").map("{:.6f}".format)

# %% [markdown]
# DPO has another target than $p_+$ and reaches that one: the two worlds agree on it, too. On real models: `distalign ls` lists the claims
# whose slugs begin with `lm_`, and `distalign verify SLUG` runs them.
#
# ## A rate
#
# From samples, RDRO's distance to $p_+$ should fall like $n^{-1/2}$. The exact solver fits a thousand samples at once.

# %%
sizes = 2 ** np.arange(8, 16)
errors = []
for n in sizes:
    sample = people.sample_pairs(int(n), rng, replicates=1000)
    up, down = (np.stack([np.bincount(at, w, minlength=6) for w in sample.weights]) / n for at in (sample.chosen, sample.rejected))
    errors.append(distance(rdro_policy(up, down, people.reference[0], alpha=0.5).policy))
slope = log_slope(np.repeat(sizes, 1000).astype(float), np.concatenate(errors))
print(f"slope {slope.estimate:.3f} [{slope.low:.3f}, {slope.high:.3f}]")

# %% [markdown]
# The claim behind it, at full size, with DPO at every $\beta$, which stops short of $p_+$:

# %%
Image(picture("rdro_consistency"), width=450)

# %% [markdown]
# ## A distortion
#
# Users differ, and a rule that sees comparisons only may serve them badly. The distortion is the best average utility over the rule's. Here
# is Borda's worst case (with pairs drawn independently, RLHF and DPO without a KL constraint end at the Borda winner), and what a maximal
# lottery, NLHF without one, makes of the same users. $C(b)$ bounds the lottery's distortion for every population.

# %%
rows = []
for b in (1.0, 5.0, 20.0):
    case = borda_worst_case(b)
    uniform = np.full(len(case.users.average_utility), -np.log(len(case.users.average_utility)))
    worth = partial(distortion, case.users.average_utility, log_reference=uniform, kl_budget=np.inf)
    rows.append({"b": b, "Borda": worth(borda(case.users.win, case.comparison).policy),
                 "maximal lottery": worth(maximal_lottery(case.users.win).policy), "C(b)": float(minimax_distortion(b))})
pd.DataFrame(rows).round(3)

# %% [markdown]
# ## The ledger
#
# A claim is a prediction, a run, and a verdict in the words its kind allows: an upper bound that holds is *not violated*, never verified. Each
# runs beside a planted defect on which the same checks must fail. What is committed:

# %%
ledger = pd.read_csv(committed("ledger"))
print(f"{len(ledger)} claims, {ledger.as_expected.sum()} as expected")
pd.crosstab(ledger.paper, ledger.kind)

# %% [markdown]
# One of them, run here and now at its smallest size:

# %%
with tempfile.TemporaryDirectory() as folder:
    (entry,) = verify("rdro_consistency", preset="test", out=folder, workers=1).entries
print("verdict:", entry.verdict.outcome)
pd.DataFrame([{"check": c.name, "outcome": c.outcome, "number": number(pd.Series(vars(c))), "fails on a planted defect": bool(entry.fails_on(c.name))}
              for c in entry.verdict.checks])

# %% [markdown]
# ## From here
#
# | you want | go to |
# |---|---|
# | to fine-tune a model and read what came out | `fine_tune.ipynb`; `distalign recipes ls`, `distalign train RECIPE` |
# | to know what your data allow | `distalign check FILE` |
# | to try an objective of your own | `your_own_objective.ipynb` |
# | AOT; f-DPO; WDPO and KLDPO; DDRO and RDRO; distortion | `aot.ipynb`, `f_dpo.ipynb`, `robust.ipynb`, `density_ratio.ipynb`, `distortion.ipynb` |
# | a claim, its figure, its papers | `distalign show SLUG`, `distalign figure SLUG`, `distalign cite SLUG` |
# | everything at quick size | `distalign verify` |
