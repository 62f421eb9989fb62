"""bash run_scripts/run_hyperpartisan.sh: from SemEval-2019's files to a table, in one command."""

import os
import subprocess
import sys

import pytest

from helpers.labelled import ARTICLES, texts, write_encoder, write_semeval
from helpers.programs import ROOT, result

SHORT = "--tgt_len 12 --batch_size 4 --eval_interval 2 --save_interval 2 --log_interval 1".split()


@pytest.fixture
def place(tmp_path):
    write_encoder(tmp_path / "roberta-base")
    write_semeval(tmp_path / "semeval", texts(40, longest=40))
    return tmp_path


def run_script(place, *flags, **settings):
    """The status and what it printed, on stdout and on stderr."""
    settings |= {"RMT_PYTHON": sys.executable, "RMT_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    settings |= {"STEPS": "2", "RUNS": str(place / "runs")}
    where = ["--data", place / "semeval", "--backbone", place / "roberta-base"]
    done = subprocess.run(
        ["bash", ROOT / "run_scripts" / "run_hyperpartisan.sh"]
        + [str(flag) for flag in (*where, "--encoded_dir", place / "encoded", *SHORT, *flags)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def test_from_files_to_a_table(place):
    status, out, err = run_script(place, SEEDS="1", SEGMENTS="1 3")
    assert status == 0, err
    one, three = (
        result(place / "runs" / f"{name}-fold0-seed1")
        for name in ("segments1-memory0", "segments3-memory10")
    )
    assert (one["segments"], three["segments"], three["steps"]) == (1, 3, 6)
    assert (one["train_texts"], one["valid_texts"], one["test_texts"]) == (32, 4, 4)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in out.splitlines()
        if line.startswith("| ") and line.count("|") == 10
    ]
    assert rows[0] == [
        *("model", "segments", "memory", "F1", "accuracy"),
        *("seeds", "folds", "minutes", "published F1"),
    ]
    assert [*rows[2][:4], rows[2][-1]] == [
        *("roberta-base encoder", "1", "0", f"{one['test_f1']:.3f}", "0.951")
    ]
    assert [*rows[3][:4], rows[3][-1]] == [
        *("roberta-base encoder, BPTT-2, after 1, 2 segments", "3", "10"),
        *(f"{three['test_f1']:.3f}", "0.975"),
    ]
    assert [row[:4] for row in rows[4:6]] == [
        ["roberta-base", str(n), "10", "not run"] for n in (2, 4)
    ]
    # Again: nothing is trained.
    status, again, err = run_script(place, SEEDS="1", SEGMENTS="1 3")
    assert status == 0, err
    assert "segments3-memory10-fold0-seed1 is finished" in again
    assert again.splitlines()[-len(rows) :] == out.splitlines()[-len(rows) :]


def test_a_malformed_file_is_refused_in_one_sentence(place):
    path = place / "semeval" / ARTICLES
    path.write_text(path.read_text()[:-30])
    status, _, err = run_script(place, SEEDS="1", SEGMENTS="1")
    assert status == 2
    (line,) = err.splitlines()
    assert line.startswith(f"error: {path} is no XML (")
    assert not (place / "runs").exists()
