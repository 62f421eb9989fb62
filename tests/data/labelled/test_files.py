"""Texts with labels from files, and what is said of files that hold none."""

import json

import pytest

from helpers.labelled import ARTICLES, TRUTH, texts, write_semeval
from rmt.data.labelled import files, hyperpartisan
from rmt.data.labelled.files import Labelled
from rmt.runtime.errors import UsageError


def test_json_lines_and_csv_say_the_same(tmp_path):
    long = "very long, " * 40_000  # csv itself refuses a field above 131,072 characters
    rows = [('He said "no",\nand left.', "1"), (long, "0"), ("Grüße", "1")]
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    records = [{"text": text, "label": int(label), "other": 1} for text, label in rows]
    lines.write_text("\n\n".join(map(json.dumps, records)))
    quoted = (f'{label},"{text.replace(chr(34), chr(34) * 2)}"' for text, label in rows)
    table.write_text("\ufefflabel,text\n" + "\n".join(quoted), "utf-8")
    for path in (lines, table):
        found = files.read([path])
        assert [(each.text, each.label) for each in found] == rows
        assert found[0].name.startswith(f"{path}, line ")
    assert len(files.read([lines, table])) == 6


def test_labels_are_as_json_writes_them_and_ids_are_names(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": true, "id": 0}\n{"text": "b", "label": " x "}')
    first, second = files.read([path])
    assert first == Labelled("a", "true", "0")
    assert (second.label, second.name) == ("x", f"{path}, line 2")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "x", "a.txt is no file of texts with labels: its name must end in .jsonl"),
        ("a.jsonl", "", "a.jsonl holds no text"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text', "a.jsonl, line 2 is no JSON"),
        ("a.jsonl", "[1]", "line 1 has no text or no label"),
        ("a.jsonl", '{"text": "a"}', "line 1 has no text or no label"),
        ("a.jsonl", '{"text": " ", "label": 1}', "line 1 has an empty text"),
        ("a.jsonl", '{"text": 3, "label": 1}', "line 1 has an empty text, or one that is no"),
        ("a.csv", "text,name\na,b\n", "line 2 has no text or no label"),
        ("a.csv", 'text,label\n"a,b\n', "a.csv is no CSV"),
        ("a.csv", "text,label\na\n", "line 2 has no text or no label"),
        ("a.jsonl", b'{"text": "\xff"}', "a.jsonl is not UTF-8"),
        ("a.jsonl", r'{"text": "a\ud83d", "label": 1}', r"text with half of a character \(\\ud83d"),
        ("a.jsonl", r'{"text": "a", "label": "\ude00"}', "line 1 has a label with half of a char"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=sentence):
        files.read([path])


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*a\.jsonl: No such file"):
        files.read([tmp_path / "a.jsonl"])
    with pytest.raises(UsageError, match="name a file of them with --data"):
        files.read([])


# Hyperpartisan


def test_articles_are_their_title_and_paragraphs(tmp_path):
    made = [("the cat sat", "true"), ("a", "false")]
    folder = write_semeval(tmp_path / "semeval", made)
    expected = [
        Labelled("the & cat\nthe\ncat sat", "true", "0000000"),
        Labelled("the & cat\na", "false", "0000001"),
    ]
    assert hyperpartisan.read([folder]) == expected
    assert hyperpartisan.read([folder / TRUTH, folder / ARTICLES]) == expected


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        (ARTICLES, "</articles>", "", "articles-.*xml is no XML .no element found"),
        (ARTICLES, 'id="0000001"', 'id="7"', "article 7 is not in .*ground-truth"),
        (ARTICLES, 'id="0000001"', "", "article without an id is not in"),
        (ARTICLES, 'id="0000001"', 'id="0000000"', "article 0000000 is there twice"),
        (TRUTH, '"true"', '"maybe"', "must be hyperpartisan true or false, not maybe"),
        (TRUTH, 'hyperpartisan="true"', "", "hyperpartisan true or false, not None"),
        (TRUTH, "<articles>", "<articles", "ground-truth-.*xml is no XML"),
    ],
)
def test_malformed_articles_are_refused(tmp_path, file, old, new, sentence):
    folder = write_semeval(tmp_path, texts(4))
    content = (folder / file).read_text()
    assert old in content
    (folder / file).write_text(content.replace(old, new))
    with pytest.raises(UsageError, match=sentence):
        hyperpartisan.read([folder])


def test_what_is_missing_is_named(tmp_path):
    write_semeval(tmp_path, [("a", "true")])
    (tmp_path / TRUTH).rename(tmp_path / "truth.xml")
    with pytest.raises(UsageError, match=r"must hold one file ground-truth-.*\*.xml, not 0"):
        hyperpartisan.read([tmp_path])
    (tmp_path / ARTICLES).write_text("<articles></articles>")
    (tmp_path / TRUTH).write_text("<articles></articles>")
    with pytest.raises(UsageError, match="holds no article"):
        hyperpartisan.read([tmp_path])
    write_semeval(tmp_path, [("a", "true")])
    content = (tmp_path / ARTICLES).read_text().replace("the &amp; cat", "")
    (tmp_path / ARTICLES).write_text(content.replace("<p>a</p>", "<p> </p>"))
    with pytest.raises(UsageError, match="article 0000000 has no text"):
        hyperpartisan.read([tmp_path])
