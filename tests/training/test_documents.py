"""Training on documents that begin with a new state, against every stream by itself.

tests/training/test_resume.py goes on with such runs exactly, test_distributed.py shares them out.
"""

import itertools
import json

import numpy as np
import pytest
import torch

from helpers.any_model import MODELS, any_model
from helpers.models import V
from helpers.programs import RMT, TINY, TRXL, assert_one_sentence, result, run
from rmt import eval as eval_program
from rmt import train
from rmt.data.batches import IGNORED
from rmt.data.documents import DocumentBatches, DocumentReader
from rmt.evaluation.text import Protocol, evaluate
from rmt.training.recurrence import Stream, Unrolled

LENGTHS = [17, 3, 9, 26, 2, 5, 11, 14]
STARTS = np.cumsum([0, *LENGTHS[:-1]]).tolist()
IDS = np.random.default_rng(3).integers(V, size=sum(LENGTHS))
TGT_LEN = 4


def one_step(model, tokens, targets, begins, first, last, unrolls, mode):
    """Losses of segments first ... last-1 of one stream, as a step that predicts them has them.

    begins: of every segment of the stream, from its start on.
    """
    reach = max(0, first - unrolls) if mode == "replay" else first
    total, state = 0.0, None
    for t in range(last):
        state = None if begins[t] else state
        with torch.set_grad_enabled(t >= reach):
            if state is not None and t == reach:
                state = state.detach()
            nll, state = model(tokens[t], targets[t], state)
        if t >= first:
            total = total + nll.sum()
    return total


@pytest.mark.parametrize("mode", ["replay", "window"])
@pytest.mark.parametrize("name", MODELS)
def test_gradient_reaches_the_unrolled_segments_of_the_own_document(name, mode):
    """Of a whole epoch: the sum over steps, every stream computed by itself from its start."""
    models = [any_model(name) for _ in range(2)]
    unrolls = 2 if models[0].carries.gradient else 0
    batches = DocumentBatches(IDS, STARTS, batch_size=3, tgt_len=TGT_LEN)
    reader, unrolled = DocumentReader(batches), Unrolled(models[0])
    stream, losses, firsts = Stream(unrolls, mode), [], []
    while reader.position < len(batches):
        firsts.append(reader.position)
        update = reader.next(stream.segments_per_step)
        found = stream.step(unrolled, update.segments, update.begins)
        found.sum().backward()
        losses.append(found.sum().item())
    firsts.append(len(batches))

    every = [batches.segment(*bound) for bound in batches.bounds()]
    expected = []
    for first, last in itertools.pairwise(firsts):
        total = sum(
            one_step(
                models[1],
                *([each[i][row : row + 1] for each in every] for i in range(2)),
                [bool(each[2][row]) for each in every],
                first,
                last,
                unrolls,
                mode,
            )
            for row in range(3)
        )
        total.backward()
        expected.append(total.item())
    assert losses == pytest.approx(expected, rel=1e-9)
    for mine, theirs in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_evaluation_starts_every_document_anew(name, batch_size):
    """With one stream the score is that of all documents by themselves; others cut some of them."""
    model = any_model(name)
    loss, n = evaluate(model, IDS, Protocol(TGT_LEN, batch_size, {}), documents=STARTS)
    total = 0.0
    cuts = set(STARTS)
    if batch_size > 1:
        batches = DocumentBatches(IDS, STARTS, batch_size, TGT_LEN)
        cuts |= {int(batches.starts[share[0]]) for share in batches.shares}
    state = None
    for start, length in zip(STARTS, LENGTHS, strict=True):
        for at in range(start, start + length - 1, TGT_LEN):
            state = None if at in cuts else state
            own = torch.from_numpy(IDS[at : min(at + TGT_LEN, start + length - 1) + 1])[None]
            with torch.no_grad():
                nll, state = model(own[:, :-1], own[:, 1:], state)
            total += nll.sum().item()
    assert n == sum(LENGTHS) - len(LENGTHS)
    assert loss == pytest.approx(total / n, rel=1e-12)


# As a program


@pytest.fixture
def texts(tmp_path):
    """A folder of files in which one letter follows another by the document's own rule."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(9):
        (folder / f"{i}.txt").write_text(("abc" if i % 2 else "cba") * (20 + 7 * i))
    return folder


@pytest.mark.parametrize("model", [["gru"], RMT[1:]])
def test_a_run_on_documents(texts, tmp_path, encoded_dir, model):
    name, *lengths = model
    sizes = [] if name == "gru" else TINY[:10]
    flags = [*sizes, *TINY[10:], *lengths, "--bptt_unrolls", "1", "--encoded_dir", encoded_dir]
    flags += ["--model", name, "--dataset", "text", "--data", texts, "--work_dir", tmp_path / "run"]
    outcome = run(train.main, *flags, "--reset_at_documents")
    assert outcome.status == 0, outcome.err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["train"]["reset_at_documents"] is True
    scored = run(eval_program.main, "--work_dir", tmp_path / "run", "--json", tmp_path / "s.json")
    assert scored.status == 0, scored.err
    [test] = [
        one
        for one in json.loads((tmp_path / "s.json").read_text())["scores"]
        if one["of"] == "test"
    ]
    assert test["loss"] == result(tmp_path / "run")["test_loss"]
    again = run(train.main, *flags, "--restart", "--max_step", "6")
    assert "reset_at_documents was True there and is False now" in assert_one_sentence(again)


def test_a_run_is_scored_on_documents_given_apart(texts, tmp_path, encoded_dir):
    """rmt.eval takes splits given apart, too, and scores them as training did."""
    where = ["--encoded_dir", encoded_dir, "--work_dir", tmp_path / "run"]
    files = [texts / f"{i}.txt" for i in range(9)]
    apart = ["--data", *files[:5], "--valid_data", *files[5:7], "--test_data", *files[7:]]
    flags = [*TINY, *RMT, "--dataset", "text", *apart, *where, "--reset_at_documents"]
    outcome = run(train.main, *flags)
    assert outcome.status == 0, outcome.err
    assert "valid 351 in 2 documents" in outcome.out
    scored = run(eval_program.main, "--work_dir", tmp_path / "run", *apart, "--split", "test")
    assert f"bpc {result(tmp_path / 'run')['test_bpc']:9.5f}" in scored.out, scored.err
    alone = run(eval_program.main, "--work_dir", tmp_path / "run", "--test_data", files[8])
    assert "valid_data and test_data go with data" in assert_one_sentence(alone)
    diagonal = run(eval_program.main, "--work_dir", tmp_path / "run", "--schedule", "diagonal")
    assert "schedule diagonal is not possible where documents" in assert_one_sentence(diagonal)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--varlen"], "varlen is not possible where documents begin by themselves"),
        ([*TRXL, "--schedule", "diagonal"], "schedule diagonal is not possible where documents"),
        (["--compile"], "compile is not possible"),
        (["--replay_from", "newest"], "replay_from newest is not possible"),
        (["--batch_size", "900"], "batch_size 900 is too large for"),
        (["--dataset", "wt103"], "the text of wt103 is one document"),
    ],
)
def test_what_does_not_go_with_documents(texts, tmp_path, encoded_dir, flags, message):
    outcome = run(
        train.main, *TINY, *RMT, "--dataset", "text", "--data", texts, "--encoded_dir", encoded_dir,
        "--reset_at_documents", "--work_dir", tmp_path / "run", *flags,
    )  # fmt: skip
    assert message in assert_one_sentence(outcome)
    assert not (tmp_path / "run").exists()


def test_the_targets_that_fill_up_are_ignored_ones():
    """So that no model needs to know of documents."""
    batches = DocumentBatches(IDS, STARTS, batch_size=3, tgt_len=TGT_LEN)
    assert any((targets == IGNORED).any() for _, targets, _ in batches)
