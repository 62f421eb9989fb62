"""Texts with labels as ids, and batches of them in segments."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.labelled import texts, write_encoder, write_lines
from rmt.data.batches import IGNORED
from rmt.data.labelled.dataset import CLASSIFY, LabelledOptions
from rmt.data.labelled.encoded import encode
from rmt.data.labelled.files import Labelled
from rmt.data.labelled.samples import TextReader, cut
from rmt.data.labels import PADDING
from rmt.data.text.corpora import Inherited
from rmt.data.text.dataset import TextOptions
from rmt.data.text.reading import WORDS
from rmt.runtime.errors import UsageError

T, P = 4, 99


@given(st.lists(st.integers(1, 15), min_size=1, max_size=6))
def test_every_text_is_whole_at_the_end_of_its_own_segments(lengths):
    ids = [np.arange(n) + 20 * i for i, n in enumerate(lengths)]
    segments, begins = cut(ids, P, T)
    assert len(segments) == max(-(-n // T) for n in lengths) == len(begins)
    assert {part.shape for part in segments} == {(len(lengths), T)}
    whole = torch.cat(segments, dim=1)
    for row, own in zip(whole, ids, strict=True):
        assert row[-len(own) :].tolist() == own.tolist()
        assert (row[: -len(own)] == P).all()
    for i in range(len(ids)):
        (first,) = (s for s, begun in enumerate(begins) if begun[i])
        assert (segments[first][i] != P).any(), "a text begins where its first token is"
        assert all((part[i] == P).all() for part in segments[:first])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    path = write_lines(folder / "texts.jsonl", texts(40))
    options = TextOptions(tokenizer="word")
    return CLASSIFY.load([str(path)], options, LabelledOptions(), encoded_dir=str(folder))


def reader(data, **options) -> TextReader:
    return TextReader(data, 5, T, 3, **{"segments_at": lambda step: 0, **options})


def test_ids_are_the_words_and_the_last_ones_are_labels(data):
    symbols = data.vocabulary.symbols
    assert symbols[-3:] == (PADDING, "<label false>", "<label true>")
    assert data.labels == ("false", "true")
    assert (symbols[data.padding], symbols[data.first_label]) == symbols[-3:-1]
    split = data.splits["train"]
    for i in range(len(split)):
        said = [symbols[j] for j in split.text(i)]
        assert said[-1] == "<eos>"
        assert ("angry" if split.labels[i] else "calm") in said
    assert split.lengths.sum() == len(split.ids)


def test_an_update_has_the_labels_after_the_last_tokens(data):
    update = reader(data).next(1)
    *before, (_, targets) = update.segments
    assert all(none is None for _, none in before)
    assert (targets[:, :-1] == IGNORED).all()
    assert set(targets[:, -1].tolist()) <= {data.first_label, data.first_label + 1}
    assert update.starts_streams
    whole = torch.cat([tokens for tokens, _ in update.segments], dim=1)
    assert update.n_read == (whole != data.padding).sum()
    assert update.n_scored == 5
    sign = {data.vocabulary.ids[word]: i for i, word in enumerate(("calm", "angry"))}
    told = [next(sign[i] for i in row if i in sign) for row in whole.tolist()]
    assert (targets[:, -1] - data.first_label).tolist() == told


def test_an_epoch_has_every_text_once_in_another_order(data):
    own, seen = reader(data), []
    for _ in range(len(data.splits["train"]) // 5):
        seen.append(torch.cat([tokens for tokens, _ in own.next(1).segments], dim=1))
    rows = [tuple(i for i in row if i != data.padding) for part in seen for row in part.tolist()]
    split = data.splits["train"]
    assert len(set(rows)) >= len(rows) - 3  # short texts may be alike
    assert set(rows) <= {tuple(split.text(i).tolist()) for i in range(len(split))}
    again = torch.cat([tokens for tokens, _ in own.next(1).segments], dim=1)
    assert own.place == {"epoch": 2, "position": 1}
    assert again.shape != seen[0].shape or not torch.equal(again, seen[0])


def test_it_goes_on_from_a_place(data):
    own, other = reader(data), reader(data)
    for _ in range(9):
        own.next(1)
    other.seek(**own.place)
    for _ in range(3):
        for (a, b), (c, d) in zip(own.next(1).segments, other.next(1).segments, strict=True):
            assert torch.equal(a, c)
            assert (b is None and d is None) or torch.equal(b, d)


def test_a_text_is_read_from_its_beginning_as_far_as_the_step_says(data):
    full, short = reader(data), reader(data, segments_at=lambda step: 1 + step // 8)
    for step in range(20):
        a, b = full.next(1), short.next(1)
        most = 1 + step // 8
        assert len(b.segments) == min(most, len(a.segments))
        rows = [
            [[i for i in row if i != data.padding] for row in torch.cat(each, 1).tolist()]
            for each in ([t for t, _ in a.segments], [t for t, _ in b.segments])
        ]
        assert rows[1] == [row[: most * T] for row in rows[0]]
        assert torch.equal(a.segments[-1][1], b.segments[-1][1])


def test_each_process_reads_its_share_in_the_same_shapes(data):
    whole = reader(data).next(1)
    parts = [reader(data, streams=share).next(1) for share in (slice(0, 3), slice(3, 5))]
    for i, (tokens, _) in enumerate(whole.segments):
        assert torch.equal(tokens, torch.cat([part.segments[i][0] for part in parts]))
        assert torch.equal(whole.begins[i], torch.cat([part.begins[i] for part in parts]))


def test_a_pretrained_tokenizer_reads_whole_texts(tmp_path):
    """Its file says to cut them after 4 tokens, and they need not come back."""
    folder = write_encoder(tmp_path / "bert")
    path = write_lines(tmp_path / "texts.jsonl", [("the cat, " * 9, "x"), ("Unseen", "y")] * 10)
    options = TextOptions(tokenizer=f"hf:{folder}")
    data = CLASSIFY.load([str(path)], options, LabelledOptions(), encoded_dir=str(tmp_path))
    assert set(data.splits["train"].lengths.tolist()) == {27, 1}
    assert data.padding == 17


def test_a_trained_models_vocabulary_reads_other_texts(tmp_path, data):
    inherited = Inherited(data.vocabulary, "runs/x")
    own = [Labelled("the dog is angry", "true", "a")]
    found = encode("x", {"test": own}, WORDS, inherited=inherited, encoded_dir=tmp_path)
    assert found.vocabulary.symbols == data.vocabulary.symbols
    said = data.vocabulary.decode(found.splits["test"].text(0))
    assert said == ["the", "dog", "<unk>", "angry", "<eos>"]
    assert found.splits["test"].labels.tolist() == [1]
    other = {"test": [Labelled("the", "new", "a")]}
    with pytest.raises(UsageError, match="a has the label new, and the model knows only false, t"):
        encode("x", other, WORDS, inherited=inherited, encoded_dir=tmp_path)


def test_words_that_are_symbols_of_ours_are_refused(tmp_path):
    def vocabulary(word: str):
        own = {"train": [Labelled(f"{word} {word}", "true", "a"), Labelled("cat", "false", "b")]}
        return encode("x", own, WORDS, encoded_dir=tmp_path).vocabulary

    assert "<label>" in vocabulary("<label>")  # none of them
    with pytest.raises(UsageError, match="a text of x has the word <padding>, which stands for"):
        vocabulary("<padding>")
