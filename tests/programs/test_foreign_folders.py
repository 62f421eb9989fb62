"""Run folders that are damaged or somebody else's: every program says so, and writes nothing."""

import hashlib
import json
import pickle
import shutil

import pytest
import safetensors.torch
import torch

from helpers.programs import RMT, assert_one_sentence, run
from rmt import eval as evaluation
from rmt import generate, train
from rmt.runs import checkpoint
from rmt.runs.run_folder import linked
from rmt.runs.weights import read_weights


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert run(train.main, *tiny, *RMT, "--work_dir", folder).status == 0
    return folder


def rewrite(folder, change) -> None:
    """Change the weights' file of the checkpoint, and let its checksums be right."""
    path = linked(folder, "best")
    change(path / checkpoint.MODEL_FILE)
    manifest = json.loads((path / "manifest.json").read_text())
    content = (path / checkpoint.MODEL_FILE).read_bytes()
    manifest["sha256"][checkpoint.MODEL_FILE] = hashlib.sha256(content).hexdigest()
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    written = json.dumps(rest, sort_keys=True).encode()
    (path / "manifest.json").write_text(
        json.dumps({**rest, "digest": hashlib.sha256(written).hexdigest()})
    )


def another_architecture(folder) -> None:
    def change(file):
        weights = read_weights(file)
        weights["extra"] = weights.pop("layers.0.attention.query.weight")
        bias = "layers.1.feed_forward.inner.bias"
        safetensors.torch.save_file({**weights, bias: torch.zeros(3)}, file)

    rewrite(folder, change)


def pickled(folder) -> None:
    rewrite(folder, lambda file: file.write_bytes(pickle.dumps(print, protocol=2)))


def damaged(folder) -> None:
    (linked(folder, "best") / checkpoint.MODEL_FILE).write_bytes(b"damaged")


def without_weights(folder) -> None:
    shutil.rmtree(folder / "checkpoints")


def another_vocabulary(folder) -> None:
    symbols = ["<eos>", "w1", "w2"]
    about = {"symbols": symbols, "counts": [], "unknown": None}
    (folder / "vocabulary.json").write_text(json.dumps(about))


def vocabulary_of_characters(folder) -> None:
    symbols = [chr(ord("A") + i) for i in range(51)]
    about = {"symbols": symbols, "counts": [], "unknown": None}
    (folder / "vocabulary.json").write_text(json.dumps(about))


def damaged_vocabulary(folder) -> None:
    (folder / "vocabulary.json").write_text("[")


def damaged_config(folder) -> None:
    (folder / "config.json").write_text("{")


def contents(folder) -> dict:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


SPOILED = [
    (
        another_architecture,
        "holds another model: it has no layers.*.attention.query.weight; there is no extra here; "
        "its layers.1.feed_forward.inner.bias is (3,), not (16,)",
    ),
    (pickled, "holds no tensors as safetensors writes them"),
    (damaged, "every checkpoint in"),
    (without_weights, "there is no checkpoint in"),
    (another_vocabulary, "has 3 symbols, the model 51, so it is another run's"),
    (vocabulary_of_characters, "does not fit its dataset wt103: it has no <eos>"),
    (damaged_vocabulary, "vocabulary.json can't be used"),
    (damaged_config, "config.json can't be used"),
]
PROGRAMS = ["generate", "eval --text", "train --init_from"]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(("spoil", "part"), SPOILED, ids=[spoil.__name__ for spoil, _ in SPOILED])
def test_foreign_folders_are_refused(trained, tiny, tmp_path, spoil, part, program):
    folder = shutil.copytree(trained, tmp_path / "run", symlinks=True)
    spoil(folder)
    text = tmp_path / "text.txt"
    text.write_text("w1 w2 w3")
    before = contents(tmp_path)
    if program == "generate":
        flags = ["--prompt", "w1", "--state_out", tmp_path / "state"]
        outcome = run(generate.main, "--work_dir", folder, *flags)
    elif program == "eval --text":
        flags = ["--text", text, "--json", tmp_path / "x", "--state_out", tmp_path / "state"]
        outcome = run(evaluation.main, "--work_dir", folder, *flags)
    else:
        flags = ["--init_from", folder, "--work_dir", tmp_path / "warm"]
        outcome = run(train.main, *tiny, *RMT, *flags)
    assert part in assert_one_sentence(outcome)
    assert contents(tmp_path) == before
