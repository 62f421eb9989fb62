"""Text of ids: what is written is what was read, piece by piece."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmt.data import registry
from rmt.data.text.codec import Codec, given_text
from rmt.data.text.dataset import TextOptions
from rmt.data.vocabulary import EOS, Vocabulary
from rmt.runtime.errors import UsageError

CHARACTERS = "abc ü\n€𝄞"
BYTES = Vocabulary([str(i) for i in range(256)])
WORDS = Vocabulary([EOS, "<unk>", "the", "cat", "sat", "ü,"])


def codec_of(dataset: str, vocabulary: Vocabulary, **options) -> Codec:
    return Codec(registry.find(dataset).reading(TextOptions(**options)), vocabulary)


@given(st.text(CHARACTERS))
def test_characters_come_back(text):
    codec = codec_of("pydoc", Vocabulary(list(CHARACTERS)))
    ids = codec.encode(text)
    assert len(ids) == len(text)
    assert list(codec.pieces(ids.tolist())) == list(text)


@given(st.text())
def test_bytes_come_back_as_characters(text):
    codec = codec_of("enwik8", BYTES, keep_newlines=True)
    ids = codec.encode(text)
    assert len(ids) == len(text.encode())
    assert codec.decode(ids.tolist()) == text
    pieces = list(codec.pieces(ids.tolist()))
    assert all(len(piece) <= 1 for piece in pieces), "each as soon as it is whole"


def test_bytes_that_are_no_characters():
    codec = codec_of("enwik8", BYTES)
    assert codec.encode("a\nb").tolist() == [97, 98], "newlines are lost, as published"
    assert codec.encode("a\udcff").tolist() == [97, 255], "of a command line that is no UTF-8"
    assert codec.decode([0xC3, 97, 0xC3]) == "�a�"


@given(st.text(string.ascii_lowercase + " "))
def test_text8_comes_back(text):
    codec = codec_of("text8", Vocabulary([*string.ascii_lowercase, "_"]))
    assert codec.decode(codec.encode(text).tolist()) == text


@given(st.lists(st.sampled_from(["the", "cat", "sat", "ü,", "\n"])), st.integers(0, 9))
def test_words_are_joined_as_in_lines(words, cut):
    """However the ids are cut into a prompt and what follows."""
    codec = codec_of("text", WORDS, tokenizer="word")
    ids = codec.encode(" ".join(words)).tolist()
    assert len(ids) == len(words), "the end of a text that goes on is no end of a line"
    text = "\n".join(" ".join(line.split()) for line in " ".join(words).split("\n"))
    first, rest = ids[:cut], ids[cut:]
    after = first[-1] if first else None
    assert codec.decode(first) + "".join(codec.pieces(rest, after)) == text


def test_what_people_see():
    """One sign at least for every id, and none that breaks a line."""
    codec = codec_of("enwik8", BYTES, keep_newlines=True)
    ids = codec.encode("a ü\n\t").tolist()
    assert [codec.shown(i) for i in ids] == ["a", " ", "<c3>", "<bc>", "↵", "→"]
    codec = codec_of("pydoc", Vocabulary(list(CHARACTERS)))
    assert "".join(map(codec.shown, range(len(CHARACTERS)))) == CHARACTERS.replace("\n", "↵")
    codec = codec_of("text8", Vocabulary([*string.ascii_lowercase, "_"]))
    assert [codec.shown(i) for i in (0, 26)] == ["a", " "]
    assert codec_of("text", WORDS, tokenizer="word").shown(3) == "cat "


def test_a_whole_text_of_words_ends_its_last_line():
    codec = codec_of("text", WORDS, tokenizer="word")
    part = codec.reading.whole(given_text("the cat"))
    ids = [i for block in codec.reading.tokenizer.encode(part, WORDS) for i in block.tolist()]
    assert ids == [2, 3, 0]


@pytest.mark.parametrize(
    ("dataset", "vocabulary", "text", "part"),
    [
        ("pydoc", Vocabulary(["a", "b"]), "ab\nß", "the prompt, line 1: the character '\\n' does"),
        ("wt103", WORDS, "the\ndog sat", "the prompt, line 2: the word 'dog' does not occur"),
        ("wt103", WORDS, f"the {EOS} cat", "the text holds <eos> already"),
        ("text8", Vocabulary(["a"]), "A", "the prompt is not text8: byte 65"),
        ("pydoc", Vocabulary(["a"]), "a\udcff", "the prompt is not UTF-8 text: byte 0xff"),
    ],
)
def test_what_a_vocabulary_lacks(dataset, vocabulary, text, part):
    with pytest.raises(UsageError) as error:
        codec_of(dataset, vocabulary).encode(text)
    assert part in str(error.value)
