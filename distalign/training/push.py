"""A trained model on the Hub: `distalign push`, and the recipe's key `push_to_hub`.

Only the files of model, adapter and tokenizer go there, and a card in which no path of this machine stands.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from distalign.checks import InputError
from distalign.training.evaluation.card import REFERENCE
from distalign.training.evaluation.read_card import ReadCard, read_card
from distalign.training.model.adapters import adapter_base
from distalign.training.recipe import Recipe

_PARTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    *("config.json", "generation_config.json", "adapter_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "*.model", "*.tiktoken"),
    *("chat_template.jinja", "chat_templates/*.jinja", "*.py"),
)
"""What `save_pretrained` of models, adapters and tokenizers writes."""

_NAMES_OF_BASES = ("_name_or_path", "name_or_path", "base_model_name_or_path")
_NOT_OF_THE_MODEL = ("output_dir", "reference_cache", "report_to", "resume_from_checkpoint", "push_to_hub")
_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


def push(
    folder: str | Path,
    name: str,
    *,
    public: bool = False,
    base_model: str | None = None,
    license: str | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> str:
    """Push what a run or `merge` has saved, in one commit, to a repository that is made where there is none.

    Args:
        folder: of a trained or merged model, of an adapter, or of the run that left one in `model`.
        name: of the repository on the Hub, owner/name, or name alone for one's own.
        public: make it public where it is made, and push to one that is.
        base_model: the base as the Hub knows it, where training read it from a folder.
        license: as the Hub names licences, for the card; none is guessed.
        say: takes a line for the user.

    Returns:
        The address of the repository.

    Raises:
        InputError: the folder holds no finished model of distalign, the base of an adapter has no name on the
            Hub, or the Hub cannot be reached or refuses.
    """
    place, card = _finished(Path(folder))
    repository = ready(name, public=public)
    base = _base_on_hub(place, card, base_model)
    text = hub_card(place, card, base, license)
    parts = sorted({file for pattern in _PARTS for file in place.glob(pattern) if file.is_file()})
    there = {file for file in place.iterdir() if file.is_file() and not file.name.startswith(".")}
    if others := sorted(file.name for file in there - {*parts, place / "README.md"}):
        say(f"not part of the model, so not pushed: {', '.join(others)}")
    return _committed(repository, place, parts, text, base)


def ready(name: str, *, public: bool = False) -> str:
    """The full name of a repository of models, made where there is none; to be asked before long work.

    Raises:
        InputError: the name is none, nobody is logged in, the Hub cannot be reached or refuses, or the
            repository is public and that was not asked for.
    """
    api = _api()
    from huggingface_hub import constants, get_token
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"{name!r} cannot be the name of a repository: {_words(error)}") from error
    if constants.HF_HUB_OFFLINE:
        raise InputError(f"{name} cannot be pushed to while HF_HUB_OFFLINE is set: unset it")
    if get_token() is None:
        raise InputError(f"{name} cannot be pushed to without a token: run `hf auth login`, or set HF_TOKEN")
    try:
        made = api.create_repo(name, private=not public, exist_ok=True).repo_id
        private = api.repo_info(made).private
    except Exception as error:  # the Hub's client raises whatever its layers raise
        raise InputError(
            f"the Hub does not let {name} be pushed to: {_words(error)}; check network, token and owner"
        ) from error
    if not private and not public:
        raise InputError(f"{made} is public on the Hub: say --public to push there, or choose another name")
    return made


def ready_for(recipe: Recipe) -> None:
    """`ready` for the model that a recipe trains, if it is to be pushed.

    Raises:
        InputError: as `ready`, or the recipe trains an adapter on a model that is read from a folder.
    """
    if recipe.push_to_hub is None:
        return
    base = adapter_base(recipe.model) or recipe.model
    if recipe.adapts and not _is_id(base):
        raise InputError(
            f"push_to_hub cannot name the base of the adapter, for {Path(base).name} is read from a folder: "
            f"leave it out, and after training `distalign push {shlex.quote(recipe.output_dir)} "
            f"{recipe.push_to_hub} --base-model OWNER/NAME`"
        )
    ready(recipe.push_to_hub)


def push_of(recipe: Recipe, folder: Path, say: Callable[[str], object]) -> None:
    """`push` the model of a finished run, if its recipe asks for it.

    Raises:
        InputError: as `push`; the sentence has the command that pushes again.
    """
    if recipe.push_to_hub is None:
        return
    try:
        say(f"pushed to {push(folder, recipe.push_to_hub, say=say)}")
    except InputError as error:
        raise InputError(
            f"the model is trained and lies in {folder}, but is not pushed: {error}; then `distalign push "
            f"{shlex.quote(str(folder))} {recipe.push_to_hub}`"
        ) from error


# -- what is pushed --


def _finished(folder: Path) -> tuple[Path, ReadCard]:
    """The folder of a finished model, which may be the `model` of the folder given, and its card."""
    for place in (folder, folder / "model"):
        card, config = read_card(place), any(place.glob("*config.json"))
        if card is not None and config and any(place.glob("*.safetensors")):
            return place, card
    raise InputError(
        f"{folder} holds no finished model of distalign (weights, config and card): name the folder of a run "
        "that has ended, or one that `distalign merge` wrote"
    )


def _base_on_hub(place: Path, card: ReadCard, given: str | None) -> str | None:
    """The name on the Hub of the model that was trained; None if it has none and needs none."""
    base = given or card.base
    known = _is_id(base) and _exists(base, "model")
    if given is not None and not known:
        raise InputError(f"--base-model {given} is no model that the Hub shows to this token")
    if not known and (place / "adapter_config.json").is_file():
        raise InputError(
            f"the Hub has no {_last(base)}, the base of this adapter: give its name there by --base-model, "
            "or push the model that `distalign merge` makes"
        )
    return base if known else None


def hub_card(place: Path, card: ReadCard, base: str | None, license: str | None = None) -> str:
    """README.md of a folder as the Hub shall have it: no path of this machine, and how it was made.

    Args:
        place: folder of the model.
        card: what was read there.
        base: the model that was trained, by its name on the Hub; None if it has none.
        license: as the Hub names it.
    """
    from huggingface_hub import ModelCard, ModelCardData

    _, head, body = (place / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    says = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    cells = [cell.strip() for line in body.splitlines() if line.startswith("| ") for cell in line.split("|")]
    paths = {text: _last(text) for text in (*says.values(), *cells) if _is_path(text)}
    if base is not None:
        paths[card.base] = base

    def shown(text: str) -> str:
        for path in sorted(paths, key=len, reverse=True):
            text = text.replace(path, paths[path])
        return text.replace(str(Path.home()), "~") if Path.home() != Path("/") else text

    reference: dict[str, Any] = {REFERENCE: shown(card.reference)}
    data = ModelCardData(
        base_model=base,
        datasets=_datasets(card),
        library_name=says.get("library_name"),
        license=license,
        tags=[line.removeprefix("- ") for line in head.splitlines() if line.startswith("- ")],
        **reference,
    )
    made = shown(_made_by(card))
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n{shown(body).rstrip()}\n{made}"))


def _datasets(card: ReadCard) -> list[str] | None:
    """The training data, if they are a data set of the Hub."""
    name = card.rows.get("train_data", "").partition(":")[0]
    return [name] if "/" in name and _is_id(name) and _exists(name, "dataset") else None


def _made_by(card: ReadCard) -> str:
    """The command that makes such a model, with its recipe as a file; empty where the card has no recipe."""
    import yaml

    kept: dict[str, object] = {}
    for field in fields(Recipe):
        text = card.rows.get(field.name)
        if text is None or field.name in _NOT_OF_THE_MODEL or text == str(field.default):
            continue
        try:
            kept[field.name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            kept[field.name] = text
    if "objective" not in kept:
        return ""
    written = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=100)
    return f"\n## Command\n\n`distalign train recipe.yaml`, where recipe.yaml is\n\n```yaml\n{written}```\n"


def _content(file: Path, base: str | None) -> bytes | str:
    """A file as it is pushed: its path, or the text of a config without the paths of this machine."""
    if not file.name.endswith("config.json"):
        return str(file)
    says = json.loads(file.read_text(encoding="utf-8"))
    for name in _NAMES_OF_BASES:
        if isinstance(says, dict) and name in says:
            says[name] = base
    return (json.dumps(says, indent=2, ensure_ascii=False) + "\n").encode()


def _committed(repository: str, place: Path, parts: list[Path], card: str, base: str | None) -> str:
    api = _api()
    from huggingface_hub import CommitOperationAdd

    files = {file.relative_to(place).as_posix(): _content(file, base) for file in parts}
    files["README.md"] = card.encode()
    adds = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=what) for name, what in files.items()]
    try:
        api.create_commit(repository, adds, commit_message="Model trained with distalign")
    except Exception as error:  # as above
        raise InputError(f"pushing to {repository} failed: {_words(error)}; try again") from error
    return f"{api.endpoint}/{repository}"


# -- names and errors --


def _is_id(name: str) -> bool:
    """Whether a name reads like one of the Hub, and no folder of this machine has it."""
    return bool(_ID.fullmatch(name)) and not Path(name).exists()


def _is_path(text: str) -> bool:
    absolute = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()
    return len(_last(text)) > 0 and (absolute or text.startswith("~"))


def _last(path: str) -> str:
    return PureWindowsPath(path).name


def _exists(name: str, kind: str) -> bool:
    try:
        return bool(_api().repo_exists(name, repo_type=kind))
    except Exception as error:  # as above
        raise InputError(f"the Hub does not say whether it has {name}: {_words(error)}; try again") from error


def _api() -> Any:
    """The Hub's client.

    Raises:
        InputError: its library is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        raise InputError("pushing needs huggingface_hub: run pip install 'distalign[lm]'") from error
    return HfApi(library_name="distalign")


def _words(error: Exception) -> str:
    """The last line of an error that says something: the Hub's client puts the server's own words there."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300].rstrip(".")
