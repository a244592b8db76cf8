"""What a model does, measured on a few made-up tokens before anything is scored.

Names and settings of models say too little: a window hides in a nested config, a soft cap behind a new name.
So every property on which the scorer relies is tried out on the model itself: that its logits are a known
function of its backbone's states, that a token's state depends on no later token, and that responses behind
a shared prompt have the states they have alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distalign.checks import InputError
from distalign.training.data.packing import layout
from distalign.training.data.rows import TokenRow
from distalign.training.model.logits import LogitMap, config_numbers, fitted
from distalign.training.model.shared_prompt import Sharing

if TYPE_CHECKING:
    from distalign.training.model.scorer import Scorer

_LENGTH = 17
_REPEATS = 12
"""Further passes of a model that draws random numbers: routing that is random half of the time escapes once
in 4,096 runs.
"""
_LONGEST = 512
"""Windows up to this size that a model does not leave to transformers' masks are probed with longer texts."""
_WINDOWS = re.compile(r"window|chunk|block|local|span|stride|segment|landmark|top_?k", re.IGNORECASE)
_ELSEWHERE = re.compile(r"vision|audio|image|video|feed_forward|experts|layers$", re.IGNORECASE)
_POSITIONS = re.compile(r"(max_position_embeddings|n_positions|n_ctx|max_target_positions)$")
_FAILS = (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError, NotImplementedError)


def tokens(n: int, start: int = 0) -> tuple[int, ...]:
    """n made-up token ids in 3..33, where special tokens are rare."""
    return tuple(3 + (7 * i * i + 3 * i + start) % 31 for i in range(n))


def find_backbone(causal: Any) -> tuple[str, LogitMap]:
    """(name of the module whose states the head reads, what is done to the logits after the head).

    Raises:
        InputError: no module's states give the model's logits by the head, a scale and a soft cap, or the
            logits are not finite.
    """
    head = causal.get_output_embeddings()
    ids = _ids(causal, _length(causal))
    with torch.no_grad(), _evaluating(causal):
        try:
            logits = causal(input_ids=ids, use_cache=False).logits
        except _FAILS as error:
            raise InputError(
                f"{type(causal).__name__} does not run on plain text ({_first_line(error)}): this model is "
                "not supported"
            ) from error
        if not bool(logits.isfinite().all()):
            raise InputError(_not_finite(causal))
        for name in _candidates(causal):
            states = _states(causal.get_submodule(name), head, ids)
            if states is None:
                continue
            raw = nn.functional.linear(states, head.weight, head.bias)
            if (found := fitted(raw, logits, causal.config)) is not None:
                _check_learned(causal, name, ids)
                return name, found
        if not torch.equal(logits, causal(input_ids=ids, use_cache=False).logits):
            raise InputError(_random(causal))
    raise InputError(
        f"{type(causal).__name__} does more to its logits than a linear head, a scale and a soft cap, which "
        "the chunked head would leave out: this model is not supported"
    )


def _check_learned(causal: Any, backbone: str, ids: Tensor) -> None:
    """Raise where a trained parameter outside of backbone and head changes the logits: a learned scale.

    Only parameters that require gradients count: a frozen one is part of what was measured.
    """
    head = causal.get_output_embeddings()
    inside = {id(p) for p in causal.get_submodule(backbone).parameters()} | {id(head.weight), id(head.bias)}
    outside = {n: p for n, p in causal.named_parameters() if p.requires_grad and id(p) not in inside}
    if not outside:
        return
    with torch.enable_grad():
        logits = causal(input_ids=ids, use_cache=False).logits
        slopes = torch.autograd.grad(logits.float().square().sum(), list(outside.values()), allow_unused=True)
    learned = [name for name, slope in zip(outside, slopes) if slope is not None and bool(slope.any())]
    if learned:
        raise InputError(
            f"{type(causal).__name__} learns {learned[0]} after its hidden states, whose gradient the "
            "chunked head would leave out: train adapters (lora_rank), which keep it as it is"
        )


def _candidates(causal: Any) -> Iterator[str]:
    """Names of modules that may be the backbone, the usual one first; never the model itself."""
    usual = getattr(causal, "base_model_prefix", "")
    seen = {""}
    modules = dict(causal.named_modules())
    for name in (usual, *(n for n in modules if n.count(".") < 2)):
        module = modules.get(name)
        if name not in seen and module is not None and not isinstance(module, nn.ModuleList | nn.Linear):
            seen.add(name)
            yield name


def _states(module: Any, head: nn.Linear, ids: Tensor) -> Tensor | None:
    """(1, n, H) states of a module run on tokens; None where it does not take tokens or give such states."""
    try:
        out = module(input_ids=ids, use_cache=False)
        states = last_states(out)
    except _FAILS:
        return None
    fits = isinstance(states, Tensor) and states.shape == (*ids.shape, head.in_features)
    return states.to(head.weight.dtype) if fits and states.is_floating_point() else None


def last_states(out: Any) -> Tensor:
    """(B, L, H) states that a backbone returns last."""
    states = getattr(out, "last_hidden_state", None)
    return out[0] if states is None else states


def _not_finite(causal: Any) -> str:
    bad = [n for n, p in causal.named_parameters() if p.is_floating_point() and not bool(p.isfinite().all())]
    why = f"{bad[0]} holds NaN or infinity" if bad else "they overflow: try another dtype"
    return f"the logits of {type(causal).__name__} are not finite; {why}"


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; not for 4-bit weights, which bitsandbytes repacks on a CPU in that mode."""
    modules = [m for m in model.modules() if m.training]
    if getattr(model, "is_loaded_in_4bit", False):
        modules = []
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True


def silence_noise(scorer: Scorer) -> None:
    """Set the noise of routers to 0 where that leaves evaluation as it is.

    In most mixtures `router_jitter_noise` only multiplies by random numbers in training; in PhiMoE it is a
    threshold of the routing itself, and is left alone.
    """
    noise = [
        (module, name, value)
        for module in scorer.causal.modules()
        for name, value in vars(module).items()
        if "jitter" in name and isinstance(value, float) and value
    ]
    if not noise:
        return
    ids = _ids(scorer.causal, _length(scorer.causal))
    with torch.no_grad(), _evaluating(scorer.causal):
        before = scorer.backbone(input_ids=ids)
        for module, name, _ in noise:
            setattr(module, name, 0.0)
        if _differ(scorer.backbone(input_ids=ids), before, scorer):
            for module, name, value in noise:
                setattr(module, name, value)


def _random(causal: Any) -> str:
    return (
        f"{type(causal).__name__} gives the same tokens other states each time: dropout or random routing is "
        "active, so two passes would not agree; set it to 0 in config.json"
    )


def check_causal(scorer: Scorer) -> None:
    """Raise unless a token's state is the same every time, in training as in evaluation, whatever follows it.

    Raises:
        InputError: states are random (dropout), differ between the modes, or depend on later tokens or on
            padding.
    """
    n = _probe_length(scorer)
    ids = _ids(scorer.causal, n)
    first, name = ids[:, : n // 2 + 1], type(scorer.causal).__name__
    with torch.no_grad():
        before = _random_states(ids.device)
        whole, alone = scorer.backbone(input_ids=ids), scorer.backbone(input_ids=first)
        with _evaluating(scorer.causal):
            evaluated = scorer.backbone(input_ids=ids)
        random = any(not torch.equal(a, b) for a, b in zip(before, _random_states(ids.device)))
        # one pass that draws random numbers can agree with another by luck
        if any(_differ(scorer.backbone(input_ids=ids), whole, scorer) for _ in range(_REPEATS * random)):
            raise InputError(_random(scorer.causal))
        if not _differ(whole, evaluated, scorer) and not _differ(whole[:, : n // 2 + 1], alone, scorer):
            return
        if _differ(scorer.backbone(input_ids=ids), whole, scorer):
            raise InputError(_random(scorer.causal))
        with _evaluating(scorer.causal):
            alone = scorer.backbone(input_ids=first)
    if _differ(evaluated[:, : n // 2 + 1], alone, scorer):
        raise InputError(
            f"{name} gives a token another state when other tokens follow it: it is not causal (an encoder, "
            "or routing that looks at the whole batch), and padding would change its scores; this model is "
            "not supported"
        )
    raise InputError(
        f"{name} computes something else in training than in evaluation although all dropout is 0 (routing "
        "of experts, for instance), so what is trained is not what is used; this model is not supported"
    )


def _random_states(device: torch.device) -> list[Tensor]:
    """The states of the generators that a pass may draw from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _probe_length(scorer: Scorer) -> int:
    """Tokens of a probe: within the first class of a length-dependent rotary embedding."""
    length = _length(scorer.causal)
    return length if scorer.classes is None else min(length, scorer.classes.threshold)


def _length(causal: Any) -> int:
    """Tokens of a probe that a model has positions for."""
    named = (v for name, v in config_numbers(causal.config) if _POSITIONS.search(name) and v > 3)
    return int(min([_LENGTH, *named]))


def measure_sharing(scorer: Scorer) -> tuple[str | None, int | None]:
    """Compare states of responses behind a shared prompt with those behind copies of it.

    Returns:
        (why prompts cannot be shared, or None where they can; up to how many tokens of a text this is known,
        or None for any). Windows and chunks for which the model asks transformers for a mask are kept at any
        length. Any other setting that could be a window is passed by the texts of the probe, if it is at most
        512; otherwise it is the length up to which sharing is known to be exact.
    """
    n = _probe_length(scorer)
    longest = 2**62 if scorer.classes is None else scorer.classes.threshold // 2
    rest = n - n // 2
    with torch.no_grad():
        row = TokenRow(tokens(n // 2), (tokens(rest, 5), tokens(rest - 1, 11), tokens(rest, 2)))
        problem, now = _compare(scorer, row)
        if problem is not None:
            return problem, None
        unseen = {v for v in window_sizes(scorer.causal.config) if v not in now.windows and v >= n}
        probed = max((v for v in unseen if v <= min(_LONGEST, longest)), default=0)
        if probed:
            row = TokenRow(tokens(probed // 2), (tokens(probed, 5), tokens(probed * 3 // 4, 11)))
            problem, _ = _compare(scorer, row)
            if problem is not None:
                return problem, None
    return None, min((v for v in unseen if v > probed), default=None)


def window_sizes(config: Any) -> set[int]:
    """Whole numbers of a config, at any depth, whose name says that they could bound what a token sees.

    Example:
        >>> window_sizes({"text": {"sliding_window": 512, "hidden_size": 64}, "vision": {"window": 8}})
        {512}
    """
    return {
        int(value)
        for name, value in config_numbers(config)
        if _WINDOWS.search(name.rsplit(".", 1)[-1]) and not _ELSEWHERE.search(name) and value == int(value)
    }


def _compare(scorer: Scorer, row: TokenRow) -> tuple[str | None, Sharing]:
    vocabulary, device = _vocabulary(scorer.causal)
    row = TokenRow(
        tuple(t % vocabulary for t in row.prompt),
        tuple(tuple(t % vocabulary for t in response) for response in row.responses),
    )
    shared = layout([row], share_prompt=True, device=device)
    apart = layout([row], share_prompt=False, device=device)
    try:
        states, now = scorer.run(shared)
    except _FAILS as error:
        return f"it fails on a shared prompt ({_first_line(error)})", Sharing(shared)
    wanted, _ = scorer.run(apart)
    if _differ(states, wanted, scorer):
        return (
            "its states differ behind a shared prompt (a recurrent or local part, or positions not taken "
            "from position_ids)",
            now,
        )
    return None, now


def _differ(states: Tensor, wanted: Tensor, scorer: Scorer) -> bool:
    """Whether states are off by more than rounding.

    In half precision a few tokens may be: rounding sends some of them to another expert of a mixture.
    """
    half = scorer.causal.get_output_embeddings().weight.dtype in (torch.bfloat16, torch.float16)
    error = (states.float() - wanted.float()).norm(dim=-1) / wanted.float().norm(dim=-1).clamp_min(1e-30)
    right = (error <= (0.08 if half else 1e-3)).float().mean()
    return not bool(right >= (0.75 if half else 1.0))


def _ids(causal: Any, n: int) -> Tensor:
    vocabulary, device = _vocabulary(causal)
    return torch.tensor([tokens(n)], device=device) % vocabulary


def _vocabulary(causal: Any) -> tuple[int, torch.device]:
    weight = causal.get_output_embeddings().weight
    return weight.shape[0], weight.device


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
