"""Models of seven and eight billion parameters: `python -m benchmarks.seven_b [recipes] [--out DIR]`.

Without a word: random weights in the shape of Qwen2.5-7B (bfloat16) are written once as shards. DPO, AOT and
RDRO then make two updates each of the shipped recipe, on short rows; the last is evaluated, and its adapter
is read by plain transformers and peft. It needs 24 GB of memory and 20 GB of disk.

With the word `recipes`: every shipped recipe of a 7-8B model makes two updates in that model's shape cut to
two layers (vocabulary, hidden size and heads as they are), from its own file; only lengths and batches are
short. A recipe that trains all weights needs up to 16 bytes a parameter; what does not fit into `--memory` is
named.

Every stage is a process of its own, through the real command, on one thread. Peaks are those of the system
(ru_maxrss) above what a process holds that has imported the same, beside the estimate of `distalign plan`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.people import measured

QWEN, SEVEN = "Qwen/Qwen2.5-7B-Instruct", "qwen25_7b_dpo_lora"
OBJECTIVES: dict[str, list[str]] = {
    "dpo": [],
    "aot_paired": ["--objective", "aot_paired"],
    "rdro": ["--objective", "rdro", "--alpha", "0.4"],
}
SHORT = (
    *("--max-steps", "2", "--per-device-train-batch-size", "1", "--gradient-accumulation-steps", "2"),
    *("--max-length", "64", "--max-prompt-length", "32", "--max-cut-share", "1", "--eval-data", "none"),
)
WORDS = ("tea", "milk", "rain", "sun", "long", "short", "good", "bad", "warm", "cold", "road", "house")
START = "import torch, transformers, peft, distalign.training.loop, distalign.training.commands"
PLAIN = """
import sys, torch
from peft import AutoPeftModelForCausalLM
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
with torch.no_grad():
    logits = model(torch.tensor([[11, 12, 13, 14]])).logits
    moved = sum(float(p.abs().sum()) for n, p in model.named_parameters() if "lora_B" in n)
assert bool(torch.isfinite(logits).all()) and moved > 0, moved
"""


def config_of(name: str, layers: int | None) -> Any:
    """The configuration of a model whose shape `plan` knows, perhaps cut to some layers."""
    from transformers import LlamaConfig, MistralConfig, Qwen2Config

    from distalign.training.memory.geometry import BUILT_IN

    g = BUILT_IN[name]
    kind = next(k for word, k in _KINDS.items() if word in name)
    made = {"Qwen": Qwen2Config, "Llama": LlamaConfig, "Mistral": MistralConfig}[kind]
    return made(
        vocab_size=g.vocabulary,
        hidden_size=g.hidden,
        intermediate_size=g.intermediate,
        num_hidden_layers=layers or g.layers,
        num_attention_heads=g.heads,
        num_key_value_heads=g.kv_heads,
        head_dim=g.head_dim,
        tie_word_embeddings=g.tied,
        dtype="bfloat16",
    )


_KINDS = {"Qwen": "Qwen", "lama": "Llama", "istral": "Mistral"}


def write_model(folder: Path, name: str, layers: int | None = None) -> None:
    """Shards of at most 2 GB with random weights: one tensor is held at a time, and no model."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    if (folder / "model.safetensors.index.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(name, layers)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in AutoModelForCausalLM.from_config(config).state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight")
    block = (0.02 * torch.randn(2**20 - 3, generator=torch.Generator().manual_seed(0))).bfloat16()
    shards: list[dict[str, torch.Tensor]] = [{}]
    places, total, held = {}, 0, 0

    def flush() -> None:
        save_file(shards[-1], folder / f"model-{len(shards):05d}.safetensors", metadata={"format": "pt"})
        shards[-1] = dict.fromkeys(shards[-1])  # type: ignore[arg-type]

    for key, shape in shapes.items():
        count = shape.numel()
        if key.endswith("norm.weight"):
            tensor = torch.ones(shape, dtype=torch.bfloat16)
        elif key.endswith("bias"):
            tensor = torch.zeros(shape, dtype=torch.bfloat16)
        else:
            tensor = block.repeat(-(-count // len(block)))[:count].reshape(shape).clone()
        if held + 2 * count > 2e9 and shards[-1]:
            flush()
            shards.append({})
            held = 0
        shards[-1][key] = tensor
        places[key] = f"model-{len(shards):05d}.safetensors"
        held, total = held + 2 * count, total + 2 * count
    flush()
    config.architectures = [type(AutoModelForCausalLM.from_config(_small(config))).__name__]
    config.save_pretrained(folder)
    _tokenizer_of(config.vocab_size).save_pretrained(folder)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _tokenizer_of(vocabulary: int) -> Any:
    """SmolLM2's tokenizer, or one of the words of `write_rows` where that has more tokens than the model."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    from distalign.training.demo.model import demo_model

    known = AutoTokenizer.from_pretrained(demo_model())
    if len(known) <= vocabulary:
        return known
    words = ("<unk>", "<s>", "</s>", *WORDS)
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def written(folder: Path, name: str, layers: int | None = None) -> tuple[float, float, float]:
    """`write_model` in a process of its own: what this one has held counts as the peak of its children."""
    call = f"write_model(Path({str(folder)!r}), {name!r}, {layers})"
    return measured(["-c", f"from benchmarks.seven_b import Path, write_model; {call}"])


def _small(config: Any) -> Any:
    return type(config)(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip


def write_rows(path: Path, count: int = 6) -> None:
    """Pairs of prompts of about 24 tokens and responses of about 20."""
    rng = np.random.default_rng(0)

    def text(length: int) -> str:
        return " ".join(rng.choice(WORDS, length))

    rows = [{"prompt": text(24) + " ", "chosen": text(20), "rejected": text(20)} for _ in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def planned(recipe: str, model: Path, data: Path) -> float:
    """GB that `plan` says for the longest of these rows.

    It matters how long they are: on a CPU the tiles of the head are wider the fewer the tokens.
    """
    from transformers import AutoTokenizer

    from distalign.training.memory.geometry import geometry_of
    from distalign.training.memory.plan import memory
    from distalign.training.recipe_file import read

    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    prompt = max(len(tokenizer.encode(row["prompt"])) for row in rows)
    length = 1 + max(
        len(tokenizer.encode(row["prompt"] + row[s])) for row in rows for s in ("chosen", "rejected")
    )
    asked = read(recipe, {"max_length": length, "max_prompt_length": None, "per_device_train_batch_size": 1})
    need = memory(asked, geometry_of(str(model)), prompt_share=prompt / length, cuda=False)
    return need.total / 1e9


def trained(recipe: str, model: Path, data: Path, out: Path, more: list[str]) -> dict[str, Any]:
    """Two updates of a recipe: seconds, peak and the estimate of `plan`, both without what a start holds."""
    words = [*SHORT, "--model", str(model), "--train-data", str(data), "--output-dir", str(out), *more]
    _, start, _ = measured(["-c", START])
    cpu, peak, clock = measured(["-m", "distalign", "train", recipe, *words], out.with_suffix(".log"))
    losses = pd.read_csv(out / "metrics.csv")["loss"].dropna().tolist()
    return {
        "cpu_s": cpu,
        "clock_s": clock,
        "peak_gb": peak - start,
        "plan_gb": planned(recipe, model, data),
        "losses": losses,
    }


def seven(out: Path) -> pd.DataFrame:
    """The whole model, three objectives, evaluation, and plain peft."""
    model, data = out / "qwen25_7b", out / "rows.jsonl"
    cpu, peak, clock = written(model, QWEN)
    rows: list[dict[str, Any]] = [{"stage": "write shards", "cpu_s": cpu, "clock_s": clock, "peak_gb": peak}]
    write_rows(data)
    for objective, more in OBJECTIVES.items():
        rows.append({"stage": f"train {objective}"} | trained(SEVEN, model, data, out / objective, more))
        print(rows[-1], flush=True)
    adapter = out / "rdro" / "model"
    words = ["-m", "distalign", "evaluate", str(adapter), "--data", str(data), "--resamples", "20"]
    for stage, said in (
        ("evaluate", [*words, "--out", str(out / "evaluated")]),
        ("plain peft", ["-c", PLAIN, str(adapter)]),
    ):
        cpu, peak, clock = measured(said, out / f"{stage.replace(' ', '_')}.log")
        rows.append({"stage": stage, "cpu_s": cpu, "clock_s": clock, "peak_gb": peak})
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def recipes(out: Path, limit: float, only: list[str]) -> pd.DataFrame:
    """Two updates of every recipe of a 7-8B model, or of some, on two layers."""
    from distalign.training.recipe_file import read, shipped

    data, rows = out / "rows.jsonl", []
    write_rows(data)
    for name in only or [name for name in shipped() if "_7b_" in name or "_8b_" in name]:
        own = read(name, {})
        model = out / own.model.replace("/", "_")
        written(model, own.model, 2)
        needed = planned(name, model, data)
        row: dict[str, Any] = {"stage": name, "plan_gb": needed}
        if needed <= limit:
            row |= trained(name, model, data, out / name, [])
        rows.append(row)
        print(row, flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["seven", "recipes"], default="seven")
    parser.add_argument("--out", type=Path, default=Path("out/seven_b"))
    parser.add_argument("--memory", type=float, default=20.0, help="GB that a recipe may need")
    parser.add_argument("--only", nargs="*", default=[], help="recipes, in place of all")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found = seven(given.out) if given.what == "seven" else recipes(given.out, given.memory, given.only)
    found.to_csv(given.out / f"{given.what}.csv", index=False)
    sys.exit(0)
