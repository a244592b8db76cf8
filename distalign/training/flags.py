"""Command-line flags that override a recipe: its own fields, and the options of its objective."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, make_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from distalign.training.recipe import Recipe


@dataclass(frozen=True)
class Options:
    """Options of the objective; which ones an objective takes stands in its documentation.

    Attributes:
        alpha: rdro: share of preferred responses in the data.
        beta: strength of the pull to the reference.
        clip: chi_po: bound on the difference of rewards.
        desirable_weight: kto: weight of chosen responses.
        divergence: f_dpo: reverse_kl, forward_kl, jensen_shannon, alpha:0.3, ...
        epsilon: ddro: distance to the wall at which the stabiliser sets in.
        flip_rate: rdpo: share of flipped labels.
        form: wdpo: root or squared; rdro: logistic, rulsif or rkliep.
        kl: kto: reference point in nats.
        label_smoothing: cdpo: smoothing of the labels.
        margin: aot: margin of the hinge and square penalties.
        penalty: aot: logistic, squared_hinge, hinge or least_squares.
        prior: ddro: share of preferred responses in the data.
        radius: kldpo, wdpo: radius of the ball.
        ratio_loss: ddro: label_mle, logistic, lsif or kliep.
        reduction: rdro: class_mean or batch_mean.
        stabiliser: ddro: none, floor, linear_ratio, linear_log_ratio or squash.
        temperature: kldpo, dr_dpo, group_dpo: price of a nat.
        through: wdpo: ratio or policy.
        undesirable_weight: kto: weight of rejected responses.
        weights: kldpo: normalised or released.
    """

    alpha: float | None = None
    beta: float | None = None
    clip: float | None = None
    desirable_weight: float | None = None
    divergence: str | None = None
    epsilon: float | None = None
    flip_rate: float | None = None
    form: str | None = None
    kl: float | None = None
    label_smoothing: float | None = None
    margin: float | None = None
    penalty: str | None = None
    prior: float | None = None
    radius: float | None = None
    ratio_loss: str | None = None
    reduction: str | None = None
    stabiliser: str | None = None
    temperature: float | None = None
    through: str | None = None
    undesirable_weight: float | None = None
    weights: str | None = None


def given(flags: Any) -> dict[str, Any]:
    """Flags that were set, by name."""
    return {name: value for name, value in asdict(flags).items() if value is not None}


def _overrides() -> type:
    """A dataclass with each field of `Recipe` as a flag that may be left out."""
    hints = {name: hint for name, hint in get_type_hints(Recipe).items() if name != "objective_options"}
    made = make_dataclass(
        "Overrides", [(name, hint | None, field(default=None)) for name, hint in hints.items()], frozen=True
    )
    made.__doc__ = (Recipe.__doc__ or "").split("    Raises:")[0]
    return made


if TYPE_CHECKING:

    class Overrides:
        """Made below."""
else:
    Overrides = _overrides()
