"""The benchmark: counted operations, the split by part, cases, and what it prints and keeps."""

import itertools
import json
import signal
import sys
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from helpers.models import LENGTHS, tiny_config, tiny_model, tiny_segments
from helpers.programs import (
    ROOT,
    assert_one_sentence,
    process_settings,
    run,
    run_process,
)
from rmt import bench
from rmt.benchmark import measure, rates
from rmt.benchmark.cases import Case, cases
from rmt.benchmark.measure import in_new_process, zipf_ids
from rmt.benchmark.rates import matrix_rate
from rmt.benchmark.tables import label
from rmt.benchmark.time_split import part, time_split
from rmt.models.registry import options_of
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.models.transformer_xl.operations import layer_flops, softmax_flops
from rmt.models.transformer_xl.plain import PlainModel
from rmt.options.training import TrainConfig
from rmt.runtime.errors import ProcessKilled
from rmt.runtime.machine import ALLOCATORS
from rmt.training.cost import layer_operations, segments_per_step, step_operations

TINY = "--n_layer 1 --n_head 2 --d_head 4 --d_model 8 --d_inner 12".split()


# Counting


@pytest.mark.parametrize("name", LENGTHS)
def test_counted_operations_are_those_that_pytorch_counts(name):
    """Of all rows, with a full cache; the embedding and the softmax are left out."""
    config = tiny_config(name)
    model, segments = PlainModel(config), tiny_segments([9, 9], n_streams=3)
    _, state = model(*segments[0])
    with FlopCounterMode(display=False) as counter:
        model(*segments[1], state)
    of_softmax = 2 * (3 * 9) * config.d_model * config.n_token
    assert counter.get_total_flops() - of_softmax == layer_flops(config, 9, 3)


def test_a_steps_operations_are_three_times_those_of_its_segments():
    """And chunks of the batch each have their own projection of the distances."""
    model = tiny_config("rmt")
    config = TrainConfig(tgt_len=9, batch_size=4, bptt_unrolls=2)
    assert layer_operations(model, config) == 3 * 3 * layer_flops(model, 9, 4)
    chunks = replace(config, batch_chunk=2)
    assert layer_operations(model, chunks) == 3 * 3 * 2 * layer_flops(model, 9, 2)


def test_a_window_predicts_all_its_segments_and_replay_the_last_alone():
    model = tiny_config("rmt")
    replay = TrainConfig(tgt_len=9, batch_size=4, bptt_unrolls=3)
    window = replace(replay, bptt_mode="window")
    assert (segments_per_step(replay), segments_per_step(window)) == ((1, 3), (4, 0))
    predictions = 3 * softmax_flops(model, 4 * 9)
    layers = 3 * 4 * layer_flops(model, 9, 4)
    assert step_operations(model, replay) == layers + predictions
    assert step_operations(model, window) == layers + 4 * predictions


def test_the_rate_is_operations_per_second(monkeypatch):
    """Of products that take a second each."""
    ticks = itertools.count()
    monkeypatch.setattr(rates.time, "perf_counter", lambda: float(next(ticks)))
    assert matrix_rate(torch.float32, torch.device("cpu"), seconds=0.0) == 2 * 1536**3


def test_the_run_scripts_set_the_same_allocators():
    lib = (ROOT / "run_scripts" / "lib.sh").read_text()
    for name, value in ALLOCATORS.items():
        assert f'export {name}="${{{name}:-{value}}}"' in lib


# The split


def test_the_split_finds_where_the_time_goes():
    """Of a model in which one part is made much larger than all others."""
    shares = {}
    for large in ({"d_inner": 20_000}, {"n_token": 20_000}):
        config = replace(tiny_config("rmt", dropout=0.1), **large)
        model, segments = PlainModel(config).train(), tiny_segments([20], n_streams=4)

        def step(model=model, segments=segments):
            with part("something else"):
                torch.ones(10).sum()
            model(*segments[0])[0].mean().backward()

        shares[next(iter(large))] = found = time_split(model, step, torch.device("cpu"))
        assert sum(found.values()) == pytest.approx(1)
        assert [*found.values()] == sorted(found.values(), reverse=True)
        assert {"attention", "feed-forward", "softmax", "dropout", "something else"} <= {*found}
    assert shares["d_inner"]["feed-forward"] > shares["n_token"]["feed-forward"]
    assert shares["n_token"]["softmax"] > shares["d_inner"]["softmax"]


def test_the_split_knows_associative_memories():
    """And leaves their methods as they were."""
    model, segments = tiny_model("armt", d_mem=64), tiny_segments([5, 5])

    def step():
        _, state = model(*segments[0])
        model(*segments[1], state)[0].mean().backward()

    found = time_split(model, step, torch.device("cpu"))
    assert found["memory"] > 0.05
    assert not {"read", "write"} & vars(model.layers[0].memory).keys()


def test_the_split_leaves_no_marks():
    """A profile of the model has the events that it had before."""
    model, segment = PlainModel(tiny_config("rmt")), tiny_segments([5])[0]

    def events() -> set[str]:
        with profile(activities=[ProfilerActivity.CPU]) as found:
            model(*segment)
        return {event.name for event in found.events()}

    model(*segment)  # which keeps some of what it computes
    before = events()
    split = time_split(model, lambda: model(*segment), torch.device("cpu"))
    assert "attention" in split
    assert events() == before


def test_the_profilers_warnings_are_not_shown(capsys):
    """Only its own: a warning of the step's stays."""
    modules = ["torch.profiler.profiler", "torch.autograd.profiler", "rmt.training.trainer"]

    def show(message, *_, **__):
        print(message, file=sys.stderr)

    def step():
        model(*tiny_segments([5])[0])
        for module in modules:
            warnings.warn_explicit(f"from {module}", UserWarning, "file", 1, module)

    model = PlainModel(tiny_config("rmt"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        time_split(model, step, torch.device("cpu"))
        step()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("from ")]
    assert said == ["from rmt.training.trainer", *(f"from {module}" for module in modules)]


# Cases


def cases_of(*argv: str) -> list[Case]:
    options = bench.parse(list(argv))
    options.pop("out")
    return list(cases(options.pop("names"), options.pop("grid"), options))


def test_every_combination_is_a_case_once():
    found = cases_of(
        *"wt103 enwik8 --models baseline trxl rmt --bptt 0 3 --precisions fp32 bf16".split()
    )
    assert [label(case) for case in found[::2]] == [
        f"{name} {model}"
        for name in ("wt103", "enwik8")
        for model in ("baseline BPTT-0", "trxl BPTT-0", "rmt BPTT-0", "rmt BPTT-3")
    ]
    assert {case.train.precision for case in found[::2]} == {"fp32"}
    assert {case.train.precision for case in found[1::2]} == {"bf16"}


def test_the_named_sizes_are_the_papers():
    wt103, enwik8, copy = cases_of("wt103", "enwik8", "copy")
    sizes = [
        MemTransformerLM(replace(case.model, mem_len=0, model="baseline")).n_parameters()
        for case in (wt103, enwik8)
    ]
    assert sizes == [151_107_538, 41_055_436]
    assert (copy.train.tgt_len, copy.train.bptt_unrolls, copy.model.mem_len) == (12, -1, 12)


def test_words_are_as_frequent_as_words():
    ids = zipf_ids(np.random.default_rng(0), 267_735, 20_000)
    assert ids.dtype == np.int32
    assert 0 <= ids.min() <= ids.max() < 267_735
    assert 0.88 < (ids < 20_000).mean() < 0.96


# The program


@pytest.fixture
def in_this_process(monkeypatch):
    """Measure here: a new process takes seconds to begin."""
    monkeypatch.setattr(bench, "measured", measure.measure)
    rate = lambda dtype, device: 1e9 if dtype == torch.float32 else 4e9  # noqa: E731
    monkeypatch.setattr(measure, "matrix_rate", rate)


@pytest.fixture
def stopwatch(monkeypatch):
    """Let the steps that are timed take these seconds, one after the other."""

    def stopwatch(*durations: float) -> None:
        readings = itertools.chain.from_iterable((0.0, seconds) for seconds in durations)
        clock = SimpleNamespace(perf_counter=lambda: next(readings))
        monkeypatch.setattr(measure, "time", clock)

    return stopwatch


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("flags", ["enwik8 --bptt 2 --batch_size 2", "copy --batch_size 3 --n 6"])
def test_what_is_measured_is_printed_and_kept(tmp_path, stopwatch, flags):
    stopwatch(2.0, 6.0, 4.0, 4.0)  # our steps and the plain model's in turn
    outcome = run(
        bench.main, *flags.split(), *TINY, *"--steps 2 --precisions bf16 --against plain".split(),
        *("--tgt_len", 7) if "enwik8" in flags else (), "--out", tmp_path / "speed.json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert f"| {flags.split()[0]} | rmt |" in outcome.out
    kept = json.loads((tmp_path / "speed.json").read_text())
    assert {"date", "machine", "versions", "git_commit"} <= {*kept}
    (found,) = kept["results"]
    assert (found["fastest"], found["seconds_per_step"], found["slowest"]) == (2, 3, 4)
    flops = found["layer_flops_per_step"]
    assert found["units"] == pytest.approx(3 / (flops / 1e9))
    assert found["utilization"] == pytest.approx(flops / 3 / 4e9)
    if "enwik8" in flags:
        assert found["tokens_per_s"] == pytest.approx(2 * 7 / 3)
        own = options_of(found["model"] | {"n_token": found["n_token"]})
        assert flops == 3 * 3 * layer_flops(own, 7, 2), "two segments are replayed"
    else:
        assert found["tokens_per_s"] == pytest.approx(3 * 18 / 3)
    ratios = {"ratio": 2, "lowest_ratio": 1, "highest_ratio": 3}
    assert found["plain"] == {"seconds_per_step": 5, **ratios}
    assert {"attention", "optimizer", "data"} <= {*found["split"]}


@pytest.mark.usefixtures("in_this_process")
def test_window_is_measured_against_replay(tmp_path, stopwatch):
    """In tokens per second: a step has three segments instead of one."""
    stopwatch(6.0, 4.0, 6.0, 5.0, 6.0, 6.0)
    argv = ["enwik8", "--bptt", "2", "--tgt_len", "7", "--bptt_mode", "window", "--steps", "3"]
    outcome = run(
        bench.main, *argv, *TINY, *("--against", "replay", "--out", tmp_path / "speed.json")
    )
    assert outcome.status == 0, outcome.err
    assert "| times replay's tokens/s |" in outcome.out
    (found,) = json.loads((tmp_path / "speed.json").read_text())["results"]
    assert found["replay"]["seconds_per_step"] == 5
    assert found["replay"]["ratio"] == pytest.approx(3 * 5 / 6)
    assert found["replay"]["highest_ratio"] == pytest.approx(3)


def test_what_hangs_is_stopped_after_its_time():
    with pytest.raises(ProcessKilled, match=r"stopped, for it took longer than 0\.1 s"):
        in_new_process(signal.pause, seconds=0.1)


def test_what_ends_in_time_has_its_result():
    assert in_new_process(abs, -3, seconds=600) == 3


# As Python starts: Ctrl-C comes to all processes of the terminal when the one that measures begins.
CTRL_C = """
import os, signal, sys
if "--multiprocessing-fork" in sys.orig_argv:
    os.killpg(0, signal.SIGINT)
"""


def test_ctrl_c_is_one_word_though_there_are_two_processes(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(CTRL_C)
    settings = process_settings() | {"start_new_session": True}
    settings["env"]["PYTHONPATH"] += f":{tmp_path}"
    settings["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    outcome = run_process("rmt.bench", "enwik8", *TINY, "--steps", 10_000, **settings)
    assert (outcome.status, outcome.out, outcome.err) == (130, "", "interrupted\n")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("enwik8 --against replay", "--against replay compares --bptt_mode window with it"),
        ("wt104", "invalid choice: 'wt104'"),
        ("enwik8 --model rmt", "say --models here, not --model"),
        ("enwik8 --dataset copy", "say SIZES here, not --dataset"),
        ("enwik8 --bptt_unrolls 3", "say --bptt here, not --bptt_unrolls"),
        ("enwik8 --out nowhere/found.json", "nowhere/found.json can't be written (No such file"),
        ("enwik8 --steps 0", "steps must be at least 1"),
        ("enwik8 --batch_size 3 --batch_chunk 2", "does not divide"),
    ],
)
def test_wrong_use_is_one_sentence(flags, expected):
    assert expected in assert_one_sentence(run(bench.main, *flags.split()))
