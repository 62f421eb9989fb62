"""The adaptive softmax against a dictionary of probabilities built by hand."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rmt.data.batches import IGNORED
from rmt.models.transformer_xl.adaptive_softmax import AdaptiveSoftmax


def random_softmax(n_token, cutoffs, d_model=6, d_embed=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    softmax = AdaptiveSoftmax(n_token, d_model, d_embed, cutoffs).double()
    with torch.no_grad():
        for parameter in softmax.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    weight = torch.randn(n_token, d_embed, generator=generator).double()
    hidden = torch.randn(40, d_model, generator=generator).double()
    return softmax, weight.requires_grad_(), hidden


def word_log_prob(softmax, weight, hidden, word, cutoffs, n_token):
    """log P(word) from the definition: clusters hang on the head's last columns, the first last."""
    head = [hidden @ weight[i] + softmax.bias[i] for i in range(cutoffs[0])]
    head += [
        hidden @ softmax.cluster_weight[i] + softmax.cluster_bias[i] for i in range(len(cutoffs))
    ]
    normalizer = math.log(sum(math.exp(x) for x in head))
    if word < cutoffs[0]:
        return head[word] - normalizer
    cluster = sum(word >= c for c in cutoffs)  # 1-based
    low, high = [*cutoffs, n_token][cluster - 1 : cluster + 1]
    tail = {i: hidden @ weight[i] + softmax.bias[i] for i in range(low, high)}
    in_cluster = tail[word] - math.log(sum(math.exp(x) for x in tail.values()))
    return head[len(head) - cluster] - normalizer + in_cluster


@torch.no_grad()
def test_probabilities_follow_the_definition():
    cutoffs, n_token = (4, 7, 11), 15
    softmax, weight, hidden = random_softmax(n_token, cutoffs)
    log_probs = softmax.log_probs(hidden, weight)
    for n in (0, 17):
        for word in range(n_token):
            expected = word_log_prob(softmax, weight, hidden[n], word, cutoffs, n_token)
            torch.testing.assert_close(log_probs[n, word], expected)


@given(st.sets(st.integers(1, 14), max_size=4), st.integers(0, 9))
def test_losses_come_in_token_order_and_probabilities_sum_to_one(cutoffs, seed):
    softmax, weight, hidden = random_softmax(15, tuple(sorted(cutoffs)), seed=seed)
    targets = torch.randint(15, (40,), generator=torch.Generator().manual_seed(seed))
    log_probs = softmax.log_probs(hidden, weight)
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(40).double())
    nll = softmax(hidden, targets, weight)
    torch.testing.assert_close(nll, -log_probs[torch.arange(40), targets])


def test_projections_of_head_and_tails():
    softmax, weight, hidden = random_softmax(15, (4, 9), d_model=6, d_embed=3)
    tail_projection = torch.randn(6, 3).double()
    log_probs = softmax.log_probs(hidden, weight, tail_projection)
    head = (
        torch.cat([weight[:4], softmax.cluster_weight]),
        torch.cat([softmax.bias[:4], softmax.cluster_bias]),
    )
    head_log_probs = (hidden @ softmax.projection @ head[0].T + head[1]).log_softmax(1)
    torch.testing.assert_close(log_probs[:, :4], head_log_probs[:, :4])
    last = (hidden @ tail_projection @ weight[9:].T + softmax.bias[9:]).log_softmax(1)
    torch.testing.assert_close(log_probs[:, 9:], head_log_probs[:, -2, None] + last)


def test_words_of_a_cluster_have_a_size_and_a_projection_of_their_own():
    """With div_val: word by word, by the definition."""
    cutoffs, sizes = (4, 9), (6, 3, 1)
    generator = torch.Generator().manual_seed(0)
    softmax = AdaptiveSoftmax(15, 6, 6, cutoffs, div_val=2).double()
    with torch.no_grad():
        for parameter in softmax.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    n_words = (4, 5, 6)
    weights = [torch.randn(*shape).double() for shape in zip(n_words, sizes, strict=True)]
    tails = torch.randn(6, sum(sizes)).double()
    hidden = torch.randn(40, 6).double()
    log_probs = softmax.log_probs(hidden, weights, tails)
    columns = torch.cat([weights[0], softmax.cluster_weight])
    head = hidden @ softmax.projection @ columns.T
    head = (head + torch.cat([softmax.bias[:4], softmax.cluster_bias])).log_softmax(1)
    first = (hidden @ tails[:, 6:9] @ weights[1].T + softmax.bias[4:9]).log_softmax(1)
    last = (hidden @ tails[:, 9:] @ weights[2].T + softmax.bias[9:]).log_softmax(1)
    expected = [head[:, :4], head[:, -1, None] + first, head[:, -2, None] + last]
    torch.testing.assert_close(log_probs, torch.cat(expected, dim=1))
    targets = torch.randint(15, (40,), generator=generator)
    nll = softmax(hidden, targets, weights, tails)
    torch.testing.assert_close(nll, -log_probs[torch.arange(40), targets])


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_gradients_where_a_cluster_gets_no_token(missing):
    softmax, weight, hidden = random_softmax(15, (4, 9))
    bounds = [0, 4, 9, 15]
    words = [w for w in range(15) if not bounds[missing] <= w < bounds[missing + 1]]
    targets = torch.tensor(words * 4)[:40]
    nll = softmax(hidden[: len(targets)], targets, weight).sum()
    nll.backward()
    expected_log_probs = softmax.log_probs(hidden[: len(targets)], weight)
    expected = torch.autograd.grad(
        -expected_log_probs[torch.arange(len(targets)), targets].sum(), (weight, softmax.bias)
    )
    torch.testing.assert_close((weight.grad, softmax.bias.grad), expected)


# Rooms: sizes that don't depend on the targets


@st.composite
def targets_and_rooms(draw):
    """Cutoffs of 15 words, targets some of which don't count, and rooms for them or more."""
    cutoffs = tuple(sorted(draw(st.sets(st.integers(1, 14), min_size=1, max_size=4))))
    bounds = [*cutoffs, 15]
    # All of one cluster, none of another: words of some parts alone.
    parts = draw(st.sets(st.integers(0, len(cutoffs)), min_size=1))
    words = [w for w in range(15) if sum(w >= cutoff for cutoff in cutoffs) in parts]
    targets = draw(st.lists(st.sampled_from([*words, IGNORED]), min_size=1, max_size=12))
    exact = [sum(low <= target < high for target in targets) for low, high in pairwise(bounds)]
    more = draw(st.lists(st.integers(0, 20), min_size=len(exact), max_size=len(exact)))
    return (
        cutoffs,
        torch.tensor(targets),
        tuple(exact),
        tuple(map(sum, zip(exact, more, strict=True))),
    )


def gradients_of(losses, softmax, *others):
    """Of a sum in which every loss has a weight of its own."""
    weights = torch.linspace(1, 2, len(losses), dtype=torch.float64)
    inputs = (*softmax.parameters(), *others)
    loss = (weights * losses).sum()
    return torch.autograd.grad(loss, inputs, retain_graph=True, materialize_grads=True)


@given(targets_and_rooms(), st.sampled_from([6, 3]))
def test_losses_and_gradients_with_rooms_are_those_of_all_log_probabilities(drawn, d_embed):
    cutoffs, targets, exact, rooms = drawn
    softmax, weight, hidden = random_softmax(15, cutoffs, d_embed=d_embed)
    hidden = hidden[: len(targets)].requires_grad_()
    projection = torch.randn(6, 3).double().requires_grad_() if d_embed == 3 else None
    inputs = (hidden, weight) if projection is None else (hidden, weight, projection)
    log_probs = softmax.log_probs(*inputs)
    expected = -log_probs.gather(1, targets.clamp(min=0)[:, None])[:, 0]
    expected = expected.masked_fill(targets == IGNORED, 0)
    assert softmax.rooms(targets) == exact
    for given_rooms in (None, exact, rooms):
        nll = softmax(hidden, targets, *inputs[1:], rooms=given_rooms)
        torch.testing.assert_close(nll, expected, rtol=0, atol=1e-12)
        assert torch.equal(nll[targets == IGNORED], torch.zeros_like(nll[targets == IGNORED]))
        torch.testing.assert_close(
            gradients_of(nll, softmax, *inputs),
            gradients_of(expected, softmax, *inputs),
            rtol=0,
            atol=1e-11,
        )


@given(targets_and_rooms())
def test_the_exact_rooms_change_no_bit(drawn):
    cutoffs, targets, exact, _ = drawn
    softmax, weight, hidden = random_softmax(15, cutoffs)
    asked, given_them = (
        softmax(hidden[: len(targets)], targets, weight, rooms=rooms) for rooms in (None, exact)
    )
    assert torch.equal(asked, given_them)
    assert all(
        torch.equal(one, other)
        for one, other in zip(
            gradients_of(asked, softmax, weight),
            gradients_of(given_them, softmax, weight),
            strict=True,
        )
    )


def on_meta(rooms):
    """A forward and a backward pass over tensors without values."""
    with torch.device("meta"):
        softmax = AdaptiveSoftmax(15, 6, 3, (4, 9))
        weight, projection = torch.randn(15, 3), torch.randn(6, 3)
        hidden, targets = torch.randn(40, 6), torch.randint(15, (40,))
    inputs = [hidden, weight, projection]
    nll = softmax(
        hidden.requires_grad_(),
        targets,
        weight.requires_grad_(),
        projection.requires_grad_(),
        rooms=rooms,
    )
    return nll, torch.autograd.grad(nll.sum(), inputs)


def test_with_rooms_nothing_asks_for_a_value():
    nll, gradients = on_meta((30, 50))
    assert nll.shape == (40,)
    assert [tuple(gradient.shape) for gradient in gradients] == [(40, 6), (15, 3), (6, 3)]
    with pytest.raises(Exception, match="meta"):
        on_meta(None)


def test_what_is_left_of_a_room_reads_no_row():
    """The last row, which is infinite, is the last cluster's, and no other's."""
    softmax, weight, hidden = random_softmax(15, (4, 9))
    targets = torch.tensor([0, 5, 11, 12])
    hidden, weight = hidden[:4], weight.detach()
    hidden[3] = math.inf
    first_tail = weight[4:9].clone().requires_grad_()
    words = torch.cat([weight[:4], first_tail, weight[9:]])
    gradients = []
    for rooms in ((1, 2), (9, 9)):
        nll = softmax(hidden, targets, words, rooms=rooms)
        gradients += torch.autograd.grad(nll[:3].sum(), first_tail, retain_graph=True)
    exact, larger = gradients
    assert exact.isfinite().all()
    torch.testing.assert_close(larger, exact, rtol=0, atol=1e-12)


def test_rooms_that_cannot_be_are_refused():
    softmax, weight, hidden = random_softmax(15, (4, 9))
    targets = torch.tensor([0, 5, 11, 12])
    with pytest.raises(ValueError, match=r"rooms \(1, 1\) are too few for clusters of \(1, 2\)"):
        softmax(hidden[:4], targets, weight, rooms=(1, 1))
    with pytest.raises(ValueError, match="rooms for 3 clusters, but there are 2"):
        softmax(hidden[:4], targets, weight, rooms=(9, 9, 9))


def test_there_may_be_room_where_nothing_is_predicted():
    softmax, weight, hidden = random_softmax(9, (3, 6))
    nll = softmax(hidden[:0], torch.zeros(0, dtype=torch.int64), weight, rooms=(2, 0))
    assert nll.shape == (0,)
