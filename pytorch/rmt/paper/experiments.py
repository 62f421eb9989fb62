"""The paper's experiments as data: sizes, schedules, and the rows of Tables 2 to 4.

The points of Figures 4, 5 and 7 and the rows of Table 1 are cells (published.py). The run scripts
hold the same settings, each to be read alone; a test compares them.
Sources: Bulatov et al. 2022, Tables 2 to 4 and appendix A, the Transformer-XL configurations that
they name (Dai et al. 2019), and for the tasks the options of most of the authors' published runs.
"""

from dataclasses import dataclass
from pathlib import Path

from rmt.paper.published import Cell, read_published

# Vocabularies are those of the full texts; enwik8's is without newlines, as published.
MODEL_SIZES = {
    "wt103": {
        "n_layer": 16,
        "d_model": 410,
        "n_head": 10,
        "d_head": 41,
        "d_inner": 2100,
        "n_token": 267_735,
        "cutoffs": (20_000, 40_000, 200_000),
    },
    "enwik8": {
        "n_layer": 12,
        "d_model": 512,
        "n_head": 8,
        "d_head": 64,
        "d_inner": 2048,
        "n_token": 204,
    },
}
TRAINING = {
    "wt103": {"max_step": 200_000, "batch_size": {50: 128, 150: 60}, "adaptive": True},
    "enwik8": {"max_step": 400_000, "batch_size": {128: 64, 512: 22}, "eval_tgt_len": 128},
}
COMMON = {
    "dropout": 0.1,
    "dropatt": 0.0,
    "optim": "adam",
    "lr": 0.00025,
    "scheduler": "cosine",
    "warmup_step": 0,
    "clip": 0.25,
}
TASK_SIZES = {
    "copy": {"n_layer": 4, "n_head": 4, "d_head": 64, "d_model": 128, "d_inner": 256},
    "reverse": {"n_layer": 4, "n_head": 4, "d_head": 64, "d_model": 128, "d_inner": 256},
    "retrieval": {"n_layer": 6, "n_head": 4, "d_head": 32, "d_model": 64, "d_inner": 128},
    "quadratic": {"n_layer": 6, "n_head": 6, "d_head": 64, "d_model": 128, "d_inner": 256},
}
# Of Tables 2 to 4 and Figure 4, what is timed on a GPU (rmt.gpu_check), the
# most telling first.
ON_GPU = (
    {
        "dataset": "enwik8",
        "model": "rmt",
        "mem_len": 20,
        "tgt_len": 128,
        "batch_size": 64,
        "bptt_unrolls": 1,
    },
    {
        "dataset": "wt103",
        "model": "rmt",
        "mem_len": 10,
        "tgt_len": 50,
        "batch_size": 128,
        "bptt_unrolls": 3,
    },
    {"dataset": "copy", "model": "rmt"},
    {
        "dataset": "wt103",
        "model": "rmt",
        "mem_len": 10,
        "tgt_len": 50,
        "batch_size": 128,
        "bptt_unrolls": 1,
    },
    {"dataset": "enwik8", "model": "trxl", "mem_len": 128, "tgt_len": 128, "batch_size": 64},
    {"dataset": "wt103", "model": "trxl", "mem_len": 150, "tgt_len": 150, "batch_size": 60},
)
# What is trained on a GPU in every form of the step: small, and long enough to learn something.
ALIKE_ON_GPU = {
    "dataset": "quadratic",
    "model": "baseline",
    "segments": 1,
    "recipe": "fast",
    "curriculum": -1,
    "max_step": 15_000,
    **TASK_SIZES["quadratic"],
}
COMMON_TASK = {
    "dropout": 0.1,
    "optim": "adam",
    "lr": 0.0001,
    "clip": 0.25,
    "batch_size": 32,
    "scheduler": "dev_perf",
    "decay_rate": 0.5,
    "lr_min": 0.000001,
    "eval_interval": 12_000,
    "eval_batch_size": 500,
    "max_eval_steps": 2,
    "save_interval": 4000,
}
TASK_TRAINING = {
    "copy": COMMON_TASK | {"patience": 8, "max_step": 900_000},
    "reverse": COMMON_TASK | {"patience": 8, "max_step": 850_000},
    "retrieval": COMMON_TASK | {"patience": 10, "max_step": 1_000_000},
    "quadratic": COMMON_TASK
    | {"patience": 10, "max_step": 600_000, "eval_batch_size": 200, "max_eval_steps": 5},
}
# Copy and reverse of LONG symbols or more; batch_size, lr and max_step are in their cells.
LONG = 120
LONG_TRAINING = {"patience": 5, "eval_interval": 40_000, "lr_min": 0.00001}
# The text of each table and the unit of its scores. headline is the final paper's best model, which
# has no table of its own.
TABLES = {"table2": "wt103", "table3": "enwik8", "table4": "wt103", "headline": "wt103"}
UNITS = {"wt103": "ppl", "enwik8": "bpc"}
SEGMENT_5CD = 50  # of the rows of Table 4 in Figures 5(c) and (d)


@dataclass(frozen=True)
class Row:
    """One row of a table: what was trained, and the published perplexity or bits per character.

    name: as printed. memory: memory tokens, or cached states of trxl. cache: those of trxl_rmt.
    bptt_unrolls: None for a model whose gradient doesn't pass between segments.
    score: None where the paper has no such row (ADDED). std: over the paper's runs, None where it
    gives none.
    """

    table: str
    name: str
    dataset: str
    model: str
    memory: int
    segment_len: int
    bptt_unrolls: int | None
    score: float | None
    std: float | None
    cache: int = 0

    @property
    def depth(self) -> int:
        """Segments that gradient passes back through."""
        return self.bptt_unrolls or 0

    @property
    def flags(self) -> dict:
        """What to give to the run script of the dataset and the model."""
        flags = {"tgt_len": self.segment_len, "mem_len": self.memory}
        flags |= {} if self.bptt_unrolls is None else {"bptt_unrolls": self.bptt_unrolls}
        return flags | ({"cache_len": self.cache} if self.cache else {})

    @property
    def visible_context(self) -> int:
        """Tokens of the segment and, in training, before it (paper, section 5)."""
        if self.model == "trxl":
            return self.memory + self.segment_len
        return (self.depth + 1) * self.segment_len

    @property
    def unit(self) -> str:
        """Of the score: ppl or bpc."""
        return UNITS[self.dataset]


Experiment = Row | Cell

# What a model gets that carries nothing, to see what a cache or a memory is worth; for WikiText-103
# the paper's own tables say.
ADDED = {
    "table3": [Row("table3", "baseline (added)", "enwik8", "baseline", 0, 128, None, None, None)],
}


def rows(table: str, folder: Path | None = None) -> list[Row]:
    """The published rows of one of TABLES, in the paper's order; folder and errors as
    read_published."""
    return read_published(f"{table}.csv", lambda line: _row(table, line), folder)


def find_row(table: str, model: str, memory: int, depth: int, segment_len: int) -> Row:
    """The row of a table, or of ADDED to it; where two are alike, the later: the authors' own run.

    depth: segments that gradient passes back through. Raises LookupError where there is none.
    """
    wanted = (model, memory, depth, segment_len)
    for row in reversed(rows(table) + ADDED.get(table, [])):
        if (row.model, row.memory, row.depth, row.segment_len) == wanted:
            return row
    raise LookupError(f"{table} has no row {wanted}")


def _row(table: str, line: dict[str, str]) -> Row:
    dataset = TABLES[table]
    return Row(
        table=table,
        name=line["row"],
        dataset=dataset,
        model=line["model"],
        memory=int(line["memory"]),
        segment_len=int(line["segment_len"]),
        bptt_unrolls=int(line["bptt_unrolls"]) if line["bptt_unrolls"] else None,
        score=float(line[UNITS[dataset]]),
        std=float(line["std"]) if line["std"] else None,
        cache=int(line.get("cache") or 0),
    )
