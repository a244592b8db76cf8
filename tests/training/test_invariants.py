"""What training promises of language models: rewards that start at 0, gradients that do not depend on how
they are computed, the order AOT <= DPO, KLDPO's weights, and one objective for the simulator and the
trainer."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch

from distalign import objectives as o
from distalign import step
from distalign.policies.tabular import Tabular
from distalign.preferences import PreferenceLogProbs
from distalign.progress import Voice
from distalign.training import prepare
from distalign.training.data.batches import MicroBatch, reference_batch, split_scores
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.model.scorer import Scorer
from distalign.training.parallel import World
from distalign.training.recipe import Recipe, objective_of
from distalign.training.run import Run
from tests.training.data_for_tests import recipe, write_unpaired

ALONE = World(0, 1, torch.device("cpu"))
LOG2 = torch.log(torch.tensor(2.0))
# Losses where all log-ratios are 0, by hand.
AT_REFERENCE = {
    "dpo": ({"beta": 0.1}, LOG2),
    "cdpo": ({"beta": 0.1, "label_smoothing": 0.1}, LOG2),
    "ipo": ({"beta": 0.1}, 25.0),
    "f_dpo": ({"beta": 0.1, "divergence": "jensen_shannon"}, LOG2),
    "aot_paired": ({"beta": 0.1}, None),
    "aot_unpaired": ({"beta": 0.1}, LOG2),
    "kldpo": ({"beta": 0.1, "temperature": 0.3}, LOG2),
    "kto": ({"beta": 0.1}, 0.5),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("invariants")
    write_unpaired(folder / "unpaired.jsonl", chosen=8, rejected=5)
    return folder


def prepared(recipe: Recipe) -> Run:
    return prepare.prepare(recipe, ALONE, Voice(heard=False), False)


def gradient(run: Run, at=0) -> tuple[step.StepResult, torch.Tensor]:
    """One step's result and gradient, before clipping."""
    result = run.backward(run.training.batches.shares(at)[0])
    flat = torch.cat([g.flatten() for g in run.optimiser.gradients()])
    run.optimiser.forget()
    return result, flat


def moved(found: Run, by: float = 0.03) -> Run:
    """The run with its policy away from the reference: all weights moved by 3 %."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in found.scorer.parameters():
            p.mul_(1 + by * torch.randn(p.shape, generator=draw))
    return found


@pytest.mark.parametrize("name", AT_REFERENCE)
@pytest.mark.parametrize(
    "cut",
    [
        {},
        {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
        {"micro_batch_tokens": 96, "max_length": 48},
    ],
)
def test_the_first_loss_is_the_closed_form_and_rewards_are_0_bit_for_bit(folder, tmp_path, name, cut):
    options, value = AT_REFERENCE[name]
    found = prepared(
        recipe(folder, objective=name, objective_options=options, reference_cache=str(tmp_path), **cut)
    )
    result, _ = gradient(found)
    assert torch.equal(result.batch.chosen, result.batch.ref_chosen)
    assert torch.equal(result.batch.rejected, result.batch.ref_rejected)
    if value is not None:
        torch.testing.assert_close(
            result.loss, torch.as_tensor(value, dtype=torch.float32), rtol=1e-6, atol=1e-6
        )


WAYS = {
    "whole": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
    "one by one": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
    "unequal": {"micro_batch_tokens": 96, "max_length": 48},
    "prompts copied": {"share_prompt": False, "max_length": 48},
    "recomputed": {"gradient_checkpointing": True, "max_length": 48},
    "small head": {"chunk_tokens": 1, "max_length": 48},
}
COUPLINGS = {
    "dpo": {},
    "aot_paired": {},
    "kldpo": {"temperature": 0.3},
    "dr_dpo": {"temperature": 0.5},
    "aot_unpaired": {},
    "kto": {},
    "rdro": {"alpha": 0.5, "beta": None},
}


@pytest.mark.parametrize("name", COUPLINGS)
def test_gradients_do_not_depend_on_how_a_batch_is_cut(folder, name):
    options = {k: v for k, v in ({"beta": 0.3} | COUPLINGS[name]).items() if v is not None}
    data = {"train_data": str(folder / "unpaired.jsonl")} if name in ("aot_unpaired", "kto", "rdro") else {}
    found = {}
    for way, changes in WAYS.items():
        found[way] = gradient(
            moved(prepared(recipe(folder, objective=name, objective_options=options, **data | changes)))
        )
    loss, whole = found["whole"][0].loss, found["whole"][1]
    for way, (result, mine) in found.items():
        torch.testing.assert_close(result.loss, loss, rtol=1e-5, atol=0, msg=way)
        assert (mine - whole).norm() < 1e-5 * whole.norm(), way
    other = gradient(
        moved(prepared(recipe(folder, objective=name, objective_options=options, seed=1, **data)))
    )[1]
    assert (
        other - whole
    ).norm() > 1e-2 * whole.norm()  # other lines are another gradient: the comparison can fail


def test_aot_of_the_global_batch_is_below_aot_of_micro_batches_is_below_dpo(folder):
    """Sorting couples cheapest under DPO's convex penalty: on one pair AOT is DPO, on micro-batches it lies
    between.
    """
    batch = gradient(moved(prepared(recipe(folder)), by=1.0))[0].batch
    dpo = float(o.dpo(_rows(batch, torch.arange(8)), beta=1.0))
    for name in ("aot_unpaired", "aot_paired"):
        aot = partial(getattr(o, name), beta=1.0)
        parts = [[_rows(batch, rows) for rows in torch.arange(8).split(size)] for size in (8, 4, 2, 1)]
        chain = [float(torch.stack([aot(part) for part in cut]).mean()) for cut in parts]
        assert all(a <= b + 1e-12 for a, b in pairwise(chain)), chain
        assert chain[0] < chain[2] < chain[3], chain
        assert chain[-1] == pytest.approx(dpo, rel=1e-12)


def _rows(batch, rows):
    return PreferenceLogProbs(
        *(s[rows].double() for s in (batch.chosen, batch.rejected, batch.ref_chosen, batch.ref_rejected))
    )


def test_kldpo_has_weights_of_mean_1_and_is_dpo_at_an_infinite_temperature(folder):
    """The gradient by the margins is minus beta p_i w_i sigma(-t_i): what is left of it is the weights."""

    def by_margin(name, **options):
        found = moved(prepared(recipe(folder, objective=name, objective_options={"beta": 0.5} | options)))
        result, flat = gradient(found)
        chosen = result.batch.chosen.detach().requires_grad_()
        (slope,) = torch.autograd.grad(found.objective(replace(result.batch, chosen=chosen)), chosen)
        t = 0.5 * (result.batch.margin - result.batch.ref_margin)
        return slope / (-0.5 * torch.sigmoid(-t)), flat

    ones, plain = by_margin("dpo")
    torch.testing.assert_close(ones, torch.full_like(ones, 1 / 8))
    weights, tilted = by_margin("kldpo", temperature=0.05)
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)
    assert weights.max() > 1.2 / 8
    assert (tilted - plain).norm() > 1e-2 * plain.norm()
    flat = by_margin("kldpo", temperature=1e6)[1]
    assert (flat - plain).norm() < 1e-5 * plain.norm()


def test_a_semantic_change_misses_the_cache_and_others_hit_it(folder, tmp_path, monkeypatch):
    scored = []
    original = prepare.reference_scores

    def counted(data, batches, updates, score, *args, **kwargs):
        def watched(part):
            scored.append(len(part.examples))
            return score(part)

        return original(data, batches, updates, watched, *args, **kwargs)

    monkeypatch.setattr(prepare, "reference_scores", counted)
    base = recipe(folder, reference_cache=str(tmp_path))

    def lines(**changes):
        scored.clear()
        prepared(replace(base, **changes))
        return sum(scored)

    assert lines() == 24
    for harmless in (
        {},
        {"seed": 3},
        {"learning_rate": 1e-4},
        {"output_dir": str(tmp_path / "out")},
        {"lora_rank": 4},
        {"objective": "kto"},
        {"per_device_train_batch_size": 4},
        {"share_prompt": False},
    ):
        assert lines(**harmless) == 0, harmless
    for semantic in (
        {"dtype": "bfloat16"},
        {"fp32_logits": False},
        {"attn_implementation": "eager"},
        {"chat_template": True},
    ):
        assert lines(**semantic) == 24, semantic
    assert 0 < lines(max_length=16, max_cut_share=1.0) < 24  # lines that were cut, and they alone


def test_simulator_and_trainer_minimise_one_function_object(folder):
    for name in AT_REFERENCE:
        found = objective_of(recipe(folder, objective=name, objective_options=AT_REFERENCE[name][0]))
        assert found.func is getattr(o, name)


def one_token_model(table):
    """A GPT-2 of no layers, float64, whose logits after the one-token prompt x are row x of a table; and its
    features.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=8, n_embd=8, n_layer=0, n_head=1, n_positions=16, tie_word_embeddings=False
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config).double().eval()
    with torch.no_grad():
        features = model.transformer(torch.arange(5)[:, None]).last_hidden_state[:, 0]
        model.lm_head.weight.copy_((torch.linalg.pinv(features) @ table).T)
    return model, features


def simulated(objective, table, ref, x, y, z):
    """Value and gradient by the table, as `distalign.simulation` has them: a tabular policy in the place of
    the model.
    """
    policy = Tabular(ref.softmax(-1))
    theta = (table - ref.log_softmax(-1)).flatten().requires_grad_()
    now, before = policy.log_probs(theta), policy.log_reference
    loss = objective(PreferenceLogProbs(now[x, y], now[x, z], before[x, y], before[x, z]))
    loss.backward()
    return loss.detach(), theta.grad.view_as(table)


@pytest.mark.parametrize("name", ["dpo", "aot_paired", "aot_unpaired", "kldpo", "kto", "ipo"])
def test_a_tabular_policy_and_a_one_token_language_model_agree(name):
    """One side: scorer, micro-batches and step of the trainer. Other side: the objective on a table, as in
    simulation.
    """
    draw = torch.Generator().manual_seed(0)
    table, ref = (torch.randn(5, 8, generator=draw, dtype=torch.float64) for _ in range(2))
    x, y, z = (torch.randint(high, (20,), generator=draw) for high in (5, 8, 8))
    z = torch.where(z == y, (z + 1) % 8, z)
    objective = partial(getattr(o, name), **{"beta": 0.4} | ({"temperature": 0.3} if name == "kldpo" else {}))
    data = PreferenceData.of([Example((int(a),), (int(b),), (int(c),)) for a, b, c in zip(x, y, z)])
    (model, features), reference = one_token_model(table), Scorer(one_token_model(ref)[0])
    scorer = Scorer(model)
    parts = [MicroBatch(tuple(rows.tolist())) for rows in torch.arange(20).split([3, 9, 1, 7])]

    def score(scorer, part):
        return split_scores(
            data, part, scorer(scorer.layout([data.examples[i].row() for i in part.examples]))
        )

    with torch.no_grad():
        log_probs = torch.stack(
            [torch.cat(side) for side in zip(*[score(reference, part) for part in parts])], 1
        )
    found = step.backward(
        objective, partial(score, scorer), parts, [reference_batch(data, part, log_probs) for part in parts]
    )
    value, gradient = simulated(objective, table, ref, x, y, z)
    assert abs(found.loss - value) < 1e-12
    assert (model.lm_head.weight.grad - gradient.T @ features).abs().max() < 1e-12
    assert gradient.abs().max() > 1e-3


def test_evaluation_does_not_depend_on_its_batches(folder):
    for name, options in (
        ("aot_unpaired", {"beta": 0.5}),
        ("wdpo", {"beta": 0.5, "radius": 0.1, "through": "policy"}),
    ):
        values = []
        for way in ("whole", "one by one", "unequal"):
            found = moved(
                prepared(
                    recipe(folder, objective=name, objective_options=options, eval_fraction=0.4, **WAYS[way])
                )
            )
            values.append(found.held_out_row())
        for other in values[1:]:
            assert other == pytest.approx(values[0], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("through", "rank"), [("policy", 0), ("ratio", 4)])
@pytest.mark.parametrize("form", ["root", "squared"])
def test_wdpo_by_three_methods_through_the_recipe(folder, form, through, rank):
    """sdpa, shared prompts, micro-batches of one pair; the adapter, where there is one, moved away from the
    reference.
    """
    gradients = {}
    for method, radius in (
        ("double_backward", 1e-3),
        ("finite_difference", 1e-3),
        ("adversarial", 1e-3),
        ("double_backward", 0.0),
    ):
        found = prepared(
            recipe(
                folder,
                objective="wdpo",
                lora_rank=rank,
                wdpo_method=method,
                per_device_train_batch_size=1,
                gradient_accumulation_steps=8,
                objective_options={"beta": 0.5, "radius": radius, "form": form, "through": through},
            )
        )
        first = gradient(found)[0]
        if rank:
            torch.testing.assert_close(first.loss, LOG2)  # the ratio form's penalty is 0 at the reference
        draw = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for p in found.optimiser.parameters.values():
                p.add_(0.02 * torch.randn(p.shape, generator=draw))
        gradients[method, radius] = gradient(found)[1]
    plain, exact = gradients["double_backward", 0.0], gradients["double_backward", 1e-3]

    parts = {method: gradients[method, 1e-3] - plain for method in ("finite_difference", "adversarial")}
    assert (parts["finite_difference"] - (exact - plain)).norm() < 5e-3 * (exact - plain).norm()
    # A step of the full radius along small slopes, and a random network curves: the direction is what is left
    # to see.
    assert torch.nn.functional.cosine_similarity(parts["adversarial"], exact - plain, 0) > 0.7
    assert (exact - plain).norm() > 1e-4 * plain.norm()


def test_a_micro_batch_is_laid_out_once_for_both_passes(folder, tmp_path, monkeypatch):
    """And the gradient is that of laying it out anew."""
    run = prepared(recipe(folder, objective="aot_paired", reference_cache=str(tmp_path)))
    share = run.training.batches.shares(0)[0]
    asked, layout = [], type(run.scorer).layout
    monkeypatch.setattr(
        type(run.scorer), "layout", lambda scorer, rows: (asked.append(1), layout(scorer, rows))[1]
    )

    def gradient():
        asked.clear()
        run.optimiser.forget()
        run.backward(share)
        return [g.clone() for g in run.optimiser.gradients()]

    kept = gradient()
    assert len(asked) == len(share) == 4
    monkeypatch.setattr(
        type(run), "_score_of_an_update", lambda run, data: lambda batch: run.score(data, batch)
    )
    anew = gradient()
    assert len(asked) == 8
    assert all(map(torch.equal, kept, anew))
