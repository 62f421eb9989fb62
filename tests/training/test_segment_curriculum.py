"""Gradient through more and more segments in one run (--curriculum_segments, --curriculum_steps).

That gradient reaches as far as it should is in test_recurrence.py, that a restart is exact in
test_resume.py.
"""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.programs import RMT, TRXL, assert_one_sentence, records, run
from rmt import train
from rmt.options.training import TrainConfig
from rmt.reproduction.expected import run_operations
from rmt.runs.logged_runs import read_runs
from rmt.runs.settings import Settings

STAGES = "--curriculum_segments 1 2 4 --curriculum_steps 1 2".split()


def test_a_run_is_of_its_last_stage_and_says_when_each_begins(tiny, tmp_path):
    folder = tmp_path / "run"
    outcome = run(train.main, *tiny, *RMT, *STAGES, "--work_dir", folder)
    assert outcome.status == 0, outcome.err
    for step, through in ((1, "1 segment"), (2, "2 segments"), (4, "4 segments")):
        assert f"| from step {step} on gradient flows through {through}\n" in outcome.out
    assert json.loads((folder / "config.json").read_text())["train"]["bptt_unrolls"] == 3
    (logged,) = read_runs([folder])
    assert logged.label == "rmt, memory 2, BPTT-3, after 1, 2 segments"
    assert hash(logged.configuration)
    settings, _ = Settings.read(folder)
    assert settings.train.stages == ((0, 0), (1, 1), (3, 3))


def test_each_stage_trains_with_its_own_gradient(tiny, tmp_path):
    """Until its second stage has something to replay a run is one of the first stage alone."""
    folders = {"alone": [], "both": "--curriculum_segments 1 3 --curriculum_steps 3".split()}
    for name, flags in folders.items():
        flags = [*tiny, *RMT, "--max_step", 5, *flags, "--work_dir", tmp_path / name]
        assert run(train.main, *flags).status == 0
    alone, both = ([e["loss"] for e in records(tmp_path / name, "train")] for name in folders)
    assert alone[:4] == both[:4]
    assert alone[4] != both[4]


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ("--curriculum_segments 1 2", "2 of these go with 1, not 0"),
        ("--curriculum_steps 1 2", "0 of these go with 0, not 2"),
        ("--curriculum_segments 2 1 --curriculum_steps 1", "must increase from 1 or more"),
        ("--curriculum_segments 0 1 --curriculum_steps 1", "must increase from 1 or more"),
        ("--curriculum_segments 1 2 --curriculum_steps 0", "leave some of max_step 4"),
        ("--curriculum_segments 1 2 --curriculum_steps 4", "leave some of max_step 4"),
        ("--curriculum_segments 1 2 --curriculum_steps 1 --bptt_unrolls 2", "bptt_unrolls 1, not"),
        ("--curriculum_segments 1 x --curriculum_steps 1", "invalid int value: 'x'"),
    ],
)
def test_curricula_that_can_not_be(tiny, tmp_path, flags, part):
    folder = tmp_path / "run"
    outcome = run(train.main, *tiny, *RMT, *flags.split(), "--work_dir", folder)
    assert part in assert_one_sentence(outcome)
    assert not folder.exists()


def test_a_model_that_passes_no_gradient_has_no_curriculum(tiny):
    outcome = run(train.main, *tiny, *TRXL, *STAGES, "--debug")
    assert "trxl passes no gradient between segments" in assert_one_sentence(outcome)


def test_a_task_has_lessons_instead(tiny):
    flags = [*tiny, "--data", "", *RMT, *"--dataset reverse --n 6 --tgt_len 5".split(), *STAGES]
    sentence = assert_one_sentence(run(train.main, *flags, "--debug"))
    assert "curriculum_segments is for text" in sentence


def test_a_restart_keeps_the_curriculum(tiny, tmp_path):
    flags = [*tiny, *RMT, "--work_dir", tmp_path / "run"]
    assert run(train.main, *flags, *STAGES).status == 0
    other = "--curriculum_segments 1 2 4 --curriculum_steps 2 1 --restart".split()
    sentence = assert_one_sentence(run(train.main, *flags, *other))
    assert "curriculum_steps was (1, 2) there and is (2, 1) now" in sentence


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4))
def test_stages_cover_all_steps(drawn):
    """Each stage has its steps, and its operations are counted with its own depth."""
    segments, n_steps = [], []
    for more, steps in drawn:
        segments.append(more + (segments[-1] if segments else 0))
        n_steps.append(steps)
    config = TrainConfig(
        dataset="pydoc",
        max_step=sum(n_steps),
        bptt_unrolls=segments[-1] - 1,
        curriculum_segments=tuple(segments),
        curriculum_steps=tuple(n_steps[:-1]),
    )
    unrolls = [config.unrolls_at(step) for step in range(config.max_step)]
    expected = [n - 1 for n, steps in zip(segments, n_steps, strict=True) for _ in range(steps)]
    assert unrolls == expected
    model = Settings.of({"dataset": "pydoc", "model": "rmt", "mem_len": 2}).model(50)
    alone = {"curriculum_segments": (), "curriculum_steps": (), "max_step": 1}
    one_by_one = [run_operations(model, replace(config, **alone, bptt_unrolls=n)) for n in unrolls]
    assert run_operations(model, config) == pytest.approx(sum(one_by_one), rel=1e-12)
