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
# # Your own population: one conversation, end to end
#
# Who would be unhappy under RLHF and content under NLHF? Here the question is put to the people of one public Polis conversation:
# what should be done in Bowling Green, Kentucky? They answered agree, pass or disagree to statements of one another; an imagined policy has to
# choose which statement to put forward, and learns it from comparisons that these people would make.
#
# **Semi-synthetic.** Agree, pass and disagree count as utilities 1, 1/2 and 0, and answers to comparisons are simulated. True utilities are
# unobserved: every number below is one of this model, calibrated on the conversation, and none is the distortion of these people.
#
# The text below describes that conversation. Set `DISTALIGN_DATA` to a folder that holds `polis/american-assembly.bowling-green` (public at
# GitHub compdemocracy/openData); without it the same code runs on an invented stand-in, and says so, and only the code carries over.
#
# Everything runs from the command line, too: `distalign simulate FOLDER`, and `distalign simulate --example > mine.yaml` for a population
# written by hand. Data was gathered using the Polis software (compdemocracy.org/polis, github.com/compdemocracy/openData) and is
# sub-licensed under CC BY 4.0 with Attribution to The Computational Democracy Project.

# %%
import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Image

from distalign import Scenario, simulate
from distalign.figures import new, picture
from distalign.pluralism import load_polis

pd.set_option("display.max_colwidth", 90)


def show(figure, width=760):
    return Image(picture(figure), width=width)


def stand_in(people=400, statements=12, seed=0):
    """Two invented groups with invented opinions, for a machine without the data."""
    rng = np.random.default_rng(seed)
    group = rng.random(people) < 0.45
    agree = np.where(group[:, None], rng.beta(1, 1, statements), rng.beta(2, 1, statements))
    answers = (rng.random(agree.shape) < agree).astype(float)
    answers[rng.random(agree.shape) < 0.15] = 0.5
    return Scenario(answers, groups=[str(int(g)) for g in group], people=people, name="stand-in",
                    texts=[f"invented statement {i}" for i in range(statements)],
                    about=("Synthetic stand-in: DISTALIGN_DATA is not set, so nothing here was said by anybody.",))


data = os.environ.get("DISTALIGN_DATA")
folder = Path(data or "nowhere") / "polis" / "american-assembly.bowling-green"
people = load_polis(folder) if folder.is_dir() else stand_in()
print("\n\n".join(people.about))

# %% [markdown]
# ## The people
#
# The groups are those that Polis published with the conversation; nothing here made them.

# %%
agreement = pd.DataFrame({"statement": people.texts, "average utility": people.average_utility,
                          **{f"in group {g}": people.utilities[people.group_of == i].mean(0) for i, g in enumerate(people.group_names)}})
print({f"group {g}": int((people.group_of == i).sum()) for i, g in enumerate(people.group_names)})
agreement.round(2)

# %% [markdown]
# ## Every method, on comparisons of all statements alike
#
# The reference policy puts all statements forward equally often, a policy may move one nat away from it, and people choose between two
# statements by Bradley-Terry with temperature 5: an assumption, which the next section varies. Intervals are over the people who were met.

# %%
everything = simulate(people, bootstrap=60)
table = everything.rows
columns = ["method", "kl_limit", "kl", "average_utility", "tenth_percentile", "worst_off", "distortion", "bound", "certified"]
table[columns].round(4)

# %%
show(everything.plot()[0].figure)

# %%
show(everything.plot(view="groups")[0].figure)


# %% [markdown]
# ## Who would rather have the other policy?
#
# Unhappy: the policy's statement is worth less than 1/2 to them, on average. Content: at least 1/2. With comparisons of everything with
# everything RLHF and NLHF nearly agree, and almost nobody stands on different sides of that line.

# %%
def switched(scenario, one="RLHF", other="NLHF", methods=("RLHF", "NLHF", "clipped RLHF", "optimum")):
    """Numbers of people by group: unhappy under `one` and content under `other`, and the reverse."""
    found = simulate(scenario, methods, bootstrap=0).rows.set_index("method")
    get = {m: scenario.utilities @ np.array(found.loc[m, "policy"]) for m in (one, other)}
    rows = [{"group": g, "people": int(inside.sum()), f"mean utility, {one}": get[one][inside].mean(),
             f"mean utility, {other}": get[other][inside].mean(),
             f"unhappy under {one}, content under {other}": int(((get[one] < 0.5) & (get[other] >= 0.5))[inside].sum()),
             f"content under {one}, unhappy under {other}": int(((get[one] >= 0.5) & (get[other] < 0.5))[inside].sum())}
            for i, g in enumerate(scenario.group_names) for inside in [scenario.group_of == i]]
    return found, get, pd.DataFrame(rows).round(4)


_, get, counts = switched(people)
print(f"largest difference of one person's utility between RLHF and NLHF: {np.abs(get['NLHF'] - get['RLHF']).max():.4f}")
counts

# %%
rows = []
for temperature in (1.0, 2.0, 5.0, 10.0, 20.0):
    found, _, counted = switched(replace(people, bt_temperature=temperature))
    rows.append({"temperature": temperature, "distortion of RLHF": found.distortion["RLHF"],
                 "distortion of NLHF": found.distortion["NLHF"], "guarantee C of NLHF": found.bound["NLHF"],
                 "switched sides": int(counted.iloc[:, 4:].to_numpy().sum())})
pd.DataFrame(rows).round(4)

# %% [markdown]
# No temperature changes that: guarantees are about the worst population, and this one is far from it.
#
# ## Where the two come apart
#
# Theorem 6 of Gölz, Haghtalab and Yang (arXiv 2505.23749) says where to look: comparisons that were mostly made against something the policy
# no longer says. Then the reward of $x$ and of $y$ is learned from how they fare against $z$, and who is *loud* about $z$ decides.
# So take three statements of the same conversation: the policy may say $x$ or $y$, nearly all comparisons were with $z$. We go
# through all ordered triples, and ask in how many the reward orders $x$ above $y$ although people are better off with $y$ and prefer it.
# Picking the worst one is ours, and says that such a case exists, not that it is common.

# %%
win, average = people.win, people.average_utility
fails = [(average[y] / average[x], x, y, z) for x, y, z in itertools.permutations(range(people.size), 3)
         if win[x, z] > win[y, z] + 1e-9 and average[y] > average[x] and win[y, x] > 0.5]
print(f"{len(fails)} of {people.size * (people.size - 1) * (people.size - 2)} triples; the worst loses "
      f"{max(fails)[0] - 1:.1%} of average utility")
_, x, y, z = max(fails)
three = [x, y, z]
pd.DataFrame({"role": ["x, which RLHF says", "y, which NLHF says", "z, compared with"],
              "statement": [people.texts[i] for i in three], "average utility": average[three]}).round(3)

# %%
hard = Scenario(people.utilities[:, three], groups=people.groups, people=people.people, pairs=[0.01, 0.01, 0.98],
                log_reference=[np.log(0.5), np.log(0.5), -60.0], texts=[people.texts[i] for i in three], name="x or y", about=people.about)
found, get, counts = switched(hard)
policies = pd.DataFrame(found["policy"].tolist(), found.index, ["x", "y", "z"]).round(4)
policies.assign(**found[["average_utility", "distortion", "bound"]].round(4))

# %%
counts

# %% [markdown]
# The answer, by group: below, the dark bars are people who are unhappy under RLHF and content under NLHF, the light ones the reverse. NLHF
# is not kinder to everybody. It is what nobody can beat by a majority within the ball; it helps more people than it hurts here, and it hurts some.

# %%
figure, (axes,) = new(4.2, 2.4)
place = np.arange(len(counts))
for shift, column, colour in ((-0.2, counts.columns[4], "0.25"), (0.2, counts.columns[5], "0.75")):
    axes.bar(place + shift, counts[column] / counts["people"], 0.38, color=colour, edgecolor="black", linewidth=0.6, label=column)
axes.set(xticks=place, xticklabels=[f"group {g}" for g in counts["group"]], xlabel="published opinion group", ylabel="share of the group")
axes.set_axisbelow(True)
axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=7, frameon=False)
show(figure, 520)

# %% [markdown]
# ## What mends it
#
# Comparisons of what the policy may say (on-policy data): RLHF then orders $x$ and $y$ by how people like them. Clipping the reward, our reading of
# arXiv 2609.12651, ties what can hardly be told apart, so both are said; NLHF needs neither.

# %%
on_policy = replace(hard, pairs=[0.495, 0.495, 0.01])
fixed, _, _ = switched(on_policy)
pd.DataFrame({"comparisons with z": found.distortion, "comparisons of x and y": fixed.distortion}).round(4)

# %% [markdown]
# ## And with a finite number of answers?
#
# $n$ people, five answers each, in the first setting. The distortion of a sample is the benchmark over the mean of average utility.

# %%
rows = []
for n in (50, 200, 1000):
    asked = replace(people, n=n, comparisons_per_user=5)
    runs = simulate(asked, ["RLHF", "NLHF", "maximal lottery"], seeds=10).rows
    kept = runs[runs.certified].groupby("method", sort=False)
    rows.append({"n": n, **(kept.best.mean() / kept.average_utility.mean()).round(4), "uncertified": int((~runs.certified).sum())})
pd.DataFrame(rows)

# %% [markdown]
# ## What this does not say
#
# A vote has no strength; an agreement with *both* of two statements does not say which is preferred; people who answered twelve statements
# are not all people, and those who answered fewer are left out (their number stands at the top). And distortion depends on where utility is zero:
# had disagreement been worth 0.2 instead of 0, every distortion here would be nearer to 1.
