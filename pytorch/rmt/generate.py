"""Let a trained run continue a text: python -m rmt.generate --work_dir RUN --prompt "The cat"

What it says is printed as it comes, without the prompt; both together are the text. A run on a
task takes a sample's symbols for a prompt, such as "3510>". --state_out keeps what was read and
said in a small file, from which --state_in goes on another day, with a prompt or without.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

from rmt.data.text.codec import Codec, given_text
from rmt.data.text.given import advising_unknown, opened, with_unknown
from rmt.data.text.sources import Part
from rmt.evaluation.sampling import sample
from rmt.evaluation.stream import StreamState, read
from rmt.models import registry as models
from rmt.models.contract import SegmentModel
from rmt.options.command_line import Parser, pick
from rmt.options.generation import GenerateConfig, Sampling
from rmt.runs.trained import load
from rmt.runtime.errors import UsageError, run_program
from rmt.runtime.files import check_can_write
from rmt.runtime.progress import Progress

# Parameters. The products of one token through a smaller model take less time than threads need to
# find each other, and minutes where another program has one of the cores.
SMALL = 10_000_000


def main(argv: list[str]) -> None:
    options = parse(argv)
    config = GenerateConfig(**pick(GenerateConfig, options))
    how = Sampling(**pick(Sampling, options))
    if config.state_out:
        check_can_write(Path(config.state_out))  # before all that is to be kept is done
    model = load(
        config.work_dir,
        device="cuda" if config.cuda else "cpu",
        which=config.checkpoint,
        needs_text=True,
        **lengths_among(options),
    )
    if model.n_parameters() < SMALL:
        torch.set_num_threads(1)
    tgt_len = config.tgt_len or None
    state = read_prompt(model, config, tgt_len)
    said: list[int] = []
    for i in range(config.samples if config.tokens else 0):
        own = replace(how, seed=how.seed + i)
        if config.samples > 1:
            print(f"| sample {i + 1} of {config.samples}, seed {own.seed}")
        tokens = sample(model, [], config.tokens, state=state, tgt_len=tgt_len, **vars(own))
        say(model.codec, state, kept(tokens, said) if config.state_out else tokens)
    if config.state_out:
        read(model, np.array(said, np.int64), state).save(config.state_out, model)


def parse(argv: list[str]) -> dict:
    """The options that were given."""
    parser = Parser(prog="python -m rmt.generate", description=__doc__)
    parser.add_options(GenerateConfig)
    parser.add_options(Sampling)
    for entry in models.entries().values():
        only = entry.options.LENGTHS
        parser.add_options(entry.options, only=only, with_defaults=False)
    return parser.parse(argv)


def lengths_among(options: dict) -> dict:
    """Those options that are lengths of a model."""
    others = {spec.name for owner in (GenerateConfig, Sampling) for spec in fields(owner)}
    return {name: value for name, value in options.items() if name not in others}


def read_prompt(model: SegmentModel, config: GenerateConfig, tgt_len: int | None) -> StreamState:
    """What is kept after --state_in and the prompt. Raises UsageError where there is neither."""
    state = StreamState.load(config.state_in, model) if config.state_in else None
    vocabulary = with_unknown(model.codec.vocabulary, config.unk)
    codec = replace(model.codec, vocabulary=vocabulary)
    if config.prompt_file:
        with opened(config.prompt_file) as source:
            part = codec.reading.whole(source)
            with Progress(len(part), "reading", unit="B", unit_scale=True) as bar:
                part = replace(part, on_read=bar.update)
                return read_text(model, codec, part, state, tgt_len)
    if config.prompt:
        part = codec.reading.whole(given_text(config.prompt))
        return read_text(model, codec, part, state, tgt_len)
    if state is None:
        raise UsageError("there is nothing to continue: give --prompt, --prompt_file or --state_in")
    return state


def read_text(
    model: SegmentModel,
    codec: Codec,
    part: Part,
    state: StreamState | None,
    tgt_len: int | None,
) -> StreamState:
    """Read on in a text. Raises UsageError where nothing is in it, or what the model has not."""
    n_tokens = 0
    for ids in advising_unknown(codec.blocks(part), codec.vocabulary):
        n_tokens += len(ids)
        if len(ids):
            state = read(model, ids, state, tgt_len=tgt_len)
    if not n_tokens:
        raise UsageError(f"{part.source.name} holds no token to continue")
    return state


def say(codec: Codec, state: StreamState, tokens: Iterator[int]) -> None:
    """Print the text of tokens as they come, and a newline."""
    for piece in codec.pieces(tokens, after=int(state.open_tokens[0, -1])):
        print(piece, end="", flush=True)
    print()


def kept(tokens: Iterator[int], said: list[int]) -> Iterator[int]:
    """The tokens, each of which is put down when it comes."""
    for token in tokens:
        said.append(token)
        yield token


if __name__ == "__main__":
    run_program(main)
