"""WDPO's three methods against `distalign.objectives.wdpo` differentiated twice, on the whole batch."""

from functools import partial
from itertools import pairwise

import pytest
import torch

from distalign import objectives as o
from distalign.checks import InputError
from distalign.preferences import PreferenceLogProbs as Batch
from distalign.training import wasserstein
from distalign.training.data.batches import Batches, MicroBatch, reference_batch, split_scores
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.model.scorer import Scorer
from tests.training.tiny import tiny_llama

PAIRS, WIDTH = 8, 5
WEIGHTS = torch.rand(PAIRS, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.2
SPLITS = ([8], [3, 5], [1, 4, 1, 2])
CASES = [(form, through) for form in ("root", "squared") for through in ("policy", "ratio")]


class Reading(torch.nn.Module):
    """Log-probabilities of two texts of three tokens, each through embeddings, float64; two rows for each
    pair.
    """

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.table = torch.nn.Embedding(10, WIDTH, dtype=torch.float64)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3 * WIDTH, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
        ).double()

    def forward(self, rows):
        scores = 4 * self.layers(rows.flatten(1)).flatten()
        return scores[0::2], scores[1::2]


IDS = torch.randint(10, (PAIRS, 2, 3), generator=torch.Generator().manual_seed(1))
REFERENCE = Reading(seed=7).requires_grad_(False)


def owner(rows):
    return torch.arange(len(rows)).repeat_interleave(2)


def reader(model, ratio):
    return wasserstein.Reader(
        embed=lambda rows: model.table(IDS[rows].flatten(0, 1)),
        score=lambda rows, e: model(e),
        owner=owner,
        reference=(lambda rows, e: REFERENCE(e)) if ratio else None,
    )


def constants(model, rows):
    """The reference at the unmoved inputs."""
    with torch.no_grad():
        ref = REFERENCE(model.table(IDS[rows].flatten(0, 1)))
    return Batch(*ref, *ref, weights=WEIGHTS[rows])


def flat(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def twice(form, through, radius):
    """The objective itself on the whole batch: (value, gradient)."""
    model, rows = Reading(), torch.arange(PAIRS)
    sides = model.table(IDS[:, 0]), model.table(IDS[:, 1])
    e = torch.stack(sides, 1).flatten(0, 1)
    fixed = constants(model, rows)
    ref = REFERENCE(e) if through == "ratio" else (fixed.ref_chosen, fixed.ref_rejected)
    loss = o.wdpo(
        Batch(*model(e), *ref, weights=WEIGHTS, inputs=sides),
        beta=0.5,
        radius=radius,
        form=form,
        through=through,
    )
    loss.backward()
    return loss.detach(), flat(model)


def run(method, form, through, radius, sizes=(8,), **options):
    model = Reading()
    objective = partial(o.wdpo, beta=0.5, radius=radius, form=form, through=through)
    parts = torch.arange(PAIRS).split(list(sizes))
    found = wasserstein.backward(
        objective,
        reader(model, through == "ratio"),
        parts,
        [constants(model, r) for r in parts],
        method=method,
        **options,
    )
    return found, flat(model)


def dpo_gradient(through):
    return twice("squared", through, 0.0)[1]


def error(method, form, through, radius, **options):
    """Relative error of the penalty's part of the gradient."""
    plain, whole = dpo_gradient(through), twice(form, through, radius)[1]
    return float((run(method, form, through, radius, **options)[1] - whole).norm() / (whole - plain).norm())


@pytest.mark.parametrize(("form", "through"), CASES)
def test_double_backward_is_the_objective(form, through):
    value, gradient = twice(form, through, 0.3)
    for sizes in SPLITS:
        found, mine = run("double_backward", form, through, 0.3, sizes)
        torch.testing.assert_close(found.loss, value, rtol=1e-12, atol=0)
        assert (mine - gradient).norm() < 1e-12 * gradient.norm()


@pytest.mark.parametrize(("form", "through"), CASES)
@pytest.mark.parametrize("sizes", SPLITS)
def test_finite_difference_at_any_radius(form, through, sizes):
    for radius in (1e-3, 0.3, 3.0):
        assert error("finite_difference", form, through, radius, sizes=sizes) < 1e-6


@pytest.mark.parametrize(("form", "through"), CASES)
def test_finite_difference_is_of_second_order(form, through):
    errors = [error("finite_difference", form, through, 0.3, step=h) for h in (4e-2, 2e-2, 1e-2)]
    for coarse, fine in pairwise(errors):
        assert 3.5 < coarse / fine < 4.5


@pytest.mark.parametrize(("form", "through"), CASES)
def test_adversarial_is_of_first_order_in_the_radius(form, through):
    errors = [error("adversarial", form, through, radius) for radius in (4e-3, 2e-3, 1e-3)]
    assert errors[-1] < 2e-2
    for coarse, fine in pairwise(errors):
        assert 1.9 < coarse / fine < 2.1


@pytest.mark.parametrize(("form", "through"), CASES)
def test_adversarial_does_not_depend_on_micro_batches(form, through):
    found, whole = run("adversarial", form, through, 0.3)
    for sizes in SPLITS:
        again, mine = run("adversarial", form, through, 0.3, sizes)
        torch.testing.assert_close(again.loss, found.loss, rtol=1e-12, atol=0)
        assert (mine - whole).norm() < 1e-12 * whole.norm()


def test_a_root_of_each_micro_batch_is_another_objective():
    """The planted defect: the mean square over a micro-batch instead of the global batch."""
    gradient = twice("root", "policy", 0.3)[1]
    model = Reading()
    for rows in torch.arange(PAIRS).split([1, 4, 1, 2]):
        share = float(WEIGHTS[rows].sum() / WEIGHTS.sum())
        wasserstein.backward(
            partial(o.wdpo, beta=0.5, radius=0.3, through="policy"),
            reader(model, False),
            [rows],
            [constants(model, rows)],
            method="double_backward",
            scale=share,
        )
    assert (flat(model) - gradient).norm() > 0.01 * gradient.norm()


def test_radius_0_is_dpo_and_so_is_the_ratio_form_at_the_reference():
    gradient = dpo_gradient("policy")
    for method in ("adversarial", "finite_difference", "double_backward"):
        found, mine = run(method, "root", "policy", 0.0)
        assert (mine - gradient).norm() < 1e-12 * gradient.norm()
    model, rows = Reading(seed=7), torch.arange(PAIRS)
    objective = partial(o.wdpo, beta=0.5, radius=0.3, through="ratio")
    found = wasserstein.backward(objective, reader(model, True), [rows], [constants(model, rows)])
    torch.testing.assert_close(found.loss.item(), 0.6931471805599453)
    assert torch.isfinite(flat(model)).all()


def test_value_needs_no_parameter_gradient():
    model, rows = Reading(), torch.arange(PAIRS)
    with torch.no_grad():
        found = wasserstein.value(
            partial(o.wdpo, beta=0.5, radius=0.3, through="policy"),
            reader(model, False),
            [rows],
            [constants(model, rows)],
        )
    torch.testing.assert_close(found.loss, twice("root", "policy", 0.3)[0])
    assert all(p.grad is None for p in model.parameters())


# -- through the token embeddings of a language model --

DATA = PreferenceData.of([Example((1, 5, 9 + i), (7, 8 + i, 2), (11 + i, 2), line=i + 1) for i in range(4)])


def language_model(dtype=torch.float32, share=True, frozen=False, head="plain"):
    model = tiny_llama(dtype=dtype, attn_implementation="eager", initializer_range=0.1)
    model.model.embed_tokens.weight.requires_grad_(not frozen)
    return Scorer(model, share_prompt=share, head=head)


def llama_gradient(scorer, method, size=1, radius=0.05, form="root", **options):
    batches = Batches(DATA, 4, micro_batch_size=size, share_prompt=scorer.share_prompt)
    reference = torch.tensor([[-20.0, -15.0]] * 4)
    read = wasserstein.Reader(
        embed=lambda b: scorer.embed(laid(b)),
        score=lambda b, e: split_scores(DATA, b, scorer(laid(b), e)),
        owner=lambda b: laid(b).rows * b.counts,
    )

    def laid(batch: MicroBatch):
        return scorer.layout([DATA.examples[i].row() for i in batch.examples])

    share = batches.shares(0)[0]
    scorer.zero_grad()
    found = wasserstein.backward(
        partial(o.wdpo, beta=0.5, radius=radius, form=form, through="policy"),
        read,
        share,
        [reference_batch(DATA, b, reference) for b in share],
        method=method,
        **options,
    )
    return found, torch.cat([p.grad.double().flatten() for p in scorer.parameters() if p.grad is not None])


def distance(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_llama_by_three_methods(share, frozen):
    """A frozen embedding layer, as under an adapter, still gives embeddings that can be moved."""
    scorer = language_model(share=share, frozen=frozen)
    found, exact = llama_gradient(scorer, "double_backward", size=4)
    plain = llama_gradient(scorer, "double_backward", radius=0.0)[1]
    difference = llama_gradient(scorer, "finite_difference")[1]
    assert distance(difference - plain, exact - plain) < 1e-3
    near = [
        distance(
            llama_gradient(scorer, "adversarial", radius=r)[1] - plain,
            llama_gradient(scorer, "double_backward", radius=r)[1] - plain,
        )
        for r in (0.01, 0.005)
    ]
    assert 1.7 < near[0] / near[1] < 2.3
    assert distance(exact, llama_gradient(scorer, "double_backward", size=1)[1]) < 1e-5
    assert torch.isfinite(found.loss)


def test_a_shared_prompt_is_one_input_and_a_copied_one_two():
    """The definition counts the prompt once, the released code once for each copy: two objectives, told apart
    here.
    """
    shared, copied = (
        llama_gradient(language_model(share=share), "adversarial", radius=1.0)[0].loss
        for share in (True, False)
    )
    assert abs(shared - copied) > 1e-3


def test_half_precision():
    """bfloat16: finite differences take steps that embeddings can hold; a tiny step is lost to rounding (the
    control).
    """
    exact, plain = (llama_gradient(language_model(), "double_backward", radius=r)[1] for r in (1e-3, 0.0))
    half = language_model(torch.bfloat16)
    still = llama_gradient(half, "adversarial", radius=0.0)[1]

    def cosine(method, **options):
        part = llama_gradient(half, method, radius=1e-3, **options)[1] - still
        return float(torch.nn.functional.cosine_similarity(part, exact - plain, 0))

    assert cosine("finite_difference") > 0.9
    assert cosine("adversarial") > 0.6
    assert cosine("finite_difference", step=1e-4) < 0.5


def test_mistakes_get_a_sentence():
    model, rows = Reading(), torch.arange(2)
    parts = [rows], [constants(model, rows)]
    with pytest.raises(
        InputError, match=r"through='ratio' runs the reference at moved embeddings.*set lora_rank"
    ):
        wasserstein.backward(partial(o.wdpo, beta=0.5, radius=0.1), reader(model, False), *parts)
    with pytest.raises(InputError, match="this step is WDPO's"):
        wasserstein.backward(partial(o.dpo, beta=0.5), reader(model, False), *parts)
    with pytest.raises(InputError, match="wdpo_method must be one of"):
        wasserstein.backward(
            partial(o.wdpo, beta=0.5, radius=0.1, through="policy"),
            reader(model, False),
            *parts,
            method="twice",
        )
    with pytest.raises(InputError, match="the chunked head has first derivatives only"):
        llama_gradient(language_model(head="chunked"), "double_backward")
    flash = language_model(share=False)
    flash.model.set_attn_implementation("sdpa")
    with pytest.raises(InputError, match=r"differentiates the model twice.*use attn_implementation eager"):
        llama_gradient(flash, "double_backward")
