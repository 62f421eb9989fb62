"""The corpora: where they are published, what their archives hold, and how to know them.

For tests and other versions of the corpora, the environment may replace
    RMT_MIRRORS_WT103, RMT_MIRRORS_ENWIK8, RMT_MIRRORS_TEXT8   the addresses, separated by spaces
    RMT_CHECKSUMS    a JSON file with a "checks" object (see CORPORA) for each name that it replaces
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from errors import UsageError

# "members" lists the names under which an archive or folder may hold each file: nothing else is
# ever unpacked. "checks" holds the known digests and sizes; "archive" is that of the zip file.
# A line counts as one token more (<eos>), as in Transformer-XL.
CORPORA = {
    "wt103": {
        "folder": "wikitext-103",
        "archive": "wikitext-103-v1.zip",
        "mirrors": ["https://wikitext.smerity.com/wikitext-103-v1.zip"],
        "members": {
            f"{split}.txt": [
                f"wikitext-103/wiki.{split}.tokens",
                f"wiki.{split}.tokens",
                f"wikitext-103/{split}.txt",
                f"{split}.txt",
            ]
            for split in ("train", "valid", "test")
        },
        "checks": {
            "archive": {"md5": "9ddaacaf6af0710eda8c456decff7832"},
            "train.txt": {"lines": 1_801_350, "tokens": 103_227_021},
            "valid.txt": {
                "md5": "b465742f79b17b85bad5699479b13301",
                "lines": 3_760,
                "tokens": 217_646,
            },
            "test.txt": {
                "md5": "f202e4c8148839782adc13e7d1ca58e0",
                "lines": 4_358,
                "tokens": 245_569,
            },
        },
    },
    "enwik8": {
        "folder": "enwik8",
        "archive": "enwik8.zip",
        "mirrors": ["http://mattmahoney.net/dc/enwik8.zip", "https://data.deepai.org/enwik8.zip"],
        "members": {"enwik8": ["enwik8", "enwik8/enwik8"]},
        "checks": {
            "archive": {
                "sha256": "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc"
            },
            "enwik8": {"md5": "a1fa5ffddb56f4953e226637dabbb36a", "bytes": 100_000_000},
        },
    },
    "text8": {
        "folder": "text8",
        "archive": "text8.zip",
        "mirrors": ["http://mattmahoney.net/dc/text8.zip"],
        "members": {"text8": ["text8", "text8/text8"]},
        "checks": {
            "text8": {"md5": "3bea1919949baf155f99411df5fada7e", "bytes": 100_000_000},
        },
    },
}


def settings(name: str) -> dict:
    """The entry of CORPORA, with what the environment replaces."""
    corpus = dict(CORPORA[name])
    mirrors = os.environ.get(f"RMT_MIRRORS_{name.upper()}", "").split()
    if mirrors:
        corpus["mirrors"] = mirrors
    table = os.environ.get("RMT_CHECKSUMS")
    if table:
        try:
            checks = json.loads(Path(table).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"RMT_CHECKSUMS names no JSON file: {error}") from error
        corpus["checks"] = checks.get(name, corpus["checks"])
    return corpus
