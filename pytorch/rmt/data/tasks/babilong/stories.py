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

import numpy as np

from rmt.data.tasks.stories.world import (
    PEOPLE,
    ROOMS,
    SIDES,
    THINGS,
    Story,
    World,
    lies,
    what_lies,
    where_is,
)

YES, NO = "yes", "no"


def one(random: np.random.Generator) -> Story:
    world = _moved(random)
    person = world.any_of(list(world.room_of))
    return world.story(where_is(person), world.room_of[person])


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
        world.tell(lies(first, side, second))
    known = [fact for fact in known if _tells(fact, known)]
    if not known:
        return relations(random)
    first, side, second = world.any_of(known)
    if random.random() < 0.5:
        return world.story(what_lies(side, second), first)
    return world.story(what_lies(SIDES[side], first), second)


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
