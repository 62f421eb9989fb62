"""A run's best model alone, to hand on: python -m rmt.interop RUN COPY."""

import shutil

import pytest
import torch

import rmt
from helpers.programs import RMT, assert_one_sentence, run, steps_saved
from rmt import eval as evaluation
from rmt import interop, train
from rmt.runs import checkpoint
from rmt.runs.hand_on import hand_on


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A run whose best step is not its last."""
    folder = tmp_path_factory.mktemp("run") / "run"
    flags = [*tiny, *RMT, "--work_dir", folder, "--scheduler", "constant"]
    assert run(train.main, *flags, "--max_step", 2).status == 0
    assert run(train.main, *flags, "--max_step", 4, "--restart", "--lr", 30).status == 0
    return folder


@pytest.mark.parametrize("flags", [[], ["--bf16"]])
def test_the_best_model_is_there_and_can_be_used(trained, tmp_path, tiny, flags):
    copy = tmp_path / "copies" / "copy"
    ended = run(interop.main, trained, copy, *flags)
    assert ended.status == 0
    assert ended.out.startswith(f"{copy}: rmt, memory 2 of step 2, 0.0 MB of weights")
    assert steps_saved(copy) == [2]
    for (name, weight), own in zip(
        rmt.load(copy).state_dict().items(), rmt.load(trained).state_dict().values(), strict=True
    ):
        expected = own.bfloat16().float() if flags else own
        assert torch.equal(weight, expected), name
        assert weight.dtype == torch.float32
    assert run(evaluation.main, "--work_dir", copy).status == 0
    more = [*tiny, *RMT, "--init_from", copy, "--work_dir", tmp_path / "more"]
    assert run(train.main, *more).status == 0


def test_what_training_needs_is_left_behind(trained, tmp_path):
    copy = tmp_path / "copy"
    hand_on(trained, copy, in_bf16=False)
    names = {path.name for path in copy.iterdir()}
    small = {"config.json", "vocabulary.json", "metrics.jsonl", "log.txt", "result.json"}
    assert names == small | {"checkpoints", "last", "best"}
    assert checkpoint.find(copy).load_training() == {}


@pytest.mark.parametrize("here", [True, False])
def test_its_training_can_not_go_on(trained, tmp_path, tiny, here):
    copy = tmp_path / "copy"
    hand_on(trained, copy, in_bf16=False)
    place = ["--work_dir", copy]
    if not here:
        place = ["--work_dir", tmp_path / "more", "--restart_dir", copy]
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    ended = run(train.main, *tiny, *RMT, *place, "--restart", "--max_step", 6)
    assert assert_one_sentence(ended) == (
        f"{copy} holds a model alone, without what its training would go on from: begin a run of "
        f"its own with it, --init_from {copy}"
    )
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "more").exists()


def test_tied_tensors_stay_one(trained, tmp_path):
    source, copy = shutil.copytree(trained, tmp_path / "tied", symlinks=True), tmp_path / "copy"
    weight = torch.randn(3, 4)
    checkpoint.save(source, 9, {"a": weight, "b": weight}, {}, {}, best=True)
    hand_on(source, copy, in_bf16=True)
    weights = checkpoint.find(copy).weights()
    assert weights["a"] is weights["b"]
    assert torch.equal(weights["a"], weight.bfloat16())


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--config", "x.json"], "--config is for published weights, and RUN is a run of ours"),
        (["--mem_len", 3], "--mem_len is for published weights, and RUN is a run of ours"),
    ],
)
def test_flags_that_a_run_of_ours_has_no_use_for(trained, tmp_path, flags, sentence):
    ended = run(interop.main, trained, tmp_path / "copy", *flags)
    assert sentence.replace("RUN", str(trained)) in assert_one_sentence(ended)
    assert not list(tmp_path.iterdir())


def test_refusals_leave_nothing(trained, tmp_path):
    published = tmp_path / "weights.pt"
    torch.save({}, published)
    ended = run(interop.main, published, tmp_path / "copy", "--bf16")
    assert "--bf16 is for run folders of ours" in assert_one_sentence(ended)
    (tmp_path / "file").write_text("")
    ended = run(interop.main, trained, tmp_path / "file" / "copy")
    assert "can't be written" in assert_one_sentence(ended)
    assert {path.name for path in tmp_path.iterdir()} == {"weights.pt", "file"}
