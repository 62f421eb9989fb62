"""Remember and rewrite: samples against a dictionary, how they are cut and shortened."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data import load_task, make_task
from rmt.data import registry
from rmt.data.tasks import associative
from rmt.data.tasks.curriculum import Lesson
from rmt.data.tasks.samples import cut
from rmt.evaluation.workloads import AlgorithmicTask
from rmt.options.training import TrainConfig
from rmt.runs.settings import Settings
from rmt.runtime.errors import UsageError

NAMES = ("remember", "rewrite")
CPU = torch.device("cpu")


def text_of(sample: np.ndarray) -> str:
    return "".join("0123456789abcdef:>."[i] for i in sample)


def read(sample: np.ndarray) -> tuple[list[tuple[str, str]], str, str]:
    """The pairs, the key asked for and the answer, by their punctuation alone."""
    *pairs, question, end = text_of(sample).split(".")
    assert end == ""
    key, answer = question.split(">")
    return [tuple(pair.split(":")) for pair in pairs], key, answer


@st.composite
def drawn(draw) -> tuple[str, dict[str, int], np.ndarray]:
    """A task, its options and some of its samples."""
    name = draw(st.sampled_from(NAMES))
    options = {
        "key_len": draw(st.integers(1, 3)),
        "value_len": draw(st.integers(1, 3)),
        "pairs": draw(st.integers(1, 16)),
    }
    random = np.random.default_rng(draw(st.integers(0, 2**70)))
    samples = make_task(name, **options).generate(random, 8)
    assert samples.dtype == np.uint8
    return name, options, samples


@given(drawn())
@settings(deadline=None)
def test_the_answer_is_what_a_dictionary_says(drawn):
    name, options, samples = drawn
    for sample in samples:
        pairs, key, answer = read(sample)
        assert len(pairs) == options["pairs"]
        assert {len(key) for key, _ in pairs} == {len(key)} == {options["key_len"]}
        assert {len(value) for _, value in pairs} == {len(answer)} == {options["value_len"]}
        assert dict(pairs)[key] == answer, "the last value of the key"
        if name == "remember":
            assert len(dict(pairs)) == len(pairs), "no key comes twice"


@given(drawn())
@settings(deadline=None)
def test_a_segment_is_a_pair_and_the_answer_is_scored(drawn):
    name, options, samples = drawn
    task = make_task(name, **options)
    size = options["key_len"] + options["value_len"] + 2
    segments = cut(samples, task.scored, size, CPU)
    assert len(segments) == options["pairs"] + 1
    assert all(targets is None for _, targets in segments[:-1])
    for tokens, sample in zip(segments[0][0].tolist(), samples, strict=True):
        assert text_of(tokens) == "{}:{}.".format(*read(sample)[0][0])
    tokens, targets = segments[-1]
    for asked, expected, sample in zip(tokens.tolist(), targets.tolist(), samples, strict=True):
        _, key, answer = read(sample)
        assert text_of(asked) == f"{key}>{answer}"
        assert expected[: len(key)] == [-100] * len(key)
        assert text_of(expected[len(key) :]) == f"{answer}."


@given(drawn(), st.data())
@settings(deadline=None)
def test_shortened_samples_keep_the_answer(drawn, data):
    name, options, samples = drawn
    task = make_task(name, **options)
    n_short = data.draw(st.integers(1, options["pairs"]))
    short_samples, scored = task.shortened(samples, n_short)
    assert short_samples.shape == (len(samples), task.shorter(n_short).length)
    assert scored.tolist() == task.shorter(n_short).scored.tolist()
    for short, sample in zip(short_samples, samples, strict=True):
        pairs, *asked = read(short)
        whole, *asked_before = read(sample)
        assert asked == asked_before
        assert len(pairs) == n_short
        assert dict(pairs)[asked[0]] == asked[1]
        places = iter(whole)
        assert all(pair in places for pair in pairs), "in their order"
    assert np.array_equal(task.shortened(samples, options["pairs"])[0], samples)


def test_all_samples_of_a_small_task():
    """Counted one by one: keys and values of one digit, of which there are 16 each."""
    digits = "0123456789abcdef"
    counts = {"remember": 0, "rewrite": 0}
    for keys in itertools.product(digits, repeat=2):
        n_values = 16 * 16
        counts["rewrite"] += n_values * len({*keys})
        counts["remember"] += n_values * 2 if len({*keys}) == 2 else 0
    for name, n in counts.items():
        assert make_task(name, pairs=2, key_len=1).kinds[0].n_possible == n


def test_every_key_of_a_sample_is_asked_for_as_often():
    """Rewrite asks for keys, not for places: one that comes twice is asked for as often."""
    task = make_task("rewrite", pairs=3, key_len=1)
    asked = Counter()
    for sample in task.generate(np.random.default_rng(0), 30_000):
        pairs, key, _ = read(sample)
        keys = [key for key, _ in pairs]
        if len({*keys}) == 2:
            asked[keys.count(key)] += 1
    assert asked[1] / asked.total() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_preferred(name):
    task = make_task(name, pairs=4, key_len=1)
    places, values, keys = Counter(), Counter(), Counter()
    for sample in task.generate(np.random.default_rng(1), 8000):
        pairs, key, answer = read(sample)
        values[answer] += 1
        keys[key] += 1
        if len(dict(pairs)) == 4:
            places[pairs.index((key, answer))] += 1
    for counts, n in ((places, 4), (values, 16), (keys, 16)):
        assert len(counts) == n
        for count in counts.values():
            assert count / counts.total() == pytest.approx(1 / n, rel=0.25)


def test_keys_of_two_digits_are_all_used():
    samples = make_task("remember", pairs=256).generate(np.random.default_rng(0), 2)
    for sample in samples:
        assert len(dict(read(sample)[0])) == 256


def test_lessons_grow_as_published():
    lessons = make_task("remember", pairs=50).lessons(-1, 5)
    assert lessons == tuple(Lesson(n, 5) for n in (1, 2, 3, 5, 10, 20, 40, 50))
    lessons = make_task("rewrite", pairs=12).lessons(4, 4)
    assert lessons == tuple(Lesson(n, 4) for n in (4, 5, 10, 12))
    assert make_task("rewrite", pairs=1).lessons(-1, 4) == (Lesson(1, 4),)


def test_pairs_are_segments_without_being_told():
    given = {"dataset": "remember", "model": "rmt", "mem_len": 2, "pairs": 7, "value_len": 2}
    train = Settings.of(given).train
    assert (train.tgt_len, train.segments, train.bptt_unrolls) == (6, 8, -1)
    train = Settings.of(given | {"tgt_len": 12}).train
    assert (train.tgt_len, train.segments) == (12, 4)
    train = Settings.of(given | {"segments": 4}).train
    assert (train.tgt_len, train.segments) == (12, 4)


def test_the_recipes_run_is_scored_by_whole_answers(tmp_path):
    options = {"train_samples": 20, "valid_samples": 2, "test_samples": 2}
    data = load_task("remember", tmp_path, **options)
    workload = AlgorithmicTask(data, TrainConfig(dataset="remember", tgt_len=5))
    scores = {"loss": 1.0, "accuracy": 0.6, "sequence_accuracy": 0.2, "n_samples": 2}
    assert workload.result(scores)["test_acc"] == 0.2
    assert workload.n_segments == 21


def test_samples_of_equal_length_are_told_apart(tmp_path):
    sizes = {"train_samples": 20, "valid_samples": 2, "test_samples": 2}
    one = load_task("remember", tmp_path, key_len=2, value_len=1, **sizes)
    other = load_task("remember", tmp_path, key_len=1, value_len=2, pairs=16, **sizes)
    same_length = load_task("remember", tmp_path, key_len=2, value_len=1, pairs=16, **sizes)
    assert other.task.length == same_length.task.length
    assert len({one.fingerprint, other.fingerprint, same_length.fingerprint}) == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("remember", {"pairs": 17, "key_len": 1}, "only 16 different keys of key_len 1, but pairs"),
        ("remember", {"pairs": 0}, "pairs must be 1 or more"),
        ("rewrite", {"key_len": 0}, "key_len must be 1 or more"),
        ("rewrite", {"value_len": 9}, "value_len must be at most 8, but it is 9"),
    ],
)
def test_what_there_can_not_be(name, options, message):
    with pytest.raises(UsageError, match=message):
        make_task(name, **options)


def test_more_pairs_than_keys_can_be_rewritten():
    assert make_task("rewrite", pairs=40).n == 40
    assert registry.find("rewrite").options().key_len == 1
    assert associative.REMEMBER.chance == 1 / 16


def test_the_recipe_has_sizes_that_flags_override():
    given = {"dataset": "remember", "model": "rmt", "mem_len": 2, "recipe": "fast"}
    settings = Settings.of(given)
    assert (settings.given["n_layer"], settings.given["d_embed"]) == (2, 32)
    assert (settings.train.curriculum, settings.train.tgt_len) == (-1, 5)
    assert Settings.of(given | {"n_layer": 4}).given["n_layer"] == 4
