"""Bad inputs made from signatures: every public function, every parameter, every way to be wrong.

The parameters of distalign have one meaning each (design: one vocabulary), so a good value and the ways to
spoil it go by the parameter's name. A function whose parameter has no entry here fails the walk: new names
are added with the function.

A call has one of five verdicts:

right      the answer is finite, or marked by its own status or certificate as not solved;
sentence   `InputError` with a sentence;
traceback  another exception;
accepted   an answer to an input that no answer can be right for, or NaN without a mark;
hang       no answer within the time limit.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import signal
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from distalign.checks import InputError
from distalign.preferences import PreferenceLogProbs

LIMIT = 10.0  # seconds

LAW = np.array([0.4, 0.3, 0.2, 0.1])
WIN = np.array([[0.5, 0.7, 0.6, 0.8], [0.3, 0.5, 0.6, 0.7], [0.4, 0.4, 0.5, 0.55], [0.2, 0.3, 0.45, 0.5]])
V = np.array([[1.0, 0.5], [-1.0, 0.3], [0.5, -1.0], [-0.4, -0.6]])
COST = np.linalg.norm(V[:, None] - V, axis=-1)
TIMES = 3  # numbers from nowhere, so that no value is special

nan, inf, denormal = np.nan, np.inf, 5e-324


@dataclass(frozen=True)
class Case:
    """One call with one spoilt argument.

    Attributes:
        function: dotted name.
        parameter: which argument is spoilt.
        label: how.
        call: makes the call.
        invalid: whether no answer can be right.
    """

    function: str
    parameter: str
    label: str
    call: Callable[[], Any]
    invalid: bool

    @property
    def name(self) -> str:
        return f"{self.function}({self.parameter}: {self.label})"


# -- ways to spoil a value: (label, value, whether no answer can be right) --

Spoilt = Iterator[tuple[str, Any, bool]]


def _entry(array: np.ndarray, value: float) -> np.ndarray:
    out = np.array(array, float)
    out.flat[out.size // 2] = value
    return out


def _misshapen(array: np.ndarray) -> Spoilt:
    yield "one entry less", array[:-1], True
    yield "empty", array[:0], True
    yield "a number", 0.5, True
    yield "text", "text", True
    yield "none", None, True
    yield "ragged", [[1.0], [1.0, 2.0]], True


def reals(array: np.ndarray) -> Spoilt:
    """Any finite numbers."""
    yield "nan", _entry(array, nan), True
    yield "inf", _entry(array, inf), True
    yield "-inf", _entry(array, -inf), True
    yield "all nan", np.full_like(array, nan), True
    for label, value in (("denormal", denormal), ("huge", 1e300), ("tiny", 1e-300), ("zero", 0.0)):
        yield label, _entry(array, value), False
    yield "all zero", np.zeros_like(array), False
    yield "all equal", np.ones_like(array), False
    yield "all huge", array * 1e300, False
    yield "all tiny", array * 1e-300, False
    yield from _misshapen(array)


def vector(array: np.ndarray) -> Spoilt:
    """A vector that needs no fellow of its length."""
    yield from ((label, value, bad) for label, value, bad in reals(array) if label != "one entry less")


def law(array: np.ndarray) -> Spoilt:
    """Probabilities."""
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("huge", 1e300), ("negative", -0.1)):
        yield label, _entry(array, value), True
    negative = array.copy()
    negative[array.argmax()], negative[array.argmin()] = array.max() + 1, array.min() - 1
    yield "negative of sum 1", negative, True
    yield "sum 1.1", array * 1.1, True
    yield "sum 0", array * 0, True
    yield "all denormal", np.full_like(array, denormal), True
    moved = array.copy()
    moved[0], moved[1] = moved[0] + moved[1] - denormal, denormal
    yield "denormal", moved, False
    yield "point", np.eye(len(array))[0], False
    zero = array.copy()
    zero[0], zero[1] = zero[0] + zero[1], 0
    yield "zero", zero, False
    yield from _misshapen(array)


def lone_law(array: np.ndarray) -> Spoilt:
    """Probabilities of as many alternatives as there are."""
    return ((label, value, bad) for label, value, bad in law(array) if label != "one entry less")


def weights(array: np.ndarray) -> Spoilt:
    """Relative frequencies of any sum."""
    return ((label, value, bad and label != "sum 1.1") for label, value, bad in law(array))


def log_law(array: np.ndarray) -> Spoilt:
    """Log-probabilities of full support."""
    for label, value in (("nan", nan), ("inf", inf), ("huge", 1e300)):
        yield label, _entry(array, value), True
    yield "sum e", array + 1, True
    yield "sum 0", array - 1e6, True
    yield from _misshapen(array)


def win(array: np.ndarray) -> Spoilt:
    """A matrix with P + P' = 1."""
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("huge", 1e300), ("negative", -0.1)):
        yield label, _entry(array, value), True
    yield "no sum 1", array + 0.1, True
    out = array.copy()
    out[0, 1], out[1, 0] = 1.5, -0.5
    yield "above 1", out, True
    yield "certain", np.where(array > 0.5, 1.0, np.where(array < 0.5, 0.0, 0.5)), False
    yield "ties", np.full_like(array, 0.5), False
    yield "no square", array[:, :-1], True
    yield from _misshapen(array)


def counts(array: np.ndarray) -> Spoilt:
    """Counts of wins."""
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("negative", -1.0)):
        yield label, _entry(array, value), True
    yield "huge", _entry(array, 1e300), False
    yield "all zero", array * 0, True
    yield "no square", array[:, :-1], True
    yield from _misshapen(array)


def cost(array: np.ndarray) -> Spoilt:
    """A symmetric matrix of distances."""
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("negative", -1.0), ("lopsided", 7.0)):
        out = array.copy()
        out[0, 2] = value
        yield label, out, True
    yield "diagonal", array + 1, True
    yield "no square", array[:, :-1], True
    yield "all zero", array * 0, False
    yield "all huge", array * 1e300, False
    yield "all tiny", array * 1e-300, False
    yield from ((label, value, bad) for label, value, bad in _misshapen(array) if label != "none")


def _words() -> Spoilt:
    yield "text", "text", True
    yield "list", ["a"], True
    yield "empty", [], False  # a batch of no problems has no answers; where one number is asked, a sentence
    yield "nan", nan, True
    yield "-inf", -inf, True


def positive(value: float) -> Spoilt:
    """A number above 0."""
    yield from _words()
    yield "zero", 0.0, True
    yield "negative", -1.0, True
    for label, number in (("tiny", 1e-300), ("denormal", denormal), ("huge", 1e300)):
        yield label, number, False
    yield "inf", inf, False


def nonnegative(value: float) -> Spoilt:
    """A number of at least 0."""
    yield from ((label, number, bad and label != "zero") for label, number, bad in positive(value))


def unit(value: float) -> Spoilt:
    """A number strictly between 0 and 1."""
    yield from _words()
    for label, number in (("zero", 0.0), ("one", 1.0), ("negative", -0.1), ("above 1", 1.1), ("inf", inf)):
        yield label, number, True
    for label, number in (("denormal", denormal), ("almost 1", 1 - 1e-16)):
        yield label, number, False


def half_unit(value: float) -> Spoilt:
    """A number in [0, 1/2)."""
    yield from _words()
    for label, number in (("negative", -0.1), ("half", 0.5), ("inf", inf)):
        yield label, number, True
    for label, number in (("zero", 0.0), ("denormal", denormal)):
        yield label, number, False


def level(value: float) -> Spoilt:
    """A number between two others."""
    yield from _words()
    for label, number in (("inf", inf), ("huge", 1e300), ("too low", -5.0), ("none", None)):
        yield label, number, True


def choice(value: str) -> Spoilt:
    """One of a few words."""
    for label, word in (("unknown", "unknown"), ("nan", nan), ("number", 3), ("list", []), ("empty", "")):
        yield label, word, True


def whole(value: int) -> Spoilt:
    """A whole number."""
    yield from ((label, number, bad) for label, number, bad in _words())
    for label, number in (("half", 1.5), ("inf", inf)):
        yield label, number, True


def optional(kind: Callable[[Any], Spoilt]) -> Callable[[Any], Spoilt]:
    """A kind of value that may be left out."""
    return lambda value: ((label, x, bad and x is not None) for label, x, bad in kind(value))


# -- good values by name --

Good = dict[str, tuple[Any, Callable[[Any], Spoilt]]]

SOLVERS: Good = {
    "v": (V, reals),
    "p": (LAW, law),
    "cost": (COST, cost),
    "radius": (0.05, positive),
    "beta": (0.7, positive),
    "order": (1.0, positive),
    "norm": ("l2", choice),
    "eta": (0.5, positive),
    "temperature": (1.3, positive),
    "flip_cost": (0.9, positive),
    "losses": (np.array([0.3, 0.7, 0.1, 1.2]), reals),
    "seed": (0, whole),
    "chosen": (LAW, law),
    "rejected": (LAW[::-1].copy(), law),
    "ref": (np.full(4, 0.25), law),
    "prior": (0.5, unit),
    "alpha": (0.5, unit),
    "share": (0.5, unit),
    "domain": ("everywhere", choice),
    "reward": (np.array([1.0, 0.3, 0.2, -0.5]), reals),
    "target": (0.4, level),
    "f": ("reverse_kl", choice),
    "wins": (np.array([[0, 3, 2, 4], [1, 0, 3, 2], [2, 1, 0, 2], [1, 1, 1, 0.0]]), counts),
    "values": (np.array([1.0, 3.0, 2.0, 7.0]), vector),
    "strength": (0.4, positive),
    "win": (WIN, win),
    "comparison": (LAW, weights),
    "first_choices": (LAW, vector),
    "bt_temperature": (2.0, positive),
    "best": (0, whole),
    "winner": (1, whole),
    "epsilon": (1e-2, unit),
    "log_reference": (np.log(LAW), log_law),
    "log_policy": (np.log(LAW[::-1]), log_law),
    "kl_budget": (0.1, nonnegative),
    "quantile": (0.45, unit),
    "window": (0.375, positive),
    "avg_utility": (np.array([0.1, 0.9, 0.5, 0.2]), reals),
    "policy": (LAW, law),
    "lottery": (np.array([0.5, 0.5]), law),
    "ties": ("adversarial", choice),
    "steps": (50, whole),
}
"""Vocabulary of the solvers."""

SPECIAL: dict[str, Good] = {
    "distalign.solvers.robust.euclidean_collapse_radius": {"order": (2, positive)},
    "distalign.solvers.choice.borda_worst_population": {"comparison": (np.array([0.0, 1.0, 0.0]), lone_law)},
    "distalign.solvers.choice.plurality": {"first_choices": (LAW, law)},
    "distalign.solvers.choice.random_dictator": {"first_choices": (LAW, law)},
    "distalign.solvers.choice.distortion": {"policy": (np.array([0.41, 0.29, 0.2, 0.1]), law)},
    "distalign.solvers.soft_sort": {"values": (np.array([1.0, 3.0, 2.0, 7.0]), vector)},
    "distalign.solvers.choice.borda": {"comparison": (LAW, law)},
    "distalign.solvers.choice.borda_scores": {"comparison": (LAW, law)},
    "distalign.solvers.robust.regularity_number": {"radius": (0.05, nonnegative)},
}
"""Where a name needs another good value for one function."""

ROOMS = ("distalign.solvers", "distalign.solvers.robust", "distalign.solvers.choice")
NO_INPUT = {"distalign.solvers.batched_newton"}  # takes a function, which it does not check


def solver_cases() -> Iterator[Case]:
    """Every public function of the solvers, one spoilt argument at a time."""
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            function, dotted = getattr(module, name), f"{room}.{name}"
            if inspect.isclass(function) or dotted in NO_INPUT:
                continue
            good = SOLVERS | SPECIAL.get(dotted, {})
            parameters = inspect.signature(function).parameters
            for parameter in parameters:
                value, spoil = good[parameter]
                if parameters[parameter].default is None:
                    spoil = optional(spoil)
                for label, spoilt, invalid in spoil(value):
                    arguments = {key: good[key][0] for key in parameters} | {parameter: spoilt}
                    if name == "fit" and parameter != "norm":
                        arguments.pop("norm")
                    yield Case(dotted, parameter, label, _bound(function, arguments), invalid)


def _bound(function: Callable[..., Any], arguments: dict[str, Any]) -> Callable[[], Any]:
    def call() -> Any:
        out = function(**arguments)
        return next(out) if isinstance(out, types.GeneratorType) else out

    return call


OPTIONS: dict[str, dict[str, tuple[Any, Callable[[Any], Spoilt]]]] = {
    "beta": (0.3, positive),
    "penalty": ("logistic", choice),
    "margin": (0.2, optional(nonnegative)),
    "label_smoothing": (0.1, half_unit),
    "flip_rate": (0.1, half_unit),
    "clip": (10.0, positive),
    "prior": (0.4, unit),
    "alpha": (0.4, unit),
    "ratio_loss": ("label_mle", choice),
    "stabiliser": ("floor", choice),
    "epsilon": (0.05, unit),
    "temperature": (0.8, positive),
    "divergence": ("jensen_shannon", choice),
    "radius": (0.1, nonnegative),
    "weights": ("normalised", choice),
    "desirable_weight": (1.0, nonnegative),
    "undesirable_weight": (1.0, nonnegative),
    "kl": (0.1, optional(nonnegative)),
    "form": (None, choice),
    "reduction": ("class_mean", choice),
    "through": ("policy", choice),
}  # type: ignore[assignment]
"""Vocabulary of the objectives' options."""
_FORMS = {"rdro": "logistic", "wdpo": "root"}
_LEFT_OUT = {"aot_paired": {"margin"}, "aot_unpaired": {"margin"}, "kldpo": {"radius"}}


def _weights(array: np.ndarray) -> Spoilt:
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf), ("negative", -1.0)):
        yield label, _entry(array, value), True
    yield "all zero", array * 0, True
    for label, value in (("denormal", denormal), ("tiny", 1e-300), ("zero", 0.0), ("huge", 1e30)):
        yield label, _entry(array, value), False
    for label, scale in (("all tiny", 1e-300), ("all denormal", 5e-324), ("all huge", 1e308)):
        yield label, np.full_like(array, scale), False
    yield "one entry less", array[:-1], True


def _tokens(array: np.ndarray) -> Spoilt:
    for label, value in (("zero", 0), ("negative", -2)):
        out = array.copy()
        out[1] = value
        yield label, out, True
    yield "one entry less", array[:-1], True


def _scores(array: np.ndarray) -> Spoilt:
    for label, value in (("nan", nan), ("inf", inf), ("-inf", -inf)):
        yield label, _entry(array, value), True
    for label, value in (("denormal", -denormal), ("-1e4", -1e4), ("-1e30", -1e30), ("positive", 3.0)):
        yield label, _entry(array, value), False
    yield "one entry less", array[:-1], True
    yield "empty", array[:0], True
    yield "table", array[:, None] * np.ones(2), True


N = 10
FIELDS: Good = {
    "chosen": (-np.linspace(1, 9, N), _scores),
    "rejected": (-np.linspace(9, 2, N), _scores),
    "ref_chosen": (-np.linspace(2, 8, N), _scores),
    "ref_rejected": (-np.linspace(8, 3, N), _scores),
    "weights": (np.linspace(1, 2, N), _weights),
    "rejected_weights": (np.linspace(1, 2, N), _weights),
    "groups": (np.arange(N) % 3, lambda array: iter([("one entry less", array[:-1], True)])),
    "chosen_tokens": (np.arange(1, N + 1), _tokens),
    "rejected_tokens": (np.arange(2, N + 2), _tokens),
}


def objective_cases() -> Iterator[Case]:
    """Every objective, one spoilt field of its batch or one spoilt option at a time, in both precisions."""
    from distalign import objectives

    for name in objectives.names():
        loss = getattr(objectives, name)
        needs = objectives.declared(loss).needs
        parameters = inspect.signature(loss).parameters
        taken = [key for key in parameters if key != "batch" and key not in _LEFT_OUT.get(name, ())]
        options = {key: OPTIONS[key][0] for key in taken} | (
            {"form": _FORMS[name]} if "form" in parameters else {}
        )
        for dtype in (torch.float32, torch.float64):
            for key in taken:
                for label, spoilt, invalid in OPTIONS[key][1](OPTIONS[key][0]):
                    yield Case(
                        f"distalign.objectives.{name}",
                        key,
                        f"{label}, {dtype}",
                        _loss(loss, {}, options | {key: spoilt}, dtype),
                        invalid,
                    )
            for field, (value, spoil) in FIELDS.items():
                if field.endswith("tokens") and field not in needs:
                    continue
                for label, spoilt, invalid in spoil(value):
                    unused = objectives.declared(loss).data == "chosen" and "rejected" in field
                    yield Case(
                        f"distalign.objectives.{name}",
                        field,
                        f"{label}, {dtype}",
                        _loss(loss, {field: spoilt}, options, dtype),
                        invalid and not unused,
                    )


def _loss(loss: Callable[..., Any], fields: dict[str, Any], options: dict[str, Any], dtype: torch.dtype):
    def call() -> Any:
        values = {name: good for name, (good, _) in FIELDS.items()} | fields
        batch = {
            name: torch.tensor(v).to(
                dtype if name in ("chosen", "rejected", "ref_chosen", "ref_rejected") else None
            )
            for name, v in values.items()
        }
        features = torch.linspace(-1, 1, 2 * N, dtype=dtype).reshape(N, 2).requires_grad_()
        if batch["chosen"].shape == (N,):
            batch["chosen"] = batch["chosen"] + features.sum(1)
        return loss(PreferenceLogProbs(**batch, inputs=(features,)), **options)

    return call


def metric_cases() -> Iterator[Case]:
    """`distalign.metrics`."""
    from distalign.preferences import metrics

    for label, spoilt, invalid in positive(1.0):
        yield Case(
            "distalign.metrics",
            "beta",
            label,
            _loss(metrics, {}, {"beta": spoilt}, torch.float64),
            invalid or label == "inf",
        )
    for field, (value, spoil) in FIELDS.items():
        if field.endswith("tokens"):
            continue
        for label, spoilt, invalid in spoil(value):
            yield Case(
                "distalign.metrics", field, label, _loss(metrics, {field: spoilt}, {}, torch.float32), invalid
            )


def cases() -> Iterator[Case]:
    """All of them."""
    yield from solver_cases()
    yield from objective_cases()
    yield from metric_cases()


# -- verdicts --


class Late(Exception):
    """The call took longer than the limit."""


def _alarm(number: int, frame: object) -> None:
    raise Late


def verdict(case: Case, limit: float = LIMIT) -> tuple[str, str]:
    """(verdict, what was seen)."""
    before = signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            out = case.call()
    except InputError as error:
        return ("sentence" if len(str(error)) > 20 else "traceback"), str(error)
    except Late:
        return "hang", f"longer than {limit} s"
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if case.invalid:
        return "accepted", repr(out)[:200]
    return ("right" if sound(out) else "accepted"), repr(out)[:200]


def sound(out: Any) -> bool:
    """Whether an answer holds no NaN that its own status or certificate does not mark."""
    if out is None or isinstance(out, str | bool):
        return True
    if isinstance(out, tuple | list):
        return all(map(sound, out))
    if isinstance(out, dict):
        return all(map(sound, out.values()))
    if isinstance(out, torch.Tensor):
        return bool(torch.isfinite(out).all())
    if not dataclasses.is_dataclass(out):
        return not np.isnan(np.asarray(out, float)).any()
    marked = getattr(out, "certified", None)
    if marked is not None:
        return not marked or (sound(getattr(out, "log_policy", 0.0)) and sound(getattr(out, "reward", 0.0)))
    solved = np.asarray(getattr(out, "solved", True))
    if hasattr(out, "mass_defect"):
        return bool((out.mass_defect < 1e-6).all() and np.isfinite(out.stationarity).all())
    names = [f.name for f in dataclasses.fields(out) if f.name not in ("worst_case", "status", "solved")]
    for name in names:
        values = np.asarray(getattr(out, name), float)
        rows = values[solved] if solved.ndim and values.shape[:1] == solved.shape else values
        if np.isnan(rows).any():
            return not solved.all() and solved.ndim == 0
    return True
