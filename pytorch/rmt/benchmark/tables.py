"""Measurements as tables in Markdown."""

from collections.abc import Sequence

from rmt.benchmark.cases import Case
from rmt.options.schedule import SEQUENTIAL
from rmt.options.training import EAGER
from rmt.runs.reports import markdown

AGAINST = ("plain", "replay")


def label(case: Case) -> str:
    return f"{case.name} {case.model.model} {_schedule(case.train.recorded())}"


def _schedule(train: dict, form: str = EAGER) -> str:
    depth = "full" if train["bptt_unrolls"] < 0 else f"BPTT-{train['bptt_unrolls']}"
    extras = [f"{train['batch_chunk']} chunks"] if train["batch_chunk"] > 1 else []
    extras += ["window"] if train["bptt_mode"] == "window" and train["bptt_unrolls"] > 0 else []
    extras += ["checkpointed"] if train["checkpoint_segments"] else []
    order = train.get("schedule", SEQUENTIAL)  # reports from before there was another have none
    extras += [] if order == SEQUENTIAL else [order]
    extras += [] if form == EAGER else [form]
    return ", ".join([depth, *extras])


def _case(found: dict) -> list[str]:
    """What stands at the beginning of a measurement's rows."""
    train = found["train"]
    schedule = _schedule(train, found.get("step_form", EAGER))
    return [found["name"], found["model"]["model"], schedule, train["precision"]]


def table(results: Sequence[dict]) -> str:
    """The measurements in Markdown, a row each."""
    head = ["sizes", "model", "gradient", "precision", "ms/step", "spread", "tokens/s"]
    head += ["units", "of matrix rate", "peak memory"]
    others = [other for other in AGAINST if any(other in result for result in results)]
    for other in others:
        head += [f"{other} ms/step", f"times {other}'s tokens/s"]
    rows = []
    for found in results:
        ms = 1000 * found["seconds_per_step"]
        row = _case(found)
        row += [f"{ms:,.1f}", f"{1000 * found['fastest']:,.1f} to {1000 * found['slowest']:,.1f}"]
        row += [f"{found['tokens_per_s']:,.0f}"]
        row += [f"{found['units']:.2f}"] if found["units"] else [""]
        row += [f"{found['utilization']:.0%}"] if found["utilization"] else [""]
        row += [f"{found['peak_memory_bytes'] / 2**30:.2f} GiB"]
        for other in (found.get(name) for name in others):
            row += [f"{1000 * other['seconds_per_step']:,.1f}"] if other else [""]
            row += [f"{other['ratio']:.2f}"] if other else [""]
        rows.append(row)
    return markdown(head, rows, n_words=4)


def split_table(results: Sequence[dict]) -> str:
    """Where the time goes, in Markdown: a row for each measurement, a column for each part.

    Empty without any; compiled models have none.
    """
    results = [found for found in results if "split" in found]
    if not results:
        return ""
    parts = list(dict.fromkeys(part for found in results for part in found["split"]))
    rows = [
        _case(found) + [f"{found['split'].get(part, 0):.0%}" for part in parts] for found in results
    ]
    return markdown(["sizes", "model", "gradient", "precision", *parts], rows, n_words=4)


def kernel_table(results: Sequence[dict]) -> str:
    """What a GPU does in a step, in Markdown: the kernels of each kind in milliseconds.

    Empty without any.
    """
    results = [found for found in results if "kernels" in found]
    if not results:
        return ""
    kinds = list(dict.fromkeys(kind for found in results for kind in found["kernels"]["kinds"]))
    rows = []
    for found in results:
        kernels = found["kernels"]
        row = [*_case(found), f"{kernels['number']:,}", f"{1000 * kernels['seconds']:.1f}"]
        rows.append(row + [f"{1000 * kernels['kinds'].get(kind, 0):.1f}" for kind in kinds])
    head = ["sizes", "model", "gradient", "precision", "kernels", "ms in all", *kinds]
    return markdown(head, rows, n_words=4)
