"""The texts of mini scale: made of the published ones, the same for everybody."""

import re
from pathlib import Path

from helpers.programs import assert_one_sentence, run
from rmt.data.registry import find
from rmt.data.text import mini, wt103

TITLES = [f"Title {i}" for i in range(20)]


def article(title: str) -> str:
    body = f" {title} has a word{title.split()[1]} of its own . \n \n = = Section = = \n \n"
    return f" = {title} = \n \n{body}"


def published(folder: Path) -> Path:
    """A folder like WikiText-103's, with ten articles in either file."""
    folder.mkdir(parents=True)
    for name, titles in (("test", TITLES[:10]), ("valid", TITLES[10:])):
        (folder / f"{name}.txt").write_text(" \n" + "".join(map(article, titles)))
    return folder


def test_every_article_is_in_one_split(tmp_path):
    made = wt103.make_mini(published(tmp_path / "wikitext-103"))
    titles = {
        name: re.findall(r"^ = ([^=]+) = $", text.decode(), re.M) for name, text in made.items()
    }
    assert {name: len(found) for name, found in titles.items()} == {
        "wt103-mini/valid.txt": 8,
        "wt103-mini/test.txt": 8,
        "wt103-mini/train.txt": 4,
    }
    assert set(titles["wt103-mini/train.txt"]) <= set(TITLES)
    # Held-out titles have numbers that the training split lacks.
    assert {*titles["wt103-mini/valid.txt"], *titles["wt103-mini/test.txt"]} == {"Title <unk>"}


def test_words_that_training_lacks_are_unknown():
    assert wt103.with_known_words(" a b  \n c a \n", {"a", "c"}) == " a <unk>  \n c a \n"


def test_nothing_is_lost_between_articles():
    text = " \n" + article("One 1") + "\n" + article("Two 2")
    first, second = wt103.split_articles(text)
    assert first + second == text
    assert second.startswith(" = Two 2 = ")


def test_missing_and_other_texts_are_named(tmp_path):
    flags = ["wt103", "--data_dir", tmp_path]
    said = assert_one_sentence(run(mini.main, *flags))
    assert "test.txt is missing: run bash getdata.sh wt103" in said
    published(tmp_path / "wikitext-103")
    said = assert_one_sentence(run(mini.main, *flags))
    assert "doesn't hold the published files" in said
    assert not (tmp_path / "wt103-mini").exists()


def test_the_first_bytes_of_enwik8_are_those_of_the_logged_runs(tmp_path, published):
    with published("enwik8/enwik8", "enwik8-head").open("rb") as file:
        head = file.read(4_000_000)
    (tmp_path / "enwik8").mkdir()
    (tmp_path / "enwik8" / "enwik8").write_bytes(head + b"more")
    assert mini.make(find("enwik8"), tmp_path) == [tmp_path / "enwik8-head"]
    assert (tmp_path / "enwik8-head").read_bytes() == head


def test_the_articles_of_wikitext_are_those_of_the_logged_runs(tmp_path, published):
    """make refuses what has another checksum than theirs."""
    (tmp_path / "wikitext-103").symlink_to(published("wikitext-103", "wikitext-103-heldout"))
    made = mini.make(find("wt103"), tmp_path)
    assert {*made} == {tmp_path / f"wt103-mini/{name}.txt" for name in ("train", "valid", "test")}
