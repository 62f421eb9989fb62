"""Facts in a long text: what is told, where it stands, and what follows from it."""

import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data import load_task, make_task
from helpers.pretrained import write_tokenizer
from helpers.programs import assert_one_sentence, run
from rmt import train
from rmt.data.tasks.curriculum import Lesson
from rmt.data.tasks.facts import SORTS
from rmt.data.tasks.samples import cut, segments
from rmt.data.text.pretrained import PretrainedTokenizer
from rmt.runtime.errors import UsageError

CPU = torch.device("cpu")
NAMES = "Anna|Boris|Chen|Dina"
ROOMS = "attic|cellar|garden|library|porch|workshop"
LEFT_TO_RIGHT = {"east": (1, 0), "west": (-1, 0), "north": (0, 1), "south": (0, -1)}
N_FACTS = {"memorize": 1, "detect": 1, "reason": 2}
LEAST = {"memorize": 12, "detect": 12, "reason": 23}


def told(text: str) -> list[str]:
    """The facts in a text, by a form that the language reference never has."""
    form = (
        rf"(?:{NAMES}) walks into the (?:{ROOMS}) ?\."
        rf"|the (?:{ROOMS}) is (?:{'|'.join(LEFT_TO_RIGHT)}) of the (?:{ROOMS}) ?\."
    )
    return re.findall(form, text, re.IGNORECASE)


def answer_of(facts: list[str], question: str) -> str:
    """By a reader that draws a map, and knows nothing of the program that told the facts."""
    facts, question = [fact.lower().strip(" .") for fact in facts], question.lower().strip(" ?")
    if match := re.fullmatch(r"which room is (\w+) in", question):
        (room,) = (fact.split()[-1] for fact in facts if fact.split()[0] == match[1])
        return room
    side, room = re.fullmatch(r"what is (\w+) of the (\w+)", question).groups()
    at = {room: (0, 0)}
    for fact in facts:
        first, its, second = re.fullmatch(r"the (\w+) is (\w+) of the (\w+)", fact).groups()
        x, y = LEFT_TO_RIGHT[its]
        at |= {first: (x, y)} if second == room else {second: (-x, -y)}
    (answer,) = (other for other, place in at.items() if place == LEFT_TO_RIGHT[side])
    return answer


def read(task, row: np.ndarray, kind: str) -> tuple[str, str, str]:
    """The body, the question and the answer of a sample of words."""
    said = [task.symbols[i] for i in row]
    n_question = {"memorize": 6, "detect": 6, "reason": 7}[kind]
    assert said[-2] == "?"
    return " ".join(said[: -n_question - 1]), " ".join(said[-n_question - 1 : -1]), said[-1]


def numbered(n: int, split: int = 0) -> np.ndarray:
    return np.array([[split, i] for i in range(n)])


# Words


@pytest.mark.parametrize("kind", SORTS)
@given(sample_len=st.integers(23, 900), i=st.integers(0, 10**6), split=st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_the_answer_follows_from_the_facts(kind, sample_len, i, split):
    task = make_task("facts", kind=kind, sample_len=sample_len)
    (row,) = task.rows(np.array([[split, i]]))
    assert len(row) == sample_len + 1 == task.length
    body, question, answer = read(task, row, kind)
    facts = told(body)
    assert len(facts) == N_FACTS[kind]
    assert answer_of(facts, question) == answer
    if kind == "memorize":
        assert body.startswith(facts[0])


@pytest.mark.parametrize("kind", SORTS)
def test_no_answer_is_more_likely(kind):
    """Nor is, of two facts, the first one asked for more often than the second."""
    task = make_task("facts", kind=kind, sample_len=60)
    answers, n_first = Counter(), 0
    for row in task.rows(numbered(1200)):
        body, _, answer = read(task, row, kind)
        answers[answer] += 1
        n_first += answer in told(body)[0]
    assert {*answers} == {*ROOMS.split("|")}
    assert max(answers.values()) < 270
    assert kind != "reason" or 500 < n_first < 700


def test_a_fact_to_be_detected_is_anywhere():
    task = make_task("facts", kind="detect", sample_len=500)
    bodies = [read(task, row, "detect")[0] for row in task.rows(numbered(400))]
    places = np.array([body.index(told(body)[0]) / len(body) for body in bodies])
    shares = np.histogram(places, bins=4, range=(0, 1))[0] / 400
    assert shares.min() > 0.15


@pytest.mark.parametrize("kind", SORTS)
def test_a_sample_is_the_same_story_in_any_text(kind):
    texts = [make_task("facts", kind=kind, sample_len=n) for n in (LEAST[kind], 100, 5000)]
    for number in numbered(10, split=2):
        samples = [read(task, task.rows(number[None])[0], kind) for task in texts]
        assert len({(*told(body), *rest) for body, *rest in samples}) == 1


def test_a_sample_is_the_same_whatever_is_read_before():
    task = make_task("facts", kind="reason", data_seed=3)
    rows = task.rows(numbered(4, split=1))
    assert np.array_equal(rows[::-1], task.rows(numbered(4, split=1)[::-1]))
    others = [make_task("facts", kind="reason", data_seed=4).rows(numbered(4, split=1))]
    others.append(task.rows(numbered(4, split=2)))
    assert all((other != rows).any(axis=1).all() for other in others)


@pytest.mark.parametrize("kind", SORTS)
def test_what_is_too_short_is_refused(kind, tmp_path):
    least = LEAST[kind]
    assert make_task("facts", kind=kind, sample_len=least).rows(numbered(50)).shape[1] == least + 1
    flags = f"--dataset facts --kind {kind} --model rmt --mem_len 2 --tgt_len 64 --work_dir"
    short = run(train.main, *flags.split(), tmp_path / "new", "--sample_len", least - 1)
    assert assert_one_sentence(short) == (
        f"sample_len must be {least} or more, for the facts and the question of kind {kind}, but "
        f"it is {least - 1}"
    )
    assert not (tmp_path / "new").exists()


def test_only_the_answer_counts_and_it_comes_last():
    task = make_task("facts", sample_len=150)
    assert task.scored.tolist() == [False] * 149 + [True]
    numbers = numbered(3)
    expected = cut(task.rows(numbers), task.scored, 64, CPU)
    found = list(segments(task, numbers, 64, CPU))
    assert [tuple(tokens.shape) for tokens, _ in found] == [(3, 64), (3, 64), (3, 22)]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(found, expected, strict=True))
    assert [targets is None for _, targets in found] == [True, True, False]
    assert torch.equal(found[-1][1], expected[-1][1])


def test_lessons_begin_with_segments_enough_for_the_facts():
    task = make_task("facts", kind="reason", sample_len=448)
    assert task.lessons(-1, 64) == tuple(Lesson(n, 64) for n in (64, 128, 256, 448))
    assert task.lessons(3, 64) == tuple(Lesson(n, 64) for n in (192, 384, 448))
    assert task.lessons(1, 10)[0] == Lesson(30, 10)
    rows, scored = task.shortened(numbered(2), 128)
    assert np.array_equal(rows, task.shorter(128).rows(numbered(2)))
    assert scored.tolist() == [False] * 127 + [True]


@pytest.mark.parametrize("kind", SORTS)
def test_a_sample_that_no_memory_could_hold_is_begun(kind):
    task = make_task("facts", kind=kind, sample_len=10**13)
    read_ones = segments(task, np.array([[2, 0]]), 64, CPU)
    for _ in range(3):
        tokens, targets = next(read_ones)
        assert (tuple(tokens.shape), targets) == ((1, 64), None)


def test_a_text_of_ones_own(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("One two three four five six seven eight nine TEN! And so on.")
    task = make_task("facts", background=str(path), sample_len=30, background_words=3)
    body, _, _ = read(task, task.rows(numbered(1))[0], "memorize")
    assert body.endswith("one two three" + " <unk>" * 8 + " one two three" + " <unk>" * 4)
    own = load_task("facts", tmp_path, background=str(path), background_words=3)
    path.write_text("One two three four five seven six eight nine TEN! And so on.")
    assert own.splits["test"].tolist() == numbered(1000, split=2).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "forget"}, "kind must be one of memorize, detect, reason"),
        ({"sample_len": 0}, "sample_len must be 1 or more"),
        ({"background": "none/such"}, "background none/such can't be read"),
        ({"tokenizer": "char"}, "tokenizer must be word or hf:FOLDER, not 'char'"),
        ({"tokenizer": "hf:none/such"}, "none/such/tokenizer.json can't be read"),
        ({"tokenizer": "hf:x", "background_words": 3}, "background_words is for words"),
    ],
)
def test_wrong_use(options, message):
    with pytest.raises(UsageError, match=message):
        make_task("facts", **options)


# Tokens of a pretrained model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a tokenizer that has a token for the beginning of every room's name, and for few others.

    It was saved with lengths to cut texts at and to fill them up to.
    """
    tokenizers = pytest.importorskip("tokenizers", reason="pretrained models need rmt[hf]")
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, f" {ROOMS.replace('|', ' ')} walks into the" * 9, 300)
    saved = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    saved.enable_truncation(6)
    saved.enable_padding(length=6)
    saved.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("kind", SORTS)
@given(sample_len=st.integers(140, 900), i=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_samples_in_the_tokens_of_a_pretrained_model(folder, kind, sample_len, i):
    task = make_task("facts", kind=kind, sample_len=sample_len, tokenizer=f"hf:{folder}")
    (row,) = task.rows(np.array([[0, i]]))
    assert len(row) == sample_len + 1
    tokenizer = PretrainedTokenizer(str(folder / "tokenizer.json")).made
    said = tokenizer.decode(row[:-1].tolist())
    question = re.search(r" (Which room is \w+ in|What is \w+ of the \w+)\?$", said)
    facts = told(said[: question.start()])
    assert len(facts) == N_FACTS[kind]
    assert f" {answer_of(facts, question[1])}".startswith(tokenizer.decode(row[-1:].tolist()))


def test_answers_must_begin_with_tokens_of_their_own(tmp_path):
    write_tokenizer(tmp_path, "nothing", 257)  # bytes alone: every word begins with a space
    with pytest.raises(UsageError, match="several of the answers attic, cellar"):
        make_task("facts", tokenizer=f"hf:{tmp_path}")


def test_the_tokenizer_is_of_the_samples(folder):
    by_words, by_tokens = make_task("facts"), make_task("facts", tokenizer=f"hf:{folder}")
    assert len(by_tokens.symbols) == 300
    assert by_words.facts["sources"] != by_tokens.facts["sources"]


def test_an_answer_may_be_a_label():
    words, labels = (make_task("facts", kind="reason", answer=a) for a in ("token", "label"))
    assert (words.n_labels, labels.n_labels) == (0, 6)
    assert labels.symbols[: -labels.n_labels] == (*words.symbols, "<padding>")
    for one, other in zip(words.rows(numbered(30)), labels.rows(numbered(30)), strict=True):
        assert np.array_equal(one[:-1], other[:-1])
        assert labels.symbols[other[-1]] == f"<label {words.symbols[one[-1]]}>"
