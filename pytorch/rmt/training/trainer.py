"""The training loop: steps over segments, evaluations, checkpoints that continue exactly."""

import math
import time
from collections import deque
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from rmt.evaluation.workloads import Scores, Scoring, Workload
from rmt.models.contract import SegmentModel
from rmt.options.training import TrainConfig
from rmt.runs import checkpoint
from rmt.runs.run_folder import RunFolder
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError
from rmt.runtime.interruption import Interrupted, Interruption
from rmt.runtime.progress import Progress
from rmt.training.captured import step_for
from rmt.training.optimization import LearningRate, load_optimizer_state, optimizer_state
from rmt.training.outcome import Copied, Outcome


@dataclass
class Place:
    """Where training stands: what a later step depends on beside weights, as plain values.

    tokens: trained on, over all processes. seconds: spent training. valid_scores: the last ones on
    the validation split. interval_...: since the last log line.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    valid_scores: Scores | None = None
    best_scores: Scores | None = None
    best_step: int = 0
    evaluated_at: int = 0
    nonfinite_in_a_row: int = 0
    n_nonfinite: int = 0
    interval_loss: float = 0.0
    interval_scored: int = 0
    interval_read: int = 0
    interval_steps: int = 0
    interval_seconds: float = 0.0

    def start_interval(self) -> None:
        self.interval_loss, self.interval_scored, self.interval_read = 0.0, 0, 0
        self.interval_steps, self.interval_seconds = 0, 0.0


class NonFiniteLoss(UsageError):
    """The loss was not a number for too many steps in a row."""


class Trainer:
    """Trains a model that keeps the segment contract on one workload.

    Every process of a distributed run has one, over its own share of the batch's streams; files
    are written by the first process alone.
    """

    def __init__(
        self,
        model: SegmentModel,
        config: TrainConfig,
        workload: Workload,
        device: torch.device,
    ):
        self.model, self.config, self.workload, self.device = model, config, workload, device
        self.about = {
            "model": asdict(model.config),
            "train": config.recorded(),
            "corpus": workload.fingerprint,
        }
        self.step = step_for(model, config, workload.unrolling, device)
        self.learning_rate = LearningRate(config, self.step.optimizer)
        self.reader = workload.reader()
        self.place = Place()
        # Steps that are not in the interval's sums yet, and those that nothing was done about yet.
        self.uncounted: list[Outcome] = []
        self.unheard: deque[Outcome] = deque()
        self.saved_at = 0

    def run(self, folder: RunFolder, progress: Progress, interruption: Interruption) -> bool:
        """Train to the end; return False if interrupted. Either way all is saved.

        The end is max_step, or an evaluation that calls the workload solved or is the last of too
        many without a better score.
        """
        try:
            while True:
                if self._evaluation_is_due():
                    self.evaluate(folder, interruption)
                    self.save(folder)
                if self.place.step >= self.config.max_step or self._ends_early():
                    self._hear_all()
                    return True
                self.announce_stage(folder)
                self.train_step(progress)
                if self.place.step % self.config.log_interval == 0:
                    self.log(folder)
                if (
                    self.place.step % self.config.save_interval == 0
                    and not self._evaluation_is_due()
                ):
                    self.save(folder)
                interruption.check()
        except Interrupted:
            if self.saved_at != self.place.step:
                self.save(folder)
            return False

    def announce_stage(self, folder: RunFolder) -> None:
        """Say in the log where a stage of a curriculum of segments begins."""
        unrolls = dict(self.config.stages).get(self.place.step)
        if self.config.curriculum_segments and unrolls is not None:
            folder.log(
                f"| from step {self.place.step + 1} on gradient flows through {unrolls + 1} "
                f"segment{'s' if unrolls else ''}"
            )

    # One step

    def train_step(self, progress: Progress) -> None:
        """One optimizer step on what the reader gives next."""
        started, place = time.perf_counter(), self.place
        if self.config.curriculum_segments:
            self.step.set_unrolls(self.config.unrolls_at(place.step))
        update = self.reader.next(self.step.segments_per_step)
        lr = self.learning_rate.set_for(place.step)
        found = self.step(update)
        place.step += 1
        n_scored = round(update.n_scored * distributed.world_size())
        outcome = Outcome(place.step, n_scored, update.lesson, Copied(found))
        self.uncounted.append(outcome)
        self.unheard.append(outcome)
        while len(self.unheard) > self.step.late:  # once, but after a restart on another device
            outcome = self.unheard.popleft()
            self._hear(outcome)
        n_read = round(update.n_read * distributed.world_size())
        place.tokens += n_read
        place.interval_read += n_read
        place.interval_steps += 1
        self._add_time(started)
        speed = place.tokens / place.seconds
        progress.update(note=f"loss {outcome.loss:.3f} | {speed:,.0f} tokens/s | lr {lr:.2e}")

    def _add_time(self, started: float) -> None:
        seconds = time.perf_counter() - started
        self.place.seconds += seconds
        self.place.interval_seconds += seconds

    def _hear(self, outcome: Outcome) -> None:
        """Act on what came of a step, which is always the same number of steps ago."""
        self.reader.tell_loss(outcome.loss, outcome.lesson)
        if outcome.left_out:
            self._after_left_out(outcome)
        else:
            self.place.nonfinite_in_a_row = 0

    def _hear_all(self) -> None:
        """Act on what came of the last steps, for there are no more."""
        while self.unheard:
            self._hear(self.unheard.popleft())

    def _after_left_out(self, outcome: Outcome) -> None:
        """Start new streams, and raise NonFiniteLoss after too many such steps in a row."""
        place = self.place
        self.step.restart_streams()
        place.n_nonfinite += 1
        place.nonfinite_in_a_row += 1
        if place.nonfinite_in_a_row >= self.config.max_nonfinite:
            raise NonFiniteLoss(
                f"the loss was not finite for {place.nonfinite_in_a_row} steps in a row, up to "
                f"step {outcome.step}: lower --lr or --clip, or continue with --restart from "
                "the last checkpoint"
            )

    def _count(self) -> None:
        """Add the last steps' losses to their interval's, which waits for the steps to be done."""
        started = time.perf_counter()
        for outcome in self.uncounted:
            if not outcome.left_out:
                self.place.interval_loss += outcome.loss * outcome.n_scored
                self.place.interval_scored += outcome.n_scored
        self.uncounted.clear()
        if self.step.late:
            self._add_time(started)

    # Looking at it

    def log(self, folder: RunFolder) -> None:
        """One line about the steps since the last one, without the time of evaluations."""
        self._count()
        place = self.place
        total = distributed.mean_over_ranks(place.interval_loss)
        loss = total / place.interval_scored if place.interval_scored else math.nan
        lr = self.learning_rate.value
        ms_per_batch = 1000 * place.interval_seconds / place.interval_steps
        folder.log(
            f"| epoch {self.reader.epoch:3d} step {place.step:>8d} | {self.reader.position:>6d} "
            f"batches | lr {lr:.3g} | ms/batch {ms_per_batch:5.2f} | "
            f"{self.workload.readable({'loss': loss})}"
        )
        folder.record(
            "train",
            place.step,
            **self.reader.place,
            loss=loss,
            lr=lr,
            tokens=place.tokens,
            seconds=round(place.seconds, 3),
            tokens_per_s=round(place.interval_read / place.interval_seconds, 1),
            n_nonfinite=place.n_nonfinite,
        )
        place.start_interval()

    def _evaluation_is_due(self) -> bool:
        step = self.place.step
        due = step % self.config.eval_interval == 0 or step >= self.config.max_step
        return due and step > self.place.evaluated_at

    def _ends_early(self) -> bool:
        place, n_evaluations = self.place, self.config.stop_after
        if place.best_scores is None:
            return False
        # Of a curriculum's stages, or lessons, the last one alone may end early.
        last_began = max(self.config.stages[-1][0], self.reader.place.get("n_updates", 0))
        since_best = place.evaluated_at - max(place.best_step, last_began)
        is_no_better = 0 < n_evaluations * self.config.eval_interval <= since_best
        return is_no_better or self.workload.solved(place.valid_scores)

    def evaluate(self, folder: RunFolder, interruption: Interruption) -> None:
        """Score the validation split and tell the schedule; remember the best."""
        started, place, error = time.perf_counter(), self.place, self.workload.error
        scores = self.score("valid", interruption, self.config.max_eval_steps)
        place.evaluated_at, place.valid_scores = place.step, dict(scores)
        best = math.nan if place.best_scores is None else error(place.best_scores)
        if math.isnan(best) or error(scores) < best:
            place.best_scores, place.best_step = dict(scores), place.step
        # Not where only the end of training asks for it: more steps may follow.
        if place.step % self.config.eval_interval == 0:
            self.learning_rate.tell_validation(place.step, scores["loss"])
        folder.log("-" * 100)
        folder.log(
            f"| Eval {place.step // self.config.eval_interval:3d} at step {place.step:>8d} | time: "
            f"{time.perf_counter() - started:5.2f}s | valid {self.workload.readable(scores)}"
        )
        folder.log("-" * 100)
        folder.record(
            "valid", place.step, **scores, tokens=place.tokens, seconds=round(place.seconds, 3)
        )

    def score(self, split: str, interruption: Interruption, max_steps: int = -1) -> Scores:
        """The scores on a split, or on its first max_steps batches."""
        how = Scoring(self.device, self.config.precision, interruption.check)
        with self.step.uncompiled():
            return self.workload.score(self.model, split, how, max_steps)

    # Checkpoints

    def save(self, folder: RunFolder) -> None:
        """Write a checkpoint from which the next step would be the same, bit for bit."""
        self.saved_at = self.place.step
        random = {"cpu": distributed.gather_streams(torch.get_rng_state()[None])}
        if self.device.type == "cuda":
            random["cuda"] = distributed.gather_streams(torch.cuda.get_rng_state()[None])
        # One process's numbers are kept for all: means, from which the next log line is the same.
        self._count()
        self.place.interval_loss = distributed.mean_over_ranks(self.place.interval_loss)
        unheard = [self._in_checkpoint(outcome) for outcome in self.unheard]
        streams = self.step.gathered()
        distributed.by_main(lambda: self._write(folder, unheard, streams, random))

    def _write(
        self, folder: RunFolder, unheard: list[dict], streams: dict | list, random: dict
    ) -> None:
        """The checkpoint, with what all processes have of it."""
        if not folder.path:
            return
        training = {
            "place": asdict(self.place),
            "reader": self.reader.place,
            "unheard": unheard,
            "optimizer": optimizer_state(self.step.optimizer),
            "learning_rate": self.learning_rate.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "streams": streams,
            "random": random,
        }
        checkpoint.save(
            folder.path,
            self.place.step,
            self.model.state_dict(),
            training,
            self.about,
            best=self.place.best_step == self.place.step,
        )

    def _in_checkpoint(self, outcome: Outcome) -> dict:
        loss = distributed.mean_over_ranks(outcome.loss)
        return {**vars(outcome), "found": (loss, outcome.left_out)}

    def restore(self, found: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint of a run with the same settings."""
        found.load_model(self.model)
        training = found.load_training()
        self.place = Place(**training["place"])
        self.saved_at = self.place.step
        self.reader.seek(**training["reader"])
        # Of checkpoints from before there was any such thing: nothing was late.
        self.unheard = deque(Outcome(**told) for told in training.get("unheard", ()))
        load_optimizer_state(self.step.optimizer, training["optimizer"])
        self.learning_rate.load_state_dict(training["learning_rate"])
        if training["scaler"]:  # empty where the precision was not fp16
            self.step.scaler.load_state_dict(training["scaler"])
        own = distributed.own_streams(self.config.batch_size)
        self.step.restore_own(training["streams"], own)
        self._restore_random(training["random"])

    def forget_best(self) -> None:
        """The best checkpoint is lost: the best now is this one, if it was evaluated, or none."""
        place = self.place
        is_scored = place.evaluated_at == place.step
        place.best_scores = place.valid_scores if is_scored else None
        place.best_step = place.step if is_scored else 0

    def _restore_random(self, random: dict[str, Tensor]) -> None:
        # With another number of processes or kind of device nothing can be repeated exactly; the
        # run then goes on with the random numbers of its seed.
        if len(random["cpu"]) == distributed.world_size():
            # Cloned, for set_rng_state crashes on a view that doesn't begin its storage.
            torch.set_rng_state(random["cpu"][distributed.rank()].clone())
            if self.device.type == "cuda" and "cuda" in random:
                torch.cuda.set_rng_state(random["cuda"][distributed.rank()].clone())
