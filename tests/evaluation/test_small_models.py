"""The two models in results/models score what is recorded beside them."""

import json
import shutil

import pytest

import rmt
from helpers.programs import ROOT, run
from rmt import eval as evaluation

MODELS = ROOT / "results" / "models"
# What scores.json was made with (run_scripts/make_models.sh).
SCORED = {
    "reverse": ["--split", "test", "--max_eval_steps", "2"],
    "pydoc": ["--text", ROOT / "LICENSE"],
}


@pytest.mark.parametrize("name", SCORED)
def test_they_score_what_is_recorded(name, tmp_path):
    """Of a copy in which nothing but the folder is to be found."""
    copy = shutil.copytree(MODELS / name, tmp_path / name, symlinks=True)
    flags = ["--work_dir", copy, "--precision", "fp32", *SCORED[name]]
    ended = run(evaluation.main, *flags, "--json", tmp_path / "scores.json")
    assert ended.status == 0, ended.err
    recorded = json.loads((MODELS / name / "scores.json").read_text())
    scored = json.loads((tmp_path / "scores.json").read_text())
    (expected,), (found,) = recorded["scores"], scored["scores"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    if name == "reverse":
        assert found["accuracy"] == pytest.approx(expected["accuracy"], abs=2e-3)
        assert found["accuracy"] > 0.999
    else:
        assert found["tokens_scored"] == expected["tokens_scored"]


def test_the_weights_are_small():
    files = [file for name in SCORED for file in (MODELS / name / "checkpoints").rglob("*")]
    assert sum(file.stat().st_size for file in files if file.suffix == ".safetensors") <= 4e6


def test_python_says_text():
    model = rmt.load(MODELS / "pydoc")
    said = list(rmt.sample(model, model.codec.encode("The "), 20, greedy=True))
    assert model.codec.decode(said).isprintable() or "\n" in model.codec.decode(said)
