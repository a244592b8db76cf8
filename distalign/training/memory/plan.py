r"""What a recipe needs in memory and work, from the model's shape alone, before anything is downloaded.

The model has N parameters of e bytes each, and sizes h (hidden), m (feed-forward), q and k (queries, keys)
and V (vocabulary). Texts have at most L tokens. Then:

    activations   all weights trained: 2 h (4 + 2e) + 4 e m bytes for each token and block; with adapters
                  8 h + 3 e m, and the inputs of the adapters, which are kept in float32
    attention     e (2q + 2k) for each token of each text, where a shared prompt counts once for each
                  response, and e q for the output of each of its tokens. eager keeps 4 L bytes (bfloat16:
                  6 L) for each head and token
    head          4 V c (bfloat16: 6 V c) for a tile of c tokens, (4 + 3e) h for each completion token, and
                  e V h for the gradient of the head; on a CPU also 4 h for each row of a bfloat16 head in a
                  tile, which is cast there: the fewer the tokens, the wider the tile
    optimiser     4 N master + 4 N gradient + 8 N moments for bfloat16 weights, 4 N + 8 N for float32

Under fsdp2 on s devices bfloat16 weights that are trained are float32 shards, which are their own masters:
there is no bfloat16 copy of them all. With r parameters outside the layers (embeddings, head) and l of a
layer:

    weights       e (r + 2 l) put together for a pass: what is outside the layers stays so until its end
    reduction     r (e + 4 + 4/s) as a backward pass ends: whole gradients, the same in float32 to be sent,
                  and what comes back; l (4 + 4/s) of the last layer in the place of 2 e l. The activations
                  are gone by then
    gradients     4 N / s; with reduce_once 4 N, which are given up layer by layer as they are added

The counts of saved tensors are those of the Llama blocks in transformers and were compared with them tensor
by tensor; Mistral and Qwen2 are built alike. Bytes beyond that (workspace of kernels, fragmentation) are an
allowance, named as such.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from distalign.training.memory.geometry import Geometry
from distalign.training.recipe import Recipe, objective_of

_FOUR_BIT = 0.516  # bytes: 4 bits and a twice quantised scale for each 64 values
_CACHED_LOGITS = 2**21  # the head's tile on a CPU, `distalign.training.model.head`
ALLOWANCE = 1e9
"""Bytes for a CUDA context and the workspace of its libraries (ours, a round figure)."""
_ON_CPU = 6e7
"""Bytes of libraries loaded on first use, of tokenizer and data (ours, measured: 50 to 150 MB)."""


@dataclass(frozen=True)
class Memory:
    """Bytes by part, on one device.

    Attributes:
        weights: of the model in its dtype.
        adapters: float32 weights of LoRA, and copies of modules that are trained beside them.
        master: float32 copies of half-precision weights.
        gradients: float32 sums.
        moments: of Adam.
        activations: kept for the backward pass, the mask's copies included.
        head: a tile of logits, states of completion tokens, the gradient of the head.
        transient: the largest block's values while it is being differentiated.
        reduction: what adding gradients over the processes takes, after the activations are freed.
        reference: cached scores, so nothing to speak of; never a second model.
        allowance: see `ALLOWANCE`; less on a CPU.
    """

    weights: float
    adapters: float
    master: float
    gradients: float
    moments: float
    activations: float
    head: float
    transient: float
    reduction: float
    reference: float
    allowance: float

    @property
    def state(self) -> float:
        """What is there all the time."""
        return (
            self.weights
            + self.adapters
            + self.master
            + self.gradients
            + self.moments
            + self.reference
            + self.allowance
        )

    @property
    def total(self) -> float:
        """The peak: in the head's or a block's part of the backward pass, or where gradients are added."""
        return self.state + max(self.activations + max(self.head, self.transient), self.reduction)

    def by_name(self) -> dict[str, float]:
        """Bytes by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Load:
    """What one micro-batch holds.

    Attributes:
        tokens: all of them.
        scored: those whose log-probability is taken.
        attended: tokens of all texts, where a shared prompt belongs to the text of every response.
        longest: columns of the longest tensor row.
    """

    tokens: int
    scored: int
    attended: int
    longest: int


def load_of(recipe: Recipe, prompt_share: float = 0.0) -> Load:
    """The largest micro-batch of a recipe, every response as long as max_length allows.

    Args:
        recipe: the run.
        prompt_share: share of prompt tokens in prompt + response; 0 is the worst case.

    Example:
        >>> recipe = Recipe(
        ...     model="m", train_data="d", objective="sft", max_length=100, per_device_train_batch_size=2
        ... )
        >>> load_of(recipe), load_of(recipe, 0.5).tokens
        (Load(tokens=400, scored=400, attended=400, longest=200), 300)
    """
    length, pairs = recipe.max_length, recipe.per_device_train_batch_size
    prompt = min(round(prompt_share * length), length - 1)
    row = 2 * length - prompt if recipe.share_prompt else 2 * length
    if recipe.micro_batch_tokens is not None:
        pairs = max(1, recipe.micro_batch_tokens // row)
    return Load(
        pairs * row, 2 * pairs * (length - prompt), 2 * pairs * length, row if recipe.share_prompt else length
    )


def memory(
    recipe: Recipe, model: Geometry, *, devices: int = 1, prompt_share: float = 0.0, cuda: bool = True
) -> Memory:
    """The peak by part on each of `devices`.

    Args:
        recipe: the run.
        model: its model's shape.
        devices: under parallel=fsdp2 weights and states are split over them; under ddp each holds all.
        prompt_share: as in `load_of`.
        cuda: count a CUDA context, and the head's tiles as they are there (a CPU caps them).

    Gradients are counted in full beside activations, as they are from the second micro-batch of an update on.
    """
    e = 2 if recipe.dtype == "bfloat16" else 4
    shards = devices if recipe.parallel == "fsdp2" else 1
    n, adapters = model.parameters, model.adapters(recipe.lora_rank)
    copies = model.adapter.copies if model.adapter else 0
    trained = adapters + copies if recipe.adapts else n
    masters = 0 if e == 4 else copies if recipe.adapts else n
    linear = model.linear if recipe.load_in_4bit else 0
    outside = model.vocabulary * model.hidden * (1 if model.tied else 2) + model.hidden
    whole = recipe.reduce_once and shards > 1 and not recipe.adapts
    own_masters = masters == n and shards > 1
    layer = (n - outside) / model.layers
    gathered = (outside + 2 * layer) * e if shards > 1 else 0
    reduction = 0.0
    if shards > 1 and not recipe.adapts:
        reduction = outside * (e + 4 + 4 / shards) + layer * (4 + 4 / shards - 2 * e)
    if whole:
        reduction = max(0.0, 8 * outside + 4 * n / shards - 4 * n)
    load = load_of(recipe, prompt_share)
    block = _block(model, e, recipe, load)
    activations = model.layers * (load.tokens * e * model.hidden if recipe.gradient_checkpointing else block)
    transient = (block if recipe.gradient_checkpointing else 0) + 3 * e * model.intermediate * load.tokens
    return Memory(
        weights=(0 if own_masters else (linear * _FOUR_BIT + (n - linear) * e) / shards) + gathered,
        adapters=(4 * adapters + e * copies) / shards,
        master=4 * masters / shards,
        gradients=4 * n if whole else 4 * trained / shards,
        moments=8 * trained / shards,
        activations=activations + 12 * load.tokens * model.hidden,
        head=_head(recipe, model, e, load, cuda),
        transient=max(transient, _norms(model)),
        reduction=reduction,
        reference=0.0,
        allowance=ALLOWANCE if cuda else _ON_CPU,
    )


def _block(g: Geometry, e: int, recipe: Recipe, load: Load) -> float:
    """Bytes that one block keeps for the backward pass."""
    saved = load.attended * e * (2 * g.query + 2 * g.key)
    if recipe.attn_implementation == "eager":
        saved = load.tokens * (e * 4 * g.query + g.heads * load.longest * (6 if e == 2 else 4))
    elif recipe.share_prompt and (e == 4 or not recipe.adapts):
        saved += load.tokens * e * g.query
    if not recipe.adapts:
        return saved + load.tokens * (2 * g.hidden * (4 + 2 * e) + 4 * e * g.intermediate)
    cast = 4 * (5 * g.hidden + g.query + g.intermediate)  # inputs of seven adapters, each in float32
    inputs = 8 * g.hidden + 4 * g.intermediate if e == 4 else cast
    rank = g.adapter.rank if g.adapter else recipe.lora_rank
    folded = g.adapter or g.counted
    kept = e * folded.folded / g.layers if folded else 0  # experts with their adapters added
    if g.adapter and g.adapter.norms:  # what a layer gives without and by the adapter
        inputs += (4 + e) * (g.query + 2 * g.key + 2 * g.hidden + 2 * g.intermediate)
    return saved + kept + load.tokens * (8 * g.hidden + 3 * e * g.intermediate + inputs + 28 * rank)


def _norms(g: Geometry) -> float:
    """Bytes in which DoRA takes the norms of the widest layer: a unit matrix, and three float32 weights."""
    if not (g.adapter and g.adapter.norms):
        return 0.0
    return 4.0 * (g.intermediate**2 + 3 * g.intermediate * g.hidden)


def _head(recipe: Recipe, g: Geometry, e: int, load: Load, cuda: bool) -> float:
    states = load.scored * g.hidden * (4 + 3 * e)
    logits = recipe.chunk_tokens * g.vocabulary
    tile = (logits if cuda else min(logits, _CACHED_LOGITS)) * (4 + (e if e == 2 else 0))
    if not cuda and e == 2 and recipe.fp32_logits:  # its rows of the head, cast for the product
        rows = min(g.vocabulary, max(1, min(logits, _CACHED_LOGITS) // load.scored))
        tile += 4 * rows * g.hidden
    return states + tile + (0 if recipe.adapts else e * g.vocabulary * g.hidden)


@dataclass(frozen=True)
class Work:
    """Arithmetic of one update on one device.

    Attributes:
        passes: cost in units of one forward pass: a backward pass is 2, or 1 where all weights are frozen but
            adapters.
        how: what they are.
        forward: floating-point operations of one forward pass over the update's tokens.
    """

    passes: float
    how: str
    forward: float

    @property
    def total(self) -> float:
        """Floating-point operations of the update."""
        return self.passes * self.forward


def work(recipe: Recipe, model: Geometry, *, prompt_share: float = 0.0) -> Work:
    """Cost of one update; reference scores are cached, and cost one pass over the data before the first.

    Example:
        >>> from distalign.training.memory.geometry import BUILT_IN
        >>> recipe = Recipe(
        ...     model="m", train_data="d", gradient_checkpointing=True,
        ...     objective="aot_paired", objective_options={"beta": 0.1},
        ... )
        >>> w = work(recipe, BUILT_IN["SmolLM2-135M-Instruct"])
        >>> w.passes, w.how
        (5.0, 'forward 1, backward 2, recomputation 1, first pass of a coupled objective 1')
    """
    from distalign.objectives import declared

    says = declared(objective_of(recipe))
    costs = {
        "forward": 1.0,
        "backward": 1.0 if recipe.adapts else 2.0,
        "recomputation": float(recipe.gradient_checkpointing),
    }
    if "inputs" in says.needs:
        points = {
            "adversarial": 1 if recipe.dtype == "float32" else 2,
            "finite_difference": 3,
            "double_backward": 1,
        }
        times = points[recipe.wdpo_method]
        slope = (
            2.0
            + recipe.gradient_checkpointing
            + (1 if recipe.objective_options.get("through", "ratio") == "ratio" else 0)
        )
        costs = {name: times * cost for name, cost in costs.items()} | {"gradient by embeddings": slope}
    elif says.coupling == "batch":
        costs["first pass of a coupled objective"] = 1.0
    length = recipe.max_length
    tokens = recipe.batch_size * length * (2 - prompt_share * bool(recipe.share_prompt))
    scored = recipe.batch_size * 2 * length * (1 - prompt_share)
    attention = 2 * model.layers * model.query * length * tokens  # causal: half of the square
    forward = 2 * model.active * tokens + attention + 2 * model.vocabulary * model.hidden * scored
    return Work(
        sum(costs.values()), ", ".join(f"{name} {cost:g}" for name, cost in costs.items() if cost), forward
    )
