"""Tokenizers of pretrained models that put a space before whatever they are given, as Llama 2's."""

import numpy as np
import pytest

from rmt.data.text import pretrained
from rmt.data.text.codec import Codec
from rmt.data.vocabulary import Vocabulary

TEXT = "the cat sat on the mat and saw the cat that sat on that mat. " * 40


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    tokenizers = pytest.importorskip("tokenizers")
    bytes_alone = [f"<0x{i:02X}>" for i in range(256)]
    made = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>"))
    normalizers, decoders = tokenizers.normalizers, tokenizers.decoders
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split("▁", "merged_with_next")
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>", *bytes_alone], show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    folder = tmp_path_factory.mktemp("llama")
    made.save(str(folder / "tokenizer.json"))
    reading = pretrained.reading(f"hf:{folder}")
    return Codec(reading, Vocabulary(reading.tokenizer.symbols))


def test_a_text_is_not_cut_where_that_would_add_tokens(codec):
    tokenizer = codec.reading.tokenizer
    assert not tokenizer.can_be_cut
    long = TEXT * 100  # of several blocks
    ids = codec.encode(long)
    assert np.array_equal(ids, tokenizer.ids(long))
    assert codec.decode(ids.tolist()) == long


def test_what_follows_a_prompt_keeps_its_first_space(codec):
    ids = codec.encode("the cat sat on ü.").tolist()
    for n in range(1, len(ids)):
        said = "".join(codec.pieces(ids[n:], after=ids[n - 1]))
        is_inside_a_character = "\ufffd" in said
        assert is_inside_a_character or codec.decode(ids[:n]) + said == "the cat sat on ü."
    at = next(n for n in range(1, len(ids)) if codec.vocabulary.symbols[ids[n]].startswith("▁"))
    assert "".join(codec.pieces(ids[at:], after=ids[at - 1])).startswith(" ")
