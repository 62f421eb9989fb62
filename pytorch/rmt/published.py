"""Published accuracies on the algorithmic tasks, from the files in results/paper."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rmt.errors import UsageError
from rmt.paths import project_root

Row = TypeVar("Row")

RUN_FILES = ("figure4_runs.csv", "figure5_7_runs.csv")  # means over the authors' published runs
TABLE_FILE = "table1.csv"  # as printed in the paper


@dataclass(frozen=True)
class Cell:
    """The accuracy of one model in one setting, over runs that differ by their seed.

    task: copy, reverse (n 24), copy120 (n 120) ..., retrieval or quadratic.
    model: baseline, mt, trxl or rmt; for ours with BPTT-N where that is not all of a sample.
    memory: memory tokens (mt, rmt) or cached states (trxl).
    segment_len: in tokens; None where it is not said.
    accuracy: the paper's measure, from 0 to 1; of quadratic the share of solved equations.
    std: over runs; None where it is not said. runs: how many; None where it is not said.
    """

    task: str
    model: str
    memory: int
    segments: int
    segment_len: int | None
    accuracy: float
    std: float | None
    runs: int | None

    @property
    def place(self) -> tuple[str, str, int, int]:
        """What cells of ours and of the paper have in common."""
        return self.task, self.model, self.memory, self.segments


def published_cells(folder: Path | None = None) -> list[Cell]:
    """All published cells; folder and errors as for read_published."""
    cells = [cell for name in RUN_FILES for cell in read_published(name, _run_cell, folder)]
    return cells + read_published(TABLE_FILE, _table_cell, folder)


def read_published(
    name: str, convert: Callable[[dict[str, str]], Row], folder: Path | None = None
) -> list[Row]:
    """The lines of a CSV file, converted one by one; folder is results/paper unless given.

    Raises UsageError where the file is missing or not as convert expects.
    """
    path = (folder or project_root() / "results" / "paper") / name
    try:
        with path.open(newline="") as file:
            return [convert(line) for line in csv.DictReader(file)]
    except OSError as error:
        raise UsageError(
            f"the published numbers can't be read ({error}): run this in the project's folder"
        ) from None
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is damaged ({error!r})") from None


def _run_cell(row: dict[str, str]) -> Cell:
    numbers = [int(row[name]) for name in ("memory", "segments", "segment_len")]
    accuracy, std = float(row["accuracy_mean"]), float(row["accuracy_std"])
    return Cell(row["task"], row["model"], *numbers, accuracy, std, int(row["runs"]))


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
