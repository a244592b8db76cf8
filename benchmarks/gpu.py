"""Training steps at 7-8B on one CUDA machine: time, memory, and what the planner said.

    python -m benchmarks.gpu --out results        # writes results/gpu.csv and results/gpu.json as it goes
    python -m benchmarks.gpu --tiny               # the same code on a CPU in seconds

One run takes under ten minutes. Weights are random and made on the device from configs written out here:
nothing is downloaded, and speed and memory do not depend on the values. It needs torch and transformers;
peft and trl are used where they are installed. Sections run in order of importance while the minutes last.
A section that fails leaves its error as a row, and the others run; both files are written after every
section.

The columns: `tokens_per_s` counts prompt and response tokens as if no prompt were shared, so that the ways
to share a prompt compare. `mfu` counts the operations of forward and backward passes on these same tokens,
without recomputation and first passes, against `--peak`. `peak_gb` is the memory that torch allocated (on a
CPU: resident memory of the whole process so far).
"""

from __future__ import annotations

import argparse
import csv
import gc
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from distalign import objectives
from distalign import step as steps
from distalign.preferences import PreferenceLogProbs
from distalign.training import wasserstein
from distalign.training.data.rows import TokenRow
from distalign.training.model.head import log_probs, plain_log_probs
from distalign.training.model.scorer import Scorer
from distalign.training.model.shared_prompt import visible
from distalign.training.optimiser import MasterAdamW

LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
}
LLAMA_7B = LLAMA_8B | {"vocab_size": 32000}  # Mistral-7B's sizes
TINY = LLAMA_8B | {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}
OBJECTIVES: dict[str, partial[Tensor]] = {
    "dpo": partial(objectives.dpo, beta=0.1),
    "aot_unpaired": partial(objectives.aot_unpaired, beta=0.1),
    "wdpo": partial(objectives.wdpo, beta=0.1, radius=0.01, through="policy"),
    "aot_paired": partial(objectives.aot_paired, beta=0.1),
    "kldpo": partial(objectives.kldpo, beta=0.1, temperature=1.0),
    "f_dpo": partial(objectives.f_dpo, beta=0.1, divergence="jensen_shannon"),
    "ddro": partial(objectives.ddro, prior=0.5),
    "rdro": partial(objectives.rdro, alpha=0.5),
}


@dataclass(frozen=True)
class Setting:
    """What is measured, and where."""

    device: str
    dtype: torch.dtype
    config: dict[str, Any]
    smaller: dict[str, Any]
    prompt: int
    response: int
    pairs: int
    repeats: int
    peak: float
    out: Path


class LowRank(nn.Module):
    """W x + B A x with B = 0, where peft is not installed."""

    def __init__(self, inner: nn.Linear, rank: int = 16) -> None:
        super().__init__()
        self.inner = inner
        self.a = nn.Parameter(
            torch.randn(rank, inner.in_features, device=inner.weight.device) / inner.in_features**0.5
        )
        self.b = nn.Parameter(torch.zeros(inner.out_features, rank, device=inner.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + 2 * (x.to(self.a.dtype) @ self.a.T @ self.b.T).to(x.dtype)


def language_model(
    s: Setting, config: dict[str, Any], attention: str = "sdpa", checkpoint: bool = True
) -> Any:
    """A Llama model of this config with random weights, ready to train."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(s.dtype)
    try:
        with torch.device(s.device):
            model = LlamaForCausalLM._from_config(LlamaConfig(**config), attn_implementation=attention)
    finally:
        torch.set_default_dtype(before)
    if checkpoint:
        enable = getattr(model, "activation_checkpointing_enable", None)
        enable() if enable else model.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    return model.train()


def with_adapters(model: Any) -> tuple[Any, str]:
    """The model with rank-16 adapters on all linear layers but the head.

    The second value says whose adapters they are.
    """
    if importlib.util.find_spec("peft"):
        from distalign.training.model.adapters import add_lora

        return add_lora(model, 16, 32.0), "peft"
    model.requires_grad_(False)
    for module in list(model.base_model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, LowRank(child))
    return model, "own adapters"


def rows_of(s: Setting, n: int) -> list[TokenRow]:
    """n pairs of random tokens with the lengths of the setting."""
    generator = torch.Generator().manual_seed(1)

    def text(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, s.config["vocab_size"] // 4, (length,), generator=generator).tolist())

    return [TokenRow(text(s.prompt), (text(s.response), text(s.response))) for _ in range(n)]


# ---------------------------------------------------------------- measuring


def clear(s: Setting) -> None:
    gc.collect()
    if s.device == "cuda":
        torch.cuda.empty_cache()


def start_peak(s: Setting) -> None:
    clear(s)
    if s.device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_gb(s: Setting) -> float:
    if s.device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def timed(s: Setting, run: Callable[[], object]) -> tuple[float, float]:
    """Seconds (median of repeats after one to warm up) and peak gigabytes."""
    start_peak(s)
    times = []
    for _ in range(1 + s.repeats):
        start = time.perf_counter()
        run()
        if s.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]), peak_gb(s)


def speed(s: Setting, config: dict[str, Any], pairs: int, seconds: float, adapters: bool) -> dict[str, float]:
    """Tokens a second and model FLOP utilisation, as the head of this file defines them."""
    h, layers, width = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
    key = h // width * config["num_key_value_heads"]
    linear = layers * (2 * h * h + 2 * h * key + 3 * h * config["intermediate_size"])
    length = s.prompt + s.response
    tokens, scored = 2 * pairs * length, 2 * pairs * s.response
    forward = 2 * linear * tokens + 2 * layers * h * length * tokens + 2 * h * config["vocab_size"] * scored
    return {"tokens_per_s": tokens / seconds, "mfu": (2 if adapters else 3) * forward / seconds / s.peak}


# ---------------------------------------------------------------- sections: each yields rows


def update(
    s: Setting, scorer: Scorer, optimiser: MasterAdamW, objective: Any, rows: list[TokenRow]
) -> Callable[[], None]:
    """One update over all rows, with a pair in each micro-batch and the reference known."""
    layouts = [scorer.layout([row]) for row in rows]
    references = [PreferenceLogProbs(*torch.full((4, 1), -10.0 * s.response, device=s.device)) for _ in rows]

    def halves(scores: Tensor) -> tuple[Tensor, Tensor]:
        return scores[0::2], scores[1::2]

    reader = wasserstein.Reader(
        embed=scorer.embed, score=lambda one, rows: halves(scorer(one, rows)), owner=lambda one: one.rows
    )

    def run() -> None:
        if objective.func is objectives.wdpo:
            wasserstein.backward(objective, reader, layouts, references)
        else:
            steps.backward(objective, lambda one: halves(scorer(one)), layouts, references)
        optimiser.step(1e-6)

    return run


def planned(s: Setting, name: str, adapters: bool, share: bool = True) -> float:
    """The peak in gigabytes that the planner predicts."""
    from distalign.training.memory.geometry import of_config
    from distalign.training.memory.plan import memory
    from distalign.training.recipe import Recipe

    config = s.config if name == "8B" else s.smaller
    length = s.prompt + s.response
    recipe = Recipe(
        model="random",
        train_data="random",
        objective="dpo",
        objective_options={"beta": 0.1},
        max_length=length,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=s.pairs,
        lora_rank=16 if adapters else 0,
        gradient_checkpointing=True,
        share_prompt=share,
    )
    return (
        memory(
            recipe,
            of_config(config | {"model_type": "llama"}),
            prompt_share=s.prompt / length,
            cuda=s.device == "cuda",
        ).total
        / 1e9
    )


def attempt(found: Callable[[], Any]) -> Any:
    """A number, or why there is none."""
    try:
        return found()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]


def lora(s: Setting) -> Iterator[dict[str, Any]]:
    """Every objective's update under LoRA."""
    model, whose = with_adapters(language_model(s, s.config))
    scorer = Scorer(model)
    optimiser = MasterAdamW(scorer.named_parameters())
    plan = attempt(lambda: planned(s, "8B", True))
    for name, objective in OBJECTIVES.items():
        seconds, peak = timed(s, update(s, scorer, optimiser, objective, rows_of(s, s.pairs)))
        yield {
            "what": f"LoRA update ({whose})",
            "objective": name,
            "seconds": seconds,
            "peak_gb": peak,
            "planned_gb": plan,
            **speed(s, s.config, s.pairs, seconds, True),
        }


def full(s: Setting) -> Iterator[dict[str, Any]]:
    """Full fine-tuning with float32 masters, gradients and moments: 18 bytes a parameter.

    Where the 8B model does not fit, the 7B one is tried.
    """
    for name, config in (("8B", s.config), ("7B", s.smaller)):
        try:
            yield from _full(s, name, config)
            return
        except torch.OutOfMemoryError as error:
            yield {
                "what": f"full update, {name}",
                "error": str(error)[:200],
                "planned_gb": attempt(lambda n=name: planned(s, n, False)),
            }
        clear(s)


def _full(s: Setting, name: str, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    scorer = Scorer(language_model(s, config))
    optimiser = MasterAdamW(scorer.named_parameters())
    for objective in ("dpo", "aot_unpaired", "wdpo"):
        seconds, peak = timed(s, update(s, scorer, optimiser, OBJECTIVES[objective], rows_of(s, s.pairs)))
        yield {
            "what": f"full update, {name}",
            "objective": objective,
            "seconds": seconds,
            "peak_gb": peak,
            "planned_gb": attempt(lambda: planned(s, name, False)),
            **speed(s, config, s.pairs, seconds, False),
        }


def sharing(s: Setting) -> Iterator[dict[str, Any]]:
    """One micro-batch forward and backward under LoRA, by the ways to treat the prompt.

    It is computed twice, or once by copied texts, by a dense mask or by FlexAttention.
    """
    apart = None
    for way in ("apart", "texts", "dense mask", "flex_attention"):
        clear(s)
        try:
            attention = "flex_attention" if way == "flex_attention" else "sdpa"
            scorer = Scorer(
                with_adapters(language_model(s, s.config, attention))[0], share_prompt=way != "apart"
            )
            laid = scorer.layout(rows_of(s, 1))
            dense = patch("distalign.training.model.scorer.mask", lambda _, laid: visible(laid.segments))
            with dense if way == "dense mask" else nullcontext():
                seconds, peak = timed(s, lambda scorer=scorer, laid=laid: scorer(laid).sum().backward())
                scores = scorer(laid).detach()
            apart = scores if apart is None else apart
            yield {
                "what": f"prompt shared: {way}",
                "seconds": seconds,
                "peak_gb": peak,
                "difference": float((scores - apart).abs().max()),
                **speed(s, s.config, 1, seconds, True),
            }
        except Exception as error:
            yield {"what": f"prompt shared: {way}", "error": f"{type(error).__name__}: {error}"[:300]}
        scorer = laid = dense = None


def head(s: Setting) -> Iterator[dict[str, Any]]:
    """The head alone: tiles against full logits, float32 and half-precision logits."""
    hidden, vocabulary, n = s.config["hidden_size"], s.config["vocab_size"], 4 * s.response
    states = torch.randn(n, hidden, device=s.device, dtype=s.dtype, requires_grad=True)
    targets = torch.randint(0, vocabulary, (n,), device=s.device)
    for trained in (True, False):
        weight = (
            torch.randn(vocabulary, hidden, device=s.device, dtype=s.dtype) / hidden**0.5
        ).requires_grad_(trained)
        ways = {
            "tiles, float32 logits": partial(log_probs, fp32_logits=True),
            "tiles, rounded logits": partial(log_probs, fp32_logits=False),
            "full logits": plain_log_probs,
        }
        for name, way in ways.items():
            states.grad = weight.grad = None
            seconds, peak = timed(
                s, lambda way=way, weight=weight: way(states, weight, targets).sum().backward()
            )
            kind = "trained" if trained else "frozen"
            yield {"what": f"head of {n} tokens, {kind}: {name}", "seconds": seconds, "peak_gb": peak}


def trl(s: Setting) -> Iterator[dict[str, Any]]:
    """TRL's own loss and backward under LoRA on the same pairs.

    Its reference is scored with the adapters off, as it does by default.
    """
    if not (importlib.util.find_spec("trl") and importlib.util.find_spec("peft")):
        yield {"what": "TRL", "error": "trl or peft is not installed"}
        return
    from benchmarks.training_steps import trl_trainer_of

    rows = rows_of(s, 1)
    model, _ = with_adapters(language_model(s, s.config, checkpoint=False))
    trainer, batch = trl_trainer_of(
        model, None, rows, s.config["vocab_size"], cpu=s.device == "cpu", checkpoint=True
    )
    batch = {name: x.to(s.device) for name, x in batch.items()}
    seconds, peak = timed(s, lambda: trainer.compute_loss(trainer.model, batch).backward())
    yield {
        "what": "TRL micro-step, LoRA",
        "objective": "dpo",
        "seconds": seconds,
        "peak_gb": peak,
        **speed(s, s.config, 1, seconds, True),
    }


SECTIONS = {"lora": lora, "sharing": sharing, "full": full, "head": head, "trl": trl}


# ---------------------------------------------------------------- the run


def write(rows: list[dict[str, Any]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(out / "gpu.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)
    (out / "gpu.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


def shown(row: dict[str, Any]) -> str:
    values = {
        k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items() if k != "what" and v is not None
    }
    return f"{row['what']:44s} " + "  ".join(f"{k} {v}" for k, v in values.items())


def run(s: Setting, names: list[str], minutes: float) -> list[dict[str, Any]]:
    """Sections in turn while the time lasts; whatever one raises is a row."""
    start, rows = time.monotonic(), []
    for name in names:
        section_rows: list[dict[str, Any]] = []
        try:
            for row in SECTIONS[name](s):
                section_rows.append(row)
                print(shown(row), flush=True)
                if time.monotonic() - start > 60 * minutes:
                    raise TimeoutError(f"the {minutes:g} minutes are over")
        except Exception as error:
            section_rows.append(
                {"what": f"section {name}", "error": f"{type(error).__name__}: {error}"[:300]}
            )
            print(shown(section_rows[-1]), flush=True)
        rows += [
            {"section": name, "minute": round((time.monotonic() - start) / 60, 2), **row}
            for row in section_rows
        ]
        write(rows, s.out)
        clear(s)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--tiny", action="store_true", help="a small model on the CPU")
    parser.add_argument("--minutes", type=float, default=9.0, help="no new row is begun after these")
    parser.add_argument(
        "--peak", type=float, default=989e12, help="dense bf16 operations a second (989e12: H100, H200)"
    )
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS), choices=list(SECTIONS))
    arguments = parser.parse_args()
    if not arguments.tiny and not torch.cuda.is_available():
        sys.exit("no CUDA device: say --tiny for a small model on the CPU")
    s = Setting("cuda", torch.bfloat16, LLAMA_8B, LLAMA_7B, 1024, 1024, 8, 2, arguments.peak, arguments.out)
    if arguments.tiny:
        s = Setting("cpu", torch.bfloat16, TINY, TINY, 32, 32, 8, 1, arguments.peak, arguments.out)
    where = torch.cuda.get_device_name() if s.device == "cuda" else "CPU"
    print(
        f"{where}, torch {torch.__version__}, {s.pairs} pairs of {s.prompt} + {s.response} tokens", flush=True
    )
    run(s, arguments.sections, arguments.minutes)


if __name__ == "__main__":
    main()
