"""The ratio form's penalty starts at the reference policy, where its gradient norm is 0."""

import torch

from distalign.training.wasserstein import _inverse_root


def test_the_inverse_root_is_zero_at_zero_and_has_no_infinite_gradient():
    mean = torch.tensor([0.0, 4.0], dtype=torch.float64, requires_grad=True)
    found = _inverse_root(mean)
    assert found.tolist() == [0.0, 0.5]
    found.sum().backward()
    assert mean.grad.tolist() == [0.0, -1 / 16]
