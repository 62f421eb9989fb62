"""Options of training, but for those of the model (rmt.models) and of a task's samples (rmt.data).

Names and defaults are those of the Transformer-XL code base where it has the option.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Self

from rmt.options import paths
from rmt.options.option import (
    as_tuple,
    check_at_least,
    check_choices,
    check_limit,
    from_json,
    option,
)
from rmt.options.schedule import AUTO, DIAGONAL, SCHEDULES, SEQUENTIAL
from rmt.options.scope import LISTS_OF_PATHS, PATHS
from rmt.options.stages import check_stages, stages
from rmt.options.unrolling import Unrolling
from rmt.runtime.errors import UsageError

EAGER, COMPILED, CAPTURED = "eager", "compiled", "captured"  # how a step is run
GRAPHS = ("auto", "on", "off")


@dataclass(frozen=True)
class TrainConfig:
    """What to train on, how, and where to keep it. Lengths are in tokens, intervals in steps."""

    # Of the Transformer-XL code base, what to use instead.
    DROPPED: ClassVar[Mapping[str, str]] = {
        "clip_nonemb": "gradients of all parameters are clipped together (--clip)",
        "finetune_v2": "begin with a run's weights with --init_from RUN",
        "finetune_v3": "begin with a run's weights with --init_from RUN",
        "sample_softmax": "the adaptive softmax serves large vocabularies (--adaptive)",
        "gpu0_bsz": "every GPU has a process of its own and an equal share (--multi_gpu)",
        "static_loss_scale": "--precision fp16 finds the loss scale itself",
        "dynamic_loss_scale": "--precision fp16 finds the loss scale itself",
        "mem_backprop_depth": "it is --bptt_unrolls here",
    }

    # Data
    data: tuple[str, ...] = option(
        (),
        "file or folder of the text; of dataset text also several, each file a document, and of a "
        "folder every file whose name ends in .txt; left out: where getdata.sh puts the dataset",
    )
    valid_data: tuple[str, ...] = option(
        (), "dataset text, with test_data: what to validate on; data is then all for training"
    )
    test_data: tuple[str, ...] = option((), "dataset text, with valid_data: what to test on")
    dataset: str = option("wt103", "what to train on")
    encoded_dir: str = option("", "where encoded text is kept; empty: data/encoded")
    keep_newlines: bool = option(False, "enwik8: keep the newline bytes that the paper drops")
    tokenizer: str = option(
        "char",
        "dataset text: what a token is. char: a character; any text can be said, and scores are "
        "bits per character. word: what stands between white space, with <unk> for words that "
        "occur once; for texts of 10 MB and more, and scores are perplexities. hf:FOLDER: what a "
        "pretrained model's tokenizer.json says; perplexities. Dataset facts takes word, its "
        "default, and hf:FOLDER",
    )
    reset_at_documents: bool = option(
        False,
        "dataset text: every file begins with a new state, in training and in evaluation; without, "
        "they are one stream",
    )
    adaptive: bool = option(False, "adaptive softmax with the dataset's cutoffs that fit")

    # Segments and gradient between them
    tgt_len: int = option(70, "segment length")
    batch_size: int = option(60, "parallel streams, over all processes")
    batch_chunk: int = option(1, "split the batch into this many parts to save memory")
    segments: int = option(0, "tasks: cut every sample into this many segments; 0: use tgt_len")
    varlen: bool = option(False, "vary the segment length at random in training")
    bptt_unrolls: int = option(
        0,
        "earlier segments that a loss sends gradient to; -1: all of a sample's (tasks, texts with "
        "labels)",
    )
    bptt_mode: str = option(
        "replay",
        "replay: recompute the earlier segments for every segment's loss; window: one step per "
        "bptt_unrolls + 1 segments, all their losses",
        ("replay", "window"),
    )
    replay_from: str = option(
        "stored",
        "replay: start from the state kept from before the replayed segments, or from the newest "
        "memory, which has read them already (as published)",
        ("stored", "newest"),
    )
    checkpoint_segments: bool = option(
        False, "recompute each segment in the backward pass to save memory"
    )
    curriculum_segments: tuple[int, ...] = option(
        (),
        "text: gradient through so many segments at first, then through more, as 1 2 4; the last "
        "number is bptt_unrolls + 1. Texts with labels: at most so many segments of each",
    )
    curriculum_steps: tuple[int, ...] = option(
        (),
        "steps with each of curriculum_segments but the last, which has the others",
    )

    curriculum: int = option(
        0,
        "lessons: begin with at most this many symbols in a segment, padding between them (copy, "
        "reverse), or with this many pairs, in one segment (retrieval) or a segment each "
        "(remember, rewrite), or this many segments (facts, babilong), or roots of at most this "
        "size (quadratic), and go on when they are learned; 0: none; -1: a whole segment, at most "
        "15 symbols, or one pair or segment, or roots of one digit",
    )

    # Optimizer
    optim: str = option("adam", "optimizer", ("adam", "adamw", "sgd", "adagrad", "apex_adam"))
    lr: float = option(0.00025, "peak learning rate")
    mom: float = option(0.0, "momentum (sgd)")
    weight_decay: float = option(
        0.0, "matrices but for memory lose this share of themselves, times lr, in a step (adamw)"
    )
    scheduler: str = option(
        "cosine", "learning rate over time", ("cosine", "inv_sqrt", "dev_perf", "constant")
    )
    warmup_step: int = option(0, "steps of linear warmup")
    decay_rate: float = option(0.5, "factor when validation stops improving (dev_perf)")
    lr_min: float = option(0.0, "lowest learning rate (dev_perf)")
    eta_min: float = option(0.0, "learning rate at the end (cosine)")
    patience: int = option(0, "evaluations without improvement before a decay (dev_perf)")
    clip: float = option(0.25, "largest gradient norm")
    max_step: int = option(100000, "optimizer steps in all")
    max_nonfinite: int = option(10, "non-finite losses in a row that end the run")
    precision: str = option(
        "fp32", "arithmetic of matrix products; fp16 needs CUDA", ("fp32", "bf16", "fp16")
    )

    compile: bool = option(
        False,
        "let torch.compile fuse the layers, in evaluations, too; captured steps are compiled "
        "anyway. Slower on CPUs so far, and on GPUs not yet to be trusted (docs/gpu.md)",
    )

    cuda_graph: str = option(
        "off",
        "record the training step as a CUDA graph: auto where it can be. Not yet to be trusted: on "
        "an H100 it ruined trainings (docs/gpu.md)",
        GRAPHS,
    )

    schedule: str = option(
        SEQUENTIAL,
        "several segments at hand, in training and evaluation: one after the other, or layers of "
        "different segments together (diagonal), or what is faster (docs/diagonal.md)",
        SCHEDULES,
    )

    # Evaluation
    eval_tgt_len: int = option(0, "segment length in evaluation; 0: tgt_len")
    eval_batch_size: int = option(10, "parallel streams, or samples, in evaluation")
    eval_interval: int = option(4000, "steps between evaluations")
    max_eval_steps: int = option(-1, "segments, or batches of samples, per validation; -1: all")

    stop_at: float = option(
        0.0,
        "tasks: end when the validation accuracy (quadratic: solve rate; texts with labels: F1) is "
        "this; 0: never",
    )

    stop_after: int = option(
        0, "end after so many evaluations without a better one than the best so far; 0: never"
    )

    # The run
    init_from: str = option(
        "",
        "begin with the weights of this run folder's best checkpoint instead of random ones, at "
        "step 0, with a new optimizer and schedule; text is read with its vocabulary",
    )
    recipe: str = option(
        "",
        "settings under one name, for flags not given (recipes.py). fit, for text: a model that "
        "fits the text and the machine; fast, for tasks: minutes on two CPU cores",
        ("", "fast", "fit"),
    )
    tell_time: bool = option(
        False,
        "text: say before it starts how long the run will take, by some steps that are timed and "
        "thrown away",
    )
    work_dir: str = option("", "run folder; empty: runs/ and a name made of the settings")
    restart: bool = option(False, "continue from the run folder's last checkpoint, exactly")
    restart_dir: str = option("", "continue from this folder's checkpoint instead of work_dir's")
    save_interval: int = option(1000, "steps between checkpoints")
    log_interval: int = option(200, "steps between log lines")
    seed: int = option(1111, "random seed")
    cuda: bool = option(False, "run on the GPU")
    multi_gpu: bool = option(False, "one process per GPU (the run scripts start torchrun)")
    debug: bool = option(False, "keep nothing: no run folder, no checkpoints")

    def __post_init__(self):
        self._check_values()
        check_stages(
            self.curriculum_segments, self.curriculum_steps, self.max_step, self.bptt_unrolls
        )
        if self.reset_at_documents:
            self._check_documents()
        if self.replay_from == "newest" and (self.bptt_mode == "window" or self.bptt_unrolls < 0):
            raise UsageError(
                "replay_from newest is for bptt_mode replay and bptt_unrolls from 0 on: a window, "
                "and whole samples (bptt_unrolls -1), replay nothing"
            )
        if self.compile and self.varlen:
            raise UsageError("--compile needs segments of one length: leave --varlen out")
        if self.schedule == DIAGONAL and (self.compile or self.checkpoint_segments):
            other = "compile" if self.compile else "checkpoint_segments"
            raise UsageError(
                f"--{other} is for segments one after the other: leave it out, or schedule diagonal"
            )
        if self.precision == "fp16" and not self.cuda:
            raise UsageError("precision fp16 needs --cuda; on a CPU use bf16")
        if self.restart and self.debug:
            raise UsageError("--debug keeps no checkpoints, so it can't be used with --restart")
        if self.restart_dir and not self.restart:
            raise UsageError("restart_dir says where to continue from: give --restart with it")

    def _check_values(self) -> None:
        check_choices(self)
        positive = ("tgt_len", "batch_size", "batch_chunk", "max_step", "max_nonfinite")
        intervals = ("eval_interval", "save_interval", "log_interval", "eval_batch_size")
        check_at_least(self, 1, *positive, *intervals)
        check_at_least(self, 0, "warmup_step", "patience", "eval_tgt_len", "seed")
        check_at_least(self, 0, "segments", "stop_at", "stop_after")
        check_at_least(self, -1, "curriculum", "bptt_unrolls")
        if self.stop_at > 1:
            raise UsageError(f"stop_at is an accuracy, at most 1, but it is {self.stop_at}")
        check_at_least(self, 0.0, "lr", "mom", "weight_decay", "decay_rate", "lr_min", "eta_min")
        if self.weight_decay and self.optim != "adamw":
            raise UsageError(
                f"weight_decay {self.weight_decay} is for optim adamw, not {self.optim}: choose "
                "that, or leave it out"
            )
        if self.seed >= 2**63:  # what torch's generator takes
            raise UsageError(f"seed must be below 2**63, but it is {self.seed}")
        if not self.clip > 0:
            raise UsageError(f"clip must be positive, but it is {self.clip}")
        check_limit(self, "max_eval_steps")
        if self.batch_size % self.batch_chunk:
            raise UsageError(
                f"batch_size {self.batch_size} does not divide into {self.batch_chunk} chunks: "
                "choose a batch_chunk that divides it"
            )
        if self.scheduler == "dev_perf" and not self.decay_rate < 1:
            raise UsageError(f"decay_rate must be below 1, but it is {self.decay_rate}")

    def _check_documents(self) -> None:
        refused = {"varlen": True, "compile": True, "replay_from": "newest", "schedule": DIAGONAL}
        for name, wrong in refused.items():
            if getattr(self, name) == wrong:
                raise UsageError(
                    f"{name}{'' if wrong is True else f' {wrong}'} is not possible where documents "
                    "begin by themselves: leave it out, or reset_at_documents"
                )

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """The first step, counted from 0, and the bptt_unrolls of every stage of the curriculum.

        Without a curriculum there is one.
        """
        if not self.curriculum_segments:
            return ((0, self.bptt_unrolls),)
        return stages(self.curriculum_segments, self.curriculum_steps)

    def unrolls_at(self, step: int) -> int:
        """bptt_unrolls of a step, counted from 0."""
        return max(stage for stage in self.stages if stage[0] <= step)[1]

    def unrolling(self, n_segments: int | None = None) -> Unrolling:
        """How gradient reaches back; bptt_unrolls -1 is one window of all n_segments."""
        if self.bptt_unrolls < 0 and n_segments:
            return Unrolling(n_segments - 1, "window", self.replay_from)
        return Unrolling(self.bptt_unrolls, self.bptt_mode, self.replay_from)

    @property
    def order(self) -> str:
        """The schedule that the model is to have: layers that are compiled are so one by one."""
        return SEQUENTIAL if self.schedule == AUTO and self.compile else self.schedule

    def recorded(self) -> dict:
        """The options that belong in a run's records.

        Where it was kept and continued from is left out; other paths are written relative to the
        project, so that a run folder can be read, and published, anywhere.
        """
        options = asdict(self)
        for name in ("work_dir", "restart", "restart_dir"):
            del options[name]
        for name in LISTS_OF_PATHS:
            places = [paths.to_record(place) for place in options[name]]
            options[name] = places if len(places) > 1 else "".join(places)
        return paths.all_to_record(options, PATHS)

    @classmethod
    def from_record(cls, options: Mapping) -> Self:
        """The inverse of recorded, with paths that are right in the current folder."""
        options = {name: from_json(value) for name, value in options.items()}
        for name in LISTS_OF_PATHS:
            places = as_tuple(options.get(name, ()))
            options[name] = tuple(paths.from_record(place) for place in places)
        return cls(**paths.all_from_record(options, PATHS))

    @property
    def n_eval(self) -> int:
        """Segment length in evaluation, in tokens."""
        return self.eval_tgt_len or self.tgt_len
