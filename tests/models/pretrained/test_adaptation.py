"""What of an encoder is trained, by either way to put memory around it."""

import pytest
from torch import nn

from helpers.labelled import write_tokenizer
from helpers.pretrained import ENCODERS, backbone, wrapped_encoder
from rmt.models.pretrained.building import build_classifier
from rmt.models.pretrained.options import ClassifierOptions
from rmt.models.pretrained.saving import from_pretrained, save_pretrained

pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
# What families for sequence classification have behind their encoder. The others get ours.
DEBERTA = ("pooler.dense", "classifier")
ELECTRA = ("classifier.dense", "classifier.out_proj")
HEADS = {"bert": ("classifier",), "roberta": ELECTRA, "electra": ELECTRA}
HEADS |= {"deberta": DEBERTA, "deberta_v2": DEBERTA}
BOTH = ("weight", "bias")


def trained(model: nn.Module) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def trained_beside(name: str, lora_rank: int) -> set[str]:
    """The names in a frozen backbone, and of memory and classifier."""
    if name not in HEADS:
        ours, heads = {"memory", *(f"classifier.{part}" for part in BOTH)}, ()
    else:
        ours, heads = {"memory"}, HEADS[name]
    if not lora_rank:
        return ours | {f"backbone.{head}.{part}" for head in heads for part in BOTH}
    ours |= {
        f"backbone.base_model.model.classifier.modules_to_save.default{rest}.{part}"
        for head, _, rest in (head.partition("classifier") for head in heads)
        for part in BOTH
        if not head
    }
    return ours | {
        f"backbone.base_model.model.{linear}.lora_{part}.default.weight"
        for linear, module in backbone(name).named_modules()
        if isinstance(module, nn.Linear) and not linear.startswith(("classifier", "decoder"))
        for part in "AB"
    }


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("name", ENCODERS)
def test_beside_a_frozen_encoder_memory_and_classifier_are_trained(name, lora_rank, tmp_path):
    if lora_rank:
        pytest.importorskip("peft", reason="LoRA needs peft, of rmt[hf]")
    expected = trained_beside(name, lora_rank)
    model = wrapped_encoder(name, freeze_backbone=True, lora_rank=lora_rank).float()
    assert trained(model) == expected
    save_pretrained(model, tmp_path / "saved")
    assert trained(from_pretrained(tmp_path / "saved")) == expected
    if name == "bert_alone":
        return  # its folder is read as BERT for classification
    backbone(name).save_pretrained(tmp_path)
    n_words = write_tokenizer(tmp_path, "$A [SEP]" if name == "t5" else "[CLS] $A [SEP]")
    options = {"backbone": str(tmp_path), "mem_len": 3, "n_labels": 3, "lora_rank": lora_rank}
    built = build_classifier(ClassifierOptions(n_words + 4, freeze_backbone=True, **options))
    assert trained(built) == {f"encoder.{name}" for name in expected}


def test_a_decoder_that_is_not_read_is_never_trained():
    model = wrapped_encoder("bart")
    read = {f"backbone.{name}" for name in trained(model.backbone.get_encoder())}
    assert not any("decoder" in name for name in trained(model))
    assert len(trained(model)) == 3 + len(read)
