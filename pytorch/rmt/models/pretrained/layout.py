"""The rows of a segment inside a causal backbone: [read memory, tokens, write memory, padding].

Positions. Memory rows have positions of their own: the read memory 0 ... m-1, the tokens m, m+1 and
so on in every segment, and the write memory those that follow the last token. Padding is at the
end, where no other row sees it and every row has the place that it has in a text alone. What a
position means depends on the backbone:

    learned   (GPT-2, OPT)  a token's vector is that of its place in the segment plus m;
    rotary    (Llama, Qwen, Gemma, NeoX)  only distances count, so that m changes nothing between
              tokens; memory rows are as far away as they stand;
    relative  (T5, DeBERTa)  as rotary; the backbone counts rows itself.

armt.py has no read memory: its tokens stand where the backbone has them, from 0 on.

Masks. causal: every row sees itself and the rows before it, as the authors' wrapper has it, so that
a read-memory row does not see those after it. paper: read memory sees all of itself and nothing
else, write memory everything (Bulatov et al. 2022, section 3.2):

            r r t t t w w
        r   x x . . . . .
        r   x x . . . . .
        t   x x x . . . .
        t   x x x x . . .
        t   x x x x x . .
        w   x x x x x x x
        w   x x x x x x x

Axes: B batch, m memory tokens, R rows, Q rows that see, K rows that are seen, D hidden size.
"""

import torch
from torch import Tensor


def order_of_rows(n_read: int, n_tokens: int, n_write: int, lengths_B: Tensor) -> Tensor:
    """Which of the rows [read memory, tokens, padding, write memory] comes where: [B, R] int64.

    lengths: of each stream, tokens that are no padding.
    """
    rows_R = torch.arange(n_read + n_tokens + n_write, device=lengths_B.device)
    first_B1 = n_read + lengths_B[:, None]  # of the write memory
    n_padding_B1 = n_tokens - lengths_B[:, None]
    is_write_BR = (rows_R >= first_B1) & (rows_R < first_B1 + n_write)
    order_BR = torch.where(is_write_BR, rows_R + n_padding_B1, rows_R)
    return torch.where(rows_R >= first_B1 + n_write, rows_R - n_write, order_BR)


def rows_of_write_memory(n_read: int, n_write: int, lengths_B: Tensor) -> Tensor:
    """Where it is then, [B, m] int64."""
    return n_read + lengths_B[:, None] + torch.arange(n_write, device=lengths_B.device)


def taken(x_BRD: Tensor, rows_Br: Tensor) -> Tensor:
    """Some rows of each stream, [B, r, D]."""
    return x_BRD.gather(1, rows_Br[..., None].expand(-1, -1, x_BRD.shape[2]))


def paper_mask(n_memory: int, n_write: int, n_rows: int, lengths_B: Tensor) -> Tensor:
    """Which rows see which in the paper: [B, Q, K] bool."""
    rows_R = torch.arange(n_rows, device=lengths_B.device)
    is_read_R = rows_R < n_memory
    end_of_tokens_B1 = n_memory + lengths_B[:, None]
    is_real_BR = rows_R < end_of_tokens_B1 + n_write
    is_write_BR = is_real_BR & (rows_R >= end_of_tokens_B1)
    before_QK = rows_R[:, None] >= rows_R
    inside_read_QK = is_read_R[:, None] & is_read_R
    return before_QK | inside_read_QK | (is_write_BR[:, :, None] & is_real_BR[:, None])


def added_to_scores(sees_BQK: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask as backbones take it, [B, 1, Q, K]: 0 where a row sees, else the lowest number."""
    added_BQK = torch.zeros_like(sees_BQK, dtype=dtype)
    return added_BQK.masked_fill(~sees_BQK, torch.finfo(dtype).min)[:, None]
