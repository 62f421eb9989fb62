"""The attention of a trained model on one test sample of an algorithmic task."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rmt.analysis.patterns import SegmentMaps
from rmt.data.tasks.samples import cut
from rmt.data.tasks.tasks import Task, TaskData, load_task
from rmt.eval import read_run
from rmt.models.transformer_xl.attention import attention_weights
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM, State
from rmt.options.config import ModelConfig, TaskConfig, TrainConfig
from rmt.runs import checkpoint
from rmt.runs.logged_runs import model_label, task_label
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class TrainedRun:
    """A finished or unfinished run on a task: its settings, its data and its best model."""

    model: MemTransformerLM
    train: TrainConfig
    task: TaskConfig
    data: TaskData

    @property
    def label(self) -> str:
        """Task and model, for people."""
        options = self.task.belonging_to(self.train.dataset)
        size = options.get("n") or options.get("pairs") or 0
        return f"{task_label(self.train.dataset, size)}: {model_label(self.model.config)}"


def load_run(work_dir: Path) -> TrainedRun:
    """The best checkpoint of a run, in evaluation mode, and the samples it was trained on.

    Raises UsageError for a run on text, without a checkpoint, or of other samples.
    """
    model_config, train, task = read_run(work_dir)
    if not train.is_task:
        raise UsageError(
            f"{work_dir} is a run on text ({train.dataset}): attention maps are drawn of runs on "
            "algorithmic tasks"
        )
    found = checkpoint.find_best(work_dir)
    data = load_task(train.dataset, task, train.encoded_dir or None)
    if found.manifest.get("corpus") != data.fingerprint:
        raise UsageError(f"{work_dir} was trained on other samples than its options make now")
    model = MemTransformerLM(model_config)
    found.load_model(model)
    return TrainedRun(model.eval(), train, task, data)


def maps_of_sample(run: TrainedRun, index: int) -> list[SegmentMaps]:
    """The attention in every segment of a test sample, teacher-forced.

    The segments before the answer are only advanced through, as in training. Raises UsageError
    for an index beyond the test samples.
    """
    samples = run.data.splits["test"]
    if not 0 <= index < len(samples):
        raise UsageError(f"there is no test sample {index}: choose one of 0 to {len(samples) - 1}")
    return attention_maps(run.model, run.data.task, samples[index], run.train.tgt_len)


@torch.no_grad()
def attention_maps(
    model: MemTransformerLM, task: Task, sample_L: np.ndarray, tgt_len: int
) -> list[SegmentMaps]:
    """The attention of a model in evaluation mode in every segment of one sample."""
    state, segments = None, []
    pieces = cut(sample_L[None], task.scored, tgt_len, torch.device("cpu"))
    for tokens, targets in pieces:
        sizes = _sizes(model.config, state, tokens.shape[1])
        with recorded_attention(model) as recorded:
            if targets is None:
                state = model.advance(tokens, state)
            else:
                _, state = model.predict(tokens, state)
        nothing = np.zeros((model.config.n_head, 0, sum(sizes.values())))
        layers = tuple(recorded.get(i, nothing) for i in range(model.config.n_layer))
        symbols = tuple(task.symbols[i] for i in tokens[0])
        n_scored = 0 if targets is None else int((targets >= 0).sum())
        segments.append(SegmentMaps(layers, sizes, symbols, n_scored))
    return segments


def _sizes(config: ModelConfig, state: State | None, n_tokens: int) -> dict[str, int]:
    cache = state.cache if state else None
    return {
        "cache": cache[0].shape[1] if cache else 0,
        "read": config.n_memory,
        "tokens": n_tokens,
        "write": config.n_write,
    }


@contextmanager
def recorded_attention(model: MemTransformerLM) -> Iterator[dict[int, np.ndarray]]:
    """Keep what every layer attends to, [H, Q, K] of the first stream, by the layer's number.

    Without dropout, as in evaluation mode.
    """
    recorded: dict[int, np.ndarray] = {}

    def recording(layer: int, read: Callable) -> Callable:
        def record_and_read(query, key, value, *distance_and_biases, masked_QK):
            weights = attention_weights(query, key, *distance_and_biases, masked_QK=masked_QK)
            recorded[layer] = weights[:, 0].detach().float().cpu().numpy()
            return read(query, key, value, *distance_and_biases, masked_QK=masked_QK)

        return record_and_read

    attentions = [layer.attention for layer in model.layers]
    for i, attention in enumerate(attentions):
        attention.read = recording(i, attention.read)
    try:
        yield recorded
    finally:
        for attention in attentions:
            del attention.read  # the class's own is behind it
