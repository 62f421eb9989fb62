"""Score a trained run on any text, with the vocabulary that its folder holds."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
from torch import Tensor

from rmt.data.batches import on_device
from rmt.data.text.codec import Codec
from rmt.data.text.given import encode_text, opened, with_unknown
from rmt.data.text.reading import Reading
from rmt.data.vocabulary import Vocabulary
from rmt.evaluation.scoring import arithmetic, choose_protocol
from rmt.evaluation.stream import StreamState, segment_length
from rmt.evaluation.text import Protocol, evaluate
from rmt.evaluation.workloads import Scores, Scoring
from rmt.models.contract import SegmentModel, State
from rmt.options.evaluation import EvalConfig
from rmt.runs.checkpoint import Checkpoint
from rmt.runs.settings import Settings, text_options
from rmt.runs.trained import best_model, find_vocabulary
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError
from rmt.runtime.files import new_file

BLOCK = 1 << 20  # tokens of a text that are in memory at once
TOGETHER = "together"  # the name of the score of several texts


@dataclass(frozen=True)
class TextRun:
    """A trained model of text, in evaluation mode, and how it reads."""

    model: SegmentModel
    checkpoint: Checkpoint
    settings: Settings
    vocabulary: Vocabulary

    @property
    def reading(self) -> Reading:
        return self.settings.dataset.reading(text_options(self.settings.train))

    @property
    def codec(self) -> Codec:
        return Codec(self.reading, self.vocabulary)

    def read(self, file: str, before: Sequence[int] = ()) -> tuple[str, np.ndarray]:
        """The name and the ids [tokens] of any text; - is standard input.

        before: ids to put before them. Raises UsageError for a text that can't be read, and for a
        symbol that it doesn't know.
        """
        with opened(file) as source:
            return source.name, encode_text(source, self.reading, self.vocabulary, before)

    def with_unknown(self, is_allowed: bool) -> "TextRun":
        """The run with <unk> for words that it doesn't know, or without."""
        return replace(self, vocabulary=with_unknown(self.vocabulary, is_allowed))


def read_text_run(work_dir: Path, which: str = "best") -> TextRun:
    """A run on text from its folder. Raises UsageError where it is none, or can't be read."""
    settings, options = Settings.read(work_dir)
    if settings.task:
        raise UsageError(
            f"{work_dir} is a run on {settings.dataset.name}, which is no text: choose one that is "
            "on text"
        )
    model, found = best_model(work_dir, options, which)
    vocabulary = find_vocabulary(work_dir, settings, found, options.n_token)
    return TextRun(model, found, settings, vocabulary)


@dataclass(frozen=True)
class TextEvaluation:
    """A run's model with the texts that it is scored on, each from a new state on.

    texts: the name and the ids of each. state: where a single text goes on instead; its open tokens
    stand before the text's own.
    """

    run: TextRun
    texts: tuple[tuple[str, np.ndarray], ...]
    protocol: Protocol
    how: Scoring
    config: EvalConfig
    state: StreamState | None = None
    samples: ClassVar[Mapping[str, object]] = {}  # those of tasks have options

    @property
    def checkpoint(self) -> Checkpoint:
        return self.run.checkpoint

    def scores(self) -> Iterator[tuple[str, Scores, float]]:
        """Of every text, and of several together, with the seconds that each took."""
        every = []
        path = self.config.per_token
        with new_file(Path(path)) if path else nullcontext() as per_token:
            for name, ids in self.texts:
                started = time.perf_counter()
                scores = self._score(name, ids, per_token)
                every.append((name, scores, time.perf_counter() - started))
                yield every[-1]
        if len(every) > 1:
            yield TOGETHER, together([scores for _, scores, _ in every]), sum(s for *_, s in every)

    @property
    def n_open(self) -> int:
        """Tokens before the texts' own."""
        return self.state.open_tokens.shape[1] if self.state else 0

    def _score(self, name: str, ids: np.ndarray, per_token: BinaryIO | None) -> Scores:
        n_closed = (len(ids) - 1) // self.protocol.tgt_len  # a full segment at the end stays open
        write = self._writer(per_token, name, ids) if per_token else lambda *_: None
        before = first = self.state.before if self.state else None

        def keep(segment: int, nll_BT: Tensor, state: State) -> None:
            nonlocal before
            if segment == n_closed - 1:
                before = state
            write(segment, nll_BT)

        loss, n_tokens = evaluate(
            self.run.model,
            ids,
            fitting(self.protocol, len(ids)),
            how=self.how,
            what=name,
            keep=keep,
            state=first,
            n_read=max(self.n_open - 1, 0),
        )
        if self.config.state_out:
            open_tokens = on_device(ids[None, n_closed * self.protocol.tgt_len :], self.how.device)
            model = self.run.model.with_lengths(**self.protocol.lengths)
            after = StreamState(before, open_tokens, self.protocol.tgt_len)
            after.save(self.config.state_out, model)
        unknown = self.run.vocabulary.unknown
        scores = {"loss": loss, "tokens_scored": n_tokens}
        if unknown is None:
            return scores
        return {**scores, "unknown": count(ids[self.n_open :], self.run.vocabulary.ids[unknown])}

    def _writer(self, file: BinaryIO, name: str, ids: np.ndarray) -> Callable[[int, Tensor], None]:
        """Writes a line for every token of a segment."""
        symbols = self.run.vocabulary.symbols
        n_positions = len(ids) // self.protocol.batch_size

        def write(segment: int, nll_BT: Tensor) -> None:
            n_before = segment * self.protocol.tgt_len + 1 if segment else max(self.n_open, 1)
            for stream, nll_T in enumerate(nll_BT.double().tolist()):
                for i, nats in enumerate(nll_T, start=stream * n_positions + n_before):
                    row = {"token": symbols[ids[i]], "nats": nats, "position": i - self.n_open}
                    row |= {"segment": segment, "file": name}
                    # A file's name may hold bytes that are no UTF-8.
                    line = json.dumps(row, ensure_ascii=False).encode(errors="backslashreplace")
                    file.write(line + b"\n")

        return write

    def describe(self) -> dict:
        """How the scores are made."""
        return self.protocol.describe()

    def amount(self, scores: Scores) -> tuple[int, str]:
        """How much the scores were made on, and its unit."""
        return scores["tokens_scored"], "tokens"

    def readable(self, scores: Scores) -> str:
        said = self.run.reading.metric.readable(scores["loss"])
        return said + (f" | {scores['unknown']:,} unknown" if "unknown" in scores else "")

    def record(self, scores: Scores) -> dict:
        """The scores for --json."""
        metric = self.run.reading.metric
        return {**scores, metric.name: metric.of_loss(scores["loss"])}


def check_long_enough(name: str, ids: np.ndarray, protocol: Protocol) -> None:
    """Raise UsageError where a text has less than two tokens for each stream."""
    if len(ids) < 2 * protocol.batch_size:
        raise UsageError(
            f"{name} holds {len(ids)} tokens, too few for {protocol.batch_size} streams: leave out "
            "batch_size, so that it is one"
        )


def fitting(protocol: Protocol, n_tokens: int) -> Protocol:
    """The protocol with one short segment for a text that has no whole one."""
    return replace(protocol, tgt_len=min(protocol.tgt_len, n_tokens // protocol.batch_size - 1))


def count(ids: np.ndarray, wanted: int) -> int:
    """How often an id is among others."""
    starts = range(0, len(ids), BLOCK)
    return sum(int(np.count_nonzero(ids[i : i + BLOCK] == wanted)) for i in starts)


def together(every: list[Scores]) -> Scores:
    """The score of several texts: the mean over all of their tokens."""
    sums = {name: sum(scores[name] for scores in every) for name in every[0]}
    total = sum(scores["loss"] * scores["tokens_scored"] for scores in every)
    return {**sums, "loss": total / sums["tokens_scored"]}


def prepare_text(
    config: EvalConfig, work_dir: Path, lengths: Mapping[str, object]
) -> TextEvaluation:
    """Read a run. lengths: of the model, those that were given.

    One stream keeps a text whole, so that is what the protocol has where no batch_size is given.
    Raises UsageError for what can't be scored, or not in this way.
    """
    device = distributed.start(config.cuda)
    if distributed.world_size() > 1:
        raise UsageError(
            f"--text is scored by one process, and {distributed.world_size()} were started: call "
            "python -m rmt.eval without torchrun"
        )
    run = read_text_run(work_dir, config.checkpoint).with_unknown(config.unk)
    one_stream = replace(config, batch_size=config.batch_size or 1)
    protocol = choose_protocol(one_stream, run.settings, run.model.config, lengths)
    how = arithmetic(config, run.settings, device)
    run = replace(run, model=run.model.to(device))
    run.model.set_schedule(config.schedule or run.settings.train.schedule)
    model = run.model.with_lengths(**protocol.lengths)
    state = StreamState.load(config.state_in, model) if config.state_in else None
    if state:
        tgt_len = segment_length(model, state, config.tgt_len or None)
        protocol = replace(protocol, tgt_len=tgt_len)
        if state.n_streams > 1:
            raise UsageError(f"{config.state_in} is of {state.n_streams} streams, a text is one")
    # All of them before one is scored: there may be a word in the last that the run doesn't know.
    before = state.open_tokens[0].tolist() if state else []
    texts = tuple(run.read(file, before) for file in config.text)
    for name, ids in texts:
        check_long_enough(name, ids, protocol)
    return TextEvaluation(run, texts, protocol, how, config, state)
