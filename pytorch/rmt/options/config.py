"""Every option once: its meaning, unit and default. cli.py makes the command line from these.

Names and defaults are those of the Transformer-XL code base where it has the option. An impossible
combination raises UsageError when the object is made, from the command line and from Python alike.
"""

import os
from dataclasses import asdict, dataclass, field
from itertools import pairwise

from rmt.options.option import (
    check_at_least,
    check_choices,
    check_limit,
    check_probabilities,
    default_of,
)
from rmt.runtime.errors import UsageError
from rmt.runtime.files import project_root

MODELS = ("baseline", "mt", "trxl", "rmt", "trxl_rmt")
WRITE_MEMORY = ("rmt", "trxl_rmt")
TEXTS = ("wt103", "enwik8", "text8", "text", "pydoc")
TASKS = ("copy", "reverse", "retrieval", "quadratic")
DATASETS = TEXTS + TASKS
TOKENIZERS = ("char", "word")


# Options that say where and how a run is made, not what it computes, and what the data tells.
NOT_SETTINGS = (
    "seed data encoded_dir cuda multi_gpu compile batch_chunk checkpoint_segments log_interval "
    "save_interval recipe segments n_token cutoffs debug"
).split()
TEXT_OPTIONS = ("data", "keep_newlines", "tokenizer", "adaptive", "varlen", "eval_tgt_len")


def option(default, meaning: str, choices: tuple[str, ...] | None = None):
    """A dataclass field that cli.py turns into a flag; choices lists the values allowed."""
    return field(default=default, metadata={"help": meaning, "choices": choices})


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and recurrence of one model. n_token, the vocabulary size, comes from the data."""

    n_token: int = field(metadata={"help": None})
    model: str = option("rmt", "which of the five models", MODELS)
    mem_len: int = option(
        0, "the paper's MEMORY: memory tokens (mt, rmt, trxl_rmt) or cached states (trxl)"
    )
    cache_len: int = option(0, "cached states per layer beside the memory, in tokens (trxl_rmt)")
    read_mem_from_cache: bool = option(False, "memory tokens also attend to the cache (trxl_rmt)")
    mem_init: str = option(
        "distinct",
        "start memory tokens as distinct random rows, or all as one row (as published)",
        ("distinct", "shared"),
    )
    n_layer: int = option(12, "number of layers")
    n_head: int = option(10, "attention heads")
    d_head: int = option(50, "dimension of a head")
    d_model: int = option(500, "dimension of the hidden states; even")
    d_embed: int = option(0, "dimension of the embeddings; 0 means d_model")
    d_inner: int = option(1000, "dimension inside the feed-forward part")
    dropout: float = option(0.0, "dropout on embeddings, positions, sublayer and last outputs")
    dropatt: float = option(0.0, "dropout on attention probabilities")
    pre_lnorm: bool = option(False, "LayerNorm before each sublayer instead of after it")
    not_tied: bool = option(False, "separate softmax weights instead of the embedding's")
    cutoffs: tuple[int, ...] = option(
        (), "adaptive softmax: last word (exclusive) of the head and of every cluster but the last"
    )
    clamp_len: int = option(-1, "longest relative distance told apart, in tokens; -1: no limit")
    same_length: bool = option(
        False, "every token sees equally many tokens: the last cache length, itself included"
    )
    init: str = option(
        "normal", "distribution of the initial weights", ("normal", "uniform", "xavier")
    )
    init_range: float = option(0.1, "initial weights in ±init_range (init uniform)")
    init_std: float = option(0.02, "standard deviation of the initial weights (init normal)")
    proj_init_std: float = option(
        0.01, "standard deviation of initial embedding projections (d_embed other than d_model)"
    )

    def __post_init__(self):
        check_choices(self)
        sizes = ("n_token", "n_layer", "n_head", "d_head", "d_model", "d_inner")
        check_at_least(self, 1, *sizes)
        check_at_least(self, 0, "mem_len", "cache_len", "d_embed")
        check_at_least(self, 0.0, "init_range", "init_std", "proj_init_std")
        check_probabilities(self, "dropout", "dropatt")
        if self.d_model % 2:
            raise UsageError(
                f"d_model must be even (half sines, half cosines), but it is {self.d_model}"
            )
        if self.model == "baseline" and self.mem_len:
            raise UsageError(
                f"the baseline has no memory: leave out mem_len {self.mem_len} or choose "
                "another model"
            )
        if self.model in ("mt", "rmt", "trxl_rmt") and not self.mem_len:
            raise UsageError(f"{self.model} needs memory tokens: give mem_len 1 or more")
        if self.cache_len and self.model != "trxl_rmt":
            raise UsageError(
                f"cache_len belongs to trxl_rmt; for {self.model} leave it out"
                + (" (trxl's cache is mem_len)" if self.model == "trxl" else "")
            )
        if self.read_mem_from_cache and self.model != "trxl_rmt":
            raise UsageError(f"read_mem_from_cache belongs to trxl_rmt, not to {self.model}")
        check_limit(self, "clamp_len")
        if self.same_length and not self.n_cached:
            raise UsageError(
                "same_length needs cached states (trxl with mem_len, or trxl_rmt with cache_len)"
            )
        bounds = (0, *self.cutoffs, self.n_token)
        if any(low >= high for low, high in pairwise(bounds)):
            raise UsageError(
                f"cutoffs {' '.join(map(str, self.cutoffs))} must increase from 1 and stay below "
                f"the vocabulary's {self.n_token} words"
            )

    @classmethod
    def from_record(cls, options: dict) -> "ModelConfig":
        """The configuration that was written to JSON with dataclasses.asdict."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})

    @property
    def n_memory(self) -> int:
        """Memory tokens before a segment (read memory)."""
        return 0 if self.model == "trxl" else self.mem_len

    @property
    def n_write(self) -> int:
        """Memory tokens after a segment (write memory), whose outputs the next one reads."""
        return self.mem_len if self.writes_memory else 0

    @property
    def n_cached(self) -> int:
        """Hidden states kept per layer, in tokens."""
        return self.mem_len if self.model == "trxl" else self.cache_len

    @property
    def cache_option(self) -> str | None:
        """The option that n_cached comes from; None for models that never have a cache."""
        return {"trxl": "mem_len", "trxl_rmt": "cache_len"}.get(self.model)

    @property
    def n_carried(self) -> int:
        """Numbers that one segment of a stream hands to the next."""
        return (self.n_cached * self.n_layer + self.n_write) * self.d_model

    @property
    def writes_memory(self) -> bool:
        """Whether write memory carries gradient from a segment to the one before it."""
        return self.model in WRITE_MEMORY


@dataclass(frozen=True)
class TrainConfig:
    """What to train on, how, and where to keep it. Lengths are in tokens, intervals in steps."""

    # Data
    data: str = option("", "file or folder of the text; empty: where getdata.sh puts the dataset")
    dataset: str = option("wt103", "how to read it", DATASETS)
    encoded_dir: str = option("", "where encoded text is kept; empty: data/encoded")
    keep_newlines: bool = option(False, "enwik8: keep the newline bytes that the paper drops")
    tokenizer: str = option("char", "dataset text: what a token is", TOKENIZERS)
    adaptive: bool = option(False, "adaptive softmax with the dataset's cutoffs that fit")

    # Segments and gradient between them
    tgt_len: int = option(70, "segment length")
    batch_size: int = option(60, "parallel streams, over all processes")
    batch_chunk: int = option(1, "split the batch into this many parts to save memory")
    segments: int = option(0, "tasks: cut every sample into this many segments; 0: use tgt_len")
    varlen: bool = option(False, "vary the segment length at random in training")
    bptt_unrolls: int = option(
        0, "earlier segments that a loss sends gradient to; -1: all of a sample's (tasks)"
    )
    bptt_mode: str = option(
        "replay",
        "replay: recompute the earlier segments for every segment's loss; window: one step per "
        "bptt_unrolls + 1 segments, all their losses",
        ("replay", "window"),
    )
    checkpoint_segments: bool = option(
        False, "recompute each segment in the backward pass to save memory"
    )

    curriculum: int = option(
        0,
        "lessons: begin with at most this many symbols in a segment, padding between them (copy, "
        "reverse), or with this many pairs in one segment (retrieval), and go on when they are "
        "learned; 0: none; -1: a whole segment, at most 15 symbols, or one pair",
    )

    # Optimizer
    optim: str = option("adam", "optimizer", ("adam", "sgd", "adagrad", "apex_adam"))
    lr: float = option(0.00025, "peak learning rate")
    mom: float = option(0.0, "momentum (sgd)")
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
        False, "let torch.compile fuse the layers; meant for GPUs (slower on CPUs so far)"
    )

    # Evaluation
    eval_tgt_len: int = option(0, "segment length in evaluation; 0: tgt_len")
    eval_batch_size: int = option(10, "parallel streams, or samples, in evaluation")
    eval_interval: int = option(4000, "steps between evaluations")
    max_eval_steps: int = option(-1, "segments, or batches of samples, per validation; -1: all")

    stop_at: float = option(
        0.0, "tasks: end when the validation accuracy (quadratic: solve rate) is this; 0: never"
    )

    # The run
    recipe: str = option(
        "", "settings under one name, for flags not given (recipes.py)", ("", "fast")
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
        check_choices(self)
        positive = ("tgt_len", "batch_size", "batch_chunk", "max_step", "max_nonfinite")
        intervals = ("eval_interval", "save_interval", "log_interval", "eval_batch_size")
        check_at_least(self, 1, *positive, *intervals)
        check_at_least(self, 0, "warmup_step", "patience", "eval_tgt_len", "seed")
        check_at_least(self, 0, "segments", "stop_at")
        check_at_least(self, -1, "curriculum")
        self._check_task_options()
        check_at_least(self, 0.0, "lr", "mom", "decay_rate", "lr_min", "eta_min")
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
        if self.compile and self.varlen:
            raise UsageError("--compile needs segments of one length: leave --varlen out")
        if self.precision == "fp16" and not self.cuda:
            raise UsageError("precision fp16 needs --cuda; on a CPU use bf16")
        if self.scheduler == "dev_perf" and not self.decay_rate < 1:
            raise UsageError(f"decay_rate must be below 1, but it is {self.decay_rate}")
        if self.restart and self.debug:
            raise UsageError("--debug keeps no checkpoints, so it can't be used with --restart")
        if self.restart_dir and not self.restart:
            raise UsageError("restart_dir says where to continue from: give --restart with it")

    @property
    def is_task(self) -> bool:
        """Whether the dataset is an algorithmic task, not text."""
        return self.dataset in TASKS

    def _check_task_options(self) -> None:
        """Options that only text or only samples give a meaning to."""
        check_at_least(self, -1 if self.is_task else 0, "bptt_unrolls")
        names = TEXT_OPTIONS if self.is_task else ("segments", "curriculum", "stop_at", "recipe")
        given = [name for name in names if getattr(self, name) != default_of(TrainConfig, name)]
        if given:
            other = "text" if self.is_task else "the algorithmic tasks"
            raise UsageError(f"{given[0]} is for {other}: leave it out with dataset {self.dataset}")
        if self.stop_at > 1:
            raise UsageError(f"stop_at is an accuracy, at most 1, but it is {self.stop_at}")
        if self.curriculum and self.dataset == "quadratic":
            raise UsageError("samples of quadratic can't be shortened: leave out the curriculum")

    def recorded(self) -> dict:
        """The options that belong in a run's records.

        Where it was kept and continued from is left out; paths of the text are written relative to
        the project, so that a run folder can be read, and published, anywhere.
        """
        options = asdict(self)
        for name in ("work_dir", "restart", "restart_dir"):
            del options[name]
        for name in ("data", "encoded_dir"):
            options[name] = options[name] and os.path.relpath(options[name], project_root())
        return options

    @classmethod
    def from_record(cls, options: dict) -> "TrainConfig":
        """The inverse of recorded, with paths that are right in the current folder."""
        paths = {
            name: options[name] and os.path.relpath(project_root() / options[name])
            for name in ("data", "encoded_dir")
        }
        return cls(**(options | paths))

    @property
    def n_eval(self) -> int:
        """Segment length in evaluation, in tokens."""
        return self.eval_tgt_len or self.tgt_len


@dataclass(frozen=True)
class TaskConfig:
    """The samples of an algorithmic task (--dataset copy, reverse, retrieval or quadratic)."""

    n: int = option(24, "copy, reverse: symbols to remember")
    pairs: int = option(4, "retrieval: pairs of a key and a value, at most 26")
    train_samples: int = option(100_000, "samples to train on")
    valid_samples: int = option(0, "samples to validate on; 0: as the paper, 5000 or 10000")
    test_samples: int = option(0, "samples to test on; 0: as the paper, 10000 or 20000")
    data_seed: int = option(0, "random seed of the samples, which all runs share")

    @classmethod
    def of(cls, dataset: str, given: dict) -> "TaskConfig":
        """The options of a dataset's samples; UsageError for those that mean nothing to it."""
        config = cls(**given)
        for name in given:
            if name not in config.belonging_to(dataset):
                raise UsageError(f"{name} means nothing to dataset {dataset}: leave it out")
        return config

    def __post_init__(self):
        check_at_least(self, 1, "n", "pairs", "train_samples")
        check_at_least(self, 0, "valid_samples", "test_samples", "data_seed")
        if self.pairs > 26:
            raise UsageError(f"pairs must be at most 26, the letters for keys, not {self.pairs}")

    def belonging_to(self, dataset: str) -> dict:
        """The options that mean something to a dataset; none to text."""
        if dataset not in TASKS:
            return {}
        size = {"copy": ["n"], "reverse": ["n"], "retrieval": ["pairs"], "quadratic": []}[dataset]
        names = [*size, "train_samples", "valid_samples", "test_samples", "data_seed"]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class EvalConfig:
    """Which run to score and how. Lengths are in tokens."""

    work_dir: str = option("", "run folder; empty: the newest in runs/ that fits the options given")
    dataset: str = option("", "choose among runs: dataset")
    model: str = option("", "choose among runs: model")
    bptt_unrolls: int = option(-2, "choose among runs: bptt_unrolls; -2: any")
    segments: int = option(0, "choose among runs: segments of a task's samples; 0: any")
    n: int = option(0, "choose among runs: symbols of copy and reverse; 0: any")
    pairs: int = option(0, "choose among runs: pairs of retrieval; 0: any")
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
    mem_len: int = option(
        -1, "trxl: cached states, -1: the protocol's; memory tokens are always the run's own"
    )
    cache_len: int = option(-1, "cached states (trxl_rmt); -1: the protocol's")
    clamp_len: int = option(0, "longest relative distance told apart; -1: no limit; 0: protocol's")
    same_length: bool = option(False, "every token sees equally many tokens")
    batch_size: int = option(0, "parallel streams, or samples; 0: the protocol's")
    max_eval_steps: int = option(-1, "segments, or batches of samples, to score; -1: all")
    data: str = option("", "file or folder of the text; empty: the run's own")
    encoded_dir: str = option("", "where encoded text is kept; empty: the run's own")
    precision: str = option(
        "", "arithmetic of matrix products; empty: the run's own", ("", "fp32", "bf16", "fp16")
    )
    cuda: bool = option(False, "run on the GPU")

    def __post_init__(self):
        check_choices(self)
        check_at_least(self, 0, "tgt_len", "batch_size", "segments", "n", "pairs")
        check_at_least(self, -1, "mem_len", "cache_len", "clamp_len", "seed")
        check_at_least(self, -2, "bptt_unrolls")
        check_limit(self, "max_eval_steps")


def check_together(model: ModelConfig, train: TrainConfig) -> None:
    """Raise UsageError where a model and a training schedule each make sense, but not together."""
    if train.bptt_unrolls > 0 and not model.writes_memory:
        raise UsageError(
            f"{model.model} passes no gradient between segments: leave out bptt_unrolls "
            f"{train.bptt_unrolls}, or choose rmt or trxl_rmt"
        )
