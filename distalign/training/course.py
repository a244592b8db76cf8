"""The course of a run: what `distalign.training.loop` needs of any run, wherever its gradients come from.

Two kinds of runs differ in where the texts come from: `distalign.training.run.Run` reads them from a file,
and the runs of `distalign.bridge.online` have the policy write them. Between two updates both are the same:
weights, moments, counts of updates and tokens, and what must agree when they are resumed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from distalign.checks import InputError
from distalign.training.model.load import DTYPES
from distalign.training.model.scorer import Scorer
from distalign.training.optimiser import MasterAdamW
from distalign.training.parallel import World, whole
from distalign.training.recipe import Recipe


class Measured(Protocol):
    """What an update measures; more than its loss is the run's own affair."""

    @property
    def loss(self) -> Tensor:
        """() the objective on the global batch, to be minimised."""
        ...


Found = TypeVar("Found", bound=Measured)


@dataclass(kw_only=True)
class Course(ABC, Generic[Found]):
    """A run between updates.

    Attributes:
        recipe: what is trained, on what, how.
        world: the processes that train it.
        tokenizer: of the policy, saved beside it.
        model: the policy as transformers or peft saves it.
        scorer: the policy as a function from rows of tokens to log-probabilities.
        weights: digest of the weights that training starts from.
        total: updates of the whole run.
        optimiser: of the parameters that are trained.
        done: updates made.
        tokens: tokens seen.
        saved: updates made at the last checkpoint, -1 before the first.
    """

    columns: ClassVar[tuple[str, ...]]
    """Of metrics.csv."""

    recipe: Recipe
    world: World
    tokenizer: Any
    model: Any
    scorer: Scorer
    weights: str
    total: int
    optimiser: MasterAdamW
    done: int = 0
    tokens: int = 0
    saved: int = -1

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return Path(self.recipe.output_dir)

    @property
    def sharded(self) -> bool:
        """Whether every process holds only a part of the weights."""
        return self.recipe.parallel == "fsdp2" and self.world.size > 1

    # -- what a kind of run has of its own --

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hex digest of what it trains on."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Examples, or prompts, of the global batch."""

    @abstractmethod
    def gradient(self) -> Found:
        """Add to the gradients this process's part of the gradient of update `done`."""

    @abstractmethod
    def seen(self, found: Found) -> int:
        """Tokens of the global batch of update `done`."""

    @abstractmethod
    def row(self, found: Found) -> dict[str, float]:
        """Metrics of the update that was just made."""

    @abstractmethod
    def non_finite(self, found: Found, norm: float) -> InputError:
        """What to tell the user where loss or norm of update `done` is not finite."""

    @abstractmethod
    def results(self, say: Callable[[str], object], progress: bool) -> dict[str, float]:
        """Write what a finished run writes beside its model.

        Returns:
            Metric to value on held-out data; empty where nothing is held out.
        """

    def held_out_row(self) -> dict[str, float]:
        """Metrics of held-out data, under the prefix `eval/`; empty where nothing is held out."""
        return {}

    # -- saving --

    def state(self) -> dict[str, Any]:
        """What a checkpoint says of the run, as JSON values."""
        constant = self.recipe.lr_scheduler_type == "constant" and not self.recipe.warmup_ratio
        return {
            "step": self.done,
            "tokens": self.tokens,
            "recipe": asdict(self.recipe),
            "data": self.digest,
            "weights": self.weights,
            "batch": self.size,
            "updates": 0 if constant else self.total,
            "sharded": self.sharded,
            "world": self.world.size if self.sharded else 0,
            "threads": torch.get_num_threads(),
        }

    def save_model(self, folder: Path) -> None:
        """Write the model or adapter, and the tokenizer, by `save_pretrained`.

        Every process calls this; process 0 writes, and the others wait.
        """
        options = {}
        if self.sharded:
            options = {"state_dict": self._whole_weights()}

        def write() -> None:
            self.model.save_pretrained(folder, **options)
            if self._float32_shards:  # of which transformers would have the config speak
                self.model.config.dtype = self.recipe.dtype
                self.model.config.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

        self.world.once(write)

    @property
    def _float32_shards(self) -> bool:
        """Whether the model's half-precision weights are kept as float32 shards, see `parallel.shard`."""
        trained = {p.dtype for p in self.optimiser.parameters.values()}
        half = self.recipe.dtype != "float32" and not self.recipe.lora_rank
        return self.sharded and half and trained == {torch.float32}

    def _whole_weights(self) -> dict[str, Tensor]:
        """The unsharded weights on the CPU of process 0, in the recipe's precision, tied ones once.

        One tensor is put together at a time, so no GPU holds more than one whole weight.
        """
        weights: dict[int, Tensor] = {}
        narrow = self._float32_shards
        for tensor in self.model.state_dict(keep_vars=True).values():
            if id(tensor) not in weights:
                full = whole(tensor.detach())
                if narrow and isinstance(tensor, nn.Parameter):
                    full = full.to(DTYPES[self.recipe.dtype])
                weights[id(tensor)] = full.cpu() if self.world.main else full.new_zeros(())
        return {name: weights[id(tensor)] for name, tensor in self.model.state_dict(keep_vars=True).items()}
