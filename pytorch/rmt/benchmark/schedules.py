"""Layers of different segments together, against one segment after the other (--schedule)."""

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import product

import torch

from rmt.benchmark.measure import in_new_process
from rmt.models import registry as models
from rmt.models.contract import Segment, SegmentModel
from rmt.models.options import ModelOptions
from rmt.options.schedule import DIAGONAL, SEQUENTIAL

SIZES = {"mem_len": 16, "d_model": 128, "n_head": 4, "d_head": 32, "d_inner": 256}
LAYERS, STREAMS, TOKENS = (4, 12, 24), (1, 8), (16, 64, 256, 1024)
N_SYMBOLS = 204
LONG = 5  # seconds of a window that is not measured again
SEGMENTS, MOST_TOKENS = (4, 32), 4096  # of a window, in all streams
MOST_TRAINED = 24 * 8192  # layers times tokens: what training keeps of more doesn't fit 24 GiB


def schedules(share: float) -> list[dict]:
    """Reading and training on windows, of every model, depth, number of streams and segment.

    share: of the longest segment, which the longest measured may have.
    """
    tokens = [n for n in TOKENS if n <= max(min(TOKENS), share * max(TOKENS))]
    return [row for name in layer_local() for row in in_new_process(of_model, name, tokens)]


def of_model(name: str, tokens: Sequence[int]) -> list[dict]:
    """Of every depth, number of streams and length of a segment; training where it fits."""
    return [
        compare(options_of(name, n_layer), n_streams, n_tokens, trains)
        for n_layer, n_streams, n_tokens in product(LAYERS, STREAMS, tokens)
        for trains in (False, True)
        if not trains or n_layer * window_tokens(n_streams, n_tokens) <= MOST_TRAINED
    ]


def n_segments(n_streams: int, n_tokens: int) -> int:
    """Of a window."""
    fewest, most = SEGMENTS
    return max(fewest, min(most, MOST_TOKENS // (n_streams * n_tokens)))


def window_tokens(n_streams: int, n_tokens: int) -> int:
    """In all segments and streams."""
    return n_segments(n_streams, n_tokens) * n_streams * n_tokens


def layer_local() -> list[str]:
    """The models of these sizes that carry something, and from each layer to itself alone."""
    needed = ("n_layer", *SIZES)
    possible = [name for name, entry in models.entries().items() if all(map(entry.takes, needed))]
    options = [options_of(name) for name in possible]
    return [own.model for own in options if own.carried.numbers and not own.why_sequential]


def options_of(name: str, n_layer: int = 1) -> ModelOptions:
    options = models.find(name).options
    return options(n_token=N_SYMBOLS, model=name, n_layer=n_layer, **SIZES)


def compare(options: ModelOptions, n_streams: int, n_tokens: int, trains: bool) -> dict:
    """Seconds of a window by both schedules in turn: medians of three after one to warm up.

    A long one is measured once.
    """
    torch.manual_seed(0)
    n = n_segments(n_streams, n_tokens)
    ids = torch.randint(N_SYMBOLS, (n, n_streams, n_tokens + 1))
    segments = [(each[:, :-1], each[:, 1:]) for each in ids]
    model, window = models.build(options), train_window if trains else read_window
    times = {SEQUENTIAL: [], DIAGONAL: []}
    for _ in range(4):
        for schedule, found in times.items():
            model.set_schedule(schedule)
            found.append(_seconds(window, model, segments))
        if times[SEQUENTIAL][0] > LONG:
            break
    seconds = {order: statistics.median(found[1:] or found) for order, found in times.items()}
    what = "training" if trains else "reading"
    return {
        "what": f"{what}, {options.label}, {options.n_layer} layers, {n} segments of "
        f"{n_streams} x {n_tokens}",
        "options": {k: v for k, v in vars(options).items() if k in SIZES or k == "n_layer"},
        "unit": "tokens",
        "amount": window_tokens(n_streams, n_tokens),
        "seconds": seconds[DIAGONAL],
        "seconds_sequential": seconds[SEQUENTIAL],
        "ratio": seconds[SEQUENTIAL] / seconds[DIAGONAL],
        "bound": options.n_layer * n / (options.n_layer + n - 1),
    }


@torch.no_grad()
def read_window(model: SegmentModel, segments: list[Segment]) -> None:
    for _ in model.eval().forward_each(segments):
        pass


def train_window(model: SegmentModel, segments: list[Segment]) -> None:
    """Forward and backward, without the optimizer."""
    model.train().zero_grad()
    with model.accumulating_gradients():
        torch.stack([nll.mean() for nll, _ in model.forward_each(segments)]).mean().backward()


def _seconds(window: Callable, model: SegmentModel, segments: list[Segment]) -> float:
    started = time.perf_counter()
    window(model, segments)
    return time.perf_counter() - started
