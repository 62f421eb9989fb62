"""Options of evaluation."""

import os
from dataclasses import dataclass

from rmt.options.option import (
    check_at_least,
    check_choices,
    check_limit,
    default_of,
    option,
)
from rmt.options.schedule import SCHEDULES
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class EvalConfig:
    """Which run to score and how. Lengths are in tokens."""

    work_dir: str = option("", "run folder; empty: the newest in runs/ that fits the options given")
    dataset: str = option("", "choose among runs: dataset")
    model: str = option("", "choose among runs: model")
    bptt_unrolls: int = option(-2, "choose among runs: bptt_unrolls; -2: any")
    segments: int = option(0, "choose among runs: segments of a task's samples; 0: any")
    seed: int = option(-1, "choose among runs: seed; -1: any")
    checkpoint: str = option("best", "which checkpoint of the run", ("best", "last"))
    split: str = option("all", "what to score", ("all", "valid", "test"))
    protocol: str = option(
        "train",
        "train: lengths as in the run's own evaluation; txl: those of Transformer-XL's published "
        "evaluation of the dataset (models with a cache)",
        ("train", "txl"),
    )
    tgt_len: int = option(0, "segment length; 0: the protocol's")
    batch_size: int = option(
        0, "parallel streams, or samples; 0: the protocol's, and with --text 1"
    )
    max_eval_steps: int = option(-1, "segments, or batches of samples, to score; -1: all")
    data: tuple[str, ...] = option(
        (), "files or folders of the text, as in training; left out: the run's own"
    )
    valid_data: tuple[str, ...] = option((), "with data: as in training")
    test_data: tuple[str, ...] = option((), "with data: as in training")
    text: tuple[str, ...] = option(
        (),
        "any texts to score instead, each as one stream, with the vocabulary of the run; - is "
        "standard input",
    )
    unk: bool = option(False, "with --text: take <unk> for words that the vocabulary lacks")
    per_token: str = option(
        "", "with --text: file for a line of JSON per token: token, nats, position, segment, file"
    )
    state_in: str = option("", "with one --text: file of --state_out, to read on from there")
    state_out: str = option("", "with one --text: file to keep what was read in, for --state_in")
    json: str = option("", "file for the scores as JSON")
    encoded_dir: str = option("", "where encoded text is kept; empty: the run's own")
    precision: str = option(
        "", "arithmetic of matrix products; empty: the run's own", ("", "fp32", "bf16", "fp16")
    )
    schedule: str = option(
        "",
        "in which order segments are computed, as in rmt.train; empty: the run's own",
        ("", *SCHEDULES),
    )
    cuda: bool = option(False, "run on the GPU")

    def __post_init__(self):
        check_choices(self)
        check_at_least(self, 0, "tgt_len", "batch_size", "segments")
        check_at_least(self, -1, "seed")
        check_at_least(self, -2, "bptt_unrolls")
        check_limit(self, "max_eval_steps")
        if (self.valid_data or self.test_data) and not (self.data or self.text):
            raise UsageError("valid_data and test_data go with data: give that, too")
        self._check_text()

    @property
    def written(self) -> tuple[str, ...]:
        """The files that are asked for."""
        return tuple(name for name in (self.json, self.per_token, self.state_out) if name)

    def _check_text(self) -> None:
        of_text = ("unk", "per_token", "state_in", "state_out")
        of_data = ("split", "data", "valid_data", "test_data")
        for name in of_data if self.text else of_text:
            if getattr(self, name) != default_of(EvalConfig, name):
                where = "what the run was trained on" if self.text else "--text"
                raise UsageError(f"{name} is for {where}: leave it out")
        written, read = (list(map(os.path.realpath, of)) for of in (self.written, self.text))
        for name, place in zip(self.written, written, strict=True):
            if written.count(place) > 1:
                raise UsageError(f"{name} can't hold several of json, per_token and state_out")
            if place in read:
                raise UsageError(f"{name} is a text to score: write to another file")
        if self.state_in or self.state_out:
            if len(self.text) > 1 or self.batch_size > 1:
                raise UsageError("a state is of one text: name one, and leave out batch_size")
            if self.state_out and self.max_eval_steps > 0:
                raise UsageError("state_out is of the whole text: leave out max_eval_steps")
