"""Point 6: one small table scored in micro-batches, by one process and by two."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from contract_cases import CASES
from contract_kit import Batch, Case
from torch import Tensor

from distalign.objectives import declared
from distalign.two_pass import gather_global, two_pass_backward

RESPONSES = 6
Rows = tuple[range, range]  # chosen and rejected rows


def data(case: Case) -> dict[str, Tensor]:
    """Seven chosen and as many or five rejected responses of one prompt, weighted, in groups."""
    m = 7 if declared(case.loss).data == "pairs" else 5
    g = torch.Generator().manual_seed(3)
    weights = torch.rand(7, generator=g).double()
    return {
        "y": torch.randint(RESPONSES, (7,), generator=g),
        "z": torch.randint(RESPONSES, (m,), generator=g),
        "weights": weights,
        "rejected_weights": weights if m == 7 else torch.rand(5, generator=g).double(),
    }


def score(theta: Tensor, case: Case, rows: Rows) -> Batch:
    d, (i, j) = data(case), (list(r) for r in rows)
    table = torch.log_softmax(theta, 0)
    ref = torch.log_softmax(torch.linspace(-1, 1, RESPONSES).double(), 0)
    return Batch(
        table[d["y"]][i],
        table[d["z"]][j],
        ref[d["y"]][i],
        ref[d["z"]][j],
        weights=d["weights"][i],
        rejected_weights=d["rejected_weights"][j],
        groups=d["y"][i] % 2,
        chosen_tokens=d["y"][i] + 1,
        rejected_tokens=d["z"][j] + 1,
    )


def start() -> Tensor:
    noise = 0.3 * torch.randn(RESPONSES, generator=torch.Generator().manual_seed(4)).double()
    return (torch.linspace(-1, 1, RESPONSES).double() + noise).requires_grad_()


def whole_gradient(case: Case) -> tuple[Tensor, Tensor]:
    theta = start()
    loss = case.loss(score(theta, case, (range(7), range(len(data(case)["z"])))))
    loss.backward()
    assert theta.grad is not None
    return loss.detach(), theta.grad


def micro_batches(case: Case, rank: int | None = None) -> list[Rows]:
    """Sizes 1, 4 and 2, or what one of two ranks has of them: 5 rows in two parts, and 2 rows."""
    if declared(case.loss).data == "pairs":
        parts = [(range(1), range(1)), (range(1, 5), range(1, 5)), (range(5, 7), range(5, 7))]
    else:
        parts = [(range(1), range(3)), (range(1, 5), range(3, 3)), (range(5, 7), range(3, 5))]
    return parts if rank is None else parts[:2] if rank == 0 else parts[2:]


def two_pass_gradient(case: Case, rank: int | None = None) -> tuple[Tensor, Tensor]:
    theta = start()
    gather = None if rank is None else gather_global
    loss = two_pass_backward(
        case.loss, lambda rows: score(theta, case, rows), micro_batches(case, rank), gather=gather
    )
    assert theta.grad is not None
    return loss, theta.grad


def run_rank(rank: int, folder: str) -> None:
    """Every case on one of two ranks; the gradients of the ranks are summed and written down."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {}
    for case in CASES:
        if 6 not in case.skip:
            loss, gradient = two_pass_gradient(case, rank)
            dist.all_reduce(gradient)
            found[case.name] = loss, gradient
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()
