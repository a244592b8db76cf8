"""Sampling: seeded, resumable, scored right, with statistics that agree with exact laws."""

import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from distalign.checks import InputError
from distalign.training.evaluation.generate import generate
from distalign.training.evaluation.models import generate as of_a_file
from distalign.training.evaluation.prompts import prompts_of, tokenised
from distalign.training.evaluation.samples import Sample, Samples, read_samples, write_samples
from distalign.training.model.adapters import add_lora
from distalign.training.model.scorer import Scorer
from tests.training.tiny import tiny_llama, tiny_tokenizer

PROMPTS = [(1, 20, 21), (1, 30), (1, 40, 41, 42, 43), (1, 50, 51), (1, 60)]


@pytest.fixture(scope="module")
def policy():
    return Scorer(tiny_llama(3)), tiny_tokenizer()


def draw(policy, prompts=PROMPTS, **options):
    return generate(
        *policy, prompts, **{"max_new_tokens": 6, "batch_size": 2, "samples_per_prompt": 2} | options
    )


def test_the_same_seed_draws_the_same_and_another_does_not(policy):
    first, again, other = draw(policy), draw(policy), draw(policy, seed=1)
    assert first == again
    assert [row.response_tokens for row in first.rows] != [row.response_tokens for row in other.rows]
    assert [(row.prompt_index, row.sample) for row in first.rows] == [
        (i, k) for i in range(5) for k in range(2)
    ]
    assert len({row.response_tokens for row in first.rows}) > 5


def test_prompt_and_response_can_be_joined():
    """A tokenizer of whole words decodes a response alone without the space before it: was+good = wasgood."""
    words = {word: i for i, word in enumerate(["a", "</s>", *(f"w{i}" for i in range(318))])}
    core = Tokenizer(models.WordLevel(words, unk_token="a"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="</s>")
    for text, messages in (("w20 w21", False), ([{"role": "user", "content": "w20 w21"}], True)):
        samples = generate(
            Scorer(tiny_llama(3)), tokenizer, [(20 + 2, 21 + 2)], max_new_tokens=6, seed=4, texts=[text]
        )
        (row,) = samples.rows
        alone = tokenizer.decode(row.response_tokens, skip_special_tokens=True)
        assert alone
        assert row.response == (alone if messages else f" {alone}")
        if not messages:
            assert tuple(tokenizer(text + row.response)["input_ids"]) == (
                *row.prompt_tokens,
                *(t for t in row.response_tokens if t != 1),
            )


def test_the_models_own_generation_settings_do_not_move_the_law(policy):
    """A model may ship settings that suppress tokens; texts drawn so are another policy's."""
    expected, config = draw(policy).rows, policy[0].model.generation_config
    kept = vars(config).copy()
    often = max({t for row in expected for t in row.response_tokens} - {2})
    try:
        config.suppress_tokens, config.min_p, config.min_new_tokens = [often], 0.2, 6
        assert draw(policy).rows == expected
    finally:
        vars(config).update(kept)


def test_batches_have_streams_of_their_own(policy):
    """One prompt in four batches: equal streams would draw the same response four times."""
    rows = draw(policy, [PROMPTS[0]] * 4, batch_size=1, samples_per_prompt=1).rows
    assert len({row.response_tokens for row in rows}) == 4


def test_sampling_leaves_the_callers_random_numbers_alone(policy):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    draw(policy, PROMPTS[:1])
    assert torch.equal(torch.rand(1), expected)


def test_an_interrupted_run_goes_on_with_the_same_responses(policy, tmp_path, monkeypatch):
    whole, out = draw(policy), tmp_path / "s.jsonl"
    calls = []

    def breaking(samples, path):
        if len(calls) == 2:
            raise KeyboardInterrupt
        write_samples(samples, path)
        calls.append((path.name, len(samples.rows)))

    monkeypatch.setattr("distalign.training.evaluation.generate.write_samples", breaking)
    with pytest.raises(KeyboardInterrupt):
        draw(policy, out=out)
    assert not out.exists()  # nobody takes a part for the whole
    monkeypatch.setattr(
        "distalign.training.evaluation.generate.write_samples",
        lambda samples, path: (write_samples(samples, path), calls.append((path.name, len(samples.rows)))),
    )
    with pytest.raises(InputError, match="drawn with seed 0, now 9"):
        draw(policy, out=out, seed=9)
    assert draw(policy, out=out) == whole
    assert read_samples(str(out)) == whole
    # each batch once, and then all: not everything so far after each batch
    assert [n for _, n in calls] == [4, 4, 2, 10]
    assert calls[-1][0] == "s.jsonl"
    assert not (tmp_path / "s.jsonl.parts").exists()
    assert draw(policy, out=out) == whole
    assert len(calls) == 4


def test_a_file_of_finished_batches_is_gone_on_from(policy, tmp_path):
    """As earlier versions left it; of a batch that is not whole nothing is kept."""
    whole, out = draw(policy), tmp_path / "s.parquet"
    write_samples(Samples(whole.rows[:7], whole.settings), out)
    assert draw(policy, out=out) == whole == read_samples(out)


def test_log_probs_are_those_of_the_model(policy):
    for row in draw(policy).rows:
        logits = (
            policy[0].model(torch.tensor([row.prompt_tokens + row.response_tokens])).logits[0].log_softmax(-1)
        )
        at = len(row.prompt_tokens) - 1
        alone = sum(logits[at + i, token].item() for i, token in enumerate(row.response_tokens))
        assert row.log_prob == pytest.approx(alone, abs=1e-4)
        assert row.finished == (row.response_tokens[-1] == 2)
        assert 1 <= len(row.response_tokens) <= 6


def test_left_padding_changes_no_greedy_response(policy):
    together = draw(policy, temperature=0.0, batch_size=5, samples_per_prompt=1)
    alone = [
        draw(policy, [p], temperature=0.0, samples_per_prompt=1).rows[0].response_tokens for p in PROMPTS
    ]
    assert [row.response_tokens for row in together.rows] == alone


def test_one_token_responses_follow_the_policys_law():
    """600 draws of one token against the exact distribution: total variation at the size of its noise."""
    scorer = Scorer(tiny_llama(3, initializer_range=0.6))
    drawn = generate(scorer, tiny_tokenizer(), [(1, 20)], max_new_tokens=1, samples_per_prompt=600)
    law = scorer.model(torch.tensor([[1, 20]])).logits[0, -1].softmax(-1).detach().double().numpy()
    found = np.bincount([row.response_tokens[0] for row in drawn.rows], minlength=len(law)) / 600
    noise = np.sqrt(2 / np.pi * law * (1 - law) / 600).sum() / 2
    assert abs(np.abs(found - law).sum() / 2 / noise - 1) < 0.25
    wrong = np.roll(law, 1)
    assert np.abs(found - wrong).sum() / 2 / noise > 2
    entropy = {name: value for name, value, _, _ in drawn.statistics()}["entropy"]
    assert entropy == pytest.approx(-(law[law > 0] * np.log(law[law > 0])).sum(), abs=0.2)


def test_reference_of_an_adapter_is_the_adapter_switched_off():
    model = add_lora(tiny_llama(3), 4, 8.0)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(0, 0.3)
    policy = Scorer(model), tiny_tokenizer()
    drawn, plain = draw(policy, reference=True), Scorer(tiny_llama(3))
    for row in drawn.rows:
        logits = (
            plain.model(torch.tensor([row.prompt_tokens + row.response_tokens])).logits[0].log_softmax(-1)
        )
        at = len(row.prompt_tokens) - 1
        alone = sum(logits[at + i, token].item() for i, token in enumerate(row.response_tokens))
        assert row.ref_log_prob == pytest.approx(alone, abs=1e-4)
        assert row.log_prob != pytest.approx(row.ref_log_prob, abs=1e-3)
    assert {"kl", "kl_nonnegative"} <= {name for name, *_ in drawn.statistics()}


def law_samples(n=4000, prompts=200, temperature=1.0):
    """Responses of one token from a known policy, with a known reference."""
    rng, pi, ref = np.random.default_rng(0), np.array([0.6, 0.3, 0.1]), np.array([0.3, 0.3, 0.4])
    rows = [
        Sample(
            i % prompts,
            i // prompts,
            (1,),
            (int(y),),
            "abc"[y] + " x",
            True,
            math.log(pi[y]),
            math.log(ref[y]),
        )
        for i, y in enumerate(rng.choice(3, n, p=pi))
    ]
    return Samples(tuple(rows), {"temperature": temperature, "top_p": 1.0}), pi, ref


def test_divergence_and_entropy_of_a_known_law():
    samples, pi, ref = law_samples()
    found = {name: (value, error) for name, value, error, _ in samples.statistics()}
    kl = pi @ np.log(pi / ref)
    for name, exact in (("kl", kl), ("kl_nonnegative", kl), ("entropy", -pi @ np.log(pi))):
        value, error = found[name]
        assert abs(value - exact) < 4 * error, name
        assert 0.002 < error < 0.05
    assert (
        abs(found["kl"][0] - ref @ np.log(ref / pi)) > 4 * found["kl"][1]
    )  # not the divergence the other way round
    assert found["distinct_1"][0] < 0.5
    assert found["response_tokens"] == (1.0, 0.0)


def test_other_temperatures_leave_the_divergence_out_and_say_so():
    samples, *_ = law_samples(40, 10, temperature=0.7)
    assert not {"kl", "entropy"} & {name for name, *_ in samples.statistics()}
    assert "temperature 0.7" in samples.notes()[0]


def test_distinct_counts():
    texts = ((0, 0, "a b a b"), (0, 1, "A b"), (1, 0, "a c"), (2, 0, ""))
    rows = tuple(Sample(i, k, (1,), (2,), text, True) for i, k, text in texts)
    found = {
        name: value for name, value, *_ in Samples(rows, {"temperature": 1.0, "top_p": 1.0}).statistics()
    }
    assert found["distinct_1"] == pytest.approx((2 / 6 + 1) / 2)
    assert found["distinct_2"] == pytest.approx((2 / 4 + 1) / 2)  # ab, ba, ab, ab of which two; ac


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": 1e-300}, "temperature must be 0 or at least 1e-06"),
        ({"top_p": 0.0}, "top_p must lie in"),
        ({"samples_per_prompt": 10**30}, "samples_per_prompt must be from 1 to 1,000,000,000"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"max_new_tokens": 0}, "max_new_tokens must be"),
        ({"samples_per_prompt": 0}, "samples_per_prompt must be"),
        ({"prompts": [(1,), ()]}, "prompt 1 is empty"),
        ({"prompts": []}, "no prompts"),
    ],
)
def test_bad_input(policy, options, sentence):
    with pytest.raises(InputError, match=sentence):
        draw(policy, **options)


def test_prompts_of_files(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": [{"role": "user", "content": "b"}]}\n{"prompt": "a"}\n')
    texts = prompts_of(path)
    assert texts == ["a", [{"role": "user", "content": "b"}]]
    tokens = [tokenised(tiny_tokenizer(), text) for text in texts]
    assert tiny_tokenizer().decode(tokens[1]) == "<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\n"
    with pytest.raises(InputError, match="no chat template"):
        tokenised(tiny_tokenizer(template=None), texts[1])
    path.write_text('{"text": "a"}\n')
    with pytest.raises(InputError, match="line 1 has no prompt"):
        prompts_of(path)
    with pytest.raises(InputError, match="does not hold samples"):
        read_samples(path)
    with pytest.raises(InputError, match="no samples in"):
        read_samples(tmp_path / "none.jsonl")


def test_the_chat_template_is_noted_and_another_one_refused(tmp_path, tiny_folder):
    """Texts of one template are not gone on with under another, and readers can tell them apart."""
    prompts, out = tmp_path / "p.jsonl", tmp_path / "s.jsonl"
    prompts.write_text('{"prompt": "a"}\n')
    asked = {"out": out, "max_new_tokens": 2, "dtype": "float32"}
    assert of_a_file(str(tiny_folder), prompts, **asked).settings["chat_template"] is None
    with pytest.raises(InputError, match=r"drawn with chat_template None, now '[0-9a-f]{16}'"):
        of_a_file(str(tiny_folder), prompts, chat_template=True, **asked)
