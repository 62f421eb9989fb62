"""Text to ids, against computations that hold everything in memory."""

import codecs
import io
import json
import os
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data import load_corpus
from helpers.programs import ROOT, SAMPLES
from rmt.data import store
from rmt.data.metrics import BITS_PER_CHARACTER, PERPLEXITY
from rmt.data.registry import datasets
from rmt.data.text import corpora, encoding, mini, sources, splitting
from rmt.data.text import dataset as text_dataset
from rmt.data.vocabulary import Vocabulary
from rmt.runtime.errors import UsageError

SPLITS = ("train", "valid", "test")


@pytest.fixture
def load(tmp_path):
    def load(dataset, data=None, **options):
        options = {"encoded_dir": tmp_path / "encoded", "progress": False, **options}
        return load_corpus(dataset, data, **options)

    return load


@pytest.fixture
def small_blocks(monkeypatch):
    """Every boundary between blocks is met, inside characters and words too."""
    monkeypatch.setattr(sources, "BLOCK_BYTES", 7)


def write_splits(folder, train, valid, test, name="{}.txt"):
    folder.mkdir(exist_ok=True)
    for split, text in zip(SPLITS, (train, valid, test), strict=True):
        (folder / name.format(split)).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def symbols(corpus, split):
    return corpus.vocabulary.decode(corpus.splits[split])


def words_with_eos(text):
    lines = io.StringIO(text, newline=None)  # \n, \r\n and \r end a line, nothing else does
    return [word for line in lines for word in [*line.split(), "<eos>"]]


def cut_90_5_5(sequence):
    n = len(sequence) // 20
    return sequence[: -2 * n], sequence[-2 * n : -n], sequence[-n:]


# --- wt103 ---------------------------------------------------------------------------------------


def test_words_follow_transformer_xl(load, tmp_path):
    train = " \n = The cat = \n \n the cat sat <unk> \n\n"
    folder = write_splits(tmp_path / "w", train, "the cat\n", "sat")
    corpus = load("wt103", folder)
    assert corpus.vocabulary.symbols == ("<eos>", "=", "cat", "The", "the", "sat", "<unk>")
    assert symbols(corpus, "train") == words_with_eos(train)
    assert symbols(corpus, "valid") == ["the", "cat", "<eos>"]
    assert symbols(corpus, "test") == ["sat", "<eos>"], "a last line without newline is a line"
    assert corpus.metric is PERPLEXITY
    assert corpus.cutoffs == ()
    assert corpus.splits["train"].dtype == np.uint8
    assert corpus.vocabulary.counts[:3] == (5, 2, 2)


def test_published_file_names_and_windows_lines(load, tmp_path):
    folder = write_splits(tmp_path / "w", "a b\r\nc\r\n", "a\rb\n", "b c\n", "wiki.{}.tokens")
    corpus = load("wt103", folder)
    assert symbols(corpus, "train") == ["a", "b", "<eos>", "c", "<eos>"]
    assert symbols(corpus, "valid") == ["a", "<eos>", "b", "<eos>"]


def in_order_of_frequency(text):
    """The published order, computed with everything in memory."""
    counts = Counter(word for word in words_with_eos(text) if word != "<eos>")
    return ["<eos>", *(word for word, _ in counts.most_common())]


def test_articles_of_wikitext(load, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 1009)
    folder = SAMPLES / "wikitext-103"
    corpus = load("wt103", folder)
    texts = {split: (folder / f"{split}.txt").read_text() for split in SPLITS}
    assert list(corpus.vocabulary.symbols) == in_order_of_frequency(texts["train"])
    for split, text in texts.items():
        assert symbols(corpus, split) == words_with_eos(text)
        array = corpus.splits[split]
        assert isinstance(array, np.memmap)
        assert (array.ndim, array.dtype) == (1, np.uint16)
        assert not array.flags.writeable


def test_wikitext_heldout_token_counts(load, tmp_path, published):
    heldout = published("wikitext-103", "wikitext-103-heldout")
    valid, test = ((heldout / f"{split}.txt").read_bytes() for split in ("valid", "test"))
    corpus = load("wt103", write_splits(tmp_path / "w", test + valid, valid, test))
    assert [len(corpus.splits[split]) for split in SPLITS] == [463_215, 217_646, 245_569]
    assert list(corpus.vocabulary.symbols) == in_order_of_frequency((test + valid).decode())


def test_wt103_mini_vocabulary(load, published):
    corpus = load("wt103", published("wt103-mini"))
    assert len(corpus.vocabulary) == 26_118
    assert corpus.cutoffs == (20_000,)


def test_unknown_word_is_named_with_file_and_line(load, tmp_path, small_blocks):
    folder = write_splits(tmp_path / "w", "a bb ccc\n", "a\n\n bb\nccc a zebra\n", "a\n")
    with pytest.raises(UsageError, match=r"valid\.txt, line 4: the word 'zebra'"):
        load("wt103", folder)
    assert not list((tmp_path / "encoded").iterdir()), "nothing unfinished may stay"


def test_words_that_are_not_utf8_name_the_offset(load, tmp_path):
    folder = write_splits(tmp_path / "w", "a b\n", b"a b\nb \xff\n", "a\n")
    with pytest.raises(UsageError, match=r"valid\.txt is not UTF-8 .* byte offset 6"):
        load("wt103", folder)


@pytest.mark.parametrize(
    ("n_words", "cutoffs"),
    [(19_999, ()), (20_000, (20_000,)), (40_000, (20_000, 40_000))],
)
def test_cutoffs_that_fit(load, tmp_path, n_words, cutoffs):
    # <eos> comes on top, and a cutoff must lie below the size of the vocabulary
    text = "\n".join(f"w{i}" for i in range(n_words))
    assert load("wt103", write_splits(tmp_path / "w", text, "w1 w2", "w3 w4")).cutoffs == cutoffs


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="ab é€😀\n\r\t\x1d\x85\u2003", min_size=1, max_size=60))
def test_words_match_plain_python_across_blocks(tmp_path_factory, text):
    text += "\nx"
    folder = write_splits(tmp_path_factory.mktemp("w"), text, "x x\n", "x x\n")
    block_bytes, sources.BLOCK_BYTES = sources.BLOCK_BYTES, 5
    try:
        corpus = load_corpus("wt103", folder, encoded_dir=folder / "encoded", progress=False)
    finally:
        sources.BLOCK_BYTES = block_bytes
    assert symbols(corpus, "train") == words_with_eos(text)


# --- enwik8 and text8 ----------------------------------------------------------------------------


def enwik8_in_memory(content, keep_newlines):
    parts = [
        [str(byte) for byte in part if keep_newlines or byte != 10] for part in cut_90_5_5(content)
    ]
    order = Counter(symbol for part in parts for symbol in part).most_common()
    return parts, [symbol for symbol, _ in order]


@pytest.mark.parametrize("keep_newlines", [False, True])
def test_enwik8_bytes(load, tmp_path, keep_newlines, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_BYTES", 1009)
    content = (SAMPLES / "enwik8-head").read_bytes()
    (tmp_path / "enwik8").write_bytes(content)
    corpus = load("enwik8", tmp_path, keep_newlines=keep_newlines)  # the folder that holds it
    parts, order = enwik8_in_memory(content, keep_newlines)
    assert list(corpus.vocabulary.symbols) == order
    assert [symbols(corpus, split) for split in SPLITS] == parts
    assert ("10" in corpus.vocabulary) == keep_newlines
    assert corpus.metric is BITS_PER_CHARACTER
    assert corpus.cutoffs == ()


def test_enwik8_sizes_with_and_without_newlines(load):
    path = SAMPLES / "enwik8-head"
    kept = load("enwik8", path, keep_newlines=True)
    assert [len(kept.splits[split]) for split in SPLITS] == [18_013, 1_000, 1_000]
    lost = load("enwik8", path)
    assert len(lost.vocabulary) == len(kept.vocabulary) - 1
    assert sum(map(len, lost.splits.values())) == 20_013 - path.read_bytes().count(b"\n")
    assert lost.fingerprint != kept.fingerprint


def test_split_sizes_of_the_full_file():
    source = sources.Source("nothing is read", open)
    parts = splitting.split_bytes(source, 100_000_000)
    assert [len(parts[split]) for split in SPLITS] == [90_000_000, 5_000_000, 5_000_000]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_text8_parts_are_stripped(load, tmp_path, small_blocks, end):
    # 80 characters: the cuts fall at 72 and 76
    text = "  " + "the quick brown fox " * 4
    text = text[:70] + "  " + " xy " + " ab "
    assert len(text) == 80
    (tmp_path / "text8").write_text(text + end)
    corpus = load("text8", tmp_path / "text8")
    parts = [part.strip().replace(" ", "_") for part in cut_90_5_5(text)]
    assert ["".join(symbols(corpus, split)) for split in SPLITS] == parts
    assert parts[1:] == ["xy", "ab"]
    order = [symbol for symbol, _ in Counter("".join(parts)).most_common()]
    assert list(corpus.vocabulary.symbols) == order


def test_text8_with_another_character_names_its_offset(load, tmp_path, small_blocks):
    (tmp_path / "text8").write_text("abc de " * 20 + "fG" + "h" * 20)
    with pytest.raises(UsageError, match=r"byte 71 at offset 141 "):
        load("text8", tmp_path)


def test_a_cut_that_is_between_words_already_stays():
    """120 characters; the cuts at 108 and 114 are just after a space."""
    source = sources.Source("words", lambda: io.BytesIO(b"ab " * 40))
    parts = splitting.split_characters(source.text(), between_words=True)
    assert [len(parts[split]) for split in SPLITS] == [108, 6, 6]


# --- text and pydoc ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [40, 59, 1000])
def test_text_by_characters(load, tmp_path, small_blocks, n):
    text = ("zwölf Boxkämpfer 😀 jagen\r\n\tViktor €" * 50)[:n]
    (tmp_path / "mine").write_bytes(text.encode())
    corpus = load("text", tmp_path / "mine")
    assert ["".join(symbols(corpus, split)) for split in SPLITS] == list(cut_90_5_5(text))
    order = [character for character, _ in Counter(text).most_common()]
    assert list(corpus.vocabulary.symbols) == order
    assert corpus.metric is BITS_PER_CHARACTER


def test_text_by_words(load, tmp_path, small_blocks):
    text = "".join(f"the {i % 7} cats of house_{i}\n\n" for i in range(60))
    (tmp_path / "mine").write_text(text)
    corpus = load("text", tmp_path / "mine", tokenizer="word")
    assert corpus.metric is PERPLEXITY
    assert corpus.cutoffs == ()
    assert corpus.vocabulary.symbols[:2] == ("<eos>", "<unk>")
    assert not any(word.startswith("house_") for word in corpus.vocabulary.symbols)
    known = set(corpus.vocabulary.symbols)
    found = [word for split in SPLITS for word in symbols(corpus, split)]
    expected = [word if word in known else "<unk>" for word in words_with_eos(text)]
    # A cut moves to the end of its word, so no word is halved; each part ends its last line.
    assert [w for w in found if w != "<eos>"] == [w for w in expected if w != "<eos>"]
    assert 0 <= found.count("<eos>") - expected.count("<eos>") <= 2
    train = Counter(symbols(corpus, "train"))
    assert dict(train) == dict(
        zip(corpus.vocabulary.symbols, corpus.vocabulary.counts, strict=True)
    )
    assert corpus.vocabulary.index("never seen") == 1


def test_text_folder(load, tmp_path):
    folder = write_splits(tmp_path / "mine", "to be or not to be\n", "to see\n", "be\n")
    assert "".join(symbols(load("text", folder), "valid")) == "to see\n"
    words = load("text", folder, tokenizer="word")
    assert words.vocabulary.symbols == ("<eos>", "<unk>", "to", "be")
    assert symbols(words, "valid") == ["to", "<unk>", "<eos>"]


def test_a_byte_order_mark_is_no_text(load, tmp_path, small_blocks):
    """At a file's start; anywhere else it is the character that Unicode has for it."""
    text = "to be or not to be \u00e4 \ufeff " * 20
    (tmp_path / "marked").write_bytes(codecs.BOM_UTF8 + text.encode())
    for tokenizer in ("char", "word"):
        marked = load("text", tmp_path / "marked", tokenizer=tokenizer)
        (tmp_path / "plain").write_text(text)
        plain = load("text", tmp_path / "plain", tokenizer=tokenizer)
        assert marked.vocabulary == plain.vocabulary
        assert "\ufeff" in plain.vocabulary
        for split in SPLITS:
            assert np.array_equal(marked.splits[split], plain.splits[split])


@pytest.mark.parametrize("dataset", ["wt103", "text"])
def test_a_byte_order_mark_in_a_folder_is_no_text(load, tmp_path, dataset):
    plain = write_splits(tmp_path / "plain", "w a b a b\n", "a b\n", "b a\n")
    marked = tmp_path / "marked"
    marked.mkdir()
    for split in SPLITS:
        content = (plain / f"{split}.txt").read_bytes()
        (marked / f"{split}.txt").write_bytes(codecs.BOM_UTF8 + content)
    options = {"tokenizer": "word"} if dataset == "text" else {}
    found, expected = (load(dataset, folder, **options) for folder in (marked, plain))
    assert found.vocabulary == expected.vocabulary
    assert all(np.array_equal(found.splits[s], expected.splits[s]) for s in SPLITS)


def test_a_file_that_is_a_byte_order_mark_alone_is_too_short(load, tmp_path):
    (tmp_path / "mine").write_bytes(codecs.BOM_UTF8)
    with pytest.raises(UsageError, match="too short to split: it holds 0 characters"):
        load("text", tmp_path / "mine")


@pytest.mark.parametrize(("dataset", "options"), [("wt103", {}), ("text", {"tokenizer": "word"})])
def test_text_that_ends_lines_itself_is_refused(load, tmp_path, small_blocks, dataset, options):
    """A word that only holds the letters is one like any other."""
    folder = write_splits(tmp_path / "w", "a <eos>b a <eos>b\n" * 3, "a\n\na b <eos>\n", "a\n")
    message = r"valid.txt, line 3: the text holds <eos> already, which is put at the end"
    if dataset == "wt103":
        (folder / "valid.txt").write_text("a\n\na <eos>b <eos>\n")
    with pytest.raises(UsageError, match=message):
        load(dataset, folder, **options)
    (folder / "valid.txt").write_text("a <eos>b\n")
    assert symbols(load(dataset, folder, **options), "valid") == ["a", "<eos>b", "<eos>"]


@pytest.mark.parametrize(
    ("train", "word", "advice"),
    [
        ("a b <unk>", "zebra", "write <unk> for such words, or use --dataset text"),
        ("a b", "zebra", "write <unk> for rare words there, too, or use --dataset text"),
        ("a b", "<unk>", "write <unk> for rare words there, too, or use --dataset text"),
    ],
)
def test_the_advice_on_unknown_words_leads_on(load, tmp_path, train, word, advice):
    folder = write_splits(tmp_path / "w", f"{train}\n", f"a {word}\n", "a\n")
    with pytest.raises(UsageError, match=f"{word}.*does not occur in the training text; {advice}"):
        load("wt103", folder)


def test_a_large_vocabulary_of_ones_own_has_cutoffs(load, tmp_path):
    words = [f"w{i}" for i in range(21_000)]
    folder = write_splits(tmp_path / "w", " ".join([*words, *words]), "w1 w2\n", "w1 w2\n")
    assert load("text", folder, tokenizer="word").cutoffs == (20_000,)


@pytest.mark.parametrize("tokenizer", ["char", "word"])
def test_text_that_is_not_utf8_names_the_offset(load, tmp_path, small_blocks, tokenizer):
    (tmp_path / "mine").write_bytes("äöü ".encode() * 20 + b"\xe4 " + b"abc " * 20)
    with pytest.raises(UsageError, match=r"mine is not UTF-8 text: byte 0xe4 at byte offset 140$"):
        load("text", tmp_path / "mine", tokenizer=tokenizer)


def test_pydoc(load):
    topics = __import__("pydoc_data.topics", fromlist=["topics"]).topics
    text = "".join(topics[name] for name in sorted(topics))
    corpus = load("pydoc")
    assert ["".join(symbols(corpus, split)) for split in SPLITS] == list(cut_90_5_5(text))
    assert corpus.metric is BITS_PER_CHARACTER
    assert corpus.splits["train"].dtype == np.uint8


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["wt103", "enwik8", "text8"])
def test_missing_data_says_how_to_get_it(load, tmp_path, monkeypatch, dataset):
    monkeypatch.setattr(text_dataset, "project_root", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=rf"at data/.*`bash getdata.sh {dataset}`"):
        load(dataset)
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError, match=rf"at {tmp_path}/data/.*`bash getdata.sh {dataset}`"):
        load(dataset)
    with pytest.raises(UsageError, match=f"at {tmp_path}/elsewhere: check --data, or run"):
        load(dataset, tmp_path / "elsewhere")


def test_missing_texts_of_mini_scale_are_made(load, tmp_path):
    for file in [file for own in mini.makers().values() for file in own.mini.sha256]:
        place = tmp_path / Path(file).parts[0]
        dataset = "enwik8" if "enwik8" in file else "wt103"
        with pytest.raises(UsageError, match=r"make it with `bash run_scripts/make_mini_data.sh`"):
            load(dataset, place)


def test_default_place(tmp_path, monkeypatch):
    for module in (text_dataset, store):
        monkeypatch.setattr(module, "project_root", lambda: tmp_path)
    (tmp_path / "data").mkdir()
    write_splits(tmp_path / "data" / "wikitext-103", "a b\n", "a\n", "b\n")
    load_corpus("wt103", None, progress=False)
    assert [path.name[:6] for path in (tmp_path / "data" / "encoded").iterdir()] == ["wt103-"]


@pytest.mark.parametrize(
    ("dataset", "data", "options", "message"),
    [
        ("wt102", None, {}, "dataset must be one of"),
        ("text", None, {}, "--data"),
        ("pydoc", "somewhere", {}, "leave out"),
        ("text8", None, {"keep_newlines": True}, "keep_newlines means nothing to dataset text8"),
        ("wt103", None, {"tokenizer": "word"}, "tokenizer means nothing to dataset wt103"),
        ("text", "somewhere", {"tokenizer": "bpe"}, "unknown tokenizer"),
        ("text", "nowhere/at/all", {}, "no text data at nowhere"),
    ],
)
def test_options_that_do_not_fit(load, tmp_path, dataset, data, options, message):
    with pytest.raises(UsageError, match=message):
        load(dataset, data, **options)
    assert not (tmp_path / "encoded").exists()


@pytest.mark.parametrize("dataset", ["enwik8", "text8", "text"])
@pytest.mark.parametrize(("content", "problem"), [("", "empty"), ("abc", "too short")])
def test_empty_and_short_files_are_named(load, tmp_path, dataset, content, problem):
    (tmp_path / "corpus").write_text(content)
    with pytest.raises(UsageError, match=rf"{tmp_path}/corpus is {problem}"):
        load(dataset, tmp_path / "corpus")


def test_empty_missing_and_short_wt103_files_are_named(load, tmp_path):
    folder = write_splits(tmp_path / "w", "a b\n", "", "a\n")
    with pytest.raises(UsageError, match=r"w/valid\.txt is empty"):
        load("wt103", folder)
    (folder / "valid.txt").write_text("\n")
    with pytest.raises(UsageError, match=r"w/valid\.txt is too short"):
        load("wt103", folder)
    (folder / "valid.txt").unlink()
    with pytest.raises(UsageError, match=r"w/valid\.txt.*getdata\.sh wt103"):
        load("wt103", folder)
    with pytest.raises(UsageError, match=r"train\.txt is a file"):
        load("wt103", folder / "train.txt")


# --- the encoded folder --------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine"
    path.write_text("a small text that is read more than once\n" * 30)
    return path


def encoded_folder(tmp_path):
    [folder] = (tmp_path / "encoded").iterdir()
    return folder


def test_second_use_does_not_encode(load, mine, monkeypatch):
    first = load("text", mine)
    monkeypatch.setattr(corpora, "write_encoded", None)
    second = load("text", mine)
    assert second.fingerprint == first.fingerprint
    assert second.vocabulary == first.vocabulary
    np.testing.assert_array_equal(second.splits["train"], first.splits["train"])


def test_changed_text_and_options_are_encoded_anew(load, mine, tmp_path):
    fingerprints = {
        load("text", mine).fingerprint,
        load("text", mine, tokenizer="word").fingerprint,
    }
    mine.write_text(mine.read_text().replace("small", "large"))
    fingerprints.add(load("text", mine).fingerprint)
    assert len(fingerprints) == 3
    assert len(list((tmp_path / "encoded").iterdir())) == 3


def test_the_place_of_the_text_does_not_matter(load, mine, tmp_path):
    moved = tmp_path / "moved"
    moved.write_bytes(mine.read_bytes())
    assert load("text", mine).fingerprint == load("text", moved).fingerprint
    encoded_folder(tmp_path)


def damage_by_truncation(folder):
    os.truncate(folder / "train.bin", 100)


def damage_by_another_byte(folder):
    with open(folder / "valid.bin", "r+b") as file:
        file.write(b"\x01\x02\x03")


def damage_by_loss(folder):
    (folder / "test.bin").unlink()


def damage_by_half_a_description(folder):
    os.truncate(folder / "corpus.json", 50)


def change_description(folder, **changes):
    description = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps({**description, **changes}))


def damage_by_another_format(folder):
    change_description(folder, format=-1)


def damage_by_another_fingerprint(folder):
    change_description(folder, fingerprint="of some other text")


@pytest.mark.parametrize(
    "damage",
    [
        damage_by_truncation,
        damage_by_another_byte,
        damage_by_loss,
        damage_by_half_a_description,
        damage_by_another_format,
        damage_by_another_fingerprint,
    ],
)
def test_damaged_folder_is_made_again(load, mine, tmp_path, damage):
    whole = {split: ids.copy() for split, ids in load("text", mine).splits.items()}
    folder = encoded_folder(tmp_path)
    description = (folder / "corpus.json").read_text()
    damage(folder)
    again = load("text", mine)
    for split in SPLITS:
        np.testing.assert_array_equal(again.splits[split], whole[split])
    assert encoded_folder(tmp_path) == folder, "the damaged one is gone"
    assert (folder / "corpus.json").read_text() == description


def test_another_process_may_win(load, mine, tmp_path, monkeypatch):
    """The folder appears while this process is still writing its own."""
    rename = os.rename

    def rename_after_the_other(unfinished, folder):
        monkeypatch.setattr(os, "rename", rename)
        load("text", mine)
        inode.append(folder.stat().st_ino)
        rename(unfinished, folder)

    inode = []
    monkeypatch.setattr(os, "rename", rename_after_the_other)
    corpus = load("text", mine)
    assert encoded_folder(tmp_path).stat().st_ino == inode[0]
    assert "".join(symbols(corpus, "train")).startswith("a small text")


def test_full_disk_is_one_sentence_and_leaves_nothing(load, tmp_path):
    path = tmp_path / "mine"
    path.write_text("0123456789" * 10_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(UsageError, match="cannot write the encoded corpus to"):
            load("text", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "encoded").iterdir())


def test_a_disk_that_forgets_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be read back: .* another place with --encoded"):
        store.opened_or_made(tmp_path / "encoded", "fingerprint", lambda: None)


def test_interrupt_leaves_nothing(load, mine, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)  # the last thing that is done
    with pytest.raises(KeyboardInterrupt):
        load("text", mine)
    assert not list((tmp_path / "encoded").iterdir())


def test_at_most_one_plain_line_without_a_terminal(mine, tmp_path):
    program = (
        "import sys; from rmt.data.text.corpora import load_corpus\n"
        "from rmt.data.text.own import TEXT\n"
        "for _ in range(2): load_corpus(TEXT, sys.argv[1], encoded_dir=sys.argv[2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, mine, tmp_path / "encoded"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pytorch")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "\r" not in done.stderr


# --- vocabulary and types ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_symbols", "name"),
    [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65_536, "uint16"), (65_537, "int32")],
)
def test_smallest_type(n_symbols, name):
    assert encoding.id_type(n_symbols) == np.dtype(name)


def test_vocabulary_round_trip():
    counts = Counter({"b": 2, "a": 2, "é": 5})
    vocabulary = Vocabulary.from_counts(counts, special=["<eos>"])
    assert vocabulary.symbols == ("<eos>", "é", "b", "a")
    assert vocabulary.decode(vocabulary.encode(["a", "<eos>"])) == ["a", "<eos>"]
    assert len(vocabulary) == 4
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again == vocabulary
    with pytest.raises(UsageError, match="'zebra'"):
        vocabulary.encode(["zebra"])
    with pytest.raises(IndexError):
        vocabulary.decode([-1])


def test_many_characters(load, tmp_path):
    """More symbols than a byte holds."""
    text = "".join(chr(0x4E00 + i) for i in range(3000)) * 2
    (tmp_path / "mine").write_bytes(text.encode())
    corpus = load("text", tmp_path / "mine")
    assert corpus.splits["train"].dtype == np.uint16
    assert len(corpus.vocabulary) == 3000
    assert corpus.vocabulary.symbols[:2] == ("\u4e00", "\u4e01"), "ties: first seen"


def test_names():
    """Of the package; other tests may have added datasets of their own."""
    own = {name: found for name, found in datasets().items() if not found.is_task}
    texts = tuple(name for name in own if own[name].read.__module__.startswith("rmt."))
    assert texts == ("wt103", "enwik8", "text8", "text", "pydoc")
