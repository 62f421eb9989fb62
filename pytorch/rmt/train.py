"""Train a model segment by segment, on text or on an algorithmic task: python -m rmt.train --help.

--model and --dataset say which options there are beside those of training itself.
"""

from rmt.options.command_line import Parser
from rmt.runs.settings import Settings, add_settings
from rmt.runtime.errors import UsageError, run_program, saying_how_to_save_memory
from rmt.training.run import train

TO_SAVE_MEMORY = (
    "take the batch in parts (--batch_chunk), recompute segments (--checkpoint_segments) or choose "
    "a smaller --batch_size"
)


def main(argv: list[str]) -> int:
    settings = Settings.of(parse(argv))
    with saying_how_to_save_memory(TO_SAVE_MEMORY):
        return train(settings)


def parse(argv: list[str]) -> dict:
    """The options that were given."""
    parser = Parser(prog="python -m rmt.train", description=__doc__)
    add_settings(parser, argv)
    parser.add_argument("--fp16", action="store_true", help="the same as --precision fp16")
    options = parser.parse(argv)
    if options.pop("fp16") and options.setdefault("precision", "fp16") != "fp16":
        raise UsageError(f"--fp16 contradicts --precision {options['precision']}: leave one out")
    return options


if __name__ == "__main__":
    run_program(main)
