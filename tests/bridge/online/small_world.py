"""The enumerable language model on disk, its rewards and users as functions of text, and recipes on it."""

import json

import numpy as np

from distalign.training.recipe_online import OnlineRecipe
from tests.bridge.generation.enumerable import LONGEST, PROMPTS, RESPONSES, REWARD, causal_model, win

WORDS = ("<end>", "a", "b", "c")
PLACE = {" ".join(WORDS[t] for t in y if t): i for i, y in enumerate(RESPONSES)}
"""A text without its end, which its length tells, to its place among the responses."""


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="a"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")


def save(folder, prompts=1):
    """Write model/ and prompts.jsonl with so many of the prompts."""
    causal_model(0).float().save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    lines = [json.dumps({"prompt": " ".join(WORDS[t] for t in x)}) for x in PROMPTS[:prompts]]
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def places(responses):
    return np.array([PLACE[text] for text in responses])


def reward(prompts, responses):
    return REWARD[places(responses)]


def preference(prompts, first, second):
    return win()[places(first), places(second)]


def recipe(folder, objective="rlhf", out="out", **changes):
    """A float32 run on the model of a folder, made if it is not there."""
    if not (folder / "model").exists():
        save(folder)
    here = "tests.bridge.online.small_world"
    options = {"strength": 0.5} if objective == "nlhf" else {"beta": 1.0}
    judged = {"reward": f"{here}:reward"} if objective != "nlhf" else {"preference": f"{here}:preference"}
    settings = {
        "model": str(folder / "model"),
        "train_data": str(folder / "prompts.jsonl"),
        "output_dir": str(folder / out),
        "objective": objective,
        "objective_options": options,
        "dtype": "float32",
        "max_length": 32,
        "max_new_tokens": LONGEST,
        "samples_per_prompt": 4,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "warmup_ratio": 0.0,
        "max_steps": 3,
    }
    return OnlineRecipe(**(settings | judged | changes))
