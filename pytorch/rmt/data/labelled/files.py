"""Texts with labels in files of JSON lines (.jsonl, .json) or of CSV (.csv).

    {"text": "The senate met on ...", "label": "neutral", "id": "0000001"}

A CSV file begins with a line that names its columns, text and label among them. An id, by which a
file of splits names the text, may be left out.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rmt.runtime.errors import UsageError

LONGEST_FIELD = 1 << 30  # characters of a text in CSV


@dataclass(frozen=True)
class Labelled:
    """A text, its label, and its name: the id, or for people where it stands."""

    text: str
    label: str
    name: str


def read(places: Sequence[Path]) -> list[Labelled]:
    """The texts of all files, in order. Raises UsageError for what is none, with its line."""
    if not places:
        raise UsageError("texts with labels are yours: name a file of them with --data")
    return [found for place in places for found in _read_file(place)]


def _read_file(path: Path) -> list[Labelled]:
    kinds = {".jsonl": _json_lines, ".json": _json_lines, ".csv": _csv}
    if path.suffix.lower() not in kinds:
        raise UsageError(
            f"{path} is no file of texts with labels: its name must end in {', '.join(kinds)}"
        )
    try:
        found = list(kinds[path.suffix.lower()](path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: byte {error.start} is {error.reason}") from None
    if not found:
        raise UsageError(f"{path} holds no text")
    return found


def _json_lines(path: Path) -> Iterator[Labelled]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise UsageError(f"{path}, line {number} is no JSON ({error})") from None
                yield _labelled(record, f"{path}, line {number}")


def _csv(path: Path) -> Iterator[Labelled]:
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            for row in rows:
                yield _labelled(row, f"{path}, line {rows.line_num}")
    except csv.Error as error:
        raise UsageError(f"{path} is no CSV ({error})") from None
    finally:
        csv.field_size_limit(before)


def _labelled(record: object, place: str) -> Labelled:
    """Of an object, or a row by its columns."""
    if not isinstance(record, dict) or record.get("text") is None or record.get("label") is None:
        raise UsageError(f"{place} has no text or no label: it needs both, by these names")
    text, label = record["text"], record["label"]
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"{place} has an empty text, or one that is no string")
    # As JSON writes true, false and numbers.
    label = label.strip() if isinstance(label, str) else json.dumps(label)
    for what, value in (("text", text), ("label", label)):
        try:
            value.encode()
        except UnicodeEncodeError as error:  # JSON may escape half of a character, as \\ud83d
            half = error.object[error.start].encode("unicode_escape").decode()
            raise UsageError(f"{place} has a {what} with half of a character ({half})") from None
    return Labelled(text, label, str(place if record.get("id") in (None, "") else record["id"]))
