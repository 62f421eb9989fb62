"""The segment contract: what a model offers, and all that the rest of the project knows of it.

    nll, state = model(tokens, targets, state)        # [B, T] int64 -> [B, T] nats in token order
    state = model.advance(tokens, state)              # the same next state, predictions left out
    log_probs, state = model.predict(tokens, state)   # [B, T, V]
    decoder = model.decoder(state, tgt_len)           # one token per stream at a time

    for nll, state in model.forward_each(segments, state): ...         # several segments in a row
    for log_probs, state in model.predict_each(segments, state): ...

state=None starts a stream; a target of IGNORED is not scored; a segment without tokens, [B, 0],
leaves the state as it is. A model holds no state itself: what one segment hands to the next is a
State (state.py), an immutable value. float64 weights compute in float64.

A model is complete with its options (rmt.models.options), a State and predict. Everything else has
a default here, which a model replaces where it can do better.

Axes: B batch (parallel streams), T tokens of a segment, t some tokens of a segment, V words.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from rmt.data.batches import IGNORED
from rmt.models.options import Carried, ModelOptions
from rmt.models.state import State
from rmt.options.schedule import SEQUENTIAL
from rmt.runtime.errors import UsageError

# Tokens and targets, [B, T] each, or None for the targets of a segment that is not predicted. T may
# differ between segments.
Segment = tuple[Tensor, Tensor | None]


class SegmentAttention(NamedTuple):
    """What every head of every layer attends to in one segment of one stream.

    layers: of every layer [H, Q, K]; the rows are the last Q of the K keys, fewer where a layer
    leaves out what nothing reads. regions: how many keys are cache, read memory, tokens and write
    memory, by these names ("cache", "read", "tokens", "write"), in this order.
    """

    layers: tuple[np.ndarray, ...]
    regions: dict[str, int]


class SegmentModel(nn.Module):
    """A language model that reads a stream segment by segment."""

    State: ClassVar[type[State]] = State
    # Parts that the time of a step is split into (rmt.bench), by their types among the modules.
    parts: ClassVar[Mapping[str, type[nn.Module] | tuple[type[nn.Module], ...]]] = {
        "embedding": nn.Embedding,
        "norm": nn.LayerNorm,
        "dropout": nn.Dropout,
    }
    # Matrices that weight decay leaves alone, as it does all that are no matrices; by their names.
    not_decayed: ClassVar[frozenset[str]] = frozenset()
    # Tokens of the segments that it is used with, where the model knows.
    tgt_len: int | None = None
    # What given_rooms says now.
    rooms_given: tuple[int, ...] | None = None
    # What set_schedule said.
    schedule: str = SEQUENTIAL

    def __init__(self, config: ModelOptions):
        super().__init__()
        self.config = config

    # What a model has to say

    def predict(self, tokens_BT: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The log-probability of every word as next token, [B, T, V], and the next state."""
        raise NotImplementedError

    # What follows from it

    def forward(
        self, tokens_BT: Tensor, targets_BT: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Each target's negative log-probability in nats, [B, T], and the next state.

        A target of IGNORED has loss 0, without gradient.
        """
        log_probs, state = self.predict(tokens_BT, state)
        nll = nn.functional.nll_loss(
            log_probs.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return nll.view_as(targets_BT), state

    def advance(self, tokens_BT: Tensor, state: State | None = None) -> State:
        """The next state alone: the same as predict's, with gradient."""
        return self.predict(tokens_BT, state)[1]

    # Several segments in a row

    def forward_each(
        self, segments: Iterable[Segment], state: State | None = None
    ) -> Iterator[tuple[Tensor | None, State]]:
        """What forward gives of one segment after the other; nll is None for one without targets.

        Segments are taken as they are needed, so there may be any number of them.
        """
        for tokens_BT, targets_BT in segments:
            if targets_BT is None:
                nll, state = None, self.advance(tokens_BT, state)
            else:
                nll, state = self(tokens_BT, targets_BT, state)
            yield nll, state

    def predict_each(
        self, segments: Iterable[Segment], state: State | None = None
    ) -> Iterator[tuple[Tensor | None, State]]:
        """What predict gives of each; log_probs are None for one without targets."""
        for tokens_BT, targets_BT in segments:
            if targets_BT is None:
                log_probs, state = None, self.advance(tokens_BT, state)
            else:
                log_probs, state = self.predict(tokens_BT, state)
            yield log_probs, state

    def set_schedule(self, schedule: str) -> None:
        """In which order several segments are computed (rmt.options.schedule).

        Raises UsageError where the model can't be computed diagonally.
        """
        self.config.check_schedule(schedule)
        self.schedule = schedule

    def decoder(self, state: State | None, tgt_len: int, n_streams: int = 1) -> Decoder:
        """Prediction token by token from a state on, in segments of tgt_len."""
        return Decoder(self, state, tgt_len, n_streams)

    def with_lengths(self, **changes) -> Self:
        """The same weights (shared, not copied) under other lengths.

        Raises UsageError for lengths that the model has not, or that its weights depend on.
        """
        view = copy.copy(self)
        view.config = self.config.with_lengths(changes)
        return view

    @property
    def carries(self) -> Carried:
        """What a segment hands to the next; looked up in a state where the options don't say."""
        if self.config.carried is not None:
            return self.config.carried
        device = next(self.parameters()).device
        with torch.enable_grad():
            state = self.advance(torch.zeros(1, 1, dtype=torch.int64, device=device))
        tensors = state.tensors().values()
        return Carried(
            sum(tensor.numel() for tensor in tensors),
            any(tensor.requires_grad for tensor in tensors),
        )

    def empty_state(self, n_streams: int) -> State:
        """What a stream starts with, as a State: for a model that computes from one in any case.

        Nothing but a model's own code asks for it; all others start a stream with None.
        """
        return self.State()

    def state_before(self, tokens_BT: Tensor, state: State | None) -> State:
        """empty_state in the place of None; what a model returns of a segment without tokens, too.

        Raises ValueError for one of another number of streams.
        """
        n_streams = len(tokens_BT)
        return (state or self.empty_state(n_streams)).check_streams(n_streams)

    def check_segment(self, n_tokens: int) -> None:
        """Raise UsageError for a segment that is longer than the model can read."""

    def files(self) -> Mapping[str, str]:
        """What a run's folder must hold, by name, for ModelOptions.kept_in to be of use elsewhere.

        Empty where options and weights are enough.
        """
        return {}

    # Beginning with the weights of another model

    def weights_from(
        self, others: Mapping[str, Tensor], options: ModelOptions
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """This model's weights made of those of a trained one (rmt.train --init_from).

        others: by name. options: those of the model they are of, which may be of any family.

        Returns the weights, and by name, for people, what became of those that are not simply the
        other model's. This default takes all of them as they are; a model whose weights may fit in
        part says how. Names and shapes are compared with the model's own by the caller.
        """
        return dict(others), {}

    # Sizes that follow from the targets' values

    def rooms(self, targets_BT: Tensor) -> tuple[int, ...]:
        """How many places each part of forward needs for these targets, which are on the CPU.

        () where all sizes follow from the shape of the targets.
        """
        return ()

    @contextmanager
    def given_rooms(self, rooms: tuple[int, ...] | None) -> Iterator[None]:
        """Around forward passes whose sizes follow from shapes and these rooms alone.

        The host knows the targets before it sends them; who asks a GPU for them waits, and what is
        captured as a CUDA graph can't ask. rooms: those of the targets, or larger ones, which
        change no loss and no gradient. That they are large enough for every segment that is
        predicted inside is the caller's promise. None: forward asks, as it does outside.
        """
        before, self.rooms_given = self.rooms_given, rooms
        try:
            yield
        finally:
            self.rooms_given = before

    # Sizes

    def n_parameters(self) -> int:
        """All parameters; shared ones count once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def n_layer_parameters(self) -> int:
        """Parameters but for those of embeddings, published as non-embedding parameters."""
        embeddings = [module for module in self.modules() if isinstance(module, nn.Embedding)]
        in_embeddings = {id(weight) for module in embeddings for weight in module.parameters()}
        weights = (weight for weight in self.parameters() if id(weight) not in in_embeddings)
        return sum(weight.numel() for weight in weights)

    # What only some models can do

    def accumulating_gradients(self) -> AbstractContextManager:
        """Around forward and backward passes that end in .grad: a model may add to it by itself."""
        return nullcontext()

    def attention(
        self, tokens_1T: Tensor, state: State | None, predict: bool
    ) -> tuple[SegmentAttention, State]:
        """The attention in a segment of one stream, and the next state.

        predict: whether predictions are computed, as by predict, or not, as by advance. Raises
        UsageError for a model without such attention.
        """
        raise UsageError(f"{self.config.model} has no attention to look at")


class Decoder:
    """Prediction token by token: what a model in evaluation mode says next in parallel streams.

    The streams are cut into segments of tgt_len tokens from where the decoder starts; when one is
    full and another token comes, the state rolls on. This one computes the open segment again for
    every token; a model's own keeps what it can.
    """

    def __init__(self, model: SegmentModel, state: State | None, tgt_len: int, n_streams: int):
        """Raises ValueError for a state of another number of streams."""
        if state is not None:
            state.check_streams(n_streams)
        device = next(model.parameters()).device
        self.model, self.tgt_len = model, tgt_len
        self.state = state  # before the open segment
        self.open_Bt = torch.empty(n_streams, 0, dtype=torch.int64, device=device)
        self._begin()

    def feed(self, tokens_Bt: Tensor) -> Tensor:
        """Take one token or more; return the log-probabilities of what follows: [B, V]."""
        self.read(tokens_Bt)
        return self._predict()

    def read(self, tokens_Bt: Tensor) -> None:
        """Take tokens, predicting nothing. A full segment stays open until another token comes."""
        open_Bt = torch.cat([self.open_Bt, tokens_Bt], dim=1)
        n_full = max(0, open_Bt.shape[1] - 1) // self.tgt_len
        if n_full:
            full, open_Bt = open_Bt.tensor_split([n_full * self.tgt_len], dim=1)
            self._roll(full.split(self.tgt_len, dim=1))
            open_Bt = open_Bt.clone()  # a view would keep the full segments in memory, too
        self.open_Bt = open_Bt

    def _roll(self, full: Sequence[Tensor]) -> None:
        """These segments are full: go on to the next."""
        for _, state in self.model.forward_each(((each, None) for each in full), self.state):
            self.state = state
        self._begin()

    def _begin(self) -> None:
        """A segment begins: what a model's own decoder has kept of the one before is of no use."""

    def _predict(self) -> Tensor:
        """The log-probabilities of what follows the open segment's last token: [B, V]."""
        return self.model.predict(self.open_Bt, self.state)[0][:, -1]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, a model is in evaluation mode; after it, whatever happens, as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def with_memory(
    model: SegmentModel, others: Mapping[str, Tensor], options: ModelOptions
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As SegmentModel.weights_from, of a model that may have memory tokens, a parameter `memory`.

    Rows of memory are kept as far as there is room; those that are missing are as in any new model.
    """
    weights, own = dict(others), model.state_dict().get("memory")
    theirs = weights.pop("memory", None)
    if own is None:
        gone = {} if theirs is None else {"memory": f"left out, {model.config.model} has none"}
        return weights, gone
    if theirs is None:
        return weights | {"memory": own}, {"memory": f"new, {options.model} has none"}
    if theirs.shape[1:] != own.shape[1:] or len(theirs) == len(own):
        return dict(others), {}
    n_kept = min(len(theirs), len(own))
    weights["memory"] = torch.cat([theirs[:n_kept].to(own), own[n_kept:]])
    if len(own) > n_kept:
        return weights, {"memory": f"{n_kept} rows taken, {len(own) - n_kept} new"}
    return weights, {"memory": f"{n_kept} of {len(theirs)} rows taken"}


def named_parts(model: SegmentModel) -> Iterator[tuple[str, nn.Module]]:
    """The modules that belong to one of the model's parts, with its name."""
    for module in model.modules():
        for name, types in model.parts.items():
            if isinstance(module, types):
                yield name, module
