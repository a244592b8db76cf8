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
# # Fine-tune a model and read the evaluation
#
# The real training module, on a model small enough to be made here: a two-layer transformer over bytes. With a model of your own only the
# recipe's `model` changes; the commands stand at the end. Nothing is downloaded.
#
# The task is small enough, too, that the truth is known: four prompts, six answers, and people of whom a share prefers tea.

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
from tokenizers.models import BPE
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from distalign import Population, Recipe, train
from distalign.figures import METHODS, STYLE, legend_below, letter, new, picture
from distalign.training import TokenRow, check_file, load_policy, score_rows
from distalign.training.evaluation.generate import generate
from distalign.training.model.load import load_tokenizer

torch.set_num_threads(1)
matplotlib.rcParams.update(STYLE)
logging.disable_progress_bar()
rng = np.random.default_rng(0)
home = tempfile.TemporaryDirectory()
HERE = Path(home.name)

# %% [markdown]
# ## A model and a tokenizer, in a folder as from the Hub

# %%
pieces = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
core = Tokenizer(BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", pad_token="<end>").save_pretrained(HERE / "base")
torch.manual_seed(0)
LlamaForCausalLM(LlamaConfig(
    vocab_size=len(pieces), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
    max_position_embeddings=64, bos_token_id=None, eos_token_id=0, pad_token_id=0)).save_pretrained(HERE / "base")

# %% [markdown]
# ## Data
#
# Two answers are drawn, different ones, and people vote. Two formats are read: pairs (`prompt`, `chosen`, `rejected`) and labelled responses
# (`prompt`, `completion`, `label`); JSONL, CSV, Parquet or a Hub set.

# %%
PROMPTS = ("Morning:", "Noon:", "Evening:", "Night:")
ANSWERS = (" tea", " green tea", " coffee", " a latte", " water", " cola")
wanted = np.array([1.5, 1.0, 0.5, 0.2, -0.4, -1.2])  # utilities: people like tea
usual = np.array([0.10, 0.10, 0.25, 0.15, 0.25, 0.15])  # what is said before anybody is asked
people = Population(1 / (1 + np.exp(wanted - wanted[:, None])), usual)


def write(name, rows):
    (HERE / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(HERE / name)


def pairs(n):
    sample = people.pairs(distinct=True)
    drawn = rng.choice(len(sample.weights), size=n, p=sample.weights / sample.weights.sum())
    return [{"prompt": PROMPTS[i % 4], "chosen": ANSWERS[sample.chosen[at]], "rejected": ANSWERS[sample.rejected[at]]}
            for i, at in enumerate(drawn)]


said = write("said.jsonl", [{"prompt": row["prompt"], "completion": row[side], "label": True}
                            for row in pairs(1200) for side in ("chosen", "rejected")])
votes, held_out = write("votes.jsonl", pairs(1600)), write("held_out.jsonl", pairs(600))
print(Path(votes).read_text(encoding="utf-8").splitlines()[0])
check = check_file(votes)
print(f"distalign check: share of chosen {check.found.prior}, warnings: {list(check.warnings)}")

# %% [markdown]
# ## First the reference
#
# Density-ratio objectives assume that the reference *wrote* the responses. So it is fine-tuned with SFT on responses of that kind, chosen and
# rejected alike: other ones than those to be trained on, because on the same ones RDRO has nothing left to learn but SFT.

# %%
SMALL = {"dtype": "float32", "max_length": 48, "per_device_train_batch_size": 16, "gradient_accumulation_steps": 2, "warmup_ratio": 0.1,
         "seed": 0, "adam_epsilon": 1e-4}  # a model this sure of its spelling has tiny gradients, which Adam would blow up


def run(**recipe):
    """Train quietly; what the run prints on a terminal is not needed here."""
    with contextlib.redirect_stderr(io.StringIO()):
        return train(Recipe(**(SMALL | recipe)), progress=False)


reference = run(model=str(HERE / "base"), objective="sft", train_data=said, output_dir=str(HERE / "sft"), max_steps=150,
                learning_rate=5e-3)
print(f"{reference.steps} updates, {reference.tokens} tokens, loss {reference.loss:.2f}")

# %% [markdown]
# ## Then the votes: two objectives, one recipe
#
# A recipe is flat and checked before anything is loaded. The gradient is that of the global batch of 32 pairs, whatever the micro-batch.

# %%
runs = {name: run(model=str(reference.model), objective=name, objective_options=options, train_data=votes, eval_data=held_out,
                  output_dir=str(HERE / name), max_steps=120, learning_rate=1e-3)
        for name, options in (("rdro", {"alpha": 0.5}), ("dpo", {"beta": 0.1}))}
curve = pd.DataFrame({name: pd.read_csv(found.output_dir / "metrics.csv").set_index("step")["loss"] for name, found in runs.items()})

figure, panels = new(height=2.2, panels=2)
for axes, name in zip(panels, runs):
    colour, _, line = METHODS[name.upper()]
    axes.plot(curve.index, curve[name], color=colour, alpha=0.25)
    axes.plot(curve.index, curve[name].rolling(10).mean(), color=colour, linestyle=line)
    axes.set(title=name.upper(), xlabel="update", ylabel="loss, nats")
letter(figure)
Image(picture(figure), width=620)

# %% [markdown]
# Thin: the loss of each global batch; thick: the mean of ten. Both start where theory puts them, the model being its own reference: RDRO at
# $2 \log 2$ and DPO at $\log 2$ nats.

# %% [markdown]
# ## Reading the evaluation
#
# On pairs the run never saw. Every number has an interval; `clusters` are prompts, and here there are only four of them, which is why some are
# wide. What the columns mean stands in the report beside the table (`evaluation/`).

# %%
win, drawn = people.win[0], np.triu(np.outer(usual, usual), 1)
best = (np.maximum(win, win.T) * drawn).sum() / drawn.sum()
tables = {name: pd.read_csv(found.output_dir / "evaluation" / "evaluation.csv").set_index("metric") for name, found in runs.items()}
print(f"the best possible accuracy, by the true utilities: {best:.3f}")
shown = ["accuracy", "loss", "displacement", "log_mean_ratio", "effective_share", "beyond_wall", "dominance_w1"]
pd.concat({name: table.loc[[m for m in shown if m in table.index], ["value", "low_95", "high_95"]] for name, table in tables.items()}, axis=1).round(3)

# %% [markdown]
# * **accuracy** is the share of pairs ranked as people did. Both come near the best possible, so it does not tell them apart.
# * **displacement** is the mean log-ratio of chosen responses. Below 0 the chosen answers became *less* likely while the margin grew: here DPO
#   leaves most of them behind for one answer, and for strings that nobody ever said.
# * **log_mean_ratio** should be near 0 if the reference wrote the responses, and **beyond_wall** counts responses that gained more than $\log 1/\alpha$,
#   further than $p_+$ can be. **effective_share** says how far the policy has moved: 1 is not at all.
#
# ## Against the truth
#
# Not to be had in real life: the law of preferred answers $p_+$ is known here, and so is the model's law on the six answers.

# %%
tokenizer = load_tokenizer(reference.model)
rows = tuple(TokenRow(tuple(tokenizer(p)["input_ids"]), tuple((*tokenizer(a)["input_ids"], 0) for a in ANSWERS)) for p in PROMPTS)


def law(folder):
    """(4, 6) probabilities of the answers, as the model gives them."""
    return score_rows(load_policy(str(folder), dtype="float32"), rows).exp().view(4, 6).numpy()


voted = people.pairs(distinct=True)
target = np.bincount(voted.chosen, voted.weights, minlength=6) / voted.weights.sum()
laws = {"p+": target[None], "reference": law(reference.model), **{name: law(found.model) for name, found in runs.items()}}
table = []
for p in laws.values():
    among = p / p.sum(1, keepdims=True)
    table.append([*among.mean(0), p.sum(1).mean(), 0.5 * np.abs(among - target).sum(1).mean(), (among @ wanted).mean()])
figure, panels = new(height=2.6, panels=2)
for shift, (name, p) in zip((-0.3, -0.1, 0.1, 0.3), laws.items()):
    colour, *_ = METHODS.get(name.upper(), METHODS["reference" if name == "reference" else "optimum"])
    style = {"color": colour, "hatch": {"reference": "////", "dpo": "...."}.get(name), "edgecolor": "white"}
    label = {"p+": "$p_+$, what people prefer", "reference": name}.get(name, name.upper())
    panels[0].bar(np.arange(6) + shift, (p / p.sum(1, keepdims=True)).mean(0), 0.2, label=label, **style)
    panels[1].bar(shift, 1 - p.sum(1).mean(), 0.2, **style)
panels[0].set(title="shares among the six answers", xticks=range(6))
panels[0].set_xticklabels([a.strip() for a in ANSWERS], rotation=30, ha="right")
panels[1].set(title="anything but the six", ylabel="probability", xticks=[], xlim=(-1, 1), ylim=(0, 1))
letter(figure)
legend_below(figure, columns=4)
Image(picture(figure), width=620)

# %%
pd.DataFrame(table, index=list(laws), columns=[*(a.strip() for a in ANSWERS), "all six", "distance to p+", "mean utility"]).round(3)

# %% [markdown]
# Shares among the six answers, and what the six have together. RDRO goes towards the law of preferred answers and still gives nothing but
# answers. DPO at $\beta = 0.1$ has another target, the answer people like best, and among the six it gives little else; but pairs ask for
# differences only, and the six together have lost probability to what was never compared. Accuracy and mean utility do not show it.
#
# ## Samples

# %%
prompts = [row.prompt for row in rows]
with contextlib.redirect_stderr(io.StringIO()):
    drawn = {name: generate(load_policy(str(found.model), dtype="float32"), tokenizer, prompts, samples_per_prompt=50, max_new_tokens=16, seed=0)
             for name, found in runs.items()}
pd.DataFrame({name: pd.Series([row.response.strip() for row in d.rows]).value_counts(normalize=True).head(6) for name, d in drawn.items()}).round(2)

# %% [markdown]
# ## The same run again
#
# A run that was killed goes on from its last checkpoint, to the same bits. One that was finished has nothing left to do:

# %%
again = run(model=str(reference.model), objective="dpo", objective_options={"beta": 0.1}, train_data=votes, eval_data=held_out,
            output_dir=str(HERE / "dpo"), max_steps=120, learning_rate=1e-3)
print(f"{again.steps} updates, of which {again.resumed} were there already")
home.cleanup()

# %% [markdown]
# ## With a real model
#
# ```
# distalign recipes ls                                  # every value with its origin
# distalign recipes cp llama31_8b_rdro_lora mine.yaml
# distalign check votes.jsonl --micro-batch 4           # what RDRO and DDRO assume of the data
# distalign plan mine.yaml --gpu 80GB                   # memory by part, before anything is downloaded
# distalign train mine.yaml --train_data votes.jsonl --eval_data held_out.jsonl
# distalign evaluate out/train/llama31_8b_rdro_lora/model --data held_out.jsonl --objective rdro --alpha 0.5
# ```
#
# On two CPU cores, with SmolLM2-135M and real votes: `make train-demo OBJECTIVE=rdro VOTES=folder`, a few minutes. With TRL: one import,
# `distalign.integrations.trl`.
