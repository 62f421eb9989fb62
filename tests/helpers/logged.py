"""Run folders made by hand, as a run on an algorithmic task leaves them."""

import json
from dataclasses import asdict
from pathlib import Path

from helpers.data import make_task, task_options
from rmt.models.registry import options_of
from rmt.models.transformer_xl.options import ModelConfig
from rmt.reproduction.plans import Plan
from rmt.runs.logged_runs import LoggedRun


def write_task_run(
    folder: Path,
    dataset: str = "copy",
    model: str = "rmt",
    memory: int = 0,
    segments: int = 6,
    accuracy: float = 0.5,
    *,
    seed: int = 1,
    unrolls: int = -1,
    steps: int = 300,
    training: dict | None = None,
    model_options: dict | None = None,
    **sizes: int,
) -> Path:
    """A finished run; accuracy is the headline of the test and of the last validation."""
    folder.mkdir(parents=True)
    tgt_len = -(-(make_task(dataset, **sizes).length - 1) // segments)
    config = {
        "model": asdict(ModelConfig(10, model, memory, **(model_options or {}))),
        "train": {"dataset": dataset, "bptt_unrolls": unrolls, "bptt_mode": "replay"}
        | {"seed": seed, "tgt_len": tgt_len, "batch_size": 20, "encoded_dir": str(folder)}
        | (training or {}),
        "task": task_options(dataset, **sizes).recorded(),
    }
    rates = _rates(dataset, accuracy)
    result = {"segments": segments, "tgt_len": tgt_len, "test_acc": accuracy, "steps": steps}
    result |= {"seconds": 60.0 * seed} | {f"test_{name}": value for name, value in rates.items()}
    metrics = [
        {"kind": "valid", "step": step, "seconds": step / 5, "tokens": 1000 * step, "loss": 1.0}
        | _rates(dataset, accuracy * step / steps)
        for step in (steps // 3, 2 * steps // 3, steps)
    ]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in metrics))
    return folder


def _rates(dataset: str, accuracy: float) -> dict[str, float]:
    """Free-running and teacher-forced rates; of quadratic accuracy is the solve rate."""
    tokens, answers = (0.99, accuracy) if dataset == "quadratic" else (accuracy, accuracy / 2)
    free = {"accuracy": tokens, "sequence_accuracy": answers / 2, "solve_rate": answers}
    if dataset != "quadratic":
        free["sequence_accuracy"] = answers
    return free | {f"forced_{name}": min(1.0, value + 0.05) for name, value in free.items()}


def run_of(own: Plan, seed: int = 1, score: float = 2.0, **changes: object) -> LoggedRun:
    """A run of a plan, or nearly."""
    parts = own.settings.record(own.model)
    parts["train"] |= {"seed": seed}
    if own.begins_with:
        parts["train"]["init_from"] = f"results/runs/{own.begins_with.folder_name(seed)}"
    parts.setdefault("task", {})
    for name, value in changes.items():
        (owner,) = (part for part in parts.values() if name in part)
        owner[name] = value
    result = {"n_token": own.n_token or 50, "corpus": "abc"}
    of_text = "test_ppl" if own.dataset == "wt103" else "test_bpc"
    result |= {"test_acc" if own.is_task else of_text: score}
    model = options_of(parts["model"])
    return LoggedRun(
        Path("results/runs", own.folder_name(seed)),
        model,
        parts["train"],
        parts["task"],
        result,
        [],
    )
