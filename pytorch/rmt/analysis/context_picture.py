"""Draw what the past is worth to trained models, all of them in one picture."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rmt.analysis.context import ContextLosses, context_losses, numbers_before
from rmt.data.metrics import Metric
from rmt.evaluation.given_text import TextRun, read_text_run
from rmt.evaluation.text import in_train_protocol
from rmt.runs.drawing import check_name, plt, save_figure
from rmt.runs.text import load_text
from rmt.runs.trained import inherited
from rmt.runtime.errors import UsageError
from rmt.runtime.files import write_text

N_BINS = 24  # points of a line over the positions in a segment
MARKERS = "os^Dv<>P*X"


@dataclass(frozen=True)
class Measured:
    """A run and its losses."""

    work_dir: Path
    run: TextRun
    losses: ContextLosses

    @property
    def label(self) -> str:
        """The model and how far gradient went."""
        carries, train = self.run.model.carries, self.run.settings.train
        depth = f", BPTT-{train.bptt_unrolls}" if carries.gradient else ""
        return f"{self.run.model.config.label}{depth}, segments of {self.losses.tgt_len}"

    @property
    def settings(self) -> dict:
        """All that its scores depend on, but the seed and the data."""
        return self.run.settings.scores_depend_on(self.run.model.config)


def draw_context(
    work_dirs: Sequence[Path],
    text: str | None,
    history: int,
    n_segments: int,
    out: Path | None,
) -> list[Path]:
    """Draw runs on the same text, and write the numbers beside; returns the files written.

    text: a file; None takes the runs' own test text. history: the most segments that are read
    before one. out: FILE.png; None is in the first run's folder. Raises UsageError for runs that
    can't be compared.
    """
    out = out or work_dirs[0] / "context.png"
    check_name(out)
    if history < 1 or n_segments < 1:
        raise UsageError("history and segments must be 1 or more")
    runs = [read_text_run(work_dir) for work_dir in work_dirs]
    check_comparable(work_dirs, runs, text)
    measured = []
    for work_dir, run in zip(work_dirs, runs, strict=True):
        name, ids = run.read(text) if text else _test_text(work_dir, run)
        protocol = in_train_protocol(run.model.config, run.settings.train)
        losses = context_losses(
            run.model.with_lengths(**protocol.lengths),
            ids,
            protocol.tgt_len,
            numbers_before(history),
            n_segments,
            name=name,
        )
        measured.append(Measured(work_dir, run, losses))
    draw(measured, name, out)
    numbers = out.with_suffix(".json")
    write_text(numbers, json.dumps(record(measured, name), indent=1) + "\n")
    return [out, numbers]


def check_comparable(work_dirs: Sequence[Path], runs: Sequence[TextRun], text: str | None) -> None:
    """Raise UsageError for losses that say nothing of each other."""
    for work_dir, run in zip(work_dirs[1:], runs[1:], strict=True):
        both = f"{work_dirs[0]} and {work_dir}"
        if run.vocabulary.symbols != runs[0].vocabulary.symbols:
            raise UsageError(f"{both} have different vocabularies: their losses can't be compared")
        corpora = {each.checkpoint.manifest.get("corpus") for each in (runs[0], run)}
        if text is None and len(corpora) > 1:
            raise UsageError(f"{both} are of different texts: name one for both with --text")


def _test_text(work_dir: Path, run: TextRun):
    try:
        own = inherited(work_dir, run.model.config, run.checkpoint, run.vocabulary)
        corpus = load_text(run.settings, inherited=own)
    except UsageError as error:
        raise UsageError(f"the text of {work_dir} can't be read ({error}): give --text") from None
    if run.checkpoint.manifest.get("corpus") != corpus.fingerprint:
        raise UsageError(f"{work_dir} was trained on another text than there is now: give --text")
    return f"{run.settings.dataset.name}, test", corpus.splits["test"]


def draw(measured: Sequence[Measured], name: str, out: Path) -> None:
    """Loss by position, and by the number of segments read before; a line for every run.

    Runs that differ by their seed alone look alike and share a place in the legend.
    """
    metric = measured[0].run.reading.metric
    figure, (by_position, by_history) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    names = legend_names(measured)
    kinds = list(dict.fromkeys(names))
    seen = set()
    for each, label in zip(measured, names, strict=True):
        i = kinds.index(label)
        style = {"color": f"C{i % 10}", "marker": MARKERS[i % len(MARKERS)], "ms": 3.5}
        _draw_by_position(by_position, each.losses, metric, style)
        n_before = range(len(each.losses.n_before))
        scores = [metric.of_loss(loss) for loss in each.losses.losses]
        n_alike = names.count(label)
        shown = label + (f" ({n_alike} runs)" if n_alike > 1 else "")
        by_history.plot(n_before, scores, **style, label=None if label in seen else shown)
        seen.add(label)
    most = measured[0].losses.n_before
    by_history.set_xticks(range(len(most)), [str(n) for n in most])
    by_history.set_title(name, parse_math=False)
    by_history.set_xlabel("segments that were read before")
    by_position.set(
        title=f"{most[-1]} segments read before (solid), none (dashed)",
        xlabel="position in the segment",
        ylabel=f"{metric.name} (lower is better)",
    )
    for axis in (by_position, by_history):
        axis.grid(alpha=0.3)
    place = {"loc": "outside lower center", "ncols": 2, "fontsize": 8, "frameon": False}
    handles, labels = by_history.get_legend_handles_labels()
    figure.legend(handles, labels, **place)
    save_figure(figure, out)


def _draw_by_position(axis, losses: ContextLosses, metric: Metric, style: dict) -> None:
    for without, line in ((False, "-"), (True, "--")):
        positions, nats = losses.by_position(without, N_BINS)
        axis.plot(positions, [metric.of_loss(loss) for loss in nats], linestyle=line, **style)


def legend_names(measured: Sequence[Measured]) -> list[str]:
    """The labels, with the folder where runs of one label differ by more than their seed."""
    by_label: dict[str, list[dict]] = {}
    for each in measured:
        by_label.setdefault(each.label, []).append(each.settings)
    return [
        each.label
        if all(other == each.settings for other in by_label[each.label])
        else f"{each.label}, {each.work_dir.name}"
        for each in measured
    ]


def record(measured: Sequence[Measured], name: str) -> dict:
    """All numbers of the picture, in nats per token, with their standard errors over segments."""
    runs = []
    for each, label in zip(measured, legend_names(measured), strict=True):
        losses = each.losses
        gains = zip(losses.gains.tolist(), losses.gain_errors.tolist(), strict=True)
        by_history = [
            {"segments_before": n, "loss": loss, "gain": gain, "gain_standard_error": _known(error)}
            for n, loss, (gain, error) in zip(
                losses.n_before, losses.losses.tolist(), gains, strict=True
            )
        ]
        runs.append(
            {
                "work_dir": str(each.work_dir),
                "label": label,
                "seed": each.run.settings.train.seed,
                "tgt_len": losses.tgt_len,
                "n_segments": losses.n_segments,
                "by_history": by_history,
                "by_position": losses.by_position(without=False)[1],
                "by_position_without_history": losses.by_position(without=True)[1],
            }
        )
    return {"text": name, "runs": runs}


def _known(error: float) -> float | None:
    """Not a number is no JSON."""
    return error if error == error else None
