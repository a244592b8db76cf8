"""Scores equal log_softmax of the model's own logits, whatever the padding, order, sharing, chunk and
attention.
"""

from __future__ import annotations

import os
import shutil
import warnings
from dataclasses import replace

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
with warnings.catch_warnings():  # third-party deprecations at import are not this test's concern
    warnings.simplefilter("ignore")
    import transformers as hf
    from peft import LoraConfig, PromptTuningConfig, get_peft_model
    from transformers.integrations.flex_attention import WrappedFlexAttention
    from transformers.masking_utils import causal_mask_function

from distalign.checks import InputError
from distalign.training.data.packing import layout, micro_batches, padded_tokens
from distalign.training.data.rows import TokenRow
from distalign.training.model.logits import LogitMap
from distalign.training.model.probes import window_sizes
from distalign.training.model.rotary import LengthClasses, length_classes
from distalign.training.model.scorer import Scorer
from distalign.training.model.shared_prompt import Sharing

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing"
)  # peft asks transformers by an old name
V = 97
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": V,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
CONFIGS = {
    "llama": hf.LlamaConfig(**SIZES),
    "qwen2": hf.Qwen2Config(**SIZES, tie_word_embeddings=True),
    "gpt2": hf.GPT2Config(
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        vocab_size=V,
        initializer_range=0.3,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    ),
    "mistral": hf.MistralConfig(**SIZES, sliding_window=40),
}


def model(family="llama", dtype=torch.float64, attention="sdpa", **changes):
    config = type(CONFIGS[family])(**(CONFIGS[family].to_dict() | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return hf.AutoModelForCausalLM.from_config(config, attn_implementation=attention).to(dtype).train()


def text(n, seed):
    return tuple(torch.randint(0, V, (n,), generator=torch.Generator().manual_seed(seed)).tolist())


ROWS = [
    TokenRow(text(7, 1), (text(5, 2), text(3, 3))),
    TokenRow(text(2, 4), (text(9, 5), text(1, 6), text(4, 7))),
    TokenRow(text(4, 8), (text(6, 9),)),
    TokenRow(text(3, 10), tuple(text(n, 11 + n) for n in (1, 2, 3, 4, 5))),
]


def truth(language_model, rows=ROWS):
    """One text at a time by the model's own forward and log_softmax."""
    out = []
    for row in rows:
        for response in row.responses:
            logits = language_model(input_ids=torch.tensor([row.prompt + response])).logits[
                0, len(row.prompt) - 1 : -1
            ]
            out.append(logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None]).sum())
    return torch.stack(out)


def gradient(scores, language_model):
    weights = torch.linspace(-1, 1.5, len(scores), dtype=scores.dtype)
    used = [p for p in language_model.parameters() if p.requires_grad]
    return torch.cat([g.flatten() for g in torch.autograd.grad((weights * scores).sum(), used)])


def assert_equal(scores, language_model, wanted, wanted_gradient, tolerance):
    error = (scores - wanted).abs().max() / wanted.abs().max()
    assert error < tolerance, f"scores differ by {error:.1e}"
    found = gradient(scores, language_model)
    error = (found - wanted_gradient).norm() / wanted_gradient.norm()
    assert error < tolerance, f"gradients differ by {error:.1e}"


@pytest.mark.parametrize(
    ("attention", "dtype"), [("sdpa", torch.float32), ("sdpa", torch.float64), ("eager", torch.float64)]
)
@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("family", CONFIGS)
def test_equals_the_models_own_logits(family, share, attention, dtype):
    language_model = model(family, dtype, attention)
    wanted = truth(language_model)
    wanted_gradient = gradient(wanted, language_model)
    scorer = Scorer(language_model, share_prompt=share, chunk_tokens=7)
    scores = scorer(scorer.layout(ROWS))
    assert scores.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    if family != "gpt2" and (share or attention == "eager"):
        # norms and the eager softmax compute in float32, whose last bits depend on the processor's vectors
        tolerance = max(tolerance, 1e-6)
    assert_equal(scores, language_model, wanted.detach(), wanted_gradient, tolerance)


@pytest.mark.parametrize("share", [False, True])
def test_order_chunk_and_micro_batch_change_nothing(share):
    language_model = model(dtype=torch.float32)
    scorer = Scorer(language_model, share_prompt=share)
    whole = scorer(scorer.layout(ROWS))
    wanted, wanted_gradient = whole.detach(), gradient(whole, language_model)
    starts = [0, 2, 5, 6]
    by_budget = micro_batches([padded_tokens(row, share_prompt=share) for row in ROWS], token_budget=40)
    for chunk, parts in (
        (1, [[0], [1], [2], [3]]),
        (3, micro_batches([1] * 4, size=3)),
        (50, [[3, 1, 0, 2]]),
        (2, by_budget),
    ):
        scorer.chunk_tokens = chunk
        scores = torch.zeros(len(whole))
        for part in parts:
            at = [starts[i] + k for i in part for k in range(len(ROWS[i].responses))]
            scores = scores.index_put((torch.tensor(at),), scorer(scorer.layout([ROWS[i] for i in part])))
        assert_equal(scores, language_model, wanted, wanted_gradient, 1e-5)


def defects():
    def sees_the_other(
        laid,
    ):  # sdpa: the second response reads a token of the first in place of one of the prompt
        texts = laid.texts.clone()
        texts[1, 3] = texts[0, 7]
        return replace(laid, texts=texts)

    def positions_run_on(laid):
        return replace(laid, positions=torch.arange(laid.ids.shape[1]).expand(laid.ids.shape))

    def one_mask_for_all(laid):  # eager: causal only
        return replace(laid, segments=laid.segments.clamp(max=0))

    return [
        (sees_the_other, "sdpa"),
        (positions_run_on, "sdpa"),
        (one_mask_for_all, "eager"),
        (positions_run_on, "eager"),
    ]


@pytest.mark.parametrize(("defect", "attention"), defects())
def test_planted_defects_fail_the_equality(defect, attention):
    language_model = model(attention=attention)
    wanted = truth(language_model)
    wanted_gradient = gradient(wanted, language_model)
    scorer = Scorer(language_model)
    laid = scorer.layout(ROWS)
    assert_equal(scorer(laid), language_model, wanted.detach(), wanted_gradient, 1e-6)
    with pytest.raises(AssertionError, match="scores differ"):
        assert_equal(scorer(defect(laid)), language_model, wanted.detach(), wanted_gradient, 1e-5)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_with_gradients_on_and_off(dtype, share):
    scorer = Scorer(model(dtype=dtype), share_prompt=share)
    laid = scorer.layout(ROWS)
    with torch.no_grad():
        off = scorer(laid)
    on = scorer(laid)
    assert on.dtype == torch.float32
    assert on.requires_grad
    assert torch.equal(on.detach(), off)
    assert torch.equal(scorer(laid).detach(), off)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_checkpointing_changes_nothing(family, share):
    language_model = model(family)
    scorer = Scorer(language_model, share_prompt=share)
    scores = scorer(scorer.layout(ROWS))
    wanted = gradient(scores, language_model)
    if hasattr(
        language_model, "activation_checkpointing_enable"
    ):  # transformers renames it during its fifth series
        language_model.activation_checkpointing_enable()
    else:
        language_model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    runs = []
    projection = next(m for m in language_model.modules() if type(m).__name__ in ("Linear", "Conv1D"))
    projection.register_forward_hook(lambda *_: runs.append(1))
    assert_equal(scorer(scorer.layout(ROWS)), language_model, scores.detach(), wanted, 1e-12)
    assert len(runs) == 2  # forward, and again on the way back


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_embeddings_in_place_of_tokens(family):
    scorer = Scorer(model(family))
    laid = scorer.layout(ROWS)
    embeddings = scorer.embed(laid)
    assert torch.equal(scorer(laid, embeddings), scorer(laid))
    slope = torch.autograd.grad(scorer(laid, embeddings).sum(), embeddings)[0]
    assert slope.shape == (*laid.ids.shape, 32)
    assert (slope[laid.segments < 0] == 0).all()  # padding is read by nothing that is scored


def lora(language_model, **options):
    return get_peft_model(
        language_model, LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.5, **options)
    )


def test_adapter_on_and_off():
    adapted = lora(model(), init_lora_weights=False)
    scorer = Scorer(adapted)
    laid = scorer.layout(ROWS)
    wanted = truth(adapted)
    assert_equal(scorer(laid), adapted, wanted.detach(), gradient(wanted, adapted), 1e-6)
    with scorer.reference(), torch.no_grad():
        reference = scorer(laid)
    torch.testing.assert_close(reference, truth(model()), rtol=1e-6, atol=1e-6)
    assert (reference - wanted).abs().max() > 0.1


def test_log_ratios_of_a_fresh_adapter_are_zero_bits():
    scorer = Scorer(lora(model(dtype=torch.bfloat16)))
    laid = scorer.layout(ROWS)
    with scorer.reference(), torch.no_grad():
        reference = scorer(laid)
    assert torch.equal(scorer(laid).detach(), reference)


def test_second_derivatives_by_the_plain_head():
    scorer = Scorer(model("gpt2", attention="eager"), head="plain")
    chunked = Scorer(model("gpt2", attention="eager"))
    laid = scorer.layout(ROWS[:1])
    torch.testing.assert_close(scorer(laid), chunked(laid), rtol=1e-12, atol=1e-12)
    embeddings = scorer.embed(laid).detach().requires_grad_()

    def slope(x):
        return torch.autograd.grad(scorer(laid, x).sum(), x, create_graph=True)[0].square().sum()

    second = torch.autograd.grad(slope(embeddings), embeddings)[0]
    way = torch.randn_like(embeddings)
    step = 1e-5 * way
    difference = (slope(embeddings + step) - slope(embeddings - step)) / 2e-5
    torch.testing.assert_close((second * way).sum(), difference.detach(), rtol=1e-4, atol=1e-6)


def test_dropout_is_off():
    language_model = model("gpt2", resid_pdrop=0.5, attn_pdrop=0.5, embd_pdrop=0.5)
    laid = layout(ROWS, share_prompt=False)
    language_model.train()
    scorer = Scorer(language_model)
    assert torch.equal(scorer(laid), scorer(laid))
    noisy = Scorer(model(attention_dropout=0.5))
    assert torch.equal(noisy(laid), noisy(laid))


def test_generation_still_works_after_wrapping():
    plain, wrapped = model().eval(), model().eval()
    Scorer(wrapped)
    ids = torch.tensor([ROWS[0].prompt, ROWS[0].prompt])
    options = {
        "attention_mask": torch.tensor([[0] * 2 + [1] * 5, [1] * 7]),
        "max_new_tokens": 5,
        "do_sample": False,
        "pad_token_id": 0,
    }
    assert torch.equal(plain.generate(ids, **options), wrapped.generate(ids, **options))


def refused(build, word, **options):
    with pytest.raises(InputError, match=word):
        Scorer(build(), **options)


SMALL = {k: v for k, v in SIZES.items() if k != "max_position_embeddings"}


def test_models_that_would_be_scored_wrongly_are_refused():
    refused(lambda: hf.LlamaModel(CONFIGS["llama"]), "no language-model head")
    refused(
        lambda: get_peft_model(model(), LoraConfig(r=2, target_modules=["lm_head"])),
        "not a plain linear layer",
    )
    virtual = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    refused(lambda: get_peft_model(model(), virtual), "virtual tokens")
    refused(model, "chunk_tokens", chunk_tokens=0)
    refused(model, "head", head="wide")
    with pytest.raises(InputError, match="has none"), Scorer(model()).reference():
        pass


def test_each_fault_of_a_model_has_a_sentence_of_its_own():
    def broken():
        language_model = model()
        with torch.no_grad():
            language_model.model.layers[1].mlp.up_proj.weight[3, 4] = torch.nan
        return language_model

    def cubed():
        language_model = model()
        language_model.register_forward_hook(
            lambda module, given, out: out.__setitem__("logits", out.logits**3)
        )
        return language_model

    def noisy():
        language_model = model()
        mlp = language_model.model.layers[0].mlp
        mlp.register_forward_hook(lambda module, given, out: torch.nn.functional.dropout(out, 0.3))
        return language_model

    def seldom_noisy():
        """Routing that is random in one pass of eleven: the first ten agree, and each draws."""
        language_model, passes = model(), []

        def routed(module, given, out):
            passes.append(torch.rand(()))
            return out * (1.1 if module.training and len(passes) % 11 == 0 else 1.0)

        language_model.model.layers[0].mlp.register_forward_hook(routed)
        return language_model

    refused(broken, "not finite; model.layers.1.mlp.up_proj.weight holds NaN")
    refused(cubed, "more to its logits than a linear head")
    refused(noisy, "other states each time: dropout")
    refused(seldom_noisy, "other states each time: dropout")
    refused(lambda: model(is_causal=False), "it is not causal")


def small_model(kind, **options):
    config = kind(**(SMALL | options))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return hf.AutoModelForCausalLM.from_config(config).float().train()


MAPS = {
    "a soft cap": (hf.Gemma2Config, {"head_dim": 8, "final_logit_softcapping": 2.0}, (1.0, 2.0)),
    "a quotient": (hf.GraniteConfig, {"logits_scaling": 3.0}, (1 / 3, None)),
    "a factor": (hf.CohereConfig, {"logit_scale": 0.0625}, (0.0625, None)),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("head", ["chunked", "plain"])
def test_scales_and_soft_caps_of_logits_are_measured_and_applied(name, head):
    kind, options, wanted = MAPS[name]
    language_model = small_model(kind, **options)
    scorer = Scorer(language_model, head=head, chunk_tokens=7)
    assert (scorer.logit_map.scale, scorer.logit_map.cap) == wanted
    scores = truth(language_model)
    assert_equal(
        scorer(scorer.layout(ROWS)), language_model, scores.detach(), gradient(scores, language_model), 1e-5
    )
    scorer.logit_map = LogitMap()  # negative control
    assert (scorer(scorer.layout(ROWS)) - scores).abs().max() > 0.1


LONG = [TokenRow(text(30, 1), (text(20, 2), text(12, 3))), TokenRow(text(3, 4), (text(44, 5), text(5, 6)))]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_windows_are_kept_behind_a_shared_prompt(attention, monkeypatch):
    """Texts longer than a window of 40. Planted defect: masks that are causal whatever was asked for."""
    language_model = model("mistral", attention=attention)
    wanted = truth(language_model, LONG)
    slope = gradient(wanted, language_model)
    scorer = Scorer(language_model, share_prompt=True)
    laid = scorer.layout(LONG)
    assert laid.segments is not None
    assert_equal(scorer(laid), language_model, wanted.detach(), slope, 1e-6)

    def causal_always(now, make, options, size):
        plain = {"mask_function": causal_mask_function, "local_size": None}
        return now.true_mask(make, options | plain, size)

    monkeypatch.setattr(Sharing, "true_mask", Sharing.of_a_text, raising=False)
    monkeypatch.setattr(Sharing, "of_a_text", causal_always)
    with pytest.raises(AssertionError, match="scores differ"):
        assert_equal(scorer(laid), language_model, wanted.detach(), slope, 1e-3)


def test_a_window_in_a_nested_config_is_kept():
    """Gemma 3: sliding layers are found in `config.text_config`, and the window is shorter than the texts."""
    nested = {"text_config": SMALL | {"head_dim": 8, "sliding_window": 6}, "vision_config": VISION}
    config = hf.Gemma3Config(**nested)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        language_model = hf.AutoModelForCausalLM.from_config(config).float().train()
    for name, parameter in language_model.named_parameters():
        parameter.requires_grad_("vision" not in name and "projector" not in name)
    wanted = truth(language_model, LONG)
    scorer = Scorer(language_model, share_prompt=True)
    assert_equal(
        scorer(scorer.layout(LONG)), language_model, wanted.detach(), gradient(wanted, language_model), 1e-5
    )


VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def gpt_neo(window):
    return small_model(
        hf.GPTNeoConfig,
        attention_types=[[["global", "local"], 1]],
        num_layers=2,
        num_heads=4,
        window_size=window,
        max_position_embeddings=1200,
    )


def test_a_window_that_a_model_applies_itself_is_found_by_a_longer_probe():
    """GPT-Neo cuts its window out of the whole row; 40 and 256 tokens are more than the first probe's."""
    for window in (40, 256):
        scorer = Scorer(gpt_neo(window))
        assert not scorer.share_prompt
        assert "its states differ" in scorer.why_apart
        with pytest.raises(InputError, match="cannot share a prompt: its states differ"):
            Scorer(gpt_neo(window), share_prompt=True)


def test_numbers_that_may_bound_what_a_token_sees_are_found_at_any_depth():
    nested = hf.Gemma3Config(text_config=SMALL | {"sliding_window": 77}, vision_config=VISION)
    assert 77 in window_sizes(nested)
    assert 6 in window_sizes(hf.Llama4TextConfig(attention_chunk_size=6))
    qwen = hf.Qwen2Config(use_sliding_window=True, sliding_window=5, max_window_layers=28)
    assert window_sizes(qwen) == {5}


def test_beyond_a_window_too_long_to_probe_prompts_are_copied():
    short, long = ROWS[:1], [TokenRow(text(600, 1), (text(20, 2), text(12, 3)))]
    scorer = Scorer(gpt_neo(590))
    assert scorer.shared_up_to == 590
    assert scorer.layout(short).segments is not None
    laid = scorer.layout(long)
    assert laid.segments is None
    torch.testing.assert_close(scorer(laid), truth(scorer.causal, long), rtol=1e-4, atol=1e-4)
    insists = Scorer(gpt_neo(590), share_prompt=True)
    with pytest.raises(InputError, match="620 tokens, and sharing its prompt is known to be exact up to 590"):
        insists.layout(long)


def mamba():
    return small_model(hf.MambaConfig, state_size=4)


def bloom():
    return small_model(hf.BloomConfig, n_layer=2, n_head=4)


@pytest.mark.parametrize("build", [mamba, bloom])
@pytest.mark.filterwarnings("ignore")  # Mamba tells of its fast kernels
def test_models_that_cannot_share_prompts_are_scored_apart(build):
    language_model = build()
    own_attention = language_model.config._attn_implementation
    scorer = Scorer(language_model)
    assert not scorer.share_prompt
    assert scorer.why_apart
    assert language_model.config._attn_implementation == own_attention
    wanted = truth(language_model)
    assert_equal(
        scorer(scorer.layout(ROWS)), language_model, wanted.detach(), gradient(wanted, language_model), 1e-4
    )
    with pytest.raises(InputError, match="say share_prompt='auto' or False"):
        Scorer(build(), share_prompt=True)


# -- rotary embeddings that depend on the longest text --


def longrope():
    factors = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 16, **factors}
    return small_model(
        hf.Phi3Config,
        rope_parameters=rope,
        original_max_position_embeddings=16,
        max_position_embeddings=64,
        pad_token_id=0,
    )


def test_a_text_keeps_its_rotary_angles_beside_longer_ones():
    language_model = longrope()
    rows = [*ROWS, *LONG]
    scorer = Scorer(language_model)
    assert scorer.classes == LengthClasses(16, True)
    wanted = truth(language_model, rows)
    slope = gradient(wanted, language_model)
    assert_equal(scorer(scorer.layout(rows)), language_model, wanted.detach(), slope, 1e-5)
    assert scorer.layout(ROWS).segments is not None  # all in the first class: shared
    first = next(language_model.parameters())
    first.placements = ()  # as FSDP2 marks weights that it shards
    with pytest.raises(InputError, match="which parallel fsdp2 cannot do: lower max_length to 16"):
        scorer(scorer.layout(rows))
    del first.placements
    scorer.classes = None  # negative control: one pass for all, as before
    with pytest.raises(AssertionError, match="scores differ"):
        assert_equal(scorer(layout(rows, share_prompt=False)), language_model, wanted.detach(), slope, 1e-3)


def test_dynamic_scaling_is_refused_above_its_threshold():
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
    scorer = Scorer(model(dtype=torch.float32, rope_parameters=rope, max_position_embeddings=16))
    assert scorer.classes == LengthClasses(16, False)
    torch.testing.assert_close(scorer(scorer.layout(ROWS[:1])), truth(scorer.causal, ROWS[:1]))
    with pytest.raises(InputError, match="lower max_length to 16"):
        scorer(scorer.layout(LONG))


def test_ordinary_rotary_embeddings_have_no_classes():
    linear = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    for language_model in (model("llama"), model("gpt2"), model("llama", rope_parameters=linear)):
        assert length_classes(language_model) is None


def as_it_is(function=None, **options):
    """In the place of torch.compile."""
    return function


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
@pytest.mark.filterwarnings("ignore")
def test_flex_attention_scores_the_same(compiled, monkeypatch):
    """Forward only: torch has no backward of FlexAttention on a CPU. It is compiled by g++, a minute."""
    monkeypatch.setattr(WrappedFlexAttention, "_instance", None)  # it compiles once in a process
    if not compiled:
        monkeypatch.setattr(torch, "compile", as_it_is)
    elif shutil.which("g++") is None:
        pytest.skip("FlexAttention on a CPU is compiled by g++")
    scorer = Scorer(model(dtype=torch.float32, attention="flex_attention"))
    with torch.no_grad():
        torch.testing.assert_close(
            scorer(scorer.layout(ROWS)), truth(model(dtype=torch.float32)), rtol=1e-4, atol=1e-4
        )
