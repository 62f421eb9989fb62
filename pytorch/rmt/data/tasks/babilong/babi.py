"""Stories from the files of bAbI (Weston et al. 2015), which you have to have: none is here.

A line is a number and a fact, or a number, a question, the answer and the numbers of the facts that
tell it, with tabs between. The number 1 begins a new story:

    1 Mary moved to the bathroom.
    2 John went to the hallway.
    3 Where is Mary?        bathroom        1
"""

from collections.abc import Iterator
from pathlib import Path

from rmt.data.tasks.stories.background import words
from rmt.data.tasks.stories.world import Story, Words
from rmt.runtime.errors import UsageError

# Which of the published tasks is of which kind.
NUMBERS = {"one": 1, "two": 2, "three": 3, "relations": 4, "yes_no": 6}


def read_kind(folder: Path, kind: str, split: str) -> list[Story]:
    """The stories of one kind; split is train or test. Raises UsageError without such a file."""
    found = sorted(folder.glob(f"qa{NUMBERS[kind]}_*_{split}.txt"))
    if not found:
        raise UsageError(
            f"{folder} holds no qa{NUMBERS[kind]}_*_{split}.txt: name the folder of bAbI's files, "
            "such as tasks_1-20_v1-2/en-10k"
        )
    return list(read_file(found[0]))


def read_file(path: Path) -> Iterator[Story]:
    """A story for every question, with all facts before it.

    Raises UsageError, which names the line, for what is no such file.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read ({error})") from None
    facts: list[Words] = []
    for i, line in enumerate(lines, start=1):
        number, _, rest = line.strip().partition(" ")
        if not number.isdecimal() or not rest:
            raise UsageError(f"{path}, line {i}: it does not begin with a number and a sentence")
        if int(number) == 1:
            facts = []
        question, *answer = rest.split("\t")
        if not answer:
            facts.append(words(rest))
        elif not facts:
            raise UsageError(f"{path}, line {i}: a question without facts before it")
        elif len(words(answer[0])) != 1:
            raise UsageError(f"{path}, line {i}: the answer {answer[0]!r} is not one word")
        else:
            yield Story(tuple(facts), words(question), *words(answer[0]))
