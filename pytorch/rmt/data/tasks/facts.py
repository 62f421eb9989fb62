"""facts: what is told is to be remembered through a long text (Bulatov et al. 2023, "Scaling
Transformer to 1M tokens and beyond with RMT").

    memorize  one fact, before all else, and where a person is
    detect    the same, with the fact anywhere in the text ("detect and memorize" in the paper)
    reason    two facts anywhere, which rooms lie beside a third one, and what lies on one of its
              sides; the other fact is the one that is not asked for

The question comes last, and the answer is one of six rooms, one token, at the last of a sample's
sample_len inputs:

    input   anna walks into the garden . <text> ... which room is anna in ?
    target                                                                 garden

With --tokenizer hf:FOLDER tokens are those of a pretrained model, for one that is trained on
(--backbone FOLDER), sentences are written as people do, and the answer is the first token of the
room's name. With --answer label it is one of six labels at the vocabulary's end, after a word for
padding, as a model that tells labels needs it. Sample i of a split is made of (data_seed, split, i)
alone, whenever it is read, and is the same story in a text of any length.

The words are ours; the paper's facts are those of bAbI, and its text is QuALITY's.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from operator import itemgetter

import numpy as np

from rmt.data.labels import first_label, label_symbols
from rmt.data.tasks.curriculum import Lesson, segment_lessons
from rmt.data.tasks.stories.background import read_sentences
from rmt.data.tasks.stories.language import Language, OfTokens, OfWords
from rmt.data.tasks.stories.options import StoryOptions
from rmt.data.tasks.stories.spreading import first, spread
from rmt.data.tasks.stories.world import (
    PEOPLE,
    ROOMS,
    SIDES,
    Story,
    World,
    lies,
    walks,
    what_lies,
    where_is,
)
from rmt.data.tasks.task import Task, TaskDataset, whole_rows
from rmt.data.text.dataset import OF_A_MODEL
from rmt.data.text.encoding import id_type
from rmt.data.vocabulary import UNKNOWN
from rmt.options.option import check_choices, default_of, option
from rmt.runtime.errors import UsageError

NAME = "facts"
WORDS = "word"  # --tokenizer: every word is a token
TOKEN, LABEL = "token", "label"  # --answer
LABELS = label_symbols(ROOMS)


# --- stories -------------------------------------------------------------------------------------


def where(random: np.random.Generator) -> Story:
    """One fact: a person goes into a room."""
    world = World(random)
    world.move()
    ((person, room),) = world.room_of.items()
    return world.story(where_is(person), room)


def beside(random: np.random.Generator) -> Story:
    """Two facts: a room has two others on two of its sides. A fact may begin with either room."""
    world = World(random)
    room, *others = random.permutation(ROOMS)[:3].tolist()
    sides = random.permutation(list(SIDES))[:2].tolist()
    for other, side in zip(others, sides, strict=True):
        is_turned = random.random() < 0.5
        world.tell(lies(room, SIDES[side], other) if is_turned else lies(other, side, room))
    asked = random.integers(2)
    return world.story(what_lies(sides[asked], room), others[asked])


@dataclass(frozen=True)
class Sort:
    """What a sample is made of.

    draw: a story of n_facts facts. facts, questions: every one that it can have. put: the facts
    into a text.
    """

    draw: Callable[[np.random.Generator], Story]
    n_facts: int
    facts: tuple[str, ...]
    questions: tuple[str, ...]
    put: Callable[..., Iterator[np.ndarray]]

    def most_tokens(self, language: Language) -> int:
        """Of the facts and the question of a story."""
        fact, question = (
            max(len(language.encoded(tuple(sentence.split()))) for sentence in every)
            for every in (self.facts, self.questions)
        )
        return self.n_facts * fact + question


WALKS = tuple(walks(*both) for both in itertools.product(PEOPLE, ROOMS))
LIES = tuple(lies(*three) for three in itertools.product(ROOMS, SIDES, ROOMS))
WHERE = tuple(map(where_is, PEOPLE))
WHAT = tuple(what_lies(*both) for both in itertools.product(SIDES, ROOMS))
SORTS = {
    "memorize": Sort(where, 1, WALKS, WHERE, first),
    "detect": Sort(where, 1, WALKS, WHERE, spread),
    "reason": Sort(beside, 2, LIES, WHAT, spread),
}
OWN = tuple(sorted({word for said in (*WALKS, *LIES, *WHERE, *WHAT) for word in said.split()}))


# --- samples -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FactsOptions(StoryOptions):
    """The samples of facts."""

    kind: str = option("memorize", "facts: what is to be done (data/tasks/facts.py)", tuple(SORTS))
    tokenizer: str = option(
        WORDS, "facts: word, or hf:FOLDER with a pretrained model's tokenizer.json"
    )
    answer: str = option(
        TOKEN, "facts: what an answer is; label: for a model that tells labels", (TOKEN, LABEL)
    )

    def __post_init__(self):
        super().__post_init__()
        check_choices(self)
        if self.tokenizer == WORDS:
            return
        if not self.tokenizer.startswith(OF_A_MODEL):
            raise UsageError(f"tokenizer must be word or hf:FOLDER, not {self.tokenizer!r}")
        if self.background_words != default_of(type(self), "background_words"):
            raise UsageError(
                "background_words is for words: with a pretrained model's tokens all are known, so "
                "leave it out"
            )


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes samples of one size."""

    options: FactsOptions
    language: Language

    def pieces(self, number: np.ndarray) -> Iterator[np.ndarray]:
        """The ids of a sample, sentence by sentence."""
        random = np.random.default_rng([self.options.data_seed, *map(int, number)])
        sort = SORTS[self.options.kind]
        story = sort.draw(random)
        facts = [self.language.encoded(fact) for fact in story.facts]
        question = self.language.encoded(story.question)
        n_body = self.options.sample_len - len(question)
        yield from sort.put(facts, self.language.background, n_body, random)
        yield question
        yield np.array([self.answer(story.answer)], id_type(len(self.symbols)))

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Those of the language, and the labels."""
        labels = LABELS if self.options.answer == LABEL else ()
        return (*self.language.symbols, *labels)

    def answer(self, room: str) -> int:
        if self.options.answer == TOKEN:
            return self.language.answer(room)
        return first_label(len(self.symbols), len(ROOMS)) + ROOMS.index(room)


@lru_cache(maxsize=4)
def language(tokenizer: str, background: str, n_words: int) -> Language:
    """Kept, for the tasks of all sizes share it."""
    sentences = read_sentences(background)
    if tokenizer == WORDS:
        return OfWords((UNKNOWN,), OWN, sentences, n_words)
    return OfTokens(tokenizer, sentences)


@lru_cache(maxsize=16)
def make(options: FactsOptions) -> Task:
    """The task with samples of sample_len; kept, for every update asks for its lesson's.

    Raises UsageError where the facts and the question are too long for it, and for tokens that
    don't tell the answers apart.
    """
    tokens = language(options.tokenizer, options.background, options.background_words)
    answers = {tokens.answer(room) for room in ROOMS}
    if options.answer == TOKEN and len(answers) < len(ROOMS):
        raise UsageError(
            f"with the tokenizer {options.tokenizer} several of the answers {', '.join(ROOMS)} "
            "begin with the same token: take another one, or --answer label"
        )
    n_least = SORTS[options.kind].most_tokens(tokens)
    if options.sample_len < n_least:
        raise UsageError(
            f"sample_len must be {n_least} or more, for the facts and the question of kind "
            f"{options.kind}, but it is {options.sample_len}"
        )
    maker = Maker(options, tokens)

    def lessons(n_first: int, tgt_len: int) -> tuple[Lesson, ...]:
        """From n_first segments on, or as many as it takes."""
        return segment_lessons(options.sample_len, max(n_first, -(-n_least // tgt_len)), tgt_len)

    return Task(
        NAME,
        symbols=maker.symbols,
        length=options.sample_len + 1,
        answer_size=1,
        final_size=1,
        kinds=(),
        assemble=partial(whole_rows, maker.pieces, options.sample_len + 1),
        facts={"kind": options.kind, "sources": fingerprint(tokens)},
        pieces=maker.pieces,
        n=options.sample_len,
        resized=lambda n: make(replace(options, sample_len=n)),
        shorten=lambda numbers, n: numbers,
        lessons=lessons,
        learned_at=0.1,
        n_labels=len(ROOMS) if options.answer == LABEL else 0,
    )


def fingerprint(tokens: Language) -> str:
    """Of the ids of all that is said."""
    own = [tokens.encoded((word,)).tolist() for word in OWN]
    read = tokens.background
    return hashlib.sha256(repr(own).encode() + read.ids.tobytes() + read.ends.tobytes()).hexdigest()


def _label(options: Mapping) -> str:
    return f"{NAME}, {options['kind']}, {options['sample_len']} tokens"


FACTS = TaskDataset(
    NAME,
    make=make,
    options=FactsOptions,
    held_out=(500, 1000),
    label=_label,
    size=itemgetter("sample_len"),
    input_len="sample_len",
    chance=1 / len(ROOMS),
    has_lessons=True,
)
