"""Adaptive softmax whose output weights are the word embeddings.

Source: Grave et al. 2017, "Efficient softmax approximation for GPUs"; tied as in Baevski and Auli
2019; layout of Transformer-XL: with cutoffs c1 < c2 < ..., the head holds the c1 most frequent
words and one column per tail cluster, and cluster i (from 1) is the head's column -i, so that the
LAST column is the first cluster. Without cutoffs it is the plain softmax.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmt.data.batches import IGNORED
from rmt.models.transformer_xl.padding import padded, pads
from rmt.models.transformer_xl.word_weights import Words, split


class AdaptiveSoftmax(nn.Module):
    """Word probabilities from hidden states.

    Axes: N predictions, D d_model, E embedding dimension, V words. The word weights [V, E] are
    passed to every call, for they usually are the embedding's. Where E differs from D, hidden
    states are projected to E: by this module's own matrix for the head and by the embedding's
    projection [D, E], which the caller passes, for the tail clusters. With div_val, every cluster
    has an E of its own: the word weights are one matrix for each, the head's first, and the
    projection has the columns of all. With pad_sizes there may be more logits than words, of
    probability 0.
    """

    def __init__(
        self,
        n_token: int,
        d_model: int,
        d_embed: int,
        cutoffs: tuple[int, ...] = (),
        pad_sizes: str = "off",
        div_val: int = 1,
    ):
        super().__init__()
        self.pad_sizes = pad_sizes
        self.bounds = (0, *cutoffs, n_token)
        self.n_clusters = len(cutoffs)
        self.n_columns = self.bounds[1] + self.n_clusters  # of the head
        self.bias = nn.Parameter(torch.zeros(n_token))
        if cutoffs:
            self.cluster_weight = nn.Parameter(torch.zeros(self.n_clusters, d_embed))
            self.cluster_bias = nn.Parameter(torch.zeros(self.n_clusters))
            self.register_buffer("cutoffs", torch.tensor(cutoffs), persistent=False)
        if d_embed != d_model or div_val > 1:
            self.projection = nn.Parameter(torch.zeros(d_model, d_embed))

    def forward(
        self,
        hidden_ND: Tensor,
        targets_N: Tensor,
        weight_VE: Tensor | Sequence[Tensor],
        tail_projection_DE: Tensor | None = None,
        rooms: tuple[int, ...] | None = None,
    ) -> Tensor:
        """Return the negative log-probability of each target in nats: [N], in the given order.

        rooms: for every tail cluster how many of the targets it may have, at least as many as it
        has. The sizes of all that is computed then follow from N and the rooms alone, and the host
        does not wait for a GPU. None: it asks the GPU how many there are. Raises ValueError for
        rooms of other clusters than these and, on a CPU, for too few; on a GPU too few go
        unnoticed and lose targets, for noticing would be waiting.
        """
        head, tails = self._parts(weight_VE, tail_projection_DE)
        head_logits = self._head_logits(hidden_ND, *head)
        if not tails or not len(targets_N):
            return F.cross_entropy(head_logits, targets_N, reduction="none")

        cluster_N = torch.bucketize(targets_N, self.cutoffs, right=True)  # 0 is the head
        column_N = torch.where(cluster_N == 0, targets_N, self.n_columns - cluster_N)
        nll_N = F.cross_entropy(head_logits, column_N, reduction="none")
        clusters = torch.arange(self.n_clusters + 1, device=cluster_N.device)
        sizes = (cluster_N[:, None] == clusters).sum(0)
        rooms = self._checked(rooms, sizes)
        # One cluster's rows after another's: cluster i has `sizes[i]` from `firsts[i]` on.
        sorted_N = cluster_N.argsort(stable=True)
        firsts = sizes.cumsum(0) - sizes
        for i, (room, tail) in enumerate(zip(rooms, tails, strict=True), start=1):
            if not room:
                continue
            place = torch.arange(room, device=cluster_N.device)
            rows = sorted_N[(firsts[i] + place).clamp(max=len(sorted_N) - 1)]
            # The room that is left holds rows of zeros, without a target.
            empty = place >= sizes[i]
            target = (targets_N[rows] - self.bounds[i]).masked_fill(empty, IGNORED)
            hidden = hidden_ND.index_select(0, rows).masked_fill(empty[:, None], 0)
            in_cluster = F.cross_entropy(self._logits(hidden, *tail), target, reduction="none")
            nll_N = nll_N.index_add(0, rows, in_cluster)
        return nll_N

    def rooms(self, targets: Tensor) -> tuple[int, ...]:
        """How many of the targets each tail cluster has; none has those of IGNORED."""
        inner_bounds = torch.tensor(self.bounds[1:-1], dtype=torch.int64, device=targets.device)
        cluster = torch.bucketize(targets.flatten(), inner_bounds, right=True)
        return tuple(cluster.bincount(minlength=self.n_clusters + 1)[1:].tolist())

    def log_probs(
        self,
        hidden_ND: Tensor,
        weight_VE: Tensor | Sequence[Tensor],
        tail_projection_DE: Tensor | None = None,
    ) -> Tensor:
        """Return the log-probability of every word: [N, V]."""
        head, tails = self._parts(weight_VE, tail_projection_DE)
        head_log_probs = F.log_softmax(self._head_logits(hidden_ND, *head), dim=-1)
        parts = [head_log_probs[:, : self.bounds[1]]]
        for i, (words, bias, projection) in enumerate(tails, start=1):
            logits = self._logits(hidden_ND, words, bias, projection)
            in_cluster = F.log_softmax(logits, dim=-1)[:, : len(bias)]
            parts.append(head_log_probs[:, self.n_columns - i, None] + in_cluster)
        return torch.cat(parts, dim=1)

    def _checked(self, rooms: tuple[int, ...] | None, sizes: Tensor) -> tuple[int, ...]:
        """The tail clusters' rooms: the given ones, or else their sizes."""
        if rooms is not None and len(rooms) != self.n_clusters:
            raise ValueError(f"rooms for {len(rooms)} clusters, but there are {self.n_clusters}")
        if rooms is not None and sizes.device.type != "cpu":
            return rooms
        _, *exact = sizes.tolist()
        if rooms is None:
            return tuple(exact)
        if any(room < size for room, size in zip(rooms, exact, strict=True)):
            raise ValueError(f"rooms {rooms} are too few for clusters of {tuple(exact)} targets")
        return rooms

    def _parts(self, weight_VE: Tensor | Sequence[Tensor], tail_projection_DE: Tensor | None):
        """Split words into the head's and each cluster's (words, bias, projection)."""
        sizes = [high - low for low, high in pairwise(self.bounds)]
        projections = [tail_projection_DE] * self.n_clusters
        if isinstance(weight_VE, Tensor):
            words = self._words(weight_VE, sizes)
        else:
            words = [part for own in weight_VE for part in self._words(own, [len(own)])]
            _, *projections = tail_projection_DE.split([own.shape[1] for own in weight_VE], dim=1)
        projections = [getattr(self, "projection", None), *projections]
        head, *tails = zip(words, self.bias.split(sizes), projections, strict=True)
        return head, tails

    def _words(self, weight_VE: Tensor, sizes: list[int]) -> list[Words]:
        if pads(self.pad_sizes, weight_VE):  # the gradient of padded copies is autograd's
            return [Words(part) for part in weight_VE.split(sizes)]
        return split(weight_VE, sizes)

    def _head_logits(
        self, hidden_ND: Tensor, words: Words, bias: Tensor, projection: Tensor | None
    ) -> Tensor:
        if not self.n_clusters:
            return self._logits(hidden_ND, words, bias, projection)
        clusters, cluster_bias = Words(self.cluster_weight), self.cluster_bias
        if pads(self.pad_sizes, hidden_ND):
            columns = Words(torch.cat([words.weight, clusters.weight]))
            return self._logits(hidden_ND, columns, torch.cat([bias, cluster_bias]), projection)
        if projection is not None:
            hidden_ND = hidden_ND @ projection
        logits = self._logits(hidden_ND, words, bias, None)
        cluster_logits = self._logits(hidden_ND, clusters, cluster_bias, None)
        return torch.cat([logits, cluster_logits], dim=1)

    def _logits(
        self, hidden_ND: Tensor, words: Words, bias: Tensor, projection: Tensor | None
    ) -> Tensor:
        if pads(self.pad_sizes, hidden_ND):
            hidden_ND, bias = padded(hidden_ND, -1), padded(bias, -1, value=-math.inf)
            words = Words(padded(words.weight, -2, -1))
            projection = None if projection is None else padded(projection, -2, -1)
        if projection is not None:
            hidden_ND = hidden_ND @ projection
        logits = words.products(hidden_ND, bias)
        # At least fp32 for the softmax, also under autocast.
        return logits.to(torch.promote_types(logits.dtype, torch.float32))
