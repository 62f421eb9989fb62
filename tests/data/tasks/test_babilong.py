"""BABILong: stories against a simulation of their own, samples of exact length, bAbI's files."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data import load_task, make_task
from helpers.programs import ROOT, assert_one_sentence, run
from rmt import train
from rmt.data.tasks.babilong import babi, stories
from rmt.data.tasks.babilong.stories import KINDS
from rmt.data.tasks.curriculum import Curriculum, Lesson
from rmt.data.tasks.samples import SampleReader, cut, segments
from rmt.data.tasks.stories.background import read_sentences, words
from rmt.data.tasks.stories.spreading import alone
from rmt.data.tasks.stories.world import PEOPLE, ROOMS, SIDES, Story
from rmt.runtime.errors import UsageError

CPU = torch.device("cpu")
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
BABI = """1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Daniel went back to the hallway.
5 Where is Daniel? \thallway\t4
1 John moved to the office.
2 Where is John?\toffice\t1
"""


# Stories


def answer_of(story: Story) -> str:
    """By a reader of the sentences that knows nothing of the program which made them."""
    where, holds, been = {}, {}, {}
    places = []
    for fact in story.facts:
        match fact:
            case (who, "walks", "into", "the", room, "."):
                assert where.get(who) != room
                where[who] = room
                for thing, owner in holds.items():
                    if owner == who:
                        been[thing].append(room)
            case (who, "picks", "up", "the", thing, "."):
                assert thing not in holds
                assert been.get(thing, [where[who]])[-1] == where[who], "it is in the same room"
                holds[thing] = who
                been.setdefault(thing, [where[who]])
            case (who, "puts", "down", "the", thing, "."):
                assert holds.pop(thing) == who
            case ("the", first, "is", side, "of", "the", second, "."):
                places += [(first, side, second), (second, OPPOSITE[side], first)]
            case _:
                raise AssertionError(fact)
    match story.question:
        case ("which", "room", "is", "the", thing, "in", "?"):
            return been[thing][-1]
        case ("which", "room", "is", who, "in", "?"):
            return where[who]
        case ("which", "room", "was", "the", thing, "in", "before", "the", room, "?"):
            assert been[thing].count(room) == 1
            return been[thing][been[thing].index(room) - 1]
        case ("is", who, "in", "the", room, "?"):
            return "yes" if where[who] == room else "no"
        case ("what", "is", side, "of", "the", room, "?"):
            (answer,) = (first for first, its, second in places if (its, second) == (side, room))
            return answer
    raise AssertionError(story.question)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**70))
@settings(deadline=None)
def test_answers_are_those_of_a_reader(kind, seed):
    story = KINDS[kind](np.random.default_rng(seed))
    assert story.answer == answer_of(story)
    assert {*story.question, story.answer, *(w for f in story.facts for w in f)} <= {*stories.WORDS}
    assert len(story.question) <= 18


@pytest.mark.parametrize("kind", KINDS)
def test_answers_differ(kind):
    """No kind can be answered by one word; yes and no come as often."""
    random = np.random.default_rng(0)
    answers = [KINDS[kind](random).answer for _ in range(600)]
    if kind == "yes_no":
        assert 0.42 < answers.count("yes") / 600 < 0.58
    else:
        assert {*answers} == {*ROOMS}
        assert max(map(answers.count, ROOMS)) < 200


# Samples


def test_facts_alone():
    body = np.concatenate(list(alone([np.ones(2, np.uint16)], 5, 0)))
    assert body.tolist() == [0, 0, 0, 1, 1]


def read(task, row: np.ndarray) -> tuple[list[str], list[str], str]:
    """The body, the question and the answer."""
    said = [task.symbols[i] for i in row]
    assert said[-1] == "<end>"
    assert said[-3] == ">"
    question = said[-21:-3]
    padding = [word for word in question if word == "_"]
    assert question[: len(padding)] == padding
    return said[:-21], question[len(padding) :], said[-2]


@pytest.mark.parametrize("questions", [*KINDS, "all"])
def test_samples_are_stories_in_a_text(questions):
    task = make_task("babilong", questions=questions, sample_len=120, background_words=50)
    rows = task.rows(np.array([[0, i] for i in range(30)]))
    assert rows.shape == (30, 121) == (30, task.length)
    assert task.scored.tolist() == [False] * 118 + [True] * 2
    for row in rows:
        body, question, answer = read(task, row)
        facts = [tuple(fact.split()) for fact in own_sentences(" ".join(body))]
        assert answer_of(Story(tuple(facts), tuple(question), answer)) == answer


def own_sentences(body: str) -> list[str]:
    """The facts, found by their beginnings, which the language reference never has."""
    people = "|".join(PEOPLE)
    rooms = "|".join(ROOMS)
    sides = "|".join(SIDES)
    form = (
        rf"(?:{people}) (?:walks into|picks up|puts down) the \w+ \."
        rf"|the (?:{rooms}) is (?:{sides}) of the (?:{rooms}) \."
    )
    return re.findall(form, body)


@given(sample_len=st.integers(64, 2000), i=st.integers(0, 10**6), split=st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_every_length_is_exact(sample_len, i, split):
    task = make_task("babilong", sample_len=sample_len)
    assert task.rows(np.array([[split, i]])).shape == (1, sample_len + 1)


def test_a_sample_is_the_same_story_in_any_text():
    short, long = (make_task("babilong", sample_len=n) for n in (100, 3000))
    for i in range(10):
        number = np.array([[2, i]])
        one, other = (read(task, task.rows(number)[0]) for task in (short, long))
        assert one[1:] == other[1:]
        assert own_sentences(" ".join(one[0])) == own_sentences(" ".join(other[0]))


def test_the_same_number_is_the_same_sample_in_another_process():
    task = make_task("babilong", data_seed=3)
    here = task.rows(np.array([[1, 5], [1, 4]]))
    assert np.array_equal(here[::-1], task.rows(np.array([[1, 4], [1, 5]])))
    code = (
        "import numpy as np; from rmt.data.registry import find; b = find('babilong');"
        "task = b.make(b.options(data_seed=3));"
        "print(task.rows(np.array([[1, 5]]))[0].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "pytorch"), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(here[0].tolist())
    others = [make_task("babilong", data_seed=4).rows(np.array([[1, 5]])), here[1:]]
    others.append(task.rows(np.array([[2, 5]])))
    assert all(not np.array_equal(other[0], here[0]) for other in others)


def test_lessons_are_more_segments_of_the_same_stories():
    task = make_task("babilong", sample_len=400)
    # Two to six facts of six words each, and the question's place.
    growing = tuple(Lesson(n, 64) for n in (64, 128, 256, 400))
    assert task.lessons(-1, 64) == (Lesson(20 + 4 * 6, 64, bare=True), *growing)
    assert task.lessons(-1, 20)[:2] == (Lesson(44, 20, bare=True), Lesson(60, 20))
    assert make_task("babilong", sample_len=44).lessons(-1, 40) == (Lesson(40, 40), Lesson(44, 40))
    assert task.lessons(3, 64) == (Lesson(192, 64), Lesson(384, 64), Lesson(400, 64))
    numbers = np.array([[0, 1], [0, 9]])
    rows, scored = task.shortened(numbers, 128)
    assert np.array_equal(rows, task.shorter(128).rows(numbers))
    assert scored.tolist() == [False] * 126 + [True] * 2


def test_the_first_lesson_has_the_stories_alone():
    task = make_task("babilong", sample_len=400, questions="all")
    lesson = task.lessons(-1, 100)[0]
    numbers = np.array([[0, i] for i in range(20)])
    curriculum = Curriculum((lesson, Lesson(400, 100)), 10)
    reader = SampleReader(task, numbers, 20, 100, seed=0, curriculum=curriculum)
    ((tokens, targets),) = reader.next(0).segments
    assert tokens.shape == (20, lesson.n)
    told = set(stories.WORDS) | {"_", ">"}
    assert {task.symbols[i] for i in tokens.flatten().tolist()} <= told
    assert (targets[:, -2:] >= 0).all()
    assert (targets[:, :-2] < 0).all()


def test_splits_are_numbers_and_nothing_is_kept(tmp_path):
    sizes = {"train_samples": 5, "valid_samples": 3, "test_samples": 2}
    data = load_task("babilong", tmp_path, **sizes)
    assert {name: part.tolist() for name, part in data.splits.items()} == {
        "train": [[0, i] for i in range(5)],
        "valid": [[1, i] for i in range(3)],
        "test": [[2, i] for i in range(2)],
    }
    assert list(tmp_path.iterdir()) == []


@given(tgt_len=st.integers(1, 150), sample_len=st.integers(64, 140), n=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_segments_one_by_one_are_those_of_whole_samples(tgt_len, sample_len, n):
    task = make_task("babilong", sample_len=sample_len)
    numbers = np.array([[1, i] for i in range(n)])
    expected = cut(task.rows(numbers), task.scored, tgt_len, CPU)
    found = list(segments(task, numbers, tgt_len, CPU))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert (mine is None and theirs is None) or torch.equal(mine, theirs)


def test_a_sample_that_no_memory_could_hold_is_begun():
    read = segments(make_task("babilong", sample_len=10**13), np.array([[2, 0]]), 64, CPU)
    for _ in range(3):
        tokens, targets = next(read)
        assert (tuple(tokens.shape), targets) == ((1, 64), None)


# bAbI's files


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"qa1_single-supporting-fact_{split}.txt").write_text(BABI)
    return tmp_path


def test_the_published_format(folder):
    first, second, third = babi.read_kind(folder, "one", "train")
    mary, john = "mary moved to the bathroom .".split(), "john went to the hallway .".split()
    daniel = "daniel went back to the hallway .".split()
    assert first == Story((tuple(mary), tuple(john)), ("where", "is", "mary", "?"), "bathroom")
    assert second.facts == (tuple(mary), tuple(john), tuple(daniel))
    assert second.answer == "hallway"
    assert third.facts == (tuple("john moved to the office .".split()),)


def test_samples_of_published_stories(folder):
    task = make_task("babilong", babi=str(folder), sample_len=80)
    assert {"mary", "bathroom", "where"} <= {*task.symbols}
    body, question, answer = read(task, task.rows(np.array([[0, 0]]))[0])
    assert len(body) == 60
    story = next(s for s in babi.read_kind(folder, "one", "train") if s.question == tuple(question))
    assert story.answer == answer
    said = " ".join(body)
    assert all(" ".join(fact) in said for fact in story.facts)


ANSWERS = {n: chr(ord("a") + n) * 3 for n in range(1, 21)}  # of each of the published tasks


@pytest.fixture
def all_tasks(tmp_path):
    """All 20, of which each has one answer: with the split's name, for training and validation
    that of the story's place in the file."""
    for n, word in ANSWERS.items():
        for file, splits in (("train", ("valid", "train")), ("test", ("test",))):
            lines = [
                f"1 Mary went to the {word}{split}.\n2 Where is Mary?\t{word}{split}\t1\n"
                for split in splits
            ]
            (tmp_path / f"qa{n}_made-up_{file}.txt").write_text("".join(lines))
    return tmp_path


@pytest.mark.parametrize(
    ("questions", "numbers"),
    [
        ("one", {1}),
        ("two", {2}),
        ("three", {3}),
        ("relations", {4}),
        ("yes_no", {6}),
        ("all", {1, 2, 3, 4, 6}),
    ],
)
def test_each_kind_and_split_is_read_from_its_file(all_tasks, questions, numbers):
    task = make_task("babilong", babi=str(all_tasks), questions=questions, sample_len=60)
    for i, split in enumerate(("train", "valid", "test")):
        rows = task.rows(np.array([[i, k] for k in range(40)]))
        found = {read(task, row)[-1] for row in rows}
        assert found == {f"{ANSWERS[n]}{split}" for n in numbers}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mary moved.\n", "line 1: it does not begin with a number"),
        ("1 Mary moved.\n2\n", "line 2: it does not begin with a number"),
        ("1 Where is Mary?\toffice\t1\n", "line 1: a question without facts"),
        ("1 Mary left.\n2 What is there?\tapple,milk\t1\n", "line 2: the answer 'apple,milk'"),
        (b"\xff\xfe1", "can't be read"),
    ],
)
def test_damaged_files_are_refused(folder, text, message):
    path = folder / "qa1_single-supporting-fact_test.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    flags = f"--dataset babilong --model rmt --mem_len 2 --tgt_len 64 --babi {folder} --debug"
    refused = assert_one_sentence(run(train.main, *flags.split()))
    assert message in refused
    assert path.name in refused


def test_what_is_not_there(tmp_path, folder):
    for options, message in (
        ({"babi": str(tmp_path / "none")}, "there is no folder"),
        ({"background": str(tmp_path / "none")}, "background .* can't be read"),
        ({"babi": str(folder), "questions": "two"}, "has no stories of kind two"),
        ({"sample_len": 30}, "no story of kind one fits into sample_len 30"),
        ({"sample_len": 20}, "sample_len must be 21 or more"),
        ({"questions": "four"}, "questions must be one of one, two"),
    ):
        with pytest.raises(UsageError, match=message):
            make_task("babilong", **options).rows(np.array([[0, 0]]))


def test_a_background_of_ones_own(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("Too short. One two three four five six seven eight nine TEN! And so on.")
    (sentence,) = read_sentences(str(path))
    assert words(sentence) == tuple("one two three four five six seven eight nine ten !".split())
    path.write_text("Too short.")
    with pytest.raises(UsageError, match="no sentence of 10 words"):
        read_sentences(str(path))
