"""babilong: the task, its options and its vocabulary (Kuratov et al. 2024).

A sample has sample_len inputs: a body in which the facts are spread over a text, then the question,
the start token and the answer; an end token is predicted after it. Question, start and answer have
QUESTION_LEN places, as published, the first of them padding where the question is short:

    input   anna walks into the garden . <text> _ _ ... which room is anna in ? > garden
    target                                                                  ... garden <end>

Sample i of a split is made of (data_seed, split, i) alone, whenever it is read, so that none is
kept on disk; and it is the same story in a text of any length.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from operator import itemgetter
from pathlib import Path
from typing import ClassVar

import numpy as np

from rmt.data.tasks.babilong import babi, stories
from rmt.data.tasks.curriculum import Lesson, segment_lessons
from rmt.data.tasks.stories.background import read_sentences, words
from rmt.data.tasks.stories.language import OfWords
from rmt.data.tasks.stories.options import StoryOptions
from rmt.data.tasks.stories.spreading import alone, spread
from rmt.data.tasks.stories.world import Story
from rmt.data.tasks.task import Task, TaskDataset, whole_rows
from rmt.data.vocabulary import UNKNOWN
from rmt.options.option import check_at_least, check_choices, option
from rmt.runtime.errors import UsageError

NAME = "babilong"
QUESTION_LEN = 20
SPECIAL = ("_", ">", "<end>", UNKNOWN)  # padding, start and end of the answer
PADDING_ID, START_ID, END_ID = range(3)
ALL = "all"
N_ASKED = 200  # stories, for how long they are
TRAIN = 0  # the split's number; then come valid and test
VALID_SHARE = 10  # one in so many stories of bAbI's train file is kept to validate on


@dataclass(frozen=True)
class BabilongOptions(StoryOptions):
    """The samples of babilong."""

    questions: str = option(
        "one", "babilong: kind of the stories (data/tasks/babilong)", (*stories.KINDS, ALL)
    )
    babi: str = option("", "babilong: folder of bAbI's files; empty: stories in our own words")
    noise: bool = option(True, "babilong: a text between the facts; --no_noise: padding before")

    PATHS: ClassVar[tuple[str, ...]] = (*StoryOptions.PATHS, "babi")

    def __post_init__(self):
        super().__post_init__()
        check_choices(self)
        check_at_least(self, QUESTION_LEN + 1, "sample_len")

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(stories.KINDS) if self.questions == ALL else (self.questions,)


@dataclass(frozen=True)
class Sources:
    """What samples are made of: bAbI's files, if any, and the background."""

    folder: str
    background: str

    @cached_property
    def told(self) -> dict[str, tuple[list[Story], ...]]:
        """Of bAbI: the stories of every kind that there is, for each split."""
        if not self.folder:
            return {}
        folder, found = Path(self.folder), {}
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder}: name that of bAbI's files")
        for kind, number in babi.NUMBERS.items():
            if any(folder.glob(f"qa{number}_*.txt")):
                train = babi.read_kind(folder, kind, "train")
                valid = train[::VALID_SHARE]
                rest = [story for i, story in enumerate(train) if i % VALID_SHARE]
                found[kind] = (rest or valid, valid, babi.read_kind(folder, kind, "test"))
        return found

    @cached_property
    def sentences(self) -> list[str]:
        return read_sentences(self.background)

    @cached_property
    def fingerprint(self) -> str:
        """Of all that was read."""
        told = [
            (k, [(s.facts, s.question, s.answer) for s in split])
            for k, v in self.told.items()
            for split in v
        ]
        between = [words(sentence) for sentence in self.sentences]
        return hashlib.sha256(repr([told, between]).encode()).hexdigest()

    def of_kind(self, kind: str) -> tuple[list[Story], ...]:
        """Of bAbI, for each split. UsageError where it has none."""
        if kind not in self.told:
            raise UsageError(f"{self.folder} has no stories of kind {kind}")
        return self.told[kind]

    def usual_len(self, kind: str) -> int:
        """Tokens that the facts of half of the stories have at most."""
        if self.folder:
            some = self.of_kind(kind)[TRAIN]
        else:
            random = np.random.default_rng(0)
            some = [stories.KINDS[kind](random) for _ in range(N_ASKED)]
        return int(np.median([sum(map(len, story.facts)) for story in some]))

    def words(self) -> list[str]:
        """All that stories can say, in the order of the alphabet."""
        if not self.folder:
            return list(stories.WORDS)
        every = (s for splits in self.told.values() for split in splits for s in split)
        return sorted(
            {w for s in every for said in (*s.facts, s.question, (s.answer,)) for w in said}
        )


@lru_cache(maxsize=4)
def language(folder: str, background: str, n_words: int) -> tuple[Sources, OfWords]:
    """With what it is made of; kept, for the tasks of all sizes share it."""
    sources = Sources(folder, background)
    return sources, OfWords(SPECIAL, sources.words(), sources.sentences, n_words)


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes samples of one size."""

    options: BabilongOptions
    sources: Sources
    language: OfWords

    def pieces(self, number: np.ndarray) -> Iterator[np.ndarray]:
        """The ids of a sample, sentence by sentence."""
        split, i = map(int, number)
        random = np.random.default_rng([self.options.data_seed, split, i])
        story = self.story(split, random)
        facts = [self.language.encoded(fact) for fact in story.facts]
        n_body = self.options.sample_len - QUESTION_LEN
        if self.options.noise:
            yield from spread(facts, self.language.background, n_body, random)
        else:
            yield from alone(facts, n_body, PADDING_ID)
        question = np.full(QUESTION_LEN + 1, PADDING_ID, dtype=np.uint16)
        question[-3:] = START_ID, self.language.answer(story.answer), END_ID
        question[-3 - len(story.question) : -3] = self.language.encoded(story.question)
        yield question

    def story(self, split: int, random: np.random.Generator) -> Story:
        """One that fits, of any of the kinds. UsageError where none does."""
        kind = self.options.kinds[random.integers(len(self.options.kinds))]
        if not self.sources.folder:
            make = stories.KINDS[kind]
            story = make(random)
            for _ in range(1000):
                if self.fits(story):
                    return story
                story = make(random)
        elif fitting := self.fitting[kind][split]:
            return fitting[random.integers(len(fitting))]
        raise UsageError(
            f"no story of kind {kind} fits into sample_len {self.options.sample_len}: choose more"
        )

    @cached_property
    def fitting(self) -> dict[str, tuple[list[Story], ...]]:
        """Of bAbI's stories those that fit, for each split. UsageError for a kind without any."""
        return {
            kind: tuple([s for s in split if self.fits(s)] for split in self.sources.of_kind(kind))
            for kind in self.options.kinds
        }

    def fits(self, story: Story) -> bool:
        n_facts = sum(map(len, story.facts))
        is_short = len(story.question) + 2 <= QUESTION_LEN
        return is_short and n_facts <= self.options.sample_len - QUESTION_LEN

    @property
    def usual_len(self) -> int:
        """Tokens of a sample without a text in which half of the stories fit, of every kind."""
        return QUESTION_LEN + max(map(self.sources.usual_len, self.options.kinds))


@lru_cache(maxsize=16)
def make(options: BabilongOptions) -> Task:
    """The task with samples of sample_len; kept, for every update asks for its lesson's."""
    sources, tokens = language(options.babi, options.background, options.background_words)
    maker = Maker(options, sources, tokens)
    shown = {name: getattr(options, name) for name in ("questions", "noise", "background_words")}
    return Task(
        NAME,
        symbols=tokens.symbols,
        length=options.sample_len + 1,
        answer_size=2,
        final_size=2,
        kinds=(),
        assemble=partial(whole_rows, maker.pieces, options.sample_len + 1),
        facts={**shown, "sources": sources.fingerprint},
        padding=PADDING_ID,
        pieces=maker.pieces,
        n=options.sample_len,
        resized=lambda n: make(replace(options, sample_len=n)),
        shorten=lambda numbers, n: numbers,
        bare=lambda: make(replace(options, noise=False)),
        lessons=partial(lessons, maker),
        learned_at=0.1,
    )


def lessons(maker: Maker, n_first: int, tgt_len: int) -> tuple[Lesson, ...]:
    """As segment_lessons; if n_first is -1 the shorter stories come before, without a text.

    Which fact answers is found in that first lesson. With a text around the facts it was not, in
    as many updates.
    """
    whole, short = maker.options.sample_len, maker.usual_len
    if n_first > 0 or short >= whole:
        return segment_lessons(whole, n_first, tgt_len)
    growing = segment_lessons(whole, -(-short // tgt_len), tgt_len)
    return (Lesson(short, tgt_len, bare=True), *growing)


def _label(options: Mapping) -> str:
    return f"{NAME} {options['questions']}, {options['sample_len']} tokens"


BABILONG = TaskDataset(
    NAME,
    make=make,
    options=BabilongOptions,
    held_out=(500, 1000),
    label=_label,
    headline="sequence_accuracy",
    size=itemgetter("sample_len"),
    input_len="sample_len",
    has_lessons=True,
)
