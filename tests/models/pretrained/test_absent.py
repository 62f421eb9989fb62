"""The package without the libraries of pretrained models."""

import os
import subprocess
import sys

import pytest

from helpers.programs import ROOT

WITHOUT = """
import sys
for name in ("transformers", "tokenizers", "peft", "accelerate", "gguf"):
    sys.modules[name] = None  # an import of it fails
import rmt
from rmt.models import registry
from rmt.runtime.errors import UsageError
try:
    {call}
except UsageError as error:
    print(error)
"""
SENTENCE = "pretrained models need the package transformers, which can't be imported ("


def printed(call: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(call=call)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pytorch")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    "call",
    [
        "rmt.wrap(None, mem_len=1, tgt_len=2)",
        "rmt.wrap_encoder(None, mem_len=1, tgt_len=2)",
        'registry.build(registry.find("pretrained").options(5, backbone=".", mem_len=1))',
    ],
)
def test_one_sentence_says_how_to_get_them(call):
    sentence = printed(call)
    assert sentence.startswith(SENTENCE)
    assert sentence.endswith('): install it with pip install "rmt[hf]"\n')
    assert sentence.count("\n") == 1


def test_a_tokenizer_says_so_too(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    call = (
        "from rmt.data.text.pretrained import reading; "
        f"reading('hf:{tmp_path}').tokenizer.vocabulary(dict())"
    )
    assert printed(call).startswith("pretrained tokenizers need the package tokenizers, which")


def test_the_core_needs_none_of_them():
    model = "rmt.build(rmt.ModelConfig(9, mem_len=2))"
    call = f"import rmt.train, rmt.eval, rmt.generate; print({model}.config.model)"
    assert printed(call) == "rmt\n"
