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
# # How much does alignment lose? The distortion of RLHF, DPO and NLHF
#
# Users have utilities $u \in [0, 1]^m$ over $m$ responses to a prompt and answer comparisons by Bradley-Terry,
# $p(x \succ y) = \mathbb{E}_u\, \sigma(b\,(u(x) - u(y)))$, with one temperature $b$. A rule sees comparisons and returns a policy in the KL
# ball of radius $\tau$ around a reference. Its **distortion** is
#
# $$\frac{\max_{\pi^\star:\ \mathrm{KL}(\pi^\star \| \pi_{ref}) \le \tau} \mathbb{E}_{x \sim \pi^\star} \bar u(x)}{\mathbb{E}_{x \sim \pi}\, \bar u(x)} \ \ge 1,
# \qquad \bar u = \text{utility averaged over users,}$$
#
# in the worst case over users, references and budgets, with infinitely many comparisons. ("Distortion of AI Alignment",
# arXiv 2505.23749.) Below, **paper** marks what that paper proves, **ours** what we add, **conjecture** what nobody has proved; a bound
# that survives a search is *not violated*, never verified. With $s(t) = \sigma(t) - \frac12 = \frac12\tanh(t/2)$ every constant is a ratio
# of values of $s$.

# %%
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import Image

from distalign import Population, Tabular, fit
from distalign.claims import claims
from distalign.figures import drawing, picture
from distalign.objectives import dpo
from distalign.populations import BradleyTerryUsers
from distalign.populations.worst_cases import borda_worst_case, universal_worst_case
from distalign.populations.worst_cases_kl import (
    correlated_worst_case,
    exponential_worst_case,
    unsupported_worst_case,
)
from distalign.simulation import ledger as verifier
from distalign.simulation import sweep
from distalign.simulation.ledger import number
from distalign.solvers.choice.games import exploitability, kl_nlhf, maximal_lottery
from distalign.solvers.choice.kl_linear import distortion
from distalign.solvers.choice.reward import borda, borda_scores, reward_mle, rlhf
from distalign.theory.distortion import constants as theory

torch.set_num_threads(1)
rng = np.random.default_rng(0)
pd.set_option("display.max_rows", 100, "display.max_colwidth", 120)


def free(users, policy):
    """Distortion without a KL constraint."""
    m = len(users.average_utility)
    return distortion(users.average_utility, policy, np.full(m, -np.log(m)), np.inf)


def in_ball(case, rule):
    """Certified distortion of RLHF or NLHF in the ball of a worst case."""
    q, budget = case.log_reference, case.kl_budget
    found = rlhf(case.users.win, case.comparison, q, budget) if rule == "RLHF" else kl_nlhf(case.users.win, q, budget)
    assert found.certified
    return distortion(case.users.average_utility, found.policy, q, budget)


# %% [markdown]
# Every claim of these pages at quick size, run here and now, each with the verdict on a deliberately broken version of itself.

# %%
slugs = ("distortion_linearisation", "lottery_lower", "borda_distortion", "rlhf_is_borda", "rlhf_exponential", "rlhf_unbounded",
         "rlhf_on_policy")
entries = {}
with tempfile.TemporaryDirectory() as folder:
    for claim in claims(slugs):
        plan = verifier.plan([claim], "quick", seed=0)[claim.slug]
        sweep.run(plan.all, Path(folder))
        entries[claim.slug] = verifier.entry(claim, plan, Path(folder))
tables = {slug: e.table for slug, e in entries.items()}
pd.DataFrame([{"claim": slug, "verdict": e.verdict.outcome, "checks seen to fail": f"{len(e.verdict.checks) - len(e.unseen)} of {len(e.verdict.checks)}",
               "number": number(pd.Series(vars(e.verdict.leading)))} for slug, e in entries.items()])


# %%
def draw(slug):
    """The claim's figure from the table just computed."""
    return Image(picture(drawing(slug)(tables[slug])), width=450)


# %% [markdown]
# ## One idea: a sigmoid lies between a chord and a tangent (Lemma 1, paper)
#
# On $[0, b]$ the function $s$ lies above its chord of slope $\ell = s(b)/b$ and below its tangent of slope $L = 1/4$. Averaged over users,
#
# $$b\,(\ell\, \bar u(x) - L\, \bar u(y)) \ \le\ p(x \succ y) - \tfrac12 \ \le\ b\,(L\, \bar u(x) - \ell\, \bar u(y)) .$$
#
# Comparisons know average utility up to the factor $C(b) = L/\ell = \frac b2 \coth \frac b2$, and everything that follows is about who loses
# that factor once, twice, or without end.

# %%
b = 5.0
users = BradleyTerryUsers(rng.random((20, 6)), np.full(20, 0.05), b)
low, high = theory.linearised_margin(b, users.average_utility[:, None], users.average_utility)
margin = users.win - 0.5
print("largest distance of a margin outside the two lines:", max(0.0, (low - margin).max(), (margin - high).max()))
temperatures = [0.5, 1, 2, 5, 10, 20, 50]
pd.DataFrame({"C(b)": theory.minimax_distortion(temperatures)}, index=pd.Index(temperatures, name="b")).T

# %% [markdown]
# ## No rule can do better than $C(b)$ (Theorem 3, paper)
#
# A few users want one special response, everybody else is almost indifferent between the others, and the two cancel: **every** win
# probability is 1/2. Asked once each, users give the same law of answers wherever the special response lies, so whatever the rule does, it
# puts $1/m$ on it on average. (Two answers of *one* user do tell: their covariance is $s(b)\,s(b\varepsilon)$, ours. The paper's version for
# more answers is about rules that avoid a Condorcet loser.)

# %%
rows = []
for m in (4, 30, 300, 1000):
    tied = universal_worst_case(b, m, 1e-4, strict=False)
    rows.append({"m": m, "largest |p - 1/2|": np.abs(tied.users.win - 0.5).max(),
                 "distortion of any rule, d = 1": tied.distortion, "C(b)": float(theory.minimax_distortion(b))})
pd.DataFrame(rows)

# %% [markdown]
# With a margin of order $1/m$ against it, the special response is a Condorcet loser, and the maximal lottery, like any rule that avoids
# such losers, comes to $C(b)$ from below.

# %%
draw("lottery_lower")

# %% [markdown]
# ## NLHF never does worse (Theorem 7 and Corollary 4, paper)
#
# NLHF plays the preference game with **both** players in the ball. Its equilibrium $\pi$ loses to nobody in the ball, $p(\pi^\star \succ \pi) \le
# \frac12$, and averaging Lemma 1 gives $0 \le L\, \bar u(\pi) - \ell\, \bar u(\pi^\star)$: distortion at most $C(b)$, for every population,
# reference and budget. The proof needs nothing but that $\pi$ is not beaten, so a computed policy carries its own certificate (ours): if no
# opponent in the ball gains more than $e$, then $\bar u(\pi) \ge \bar u(\pi^\star)/C - 2e/b$. Without a constraint this is the maximal
# lottery, whose worst case depends on how its ties are broken; the bound does not.

# %%
rows = []
for _ in range(6):
    m = int(rng.integers(3, 30))
    some = BradleyTerryUsers(rng.beta(0.3, 0.3, (8, m)), rng.dirichlet(np.ones(8)), 10.0)
    q = np.log(rng.dirichlet(np.full(m, 0.3)) + 1e-9)
    q -= np.logaddexp.reduce(q)
    budget = float(rng.uniform(0.05, 2))
    policy = kl_nlhf(some.win, q, budget)
    rows.append({"m": m, "budget": budget, "what an opponent gains": exploitability(some.win, policy.log_policy, q, budget),
                 "distortion of NLHF": distortion(some.average_utility, policy.policy, q, budget), "C(b)": float(theory.minimax_distortion(10))})
pd.DataFrame(rows)

# %% [markdown]
# ## RLHF is Borda, if pairs are drawn independently, and DPO is RLHF (paper; our short proof)
#
# Fit one Bradley-Terry reward $r$ to everybody. Its first-order condition is $\sum_y \mu(y)\, \sigma(r_x - r_y) = \sum_y \mu(y)\, p(x \succ
# y)$: the left side is one increasing function of $r_x$, the right side is Borda's score. So the orders are equal for every $\mu$. DPO minimises
# the same likelihood in $r = \beta \log \pi/\pi_{ref}$: fitted here by the package's own objective, which sees answers only.

# %%
mu, reference = rng.dirichlet(np.ones(6)), rng.dirichlet(np.full(6, 3.0))
reward = reward_mle(users.win, mu).reward
trained = fit(Tabular(reference), partial(dpo, beta=0.5), Population(users.win, mu).pairs(), tolerance=1e-13)
tilted = reference * np.exp(reward / 0.5)
pd.DataFrame({"Borda score": borda_scores(users.win, mu), "reward": reward, "DPO": trained.probs[0],
              "pi_ref exp(r/beta)/Z": tilted / tilted.sum()}).sort_values("reward")

# %% [markdown]
# ## Borda loses the factor almost twice: $Bd(b)$ (lower bound paper, exactness ours)
#
# Theorem 2 (paper) gives $C^2$, a later paper (arXiv 2602.11152) $2C$. The worst case of Theorem 12 reaches
#
# $$Bd(b) = C(b)\, \sup_{0 < g < 1} \Bigl[1 - g + \frac{s(bg)}{s(b)}\Bigr] \;\approx\; b - \tfrac12 (1 + \log 2b),$$
#
# and **nothing exceeds it (ours)**: with multipliers $v, w$ in closed form, for all utilities $a, y, c$ of one user,
#
# $$a + v\,[s(b(c - y)) - s(b(a - y))] + w\, s(b(c - y)) \ \le\ Bd(b)\; c .$$
#
# Average it over users, with $a$ the best response, $c$ Borda's winner and $y \sim \mu$: both brackets are then not negative.

# %%
grid = np.linspace(0, 1, 61)
a, y, c = np.meshgrid(grid, grid, grid, indexing="ij", sparse=True)
rows = []
for at in (0.5, 2, 10, 50):
    v, w, t = theory.borda_multipliers(at)
    gap = a + v * (np.tanh(at * (c - y) / 2) - np.tanh(at * (a - y) / 2)) / 2 + w * np.tanh(at * (c - y) / 2) / 2 - t * c
    case = borda_worst_case(at, 1e-4)
    worst, minimax = free(case.users, borda(case.users.win, case.comparison).policy), float(theory.minimax_distortion(at))
    rows.append({"b": at, "C": minimax, "Borda on its worst case": worst, "Bd": float(t), "2 C": 2 * minimax, "C^2": minimax**2,
                 "largest violation": gap.max()})
pd.DataFrame(rows)

# %%
draw("borda_distortion")

# %% [markdown]
# The same users do the maximal lottery little harm, but *how* little depends on the tie between the first two responses.

# %%
case = borda_worst_case(10.0, 1e-3)
pd.DataFrame([{"ties": ties, "distortion of the maximal lottery": free(case.users, maximal_lottery(case.users.win, ties,
               case.users.average_utility).policy)} for ties in ("any", "uniform", "adversarial")])

# %% [markdown]
# ## With a KL constraint RLHF loses exponentially (Theorem 6, paper; exact laws ours)
#
# Let nearly all comparisons be against responses that the reference (almost) excludes. A reward fitted to them ranks the two responses that
# remain by how *loudly* their friends prefer them to the excluded ones, not by how many friends they have. The paper's family costs
# $e^{b}/(10 b)$ in the limit (the limit is ours, as is merging its clones into one response without changing anything). Our sharper
# family needs three responses and costs $\cosh^2(b/2)$, exactly the worst for two reachable responses (ours, by a dual inequality like the one
# above). That nothing at all is worse under independent pairs is a **conjecture**.
#
# The reference mass of the excluded responses must be exponentially small in $e^b$: no floating-point number holds it, only its logarithm.

# %%
rows = []
for at in (2, 4, 6, 8, 10, 12, 14):
    paper, sharp = exponential_worst_case(at), unsupported_worst_case(at)
    rows.append({"b": at, "RLHF, paper's family": in_ball(paper, "RLHF"), "e^b/(10b)": float(theory.exponential_rlhf_distortion(at)),
                 "RLHF, sharper": in_ball(sharp, "RLHF"), "cosh^2(b/2)": float(theory.unsupported_rlhf_distortion(at)),
                 "NLHF, worse of both": max(in_ball(paper, "NLHF"), in_ball(sharp, "NLHF")),
                 "C(b)": float(theory.minimax_distortion(at)), "log of the excluded mass": paper.log_reference[2]})
pd.DataFrame(rows)

# %%
draw("rlhf_exponential")

# %% [markdown]
# Kept as a float64 probability, the smallest there is, the worst case is gone: a solver without logarithms would have missed it.

# %%
pd.DataFrame([{"log of the excluded mass": mass, "RLHF at b = 14": in_ball(exponential_worst_case(14.0, log_excluded=mass), "RLHF")}
              for mass in (-30.0, -745.0, -1e5, -1e7, -1e9)])

# %% [markdown]
# ## With correlated pairs RLHF loses without bound (Theorem 9, paper; rate ours)
#
# Three users and a chain of responses: from each to the next the one who liked it best gives up everything, the others gain a little, and a
# majority of *answers* prefers the next. If only neighbours are compared, the reward adds up these steps and RLHF takes the last and worst.
# The distortion grows like $b \sqrt m / (3 \sqrt 6)$ (ours). Independent pairs of the same users do no harm, and NLHF does not mind which pairs
# were shown.

# %%
chain = correlated_worst_case(10.0, 8)
pd.DataFrame({**{f"user {i + 1}": u for i, u in enumerate(chain.users.utilities)}, "average": chain.users.average_utility,
              "reward, neighbours only": reward_mle(chain.users.win, chain.comparison).reward,
              "reward, independent pairs": reward_mle(chain.users.win, np.full(8, 1 / 8)).reward})

# %%
draw("rlhf_unbounded")

# %% [markdown]
# ## On-policy comparisons take the exponential away (conjecture)
#
# Both blow-ups need comparisons that have little to do with the policy. If pairs are drawn from the reference itself, RLHF on the users of the
# exponential families is harmless, and an evolution strategy that starts from Borda's worst case and varies users, reference and budget comes
# near $Bd(b)$ and never above it. That $Bd(b)$ is the worst case on policy is our **conjecture**; a follow-up paper (arXiv 2609.12651,
# abstract seen) shows $O(b)$ for RLHF with clipped rewards.

# %%
draw("rlhf_on_policy")

# %% [markdown]
# ## All checks
#
# What the verdicts above are made of.

# %%
pd.DataFrame([{"claim": slug, "check": check.name, "outcome": check.outcome, "number": number(pd.Series(vars(check)))}
              for slug, e in entries.items() for check in e.verdict.checks]).set_index(["claim", "check"])

# %% [markdown]
# ## What to do with this
#
# | you have | worst case of RLHF and DPO | worst case of NLHF | do |
# |---|---|---|---|
# | comparisons of responses sampled from the reference (or a model near it) | $Bd(b) \approx b$ (conjecture; proved without a KL constraint, ours) | $C(b) \approx b/2$ (paper) | RLHF and DPO are within a factor 2; NLHF is the safe choice |
# | comparisons from elsewhere, independent pairs | at least $\cosh^2(b/2) \approx e^b/4$ (ours; paper $e^{\Omega(b)}$) | $C(b)$ | sample on policy first, fine-tune on the compared responses, or NLHF |
# | pairs of neighbours: edits, versions, tournaments | unbounded in $m$ (paper) | $C(b)$ | NLHF, or break the correlation: compare at random |
#
# * **These are worst cases**, all of one kind: a few users with much at stake against many who hardly care, or comparisons chosen against
#   the rule. The table says what a rule *can* lose, not what it loses on your users: `distalign simulate` runs the rules on a population
#   of your own.
# * **Measure $b$ first.** All bounds are functions of how decisive users are, for utilities in $[0, 1]$. With independent pairs nothing
#   here exceeds 1.3 at $b = 1$; at $b = 10$ it is 5 for NLHF against 5,500 for RLHF.
# * **Report the certificate with the number.** A policy outside the KL ball has no distortion, and one that is not an equilibrium is not
#   NLHF. Keep the reference as logarithms.
# * **What is outside.** One prompt, infinitely many comparisons, a policy class that can express everything, and average utility as the
#   goal: who is the worst off is another question.
