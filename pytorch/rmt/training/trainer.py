"""The training loop: steps over segments, evaluations, checkpoints that continue exactly."""

import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rmt.data.batches import Update
from rmt.evaluation.workloads import Scores, Scoring, Workload
from rmt.models.contract import SegmentModel
from rmt.options.training import TrainConfig
from rmt.runs import checkpoint
from rmt.runs.run_folder import RunFolder
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError
from rmt.runtime.interruption import Interrupted, Interruption
from rmt.runtime.precision import autocast
from rmt.runtime.progress import Progress
from rmt.training.optimization import LearningRate, build_optimizer
from rmt.training.recurrence import Stream, Unrolled


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
        self.unrolled: nn.Module = Unrolled(model, config.checkpoint_segments)
        if distributed.world_size() > 1:
            # An initial memory gets gradient only while a stream's start is within the unroll.
            self.unrolled = distributed.replica(
                self.unrolled, find_unused_parameters=model.carries.gradient
            )
        self.optimizer = build_optimizer(model, config)
        self.learning_rate = LearningRate(config, self.optimizer)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.reader = workload.reader(device)
        self.chunks = [Stream(*workload.schedule) for _ in range(config.batch_chunk)]
        self.place = Place()
        self.saved_at = 0

    def run(self, folder: RunFolder, progress: Progress, interruption: Interruption) -> bool:
        """Train to the end; return False if interrupted. Either way all is saved.

        The end is max_step, or an evaluation that calls the workload solved.
        """
        try:
            while True:
                if self._evaluation_is_due():
                    self.evaluate(folder, interruption)
                    self.save(folder)
                if self.place.step >= self.config.max_step or self._is_solved():
                    return True
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

    # One step

    def train_step(self, progress: Progress) -> None:
        """One optimizer step on what the reader gives next."""
        started, place = time.perf_counter(), self.place
        update = self.reader.next(self.chunks[0].segments_per_step)
        if update.starts_streams:
            self._restart_streams()
        lr = self.learning_rate.set_for(place.step)
        total = self._accumulate_gradients(update)
        n_scored = update.n_scored * distributed.world_size()
        loss, good = self.update_weights(total)
        if good:
            place.interval_loss += loss * n_scored
            place.interval_scored += n_scored
        self.reader.tell_loss(loss)
        place.step += 1
        n_read = sum(tokens.numel() for tokens, _ in update.segments) * distributed.world_size()
        place.tokens += n_read
        place.interval_read += n_read
        seconds = time.perf_counter() - started
        place.seconds += seconds
        place.interval_seconds += seconds
        place.interval_steps += 1
        speed = place.tokens / place.seconds
        progress.update(note=f"loss {loss:.3f} | {speed:,.0f} tokens/s | lr {lr:.2e}")

    def _accumulate_gradients(self, update: Update) -> Tensor:
        """Backpropagate the mean loss of this process's streams, chunk by chunk; return it."""
        self.unrolled.train()
        self.model.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        n_segments, per_step = len(update.segments), self.chunks[0].segments_per_step
        for i, stream in enumerate(self.chunks):
            segments = [self._chunk(segment, i) for segment in update.segments]
            for start in range(0, n_segments, per_step):
                is_last = i == len(self.chunks) - 1 and start + per_step >= n_segments
                with self._gradients_stay_here(not is_last), self.model.accumulating_gradients():
                    with autocast(self.device, self.config.precision):
                        losses = stream.step(self.unrolled, segments[start : start + per_step])
                    if losses is not None:
                        loss = losses.sum() / update.n_scored
                        self.scaler.scale(loss).backward()
                        total += loss.detach()
        return total

    def _chunk(self, segment: tuple[Tensor, Tensor | None], i: int) -> tuple:
        """The i-th chunk's streams of a segment."""
        return tuple(ids if ids is None else ids.chunk(len(self.chunks))[i] for ids in segment)

    def _gradients_stay_here(self, here: bool):
        """Between chunks the processes need not exchange gradients."""
        if here and isinstance(self.unrolled, DistributedDataParallel):
            return self.unrolled.no_sync()
        return nullcontext()

    def update_weights(self, loss: Tensor) -> tuple[float, bool]:
        """Clip and step; return the loss, and whether the weights were changed.

        If the loss or the gradient is not finite, they are left alone. A loss that is not finite
        also means that the state may not be, so new streams start.
        """
        self.scaler.unscale_(self.optimizer)
        loss, norm = self._clip(loss)
        # The fp16 scaler tries scales that overflow; it leaves out such steps by itself. Below a
        # scale of 1 it is not the scale's fault.
        can_rescale = self.scaler.is_enabled() and self.scaler.get_scale() >= 1
        norm_is_good = math.isfinite(norm) or can_rescale
        if distributed.any_rank(not (math.isfinite(loss) and norm_is_good)):
            self.scaler.update()
            self._leave_out_step()
            return loss, False
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.place.nonfinite_in_a_row = 0
        return loss, True

    def _leave_out_step(self) -> None:
        """Start new streams, and raise NonFiniteLoss after too many such steps in a row."""
        place = self.place
        self._restart_streams()
        place.n_nonfinite += 1
        place.nonfinite_in_a_row += 1
        if place.nonfinite_in_a_row >= self.config.max_nonfinite:
            raise NonFiniteLoss(
                f"the loss was not finite for {place.nonfinite_in_a_row} steps in a row, up to "
                f"step {place.step + 1}: lower --lr or --clip, or continue with --restart from "
                "the last checkpoint"
            )

    def _clip(self, loss: Tensor) -> tuple[float, float]:
        """Limit the gradient's norm; return the loss and what the norm was, as numbers.

        Here the host waits for a GPU, so that it knows whether a step counts before it is taken.
        Elsewhere in a step only the adaptive softmax and the scale of fp16 make it wait.
        """
        parameters = [weight for weight in self.model.parameters() if weight.grad is not None]
        total = nn.utils.get_total_norm([weight.grad for weight in parameters])
        loss, norm = torch.stack([loss, total]).tolist()
        if not norm <= self.config.clip:  # else every gradient would be multiplied by one
            nn.utils.clip_grads_with_norm_(parameters, self.config.clip, total)
        return loss, norm

    def _restart_streams(self) -> None:
        for stream in self.chunks:
            stream.reset()

    # Looking at it

    def log(self, folder: RunFolder) -> None:
        """One line about the steps since the last one, without the time of evaluations."""
        place = self.place
        total = distributed.mean_over_ranks(place.interval_loss)
        loss = total / place.interval_scored if place.interval_scored else math.nan
        lr = self.optimizer.param_groups[0]["lr"]
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

    def _is_solved(self) -> bool:
        scores = self.place.valid_scores
        return scores is not None and self.workload.solved(scores)

    def evaluate(self, folder: RunFolder, interruption: Interruption) -> None:
        """Score the validation split and tell the schedule; remember the best."""
        started, place, error = time.perf_counter(), self.place, self.workload.error
        scores = self.score("valid", interruption, self.config.max_eval_steps)
        place.evaluated_at, place.valid_scores = place.step, dict(scores)
        best = math.nan if place.best_scores is None else error(place.best_scores)
        if math.isnan(best) or error(scores) < best:
            place.best_scores, place.best_step = dict(scores), place.step
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
        return self.workload.score(self.model, split, how, max_steps)

    # Checkpoints

    def save(self, folder: RunFolder) -> None:
        """Write a checkpoint from which the next step would be the same, bit for bit."""
        self.saved_at = self.place.step
        random = {"cpu": distributed.gather_streams(torch.get_rng_state()[None])}
        if self.device.type == "cuda":
            random["cuda"] = distributed.gather_streams(torch.cuda.get_rng_state()[None])
        # One process's sum is kept for all: the mean, from which the next log line is the same.
        self.place.interval_loss = distributed.mean_over_ranks(self.place.interval_loss)
        streams = {
            name: distributed.gather_streams(tensor) for name, tensor in self._streams().items()
        }
        if folder.path and distributed.is_main():
            training = {
                "place": asdict(self.place),
                "reader": self.reader.place,
                "optimizer": self.optimizer.state_dict(),
                "learning_rate": self.learning_rate.state_dict(),
                "scaler": self.scaler.state_dict(),
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
        distributed.barrier()

    def _streams(self) -> dict[str, Tensor]:
        """The chunks' streams, joined in the order of the batch."""
        parts = [stream.tensors() for stream in self.chunks]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def restore(self, found: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint of a run with the same settings."""
        found.load_model(self.model)
        training = found.load_training()
        self.place = Place(**training["place"])
        self.saved_at = self.place.step
        self.reader.seek(**training["reader"])
        self.optimizer.load_state_dict(training["optimizer"])
        self.learning_rate.load_state_dict(training["learning_rate"])
        if training["scaler"]:  # empty where the precision was not fp16
            self.scaler.load_state_dict(training["scaler"])
        own = distributed.own_streams(self.config.batch_size)
        streams = {name: t[own].to(self.device) for name, t in training["streams"].items()}
        for i, stream in enumerate(self.chunks):
            part = {name: t.chunk(len(self.chunks))[i] for name, t in streams.items()}
            stream.restore(part, self.model.State)
        self._restore_random(training["random"])

    def _restore_random(self, random: dict[str, Tensor]) -> None:
        # With another number of processes or kind of device nothing can be repeated exactly; the
        # run then goes on with the random numbers of its seed.
        if len(random["cpu"]) == distributed.world_size():
            # Cloned, for set_rng_state crashes on a view that doesn't begin its storage.
            torch.set_rng_state(random["cpu"][distributed.rank()].clone())
            if self.device.type == "cuda" and "cuda" in random:
                torch.cuda.set_rng_state(random["cuda"][distributed.rank()].clone())
