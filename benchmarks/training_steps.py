"""The steps that `benchmarks.training` measures, and how far apart their numbers are."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear_cross_entropy

from distalign import objectives
from distalign.objectives import dpo
from distalign.preferences import PreferenceLogProbs
from distalign.training.data.rows import TokenRow
from distalign.training.model.head import log_probs, plain_log_probs
from distalign.training.model.scorer import Scorer
from distalign.two_pass import two_pass_backward

Step = Callable[[], Any]
BETA = 0.1


def llama(hidden: int, layers: int, vocabulary: int):
    """A Llama model with random weights, the same ones in every process."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=hidden,
            intermediate_size=11 * hidden // 4,
            num_hidden_layers=layers,
            num_attention_heads=8,
            num_key_value_heads=8,
            vocab_size=vocabulary,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def pairs(n: int, prompt: int, response: int, vocabulary: int):
    """Pairs of random tokens, the same ones in every process."""
    generator = torch.Generator().manual_seed(1)

    def text(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, vocabulary, (length,), generator=generator).tolist())

    return [TokenRow(text(prompt), (text(response), text(response))) for _ in range(n)]


def scored(scorer, rows, reference):
    """The seam: log-probabilities of pairs, responses in order chosen, rejected."""
    scores = scorer(scorer.layout(rows))
    return PreferenceLogProbs(scores[0::2], scores[1::2], reference[0::2], reference[1::2])


TINY = (256, 4, 32_000)
ROWS = (4, 128, 384, 32_000)
REFERENCE = -4000.0  # any constant: the cost does not depend on it


def ours(reference: str, share: bool, *, tiny=TINY, data=ROWS, adapter: bool = False) -> Step:
    """A step of DPO by the scorer; the reference is cached, or scored in each step by a second copy."""
    model, rows = llama(*tiny), pairs(*data)
    scorer = Scorer(model, share_prompt=share)
    other = Scorer(llama(*tiny), share_prompt=share) if reference == "in loop" else None
    cached = torch.full((2 * len(rows),), REFERENCE)

    def step() -> None:
        model.zero_grad()
        known = cached
        if other is not None:
            with torch.no_grad():
                known = other(other.layout(rows))
        dpo(scored(scorer, rows, known), beta=BETA).backward()

    return step


def trl_trainer_of(model, reference, rows, vocabulary: int, *, cpu: bool = True, checkpoint: bool = False):
    """TRL's DPOTrainer around a model, and the batch of these pairs as its collator makes it.

    The batch holds the chosen responses first, then the rejected ones.
    """
    warnings.simplefilter("ignore")
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(vocabulary)}, unk_token="w3"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="w0", bos_token="w1", eos_token="w2"
    )
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder,
            gradient_checkpointing=checkpoint,
            bf16=False,
            use_cpu=cpu,
            beta=BETA,
            report_to="none",
            max_length=None,
            disable_tqdm=True,
        )
        toy = Dataset.from_list([{"prompt": "w5 w6", "chosen": " w7", "rejected": " w8"}] * 2)
        trainer = DPOTrainer(
            model=model, ref_model=reference, args=config, train_dataset=toy, processing_class=tokenizer
        )
    texts = [row.prompt + row.responses[k] for k in (0, 1) for row in rows]
    mask = [[0] * len(row.prompt) + [1] * len(row.responses[k]) for k in (0, 1) for row in rows]
    trainer.model.train()
    ids = torch.tensor(texts)
    return trainer, {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": torch.tensor(mask),
    }


def tune_trl() -> None:
    """Give TRL's head what it has on a GPU: only completions are scored, in tiles that stay in the cache."""
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    chunked_logprob.TOKEN_CHUNK_SIZE = 512
    utils._CHUNKED_LOGPROB_CHUNK_SIZE = 4096
    utils._use_triton = lambda device: True  # asked there for one thing: whether to drop the other positions


def trl_trainer(reference: str, data=ROWS, tiny=TINY):
    """The trainer around the random weights and tokens that `ours` uses."""
    trainer, batch = trl_trainer_of(llama(*tiny), llama(*tiny), pairs(*data), tiny[2])
    if reference == "cached":
        trainer.precompute_ref_logps, trainer.ref_model = True, None
        batch |= {f"ref_{side}_logps": torch.full((data[0],), REFERENCE) for side in ("chosen", "rejected")}
    return trainer, batch


def trl(reference: str, *, tuned: bool = False, data=ROWS, tiny=TINY) -> Step:
    """A step of DPO by TRL's trainer."""
    if tuned:
        tune_trl()
    trainer, batch = trl_trainer(reference, data, tiny)

    def step() -> None:
        trainer.model.zero_grad()
        trainer.compute_loss(trainer.model, batch).backward()

    return step


HEAD = (4096, 1024, 128_256)


def head_alone(kind: str, frozen: bool = False) -> Step:
    """Forward and backward of the language-model head alone: by tiles, with full logits, or torch's own."""
    tokens, hidden, vocabulary = HEAD
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(tokens, hidden, generator=generator, requires_grad=True)
    weight = (torch.randn(vocabulary, hidden, generator=generator) / hidden**0.5).requires_grad_(not frozen)
    targets = torch.randint(0, vocabulary, (tokens,), generator=generator)

    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=128)
    road: Callable[..., torch.Tensor] = {
        "tiled": log_probs,
        "naive": plain_log_probs,
        "torch": lambda *given: -linear_cross_entropy(*given, reduction="sum", options=options),
    }[kind]

    def step() -> tuple[torch.Tensor, ...]:
        states.grad = weight.grad = None
        value = road(states, weight, targets).sum()
        value.backward()
        return value.detach(), *(x.grad for x in (states, weight) if x.grad is not None)

    return step


SMOLLM2 = (576, 30, 49_152)
SMOLLM2_ROWS = (1, 64, 64, 49_152)
DEEP = (512, 8, 8_000)
HALF = (4, 256, 256, 8_000)
AOT = (256, 4, 32_000)
AOT_ROWS = (8, 64, 64, 32_000)


def aot(kind: str) -> Step:
    """A step of AOT over 8 pairs."""
    return aot_parts(kind)[0]


def aot_parts(kind: str, name: str = "aot_unpaired"):
    """AOT over 8 pairs in micro-batches of one: exact by two passes, averaged, or all eight at once."""
    model, rows = llama(*AOT), pairs(*AOT_ROWS)
    scorer = Scorer(model)
    objective = partial(getattr(objectives, name), beta=BETA)
    with torch.no_grad():
        drawn = 10 * torch.randn(16, generator=torch.Generator().manual_seed(3))
        reference = scorer(scorer.layout(rows)) + drawn

    def score(i: list[int]):
        return scored(scorer, [rows[j] for j in i], reference.view(8, 2)[i].flatten())

    def step() -> None:
        model.zero_grad()
        if kind == "exact":
            two_pass_backward(objective, score, [[i] for i in range(8)])
            return
        for part in [[i] for i in range(8)] if kind == "averaged" else [list(range(8))]:
            (objective(score(part)) * len(part) / 8).backward()

    return step, model


VARIANTS: dict[str, Callable[[], Step]] = {
    "trl cached": lambda: trl("cached"),
    "trl tuned": lambda: trl("cached", tuned=True),
    "trl tuned smollm2": lambda: trl("cached", tuned=True, data=SMOLLM2_ROWS, tiny=SMOLLM2),
    "trl tuned half": lambda: trl("cached", tuned=True, data=HALF, tiny=DEEP),
    "ours cached": lambda: ours("cached", False),
    "ours smollm2": lambda: ours("cached", False, tiny=SMOLLM2, data=SMOLLM2_ROWS),
    "head naive": lambda: head_alone("naive"),
    "head tiled": lambda: head_alone("tiled"),
    "head torch": lambda: head_alone("torch"),
    "half apart": lambda: ours("cached", False, tiny=DEEP, data=HALF),
    "half shared": lambda: ours("cached", True, tiny=DEEP, data=HALF),
    "aot averaged": lambda: aot("averaged"),
    "aot exact": lambda: aot("exact"),
}


# ---------------------------------------------------------------- agreement, in one process each


def apart(a, b) -> float:
    """Relative difference of two vectors."""
    return float((a - b).norm() / b.norm())


def gradient(model):
    """All gradients of a model in one vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def agree_trl() -> dict[str, float]:
    """How far DPO by TRL and by us are apart.

    Float32 sums of 384 log-probabilities, 4,000 nats here, are rounded by 2e-4 nats, which both losses
    feel. So the comparison is made once more with responses of 48 tokens, and with the distance of both
    gradients from the same gradient in float64.
    """
    log_probs, loss, our_gradient, their_gradient = dpo_by_both((4, 128, 48, TINY[2]))
    short = {
        "DPO step, log-probabilities": log_probs,
        "DPO step, loss": loss,
        "DPO step, gradient": apart(our_gradient, their_gradient),
    }
    log_probs, loss, our_gradient, their_gradient = dpo_by_both(ROWS)
    truth = dpo_by_us(ROWS, torch.float64)[2]
    return short | {
        "DPO step, 4 x 512, log-probabilities": log_probs,
        "DPO step, 4 x 512, loss": loss,
        "DPO step, 4 x 512, gradient": apart(our_gradient, their_gradient),
        "DPO step, 4 x 512, our gradient beside float64's and not": apart(our_gradient.double(), truth),
        "DPO step, 4 x 512, its own gradient beside float64's and not": apart(their_gradient.double(), truth),
    }


def agree_tuned() -> dict[str, float]:
    """The same of TRL with the tiles that fit: it is made faster, and not another."""
    tune_trl()
    log_probs, loss, our_gradient, their_gradient = dpo_by_both((4, 128, 48, TINY[2]))
    return {
        "DPO step, log-probabilities": log_probs,
        "DPO step, loss": loss,
        "DPO step, gradient": apart(our_gradient, their_gradient),
    }


def agree_head() -> dict[str, float]:
    """How far the gradients of the head alone are apart, by our tiles and by torch."""
    found = [head_alone(kind)() for kind in ("tiled", "torch")]
    names = ("sum of log-probabilities", "gradient by the states", "gradient by the weights")
    return {f"head alone, {name}": apart(a, b) for name, a, b in zip(names, *found, strict=True)}


def perturbed(model):
    """A reference that differs, so that the loss is not log 2."""
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.9)
    return model


def dpo_by_us(data, dtype):
    """Log-probabilities, loss and gradient of DPO by the scorer."""
    rows, model = pairs(*data), llama(*TINY).to(dtype)
    scorer, other = Scorer(model), Scorer(perturbed(llama(*TINY)).to(dtype))
    with torch.no_grad():
        reference = other(other.layout(rows))
    batch = scored(scorer, rows, reference)
    loss = dpo(batch, beta=BETA)
    loss.backward()
    return torch.cat([batch.chosen, batch.rejected]).detach(), loss.detach(), gradient(model)


def dpo_by_both(data):
    """Relative differences of log-probabilities and loss, and both gradients."""
    trainer, batch = trl_trainer("in loop", data)
    perturbed(trainer.ref_model)
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    with torch.no_grad():
        theirs = trainer.model(input_ids=batch["input_ids"], labels=labels, fused_lm_head=True).log_probs.sum(
            1
        )
    log_probs, ours_loss, slopes = dpo_by_us(data, torch.float32)
    return (
        apart(log_probs, theirs),
        abs(float(ours_loss / loss.detach()) - 1),
        slopes,
        gradient(trainer.model),
    )


def agree_shared() -> dict[str, float]:
    """How far the gradients with a shared and with a repeated prompt are apart."""
    gradients = []
    for share in (True, False):
        model = llama(*DEEP)
        scorer = Scorer(model, share_prompt=share)
        scores = scorer(scorer.layout(pairs(*HALF)))
        (scores * torch.tensor([1.0, -1.0] * HALF[0])).sum().backward()
        gradients.append(gradient(model))
    return {"prompts shared, gradient": apart(*gradients)}


def agree_aot() -> dict[str, float]:
    """How far AOT's gradients by two passes and by averaging are from those of one batch."""
    differences = {}
    for name in ("aot_paired", "aot_unpaired"):
        gradients = {}
        for kind in ("exact", "averaged", "at once"):
            step, model = aot_parts(kind, name)
            step()
            gradients[kind] = gradient(model)
        differences |= {
            f"{name} {kind}, gradient": apart(gradients[kind], gradients["at once"])
            for kind in ("exact", "averaged")
        }
    return differences


AGREEMENTS = {
    "agree trl": agree_trl,
    "agree tuned": agree_tuned,
    "agree head": agree_head,
    "agree shared": agree_shared,
    "agree aot": agree_aot,
}
