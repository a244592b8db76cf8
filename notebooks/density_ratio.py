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
# # Density ratios: DDRO and RDRO
#
# Both methods take responses people liked and responses they did not, not pairs, and aim at $p_+$, the law of the liked ones. Neither
# needs a model of preferences. What they need instead is one identity: the frozen reference is the pooled law,
#
# $$ p_{\rm ref} = t\,p_+ + (1-t)\,p_-, \qquad t = \text{share of liked responses}, $$
#
# so that $\rho = \pi/p_{\rm ref}$ models $p_+/p_{\rm ref}$, which is at most $1/t$.
#
# Of DDRO (arXiv 2505.07558) and RDRO (arXiv 2604.04410) only the abstracts were seen: the losses here are derived, and everything beyond
# "consistent without a preference model", "the ratio $p_+/p_-$ can diverge" and "the ratio to a mixture is bounded" is ours.
#
# Said before anything else: $p_+$ is a bounded tilt of the reference (no response gains more than $\log 1/t$ nats), **not** the optimum of
# a reward; RDRO has **no** better rate and **no** better asymptotic constant than DDRO; and plain SFT on the liked responses is
# consistent for $p_+$, too, which is why it is in every plot.

# %%
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from IPython.display import Image

from distalign import Tabular, check_labels, fit
from distalign.claims import claims
from distalign.figures import committed, picture
from distalign.objectives import ddro, rdro, sft
from distalign.simulation import ledger as verifier
from distalign.simulation import sweep
from distalign.simulation.ledger import number
from distalign.simulation.studies.density_ratio import ratio_language_model
from distalign.simulation.studies.density_ratio.estimators import frequencies, thumbs, total_variation
from distalign.simulation.studies.density_ratio.ratio_prompt_prior import population
from distalign.solvers.density_ratio import ddro_policy, rdro_policy
from distalign.theory.density_ratio.losses import coefficients

torch.set_num_threads(1)
rng = np.random.default_rng(0)

# %% [markdown]
# ## Who reaches $p_+$
#
# Labels on twelve responses, 39 % of them liked. Each objective is minimised over all policies on the exact law, by Newton's method on the
# very function that trains a language model.

# %%
truth = thumbs(0.39)
law, target, t = truth.law(), truth.preferred[0], truth.prior
objectives = {
    "SFT on the liked": sft, "RDRO, alpha = t": partial(rdro, alpha=t), "DDRO, prior t": partial(ddro, prior=t),
    "RDRO, alpha = t + 0.2": partial(rdro, alpha=t + 0.2),
    "RDRO, one mean over all examples": partial(rdro, alpha=t, reduction="batch_mean"),
    "DDRO, log-ratio squashed into its domain": partial(ddro, prior=t, stabiliser="squash")}
ends = {name: fit(Tabular(truth.reference), loss, law) for name, loss in objectives.items()}
pd.DataFrame([{"objective": name, "certified": bool(end.converged), "total variation to p+": total_variation(end.probs[0], target)}
              for name, end in ends.items()] + [{"objective": "the reference itself", "certified": True,
                                                 "total variation to p+": total_variation(truth.reference[0], target)}])

# %% [markdown]
# The last three are not exotic. A trainer that averages the losses of a mixed batch takes one mean over all examples, which weighs the two
# classes by their shares: right at 50:50 only. And a squash that keeps $\rho$ below $1/t$ by construction changes the target.
#
# ## From samples: the same exponent, and SFT has it, too
#
# The exact solvers fit thousands of samples at once.

# %%
rows = []
for n in (250, 1000, 4000, 16000):
    sample = truth.sample(n, rng, replicates=400)
    up, down = frequencies(sample.weights, sample.rejected_weights)
    fits = {"SFT": up, "DDRO, domain enforced": ddro_policy(up, down, truth.reference[0], prior=t).policy,
            "RDRO": rdro_policy(up, down, truth.reference[0], alpha=t).policy}
    rows += [{"n": n, "method": name, "sqrt(n) x total variation": np.sqrt(n) * total_variation(found, target).mean()}
             for name, found in fits.items()]
pd.DataFrame(rows).pivot(index="method", columns="n", values="sqrt(n) x total variation").round(3)

# %%
Image(picture("rdro_consistency"), width=450)

# %% [markdown]
# Flat rows: all three are consistent at $n^{-1/2}$. The rejected responses buy DDRO and RDRO a smaller constant than SFT's. Between the two
# there is next to nothing here; where labels are nearly certain DDRO, the likelihood of the labels, is the better one.

# %%
Image(picture("ratio_constants"), width=620)

# %% [markdown]
# ## Where RDRO is better: few data, and gradients
#
# DDRO's loss is the likelihood $-t \log(t\rho)$ of a liked and $-(1-t)\log(1 - t\rho)$ of a disliked response. Only a *disliked* response keeps
# $\rho$ below $1/t$, and with a force without limit; where none was drawn, nothing does. RDRO's own chosen term turns around at
# $\rho = 1/\alpha$, and no coefficient exceeds 1.

# %%
ratio = np.array([0.5, 1.0, 1.5, 1.9, 1.99, 1.9999])
table = {"pi / p_ref": ratio}
for name in ("ddro label_mle", "rdro logistic"):
    table[f"{name}: liked"], table[f"{name}: disliked"] = coefficients(name, ratio, 0.5)
pd.DataFrame(table).round(3)

# %%
Image(picture("ratio_sparse"), width=620)

# %% [markdown]
# ## Sequences, through the losses that train language models
#
# $4^6$ sequences, Markov policies, exact distances. DDRO, made linear beyond its wall, is behind on few data and ahead on many; set the wall
# below the true ratio and it ends elsewhere.

# %%
Image(picture("ratio_sequences"), width=430)

# %% [markdown]
# And a small recurrent language model in minibatches, trained here and now on 2,048 of its own samples, each labelled liked with a known
# probability $q(y)$, so that $p_+ = p_{\rm ref}\, q/t$ is computable though nothing can be enumerated. One seed, one learning rate: an
# illustration. Look at both columns: one mean over examples makes samples that would be liked *more often* than those of RDRO with class
# means, and lies further from $p_+$; in the limit they would be liked more often than $p_+$ itself. A higher rate of being liked is not
# evidence of having learned $p_+$.

# %%
rows = pd.DataFrame(ratio_language_model.run(np.random.default_rng(0), size=2048, epochs=6, seed=0)).set_index("method")
rows.rename(columns={"kl": "KL(p+ || policy)", "rate": "own samples would be liked", "norm": "gradient norm, median",
                     "largest_norm": "largest"}).round(3)

# %% [markdown]
# Over eight seeds or more and up to 32,768 samples (claim `ratio_language_model`, full size) RDRO's lead over SFT shrinks until the two are not told
# apart; one mean over examples stays behind. DDRO made linear beyond its wall is close to RDRO
# throughout, and DDRO with a floor is not: its gradients spike, and more data make it worse.
#
# ## When the assumptions break
#
# **The reference is not the pooled law.** Responses written by another model, say. RDRO and DDRO then stop at a wrong law, SFT does not.
# Fine-tune the reference on all responses, liked and disliked: but on *other* ones. On the same ones RDRO over all policies is SFT, exactly:

# %%
sample = truth.sample(500, rng)
up, down = frequencies(sample.weights, sample.rejected_weights)
pooled = (sample.weights + sample.rejected_weights)[0] / 500
same = rdro_policy(up[0], down[0], pooled, alpha=sample.prior[0])
print("largest difference to SFT:", np.abs(same.policy - up[0]).max())

# %%
Image(picture("ratio_reference"), width=620)

# %% [markdown]
# **The share of liked responses varies with the prompt.** Pairs have $t(x) = 1/2$ by design; thumbs do not. One $\alpha$ is then biased, each
# prompt's (or group's) own is not.

# %%
Image(picture("ratio_prompt_prior"), width=620)

# %% [markdown]
# ## Check your data first
#
# Labels alone tell whether the prior varies, and log-ratios of held-out responses whether the reference can be the pooled law. Here thirty
# prompts with one prior, and thirty whose priors differ:

# %%
for spread in (0.0, 0.5):
    sample = population(spread, 30).sample(3000, rng)
    counts = (w.reshape(30, -1).sum(1) for w in (sample.weights, sample.rejected_weights))
    found = check_labels(*counts, micro_batch=8)
    print(f"prior {found.prior:.3f} [{found.low:.3f}, {found.high:.3f}], score of its variation {found.spread:.1f}")
    for warning in found.warnings:
        print("  *", warning)

# %% [markdown]
# For the reference: fit any law $f$ to one half of all responses, liked and disliked alike, and add up $\log f/p_{\rm ref}$ over the other
# half. If the reference wrote them, the sum exceeds $\log(1/0.01) = 4.6$ nats with probability at most 1 %, whatever $f$ is.

# %%
noise = rng.dirichlet(np.ones(12))
for share in (0.0, 0.3):
    contaminated = (1 - share) * truth.reference[0] + share * noise
    first, second = rng.multinomial(1000, truth.reference[0], size=2)
    fitted = (first + 0.5) / (first + 0.5).sum()
    found = check_labels([390], [610], log_ratios=np.repeat(np.log(fitted / contaminated), second))
    print(f"share of noise in the reference {share}: {found.evidence:.1f} nats of evidence against it")

# %% [markdown]
# On a file of your own, pairs or labelled responses: `distalign check FILE`, with `--reference MODEL --pooled MODEL` for the second test.
#
# ## Two claims, run here and now
#
# At quick size, with the verdict on a deliberately broken version of each.

# %%
entries = {}
with tempfile.TemporaryDirectory() as folder:
    for claim in claims(("ratio_sparse", "ratio_reduction")):
        plan = verifier.plan([claim], "quick", seed=0)[claim.slug]
        sweep.run(plan.all, Path(folder))
        entries[claim.slug] = verifier.entry(claim, plan, Path(folder))
pd.DataFrame([{"claim": slug, "verdict": e.verdict.outcome, "fails on": f"{len(e.fails_on(check.name))} of {len(e.controls) - 1} defects", "check": check.name,
               "number": number(pd.Series(vars(check)))} for slug, e in entries.items() for check in e.verdict.checks])

# %% [markdown]
# ## Do I want it?
#
# * **You have liked responses only**: SFT on them. It is consistent for the same $p_+$ and asks nothing of the reference.
# * **You have both kinds and the reference wrote them**, many of each: RDRO or DDRO, either beats SFT by a constant. RDRO needs no
#   stabiliser, and that is its case.
# * **The reference did not write them**: SFT, or refit the reference on other responses first. RDRO with a wrong reference is worse than SFT
#   as soon as data are many.
# * **Thumbs over many prompts**: check the prior by prompt; give groups their own $\alpha$.
# * **Class means, always**, over the global batch.
# * **You want the best response, not the liked ones' law**: neither. $p_+$ is at most a factor $1/t$ from the reference.
#
# ## All claims
#
# Verdicts of the committed full run. `planted defect` is what the same test says of a deliberately broken computation.

# %%
ledger = pd.read_csv(committed("ledger")).query("paper == 'density_ratio'")
ledger = ledger.assign(number=[number(row) for _, row in ledger.iterrows()])
ledger[["slug", "kind", "source", "verdict", "check", "number", "checks", "seen_to_fail"]].rename(columns={"seen_to_fail": "checks seen to fail"})
