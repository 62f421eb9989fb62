"""The language reference that every CPython carries: half a megabyte of English, no download."""

import io
from pathlib import Path

from rmt.data.text.dataset import Text, TextDataset, TextOptions
from rmt.data.text.files import characters
from rmt.data.text.sources import Source
from rmt.data.text.splitting import split_characters
from rmt.runtime.errors import UsageError


def reference() -> bytes:
    """All of it, in UTF-8. Raises UsageError where Python came without."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise UsageError(
            "this Python was installed without pydoc_data: choose another dataset"
        ) from error
    return "".join(topics[topic] for topic in sorted(topics)).encode("utf-8")


def read(place: Path | None, options: TextOptions) -> Text:
    """By characters, split 90/5/5 %."""
    content = reference()
    return characters(
        split_characters(Source("pydoc_data.topics", lambda: io.BytesIO(content)).text())
    )


PYDOC = TextDataset("pydoc", read, has_place=False)
