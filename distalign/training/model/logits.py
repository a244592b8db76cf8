r"""What a model does to its logits after the linear head: measured on a few tokens, not read off its name.

With u = W h + b what the head gives for a hidden state, the models of transformers return

    z = a u                    a scale: Cohere, Granite, MiniCPM3 (a = 1 for most models)            (1)
    z = c tanh(a u / c)        a soft cap: Gemma 2, RecurrentGemma, VaultGemma, nanochat             (2)

Both are functions of one number at a time, so the tiled head (`distalign.training.model.head`) applies them
to a tile of logits, and multiplies by

    dz / du = a (1 - (z / c)^2)                                                                      (3)

(with the bracket 1 where there is no cap) in its derivatives. Which of them a model has is measured: a and c
are chosen so that (1) or (2) turns the head's u into the model's own z. A model of which neither holds is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogitMap:
    """z = cap * tanh(scale * u / cap), or z = scale * u where there is no cap.

    Attributes:
        scale: a in (1) and (2).
        cap: c in (2), or None.

    Example:
        >>> LogitMap(2.0)(torch.tensor([3.0])).tolist(), LogitMap(1.0, 1.0)(torch.tensor([99.0])).tolist()
        ([6.0], [1.0])
    """

    scale: float = 1.0
    cap: float | None = None

    @property
    def plain(self) -> bool:
        """Whether it changes nothing."""
        return self.scale == 1.0 and self.cap is None

    def __call__(self, raw: Tensor) -> Tensor:
        """The logits z that belong to the head's u, of any shape."""
        scaled = raw if self.scale == 1.0 else raw * self.scale
        return scaled if self.cap is None else self.cap * torch.tanh(scaled / self.cap)

    def slope(self, logits: Tensor) -> Tensor | float:
        """(3), dz / du, given z."""
        return self.scale if self.cap is None else self.scale * (1 - (logits / self.cap).square())


def fitted(raw: Tensor, logits: Tensor, config: Any) -> LogitMap | None:
    """The map that turns the head's values u into the model's logits z; None if neither (1) nor (2) does.

    The scale is the least-squares one, replaced by a number of the config, its inverse or a ratio of two such
    numbers where one is as good. Caps are tried from the numbers of the config, since a cap far above the
    logits of a probe cannot be told from its curvature in half precision.

    Args:
        raw: u of some tokens, any shape.
        logits: z of the same, in the model's dtype, which sets how well they must agree.
        config: of the model; its numbers at any depth are the candidates.

    Example:
        >>> u = torch.linspace(-3, 3, 50)
        >>> fitted(u, 4 * torch.tanh(u / 4), {"soft_cap": 4.0}), fitted(u, u**3, {})
        (LogitMap(scale=1.0, cap=4.0), None)
    """
    half = logits.dtype in (torch.bfloat16, torch.float16)
    tolerance = 2.0**-6 if half else 1e-4
    u, z = raw.detach().double().flatten(), logits.detach().double().flatten()
    if raw.shape == logits.shape and torch.equal(u, z):
        return LogitMap()
    numbers = sorted({abs(float(v)) for _, v in config_numbers(config) if v})
    best, error = None, torch.inf
    for cap in (None, *(c for c in numbers if float(z.abs().max()) < c * (1 + tolerance))):
        linear = z if cap is None else cap * torch.atanh((z / cap).clamp(-1 + 1e-6, 1 - 1e-6))
        inner = slice(None) if cap is None else z.abs() < 0.9 * cap
        scale = float((u[inner] @ linear[inner]) / (u[inner] @ u[inner]).clamp_min(1e-300))
        found = LogitMap(_nice(scale, numbers, 1e-3 if half else 1e-5), cap)
        residual = float((found(u) - z).square().mean().sqrt())
        if residual < 0.5 * error:  # a cap has to earn its place
            best, error = found, residual
    assert best is not None
    return best if float((best(u) - z).abs().max()) <= tolerance * float(z.abs().max()) else None


def _nice(scale: float, numbers: list[float], tolerance: float) -> float:
    """The simplest number of the config that the measured scale stands for, or the scale itself."""
    ratios = (a / b for a in numbers for b in numbers if a.is_integer() and b.is_integer())
    for group in ([1.0], numbers, (1 / n for n in numbers), ratios):
        near = [n for n in group if abs(n - scale) <= tolerance * abs(scale)]
        if near:
            return min(near, key=lambda n: abs(n - scale))
    return scale


def config_numbers(config: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """(dotted name, value) of every number of a config, in nested configs, mappings and lists too.

    Example:
        >>> sorted(config_numbers({"a": 1, "b": {"window": 2.5}, "c": [True, "x", 3]}))
        [('a', 1), ('b.window', 2.5), ('c', 3)]
    """
    if isinstance(config, bool) or config is None:
        return
    if isinstance(config, int | float):
        yield path, config
    elif isinstance(config, list | tuple | set):
        for value in config:
            yield from config_numbers(value, path)
    else:
        entries = config if isinstance(config, dict) else getattr(config, "__dict__", {})
        for name, value in entries.items():
            yield from config_numbers(value, f"{path}.{name}" if path else str(name))
