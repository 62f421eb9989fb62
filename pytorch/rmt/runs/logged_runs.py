"""Read finished runs back from their folders, for tables and figures."""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from rmt.data import registry as data
from rmt.data.metrics import Metric, metric_of
from rmt.data.tasks.task import TaskDataset
from rmt.models import registry as models
from rmt.models.options import ModelOptions
from rmt.options.option import default_of, from_json
from rmt.options.recipes import recipe_for
from rmt.options.scope import NOT_SETTINGS
from rmt.options.training import TrainConfig
from rmt.runtime.errors import UsageError

# A folder of models that were trained to be looked into (look_into_memory.sh): their logs are kept,
# but tables, figures and claims are of other runs with the same settings.
NOT_COUNTED = "memory"
OF_LABELS = "make its table with `rmt.tables labels`"


@dataclass(frozen=True)
class LoggedRun:
    """One run folder: what config.json, result.json and metrics.jsonl say.

    task: the options of an algorithmic task's samples, or of texts with labels; empty for a run on
    text. changed: settings that were others before the run was continued.
    """

    path: Path
    model: ModelOptions
    train: dict
    task: dict
    result: dict
    metrics: list[dict]
    changed: Sequence[str] = ()

    @property
    def is_task(self) -> bool:
        """Whether it is a run on an algorithmic task, or on texts with labels, not on text."""
        return bool(self.task)

    @property
    def is_algorithmic(self) -> bool:
        """Whether it is a run on an algorithmic task."""
        return self.is_task and isinstance(self.task_dataset, TaskDataset)

    @property
    def seed(self) -> int:
        return self.train["seed"]

    @property
    def metric(self) -> Metric:
        return metric_of(self.result)

    @property
    def score(self) -> float:
        """Test perplexity of words, bits per character; of a task the accuracy or solve rate."""
        return self.result[self.metric.key]

    @property
    def digits(self) -> int:
        """Decimals that the score is given with."""
        return self.metric.digits

    @property
    def n_carried(self) -> int | None:
        """Numbers that a segment hands to the next; None where nobody wrote it down."""
        carried = self.model.carried
        return carried.numbers if carried else self.result.get("n_carried")

    @property
    def carries_gradient(self) -> bool:
        carried = self.model.carried
        return carried.gradient if carried else self.result.get("carries_gradient", False)

    @property
    def label(self) -> str:
        """The model with the settings that tell it from its neighbours in a table."""
        return ", ".join([self.model.label, *self._training])

    @property
    def variant(self) -> str:
        """The model without its sizes: "rmt", or "rmt, causal memory, BPTT-1"."""
        return ", ".join([self.model.model, *self.model.unusual, *self._training])

    @property
    def settings(self) -> dict:
        """All that the run computed depends on, but the seed and the text."""
        training = {spec.name: default_of(TrainConfig, spec.name) for spec in fields(TrainConfig)}
        every = {**self.model.settings, **training, **self.train, **self.task}
        settings = {name: value for name, value in every.items() if name not in NOT_SETTINGS}
        settings["init_from"] = begun_with(self.train)
        # They are the text's as a rule, but may be given.
        if hasattr(self.model, "cutoffs"):
            settings["cutoffs"] = self.model.cutoffs
        return settings | ({"changed": " ".join(self.changed)} if self.changed else {})

    @property
    def configuration(self) -> tuple:
        """The settings as a key: runs that differ by their seed alone share it."""
        return tuple(sorted(self.settings.items()))

    @property
    def _training(self) -> list[str]:
        """How far gradient goes, if not through a whole sample, and other lessons than usual."""
        n_unrolls, parts = self.train["bptt_unrolls"], []
        if self.carries_gradient and n_unrolls >= 0:
            parts.append(f"BPTT-{n_unrolls}")
        if self.train["bptt_mode"] == "window" and n_unrolls >= 0:
            parts.append("window")
        if segments := self.train.get("curriculum_segments"):
            parts.append(f"after {', '.join(map(str, segments[:-1]))} segments")
        if began_with := self.result.get("began_with"):
            parts.append(f"from {began_with['model']}")
        recipe = self.train.get("recipe", "")
        if self.is_task and recipe and self.task_dataset.has_lessons:
            usual = recipe_for({"recipe": recipe}, self.task_dataset.fast).get("curriculum")
            own = self.train.get("curriculum")
            if bool(own) != bool(usual):
                parts.append("lessons" if own else "no lessons")
        return parts

    # Of runs on tasks

    @property
    def dataset(self) -> str:
        return self.train["dataset"]

    @property
    def task_dataset(self) -> TaskDataset:
        return data.find(self.dataset)

    @property
    def size(self) -> int:
        """Symbols or pairs of a sample; 0 where a task has one size."""
        return self.task_dataset.size(self.task)

    @property
    def setting(self) -> str:
        """The task with its size, for people."""
        return self.task_dataset.described(self.task)

    @property
    def headline(self) -> str:
        """Which rate the paper reports of the task, as in metrics.jsonl."""
        return self.task_dataset.headline

    @property
    def whole_sample(self) -> bool:
        """Whether gradient goes through the whole sample, as in the authors' runs."""
        return not self.carries_gradient or self.train["bptt_unrolls"] < 0


# Settings that are chosen by others, as batches by the length of segments: they need not be told
# where those are.
FOLLOWING = ("batch_size", "eval_batch_size", "eval_tgt_len", "warmup_step")


def by_configuration(
    runs: Sequence[LoggedRun], name: Callable[[LoggedRun], object]
) -> list[tuple[list[LoggedRun], str]]:
    """Runs that differ by their seed alone, together, and what to add to their name.

    That is empty where no other configuration has the name, else the settings in which they differ
    from those that have: ", n_layer 2". Of FOLLOWING those that follow from the others are left
    out. Groups are in the order in which they were first seen.
    """
    groups: dict[tuple, list[LoggedRun]] = {}
    for run in runs:
        groups.setdefault(run.configuration, []).append(run)
    added = _differences([same[0] for same in groups.values()], name)
    return [(same, added[configuration]) for configuration, same in groups.items()]


def _differences(
    runs: Sequence[LoggedRun], name: Callable[[LoggedRun], object]
) -> dict[tuple, str]:
    named: dict[object, dict[tuple, dict]] = {}
    for run in runs:
        named.setdefault(name(run), {})[run.configuration] = run.settings
    added = {}
    for same in named.values():
        keys = dict.fromkeys(key for settings in same.values() for key in settings)
        differing = [
            key for key in keys if len({settings.get(key) for settings in same.values()}) > 1
        ]
        chosen = [key for key in differing if key not in FOLLOWING]
        told = [key for key in differing if key in chosen or not _follows(key, chosen, same)]
        for configuration, settings in same.items():
            added[configuration] = "".join(f", {key} {settings.get(key)}" for key in told)
    return added


def _follows(key: str, others: Sequence[str], same: Mapping[tuple, Mapping]) -> bool:
    """Whether a setting is the same wherever the others are."""
    places = [tuple(str(own.get(other)) for other in others) for own in same.values()]
    values = zip(places, (str(own.get(key)) for own in same.values()), strict=True)
    return len(set(values)) == len(set(places))


def begun_with(train: Mapping) -> str:
    """What --init_from names, for runs of one configuration: the end of the path, without the seed.

    Runs that differ by their seed alone may begin with runs that do.
    """
    end = "/".join(Path(train.get("init_from", "")).parts[-2:])
    return end.removesuffix(f"-seed{train['seed']}")


def read_runs(paths: list[Path]) -> list[LoggedRun]:
    """Read run folders, or folders of run folders (in the order of their names).

    Unfinished runs in a folder of runs are left out, and named on stderr. Raises UsageError where
    there is none, or one is damaged, or one that was named itself is unfinished.
    """
    folders = []
    for path in paths:
        if (path / "config.json").exists():
            folders.append(path)
            continue
        inside = [config.parent for config in sorted(path.glob("*/config.json"))]
        finished = [folder for folder in inside if (folder / "result.json").exists()]
        folders += finished
        for folder in sorted(set(inside) - set(finished)):
            print(f"{folder} is unfinished and left out", file=sys.stderr)
    if not folders:
        raise UsageError(f"there is no run in {', '.join(map(str, paths))}")
    return [_read(folder) for folder in folders]


def finished_runs(root: Path) -> list[LoggedRun]:
    """All finished runs that count in the folders of runs in root, in the order of their paths.

    Raises UsageError where one is damaged.
    """
    folders = [result.parent for result in sorted(root.glob("*/*/result.json"))]
    return [_read(folder) for folder in folders if folder.parent.name != NOT_COUNTED]


def finished_run(folder: Path) -> LoggedRun | None:
    """The run in a folder if it is finished; UsageError where it is damaged."""
    return _read(folder) if (folder / "result.json").exists() else None


def refuse_tasks(runs: list[LoggedRun], instead: str) -> None:
    """Raise UsageError if a run is on an algorithmic task, and name what to do instead, or if it is
    on texts with labels."""
    for run in runs:
        if run.is_task:
            instead = instead if run.is_algorithmic else OF_LABELS
            raise UsageError(f"{run.path} is a run on {run.dataset}, not on text: {instead}")


def refuse_text(runs: list[LoggedRun], instead: str) -> None:
    """Raise UsageError, which names what to do instead, if a run is on text."""
    for run in runs:
        if not run.is_task:
            raise UsageError(f"{run.path} is a run on text, not on a task: {instead}")
        if not run.is_algorithmic:
            raise UsageError(
                f"{run.path} is a run on {run.dataset}, texts with labels: {OF_LABELS}"
            )


def _read(folder: Path) -> LoggedRun:
    try:
        config = json.loads((folder / "config.json").read_text())
        result = json.loads((folder / "result.json").read_text())
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        model = models.options_of(config["model"])
        train = {name: from_json(value) for name, value in config["train"].items()}
        task, changed = config.get("task", {}), config.get("changed", [])
        run = LoggedRun(folder, model, train, task, result, metrics, changed)
        _check(run)
        return run
    except FileNotFoundError as error:
        raise UsageError(f"{folder} is not a finished run: it has no {error.filename}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"the files of {folder} can't be read ({error})") from None


def _check(run: LoggedRun) -> None:
    """Raise an error of reading unless the files hold what every table and figure reads."""
    if not all(isinstance(entry, dict) for entry in (run.result, *run.metrics)):
        raise TypeError("not the objects that a run writes")
    needed = ["bptt_unrolls", "bptt_mode", "seed", *(["dataset"] if run.is_task else [])]
    for name in needed:
        run.train[name]
    for name in ["segments", "tgt_len", "steps"] if run.is_task else ["corpus", "tokens"]:
        run.result[name]
    if not math.isfinite(run.score):
        raise ValueError(f"the test score is {run.score}")
