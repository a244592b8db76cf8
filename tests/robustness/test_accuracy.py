"""Losses in single precision are right to single precision, at large batches and small radii, too."""

import pytest
import torch

from distalign.objectives import dpo, group_dpo, kldpo
from distalign.preferences import PreferenceLogProbs


def batch(n: int, dtype: torch.dtype, seed: int = 0, **fields) -> PreferenceLogProbs:
    draw = torch.Generator().manual_seed(seed)
    scores = [torch.randn(n, generator=draw, dtype=torch.float64).float().to(dtype) for _ in range(4)]
    return PreferenceLogProbs(*scores, **fields)


@pytest.mark.parametrize("radius", [1e-30, 1e-15, 1e-12, 1e-9, 1e-6])
@pytest.mark.parametrize("n", [10, 1000, 10_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kldpo_is_not_below_dpo(radius, n, dtype):
    """It was, by 1 %, at radius 1e-12 and n = 1e4 in single precision: frequencies did not sum to 1."""
    data = batch(n, dtype)
    plain, robust = float(dpo(data, beta=0.5)), float(kldpo(data, beta=0.5, radius=radius))
    exact = float(kldpo(batch(n, torch.float64), beta=0.5, radius=radius))
    assert robust >= plain * (1 - 1e-6 if dtype == torch.float32 else 1 - 1e-14)
    assert robust == pytest.approx(exact, rel=1e-5)


def test_group_dpo_of_a_million_pairs():
    """It was 0.1 % off: sums over groups were taken in single precision."""
    n = 1_000_000
    groups = (torch.arange(n) % 2) * (torch.arange(n) % 1000 == 1)
    single = group_dpo(batch(n, torch.float32, groups=groups), beta=0.5, temperature=0.1)
    double = group_dpo(batch(n, torch.float64, groups=groups), beta=0.5, temperature=0.1)
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(float(double), rel=2e-6)
