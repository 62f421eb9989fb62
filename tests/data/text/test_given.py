"""Any text as the ids of a vocabulary that is there already."""

import io
from dataclasses import fields
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.programs import SAMPLES
from rmt.data import registry
from rmt.data.text import sources
from rmt.data.text.dataset import TextOptions
from rmt.data.text.encoding import CodeTokenizer
from rmt.data.text.given import encode_text, opened, with_unknown
from rmt.data.text.reading import CHARACTERS, WORDS
from rmt.data.text.sources import Source
from rmt.data.vocabulary import EOS, UNKNOWN, Vocabulary
from rmt.runtime.errors import UsageError

LETTERS = Vocabulary(list("\n abcéx中"))
FEW_WORDS = Vocabulary([EOS, "a", "bb", UNKNOWN])


def source_of(text: str | bytes) -> Source:
    content = text.encode() if isinstance(text, str) else text
    return Source("a text", lambda: io.BytesIO(content))


@pytest.fixture(params=[7, 1 << 22], ids=["small blocks", "one block"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("blocks")
def test_characters_and_words():
    ids = encode_text(source_of("a bé\nxx中a"), CHARACTERS, LETTERS)
    assert LETTERS.decode(ids) == list("a bé\nxx中a")
    assert ids.dtype == np.uint8
    ids = encode_text(source_of("a bb\n\n bb"), WORDS, FEW_WORDS)
    assert FEW_WORDS.decode(ids) == ["a", "bb", EOS, EOS, "bb", EOS]
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a\nb\n\ncab?", "a text, line 4: the character '?' does not occur in the training text"),
        ("abc中abc\nabcab中abc\nè", "a text, line 3: the character 'è'"),
        ("a\n" * 40 + "\U0001f600\n" + "a\n" * 40, "a text, line 41: the character '\U0001f600'"),
        ("?", "a text, line 1: the character '?'"),
    ],
)
def test_an_unknown_character_is_named_with_its_line(text, sentence):
    with pytest.raises(UsageError) as error:
        encode_text(source_of(text), CHARACTERS, LETTERS)
    assert str(error.value).startswith(sentence)
    assert str(error.value).endswith("the vocabulary has no <unk> to take for it")


@given(before=st.text("\nab中", max_size=20), after=st.text("\na?", max_size=9))
def test_the_line_is_that_of_the_first_unknown_character(before, after):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BLOCK_BYTES", 4)
        with pytest.raises(UsageError, match=f"line {before.count(chr(10)) + 1}: the character"):
            encode_text(source_of(before + "¿" + after), CHARACTERS, LETTERS)


@pytest.mark.usefixtures("blocks")
def test_unknown_words_are_an_error_or_the_unknown_symbol():
    text = source_of("a bb\nzebra a\nzebu <unk>")
    with pytest.raises(UsageError) as error:
        encode_text(text, WORDS, with_unknown(FEW_WORDS, False))
    assert str(error.value) == (
        "a text, line 2: the word 'zebra' does not occur in the training text; --unk takes <unk> "
        "for such words"
    )
    ids = encode_text(text, WORDS, with_unknown(FEW_WORDS, True))
    assert FEW_WORDS.decode(ids) == ["a", "bb", EOS, UNKNOWN, "a", EOS, UNKNOWN, UNKNOWN, EOS]
    with pytest.raises(UsageError, match="has no <unk>: leave out --unk"):
        with_unknown(LETTERS, True)


def test_bytes_that_enwik8_never_had():
    reading = registry.find("enwik8").reading(TextOptions())
    vocabulary = Vocabulary(["97", "98"])
    ids = encode_text(source_of(b"ab\n\nba"), reading, vocabulary)
    assert ids.tolist() == [0, 1, 1, 0], "newlines are left out, as in training"
    with pytest.raises(UsageError, match="a text, line 3: the byte 0xff does not occur"):
        encode_text(source_of(b"ab\n\nb\xffa"), reading, vocabulary)


def test_text8_is_read_up_to_the_newline_at_its_end():
    reading = registry.find("text8").reading(TextOptions())
    ids = encode_text(source_of("ab a\r\n"), reading, Vocabulary(["_", "a", "b"]))
    assert ids.tolist() == [1, 2, 0, 1]


@pytest.mark.parametrize("text", ["", "a", "\ufeffa"])
def test_a_prediction_takes_two_tokens(text):
    with pytest.raises(UsageError, match=rf"holds {len(text) > 0:d} of at least 2 tokens"):
        encode_text(source_of(text), CHARACTERS, LETTERS)


def test_files_and_standard_input(tmp_path, monkeypatch):
    path = tmp_path / "own.txt"
    path.write_text("abc")
    with opened(str(path)) as source:
        assert (source.name, b"".join(source.blocks(0, 3))) == (str(path), b"abc")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfbc")))
    with opened("-") as source:
        assert source.name == "standard input"
        assert encode_text(source, CHARACTERS, LETTERS).tolist() == [3, 4]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(UsageError, match="standard input is empty"), opened("-"):
        pass
    path.write_text("")
    with pytest.raises(UsageError, match=r"own\.txt is empty"), opened(str(path)):
        pass
    with pytest.raises(UsageError, match="there is no file"), opened(str(tmp_path)):
        pass


PLACES = {
    "wt103": SAMPLES / "words",
    "enwik8": SAMPLES / "enwik8-head",
    "text": SAMPLES / "words" / "train.txt",
}


@pytest.mark.parametrize("name", ["wt103", "enwik8", "text8", "text", "pydoc"])
def test_a_dataset_reads_any_text_as_it_reads_its_own(name, tmp_path):
    dataset = registry.find(name)
    options = [TextOptions()]
    options += [TextOptions(keep_newlines=True)] if "keep_newlines" in dataset.takes else []
    options += [TextOptions(tokenizer="word")] if "tokenizer" in dataset.takes else []
    (tmp_path / "text8").write_text("the cat sat " * 40)
    place = PLACES.get(name, tmp_path / "text8" if name == "text8" else None)
    for each in options:
        own, any_text = dataset.find(place, each).reading, dataset.reading(each)
        for spec in fields(own):
            assert getattr(own, spec.name) == getattr(any_text, spec.name), spec.name


def test_readings_of_other_options_differ():
    read = registry.find("enwik8").reading
    with_newlines, without = (read(TextOptions(keep_newlines=k)).tokenizer for k in (True, False))
    assert isinstance(without, CodeTokenizer)
    assert isinstance(without.read, partial)
    assert not isinstance(with_newlines.read, partial)
    assert registry.find("text").reading(TextOptions(tokenizer="word")) is WORDS
