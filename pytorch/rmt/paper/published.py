"""Published accuracies on the algorithmic tasks, from the files in results/paper."""

import csv
import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

Row = TypeVar("Row")

RUN_FILES = ("figure4_runs.csv", "figure5_7_runs.csv")  # means over the authors' published runs
TABLE_FILE = "table1.csv"  # as printed in the paper
LABELS_FILE = "hyperpartisan.csv"
# Symbols, or pairs, of the tasks that the files name without a number.
USUAL_SIZES = {"copy": 24, "reverse": 24, "retrieval": 4, "quadratic": 0}


def task_name(task: str, size: int) -> str:
    """As the files name it: copy with 24 symbols is copy, with 120 copy120."""
    return task if size == USUAL_SIZES.get(task) else f"{task}{size or ''}"


@dataclass(frozen=True)
class Cell:
    """The accuracy of one model in one setting, over runs that differ by their seed.

    task: copy, reverse (n 24), copy120 (n 120) ..., retrieval or quadratic.
    model: baseline, mt, trxl or rmt; for ours with BPTT-N where that is not all of a sample.
    memory: memory tokens (mt, rmt) or cached states (trxl).
    segment_len: in tokens; None where it is not said.
    accuracy: the paper's measure, from 0 to 1; of quadratic the share of solved equations.
    std: over runs; None where it is not said. runs: how many; None where it is not said.
    training: the authors' batch_size, lr and max_step, the largest where their runs differ; empty
    for cells of ours and where it is not said.
    """

    task: str
    model: str
    memory: int
    segments: int
    segment_len: int | None
    accuracy: float
    std: float | None
    runs: int | None
    training: Mapping[str, float] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, str, int, int]:
        """What cells of ours and of the paper have in common."""
        return self.task, self.model, self.memory, self.segments


def published_cells(folder: Path | None = None) -> list[Cell]:
    """All published cells; folder and errors as for read_published."""
    return figure_cells(folder) + table_cells(folder)


def cells_by_place() -> dict[tuple[str, str, int, int], Cell]:
    """All published cells by Cell.place."""
    return {cell.place: cell for cell in published_cells()}


def figure_cells(folder: Path | None = None) -> list[Cell]:
    """The points of Figures 4, 5(a), 5(b) and 7."""
    return [cell for name in RUN_FILES for cell in read_published(name, _run_cell, folder)]


def table_cells(folder: Path | None = None) -> list[Cell]:
    """The rows of Table 1."""
    return read_published(TABLE_FILE, _table_cell, folder)


@dataclass(frozen=True)
class PublishedF1:
    """F1 of a pretrained model with memory around it on texts with labels.

    backbone: its name. segments: of a text that are read. f1: from 0 to 1. note: for people.
    """

    dataset: str
    backbone: str
    memory: int
    segments: int
    f1: float
    note: str


def published_labels(folder: Path | None = None) -> list[PublishedF1]:
    """On Hyperpartisan; folder and errors as for read_published."""
    return read_published(LABELS_FILE, _f1_row, folder)


def published_folder() -> Path:
    """results/paper of the source checkout; of the current folder where this is installed."""
    checkout = Path(__file__).resolve().parents[3]
    return (checkout if (checkout / "results").is_dir() else Path.cwd()) / "results" / "paper"


def read_published(
    name: str, convert: Callable[[dict[str, str]], Row], folder: Path | None = None
) -> list[Row]:
    """The lines of a CSV file, converted one by one; folder is published_folder() unless given.

    Raises OSError, which names the file, where it is missing or not as convert expects.
    """
    path = (folder or published_folder()) / name
    try:
        with path.open(newline="") as file:
            return [convert(line) for line in csv.DictReader(file)]
    except FileNotFoundError:
        reason = (
            "the published numbers are not here: run this in the folder of the project's source"
        )
        raise FileNotFoundError(errno.ENOENT, reason, str(path)) from None
    except (KeyError, ValueError, TypeError) as error:
        raise OSError(errno.EINVAL, f"it is damaged: {error!r}", str(path)) from None


def _f1_row(row: dict[str, str]) -> PublishedF1:
    numbers = int(row["memory"]), int(row["segments"])
    return PublishedF1(row["dataset"], row["backbone"], *numbers, float(row["f1"]), row["note"])


def _run_cell(row: dict[str, str]) -> Cell:
    numbers = [int(row[name]) for name in ("memory", "segments", "segment_len")]
    accuracy, std = float(row["accuracy_mean"]), float(row["accuracy_std"])
    training = {"lr": float(row["lr"])}
    for name in ("batch_size", "max_step"):
        training[name] = max(map(int, row[name].split("/")))
    return Cell(row["task"], row["model"], *numbers, accuracy, std, int(row["runs"]), training)


def _table_cell(row: dict[str, str]) -> Cell:
    """Table 1 gives neither segment lengths nor numbers of runs."""
    return Cell(
        task="quadratic",
        model=row["model"],
        memory=int(row["memory"] or 0),
        segments=int(row["segments"]),
        segment_len=None,
        accuracy=float(row["accuracy"]),
        std=float(row["std"]) if row["std"] else None,
        runs=None,
    )
