"""TRL's trainer with our objectives: exact over the global batch, beside TRL's own loss, which is not."""

import os
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch

from distalign.checks import InputError
from distalign.objectives import aot_paired, dpo, group_dpo, ipo, ipo_per_token, kldpo, rdpo
from tests.training.tiny import save_tiny, tiny_llama, tiny_tokenizer

trl = pytest.importorskip("trl")
pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's and torch's own deprecations

BETA = 0.5


def pairs(n=8):
    """Pairs whose lengths and words differ, so that log-ratios spread."""
    from datasets import Dataset

    words = ["good tea", "bad", "the tea is good", "token", "no", "yes the", "tea tea", "is"]
    rows = [
        {
            "prompt": f"the tea {i}:",
            "chosen": " " + words[i % 8] * (1 + i % 3),
            "rejected": " " + words[(3 * i + 1) % 8],
        }
        for i in range(n)
    ]
    return Dataset.from_list(rows)


def trained(folder, *, objective=None, batch, accumulation, steps=1, loss_type="sigmoid", **options):
    """Parameters after SGD steps (so that the update is the gradient), and the logged losses."""
    from distalign.integrations.trl import GlobalDPOTrainer

    model = save_tiny(folder / "model", seed=3)
    reference = tiny_llama(seed=4)  # another reference, so that the first step is no tie
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = trl.DPOConfig(
            output_dir=str(folder / "out"),
            per_device_train_batch_size=batch,
            max_steps=steps,
            gradient_accumulation_steps=accumulation,
            learning_rate=0.5,
            optim="sgd",
            max_grad_norm=1e9,
            lr_scheduler_type="constant",
            beta=BETA,
            loss_type=loss_type,
            use_cpu=True,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            gradient_checkpointing=False,
            bf16=False,
            max_length=64,
            disable_tqdm=True,
            label_smoothing=0.1 if loss_type == "robust" else 0.0,
            **options,
        )
        given = {} if objective is None else {"objective": objective}
        trainer = (GlobalDPOTrainer if objective else trl.DPOTrainer)(
            model=str(model),
            ref_model=reference,
            args=args,
            train_dataset=pairs(),
            eval_dataset=pairs(6),
            processing_class=tiny_tokenizer(),
            **given,
        )
        trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    flat = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    return flat, losses, trainer


def step_of(flat, folder):
    from transformers import LlamaForCausalLM

    start = LlamaForCausalLM.from_pretrained(folder / "model")
    return flat - torch.cat([p.detach().flatten() for p in start.parameters()])


def gap(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(
    "objective",
    [partial(aot_paired, beta=BETA), partial(kldpo, beta=BETA, temperature=0.5)],
    ids=["aot_paired", "kldpo"],
)
def test_coupled_objectives_do_not_depend_on_the_split(tmp_path, objective):
    whole, whole_loss, _ = trained(tmp_path, objective=objective, batch=8, accumulation=1)
    split, split_loss, _ = trained(tmp_path, objective=objective, batch=1, accumulation=8)
    assert gap(step_of(split, tmp_path), step_of(whole, tmp_path)) < 1e-5
    assert split_loss == pytest.approx(whole_loss, rel=1e-5)


def test_trl_own_aot_does_depend_on_the_split_and_is_dpo_at_one_pair(tmp_path):
    """The defect the bridge is for; it also shows that the comparison above can fail."""
    whole, _, _ = trained(tmp_path, loss_type="aot", batch=8, accumulation=1)
    split, _, _ = trained(tmp_path, loss_type="aot", batch=1, accumulation=8)
    plain, _, _ = trained(tmp_path, loss_type="sigmoid", batch=1, accumulation=8)
    assert gap(step_of(split, tmp_path), step_of(whole, tmp_path)) > 0.01
    assert gap(step_of(split, tmp_path), step_of(plain, tmp_path)) < 1e-5


@pytest.mark.parametrize(
    ("loss_type", "objective"),
    [
        ("sigmoid", partial(dpo, beta=BETA)),
        ("robust", partial(rdpo, beta=BETA, flip_rate=0.1)),
        ("ipo", partial(ipo_per_token, beta=BETA)),
        ("aot", partial(aot_paired, beta=BETA)),
    ],
    ids=["sigmoid", "robust", "ipo", "aot"],
)
def test_one_whole_batch_is_trl_own_step(tmp_path, loss_type, objective):
    theirs, loss, _ = trained(tmp_path, loss_type=loss_type, batch=8, accumulation=1)
    ours, own, _ = trained(tmp_path, objective=objective, batch=8, accumulation=1)
    assert gap(step_of(ours, tmp_path), step_of(theirs, tmp_path)) < 1e-5
    assert own == pytest.approx(loss, rel=1e-5)


def test_ipo_of_the_paper_is_not_trl_ipo(tmp_path):
    theirs, _, _ = trained(tmp_path, loss_type="ipo", batch=8, accumulation=1)
    paper, _, _ = trained(tmp_path, objective=partial(ipo, beta=BETA), batch=8, accumulation=1)
    assert gap(step_of(paper, tmp_path), step_of(theirs, tmp_path)) > 0.1


def test_eval_loss_is_the_objective_of_the_whole_set(tmp_path):
    found = []
    for size in (1, 4, 6):
        _, _, trainer = trained(
            tmp_path,
            objective=partial(aot_paired, beta=BETA),
            batch=8,
            accumulation=1,
            per_device_eval_batch_size=size,
        )
        found.append(trainer.evaluate()["eval_loss"])
    assert found == pytest.approx([found[0]] * 3, rel=1e-5)


def test_options_that_change_the_objective_are_refused(tmp_path):
    from distalign.integrations.trl import GlobalDPOTrainer

    with pytest.raises(InputError, match="groups"):
        GlobalDPOTrainer(objective=partial(group_dpo, beta=0.1, temperature=1.0))
    with pytest.raises(InputError, match="ld_alpha"):
        trained(tmp_path, objective=partial(dpo, beta=BETA), batch=8, accumulation=1, ld_alpha=0.5)


def test_another_trl_is_refused_with_a_sentence():
    code = (
        "import importlib.metadata as m; real = m.version\n"
        "m.version = lambda name: '9.9.9' if name == 'trl' else real(name)\n"
        "import distalign.integrations.trl"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "9.9.9" in run.stderr
    assert "distalign train" in run.stderr


WORKER = """
import sys, os, warnings
warnings.simplefilter("ignore")
from functools import partial
from pathlib import Path
import torch
from tests.integrations.test_trl_bridge import trained, BETA
from distalign.objectives import aot_paired
folder = Path(sys.argv[1]) / os.environ.get("RANK", "0")
accumulation = int(sys.argv[2])
flat, losses, trainer = trained(
    folder, objective=partial(aot_paired, beta=BETA), batch=2, accumulation=accumulation
)
if trainer.accelerator.is_main_process:
    torch.save((flat, trainer.accelerator.num_processes), sys.argv[3])
"""


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(tmp_path):
    worker, out, root = tmp_path / "worker.py", tmp_path / "two.pt", Path(__file__).parents[2]
    worker.write_text(WORKER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    run = subprocess.run(
        [*launch, str(worker), str(tmp_path), "2", str(out)],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    two, world = torch.load(out, weights_only=True)
    assert world == 2
    one, _, _ = trained(tmp_path, objective=partial(aot_paired, beta=BETA), batch=2, accumulation=4)
    assert gap(step_of(two, tmp_path / "0"), step_of(one, tmp_path)) < 1e-5
