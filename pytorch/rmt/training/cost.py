"""What training costs, in counted operations: products and sums of matrix products.

Without PyTorch, so that tables and plans can tell.
"""

from rmt.models.options import ModelOptions
from rmt.options.training import TrainConfig


def segments_per_step(train: TrainConfig) -> tuple[int, int]:
    """How many segments a step predicts, and how many it replays before them, at full depth.

    A sample of a task counts with all its segments, as one window; of a text with a label, whose
    segments nobody knows, one counts.
    """
    if train.segments:
        return train.segments, 0
    if train.bptt_mode == "window":
        return train.bptt_unrolls + 1, 0
    return 1, max(0, train.bptt_unrolls)


def layer_operations(model: ModelOptions, train: TrainConfig) -> int | None:
    """Of one optimizer step in the layers; None where the model's are not counted.

    The backward pass has two products for each of the forward pass. What is computed a second time
    (checkpoint_segments) does not count.
    """
    share = train.batch_size // train.batch_chunk
    forward = model.segment_operations(train.tgt_len, share)
    return (
        None if forward is None else 3 * sum(segments_per_step(train)) * train.batch_chunk * forward
    )


def step_operations(model: ModelOptions, train: TrainConfig) -> float | None:
    """Of one optimizer step: the layers of every segment computed, predictions of the new ones."""
    n_predicted, _ = segments_per_step(train)
    layers = layer_operations(model, train)
    predictions = model.prediction_operations(n_predicted * train.batch_size * train.tgt_len)
    return None if layers is None or predictions is None else layers + 3 * predictions
