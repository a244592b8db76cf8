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
# # f-DPO: other divergences than the reverse KL
#
# RLHF with an $f$-divergence maximises $\mathbb{E}_\pi r - \beta D_f(\pi \| \pi_{\rm ref})$. If $f'(u) \to -\infty$ as $u \to 0$ the optimum keeps every
# response, and the reward can be read off it: $r = \beta f'(\pi/\pi_{\rm ref}) + {\rm const}$. Put into the Bradley-Terry likelihood that is f-DPO,
#
# $$L_f = -\,\mathbb{E}\,\log\sigma\big(\beta f'(u_w) - \beta f'(u_l)\big), \qquad u = \pi/\pi_{\rm ref} .$$

# %%
from functools import partial

import numpy as np
import pandas as pd
import torch
from IPython.display import Image

from distalign import Population, PreferenceLogProbs, Tabular, fit
from distalign.divergences import divergence
from distalign.figures import committed, picture
from distalign.objectives import f_dpo
from distalign.oracles.regularised import regularised_optimum
from distalign.populations import win_matrix
from distalign.simulation.ledger import number
from distalign.solvers.kkt import regularised_policy

torch.set_num_threads(1)
rng = np.random.default_rng(0)

# %% [markdown]
# ## Three roads to one policy
#
# The conic program never sees a preference, the fit never sees a reward.

# %%
reward, reference, beta = rng.normal(size=6), rng.dirichlet(np.ones(6)), 0.5
people = Population(win_matrix(reward[None], [1.0], bt_temperature=1.0), reference)
rows = []
for name in ("reverse_kl", "forward_kl", "alpha:0.3", "jensen_shannon", "jeffreys", "chi2_plus_kl"):
    program = regularised_optimum(reward, reference, beta, name)
    solver = regularised_policy(reward, reference, beta, name).policy
    found = fit(Tabular(reference), partial(f_dpo, beta=beta, divergence=name), people.pairs(distinct=True)).probs[0]
    rows.append({"divergence": name, "solver - program": np.abs(solver - program).max(),
                 "f-DPO fit - solver": np.abs(found - solver).max(), "expected reward": solver @ reward,
                 "entropy": -(solver * np.log(solver)).sum()})
pd.DataFrame(rows)

# %% [markdown]
# ## "Forward KL is more diverse"
#
# At one fixed $\beta$ it is. At matched expected reward, with a uniform reference, the reverse KL has the largest entropy: the common
# statement is about the choice of $\beta$, not about the frontier.

# %%
Image(picture("f_dpo_frontier"), width=700)

# %% [markdown]
# ## Overflow
#
# $f'$ of the forward KL is $-e^{-\rho}$ in the log-ratio $\rho$. Log-ratios of $-100$ and below are ordinary for whole responses, and there the
# exponential overflows float32: the gradient becomes NaN just where training succeeds. Here the link continues linearly (C1).

# %%
cases = [(-30.0, -90.0), (-100.0, -100.0), (-90.0, -30.0), (-1000.0, -500.0)]
rows = []
for chosen, rejected in cases:
    w, l = torch.tensor([chosen], requires_grad=True), torch.tensor([rejected], requires_grad=True)
    loss = f_dpo(PreferenceLogProbs(w, l, torch.zeros(1), torch.zeros(1)), beta=0.1, divergence="forward_kl")
    loss.backward()
    naive = torch.nn.functional.softplus(-0.1 * (torch.exp(-l) - torch.exp(-w))).item()
    rows.append({"chosen": chosen, "rejected": rejected, "naive loss": naive, "loss": loss.item(), "d/d chosen": w.grad.item(),
                 "d/d rejected": l.grad.item()})
pd.DataFrame(rows)

# %% [markdown]
# ## Which divergences are refused, and why

# %%
for name in ("chi2", "total_variation"):
    print(f"{name}: {divergence(name).refusal}")

# %%
Image(picture("f_dpo_inadmissible"), width=450)

# %% [markdown]
# ## All claims

# %%
ledger = pd.read_csv(committed("ledger")).query("paper == 'f_dpo'")
ledger = ledger.assign(number=[number(row) for _, row in ledger.iterrows()])
ledger[["slug", "kind", "source", "verdict", "check", "number", "checks", "seen_to_fail"]].rename(columns={"seen_to_fail": "checks seen to fail"})
