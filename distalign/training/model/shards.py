"""A model that several processes share out, from its files to a scorer; no process ever holds it whole.

`load_model` reads all weights, and only then does `fully_shard` keep a part of them. Here the order is the
other one:

1. the model is built without weights (parameters on the device `meta`, buffers as transformers computes
   them), and adapters are added to it as they are to a whole model: same seed, same bytes;
2. `distalign.training.parallel.shard` says which rows of which weight are whose;
3. each process reads its rows, and no others, from the safetensors files;
4. what the model does is measured on the shards, by the same probes as on a whole model
   (`distalign.training.model.probes`).

What cannot be read so row by row is said (`Whole`), and the caller loads the whole model first.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from distalign.training.model.load import DTYPES, check_head, drop_nothing
from distalign.training.model.probes import check_causal, find_backbone, silence_noise
from distalign.training.model.rotary import length_classes
from distalign.training.model.scorer import Scorer
from distalign.training.parallel import shard_rows

_MMAP_THRESHOLD = -3
"""M_MMAP_THRESHOLD of glibc's malloc.h."""
_BLOCK = 2**24
"""Numbers that are read at a time for the digest."""


class Whole(Exception):
    """Why a model has to be loaded whole, in words that follow `for`."""


@dataclass(frozen=True)
class Stored:
    """Where the weights of a model lie.

    Attributes:
        files: name of a weight or saved buffer in the model -> (file, its name there).
        dtype: in which they are used.
    """

    files: Mapping[str, tuple[Path, str]]
    dtype: torch.dtype

    def rows(self, name: str, start: int = 0, end: int | None = None) -> Tensor:
        """Rows `start` to `end` of a weight, in its dtype and in memory of their own.

        The file is opened for them alone: it is mapped into memory, and pages that were read would stay.
        """
        from safetensors import safe_open

        path, saved = self.files[name]
        with safe_open(path, "pt") as file:
            part = file.get_slice(saved)
            part = part[start:end] if part.get_shape() else file.get_tensor(saved)
            return part.to(self.dtype if part.is_floating_point() else part.dtype, copy=True)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a weight."""
        from safetensors import safe_open

        path, saved = self.files[name]
        with safe_open(path, "pt") as file:
            return tuple(file.get_slice(saved).get_shape())


def empty_model(
    name: str | Path, *, dtype: str, attn_implementation: str, trust_remote_code: bool = False
) -> tuple[Any, Stored]:
    """(the model that `load_model` gives, with parameters on `meta`, and where their values lie).

    Raises:
        Whole: its weights are quantised, no safetensors, of other names or shapes than the model's, to be
            converted or kept in float32, or the model cannot be built without them.
    """
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        check_head(config, name)
        drop_nothing(config)
        if getattr(config, "quantization_config", None):
            raise Whole("its weights are quantised")
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(
                config,
                dtype=DTYPES[dtype],
                attn_implementation=attn_implementation,
                trust_remote_code=trust_remote_code,
            )
        model.tie_weights()  # accelerate gives each name a parameter of its own
    except Whole:
        raise
    except Exception as error:  # whatever it is, `load_model` meets it again, or it does not matter
        if attn_implementation == "sdpa" and "scaled_dot_product_attention" in str(error):
            return empty_model(
                name, dtype=dtype, attn_implementation="eager", trust_remote_code=trust_remote_code
            )
        raise Whole(f"it cannot be built without them ({_first_line(error)})") from error
    _check_plain(model)
    stored = Stored(_sources(model, saved_tensors(name)), DTYPES[dtype])
    for key, tensor in model.state_dict().items():
        if tuple(tensor.shape) != stored.shape(key):
            raise Whole(f"{key} has shape {list(stored.shape(key))} there, {list(tensor.shape)} in the model")
    with contextlib.suppress(OSError):  # none was saved, and transformers makes one of the config
        model.generation_config = GenerationConfig.from_pretrained(name)
    for key, buffer in model.named_buffers():
        if key in stored.files:
            buffer.copy_(stored.rows(key))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train(), stored


def _check_plain(model: Any) -> None:
    """Raise where transformers changes weights of a file before they are the model's."""
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    names = {type(model).__name__, model.config.model_type}
    if any(get_checkpoint_conversion_mapping(name) for name in names):
        raise Whole("transformers converts the weights of its files")
    if getattr(model, "_keep_in_fp32_modules", None) or getattr(model, "_keep_in_fp32_modules_strict", None):
        raise Whole("some of its weights stay in float32")
    if any(type(p) is not nn.Parameter for p in model.parameters()):
        raise Whole("it has parameters of another kind")


def saved_tensors(name: str | Path) -> dict[str, Path]:
    """Name of every saved tensor -> its file, of a folder or a Hub id.

    Raises:
        Whole: there are no safetensors, or they cannot be read.
    """
    from safetensors import SafetensorError, safe_open
    from transformers.utils.hub import cached_file

    def found(file: str) -> Path | None:
        try:
            path = cached_file(str(name), file)
        except OSError:
            return None
        return None if path is None else Path(path)

    try:
        if (single := found("model.safetensors")) is not None:
            with safe_open(single, "pt") as file:
                return dict.fromkeys(file.keys(), single)
        if (index := found("model.safetensors.index.json")) is not None:
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            files = {file: found(file) for file in sorted(set(names.values()))}
            if lacking := [file for file, path in files.items() if path is None]:
                raise Whole(f"{lacking[0]} is missing")
            return {tensor: path for tensor, file in names.items() if (path := files[file]) is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise Whole(f"its files cannot be read ({_first_line(error)})") from error
    raise Whole("it has no model.safetensors")


def _sources(model: nn.Module, saved: Mapping[str, Path]) -> dict[str, tuple[Path, str]]:
    """Each name of the model's state -> where its values lie; of tied weights one name may be saved."""
    state = model.state_dict(keep_vars=True)
    tied: dict[int, list[str]] = {}
    for name, tensor in state.items():
        tied.setdefault(id(tensor), []).append(name)
    for names in tied.values():
        if sum(name in saved for name in names) > 1:
            raise Whole(f"{' and '.join(names)}, which are tied, are both saved")
    out = {}
    for name, tensor in state.items():
        there = next((other for other in (name, *tied[id(tensor)]) if other in saved), None)
        if there is None:
            raise Whole(f"{name} is not among the saved weights")
        out[name] = (saved[there], there)
    return out


@contextmanager
def weightless(model: nn.Module) -> Iterator[None]:
    """Within, parameters of `meta` are zeros of the CPU that take no memory, and peft draws its adapters.

    peft moves a new adapter to the device of the layer it is added to; on `meta` its values would be lost.
    """

    def stub(parameter: nn.Parameter) -> nn.Parameter:
        zero = torch.zeros((), dtype=parameter.dtype).expand(parameter.shape)
        return nn.Parameter(zero, requires_grad=parameter.requires_grad)

    stubs = _replaced(model, {id(p): stub(p) for p in model.parameters() if p.is_meta})
    try:
        yield
    finally:
        back = {
            id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
            for p in stubs
        }
        _replaced(model, back)


def _replaced(model: nn.Module, new: Mapping[int, nn.Parameter]) -> list[nn.Parameter]:
    """Put `new[id]` in the place of a parameter wherever it stands, so that tied ones stay tied."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None and id(parameter) in new:
                setattr(module, name, new[id(parameter)])
    return list(new.values())


def fill(scorer: Scorer, stored: Stored, rank: int, device: torch.device) -> None:
    """Read this process's rows of every sharded parameter that is still on `meta`."""
    from torch.distributed.tensor import DTensor

    new: dict[int, nn.Parameter] = {}
    for name, parameter in scorer.model.named_parameters():
        if not parameter.is_meta:
            continue
        assert isinstance(parameter, DTensor)
        start, end = shard_rows(parameter.shape[0], rank, parameter.device_mesh.size())
        rows = stored.rows(plain_name(name), start, end).to(device, parameter.dtype)
        sharded = DTensor.from_local(
            rows,
            parameter.device_mesh,
            parameter.placements,
            run_check=False,
            shape=parameter.shape,
            stride=parameter.stride(),
        )
        new[id(parameter)] = nn.Parameter(sharded, requires_grad=parameter.requires_grad)
    _replaced(scorer, new)


def return_freed_memory() -> None:
    """Have glibc give large blocks of memory back to the system when they are freed.

    On a CPU every layer is put together and freed again in every pass. glibc keeps freed blocks of up to
    32 MiB for itself, in pieces too scattered to be used again: measured, as much as the whole model. From
    here on blocks from 1 MiB go back at once. Other systems, and GPUs, are left alone.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_MMAP_THRESHOLD, 2**20)


def plain_name(name: str) -> str:
    """The name of a weight in the model before adapters were added.

    Example:
        >>> plain_name("base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight")
        'model.layers.0.self_attn.q_proj.weight'
    """
    return re.sub(r"(\.base_layer)+\.", ".", name.removeprefix("base_model.model."))


def measure(scorer: Scorer, share_prompt: bool | Literal["auto"]) -> None:
    """Measure on its shards what the constructor of `Scorer` measures on a whole model.

    All processes call this. The root's weights (embeddings, head) are put together for the probes, those of
    a decoder layer while it runs.

    Raises:
        InputError: as `Scorer`.
    """
    from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

    def probes() -> None:
        scorer._backbone, scorer.logit_map = find_backbone(scorer.causal)
        scorer.classes = length_classes(scorer.causal)
        silence_noise(scorer)
        check_causal(scorer)
        scorer.share_prompt, scorer._insists = bool(share_prompt), share_prompt is True
        if scorer.share_prompt:
            scorer._measure_sharing()

    scorer.probes = probes  # type: ignore[assignment]
    register_fsdp_forward_method(scorer, "probes")
    scorer.probes()
    del scorer.probes
    assert isinstance(scorer, FSDPModule)
    scorer.reshard()


# -- the digest of the weights --


def stored_digest(model: nn.Module, stored: Stored) -> str:
    """`weights_digest` of the model that `load_model` would give, read from the files block by block.

    Args:
        model: as `empty_model` gave it.
        stored: where its weights lie.
    """
    digest, seen = hashlib.sha256(), set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        rows = tensor.shape[0] if tensor.dim() else 1
        step = max(1, _BLOCK // max(1, tensor.numel() // max(1, rows)))
        for start in range(0, rows, step):
            block = stored.rows(name, start, min(start + step, rows)).contiguous().flatten()
            digest.update(block.view(torch.uint8).numpy())  # type: ignore[arg-type]
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
