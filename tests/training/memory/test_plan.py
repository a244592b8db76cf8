"""The planner against real modules, tensor by tensor, and against measured peaks."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from distalign.checks import InputError, names_in
from distalign.training.data.packing import layout
from distalign.training.data.rows import TokenRow
from distalign.training.memory.adapter import shape_of
from distalign.training.memory.changes import _candidates, bytes_of, possible_changes
from distalign.training.memory.geometry import BUILT_IN, Adapter, Geometry, folded_in, geometry_of, of_config
from distalign.training.memory.plan import Load, _block, _head, load_of, memory, work
from distalign.training.memory.planning import plan
from distalign.training.model.adapters import add_lora, new_adapter
from distalign.training.model.scorer import Scorer
from distalign.training.recipe import Recipe
from distalign.training.recipe_file import read, shipped
from tests.training.data_for_tests import recipe, write_pairs
from tests.training.test_two_processes import launch
from tests.training.tiny import save_tiny

PUBLISHED = {  # parameters of the published weights
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "mistralai/Mistral-7B-Instruct-v0.2": 7_241_732_096,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
}
RECIPE = Recipe(
    model="m", train_data="d", objective="dpo", objective_options={"beta": 0.1}, per_device_train_batch_size=4
)
LLAMA = BUILT_IN["meta-llama/Llama-3.1-8B-Instruct"]


def config_of(g, kind=LlamaConfig):
    sizes = {
        "vocab_size": g.vocabulary,
        "hidden_size": g.hidden,
        "intermediate_size": g.intermediate,
        "num_hidden_layers": g.layers,
        "num_attention_heads": g.heads,
        "num_key_value_heads": g.kv_heads,
        "tie_word_embeddings": g.tied,
    }
    return kind(**sizes, max_position_embeddings=4096)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_real_modules(name):
    g = BUILT_IN[name]
    kinds = {"mistralai": (MistralConfig, MistralForCausalLM), "Qwen": (Qwen2Config, Qwen2ForCausalLM)}
    config, made = kinds.get(name.split("/")[0], (LlamaConfig, LlamaForCausalLM))
    with torch.device("meta"):
        model = made(config_of(g, config))
        counted = sum(p.numel() for p in model.parameters())
        assert g.parameters == counted == PUBLISHED[name]
        adapted = add_lora(model, 16, 32.0)
    assert g.adapters(16) == sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
    assert of_config(model.config.to_dict()) == g
    assert replace(g, tied=not g.tied).parameters != counted


def saved(model, share, prompt=24, response=40):
    """Bytes of distinct tensors that the forward pass keeps, parameters left out, and the tensor rows."""
    scorer = Scorer(model, share_prompt=share)
    row = TokenRow(
        tuple(range(1, prompt + 1)), (tuple(range(5, 5 + response)), tuple(range(9, 9 + response)))
    )
    laid = layout([row], share_prompt=share)
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        place = tensor.untyped_storage()
        if place.data_ptr() not in parameters:
            kept[place.data_ptr()] = place.nbytes(), tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = scorer(laid)
    assert out.requires_grad
    return sum(size for size, _ in kept.values()), laid.ids


@pytest.mark.parametrize("rank", [0, 8])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_block_keeps_what_the_formula_says(attention, dtype, share, rank):
    g = Geometry(2, 64, 160, 300, 8, 2, 8)
    found = []
    for layers in (2, 3):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config_of(replace(g, layers=layers))).to(dtype)
        model.set_attn_implementation(attention)
        total, ids = saved(add_lora(model, rank, 8.0) if rank else model, share)
        found.append(total)
    recipe = replace(RECIPE, lora_rank=rank, share_prompt=share, attn_implementation=attention)
    formula = _block(g, 2 if dtype == torch.bfloat16 else 4, recipe, Load(ids.numel(), 80, 128, ids.shape[1]))
    assert found[1] - found[0] == pytest.approx(
        formula, rel=0.04
    )  # row statistics and log-sum-exps are left out


def test_states_of_full_and_adapter_training():
    need = partial(memory, model=LLAMA)
    n = LLAMA.parameters
    full, wide = need(RECIPE), need(replace(RECIPE, dtype="float32"))
    assert (full.weights, full.master, full.gradients, full.moments) == (2 * n, 4 * n, 4 * n, 8 * n)
    assert (wide.weights, wide.master, wide.gradients, wide.moments) == (4 * n, 0, 4 * n, 8 * n)
    lora = need(replace(RECIPE, lora_rank=16))
    assert lora.gradients == lora.adapters == 4 * LLAMA.adapters(16)
    assert lora.reference == full.reference == 0
    four = need(replace(RECIPE, lora_rank=16, load_in_4bit=True))
    assert 5.4e9 < four.weights < 6.0e9
    two = need(replace(RECIPE, parallel="fsdp2"), devices=2)
    assert (two.moments, two.master) == (full.moments / 2, full.master / 2)
    outside = 2 * LLAMA.vocabulary * LLAMA.hidden + LLAMA.hidden
    layer = (n - outside) / LLAMA.layers
    assert two.weights == 2 * (outside + 2 * layer)  # what a pass puts together, and no copy of all
    assert two.reduction == pytest.approx((2 + 4 + 4 / 2) * outside + (4 + 4 / 2 - 2 * 2) * layer)
    once = need(replace(RECIPE, parallel="fsdp2", reduce_once=True), devices=2)
    assert (once.gradients, once.reduction) == (4 * n, max(0, 8 * outside + 4 * n / 2 - 4 * n))
    adapters = need(replace(RECIPE, parallel="fsdp2", lora_rank=16), devices=2)
    assert (adapters.weights, adapters.reduction) == (n + 2 * (outside + 2 * layer), 0)
    assert need(RECIPE, devices=2).total == full.total  # ddp shares nothing


@pytest.mark.parametrize(("dtype", "e", "entry"), [("float32", 4, 4), ("bfloat16", 2, 6)])
@pytest.mark.parametrize("rank", [0, 8])
def test_the_head_needs_its_tile_its_states_and_its_gradient(dtype, e, entry, rank):
    g, load = Geometry(2, 64, 160, 300, 8, 2, 8), Load(900, 500, 900, 128)
    recipe = replace(RECIPE, lora_rank=rank, dtype=dtype, chunk_tokens=100)
    states = 500 * 64 * (4 + 3 * e)  # one in float32 and three in the model's dtype
    gradient = 0 if rank else 300 * 64 * e
    assert _head(recipe, g, e, load, True) == states + 100 * 300 * entry + gradient


def test_what_may_be_changed_is_named_in_the_recipe_s_words():
    """Every change as a whole, first those that leave the arithmetic as it is."""
    recipe = replace(RECIPE, dtype="float32", max_length=1024, share_prompt=False)
    one = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "micro_batch_tokens": None}
    half = {"max_length": 512, "max_prompt_length": None, "micro_batch_tokens": None}
    same = [
        {"gradient_checkpointing": True},
        {"share_prompt": "auto"},
        {"chunk_tokens": 128},
        one,
        {"share_prompt": False},
    ]
    others = [half, {"lora_rank": 16}, {"lora_rank": 16, "load_in_4bit": True}, {"dtype": "bfloat16"}]
    expected = [(c, True) for c in same] + [(c, False) for c in others]
    assert _candidates(recipe, 1) == expected
    sharded = [*expected[:6], ({"parallel": "fsdp2"}, True), *expected[6:]]
    assert _candidates(recipe, 2) == sharded
    adapters = [c for c in expected if "lora_rank" not in c[0]]
    adapters.insert(6, ({"load_in_4bit": True}, False))
    assert _candidates(replace(recipe, lora_rank=8), 1) == adapters


def test_dry_facts():
    """14 GB more than one H200 for an 8B model in all weights; adapters fit easily."""
    assert memory(RECIPE, LLAMA).total > 141e9
    assert memory(replace(RECIPE, lora_rank=16, gradient_checkpointing=True), LLAMA).total < 30e9


def test_load_counts_tokens():
    assert load_of(RECIPE, 0.5) == Load(4 * 1536, 4 * 1024, 4 * 2048, 1536)
    assert load_of(replace(RECIPE, share_prompt=False), 0.5) == Load(4 * 2048, 4 * 1024, 4 * 2048, 1024)
    assert load_of(replace(RECIPE, micro_batch_tokens=6000), 0.5).tokens == 3 * 1536


def test_work_in_forward_passes():
    """4 F for a step with checkpointing and a cached reference, 5 F where the objective couples its batch."""
    recipe = replace(RECIPE, gradient_checkpointing=True)
    couple = replace(recipe, objective="aot_paired")
    assert (work(recipe, LLAMA).passes, work(couple, LLAMA).passes) == (4, 5)
    assert work(replace(couple, lora_rank=8), LLAMA).passes == 4
    assert work(couple, LLAMA, prompt_share=0.5).forward / work(couple, LLAMA).forward == pytest.approx(
        0.75, abs=0.03
    )
    dense = (
        2 * (LLAMA.parameters - LLAMA.vocabulary * LLAMA.hidden) * 2 * 4 * 1024
    )  # 2 N T, embeddings are looked up
    assert 1 < work(recipe, LLAMA).forward / dense < 1.1


def test_forward_flops_are_those_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    g = Geometry(2, 64, 160, 300, 8, 2, 8)
    model = LlamaForCausalLM(config_of(g))
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.ones(2, 128, dtype=torch.long))
    recipe = replace(RECIPE, max_length=128, per_device_train_batch_size=1, share_prompt=False)
    attention = 2 * g.layers * g.query * 128 * 256  # eager attention multiplies the masked half, too
    assert counter.get_total_flops() == work(recipe, g).forward + attention


def test_changes_save_what_the_planner_says_after_making_them():
    changes = possible_changes(RECIPE, LLAMA)
    assert [c.same for c in changes] == sorted((c.same for c in changes), reverse=True)
    assert changes[0].values == {"gradient_checkpointing": True}
    for change in changes:
        after = memory(replace(RECIPE, **change.values), LLAMA).total
        assert after == change.total < memory(RECIPE, LLAMA).total
        assert change.saved == memory(RECIPE, LLAMA).total - after
    checkpointed = replace(RECIPE, gradient_checkpointing=True)
    assert not any("gradient_checkpointing" in c.values for c in possible_changes(checkpointed, LLAMA))
    assert any(c.values == {"parallel": "fsdp2"} for c in possible_changes(RECIPE, LLAMA, devices=2))


@pytest.mark.parametrize("name", [name for name in shipped() if not name.startswith("smollm2_")])
def test_shipped_recipes_fit_what_they_name(name):
    recipe = read(name)
    devices = 2 if recipe.parallel == "fsdp2" else 1
    assert memory(recipe, geometry_of(recipe.model), devices=devices).total < 141e9


@pytest.mark.parametrize("text", ["", "80", "GB", "-1GB", "0GB", "1.2.3GB", "80 gigs"])
def test_sizes_that_are_none(text):
    if text == "80":
        assert bytes_of(text) == 80
    else:
        with pytest.raises(InputError, match="--gpu must be a size"):
            bytes_of(text)


def test_geometry_from_a_folder_and_of_a_family_it_does_not_know(tmp_path):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
    )
    config.save_pretrained(tmp_path)
    found = geometry_of(str(tmp_path))
    assert found.parameters == sum(p.numel() for p in Qwen3ForCausalLM(config).parameters())
    assert replace(found, counted=None).parameters != found.parameters
    with pytest.raises(InputError, match="lacks"):
        of_config({"model_type": "gpt2", "num_attention_heads": 2, "hidden_size": 4})


MEASURE = r"""
import ctypes, sys, warnings
warnings.simplefilter("ignore")
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from distalign.training.model.adapters import add_lora
from distalign.training.optimiser import MasterAdamW
from distalign.training.data.rows import TokenRow
from distalign.training.model.scorer import Scorer
torch.set_num_threads(1)
torch.manual_seed(0)
dtype, rank, checkpoint = getattr(torch, sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
config = LlamaConfig(vocab_size=32000, hidden_size=256, intermediate_size=1024, num_hidden_layers=4,
                     num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=False)
model = LlamaForCausalLM(config).to(dtype)
model = add_lora(model, rank, 16.0) if rank else model
if checkpoint:
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
scorer = Scorer(model)
optimiser = MasterAdamW(model.named_parameters())

def laid(prompt, response, pairs):
    draw = lambda n: tuple(torch.randint(5, 32000, (n,)).tolist())
    return scorer.layout([TokenRow(draw(prompt), (draw(response), draw(response))) for _ in range(pairs)])

def status(name):
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])

scorer(laid(4, 4, 1)).sum().backward()
optimiser.forget()
batch = laid(128, 384, 2)
ctypes.CDLL("libc.so.6").malloc_trim(0)
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
for _ in range(2):
    scorer(batch).sum().backward()
print(status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="peaks are read from Linux's /proc"
)
@pytest.mark.parametrize(
    ("dtype", "rank", "checkpoint"),
    [("float32", 0, False), ("float32", 0, True), ("bfloat16", 0, False), ("float32", 8, False)],
)
def test_the_peak_is_within_a_quarter_of_the_measured_one(dtype, rank, checkpoint):
    """Growth of resident memory over two micro-batches; the allocator is told to give freed memory back."""
    command = [sys.executable, "-c", MEASURE, dtype, str(rank), str(checkpoint)]
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "200000",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    measured = int(
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    )
    recipe = replace(
        RECIPE,
        dtype=dtype,
        lora_rank=rank,
        gradient_checkpointing=checkpoint,
        max_length=512,
        per_device_train_batch_size=2,
    )
    need = memory(recipe, Geometry(4, 256, 1024, 32000, 4, 4, 64), prompt_share=0.25, cuda=False)
    estimate = need.gradients + need.activations + max(need.head, need.transient)
    print(
        f"{dtype}, rank {rank}, checkpointing {checkpoint}: measured {measured / 1e6:.0f} MB, estimate / "
        f"measured {estimate / measured:.2f}"
    )
    assert 0.8 < estimate / measured < 1.25


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dora", [False, True])
def test_a_block_with_norms_of_dora_keeps_what_the_formula_says(dora, dtype):
    """What more tokens keep; norms are taken of weights alone, and what that needs is freed at once."""
    g = Geometry(2, 64, 160, 300, 8, 2, 8, adapter=Adapter(0, 0, 8, norms=True, folded=0))
    found, loads = {}, []
    for layers in (2, 3):
        for response in (40, 80):
            torch.manual_seed(0)
            model = LlamaForCausalLM(config_of(replace(g, layers=layers))).to(dtype)
            found[layers, response], ids = saved(
                new_adapter(model, 8, 8.0, dora=dora), True, response=response
            )
            loads.append(Load(ids.numel(), 2 * response, 2 * (24 + response), ids.shape[1]))
    e, recipe = 2 if dtype == torch.bfloat16 else 4, replace(RECIPE, lora_rank=8)
    formula = _block(g, e, recipe, loads[1]) - _block(g, e, recipe, loads[0])
    kept = (found[3, 80] - found[2, 80]) - (found[3, 40] - found[2, 40])
    assert (kept == pytest.approx(formula, rel=0.04)) == dora


def test_what_a_recipe_trains_beside_low_rank_adapters(tmp_path):
    """Counted on real modules, and from the header of an adapter's file."""
    from tests.training.data_for_tests import recipe

    made = recipe(tmp_path, lora_rank=4)
    plain = shape_of(made)
    assert plain.adapter is None
    for changes in ({"use_dora": True}, {"lora_modules_to_save": "norm, embed_tokens"}):
        asked = replace(made, **changes)
        model = new_adapter(
            LlamaForCausalLM.from_pretrained(made.model),
            4,
            32.0,
            dora=asked.use_dora,
            modules_to_save=names_in(asked.lora_modules_to_save),
        )
        trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
        new = shape_of(asked)
        assert new.adapter.parameters + new.adapter.copies == sum(trained.values())
        assert new.adapter.parameters == plain.adapters(4) + (
            sum(n for name, n in trained.items() if "magnitude" in name)
        )
        model.save_pretrained(tmp_path / "saved")
        found = shape_of(replace(made, model=str(tmp_path / "saved"), lora_rank=0, adapter_reference="base"))
        assert found == new
        need, less = memory(asked, new), memory(made, plain)
        assert need.gradients == 4 * sum(trained.values()) > less.gradients
        half = memory(replace(asked, dtype="bfloat16"), new)
        assert half.master == 4 * new.adapter.copies
        assert half.adapters == 4 * new.adapter.parameters + 2 * new.adapter.copies
    with pytest.raises(InputError, match="say adapter_reference"):
        plan(replace(made, model=str(tmp_path / "saved"), lora_rank=0))


def test_experts_with_an_adapter_are_kept_with_it_added():
    """By hooks on what the forward pass of a Mixtral keeps, against the same without adapters on experts."""
    from transformers import MixtralConfig, MixtralForCausalLM

    sizes = {
        "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_local_experts": 8, "num_experts_per_tok": 1, "vocab_size": 100,
    }  # fmt: skip
    found = {}
    for layers in (1, 2):
        for ends in ((), ("experts.gate_up_proj", "experts.down_proj")):
            torch.manual_seed(0)
            model = MixtralForCausalLM(MixtralConfig(**sizes, num_hidden_layers=layers))
            adapted = new_adapter(model, 2, 4.0, "q_proj", target_parameters=ends)
            found[layers, bool(ends)] = saved(adapted, False, 4, 4)[0]
    folded = folded_in(adapted)
    assert folded == 2 * 8 * 3 * 32 * 48
    extra = (found[2, True] - found[1, True]) - (found[2, False] - found[1, False])
    assert extra == pytest.approx(4 * folded / 2, rel=0.25)


@pytest.mark.slow
@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="peaks are read from Linux's /proc"
)
@pytest.mark.parametrize(
    ("changes", "within"),
    [
        pytest.param({}, 0.1, id="bfloat16"),
        pytest.param({"reduce_once": True}, 0.1, id="reduced once", marks=pytest.mark.exhaustive),
        pytest.param({"dtype": "float32"}, 0.1, id="float32", marks=pytest.mark.exhaustive),
        pytest.param({"lora_rank": 16}, 0.15, id="adapters"),
    ],
)
def test_the_peak_of_two_processes_that_share_the_weights_is_near_the_plan(tmp_path, changes, within):
    """From the start to the last update: loading, the reference, two updates of two micro-batches.

    With adapters the plan is 9 to 11 % high on one machine and within a tenth on another; why is not known.
    """
    shape = {
        "vocab_size": 24000,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
    }
    save_tiny(tmp_path / "model", dtype=torch.bfloat16, initializer_range=0.02, **shape)
    write_pairs(tmp_path / "pairs.jsonl", 8)
    settings = {
        "dtype": "bfloat16",
        "parallel": "fsdp2",
        "max_length": 40,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 2,
        "max_steps": 2,
    }
    asked = recipe(tmp_path, **settings | changes)
    (tmp_path / "recipes.json").write_text(json.dumps([asdict(asked)]), encoding="utf-8")
    found = launch(tmp_path / "recipes.json", worker=Path(__file__).with_name("peak_worker.py"))
    assert found.returncode == 0, found.stderr[-4000:]
    peaks = [int((tmp_path / f"peak-{rank}").read_text(encoding="utf-8")) for rank in range(2)]
    planned = memory(asked, geometry_of(str(tmp_path / "model")), devices=2, cuda=False).total
    print(f"planned {planned / 1e6:.0f} MB, measured {[round(peak / 1e6) for peak in peaks]}")
    assert all(1 - within < planned / peak < 1 + within for peak in peaks)
