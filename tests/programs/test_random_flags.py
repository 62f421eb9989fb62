"""Whatever flags are combined, a run either trains or ends with one sentence."""

import math
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.programs import (
    assert_one_sentence,
    records,
    result,
    run,
    steps_saved,
    weights_of,
    write_corpus,
)
from rmt import eval as evaluation
from rmt import train
from rmt.training import run as training_run

N_STEPS = 2
TINY = "--n_layer 1 --n_head 2 --d_head 4 --d_inner 8 --log_interval 1".split()


# Of each option: values that a run can have, and values beyond the edge of what is allowed. What is
# allowed alone may still be impossible together. True is a flag without a value.
ALWAYS = {
    "d_model": ([8, 6], [7, 0]),
    "tgt_len": ([8, 5, 1, 16], [5000]),
    "batch_size": ([4, 8, 1], [5000, -1]),
    "eval_batch_size": ([2, 1, 3], [5000]),
}
MEMORY = {
    "mem_len": ([1, 2, 5, 20], [0, -1]),
    "cache_len": ([1, 8, 30], [0, -1]),
    "bptt_unrolls": ([1, 2, 3, 100], [-1]),
}
# Of armt alone.
ASSOCIATIVE = {
    "d_mem": ([3, 1], [0]),
    "dpfp_nu": ([1, 2], [0, 1000]),
    "no_correction": ([True], []),
    "memory_update": (["delta"], ["hebb"]),
}
NOT_ASSOCIATIVE = {"same_length", "mem_init", "memory_mask", "write_from"}
BEGUN_WITH = ("baseline", "mt", "trxl", "rmt", "rmt", "trxl_rmt", "trxl_rmt")
MODELS = (*BEGUN_WITH, "armt")
OTHERS = {
    "bptt_mode": (["window", "window", "replay"], []),
    "read_mem_from_cache": ([True], []),
    "mem_init": (["shared"], []),
    "memory_mask": (["causal"], []),
    "write_from": (["learned"], []),
    "d_embed": ([4, 16], [-1]),
    "dropout": ([0.1, 0.9], [1, "nan"]),
    "dropatt": ([0.1, 0.9], [-1]),
    "pre_lnorm": ([True], []),
    "not_tied": ([True], []),
    "untie_r": ([True], []),
    "cutoffs": (["1", "20", "10 30", "10 50", "50"], ["60", "30 10", "0", "51 70"]),
    "div_val": ([2, 3], [0]),
    "clamp_len": ([1, 4, 100], [0, -5]),
    "same_length": ([True], []),
    "init": (["uniform"], []),
    "init_range": ([0, 1], ["inf"]),
    "init_std": ([0, 1, 50], ["nan"]),
    "proj_init_std": ([0, 1], [-1]),
    "adaptive": ([True], []),
    "keep_newlines": ([], [True]),
    "tokenizer": (["word"], []),
    "batch_chunk": ([2, 4], [3]),
    "varlen": ([True], []),
    "checkpoint_segments": ([True], []),
    "optim": (["sgd", "adagrad", "adamw", "adamw"], ["apex_adam"]),
    "weight_decay": ([0.1, 3], [-1, "nan"]),
    "lr": ([0, 0.1, 1e8, 1e30], ["nan"]),
    "mom": ([0.9, 2], [-1]),
    "scheduler": (["inv_sqrt", "dev_perf", "dev_perf", "constant"], ["linear"]),
    "warmup_step": ([1, 2, 100], [-1]),
    "decay_rate": ([0, 0.9], [2]),
    "lr_min": ([0.1, 100], [-1]),
    "eta_min": ([0.1, 100], [-1]),
    "patience": ([1], [-1]),
    "clip": ([1e-30, "inf"], [0, "nan"]),
    "max_nonfinite": ([1, 2], [0]),
    "precision": (["bf16"], ["fp16"]),
    "fp16": ([], [True]),
    "eval_tgt_len": ([1, 4, 12, 30], [5000]),
    "eval_interval": ([1, 3], [0]),
    "max_eval_steps": ([1, 1000], [0]),
    "seed": ([0, 2**63 - 1], [2**64, -1]),
    "debug": ([True], []),
    "restart": ([], [True]),
    "multi_gpu": ([], [True]),
    "no_such_flag": ([], [1]),
}


# Algorithmic tasks, with 40 samples to train on. These numbers of segments fit 12 inputs, that is
# reverse with n 6 and copy with n 4; some fit others.
TASKS = {
    "copy": {"n": ([4, 6], [0, 10**10])},
    "reverse": {"n": ([6, 6, 4], [1, -1])},
    "retrieval": {"pairs": ([3, 1, 26], [27])},
    "quadratic": {},
}
CUT = {"segments": ([2, 1, 3, 4, 6], [5, 13, 1000]), "tgt_len": ([5, 4, 1, 100], [0])}
TASK_ALWAYS = {
    "d_model": ALWAYS["d_model"],
    "batch_size": ([4, 8, 1], [41, -1]),
    "eval_batch_size": ([9, 100], [0]),
}
TASK_MEMORY = MEMORY | {"bptt_unrolls": ([-1, 0, 1, 2, 100], [-2])}
FOR_TEXT = ("adaptive", "keep_newlines", "tokenizer", "varlen", "eval_tgt_len")
TASK_OTHERS = {
    **OTHERS,
    **{name: ([], OTHERS[name][0] + OTHERS[name][1]) for name in FOR_TEXT},
    "curriculum": ([1, 2, 3, 4, -1], [7, -2]),
    "stop_at": ([1, 0.5], [-1, 2, "nan"]),
    "recipe": (["fast"], ["slow"]),
    "data_seed": ([5], [-1]),
}


def draw_flags(
    draw, options: dict, others: dict, memory: dict, careful: bool, models: tuple[str, ...] = MODELS
) -> list[str]:
    """A model with its memory, these options and some of the others, as words.

    Careful: of values that are allowed, and what fits the model.
    """
    model = draw(st.sampled_from(models))
    options = {"model": ([model], [])} | options
    if model == "armt":
        without = NOT_ASSOCIATIVE if careful else set()
        others = {n: own for n, own in others.items() if n not in without} | ASSOCIATIVE
    for name in draw(st.lists(st.sampled_from(list(others)), max_size=7, unique=True)):
        options[name] = others[name]
    fitting = {
        "trxl": ["mem_len"],
        "mt": ["mem_len"],
        "rmt": ["mem_len", "bptt_unrolls"],
        "trxl_rmt": ["mem_len", "cache_len", "bptt_unrolls"],
        "armt": ["mem_len", "bptt_unrolls"],
    }.get(model, [])
    for name in fitting if careful else draw(st.sets(st.sampled_from(list(memory)))):
        options[name] = memory[name]

    words = []
    for name, (good, bad) in options.items():
        if values := good if careful else good + bad:
            value = draw(st.sampled_from(values))
            words += [f"--{name}", *([] if value is True else str(value).split())]
    return words


@st.composite
def random_flags(draw) -> list[str]:
    """For text; three times in four of values that are allowed."""
    careful = draw(st.integers(0, 3)) > 0
    return draw_flags(draw, ALWAYS, OTHERS, MEMORY, careful)


@st.composite
def random_task_flags(draw) -> list[str]:
    """For an algorithmic task; three times in four of values that are allowed."""
    careful = draw(st.integers(0, 3)) > 0
    # An evaluation of quadratic, whose answers are long, takes a hundred times as long.
    dataset = draw(st.sampled_from([*TASKS, *["copy", "reverse", "retrieval"] * 3]))
    cut = draw(st.sampled_from(list(CUT)))
    options = TASKS[dataset] | {cut: CUT[cut]} | TASK_ALWAYS
    flags = draw_flags(draw, options, TASK_OTHERS, TASK_MEMORY, careful)
    return ["--dataset", dataset, *flags]


@pytest.fixture(scope="module")
def fast():
    """Nothing is tested here that needs a disk to be in step, or to know the git commit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        patch.setattr(training_run, "environment", dict)
        yield


@pytest.fixture
def data_flags(corpus_folder, text_file, encoded_dir):
    return {
        "words": ["--dataset", "wt103", "--data", corpus_folder, "--encoded_dir", encoded_dir],
        "text": ["--dataset", "text", "--data", text_file, "--encoded_dir", encoded_dir],
    }


def check_finished(work_dir: Path, debug: bool) -> None:
    if debug:
        assert not work_dir.exists()
        return
    assert result(work_dir)["steps"] == N_STEPS
    assert math.isfinite(result(work_dir)["test_loss"]) or result(work_dir)["n_nonfinite"]
    assert [entry["step"] for entry in records(work_dir, "train")] == [1, N_STEPS]
    assert steps_saved(work_dir) == [1, N_STEPS]


def check_run(flags: list[str], seen: dict[str, int]) -> None:
    """Train, score and restart with these flags, or be refused."""
    folder = Path(tempfile.mkdtemp())
    try:
        work_dir = folder / "run"
        flags = [*TINY, *flags, "--work_dir", work_dir, "--save_interval", 1]
        outcome = run(train.main, *flags, "--max_step", N_STEPS)
        if outcome.status:
            sentence = assert_one_sentence(outcome)
            late = "the loss was not finite" in sentence
            assert late or not work_dir.exists()
            seen["refused"] += 1
            return
        seen["finished"] += 1
        debug = "--debug" in flags
        check_finished(work_dir, debug)
        if debug:
            return
        # A finished run can be scored, and one whose last checkpoint is lost ends as before.
        scored = run(evaluation.main, "--work_dir", work_dir)
        assert scored.status == 0, scored.err
        weights = weights_of(work_dir)
        shutil.rmtree(work_dir / "checkpoints" / f"step-{N_STEPS:08d}")
        again = run(train.main, *flags, "--max_step", N_STEPS, "--restart")
        assert again.status == 0, again.err
        check_finished(work_dir, debug)
        same = weights_of(work_dir)
        assert all(torch.equal(weights[name], same[name]) for name in weights | same)
        seen["restarted"] += 1
    finally:
        shutil.rmtree(folder)


slow_is_fine = [HealthCheck.too_slow]


def test_any_flags(fast, data_flags):
    """They are neither all refused nor all accepted."""
    seen = {"finished": 0, "refused": 0, "restarted": 0}

    @settings(max_examples=300, suppress_health_check=slow_is_fine)
    @given(flags=random_flags(), data=st.sampled_from(["words", "words", "text"]))
    def check(flags, data):
        check_run([*data_flags[data], *flags], seen)

    check()
    assert min(seen["finished"], seen["refused"]) >= 81, seen
    assert seen["restarted"] >= 11, seen


def test_any_flags_of_tasks(fast, encoded_dir):
    seen = {"finished": 0, "refused": 0, "restarted": 0}
    sizes = "--train_samples 40 --valid_samples 9 --test_samples 9".split()

    @settings(max_examples=60, suppress_health_check=slow_is_fine)
    @given(flags=random_task_flags())
    def check(flags):
        check_run([*sizes, "--encoded_dir", encoded_dir, *flags], seen)

    check()
    assert min(seen["finished"], seen["refused"]) >= 15, seen
    assert seen["restarted"] >= 5, seen


# Of a model to begin with, and of one that would fit it: all sizes are those that are usual here.
SOURCES = {
    "baseline": "--model baseline",
    "trxl": "--model trxl --mem_len 8",
    "rmt": "--model rmt --mem_len 2",
    "larger": "--model rmt --mem_len 2 --d_inner 12",
}
FITTING = {"d_model": ([8], [6]), "not_tied": ([], [True]), "cutoffs": ([], ["20"])}
CURRICULUM = {
    "curriculum_segments": (["1 2", "2 4", "1 3", "3"], ["2 2", "0 1", "x"]),
    "curriculum_steps": ([1], [0, 2, 3, -1]),
}


@pytest.fixture(scope="module")
def sources(corpus_folder, text_file, encoded_dir, tmp_path_factory):
    """Run folders by their names: some trained, and some that nothing can begin with."""
    root = tmp_path_factory.mktemp("sources")
    words = ["--dataset", "wt103", "--data", corpus_folder, "--encoded_dir", encoded_dir]
    characters = ["--dataset", "text", "--data", text_file, "--encoded_dir", encoded_dir]
    runs = {name: [*words, *flags.split()] for name, flags in SOURCES.items()}
    runs["characters"] = [*characters, *SOURCES["rmt"].split()]
    for name, flags in runs.items():
        sizes = [*TINY, *"--d_model 8 --batch_size 4 --tgt_len 8 --max_step 1".split()]
        outcome = run(train.main, *sizes, *flags, "--work_dir", root / name)
        assert outcome.status == 0, outcome.err
    (root / "empty").mkdir()
    return {name: root / name for name in (*runs, "empty", "nowhere")}


@st.composite
def random_beginnings(draw) -> list[str]:
    """A source by its name, flags, and often a curriculum; three in four of what is allowed."""
    careful = draw(st.integers(0, 3)) > 0
    others = {**OTHERS, **FITTING, **CURRICULUM}
    always = {**ALWAYS, **{"d_model": FITTING["d_model"]}}
    names = [*SOURCES, *([] if careful else ["characters", "empty", "nowhere"])]
    return [
        draw(st.sampled_from(names)),
        *draw_flags(draw, always, others, MEMORY, careful, BEGUN_WITH),
    ]


def test_any_flags_with_init_from(fast, data_flags, sources, tmp_path):
    """What is refused leaves nothing; what trains goes on after a restart, as without it.

    On the text of the run that is begun with, and on another one.
    """
    seen = {"finished": 0, "refused": 0, "restarted": 0}
    other = write_corpus(tmp_path / "other", seed=1)

    @settings(max_examples=200, suppress_health_check=slow_is_fine)
    @given(beginning=random_beginnings(), data=st.sampled_from([[], ["--data", other]]))
    def check(beginning, data):
        name, *flags = beginning
        check_run([*data_flags["words"], *data, *flags, "--init_from", sources[name]], seen)

    check()
    assert min(seen["finished"], seen["refused"]) >= 40, seen
    assert seen["restarted"] >= 20, seen
