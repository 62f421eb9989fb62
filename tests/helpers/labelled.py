"""Made-up texts with labels, in files, and a tiny encoder with a tokenizer for them."""

import json
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import torch

WORDS = "the cat sat on a mat and saw that dog".split()
SIGNS = {"false": "calm", "true": "angry"}  # the word that tells the label
ARTICLES = "articles-training-byarticle-20181122.xml"
TRUTH = "ground-truth-training-byarticle-20181122.xml"


def texts(n: int, longest: int = 30, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of 1 to `longest` words, one of which says the label, and their labels."""
    random, made = np.random.default_rng(seed), []
    for i in range(n):
        label = list(SIGNS)[i % 2]
        words = random.choice(WORDS, size=int(random.integers(1, longest + 1))).tolist()
        words[int(random.integers(len(words)))] = SIGNS[label]
        made.append((" ".join(words), label))
    return made


def write_lines(path: Path, made: list[tuple[str, str]]) -> Path:
    """JSON lines, with ids."""
    lines = (
        json.dumps({"text": text, "label": label, "id": f"t{i}"})
        for i, (text, label) in enumerate(made)
    )
    path.write_text("\n".join(lines) + "\n")
    return path


def write_semeval(folder: Path, made: list[tuple[str, str]]) -> Path:
    """As SemEval-2019 task 4 has it: a title, and paragraphs of which one has a link."""
    folder.mkdir(parents=True, exist_ok=True)
    articles, truth = [], []
    for i, (text, label) in enumerate(made):
        first, *rest = text.split(" ")
        when = 'published-at="2017-01-01"'
        body = f'<p>{first}</p>\n<p><a href="x" type="external">{" ".join(rest)}</a> </p>'
        title = quoteattr("the & cat")
        articles.append(f'<article id="{i:07}" {when} title={title}>{body}</article>')
        truth.append(f'<article id="{i:07}" hyperpartisan="{label}" labeled-by="article"/>')
    for name, elements in ((ARTICLES, articles), (TRUTH, truth)):
        content = "\n".join(elements)
        (folder / name).write_text(
            f'<?xml version="1.0" encoding="UTF-8"?>\n<articles>\n{content}\n</articles>\n'
        )
    return folder


def write_tokenizer(folder: Path, around: str = "[CLS] $A [SEP]") -> int:
    """One whose file says to cut texts after 4 tokens. around: what it puts around a text. Returns
    how many tokens it has."""
    pytest.importorskip("tokenizers", reason="pretrained models need rmt[hf]")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "&")
    ids = {word: i for i, word in enumerate([*special, *WORDS, *SIGNS.values()])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(ids)


def write_encoder(folder: Path, **changes) -> Path:
    """A random BERT of two layers, as published ones are, without a classifier; a tokenizer.

    changes: of its configuration."""
    transformers = pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
    n_words = write_tokenizer(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 24, "max_position_embeddings": 64, "vocab_size": n_words}
    torch.manual_seed(0)
    config = transformers.BertConfig(**sizes, pad_token_id=0, **changes)
    transformers.BertModel(config).save_pretrained(folder)
    return folder
