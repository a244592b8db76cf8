"""Online runs: one gradient whatever the micro-batch, texts of the weights as they are, resumed to the same
bits, refusals.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from distalign.bridge.generation.scores import score_of
from distalign.bridge.generation.users import Scale, read_users, utilities_of
from distalign.bridge.online import train
from distalign.bridge.online.judges import Population, judge_of
from distalign.bridge.online.prepare import prepare
from distalign.bridge.online.run import OnlineRun
from distalign.bridge.online.texts import write_texts
from distalign.checks import InputError
from distalign.progress import Voice
from distalign.training import loop
from distalign.training.evaluation.samples import Samples, write_samples
from distalign.training.parallel import World
from distalign.training.recipe import Recipe
from distalign.training.recipe_file import read
from tests.bridge.generation.enumerable import LONGEST, PROMPTS, causal_model, log_table
from tests.bridge.online.small_world import PLACE, places, recipe, reward, save, win

ONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("online"), prompts=3)


def prepared(folder, objective="rlhf", share=0.3, **changes):
    """A run whose policy has left the reference."""
    run = prepare(recipe(folder, objective, **changes), ONE, Voice(), False)
    other = causal_model(0, towards=1, share=share).float().state_dict()
    if not run.recipe.lora_rank:
        run.model.load_state_dict(other)
        return run
    with torch.no_grad():
        for name, p in run.model.named_parameters():
            if "lora_B" in name:
                p += 0.1 * torch.ones_like(p).cumsum(0).sin()
    return run


def flat(run):
    return torch.cat([p.grad.flatten().double() for p in run.optimiser.masters.values()])


def gradient(run, texts, judged):
    run.optimiser.forget()
    found = run.backward(texts, **judged)
    run.optimiser.gradients()
    return found, flat(run)


def judged(run, texts):
    if hasattr(run.judge, "rewards"):
        return {"rewards": run.judge.rewards(texts)}
    return {"margins": run.judge.margins(texts)}


def drawn(run, update=0):
    return write_texts(run.asked, run.prompts, run.scorer, run.tokenizer, update)


CASES = [
    ("rlhf", {"objective_options": {"beta": 0.5, "divergence": "jensen_shannon"}}),
    ("nlhf", {}),
    ("nlhf", {"objective_options": {"strength": 0.5, "mixture": 0.25}}),
    ("dpo", {}),
    ("f_dpo", {"objective_options": {"beta": 0.5, "divergence": "forward_kl"}}),
    ("rlhf", {"lora_rank": 2}),
]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by an old name
@pytest.mark.parametrize(("objective", "changes"), CASES)
def test_the_gradient_is_the_global_batchs_whatever_the_micro_batch(folder, objective, changes):
    run = prepared(folder, objective, **changes)
    texts = drawn(run)
    values, found = judged(run, texts), []
    for way in (
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
        {"micro_batch_tokens": 40},
    ):
        run.recipe = replace(run.asked, **way)
        assert run.size == 4
        found.append(gradient(run, texts, values))
    for step, other in found[1:]:
        assert float((other - found[0][1]).norm() / found[0][1].norm()) < 2e-6
        assert float(step.loss) == pytest.approx(float(found[0][0].loss), rel=1e-6)
    assert float(found[0][0].log_ratio.abs().max()) > 0.01


def test_the_gradient_is_that_of_a_formula_written_down_again(folder):
    """Advantages by loops, log-probabilities from transformers' own logits."""
    run = prepared(folder, objective_options={"beta": 0.5})
    texts = drawn(run)
    found, mine = gradient(run, texts, judged(run, texts))
    k = texts.shape[1]
    reference = causal_model(0).float()
    log_prob, ratio = [], []
    for row in texts.rows:
        for y in row.responses:
            ids = torch.tensor([row.prompt + y])
            at = torch.arange(len(row.prompt) - 1, ids.shape[1] - 1)
            own, ref = (
                m(ids).logits[0].log_softmax(1)[at, torch.tensor(y)].sum() for m in (run.model, reference)
            )
            log_prob.append(own)
            ratio.append(float(own.detach() - ref.detach()))
    gain = reward(None, [one.response for one in texts.samples])
    value = 0
    for i, one in enumerate(log_prob):
        group = range(i // k * k, i // k * k + k)
        h = {j: gain[j] - 0.5 * ratio[j] for j in group}
        value = value - (h[i] - np.mean([h[j] for j in group if j != i])) * one / len(log_prob)
    run.optimiser.forget()
    value.backward()
    assert float((flat(run) - mine).norm() / mine.norm()) < 1e-5
    assert found.log_ratio.flatten().tolist() == pytest.approx(ratio, abs=1e-5)


def test_texts_are_drawn_under_the_weights_as_they_are(folder):
    """The mean log-ratio of its texts is the KL to the reference; of the reference's texts it is below 0."""
    run = prepared(folder, share=0.5, samples_per_prompt=200)
    texts = drawn(run)
    found = run.backward(texts, **judged(run, texts))
    order = [PROMPTS.index(row.prompt) for row in texts.rows]
    mine, ref = (log_table(m) for m in (causal_model(0, towards=1, share=0.5), causal_model(0)))
    exact = (np.exp(mine) * (mine - ref)).sum(1)[order]
    error = found.log_ratio.numpy().std(1) / np.sqrt(200)
    assert (np.abs(found.log_ratio.mean(1).numpy() - exact) < 4 * error).all()
    assert (exact > 8 * error).any()
    at = [[PLACE[one.response] for one in texts.samples[i * 200 : (i + 1) * 200]] for i in range(4)]
    assert found.log_prob.numpy() == pytest.approx(mine[order][np.arange(4)[:, None], at], abs=1e-4)
    assert all(one.finished == (len(one.response.split()) < LONGEST) for one in texts.samples)


def test_each_update_has_texts_of_its_own_and_every_pass_every_prompt(folder, tmp_path):
    run = prepared(save(tmp_path))  # one prompt, so all updates draw from the same law
    first, again, other = drawn(run), drawn(run), drawn(run, 1)
    assert first == again
    assert first.samples != other.samples
    run = prepared(folder)
    seen = [i for update in range(3) for i in run.prompts.batch(update, 4, 0)]
    assert [sorted(seen[i : i + 3]) for i in range(0, 12, 3)] == [[0, 1, 2]] * 4


@pytest.mark.parametrize("objective", ["rlhf", "nlhf", "dpo"])
def test_a_run_writes_model_metrics_and_card(tmp_path, objective):
    found = train(recipe(tmp_path, objective, save_steps=2), progress=False)
    table = found.metrics
    assert table.step.tolist() == [1, 2, 3]
    assert table.kl[0] == 0
    assert table.divergence[0] == 0
    assert np.isfinite(table[["loss", "entropy", "response_tokens", "unfinished", "grad_norm"]]).all(
        axis=None
    )
    assert table.reward.notna().all() == (objective != "nlhf")
    assert (tmp_path / "out" / "checkpoint-00000002").is_dir()
    assert "texts of its own" in (found.model / "README.md").read_text()


def test_broken_off_and_run_again_it_goes_on_to_the_same_bits_and_rows(tmp_path, monkeypatch):
    settings = {"max_steps": 5, "save_steps": 2, "warmup_ratio": 0.4}
    train(recipe(tmp_path, out="whole", **settings), progress=False)
    backward, calls = OnlineRun.backward, []

    def breaking(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return backward(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr("distalign.bridge.online.run.OnlineRun.backward", breaking)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(tmp_path, out="broken", **settings), progress=False)
    torch.manual_seed(77)  # of no consequence
    found = train(recipe(tmp_path, out="broken", **settings), progress=False)
    assert found.resumed == 2
    for name in ("model/model.safetensors", "metrics.csv", "checkpoint-00000005/optimiser-0.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name
    with pytest.raises(InputError, match="samples_per_prompt was 4, now 5"):
        train(recipe(tmp_path, out="broken", samples_per_prompt=5, **settings), progress=False)


def constant(prompts, responses):
    return [1.0] * len(responses)


def by_prompt(prompts, responses):
    return [float(len(str(prompt))) + 10.0 * prompts.index(prompt) for prompt in prompts]


def broken(prompts, responses):
    return [float("nan")] * len(responses)


def certain(prompts, first, second):
    return [2.0] * len(first)


HERE = "tests.bridge.online.test_online_run"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reward": None}, "exactly one of reward and preference"),
        ({"preference": "a:b"}, "exactly one of reward and preference"),
        ({"reward": None, "preference": "a:b"}, "rlhf needs a reward"),
        ({"samples_per_prompt": 1}, "samples_per_prompt must be at least 2"),
        ({"max_new_tokens": 32}, "max_new_tokens 32 leaves no token"),
        ({"parallel": "fsdp2"}, "runs on one process"),
        ({"eval_fraction": 0.1}, "eval_fraction is about responses of a file"),
        ({"objective": "aot_paired"}, "not a mean over pairs"),
        ({"objective": "sft", "objective_options": {}}, "not a mean over pairs"),
        ({"objective_options": {"beta": 1.0, "divergence": "kl"}}, "divergence must be one of"),
        ({"objective_options": {}}, "rlhf needs beta"),
        ({"reference_samples": "x.jsonl"}, "reference_samples set the scale"),
        ({"reward": None, "preference": "u.yaml", "objective": "dpo"}, "give reference_samples"),
        ({"reward": None, "preference": "readers", "objective": "dpo"}, "give reference_samples"),
        ({"max_length": 7}, "leaves 1 to 1"),
        ({"reward": "no_such_module:f"}, "cannot be imported"),
        ({"reward": f"{HERE}:constant"}, "is the same for all [0-9]+ texts of each prompt"),
        ({"reward": f"{HERE}:by_prompt"}, "only texts to one prompt are compared"),
        ({"reward": f"{HERE}:broken"}, "broken is nan for the response"),
        (
            {"reward": None, "preference": f"{HERE}:certain", "objective": "dpo"},
            "numbers from 2 to 2: return probabilities",
        ),
    ],
)
def test_what_is_refused(folder, tmp_path, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        train(recipe(folder, **{"output_dir": str(tmp_path), "max_steps": 1} | changes), progress=False)


def test_other_ways_in_are_refused_in_a_sentence(folder, tmp_path):
    with pytest.raises(InputError, match=r"distalign\.bridge\.online\.train"):
        loop.train(recipe(folder))
    with pytest.raises(InputError, match="one process"):
        prepare(recipe(folder), World(0, 2, torch.device("cpu")), Voice(), False)
    offline = {"model": "m", "train_data": "d", "objective": "dpo", "objective_options": {"beta": 1.0}}
    with pytest.raises(InputError, match="without reward or preference"):
        train(Recipe(**offline))
    with pytest.raises(InputError, match="make an OnlineRecipe"):
        Recipe(**offline | {"objective": "rlhf"})
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(offline | {"reward": "length", "temperature": 0.7}))
    with pytest.raises(InputError, match="temperature cannot be set"):
        read(path)
    path.write_text(json.dumps(offline | {"samples_per_prompt": 3}))
    with pytest.raises(InputError, match="neither reward nor preference"):
        read(path)
    path.write_text(json.dumps(offline | {"reward": "length"}))
    assert read(path, {"objective": "rlhf", "beta": 0.5}).objective_options == {"beta": 0.5}


def test_texts_that_are_cut_are_told_of_once(folder, tmp_path, caplog):
    with caplog.at_level("WARNING", "distalign"):
        train(recipe(folder, output_dir=str(tmp_path), max_new_tokens=1), progress=False)
    told = [r.getMessage() for r in caplog.records if "were cut at max_new_tokens 1" in r.getMessage()]
    assert len(told) == 1


def test_users_of_a_file_judge_as_they_label(folder, tmp_path):
    users = tmp_path / "users.yaml"
    users.write_text(
        "name: two\nusers:\n  - {mixture: {length: 1}, weight: 2}\n  - {mixture: {length: -1}, weight: 1}\n"
        "bt_temperature: 3\n"
    )
    run = prepared(folder)
    texts = drawn(run)
    scores = {"scores": {"length": "tokens of the response"}}
    rows = tuple(replace(one, scores={"length": float(len(one.response_tokens))}) for one in texts.samples)
    write_samples(Samples(rows, scores), tmp_path / "ref.jsonl")
    asked = recipe(
        folder,
        "nlhf",
        preference=str(users),
        reference_samples=str(tmp_path / "ref.jsonl"),
        output_dir=str(tmp_path / "out"),
        max_steps=1,
    )
    judge = judge_of(asked)
    assert isinstance(judge, Population)
    expected = utilities_of(
        Samples(rows, scores), read_users(users), Scale.of(Samples(rows, scores), ["length"])
    )
    assert judge.margins(texts) == pytest.approx(2 * expected.win() - 1)
    assert np.abs(judge.margins(texts)).max() > 0.1
    train(asked, progress=False)
    write_samples(Samples(rows, {"scores": {"length": "characters"}}), tmp_path / "ref.jsonl")
    with pytest.raises(InputError, match="score the reference's draws in the same way"):
        judge_of(asked)


def test_the_example_users_have_a_name_as_in_label_and_predict(folder, tmp_path):
    scores = {name: score_of(name).identity for name in ("sentiment", "length")}
    texts = drawn(prepared(folder)).samples
    rows = tuple(replace(one, scores={name: float(k % 3) for name in scores}) for k, one in enumerate(texts))
    write_samples(Samples(rows, {"scores": scores}), tmp_path / "ref.jsonl")
    asked = recipe(
        folder,
        "nlhf",
        preference="readers",
        reference_samples=str(tmp_path / "ref.jsonl"),
        output_dir=str(tmp_path / "out"),
    )
    judge = judge_of(asked)
    assert isinstance(judge, Population)
    assert judge.users.groups == read_users("readers").groups


def test_a_preference_is_asked_once_a_pair_and_in_the_right_order(folder):
    run = prepared(folder, "nlhf")
    texts = drawn(run)
    at = places([one.response for one in texts.samples]).reshape(texts.shape)
    p = np.stack([win()[np.ix_(row, row)] for row in at])
    assert run.judge.margins(texts) == pytest.approx(2 * p - 1, abs=1e-12)
