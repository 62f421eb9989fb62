"""Hyperpartisan news: the by-article files of SemEval-2019 task 4 (Kiesel et al. 2019).

articles-training-byarticle-*.xml      <article id="0000000" title="..."><p>...</p> ...</article>
ground-truth-training-byarticle-*.xml  <article id="0000000" hyperpartisan="true" .../>

645 articles, which zenodo.org/records/1489920 gives out on request. A text is an article's title
and its paragraphs, a line each; white space is joined.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from rmt.data.labelled.files import Labelled
from rmt.runtime.errors import UsageError

ARTICLES, TRUTH = "articles-training-byarticle-", "ground-truth-training-byarticle-"
LABELS = ("false", "true")


def read(places: Sequence[Path]) -> list[Labelled]:
    """The articles with their labels, in order.

    places: the folder of the two files, or both of them. Raises UsageError where they are not
    there, are not of this form, or do not belong together.
    """
    articles, truth = _the_file(places, ARTICLES), _the_file(places, TRUTH)
    labels: dict[str, str] = {}
    for element in _articles(truth):
        name, label = element.get("id"), element.get("hyperpartisan")
        if name is None or label not in LABELS:
            raise UsageError(
                f"{truth}: article {name or 'without an id'} must be hyperpartisan true or false, "
                f"not {label}"
            )
        labels[name] = label
    found, seen = [], set()
    for element in _articles(articles):
        name = element.get("id")
        if name not in labels:
            raise UsageError(f"{articles}: article {name or 'without an id'} is not in {truth}")
        if name in seen:
            raise UsageError(f"{articles}: article {name} is there twice")
        seen.add(name)
        text = "\n".join(filter(None, map(_joined, _lines(element))))
        if not text:
            raise UsageError(f"{articles}: article {name} has no text")
        found.append(Labelled(text, labels[name], name))
    if not found:
        raise UsageError(f"{articles} holds no article")
    return found


def _the_file(places: Sequence[Path], begins: str) -> Path:
    """The one whose name begins so."""
    inside = [path for place in places for path in (place.iterdir() if place.is_dir() else [place])]
    fitting = [path for path in inside if path.name.startswith(begins) and path.suffix == ".xml"]
    if len(fitting) != 1:
        where = " ".join(map(str, places)) or "--data"
        raise UsageError(
            f"{where} must hold one file {begins}*.xml, not {len(fitting)}: name the folder of "
            "SemEval-2019 task 4's by-article files with --data"
        )
    return fitting[0]


def _articles(path: Path) -> Iterator[ElementTree.Element]:
    """Every article, as soon as it ends."""
    try:
        for _, element in ElementTree.iterparse(path):
            if element.tag == "article":
                yield element
                element.clear()
    except ElementTree.ParseError as error:
        raise UsageError(f"{path} is no XML ({error})") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def _lines(article: ElementTree.Element) -> Iterator[str]:
    yield article.get("title", "")
    yield article.text or ""
    for paragraph in article:
        yield "".join(paragraph.itertext())
        yield paragraph.tail or ""


def _joined(text: str) -> str:
    return " ".join(text.split())
