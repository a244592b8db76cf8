"""The digest of a model's weights, computed once for each state of its files and then remembered.

It costs a pass over all bytes. What is remembered is kept beside the reference log-probabilities that it
names, in `weights.json`: path, size and time of change of every file, the settings that the digest depends
on, and the digest. A file that was changed without a change of its size and time is not noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from distalign.checks import InputError
from distalign.files import write_whole
from distalign.training.model.shards import Whole, saved_tensors
from distalign.training.parallel import World


def known_digest(
    folder: Path, name: str | Path, settings: Mapping[str, object], compute: Callable[[], str], world: World
) -> str:
    """The digest, remembered or computed, by process 0 for all.

    Args:
        folder: where `weights.json` is kept.
        name: directory or Hub id of the model.
        settings: what the digest depends on besides the files, as JSON values.
        compute: the digest.
        world: the processes.
    """
    path = folder / "weights.json"

    def find() -> str:
        known, key = _remembered(path), _key(name, settings)
        if key is None:
            return compute()
        if key not in known:
            known[key] = compute()
            with contextlib.suppress(InputError):  # a folder that cannot be written is another's to report
                write_whole(path, lambda file: file.write_text(json.dumps(known, indent=1), "utf-8"))
        return known[key]

    return world.told(find)


def _remembered(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _key(name: str | Path, settings: Mapping[str, object]) -> str | None:
    """A name for these files in their present state, or None where they cannot be found."""
    import transformers

    try:
        files = {file.resolve() for file in saved_tensors(name).values()}
        config = Path(name) / "config.json"
        files |= {config.resolve()} if config.is_file() else set()
        states = [(str(file), (s := file.stat()).st_size, s.st_mtime_ns) for file in sorted(files)]
    except (Whole, OSError):
        return None
    text = json.dumps([states, dict(settings), transformers.__version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
