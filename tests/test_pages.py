"""What the pages show to be typed does what they say."""

import re

import pytest

from helpers.programs import ROOT, run
from rmt import train


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)


@pytest.fixture
def quickstarted(tmp_path, encoded_dir, monkeypatch):
    """A folder with a run where the quickstart leaves one, trained for a moment."""
    flags = "--dataset pydoc --model rmt --mem_len 2 --n_layer 1 --n_head 1 --d_head 4 --d_model 8 "
    flags += "--d_inner 8 --tgt_len 16 --batch_size 4 --max_step 2 --max_eval_steps 2"
    work_dir = tmp_path / "results" / "quickstart" / "rmt"
    options = [*flags.split(), "--encoded_dir", encoded_dir, "--work_dir", work_dir]
    assert run(train.main, *options).status == 0
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("quickstarted")
def test_the_readmes_lines_of_python(capsys):
    (block,) = python_blocks("README.md")
    assert sum(map(bool, block.splitlines())) == 5
    exec(compile(block, "README.md", "exec"), {})
    assert re.fullmatch(r"\['.', '.', '.'\]\n", capsys.readouterr().out)


def test_the_page_on_adding_a_model_shows_the_files_that_the_tests_add():
    """So that what it says of them is true: the blocks are the files, part by part."""
    shown = python_blocks("docs/adding_a_model.md")
    assert shown
    helpers = "\n".join((ROOT / "tests" / "helpers" / f"{name}.py").read_text() for name in FILES)
    for block in shown:
        for part in filter(None, map(str.strip, re.split(r"^# \.\.\.$", block, flags=re.M))):
            assert part in helpers, part


FILES = ("gru", "parity", "alphabet")
