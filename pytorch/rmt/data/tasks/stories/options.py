"""Options of samples that are facts in a long text."""

from dataclasses import dataclass
from typing import ClassVar

from rmt.data.tasks.task import SampleOptions
from rmt.options.option import check_at_least, option


@dataclass(frozen=True)
class StoryOptions(SampleOptions):
    """How long the text is, and what it is."""

    sample_len: int = option(256, "tokens of a sample, all facts and the question in it")
    background: str = option("", "text file between the facts; empty: Python's reference")
    background_words: int = option(500, "most frequent words of the background that are known")

    PATHS: ClassVar[tuple[str, ...]] = ("background",)

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, 1, "sample_len")
        check_at_least(self, 0, "background_words")
