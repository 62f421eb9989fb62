"""The adaptive softmax against a dictionary of probabilities built by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
