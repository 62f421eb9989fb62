"""Generation with chance: a model continues ids of its vocabulary, token by token.

    for token in rmt.sample(model, ids, 100, temperature=0.8, seed=1): ...

Everything goes through the model's decoder: within a segment it keeps what it can, and at a
segment's end the state rolls on. A token costs the same however many came before.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

import torch
from torch import Tensor

from rmt.evaluation.stream import Ids, StreamState, read
from rmt.models.contract import SegmentModel
from rmt.options.generation import Sampling
from rmt.runtime.errors import UsageError


def sample(
    model: SegmentModel,
    ids: Ids,
    n_tokens: int | None = None,
    *,
    state: StreamState | None = None,
    tgt_len: int | None = None,
    **how,
) -> Iterator[int]:
    """Yield the tokens with which the model continues the ids, each when it is asked for.

    ids: [n] of one stream; may be empty where a state is given. n_tokens: None never ends.
    state, tgt_len: as for read. how: options of Sampling (temperature, top_k, top_p, greedy, seed).
    The same seed gives the same tokens on a CPU. Raises UsageError for wrong use.
    """
    how = Sampling(**how)
    state = read(model, ids, state, tgt_len=tgt_len)
    if state.n_streams != 1:
        raise UsageError(f"sample continues one stream, not {state.n_streams}: see sample_batch")
    return (token for (token,) in islice(_continued(model, [state], how), n_tokens))


def sample_batch(
    model: SegmentModel,
    prompts: Sequence[Sequence[int]],
    n_tokens: int | None = None,
    *,
    tgt_len: int | None = None,
    **how,
) -> Iterator[list[int]]:
    """Continue several prompts of any lengths in parallel: yield the next token of each.

    The i-th says what sample says with seed + i. Prompts of equal length are computed together.
    """
    how = Sampling(**how)
    # In an order in which equal lengths stand together; their streams would be at other places
    # in their segments otherwise.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    states = [
        read(model, [list(prompts[i]) for i in alike], tgt_len=tgt_len)
        for _, alike in groupby(order, key=lambda i: len(prompts[i]))
    ]
    places = sorted(range(len(order)), key=order.__getitem__)
    tokens = _continued(model, states, how, order)
    return ([each[place] for place in places] for each in islice(tokens, n_tokens))


@torch.no_grad()
def _continued(
    model: SegmentModel,
    states: Sequence[StreamState],
    how: Sampling,
    numbers: Sequence[int] = (0,),
) -> Iterator[list[int]]:
    """The next token of every stream of the states, for ever; numbers are added to their seeds."""
    device = next(model.parameters()).device
    randoms = [torch.Generator().manual_seed(how.seed + number) for number in numbers]
    decoders = [model.decoder(s.before, s.tgt_len, s.n_streams) for s in states]
    fed = [state.open_tokens for state in states]
    sizes = [state.n_streams for state in states]
    while True:
        log_probs = [decoder.feed(ids) for decoder, ids in zip(decoders, fed, strict=True)]
        streams = [each for of_group in log_probs for each in of_group]
        tokens = [draw(each, how, own) for each, own in zip(streams, randoms, strict=True)]
        yield tokens
        fed = torch.tensor(tokens, device=device)[:, None].split(sizes)


def draw(log_probs_V: Tensor, how: Sampling, random: torch.Generator) -> int:
    """One token by its probability, or the most likely one.

    temperature, then top_k, then top_p, as usual. In float64 on the CPU, with one random number a
    token. Raises UsageError where the predictions are no numbers.
    """
    highest = log_probs_V.max()
    if not highest.isfinite():
        raise UsageError("the model's predictions are not finite: its weights can't be used")
    if how.greedy:
        return int(log_probs_V.argmax())
    scores_V = (log_probs_V - highest).double().cpu() / how.temperature
    if how.top_k:
        scores, ids = scores_V.topk(min(how.top_k, len(scores_V)))
    elif how.top_p < 1:
        scores, ids = scores_V.sort(descending=True, stable=True)
    else:
        scores, ids = scores_V, None
    sums = scores.softmax(dim=0).cumsum(dim=0)
    if how.top_p < 1:
        # As few as reach top_p, at least one.
        sums = sums[: 1 + int((sums < how.top_p).sum())]
    at = sums[-1] * torch.rand((), generator=random, dtype=torch.float64)
    place = min(int(torch.searchsorted(sums, at, right=True)), len(sums) - 1)
    return place if ids is None else int(ids[place])
