"""Scores on texts with labels: counted by hand, and the same in any batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.labelled import texts, write_lines
from helpers.models import tiny_config
from rmt.data.labelled.dataset import CLASSIFY, LabelledOptions
from rmt.data.labelled.encoded import Split
from rmt.data.text.dataset import TextOptions
from rmt.evaluation.classification import evaluate_labels, f1_of_each
from rmt.evaluation.scores import ON_CPU
from rmt.models.registry import build

T = 4


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_f1_is_the_harmonic_mean_of_precision_and_recall(pairs):
    told = np.zeros((3, 3))
    for right, said in pairs:
        told[right, said] += 1
    for label, f1 in enumerate(f1_of_each(told)):
        both = sum(pair == (label, label) for pair in pairs)
        n_said = sum(said == label for _, said in pairs)
        n_right = sum(right == label for right, _ in pairs)
        if both:
            precision, recall = both / n_said, both / n_right
            assert f1 == pytest.approx(2 * precision * recall / (precision + recall))
        else:
            assert f1 == 0


@pytest.fixture(scope="module", params=[2, 3])
def data(request, tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("data"), texts(60)
    if request.param == 3:
        made = [(text, ["x", "y", "z"][i % 3]) for i, (text, _) in enumerate(made)]
    path = write_lines(folder / "texts.jsonl", made)
    options = TextOptions(tokenizer="word")
    own = LabelledOptions(folds=3)
    return CLASSIFY.load([str(path)], options, own, encoded_dir=str(folder), progress=False)


@pytest.mark.parametrize("name", ["rmt", "trxl", "armt"])
@pytest.mark.parametrize("max_segments", [0, 3])
def test_a_model_that_began_with_nothing_tells_labels_as_words(data, name, max_segments):
    torch.manual_seed(0)
    mem_len = 9 if name == "trxl" else 2
    config = tiny_config(name, n_token=len(data.vocabulary), mem_len=mem_len)
    model = build(config).double().eval()
    split, positive = data.splits["test"], 0
    losses, pairs = [], []
    for i in range(len(split)):
        ids = split.text(i, max_segments * T or None)
        front = [data.padding] * (-len(ids) % T)
        state, row = None, torch.tensor([[*front, *ids.tolist()]])
        for part in row.split(T, dim=1):
            with torch.no_grad():
                log_probs, state = model.predict(part, state)
        of_labels = log_probs[0, -1, data.first_label :]
        losses.append(-of_labels[split.labels[i]].item())
        pairs.append((split.labels[i], int(of_labels.argmax())))
    f1 = []
    for label in range(len(data.labels)):
        right = sum(pair == (label, label) for pair in pairs)
        either = sum((a, b).count(label) for a, b in pairs)
        f1.append(2 * right / max(1, either))
    expected = {
        "loss": np.mean(losses),
        "accuracy": np.mean([a == b for a, b in pairs]),
        "f1": f1[positive] if len(f1) == 2 else np.mean(f1),
        "n_samples": len(split),
    }
    how = {"max_segments": max_segments, "positive": positive, "how": ON_CPU}
    for batch_size in (1, 7, 100):
        found = evaluate_labels(model, data, "test", T, batch_size, **how)
        assert found == pytest.approx(expected, abs=1e-12)


def test_the_first_batches_alone(data):
    config = tiny_config("rmt", n_token=len(data.vocabulary), mem_len=2)
    model = build(config).train()
    how = {"max_segments": 0, "positive": 1, "how": ON_CPU}
    found = evaluate_labels(model, data, "test", T, 2, max_steps=3, **how)
    assert found["n_samples"] == 6
    assert model.training


def test_of_a_limit_are_the_first_texts_not_the_shortest(data):
    """All scores of six texts are those of a split that has no more."""
    model = build(tiny_config("rmt", n_token=len(data.vocabulary), mem_len=2))
    how = {"max_segments": 0, "positive": 1, "how": ON_CPU}
    first = evaluate_labels(model, data, "test", T, 2, max_steps=3, **how)
    every = data.splits["test"]
    six = Split(every.ids, every.starts[:7], every.labels[:6])
    of_six = replace(data, splits={**data.splits, "test": six})
    assert first == evaluate_labels(model, of_six, "test", T, 2, **how)
