"""Memory around a pretrained encoder that classifies texts, as BERT, DeBERTa or T5's encoder.

A segment is given to the backbone as rows

    [CLS] memory [SEP] tokens [SEP] padding     with a first token, as BERT has it
    memory tokens </s> padding                  without one, as T5 has it

and the last hidden states of the memory rows are the next segment's memory (Bulatov et al. 2022,
section 4.4: every row sees every other, so that memory is read and written in one place). Positions
are those of the places: the tokens start at the same one in every segment. Where a backbone has
learned positions that is the only change for it, relative ones (T5, DeBERTa) count distances.

With mem_len 0 the rows are [CLS] tokens [SEP], and what comes out is the backbone's, bit for bit.

Axes: B batch, T tokens of the segment, m memory tokens, R rows, D hidden size, C classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rmt.models.pretrained.backbone import (
    bare,
    check_rows,
    check_sizes,
    classifies,
    initial_memory,
    most_rows,
    text_config,
)
from rmt.models.pretrained.causal import Memory, memory_before
from rmt.models.pretrained.layout import taken
from rmt.options.option import check_at_least
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class EncoderOptions:
    """What MemoryEncoder puts around a backbone.

    tgt_len: tokens of a segment, at most. cls_id, sep_id: the tokens around a segment, None for a
    backbone without. n_labels: of a new classifier; 0: the backbone classifies.
    """

    mem_len: int
    tgt_len: int
    cls_id: int | None = None
    sep_id: int | None = None
    n_labels: int = 0

    def __post_init__(self):
        check_at_least(self, 0, "mem_len", "n_labels")
        check_at_least(self, 1, "tgt_len")

    @property
    def n_before(self) -> int:
        """Rows before the tokens."""
        if self.cls_id is None:
            return self.mem_len
        return 1 + self.mem_len + self.separates_memory

    def n_rows(self, n_tokens: int) -> int:
        """All rows of a segment without padding."""
        return self.n_before + n_tokens + (self.sep_id is not None)

    @property
    def separates_memory(self) -> bool:
        return self.mem_len > 0 and self.cls_id is not None and self.sep_id is not None


class MemoryEncoder(nn.Module):
    """Reads a text segment by segment and says after each what it would be classified as.

    A backbone for sequence classification classifies with its own head. Any other encoder gets a
    linear one, on the mean of the rows that are neither memory nor padding.
    """

    State = Memory

    def __init__(self, config: EncoderOptions, backbone: nn.Module):
        """Raises UsageError for a backbone that memory can't be put around."""
        super().__init__()
        self.config, self.backbone = config, backbone
        model, d_model = bare(backbone), text_config(backbone).hidden_size
        name = type(model).__name__
        if self.classifies == bool(config.n_labels):
            raise UsageError(
                f"{name} classifies by itself: leave out n_labels {config.n_labels}"
                if config.n_labels
                else f"{name} has no classifier: say n_labels, how many classes there are"
            )
        if self.classifies and model.config.is_encoder_decoder:
            raise UsageError(
                f"{name} classifies with its decoder, which takes no embeddings: load the encoder "
                "alone, or with AutoModel, and say n_labels"
            )
        embedding = model.get_input_embeddings()
        if config.mem_len:
            check_sizes(embedding, d_model)
            self.memory = nn.Parameter(initial_memory(embedding, config.mem_len))
        if config.n_labels:
            weight = embedding.weight
            self.classifier = nn.Linear(d_model, config.n_labels).to(weight.device, weight.dtype)
        self.check_segment(config.tgt_len)
        if model.config.is_encoder_decoder:  # the decoder has nothing to do
            read = set(model.get_encoder().parameters())
            for weight in set(backbone.parameters()) - read:
                weight.requires_grad_(False)
        self.train(bare(backbone).training)

    def check_segment(self, n_tokens: int) -> None:
        """Raise UsageError for a segment that the backbone has no positions for."""
        what = f"{n_tokens} tokens, {self.config.mem_len} of memory and what stands between"
        check_rows(self.config.n_rows(n_tokens), most_rows(self.backbone), what)

    @property
    def tgt_len(self) -> int:
        return self.config.tgt_len

    @property
    def classifies(self) -> bool:
        """Whether the backbone has a classifier of its own."""
        return classifies(self.backbone)

    def forward(
        self, tokens_BT: Tensor, lengths_B: Tensor | None = None, state: Memory | None = None
    ) -> tuple[Tensor, Memory]:
        """Scores of the classes after this segment, [B, C], and the next state.

        lengths: of each stream how many tokens are no padding, which stands behind them. A stream
        without any is absent: its state stays as it was, and its scores mean nothing. Raises
        UsageError for a segment longer than tgt_len.
        """
        config, (n_streams, n_tokens) = self.config, tokens_BT.shape
        if n_tokens > config.tgt_len:
            raise UsageError(f"a segment has at most {config.tgt_len} tokens, not {n_tokens}")
        before = self.read_memory(state, n_streams)
        x_BRD = self._rows(tokens_BT, lengths_B, before)
        real_BR = None
        if lengths_B is not None:
            n_real_B1 = x_BRD.shape[1] - n_tokens + lengths_B[:, None]
            real_BR = torch.arange(x_BRD.shape[1], device=x_BRD.device) < n_real_B1
        logits_BC, hidden_BRD = self._backbone(x_BRD, real_BR)
        if before is None:
            return logits_BC, Memory()
        first = 0 if config.cls_id is None else 1
        after = hidden_BRD[:, first : first + config.mem_len]
        if lengths_B is not None:
            after = torch.where(lengths_B[:, None, None] > 0, after, before)
        return logits_BC, Memory(after)

    def read_memory(self, state: Memory | None, n_streams: int) -> Tensor | None:
        """The memory that a segment starts with, [B, m, D]; None without memory."""
        if not self.config.mem_len:
            return None
        return memory_before(state, self.memory, n_streams)

    def _rows(self, tokens_BT: Tensor, lengths_B: Tensor | None, memory: Tensor | None) -> Tensor:
        """Embeddings of all rows, padding at the end: [B, R, D]."""
        config, embedding = self.config, bare(self.backbone).get_input_embeddings()
        n_streams, n_tokens = tokens_BT.shape

        def special(token: int) -> Tensor:
            return embedding(tokens_BT.new_full((n_streams, 1), token))

        tokens = embedding(tokens_BT)
        if config.sep_id is not None:
            tokens = torch.cat([tokens, special(config.sep_id)], dim=1)
            if lengths_B is not None:
                # Padding changes places with what ends the segment.
                places = torch.arange(n_tokens + 1, device=tokens.device)
                order_BT = torch.where(places == lengths_B[:, None], n_tokens, places)
                order_BT[:, -1] = lengths_B
                tokens = taken(tokens, order_BT)
        parts = [] if config.cls_id is None else [special(config.cls_id)]
        parts += [] if memory is None else [memory]
        parts += [special(config.sep_id)] if config.separates_memory else []
        return torch.cat([*parts, tokens], dim=1)

    def _backbone(self, x_BRD: Tensor, real_BR: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scores of the classes, [B, C], and the last hidden states, [B, R, D]."""
        model, mask_BR = bare(self.backbone), None if real_BR is None else real_BR.long()
        if self.classifies:
            out = model(inputs_embeds=x_BRD, attention_mask=mask_BR, output_hidden_states=True)
            return out.logits, out.hidden_states[-1]
        encoder = model.get_encoder() if model.config.is_encoder_decoder else model
        hidden_BRD = encoder(inputs_embeds=x_BRD, attention_mask=mask_BR).last_hidden_state
        counted_BR = torch.ones_like(x_BRD[:, :, 0]) if real_BR is None else real_BR.to(x_BRD)
        first = 0 if self.config.cls_id is None else 1
        counted_BR = counted_BR.index_fill(
            1, torch.arange(first, first + self.config.mem_len, device=x_BRD.device), 0
        )
        # An absent text may have no row at all; its mean means nothing, but must be a number.
        n_B1 = counted_BR.sum(1, keepdim=True).clamp(min=1)
        mean_BD = (hidden_BRD * counted_BR[..., None]).sum(1) / n_B1
        return self.classifier(mean_BD), hidden_BRD
