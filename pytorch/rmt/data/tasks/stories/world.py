"""Who and what is where, and sentences that tell it, as tuples of words."""

from dataclasses import dataclass, field

import numpy as np

PEOPLE = ("anna", "boris", "chen", "dina")
ROOMS = ("attic", "cellar", "garden", "library", "porch", "workshop")
THINGS = ("coin", "kettle", "lamp", "map")
SIDES = {"north": "south", "east": "west", "south": "north", "west": "east"}

Words = tuple[str, ...]


def walks(person: str, room: str) -> str:
    return f"{person} walks into the {room} ."


def lies(room: str, side: str, other: str) -> str:
    return f"the {room} is {side} of the {other} ."


def where_is(person: str) -> str:
    return f"which room is {person} in ?"


def what_lies(side: str, room: str) -> str:
    return f"what is {side} of the {room} ?"


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
        self.tell(walks(person, room))

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
