"""From samples to segments: what is scored, in which order samples come, and the curriculum."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.data import make_task
from rmt.data.batches import IGNORED
from rmt.data.tasks.curriculum import Curriculum, Lesson
from rmt.data.tasks.samples import SampleReader, cut
from rmt.runtime import distributed

CPU = torch.device("cpu")
REVERSE = make_task("reverse", n=4)
SAMPLES = REVERSE.generate(np.random.default_rng(0), 23)
SAMPLES.flags.writeable = False  # as the memory map of a stored split


# Cutting


def test_cut_by_hand():
    sample = np.array([[3, 5, 4, 1, 4, 5, 3]], dtype=np.uint8)  # 3 5 4, backwards
    assert [
        (tokens.tolist(), None if targets is None else targets.tolist())
        for tokens, targets in cut(sample, np.arange(6) >= 3, tgt_len=2, device=CPU)
    ] == [
        ([[3, 5]], None),
        ([[4, 1]], [[IGNORED, 4]]),
        ([[4, 5]], [[5, 3]]),
    ]


@st.composite
def cuts(draw) -> tuple[np.ndarray, np.ndarray, int]:
    """Samples, what is scored, and tgt_len; no two tokens of the samples are equal."""
    n_samples, length = draw(st.integers(1, 3)), draw(st.integers(2, 20))
    samples = np.arange(n_samples * length, dtype=np.uint8).reshape(n_samples, length)
    samples.flags.writeable = False
    scored = draw(st.lists(st.booleans(), min_size=length - 1, max_size=length - 1))
    return samples, np.array(scored), draw(st.integers(1, length + 3))


@given(cuts())
def test_segments_joined_are_the_sample(drawn):
    samples, scored, tgt_len = drawn
    segments = cut(samples, scored, tgt_len, CPU)
    tokens = torch.cat([tokens for tokens, _ in segments], dim=1)
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == samples[:, :-1].tolist()
    *others, last = [tokens.shape[1] for tokens, _ in segments]
    assert others == [tgt_len] * len(others)
    assert 1 <= last <= tgt_len


@given(cuts())
def test_nothing_else_is_scored(drawn):
    samples, scored, tgt_len = drawn
    targets = [
        torch.full_like(tokens, IGNORED) if targets is None else targets
        for tokens, targets in cut(samples, scored, tgt_len, CPU)
    ]
    expected = np.where(scored, samples[:, 1:].astype(int), IGNORED)
    assert torch.cat(targets, dim=1).tolist() == expected.tolist()


@given(cuts())
def test_segments_without_anything_scored_have_no_targets(drawn):
    """So that nothing is computed for predictions there."""
    for _, targets in cut(*drawn, CPU):
        assert targets is None or (targets != IGNORED).any()


# Reading


def reader(batch_size=5, tgt_len=3, seed=1, task=REVERSE, samples=SAMPLES, **settings):
    return SampleReader(task, samples, batch_size, tgt_len, seed, **settings)


def inputs(update) -> list[tuple[int, ...]]:
    """Every sample's tokens but its last."""
    joined = torch.cat([tokens for tokens, _ in update.segments], dim=1)
    return list(map(tuple, joined.tolist()))


def targets_scored(update) -> torch.Tensor:
    """[B, answer], all that counts."""
    joined = torch.cat([t for _, t in update.segments if t is not None], dim=1)
    return joined[joined != IGNORED].view(len(joined), -1)


def epochs(reader: SampleReader, n: int) -> list[list[tuple[int, ...]]]:
    """The samples of each of the first epochs, in the order they were read."""
    found = [[] for _ in range(n)]
    while True:
        update = reader.next(1)
        if reader.epoch > n:
            return found
        found[reader.epoch - 1] += inputs(update)


def test_an_update_is_a_batch_of_whole_samples():
    update = reader(batch_size=6, tgt_len=3).next(1)
    assert [tuple(tokens.shape) for tokens, _ in update.segments] == [(6, 3), (6, 3), (6, 2)]
    assert update.starts_streams
    assert update.n_scored == targets_scored(update).numel() == 6 * 4
    for symbols, answer in zip(inputs(update), targets_scored(update).tolist(), strict=True):
        assert answer == list(reversed(symbols[:4]))


def test_an_epoch_reads_every_sample_once():
    """But for the 23 - 4 * 5 that don't fill a batch."""
    known = set(map(tuple, SAMPLES[:, :-1].tolist()))
    assert len(known) == 23
    found = epochs(reader(), 8)
    for samples in found:
        assert len(samples) == len({*samples}) == 20
        assert known.issuperset(samples)
    assert len({known.difference(samples).pop() for samples in found}) > 1, "others are left out"
    assert len(epochs(reader(batch_size=23), 1)[0]) == 23


def test_orders_differ_between_epochs_and_seeds():
    orders = [*epochs(reader(seed=1), 3), *epochs(reader(seed=2), 3)]
    assert len(set(map(tuple, orders))) == 6
    assert epochs(reader(seed=2), 3) == orders[3:]


def easy(seed: int):
    """Losses with which the curriculum below has lessons of all lengths."""
    random = np.random.default_rng(seed)
    return iter(lambda: float(random.uniform(0, 1.1)), None)


def curriculum(n_first: int, n_full: int = 4, **settings) -> Curriculum | None:
    """Lessons of n_first, 2 * n_first, ... symbols for a reader of segments of 3."""
    lessons = tuple(Lesson(n, 3) for n in range(n_first, n_full, n_first or 1))
    settings = {"n_longest": 20, "learned_at": 0.5} | settings
    return Curriculum((*lessons, Lesson(n_full, 3)), **settings) if n_first else None


def assert_same_update(one, other) -> None:
    assert one[1:] == other[1:]
    for mine, theirs in zip(one.segments, other.segments, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert (a is None and b is None) or torch.equal(a, b)


@given(n_before=st.integers(0, 30), n_first=st.integers(0, 3), seed=st.integers(0, 5))
def test_seek_repeats_exactly(n_before, n_first, seed):
    """Within an epoch, at its end, and with any lesson; the place may be written down."""
    losses = easy(seed)
    first = reader(curriculum=curriculum(n_first))
    for _ in range(n_before):
        lesson = first.next(1).lesson
        first.tell_loss(next(losses), lesson)
    second = reader(curriculum=curriculum(n_first))
    second.seek(**json.loads(json.dumps(first.place)))
    for loss, _ in zip(losses, range(12), strict=False):
        assert second.place == first.place
        update = first.next(1)
        assert_same_update(second.next(1), update)
        first.tell_loss(loss, update.lesson)
        second.tell_loss(loss, update.lesson)


def test_the_lessons_above_were_of_several_lengths():
    """Otherwise the test above shows less than it claims."""
    lengths = []
    losses, read = easy(0), reader(curriculum=curriculum(1))
    for _ in range(42):
        update = read.next(1)
        lengths.append(targets_scored(update).shape[1])
        read.tell_loss(next(losses), update.lesson)
    assert set(lengths) == {1, 2, 3, 4}
    assert lengths != sorted(lengths), "earlier ones come again"


@pytest.mark.parametrize("n_processes", [1, 2, 3, 6])
@pytest.mark.parametrize("n_first", [0, 1])
def test_the_shares_of_processes_join_to_the_batch(n_processes, n_first, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: n_processes)
    shares = []
    for rank in range(n_processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        own = distributed.own_streams(6)
        shares.append(reader(batch_size=6, curriculum=curriculum(n_first), streams=own))
    monkeypatch.undo()
    whole = reader(batch_size=6, curriculum=curriculum(n_first))
    for loss, _ in zip(easy(3), range(20), strict=False):
        together, parts = whole.next(1), [share.next(1) for share in shares]
        assert [row for part in parts for row in inputs(part)] == inputs(together)
        assert [part.n_scored for part in parts] == [together.n_scored // n_processes] * n_processes
        for each in (whole, *shares):
            each.tell_loss(loss, together.lesson)


@pytest.mark.parametrize(
    ("name", "answer_size"),
    [("copy", lambda n: 2 * n), ("reverse", lambda n: n), ("retrieval", lambda n: 1)],
)
@pytest.mark.parametrize("lesson", [Lesson(3, 3), Lesson(4, 3), Lesson(5, 4)])
def test_a_lesson_is_samples_of_fewer_symbols_or_pairs(name, answer_size, lesson):
    task = make_task(name, **{"pairs" if name == "retrieval" else "n": 5})
    samples = task.generate(np.random.default_rng(0), 6)
    lessons = Curriculum((lesson,), n_longest=1)
    update = reader(6, task=task, samples=samples, curriculum=lessons).next(1)
    expected, _ = task.shortened(samples, lesson.n)
    assert sorted(inputs(update)) == sorted(map(tuple, expected[:, :-1].tolist()))
    *others, last = (tokens.shape[1] for tokens, _ in update.segments)
    assert set(others) == {lesson.tgt_len}
    assert last <= lesson.tgt_len
    assert targets_scored(update).shape == (6, answer_size(lesson.n))
    assert update.n_scored == 6 * answer_size(lesson.n)


def test_a_lesson_with_some_places_filled():
    sample = np.array([[9, 8, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9]], dtype=np.uint8)
    lessons = Curriculum((Lesson(6, 3, stride=2),), n_longest=1)
    task = make_task("reverse", n=8)
    update = reader(1, task=task, samples=sample, curriculum=lessons).next(1)
    segments = [
        (tokens[0].tolist(), None if targets is None else targets[0].tolist())
        for tokens, targets in update.segments
    ]
    assert segments == [
        ([9, 0, 7], None),
        ([6, 0, 4], None),
        ([1, 4, 0], [4, IGNORED, 6]),
        ([6, 7, 0], [7, IGNORED, 9]),
    ]
    assert update.n_scored == 4


# The curriculum


def lessons(name: str, n: int, n_first: int, tgt_len: int) -> list[Lesson]:
    task = make_task(name, **{"pairs" if name == "retrieval" else "n": n})
    return list(task.lessons(n_first, tgt_len))


@pytest.mark.parametrize("name", ["copy", "reverse"])
@given(n=st.integers(1, 400), tgt_len=st.integers(1, 900), n_first=st.integers(1, 400))
def test_symbols_grow_segment_by_segment_and_then_in_each(name, n, tgt_len, n_first):
    found = lessons(name, n, n_first, tgt_len)
    assert {lesson.tgt_len for lesson in found} == {tgt_len}
    assert found[-1] == Lesson(n, tgt_len), "the last lesson is whole samples"
    n_symbols = [int((~lesson.padded).sum()) for lesson in found]
    assert n_symbols[0] <= n_first
    assert n_symbols == sorted({*n_symbols}), "every lesson has more than the one before it"
    for lesson, harder in pairwise(found):
        if harder.n > lesson.n:
            assert (harder.stride, harder.n - lesson.n <= max(n_first, tgt_len)) == (
                lesson.stride,
                True,
            )
        else:
            assert (lesson.n, lesson.stride) == (n, 2 * harder.stride)


@given(n=st.integers(1, 400), tgt_len=st.integers(1, 900), stride=st.integers(1, 50))
def test_symbols_are_spread_over_every_segment(n, tgt_len, stride):
    for start in range(0, n, tgt_len):
        segment = Lesson(n, tgt_len, stride).padded[start : start + tgt_len]
        assert np.flatnonzero(~segment).tolist() == list(range(0, len(segment), stride))


@given(n=st.integers(1, 12), tgt_len=st.integers(1, 40), n_first=st.integers(1, 12))
def test_pairs_grow_in_one_segment(n, tgt_len, n_first):
    found = lessons("retrieval", n, n_first, tgt_len)
    whole = 2 * n + 2
    if tgt_len < whole:
        assert found.pop() == Lesson(n, tgt_len)
    numbers = [*range(n_first, n, n_first), n]
    assert found == [Lesson(pairs, whole) for pairs in numbers]


def test_lessons_by_hand():
    assert lessons("copy", 100, 10, 40) == [
        *[Lesson(40, 40, 4), Lesson(80, 40, 4), Lesson(100, 40, 4)],
        *[Lesson(100, 40, 2), Lesson(100, 40)],
    ]
    assert lessons("reverse", 24, 12, 12) == [Lesson(12, 12), Lesson(24, 12)]
    assert lessons("copy", 24, 9, 4) == [Lesson(9, 4), Lesson(18, 4), Lesson(24, 4)]
    assert lessons("reverse", 7, 2, 9) == [Lesson(7, 9, 4), Lesson(7, 9, 2), Lesson(7, 9)]
    assert lessons("retrieval", 3, 2, 4) == [Lesson(2, 8), Lesson(3, 8), Lesson(3, 4)]


def test_the_first_lesson_by_default():
    for tgt_len, n, stride in ((8, 8, 1), (12, 12, 1), (15, 15, 1), (16, 16, 2), (120, 120, 8)):
        assert lessons("copy", 360, -1, tgt_len)[0] == Lesson(n, tgt_len, stride)
    assert lessons("reverse", 24, -1, 48)[0] == Lesson(24, 48, 2)
    assert lessons("retrieval", 4, -1, 2) == lessons("retrieval", 4, 1, 2)


class Chance:
    """Stands for a random generator; `earlier` is which of the earlier lessons is drawn, if any."""

    def __init__(self, earlier: int | None = None):
        self.earlier = earlier

    def random(self) -> float:
        return 0.0 if self.earlier is None else 1.0

    def integers(self, n_lessons: int) -> int:
        return self.earlier % n_lessons


LESSON = Chance()
losses_told = st.lists(st.sampled_from([0.0, 0.1, 0.49, 0.51, 0.8, 3.0]), max_size=40)


@given(
    n_first=st.integers(1, 5),
    n_more=st.integers(0, 12),
    n_longest=st.sampled_from([1, 3, 8, 1000]),
    losses=losses_told,
)
def test_a_lesson_ends_when_its_mean_loss_is_low_and_all_when_their_time_is_over(
    n_first, n_more, n_longest, losses
):
    """The mean's weights: 0.9^k of the first loss, 0.1 * 0.9^(k-i) of the i-th of the k others."""
    n_full = n_first + n_more
    tested = curriculum(n_first, n_full, n_longest=n_longest)
    n_now, lesson = n_first, []
    for i, loss in enumerate(losses):
        drawn = tested.draw(LESSON)
        assert tested.lessons[drawn].n == n_now
        tested.tell_loss(loss, drawn)
        lesson.append(loss)
        k = len(lesson) - 1
        weights = [0.9**k, *(0.1 * 0.9 ** (k - i) for i in range(1, k + 1))]
        mean = sum(weight * loss for weight, loss in zip(weights, lesson, strict=True))
        if i + 1 == n_longest:
            n_now, lesson = n_full, []
        elif mean < 0.5 and n_now < n_full:
            n_now, lesson = min(n_now + n_first, n_full), []


@pytest.mark.parametrize(("loss", "lesson"), [(0.49, 1), (0.51, 0)])
def test_by_default_a_lesson_is_learned_at_half_a_nat(loss, lesson):
    tested = Curriculum((Lesson(1, 3), Lesson(2, 3)), n_longest=10)
    tested.tell_loss(loss, tested.draw(LESSON))
    assert tested.lesson == lesson


def test_lessons_of_a_number_that_does_not_divide():
    tested, lengths = curriculum(3, 8), []
    for _ in range(5):
        drawn = tested.draw(LESSON)
        lengths.append(tested.lessons[drawn].n)
        tested.tell_loss(0.0, drawn)
    assert lengths == [3, 6, 8, 8, 8]


def test_losses_of_earlier_lessons_do_not_count():
    tested = curriculum(2, 9, lesson=2, n_longest=1000)
    for i in range(50):
        drawn = tested.draw(Chance(earlier=i))
        assert tested.lessons[drawn].n == (2, 4)[i % 2]
        tested.tell_loss(0.0, drawn)
    assert tested.place == {"lesson": 2, "n_updates": 50, "mean_loss": None}

    tested.tell_loss(0.6, tested.draw(LESSON))
    for i in range(50):
        tested.tell_loss((0.0, 100.0)[i % 2], tested.draw(Chance(earlier=i)))
    assert tested.place == {"lesson": 2, "n_updates": 101, "mean_loss": pytest.approx(0.6)}


@given(losses=losses_told, n_longest=st.integers(1, 30), seed=st.integers(0, 9))
def test_the_last_lesson_begins_in_time(losses, n_longest, seed):
    """Whatever is drawn, and also where earlier lessons come again."""
    tested, random = curriculum(2, 11, n_longest=n_longest), np.random.default_rng(seed)
    for i, loss in enumerate(losses, start=1):
        tested.tell_loss(loss, tested.draw(random))
        if i >= n_longest:
            assert tested.lesson == 5


def test_most_updates_are_of_the_lesson():
    tested, random = curriculum(2, 99, lesson=4), np.random.default_rng(0)
    drawn = [tested.lessons[tested.draw(random)].n for _ in range(4000)]
    assert set(drawn) == {2, 4, 6, 8, 10}
    for n, share in ((10, 0.8), (2, 0.05), (4, 0.05), (6, 0.05), (8, 0.05)):
        spread = math.sqrt(share * (1 - share) / len(drawn))
        assert abs(drawn.count(n) / len(drawn) - share) < 5 * spread


def test_the_first_lesson_has_none_before_it():
    tested, random = curriculum(3, 9), np.random.default_rng(0)
    assert {tested.lessons[tested.draw(random)].n for _ in range(100)} == {3}


@given(
    losses=losses_told,
    places=st.lists(st.integers(0, 40), max_size=5),
    bad=st.sampled_from([math.nan, math.inf, -math.inf]),
)
def test_losses_that_are_not_finite_change_nothing(losses, places, bad):
    tested, plain = curriculum(2, 12, n_longest=1000), curriculum(2, 12, n_longest=1000)
    for i, loss in enumerate(losses):
        for _ in range(places.count(i)):
            tested.tell_loss(bad, tested.draw(LESSON))
        for each in (tested, plain):
            each.tell_loss(loss, each.draw(LESSON))
        assert (tested.lesson, tested.mean_loss) == (plain.lesson, plain.mean_loss)
