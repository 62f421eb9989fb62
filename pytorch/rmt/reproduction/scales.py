"""The paper's experiments as training runs at one of two scales.

paper   exactly the paper's settings, for GPUs.
mini    the same comparisons on two CPU cores, defined here and nowhere else: of text a small model,
        short segments and few tokens; of the algorithmic tasks the paper's samples and models with
        the fast recipe (recipes.py). Its numbers are not comparable with published ones, but for
        the tasks' accuracies.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

from rmt import train
from rmt.data.text.corpora import usual_cutoffs
from rmt.options.command_line import pick
from rmt.options.config import NOT_SETTINGS, TASKS, ModelConfig, TaskConfig, TrainConfig
from rmt.paper.experiments import (
    COMMON,
    LONG,
    LONG_TRAINING,
    MODEL_SIZES,
    TASK_SIZES,
    TASK_TRAINING,
    TRAINING,
    Experiment,
    Row,
)
from rmt.paper.published import Cell
from rmt.runs.logged_runs import DEFAULTS, LoggedRun

SCALES = ("paper", "mini")

# --- mini scale ----------------------------------------------------------------------------------

MINI_SIZES = {"n_layer": 4, "d_model": 128, "n_head": 4, "d_head": 32, "d_inner": 512}
MINI_SEGMENT = {50: 16, 128: 16, 150: 48, 512: 64}  # by the paper's
MINI_TOKENS_PER_STEP = 512
MINI_STEPS = {"enwik8": 4800, "wt103": 2400}
MINI_TRAINING = {
    **{"dropout": 0.1, "dropatt": 0.0, "optim": "adam", "lr": 0.002, "scheduler": "cosine"},
    **{"clip": 0.25, "precision": "bf16", "log_interval": 100, "save_interval": 300},
}
# What it is meant for, by the fingerprint of the text; others are named by their fingerprints.
MINI_TEXTS = {
    "60c756951a25fc613f3375b968c25541901781c0f56af6a815f0734c0ed65ef5": (
        "wt103-mini (0.4 M words of WikiText-103's valid and test articles)"
    ),
    "9e01775d3fb12a48a0c6b38a1e8d606ea4d8be0c40a33844e7dd10ba6267ea3c": (
        "the first 4,000,000 bytes of enwik8"
    ),
}
MINI_VOCABULARY = {"wt103": {"n_token": 26_118, "cutoffs": (20_000,)}}
ROUGHLY = {"n_token": 200}
# Where the text of a dataset is not at hand, --scale mini is of the reference inside Python.
WITHOUT_DATA = "pydoc"
# Where the copies are long, smaller batches and evaluations, which run freely over the answers.
MINI_LONG = {"batch_size": 32, "eval_interval": 200, "max_eval_steps": 1}
LONGEST = 360  # symbols

# --- plans ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What to train: options of rmt.train but the seed and where it is kept.

    scale: one of SCALES. name: of its run folders, before the seed; experiments with the same
    settings share one.
    n_token: the vocabulary that the text must have, in words; None where any will do.
    vocabulary: n_token and cutoffs for estimates of time.
    """

    scale: str
    name: str
    flags: Mapping[str, object]
    n_token: int | None = None
    vocabulary: Mapping[str, object] = field(default_factory=lambda: ROUGHLY)

    def argv(self, seed: int) -> list[str]:
        """The command line of rmt.train, without --work_dir."""
        words = []
        for name, value in {**self.flags, "seed": seed}.items():
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return words

    @cached_property
    def options(self) -> dict:
        """The flags as rmt.train completes them."""
        return train.parse(self.argv(seed=0))

    @cached_property
    def configurations(self) -> tuple[TrainConfig, TaskConfig]:
        return train.configurations(self.options)

    @cached_property
    def model(self) -> ModelConfig:
        """With the vocabulary as it is assumed to be."""
        return ModelConfig(**self.vocabulary, **pick(ModelConfig, self.options))

    def folder_name(self, seed: int) -> str:
        """Where in results/runs its run is kept."""
        return f"{self.scale}-{self.dataset}/{self.name}-seed{seed}"

    @property
    def dataset(self) -> str:
        return self.flags["dataset"]

    @property
    def is_task(self) -> bool:
        return self.dataset in TASKS

    @cached_property
    def settings(self) -> dict:
        """All that a run's scores depend on, but the seed and the data."""
        config, task = self.configurations
        own = asdict(self.model) | config.recorded() | task.belonging_to(config.dataset)
        return {name: value for name, value in own.items() if name not in NOT_SETTINGS}

    def differences(self, config: dict) -> str:
        """Which settings of a run's config.json are others; empty if none.

        Options that are newer than the file had their defaults. Settings that were changed while
        the run was going on (by --restart with other options) count as others.
        """
        logged = {**config["model"], **config["train"], **config.get("task", {})}
        names = [k for k, v in self.settings.items() if logged.get(k, DEFAULTS.get(k)) != v]
        return ", ".join(dict.fromkeys([*names, *config.get("changed", [])]))

    def fits(self, run: LoggedRun) -> bool:
        """Whether a run is one of this plan."""
        if self.n_token not in (None, run.result.get("n_token")):
            return False
        usual = usual_cutoffs(self.dataset, run.model.n_token) if self.flags.get("adaptive") else ()
        if not self.is_task and run.model.cutoffs != usual:
            return False
        parts = {"model": asdict(run.model), "train": run.train, "task": run.task}
        return not self.differences(parts | {"changed": run.changed})


def plan(experiment: Experiment, scale: str, with_data: bool = True) -> Plan:
    """How an experiment is done at a scale of SCALES.

    with_data: whether the text of the dataset, or of its small version, is at hand; if not, mini
    is of pydoc.
    """
    if isinstance(experiment, Cell):
        return _of_cell(experiment, scale)
    return _of_row(experiment, scale, with_data)


def fitting_runs(own: Plan, runs: Sequence[LoggedRun]) -> list[LoggedRun]:
    """Those of the runs that are the plan's, one of each seed, in the order of their seeds."""
    by_seed = {run.seed: run for run in reversed(runs) if own.fits(run)}
    return [by_seed[seed] for seed in sorted(by_seed)]


def _of_row(row: Row, scale: str, with_data: bool) -> Plan:
    shared = {"model": row.model, **row.flags}
    parts = [row.dataset, str(row.segment_len), f"{row.model}{row.memory or ''}"]
    parts += [f"cache{row.cache}"] if row.cache else []
    parts += [f"bptt{row.bptt_unrolls}"] if "bptt_unrolls" in row.flags else []
    if scale == "paper":
        sizes = dict(MODEL_SIZES[row.dataset])
        # Cutoffs are not an option of the run scripts either, but --adaptive is.
        vocabulary = {k: sizes.pop(k) for k in ("n_token", "cutoffs") if k in sizes}
        training = COMMON | TRAINING[row.dataset]
        training["batch_size"] = training["batch_size"][row.segment_len]
        flags = {"dataset": row.dataset, **sizes, **training, **shared}
        return Plan(scale, "-".join(parts), flags, vocabulary["n_token"], vocabulary)
    shared["tgt_len"] = MINI_SEGMENT[row.segment_len]
    dataset = {"dataset": row.dataset} | ({"adaptive": True} if row.dataset == "wt103" else {})
    if not with_data:
        dataset, parts[0] = {"dataset": WITHOUT_DATA}, f"{WITHOUT_DATA}-as-{row.dataset}"
    steps = MINI_STEPS[row.dataset]
    schedule = {"max_step": steps, "warmup_step": steps // 12, "eval_interval": steps // 8}
    schedule["batch_size"] = MINI_TOKENS_PER_STEP // shared["tgt_len"]
    if "eval_tgt_len" in TRAINING[row.dataset]:
        schedule["eval_tgt_len"] = MINI_SEGMENT[TRAINING[row.dataset]["eval_tgt_len"]]
    flags = {**dataset, **MINI_SIZES, **MINI_TRAINING, **schedule, **shared}
    return Plan(
        scale, "-".join(parts), flags, vocabulary=MINI_VOCABULARY.get(dataset["dataset"], ROUGHLY)
    )


def _of_cell(cell: Cell, scale: str) -> Plan:
    task, size = re.fullmatch(r"([a-z]+)(\d*)", cell.task).groups()
    n = int(size or 0)  # 0: the task's own
    flags = {"dataset": task, "model": cell.model, "segments": cell.segments}
    flags |= {"mem_len": cell.memory} if cell.memory else {}
    flags |= {"n": n} if n else {}
    flags |= TASK_SIZES[task]
    if scale == "paper":
        flags |= TASK_TRAINING[task] | (LONG_TRAINING if n >= LONG else {}) | cell.training
    else:
        flags |= {"recipe": "fast"} | _mini_exceptions(task, cell.model, cell.segments, n)
    plan = Plan(scale, cell.task, flags)
    config, _ = plan.configurations
    cut = f"{cell.segments}x{config.tgt_len}"
    return replace(plan, name=f"{cell.task}-{cut}-{cell.model}{cell.memory or ''}")


def _mini_exceptions(task: str, model: str, segments: int, n: int) -> dict:
    """What differs from the fast recipe."""
    flags = MINI_LONG if n >= LONG else {}
    flags = flags | ({"max_step": 1500, "test_samples": 2000} if n >= LONGEST else {})
    if task in ("copy", "reverse"):
        if model == "trxl":
            # The lessons keep it from ever looking further back than in the first of them.
            return flags | {"curriculum": 0, "init": "xavier"}
        if model in ("baseline", "mt") and segments > 1:
            # Nothing reaches their answers; a thousand steps show it.
            return flags | {"max_step": 1000}
    return flags


def describe_mini(dataset: str, text: str | None) -> str:
    """A sentence that says what mini numbers of a table are, to stand above it.

    text: its fingerprint; None where nothing has run.
    """
    lengths = TRAINING[dataset]["batch_size"]
    segments = " and of ".join(
        f"{MINI_SEGMENT[papers]} tokens where the paper has {papers}" for papers in lengths
    )
    of = f"on {MINI_TEXTS.get(text, f'the text {text[:16]}')}" if text else "not run"
    return (
        f"mini: {MINI_SIZES['n_layer']} layers, d_model {MINI_SIZES['d_model']}, segments of "
        f"{segments} (memories and caches are as large as there), {MINI_STEPS[dataset]:,} steps of "
        f"about {MINI_TOKENS_PER_STEP:,} tokens, {of}. **Not comparable with the paper's numbers, "
        "only with each other.**"
    )
