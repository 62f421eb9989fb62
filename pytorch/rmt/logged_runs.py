"""Read finished runs back from their folders, for tables and figures."""

import json
from dataclasses import dataclass
from pathlib import Path

from rmt.config import ModelConfig
from rmt.errors import UsageError


@dataclass(frozen=True)
class LoggedRun:
    """One run folder: what config.json, result.json and metrics.jsonl say."""

    path: Path
    model: ModelConfig
    train: dict
    result: dict
    metrics: list[dict]

    @property
    def word_level(self) -> bool:
        return "test_ppl" in self.result

    @property
    def score(self) -> float:
        """Test perplexity of words, bits per character otherwise."""
        return self.result["test_ppl" if self.word_level else "test_bpc"]

    @property
    def label(self) -> str:
        """The model with the settings that tell it from its neighbours in a table."""
        model, parts = self.model, []
        if model.n_memory:
            parts.append(f"memory {model.n_memory}")
        if model.n_cached:
            parts.append(f"cache {model.n_cached}")
        if model.writes_memory:
            parts.append(f"BPTT-{self.train['bptt_unrolls']}")
        if self.train["bptt_mode"] == "window":
            parts.append("window")
        return ", ".join([model.model, *parts])


def read_runs(paths: list[Path]) -> list[LoggedRun]:
    """Read run folders, or folders of run folders (in the order of their names).

    Raises UsageError where there is none, or one is unfinished or damaged.
    """
    folders = []
    for path in paths:
        inside = [path] if (path / "config.json").exists() else sorted(path.glob("*/config.json"))
        folders += [p.parent if p.name == "config.json" else p for p in inside]
    if not folders:
        raise UsageError(f"there is no run in {', '.join(map(str, paths))}")
    return [_read(folder) for folder in folders]


def _read(folder: Path) -> LoggedRun:
    try:
        config = json.loads((folder / "config.json").read_text())
        result = json.loads((folder / "result.json").read_text())
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        model = ModelConfig.from_record(config["model"])
        return LoggedRun(folder, model, config["train"], result, metrics)
    except FileNotFoundError as error:
        raise UsageError(f"{folder} is not a finished run: it has no {error.filename}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the files of {folder} can't be read ({error})") from None
