"""Reading a stream of tokens on and on, and the reader's memory on disk.

    state = rmt.read(model, ids)                    # any length, in the memory of one segment
    state.save("book.state", model)
    state = rmt.StreamState.load("book.state", model)
    state = rmt.read(model, more_ids, state)        # as if it had never stopped

Axes: B parallel streams, n tokens, t tokens of the open segment.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from rmt.models.contract import SegmentModel, State
from rmt.models.registry import options_of
from rmt.runtime.errors import UsageError
from rmt.runtime.files import write_bytes

FORMAT = "rmt.StreamState 1"
# In a file: names of tensors, or how they begin, and of what is said of them.
OPEN, BEFORE, ABOUT = "open", "before.", "about"

SEGMENTS = 256  # whose ids are in memory at once

Ids = Tensor | np.ndarray | Sequence


@dataclass(frozen=True)
class StreamState:
    """What is kept of streams that were read so far, to read on from after any token.

    before: what the segments before the open one handed over; None in the first.
    open_tokens: of the open segment, [B, t] int64, the last one read at the end. A full segment
        stays open until another token comes, so that what follows can be predicted.
    tgt_len: tokens of a segment.
    """

    before: State | None
    open_tokens: Tensor
    tgt_len: int

    @property
    def n_streams(self) -> int:
        return len(self.open_tokens)

    def save(self, file: str | os.PathLike, model: SegmentModel) -> None:
        """Write it to a file, as a whole or not at all; the model is the one that read.

        Raises UsageError where that can't be done.
        """
        tensors = {OPEN: self.open_tokens}
        if self.before is not None:
            tensors |= {BEFORE + name: each for name, each in self.before.tensors().items()}
        tensors = {name: each.detach().cpu().contiguous().clone() for name, each in tensors.items()}
        about = {
            "format": FORMAT,
            "tgt_len": self.tgt_len,
            "options": model.config.settings,
            "weights": fingerprint(model),
        }
        about["sha256"] = _sha256(tensors, about)
        # As one value: safetensors has no order of several, and equal states make equal files.
        content = safetensors.torch.save(tensors, {ABOUT: json.dumps(about)})
        write_bytes(Path(file), content)

    @classmethod
    def load(cls, file: str | os.PathLike, model: SegmentModel) -> StreamState:
        """Read what save wrote, onto the model's device.

        Raises UsageError for a file that is damaged or something else, and for what another model
        read: one with other weights, or other lengths.
        """
        tensors, about = _read(Path(file))
        _check_model(file, about, model)
        device = next(model.parameters()).device
        tensors = {name: each.to(device) for name, each in tensors.items()}
        open_tokens = tensors.pop(OPEN)
        own = {name.removeprefix(BEFORE): each for name, each in tensors.items()}
        before = model.State.from_tensors(own) if own else None
        return cls(before, open_tokens, about["tgt_len"])


@torch.no_grad()
def read(
    model: SegmentModel,
    ids: Ids,
    state: StreamState | None = None,
    *,
    tgt_len: int | None = None,
) -> StreamState:
    """Read tokens, and return what is kept of them.

    ids: [n] of one stream, or [B, n] of several; a memory map stays on disk but for some segments.
    state: of as many streams, to read on from; None starts them.
    tgt_len: tokens of a segment; None: as the state says, or as the model was trained
        (rmt.load). On a CPU it makes no difference how the ids are cut into several calls, bit for
        bit, but for rounding with another schedule than the sequential one.
    Raises UsageError for a model in training mode, ids that it has not, and other wrong use.
    """
    if model.training:
        raise UsageError("the model is in training mode, with dropout: call model.eval() first")
    ids_Bn = _in_streams(ids)
    n_streams, n_tokens = ids_Bn.shape
    tgt_len = segment_length(model, state, tgt_len)
    if state is not None and state.n_streams != n_streams:
        raise UsageError(f"the state is of {state.n_streams} streams, the ids of {n_streams}")
    if state is None and not n_tokens:
        raise UsageError("there is nothing to read: give at least one token")
    reader = model.decoder(state.before if state else None, tgt_len, n_streams)
    if state is not None:
        reader.read(state.open_tokens)
    at_once = tgt_len * SEGMENTS
    for start in range(0, n_tokens, at_once):
        reader.read(_checked(model, ids_Bn[:, start : start + at_once]))
    return StreamState(reader.state, reader.open_Bt, tgt_len)


def segment_length(model: SegmentModel, state: StreamState | None, tgt_len: int | None) -> int:
    """Tokens of a segment, by what is known. Raises UsageError where nothing or too much is."""
    if state is not None:
        if tgt_len not in (None, state.tgt_len):
            raise UsageError(
                f"the state was read in segments of {state.tgt_len} tokens: leave out tgt_len "
                f"{tgt_len}"
            )
        return state.tgt_len
    if tgt_len is None:
        settings = getattr(model, "settings", None)  # of a run's model
        known = settings.train.tgt_len if settings else model.tgt_len
        if known is None:
            raise UsageError("the model comes from no run: say tgt_len, the tokens of a segment")
        return known
    if tgt_len < 1:
        raise UsageError(f"tgt_len must be 1 or more, but it is {tgt_len}")
    return tgt_len


def fingerprint(model: SegmentModel) -> str:
    """Hexadecimal SHA-256 of a model's weights, on whatever device they are."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.float().cpu().contiguous().numpy())
    return digest.hexdigest()


def _in_streams(ids: Ids) -> Tensor | np.ndarray:
    """[B, n]; UsageError for what has other axes, or is no ids."""
    if not isinstance(ids, Tensor):
        ids = np.asarray(ids)
        if not ids.size:
            ids = ids.astype(np.int64)  # an empty list has no type
        is_integer = np.issubdtype(ids.dtype, np.integer)
    else:
        is_integer = not (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool)
    if not is_integer or ids.ndim not in (1, 2):
        raise UsageError(
            f"ids must be integers, [n] or [B, n], not {ids.dtype} of {ids.ndim} dimensions"
        )
    return ids[None] if ids.ndim == 1 else ids


def _checked(model: SegmentModel, ids_Bt: Tensor | np.ndarray) -> Tensor:
    """Ids as int64 on the model's device; UsageError for one that the model has not."""
    if isinstance(ids_Bt, np.ndarray):
        ids_Bt = torch.from_numpy(ids_Bt.astype(np.int64))
    n_token = model.config.n_token
    low, high = int(ids_Bt.min()), int(ids_Bt.max())
    if low < 0 or high >= n_token:
        wrong = low if low < 0 else high
        raise UsageError(f"{wrong} is no id: the model has the ids 0 to {n_token - 1}")
    return ids_Bt.to(next(model.parameters()).device, torch.int64)


def _read(file: Path) -> tuple[dict[str, Tensor], dict]:
    """A file's tensors and what it says of them."""
    try:
        with safetensors.safe_open(file, "pt") as opened:
            about = json.loads((opened.metadata() or {}).get(ABOUT, "{}"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UsageError(f"there is no file {file}") from None
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise UsageError(f"{file} is damaged, or no state of a reader ({error})") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise UsageError(f"{file} holds no state of a reader, but something else")
    if about.pop("sha256", None) != _sha256(tensors, about):
        raise UsageError(f"{file} is damaged: what it holds has changed")
    return tensors, about


def _check_model(file: str | os.PathLike, about: Mapping, model: SegmentModel) -> None:
    """Raise UsageError unless this model has read what the file keeps."""
    try:
        settings = options_of(about["options"]).settings
    except (TypeError, KeyError, ValueError) as error:
        raise UsageError(f"{file} is of a model that is not here ({error})") from None
    for name, own in model.config.settings.items():
        if settings.get(name) != own:
            raise UsageError(
                f"{file} is of a model with {name} {settings.get(name)}, and this one has {own}"
            )
    if about["weights"] != fingerprint(model):
        raise UsageError(
            f"{file} is of a model with other weights: use the run and the checkpoint that read it"
        )


def _sha256(tensors: Mapping[str, Tensor], about: Mapping) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, each in sorted(tensors.items()):
        digest.update(f"{name} {each.dtype} {tuple(each.shape)}\n".encode())
        digest.update(each.view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
