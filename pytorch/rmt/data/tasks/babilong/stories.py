"""Stories in our own words, of five of the kinds that bAbI has (Weston et al. 2015).

    one        where a person is: one fact says it
    two        where a thing is: who took it, and where that person is
    three      where a thing was before it came to where it is
    relations  which room is east of another
    yes_no     whether a person is in a room

What happens is simulated, and the answer is what the simulation knows. The published files have
other words (babi.py); facts, questions and answers are tuples of words here as there.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

PEOPLE = ("anna", "boris", "chen", "dina")
ROOMS = ("attic", "cellar", "garden", "library", "porch", "workshop")
THINGS = ("coin", "kettle", "lamp", "map")
SIDES = {"north": "south", "east": "west", "south": "north", "west": "east"}
YES, NO = "yes", "no"

Words = tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """Facts in their order, a question on them, and its answer, one word."""

    facts: tuple[Words, ...]
    question: Words
    answer: str


@dataclass
class World:
    """Who and what is where, and what was told of it."""

    random: np.random.Generator
    facts: list[Words] = field(default_factory=list)
    room_of: dict[str, str] = field(default_factory=dict)  # of people
    holder_of: dict[str, str] = field(default_factory=dict)  # of things that are held
    been_in: dict[str, list[str]] = field(default_factory=dict)  # rooms of a thing, in order

    def any_of(self, several):
        return several[self.random.integers(len(several))]

    def tell(self, sentence: str) -> None:
        self.facts.append(tuple(sentence.split()))

    def move(self) -> None:
        """Somebody goes into another room, with all that they hold."""
        person = self.any_of(PEOPLE)
        room = self.any_of([room for room in ROOMS if room != self.room_of.get(person)])
        self.room_of[person] = room
        for thing, holder in self.holder_of.items():
            if holder == person:
                self.been_in[thing].append(room)
        self.tell(f"{person} walks into the {room} .")

    def take(self) -> None:
        """Somebody takes what is in their room, or a thing that nobody has spoken of."""
        able = [
            (person, thing)
            for person, room in self.room_of.items()
            for thing in THINGS
            if thing not in self.holder_of and self.been_in.get(thing, [room])[-1] == room
        ]
        if able:
            person, thing = self.any_of(able)
            self.holder_of[thing] = person
            self.been_in.setdefault(thing, [self.room_of[person]])
            self.tell(f"{person} picks up the {thing} .")

    def leave(self) -> None:
        if self.holder_of:
            thing = self.any_of(list(self.holder_of))
            self.tell(f"{self.holder_of.pop(thing)} puts down the {thing} .")

    def story(self, question: str, answer: str) -> Story:
        return Story(tuple(self.facts), tuple(question.split()), answer)


def one(random: np.random.Generator) -> Story:
    world = _moved(random)
    person = world.any_of(list(world.room_of))
    return world.story(f"which room is {person} in ?", world.room_of[person])


def yes_no(random: np.random.Generator) -> Story:
    world = _moved(random)
    person = world.any_of(list(world.room_of))
    is_there = random.random() < 0.5
    others = [room for room in ROOMS if room != world.room_of[person]]
    room = world.room_of[person] if is_there else world.any_of(others)
    return world.story(f"is {person} in the {room} ?", YES if is_there else NO)


def two(random: np.random.Generator) -> Story:
    world = _busy(random, 4, 8, lambda world: bool(world.been_in))
    thing = world.any_of(list(world.been_in))
    return world.story(f"which room is the {thing} in ?", world.been_in[thing][-1])


def three(random: np.random.Generator) -> Story:
    def moves(world: World) -> list[tuple[str, str, str]]:
        """Things, a room where they came once, and the one before it."""
        return [
            (thing, rooms[i], rooms[i - 1])
            for thing, rooms in world.been_in.items()
            for i in range(1, len(rooms))
            if rooms.count(rooms[i]) == 1
        ]

    world = _busy(random, 5, 10, moves)
    thing, room, before = world.any_of(moves(world))
    return world.story(f"which room was the {thing} in before the {room} ?", before)


def relations(random: np.random.Generator) -> Story:
    """Every room has one neighbour at most on each side, and is asked for by it."""
    world = World(random)
    rooms = random.permutation(ROOMS).tolist()
    known = []
    for first, second in itertools.pairwise(rooms[:4]):
        side = world.any_of(list(SIDES))
        known.append((first, side, second))
        world.tell(f"the {first} is {side} of the {second} .")
    known = [fact for fact in known if _tells(fact, known)]
    if not known:
        return relations(random)
    first, side, second = world.any_of(known)
    if random.random() < 0.5:
        return world.story(f"what is {side} of the {second} ?", first)
    return world.story(f"what is {SIDES[side]} of the {first} ?", second)


def _tells(fact: tuple[str, str, str], known: list[tuple[str, str, str]]) -> bool:
    """Whether nothing else is on the same side of either room."""
    first, side, second = fact
    sides = [(b, s) for _, s, b in known] + [(a, SIDES[s]) for a, s, _ in known]
    return sides.count((second, side)) == 1 and sides.count((first, SIDES[side])) == 1


def _moved(random: np.random.Generator) -> World:
    world = World(random)
    for _ in range(random.integers(2, 6, endpoint=True)):
        world.move()
    return world


def _busy(random: np.random.Generator, low: int, high: int, enough: Callable) -> World:
    """low to high facts after which `enough` finds something to ask for."""
    while True:
        world = World(random)
        n_facts = random.integers(low, high, endpoint=True)
        while len(world.facts) < n_facts:
            world.any_of([world.move, world.take, world.take, world.leave])()
        if enough(world):
            return world


KINDS: dict[str, Callable[[np.random.Generator], Story]] = {
    "one": one,
    "two": two,
    "three": three,
    "relations": relations,
    "yes_no": yes_no,
}
# Every word that a story can have.
WORDS = tuple(
    sorted(
        {*PEOPLE, *ROOMS, *THINGS, *SIDES, YES, NO}
        | {*"walks into the . picks up puts down is of which room in ? what was before".split()}
    )
)
