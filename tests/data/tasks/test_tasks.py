"""The algorithmic tasks: every sample is right, none occurs twice, and all can be had again."""

import hashlib
import itertools
import math
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data import load_task, make_task, task_options
from helpers.programs import ROOT, assert_one_sentence, run, run_process
from rmt.data.registry import find
from rmt.data.registry import tasks as all_tasks
from rmt.data.tasks import memorization, quadratic, retrieval, stored
from rmt.data.tasks.__main__ import main as show
from rmt.data.tasks.curriculum import Lesson
from rmt.data.tasks.task import Kind, Task, numbers
from rmt.runtime.errors import UsageError

SMALL = {"train_samples": 300, "valid_samples": 50, "test_samples": 100}


# Those whose samples are kept; the others have tests of their own.
TASKS = tuple(name for name in all_tasks() if not make_task(name).numbered)


def generate(name: str, n_samples: int, seed: int = 0, **options) -> np.ndarray:
    task = make_task(name, **options)
    samples = task.generate(np.random.default_rng(seed), n_samples)
    assert samples.shape == (n_samples, task.length)
    assert samples.dtype == np.uint8
    assert samples.max(initial=0) < len(task.symbols)
    return samples


def assert_uniform(values: np.ndarray, expected: range) -> None:
    """Every value as often as any other, within six standard deviations of chance."""
    assert set(np.unique(values)) == set(expected)
    share = 1 / len(expected)
    counts = np.bincount(values.ravel(), minlength=max(expected) + 1)[list(expected)]
    spread = math.sqrt(share * (1 - share) / values.size)
    assert np.abs(counts / values.size - share).max() < 6 * spread


# Copy and reverse

memorized = st.sampled_from([*range(1, 10), 24, 40, 120, 240, 360])


@given(n=memorized, seed=st.integers(0, 2**70))
@settings(max_examples=30)
def test_copy_says_it_twice(n, seed):
    samples = generate("copy", 10, seed, n=n)
    symbols, start, first, second = np.split(samples, [n, n + 1, 2 * n + 1], axis=1)
    assert np.array_equal(first, symbols)
    assert np.array_equal(second, symbols)
    assert (start == 1).all()
    assert ((symbols >= 2) & (symbols <= 9)).all()


@given(n=memorized, seed=st.integers(0, 2**70))
@settings(max_examples=30)
def test_reverse_says_it_backwards(n, seed):
    for sample in generate("reverse", 10, seed, n=n).tolist():
        assert sample[n + 1 :] == list(reversed(sample[:n]))
        assert sample[n] == 1
        assert set(sample[:n]) <= set(range(2, 10))


@pytest.mark.parametrize("n", [24, 40, 120, 240, 360])
def test_lengths_of_the_paper(n):
    copy, reverse = (make_task(name, n=n) for name in ("copy", "reverse"))
    assert (copy.length - 1, copy.answer_size, copy.final_size) == (3 * n, 2 * n, 2 * n)
    assert (reverse.length - 1, reverse.answer_size, reverse.final_size) == (2 * n, n, n)


@pytest.mark.parametrize("name", ["copy", "reverse"])
def test_digits_are_uniform_at_every_place(name):
    samples = generate(name, 20_000, n=3)
    for place in range(3):
        assert_uniform(samples[:, place], range(2, 10))
    pairs = 8 * (samples[:, 0] - 2) + samples[:, 1] - 2
    assert_uniform(pairs, range(64))


def test_ids_of_copy_and_reverse():
    for name in ("copy", "reverse"):
        assert make_task(name).symbols == tuple("_>01234567")


@pytest.mark.parametrize("name", ["copy", "reverse"])
@given(n=st.integers(1, 12), data=st.data())
def test_shortened_is_made_of_the_first_symbols(name, n, data):
    n_short = data.draw(st.integers(1, n))
    task = make_task(name, n=n)
    samples = generate(name, 5, n=n)
    shortened, scored = task.shortened(samples, n_short)
    assert shortened.dtype == np.uint8
    assert np.array_equal(scored, task.shorter(n_short).scored)
    for short, sample in zip(shortened.tolist(), samples.tolist(), strict=True):
        x = sample[:n_short]
        assert short == ([*x, 1, *x, *x] if name == "copy" else [*x, 1, *x[::-1]])
    assert np.array_equal(task.shortened(samples, n)[0], samples)


@pytest.mark.parametrize("name", ["copy", "reverse"])
@given(padded=st.lists(st.booleans(), min_size=1, max_size=12), n_more=st.integers(0, 3))
def test_padding_takes_the_place_of_symbols(name, padded, n_more):
    n = len(padded)
    samples = generate(name, 5, n=n + n_more)
    task = make_task(name, n=n + n_more)
    shortened, scored = task.shortened(samples, n, np.array(padded))
    assert shortened.dtype == np.uint8
    answer = [*padded, *padded] if name == "copy" else padded[::-1]
    assert scored.tolist() == [False] * n + [not is_padding for is_padding in answer]
    for row, sample in zip(shortened.tolist(), samples.tolist(), strict=True):
        x = [0 if is_padding else digit for is_padding, digit in zip(padded, sample, strict=False)]
        assert row == ([*x, 1, *x, *x] if name == "copy" else [*x, 1, *x[::-1]])


def test_all_of_an_answer_is_scored():
    for name in ("copy", "reverse", "retrieval", "quadratic"):
        task = make_task(name)
        n_prompt = task.length - 1 - task.answer_size
        assert task.scored.tolist() == [False] * n_prompt + [True] * task.answer_size


@given(n_pairs=st.integers(1, 12), seed=st.integers(0, 99), data=st.data())
def test_shortened_retrieval_keeps_the_pair_asked_for(n_pairs, seed, data):
    n_short = data.draw(st.integers(1, n_pairs))
    task = make_task("retrieval", pairs=n_pairs)
    samples = generate("retrieval", 5, seed, pairs=n_pairs)
    shortened, scored = task.shortened(samples, n_short)
    assert scored.tolist() == [False] * (2 * n_short + 1) + [True]
    assert shortened.dtype == np.uint8
    assert shortened.shape == (5, task.shorter(n_short).length) == (5, 2 * n_short + 3)
    for short, sample in zip(shortened.tolist(), samples.tolist(), strict=True):
        whole = [tuple(sample[i : i + 2]) for i in range(0, 2 * n_pairs, 2)]
        kept = [tuple(short[i : i + 2]) for i in range(0, 2 * n_short, 2)]
        wanted, start, answer = short[-3:]
        assert [wanted, start, answer] == sample[-3:]
        assert (wanted, answer) in kept
        assert kept == [pair for pair in whole if pair in kept], "in their order"
        assert len(set(kept)) == n_short
    assert np.array_equal(task.shortened(samples, n_pairs)[0], samples)


def test_what_cannot_be_shortened():
    for n in (0, -1, 7):
        with pytest.raises(UsageError, match=f"n 6 can't be shortened to n {n}"):
            make_task("copy", n=6).shortened(generate("copy", 2, n=6), n)


# Retrieval


@given(n_pairs=st.integers(1, 26), seed=st.integers(0, 2**70))
@settings(max_examples=40)
def test_retrieval_asks_for_the_value_of_a_key(n_pairs, seed):
    for sample in generate("retrieval", 20, seed, pairs=n_pairs).tolist():
        keys, values = sample[: 2 * n_pairs : 2], sample[1 : 2 * n_pairs : 2]
        wanted, start, answer = sample[2 * n_pairs :]
        assert set(keys) <= set(range(11, 37))
        assert set(values) <= set(range(10))
        assert len(set(keys)) == n_pairs
        assert len(set(values)) == n_pairs or n_pairs > 10
        assert keys.count(wanted) == 1
        assert values[keys.index(wanted)] == answer
        assert start == 10


@pytest.mark.parametrize("n_pairs", [4, 12])
def test_retrieval_prefers_nothing(n_pairs):
    samples = generate("retrieval", 20_000, pairs=n_pairs)
    assert_uniform(samples[:, 0], range(11, 37))
    assert_uniform(samples[:, 2 * n_pairs - 2], range(11, 37))
    assert_uniform(samples[:, 1], range(10))
    assert_uniform(samples[:, -1], range(10))
    wanted = samples[:, -3][:, None] == samples[:, : 2 * n_pairs : 2]
    assert_uniform(wanted.argmax(axis=1), range(n_pairs))


def test_many_pairs_share_values():
    values = generate("retrieval", 1000, pairs=12)[:, 1:24:2]
    assert len({len(set(row)) for row in values.tolist()}) > 3, "drawn with replacement"


def test_layout_of_retrieval():
    task = make_task("retrieval")
    assert task.symbols == tuple("0123456789>abcdefghijklmnopqrstuvwxyz")
    assert (task.length - 1, task.answer_size, task.final_size) == (10, 1, 1)


# Quadratic equations


def stages_of(sample: np.ndarray) -> list[str]:
    """The six texts, by the ids in the paper's notes; padding comes only after a text."""
    ids = "_>0123456789+-*/^=()xD;,"
    texts = ["".join(ids[i] for i in sample[start : start + 30]) for start in range(0, 180, 30)]
    stripped = [text.rstrip("_") for text in texts]
    assert len(sample) == 180
    assert not re.search("[_>]", "".join(stripped))
    return stripped


def value(text: str, x: int | None = None) -> float:
    """What an expression in the paper's notation amounts to."""
    assert re.fullmatch(r"[-+*/^()x\d]+", text), text
    return eval(text.replace("^", "**"), {"__builtins__": {}, "x": x})


def sides(text: str, ending: str) -> list[str]:
    assert text.endswith(ending)
    return text.removesuffix(ending).split("=")


def check_equation(equation: str, canonical: str) -> None:
    """One is a multiple of the other, by a factor of 1 .. 10 or its negative."""
    first, zero = sides(equation, ",")
    assert zero == "0"
    form = r"(?:(-?(?:10|[2-9]))\*|(-?))x\^2[-+]\d+\*x[-+]\d+"
    factor, sign = re.fullmatch(form, first).groups()
    factor = int(factor or f"{sign}1")
    plain, zero = sides(canonical, ";")
    assert zero == "0"
    assert re.fullmatch(r"x\^2[-+]\d+\*x[-+]\d+", plain)
    for x in (-3, -1, 0, 1, 2, 50):
        assert value(first, x) == factor * value(plain, x)


def check_solution(canonical: str, discriminant: str, roots: list[str], answer: str) -> None:
    plain = sides(canonical, ";")[0]
    name, calculation, square, *root = sides(discriminant, ";")
    b, c = value(plain, 1) - value(plain, 0) - 1, value(plain, 0)
    assert name == "D"
    assert calculation == f"{abs(b)}^2-4*1*{c}"
    assert value(calculation) == int(square) == b * b - 4 * c
    if int(square) < 0:
        assert not root
        assert [*roots, answer] == ["", "", ""]
        return
    assert re.fullmatch(r"\d+\^2", root[0])
    assert value(root[0]) == int(square)
    low, high = (sides(line, ending) for line, ending in zip(roots, ";,", strict=True))
    size = root[0].removesuffix("^2")
    assert [low[:2], high[:2]] == [["x", f"({-b}-{size})/2"], ["x", f"({-b}+{size})/2"]]
    for _, calculation, result in (low, high):
        assert value(calculation) == int(result)
        assert value(plain, int(result)) == 0
        assert -100 <= int(result) <= 100
    assert int(low[2]) <= int(high[2])
    assert answer == f"{low[2]},{high[2]}"


def test_every_line_of_a_solution_is_right():
    for sample in generate("quadratic", 1500, seed=3):
        equation, canonical, discriminant, *roots, answer = stages_of(sample)
        check_equation(equation, canonical)
        check_solution(canonical, discriminant, roots, answer)


def test_examples_of_the_notation():
    assert quadratic.stages(-4, -98, 552) == (
        "-4*x^2+392*x-2208=0,",
        "x^2-98*x+552=0;",
        "D=98^2-4*1*552=7396=86^2;",
        "x=(98-86)/2=6;",
        "x=(98+86)/2=92,",
        "6,92",
    )
    assert quadratic.stages(1, 3, 50) == (
        "x^2+3*x+50=0,",
        "x^2+3*x+50=0;",
        "D=3^2-4*1*50=-191;",
        "",
        "",
        "",
    )
    assert quadratic.stages(-1, 0, -25)[:3] == (
        "-x^2+0*x+25=0,",
        "x^2+0*x-25=0;",
        "D=0^2-4*1*-25=100=10^2;",
    )
    assert quadratic.stages(1, 1, 0)[3:] == ("x=(-1-1)/2=-1;", "x=(-1+1)/2=0,", "-1,0")


def test_layout_of_quadratic():
    task = make_task("quadratic")
    assert task.symbols == tuple("_>0123456789+-*/^=()xD;,")
    assert (task.length, task.answer_size, task.final_size) == (180, 150, 30)
    ids = quadratic.assemble(np.array([[2, 0, -1]]))[0]
    assert ids[:14].tolist() == [
        4,
        14,
        20,
        16,
        4,
        12,
        2,
        14,
        20,
        13,
        4,
        17,
        2,
        23,
    ]  # 2*x^2+0*x-2=0,
    assert not ids[14:30].any()


def test_every_stage_of_every_equation_leaves_room():
    """A stage that filled its 30 places would run into the next one when read."""
    roots = itertools.combinations_with_replacement(range(-100, 101), 2)
    real = [(-10, -(x + y), x * y) for x, y in roots]
    lowest = [(-10, b, b * b // 4 + 1) for b in range(-199, 200)]
    highest = [(-10, b, 10_000) for b in range(-199, 200)]
    for equation in itertools.chain(real, lowest, highest):
        texts = quadratic.stages(*equation)
        assert max(map(len, texts)) < 30
        assert (texts[-1] == "") == (equation[1] ** 2 < 4 * equation[2])


def test_ranges_of_the_equations():
    random = np.random.default_rng(0)
    factor, b, c = quadratic.draw_real(random, 20_000).T
    assert_uniform(factor + 10, [*range(10), *range(11, 21)])
    root = np.sqrt(b * b - 4 * c).astype(int)
    # The smaller and the larger root together are two uniform draws.
    assert_uniform(np.stack([-b - root, -b + root]) // 2 + 100, range(201))
    factor, b, c = quadratic.draw_unreal(random, 40_000).T
    assert_uniform(factor + 10, [*range(10), *range(11, 21)])
    assert_uniform(b + 199, range(399))
    assert (b * b < 4 * c).all()
    small_b = np.abs(b) <= 2
    assert c[small_b].min() < 100
    assert c[small_b].mean() == pytest.approx(5000, rel=0.1)
    assert 9_900 < c.max() <= 10_000


def test_lowest_and_highest_coefficients_can_be_drawn():
    class Extreme:
        """Draws the ends of every range."""

        def __init__(self, end):
            self.end = end

        def integers(self, low, high, size=None, endpoint=False):
            assert endpoint
            ends = np.broadcast_to(low if self.end < 0 else high, size or np.shape(low))
            return ends.copy()

        def choice(self, values, size):
            return np.full(size, self.end)

    assert quadratic.draw_unreal(Extreme(-1), 1).tolist() == [[-1, -199, 9901]]
    assert quadratic.draw_unreal(Extreme(1), 1).tolist() == [[10, 199, 10_000]]
    assert quadratic.draw_real(Extreme(-1), 1).tolist() == [[-1, 200, 10_000]]


def test_a_fifth_has_no_real_roots():
    solved = generate("quadratic", 5000)[:, -30:].any(axis=1)
    assert 0.78 <= solved.mean() <= 0.82


@given(largest=st.integers(1, 100), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_lessons_of_equations_have_smaller_roots(largest, seed):
    task, samples = make_task("quadratic"), generate("quadratic", 20, seed)
    shortened, scored = task.shortened(samples, largest)
    assert scored.tolist() == task.scored.tolist()
    for short, sample in zip(shortened, samples, strict=True):
        equation, canonical, discriminant, *roots, answer = stages_of(short)
        check_equation(equation, canonical)
        check_solution(canonical, discriminant, roots, answer)
        whole = stages_of(sample)
        assert equation.split("x^2")[0] == whole[0].split("x^2")[0], "the factor stays"
        if whole[-1]:
            low, high = (int(root) for root in whole[-1].split(","))
            small = sorted(int(math.fmod(root, largest + 1)) for root in (low, high))
            assert answer == f"{small[0]},{small[1]}"
        else:
            b, c = (int(number) for number in re.findall(r"[-+]\d+", canonical))
            assert abs(b) < 2 * largest
            assert b * b < 4 * c <= 4 * largest**2
    assert np.array_equal(task.shortened(samples, 100)[0], samples)


def test_lessons_of_equations_begin_with_one_digit():
    lessons = make_task("quadratic").lessons
    assert lessons(-1, 30) == tuple(Lesson(n, 30) for n in (9, 30, 100))
    assert lessons(50, 30) == tuple(Lesson(n, 30) for n in (50, 100))


def test_a_shorter_task_of_equations_has_as_small_roots():
    task = make_task("quadratic").shorter(3)
    for sample in task.generate(np.random.default_rng(0), 200):
        answer = stages_of(sample)[-1]
        assert all(abs(int(root)) <= 3 for root in answer.split(",") if root)


@pytest.mark.parametrize("largest", [7, 100])
def test_number_of_equations(largest):
    """Counted one by one: with real roots over all pairs of roots, else over all b and c."""
    roots = itertools.combinations_with_replacement(range(-largest, largest + 1), 2)
    with_roots = {(x + y, x * y) for x, y in roots}
    c = np.arange(1, largest**2 + 1)
    without_roots = sum(int((b * b < 4 * c).sum()) for b in range(1 - 2 * largest, 2 * largest))
    assert quadratic.n_real(largest) == 20 * len(with_roots)
    assert quadratic.n_unreal(largest) == 20 * without_roots


# Data sets


@pytest.fixture
def load(tmp_path):
    def load(name: str, **options):
        return load_task(name, tmp_path, **SMALL | options)

    return load


@pytest.mark.parametrize("name", TASKS)
def test_splits_have_their_sizes_and_no_duplicates(name, load):
    data = load(name)
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 300,
        "valid": 50,
        "test": 100,
    }
    assert all(rows.shape[1] == data.task.length for rows in data.splits.values())
    assert all(rows.dtype == np.uint8 for rows in data.splits.values())
    assert all(not rows.flags.writeable for rows in data.splits.values())
    assert len({row.tobytes() for rows in data.splits.values() for row in rows}) == 450


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("copy", {"n": 3}, (400, 12, 100)),  # 8^3
        ("retrieval", {"pairs": 1}, (200, 20, 40)),  # 26 * 10
    ],
)
def test_all_samples_that_there_are(name, options, sizes, load):
    sizes = dict(zip(("train_samples", "valid_samples", "test_samples"), sizes, strict=True))
    data = load(name, **options, **sizes)
    assert len({row.tobytes() for rows in data.splits.values() for row in rows}) == sum(
        sizes.values()
    )
    sizes["train_samples"] += 1
    with pytest.raises(UsageError, match=f"only {sum(sizes.values()) - 1} different samples"):
        load(name, **options, **sizes)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("copy", {"n": 2}, "only 64 different samples of copy with n 2, but 450 are needed"),
        ("reverse", {"n": 1}, "only 8 different samples of reverse with n 1"),
        ("retrieval", {"pairs": 1}, "only 260 different samples of retrieval with pairs 1"),
        (
            "retrieval",
            {"pairs": 2, "train_samples": 117_000},
            r"only 117,000 .* with pairs 2, but 117,150",
        ),
        ("quadratic", {"train_samples": 600_000}, "only 406,020 different equations with real"),
        ("copy", {"train_samples": 10**15}, "are too much"),
        ("copy", {"n": 10**30}, "are too much"),
    ],
)
def test_more_samples_than_there_can_be(name, options, message, load, tmp_path):
    with pytest.raises(UsageError, match=message):
        load(name, **options)
    assert list(tmp_path.iterdir()) == []


def test_most_samples_that_there_are(load):
    """Here the last draw finds more than are missing."""
    data = load("copy", n=3)  # 450 of 512
    assert [len(rows) for rows in data.splits.values()] == [300, 50, 100]


def test_number_of_retrieval_samples():
    for n_pairs, n_possible in [(3, 15_600 * 720 * 3), (11, math.perm(26, 11) * 10**11 * 11)]:
        assert make_task("retrieval", pairs=n_pairs).kinds[0].n_possible == n_possible


def sizes(name, **options):
    return find(name).sizes(task_options(name, **options))


def test_sizes_of_the_paper():
    assert sizes("copy") == {"train": 100_000, "valid": 5000, "test": 10_000}
    expected = {"train": 100_000, "valid": 10_000, "test": 20_000}
    assert sizes("quadratic") == expected
    assert sizes("quadratic", valid_samples=7)["valid"] == 7


def test_splits_are_alike_in_their_kinds(load):
    data = load("quadratic", train_samples=3000, valid_samples=3000, test_samples=3000)
    for rows in data.splits.values():
        assert 0.77 < rows[:, -30:].any(axis=1).mean() < 0.83


def test_rare_samples_are_in_all_splits():
    """Of a skewed kind the rare samples are found last; but they don't end up in the last split."""

    def draw(random, n):
        return (1000 * random.random((n, 1)) ** 4).astype(np.int32)

    task = replace(make_task("copy"), kinds=(Kind("numbers", 1000, draw),))
    content = task.draw(np.random.default_rng(0), 900, unique=True)[:, 0]
    assert len(set(content.tolist())) == 900
    assert content[:450].mean() == pytest.approx(content[450:].mean(), rel=0.15)


def files_of(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", TASKS)
def test_same_seed_same_bytes(name, tmp_path):
    def load(folder, seed):
        return load_task(name, tmp_path / folder, **SMALL, data_seed=seed)

    first, second, other = load("a", 1), load("b", 1), load("c", 2)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert len(files_of(tmp_path / "a")) == 4
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert not np.array_equal(first.splits["train"], other.splits["train"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("copy", "b534cabb55459670"),
        ("reverse", "10192bbf6c7bb7f9"),
        ("retrieval", "8aac9b965093300c"),
        ("quadratic", "eae2028abb5f3fcc"),
        ("remember", "6e66d03874faaaa6"),
        ("rewrite", "d01ae238626b1055"),
    ],
)
def test_the_samples_stay_what_they_were(name, expected, load):
    """Where these must change, stored.FORMAT must go up: results name the data by a fingerprint."""
    data = load(name)
    rows = np.concatenate(list(data.splits.values()))
    assert hashlib.sha256(rows).hexdigest()[:16] == expected


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("babilong", {"questions": "all"}, "dcef079784e7d72f"),
        ("babilong", {"questions": "all", "noise": False}, "5615683bcaba93f8"),
        ("facts", {"kind": "detect"}, "c13162c76f74d67c"),
        ("facts", {"kind": "memorize"}, "d5bf63e85a566dae"),
        ("facts", {"kind": "reason"}, "fd3c2a4ce24eaed5"),
    ],
)
def test_so_do_those_that_are_made_when_they_are_read(name, options, expected, tmp_path):
    """As words, for ids are those of a background, here the same in every version of Python."""
    background = tmp_path / "own.txt"
    background.write_text(
        "".join(
            f"{word} of ten words or more, which are{' all' * i} the same. "
            for i, word in enumerate(("Sentences", "Some", "Lines", "Others"))
        )
    )
    task = make_task(name, sample_len=90, background=str(background), **options)
    rows = task.rows(numbers(0, 20))
    said = "\n".join(" ".join(task.symbols[i] for i in row) for row in rows)
    assert hashlib.sha256(said.encode()).hexdigest()[:16] == expected


def test_fingerprints_tell_apart_what_differs(load):
    options = [
        {},
        {"n": 25},
        {"data_seed": 1},
        {"train_samples": 301},
        {"valid_samples": 51},
        {"test_samples": 99},
    ]
    prints = {load("copy", **changed).fingerprint for changed in options}
    prints |= {load(name).fingerprint for name in TASKS}
    prints.add(load("retrieval", pairs=5).fingerprint)
    assert len(prints) == len(options) + len(TASKS) - 1 + 1
    assert load("copy", n=4).task.length == load("reverse", n=6).task.length
    assert load("copy", n=4).fingerprint != load("reverse", n=6).fingerprint


def test_samples_are_made_once(load, monkeypatch, tmp_path, capsys):
    """And their making is told of, in one line, unless that is not wanted."""
    first = load_task("copy", tmp_path, progress=True, **SMALL)
    (folder,) = tmp_path.iterdir()
    assert capsys.readouterr().err == f"encoding copy (450 samples) into {folder}\n"
    monkeypatch.setattr(Task, "draw", None)
    second = load_task("copy", tmp_path, progress=True, **SMALL)
    assert capsys.readouterr().err == ""
    assert second.fingerprint == first.fingerprint
    assert all(np.array_equal(second.splits[s], first.splits[s]) for s in first.splits)
    monkeypatch.undo()
    load("reverse")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("file", ["valid.bin", "corpus.json"])
@pytest.mark.parametrize("damage", ["shorter", "changed", "gone"])
def test_damaged_files_are_made_again(file, damage, load, tmp_path):
    data = load("retrieval")
    expected = {split: rows.copy() for split, rows in data.splits.items()}
    del data
    (path,) = tmp_path.rglob(file)
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:-1] if damage == "shorter" else b"\x07" + content[1:])
    again = load("retrieval")
    assert all(np.array_equal(again.splits[split], expected[split]) for split in expected)
    assert path.read_bytes() == content


def test_large_splits_are_written_in_blocks(load, monkeypatch, tmp_path):
    whole = load("copy")
    monkeypatch.setattr(stored, "BLOCK_SAMPLES", 7)
    in_blocks = load_task("copy", tmp_path / "again", **SMALL)
    assert all(np.array_equal(in_blocks.splits[s], whole.splits[s]) for s in whole.splits)


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        load_task("copy", tmp_path / "file", **SMALL)


def test_the_default_place(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "default_encoded_dir", lambda: tmp_path)
    for no_place in (None, ""):
        load_task("copy", no_place, **SMALL)
    assert [path.name[:5] for path in tmp_path.iterdir()] == ["copy-"]


def test_unknown_tasks(tmp_path):
    with pytest.raises(UsageError, match=r"dataset must be one of wt103, .*, not 'sort'"):
        load_task("sort", tmp_path)


def test_tasks_are_compared_by_what_they_are():
    for name in TASKS:
        assert make_task(name) == make_task(name)
    assert make_task("copy") != make_task("copy", n=3)


# In words


OWN = {"copy": {"n": 3}, "reverse": {"n": 3}, "retrieval": {"pairs": 1}}


def test_readable():
    def readable(name, ids):
        return make_task(name, **OWN.get(name, {})).readable(np.array(ids, np.uint8))

    assert readable("copy", [2, 9, 4, 1, 2, 9, 4, 2, 9, 4]) == "072>072072"
    assert readable("reverse", [2, 9, 4, 1, 4, 9, 2]) == "072>270"
    assert readable("retrieval", [11, 0, 36, 9, 11, 10, 0]) == "a0z9a>0"
    real, unreal = quadratic.assemble(np.array([[-4, -98, 552], [1, 3, 50]]))
    assert readable("quadratic", real) == (
        "-4*x^2+392*x-2208=0, x^2-98*x+552=0; D=98^2-4*1*552=7396=86^2; x=(98-86)/2=6; "
        "x=(98+86)/2=92, 6,92"
    )
    assert readable("quadratic", unreal) == "x^2+3*x+50=0, x^2+3*x+50=0; D=3^2-4*1*50=-191;"
    assert readable("quadratic", real[-30:]) == "6,92"


def drawn(lines: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Input, target and marks from three lines, which are aligned."""
    assert [line[:8].strip() for line in lines] == ["input", "target", "loss"]
    assert len({len(line) for line in lines}) == 1
    return tuple(line[8:].split(" ") for line in lines)


def check_drawn(name: str, lines: list[str], **options) -> None:
    """The three rows are those of a sample that is right."""
    task = make_task(name, **options)
    shown, target, marks = drawn(lines)
    assert shown[1:] == target[:-1]
    assert marks == ["."] * (len(shown) - task.answer_size) + ["^"] * task.answer_size
    sample = [*shown, target[-1]]
    if name == "retrieval":
        assert sample[sample.index(sample[-3]) + 1] == sample[-1]
        assert sample.index(">") == len(sample) - 2
    else:
        x = sample[: task.n]
        assert sample == ([*x, ">", *x, *x] if name == "copy" else [*x, ">", *x[::-1]])


def test_the_drawings_in_the_documentation():
    docs = "\n".join(module.__doc__ for module in (memorization, retrieval, quadratic))
    lines = [line.removeprefix("    ") for line in docs.splitlines()]
    starts = [i for i, line in enumerate(lines) if line.startswith("input")]
    sizes = {"copy": {"n": 3}, "reverse": {"n": 3}, "retrieval": {"pairs": 3}}
    for (name, size), start in zip(sizes.items(), starts, strict=True):
        check_drawn(name, lines[start : start + 3], **size)
    start = lines.index(next(line for line in lines if line.startswith("-4*x")))
    rows = [line.split("  ") for line in lines[start : start + 6]]
    sample = quadratic.assemble(np.array([[-4, -98, 552]]))[0]
    assert "".join(text for text, _ in rows) == "".join(quadratic.SYMBOLS[i] for i in sample)
    assert "".join(marks for _, marks in rows) == "." * 30 + "^" * 150


@pytest.mark.parametrize("name", ["copy", "reverse"])
def test_show_memorization(name):
    outcome = run(show, "show", name, "--n", 6)
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) == 4 * 4
    for i in range(0, 16, 4):
        check_drawn(name, lines[i : i + 3], n=6)
        assert lines[i + 3] == ""


def test_show_retrieval():
    outcome = run(show, "show", "retrieval", "--pairs", 3, "--samples", 2)
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) == 2 * 4
    check_drawn("retrieval", lines[:3], pairs=3)
    check_drawn("retrieval", lines[4:7], pairs=3)


def test_show_quadratic():
    outcome = run(show, "show", "quadratic", "--samples", 20)
    assert (outcome.status, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) == 20
    for line in lines:
        equation, canonical, discriminant, *roots, answer = [*line.split(" "), "", "", ""][:6]
        check_equation(equation, canonical)
        check_solution(canonical, discriminant, roots, answer)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("reverse --n 3 --pairs 9", "pairs means nothing to dataset reverse"),
        ("quadratic --n 5", "n means nothing to dataset quadratic"),
        ("copy --train_samples 5", "there is no option --train_samples"),
    ],
)
def test_show_refuses_what_it_does_not_read(flags, expected):
    assert expected in assert_one_sentence(run(show, "show", *flags.split()))


def test_show_to_a_reader_that_leaves():
    command = [sys.executable, "-m", "rmt.data.tasks", *"show copy --samples 20000".split()]
    path = {**os.environ, "PYTHONPATH": str(ROOT / "pytorch")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=path, **pipes) as process:
        assert process.stdout.readline().startswith(b"input")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_show_follows_the_seed():
    first, again, other = (run(show, "show", "copy", "--data_seed", seed).out for seed in (1, 1, 2))
    assert first == again != other


def test_show_as_a_program_writes_no_files(tmp_path):
    outcome = run_process("rmt.data.tasks", "show", "reverse", "--n", 6, cwd=tmp_path)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == run(show, "show", "reverse", "--n", 6).out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "required"),
        (["show"], "required"),
        (["show", "sort"], "invalid choice: 'sort'"),
        (["print", "copy"], "invalid choice: 'print'"),
        (["show", "copy", "--samples", "0"], "samples must be 1 or more"),
        (["show", "copy", "--samples", "many"], "invalid int value"),
        (["show", "copy", "--n", "0"], "n must be 1 or more"),
        (["show", "copy", "--n", "9" * 30], "are too much"),
        (["show", "copy", "--samples", "9" * 30], "are too much"),
        (["show", "retrieval", "--pairs", "27"], "pairs must be at most 26"),
        (["show", "copy", "--data_seed", "-1"], "data_seed must be 0 or more"),
        (["show", "copy", "--digits", "3"], "there is no option --digits"),
    ],
)
def test_show_refuses(flags, message):
    assert message in assert_one_sentence(run(show, *flags))
