"""Generation with chance, against draws from probabilities computed again from a stream's start."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rmt
from helpers.any_model import MODELS, any_model
from helpers.models import V
from rmt.evaluation.sampling import draw, sample, sample_batch
from rmt.evaluation.stream import StreamState, read
from rmt.options.generation import Sampling
from rmt.runtime.errors import UsageError

TGT_LEN = 5
PROMPT = [3, 1, 4, 1, 5, 9, 2]


def random_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def slowly(model, prompt, n_tokens, **how) -> list[int]:
    """For every token the whole stream again, segment by segment."""
    stream, how = list(prompt), Sampling(**how)
    random = random_of(how.seed)
    for _ in range(n_tokens):
        state = None
        for part in torch.tensor([stream]).split(TGT_LEN, dim=1):
            log_probs, state = model.predict(part, state)
        stream.append(draw(log_probs[0, -1], how, random))
    return stream[len(prompt) :]


HOWS = [
    {"greedy": True},
    {"seed": 3},
    {"temperature": 0.5, "seed": 1},
    {"top_k": 4, "seed": 2},
    {"top_p": 0.7, "temperature": 2.0},
]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", MODELS)
def test_sampling_is_the_slow_reference(name, how):
    model = any_model(name)
    assert list(sample(model, PROMPT, 14, tgt_len=TGT_LEN, **how)) == slowly(
        model, PROMPT, 14, **how
    )


@settings(max_examples=30)
@given(
    name=st.sampled_from(MODELS),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    how=st.sampled_from(HOWS),
)
def test_a_batch_of_unequal_prompts_is_one_by_one(name, lengths, how):
    model = any_model(name)
    ids = torch.randint(V, (50,), generator=random_of(5)).tolist()
    prompts = [ids[7 * i : 7 * i + n] for i, n in enumerate(lengths)]
    together = list(sample_batch(model, prompts, 9, tgt_len=TGT_LEN, **how))
    for i, prompt in enumerate(prompts):
        own = {**how, "seed": how.get("seed", 0) + i}
        alone = list(sample(model, prompt, 9, tgt_len=TGT_LEN, **own))
        assert [tokens[i] for tokens in together] == alone


@settings(max_examples=30)
@given(name=st.sampled_from(MODELS), n=st.integers(1, 16), seed=st.integers(0, 9))
def test_going_on_from_a_state_is_never_having_stopped(tmp_path_factory, name, n, seed):
    """From the middle of a segment or its end, on disk meanwhile, without a prompt or with one."""
    model, file = any_model(name), tmp_path_factory.mktemp("states") / "it.state"
    ids = torch.randint(V, (16,), generator=random_of(6)).tolist()
    read(model, ids[:n], tgt_len=TGT_LEN).save(file, model)
    again = sample(model, ids[n:], 8, state=StreamState.load(file, model), seed=seed)
    assert list(again) == list(sample(model, ids, 8, tgt_len=TGT_LEN, seed=seed))


def test_a_seed_is_a_text():
    model = any_model("rmt")
    texts = {seed: list(sample(model, PROMPT, 20, tgt_len=9, seed=seed)) for seed in range(4)}
    assert len({tuple(text) for text in texts.values()}) == 4
    torch.rand(7)  # no other random numbers matter
    assert list(sample(model, PROMPT, 20, tgt_len=9, seed=2)) == texts[2]


def test_tokens_come_one_by_one_and_never_end():
    model = any_model("trxl")
    fed = []
    decoder = model.decoder

    def counted(*arguments):
        made = decoder(*arguments)
        feed = made.feed
        made.feed = lambda ids: fed.append(ids.shape[1]) or feed(ids)
        return made

    model.decoder = counted
    tokens = sample(model, PROMPT, tgt_len=TGT_LEN)
    assert fed == []
    first = list(itertools.islice(tokens, 3))
    assert fed == [2, 1, 1], "the prompt's open segment, and what was said"
    assert len(first + list(itertools.islice(tokens, 40))) == 43
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", MODELS)
def test_a_decoder_holds_no_more_after_many_segments(name):
    """All storage of the tensors that are reached from it, at every place of a segment."""
    model = any_model(name)
    decoder = model.decoder(None, TGT_LEN, 1)

    def storages(value) -> dict[int, int]:
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            return {storage.data_ptr(): storage.nbytes()}
        if hasattr(value, "tensors"):
            value = value.tensors()
        values = value.values() if isinstance(value, dict) else value
        values = values if isinstance(values, list | tuple | type({}.values())) else ()
        return {k: v for each in values for k, v in storages(each).items()}

    sizes = []
    for token in sample(model, PROMPT, 40 * TGT_LEN, tgt_len=TGT_LEN):
        with torch.no_grad():
            decoder.feed(torch.tensor([[token]]))
        own = {key: value for key, value in vars(decoder).items() if key != "model"}
        sizes.append(sum(storages(own).values()))
    assert sizes[0] > 0
    assert max(sizes[20 * TGT_LEN :]) <= max(sizes[: 20 * TGT_LEN])


# How a token is drawn


def log_probs_of(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def shares(log_probs, n: int = 4000, **how) -> list[float]:
    random, how = random_of(0), Sampling(**how)
    drawn = torch.tensor([draw(log_probs, how, random) for _ in range(n)])
    return (torch.bincount(drawn, minlength=len(log_probs)) / n).tolist()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, [0.1, 0.4, 0.0, 0.3, 0.2]),
        ({"temperature": 0.5}, [1 / 30, 16 / 30, 0.0, 9 / 30, 4 / 30]),
        ({"temperature": 1e-300}, [0, 1, 0, 0, 0]),
        ({"temperature": 1e300}, [0.2, 0.2, 0.2, 0.2, 0.2]),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7, 0]),
        ({"top_k": 1}, [0, 1, 0, 0, 0]),
        ({"top_k": 99}, [0.1, 0.4, 0.0, 0.3, 0.2]),
        ({"top_p": 0.69}, [0, 4 / 7, 0, 3 / 7, 0]),
        ({"top_p": 0.71}, [0, 4 / 9, 0, 3 / 9, 2 / 9]),
        ({"top_p": 1e-9}, [0, 1, 0, 0, 0]),
        ({"top_k": 2, "top_p": 0.5}, [0, 1, 0, 0, 0]),  # of the two, 4/7 is enough
        ({"greedy": True}, [0, 1, 0, 0, 0]),
    ],
)
def test_how_often_each_is_drawn(how, expected):
    # A probability of nothing at all is nearly 0, for the highest temperature to have a say.
    log_probs = log_probs_of(0.1, 0.4, 1e-12, 0.3, 0.2)
    assert shares(log_probs, **how) == pytest.approx(expected, abs=0.03)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.integers(0, 10**6))
def test_what_has_no_probability_is_never_drawn(weights, seed):
    probabilities = torch.tensor([*weights, 0.5, 0.0], dtype=torch.float64)
    probabilities /= probabilities.sum()
    for how in ({}, {"top_k": 3}, {"top_p": 0.999}):
        drawn = draw(probabilities.log(), Sampling(**how), random_of(seed))
        assert probabilities[drawn] > 0


def test_predictions_that_are_no_numbers():
    with pytest.raises(UsageError, match="predictions are not finite"):
        draw(torch.tensor([0.0, float("nan")]), Sampling(greedy=True), random_of(0))


@pytest.mark.parametrize(
    ("how", "part"),
    [
        ({"temperature": 0}, "temperature must be above 0, but it is 0"),
        ({"temperature": -1.0}, "for the most likely token each time say greedy"),
        ({"temperature": float("nan")}, "temperature must be above 0"),
        ({"temperature": float("inf")}, "temperature must be above 0"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p must be above 0 and at most 1"),
        ({"top_k": -1}, "top_k must be 0 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"seed": 2**62}, "seed must be below 2\\*\\*62"),
        ({"greedy": True, "temperature": 0.5}, "greedy takes the most likely token: leave out"),
        ({"greedy": True, "top_k": 2}, "leave out top_k"),
    ],
)
def test_impossible_ways_to_draw(how, part):
    with pytest.raises(UsageError, match=part):
        sample(any_model("rmt"), PROMPT, 1, tgt_len=5, **how)  # at once, not at the first token
    assert Sampling(greedy=True, temperature=0.0).greedy


def test_wrong_use():
    model = any_model("rmt")
    two = read(model, [[1], [2]], tgt_len=5)
    with pytest.raises(UsageError, match="continues one stream, not 2"):
        sample(model, torch.zeros(2, 0, dtype=torch.int64), state=two)
    with pytest.raises(UsageError, match="there is nothing to read"):
        sample(model, [], tgt_len=5)
    with pytest.raises(UsageError, match="there is nothing to read"):
        sample_batch(model, [[1], []], tgt_len=5)
    with pytest.raises(UsageError, match="in training mode"):
        sample(any_model("rmt").train(), [1], tgt_len=5)
    assert rmt.sample is sample
