"""Backbone and memory together on disk; what of a backbone is trained."""

import json
import shutil

import pytest
import torch

from helpers.pretrained import (
    CAUSAL,
    ENCODERS,
    backbone,
    words,
    wrapped,
    wrapped_armt,
    wrapped_encoder,
)
from rmt.models.pretrained.saving import from_pretrained, save_pretrained
from rmt.models.pretrained.wrapping import wrap
from rmt.runtime.errors import UsageError

transformers = pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")


def trained(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def changed(model):
    """The model with all weights moved, those of adapters, too, which begin at nothing."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def outputs(model, tokens):
    return model.predict(tokens) if hasattr(model, "predict") else model(tokens)


def round_trip(model, folder):
    save_pretrained(model, folder)
    again, tokens = from_pretrained(folder), words(2, 5)
    assert not again.training
    assert (again.config, again.tgt_len) == (model.config, model.tgt_len)
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert trained(again) == trained(model)
    # Not bit for bit: weights that lie elsewhere in memory may be added up in another order.
    for one, other in zip(outputs(model, tokens), outputs(again, tokens), strict=True):
        named = [{"": x} if isinstance(x, torch.Tensor) else x.tensors() for x in (one, other)]
        torch.testing.assert_close(*named, rtol=0, atol=1e-6)
    return again


@pytest.mark.parametrize("make", [wrapped, wrapped_armt])
@pytest.mark.parametrize("name", CAUSAL)
def test_a_language_model_comes_back_with_its_memory_and_what_is_tied(name, make, tmp_path):
    model = changed(make(name))
    again = round_trip(model, tmp_path / "new" / "model")
    for each in (model, again):
        is_tied = each.embedding.weight is each.backbone.get_output_embeddings().weight
        assert is_tied == model.backbone.config.tie_word_embeddings
    # And the backbone alone is one for everybody.
    alone = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "new" / "model")
    assert torch.equal(alone.get_input_embeddings().weight, model.embedding.weight)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_comes_back_with_its_memory_and_its_classifier(name, tmp_path):
    # In float32, which the library has for some of DeBERTa's weights whatever is saved.
    round_trip(changed(wrapped_encoder(name).float()), tmp_path / "model")


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_frozen_backbones_stay_so(name, tmp_path):
    model = wrapped(name, freeze_backbone=True, memory_mask="paper")
    assert trained(model) == {"memory"}
    round_trip(model, tmp_path / "model")
    tokens = words(2, 5)
    state = model.advance(tokens)
    model(tokens, tokens, state)[0].sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"memory"}


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_associative_memories_around_frozen_backbones_are_trained(name, tmp_path):
    model = wrapped_armt(name, freeze_backbone=True, memory_update="delta")
    own = {name for name in model.state_dict() if not name.startswith("backbone.")}
    assert trained(model) == own
    round_trip(model, tmp_path / "model")
    tokens = words(2, 5)
    model(tokens, tokens, model.advance(tokens))[0].sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == own


@pytest.mark.parametrize("name", CAUSAL)
def test_associative_memories_and_adapters_come_back_together(name, tmp_path):
    pytest.importorskip("peft", reason="LoRA needs peft, of rmt[hf]")
    model = wrapped_armt(name, lora_rank=2)
    ours = {weight for weight in trained(model) if not weight.startswith("backbone.")}
    assert len(ours) == 1 + 2 * 5
    assert all("lora_" in weight for weight in trained(model) - ours)
    again = round_trip(changed(model), tmp_path / "model")
    tokens = words(2, 5)
    again(tokens, tokens, again.advance(tokens))[0].sum().backward()
    assert all(p.grad is not None for p in again.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", [*CAUSAL, "bert", "t5"])
def test_adapters_come_back_and_are_all_that_is_trained_beside_memory(name, tmp_path):
    pytest.importorskip("peft", reason="LoRA needs peft, of rmt[hf]")
    model = (wrapped if name in CAUSAL else wrapped_encoder)(name, lora_rank=2)
    ours = {"memory", "classifier.weight", "classifier.bias"}
    of_backbone = trained(model) - ours
    assert "memory" in trained(model)
    assert of_backbone
    # Of a backbone with a new classifier that is trained whole.
    assert all("lora_" in weight or "classifier" in weight for weight in of_backbone)
    again = round_trip(changed(model), tmp_path / "model")
    tokens = words(2, 5)
    outputs(again, tokens)[0].sum().backward()
    assert any(p.grad.any() for name, p in again.named_parameters() if "lora_" in name)


def test_new_adapters_change_nothing_yet():
    pytest.importorskip("peft", reason="LoRA needs peft, of rmt[hf]")
    torch.manual_seed(5)
    plain = wrapped("llama")
    torch.manual_seed(5)
    adapted = wrapped("llama", lora_rank=2)
    adapted.memory.data.copy_(plain.memory)
    tokens = words(2, 5)
    torch.testing.assert_close(adapted.predict(tokens)[0], plain.predict(tokens)[0])


def test_adapters_of_ones_own_are_kept(tmp_path):
    peft = pytest.importorskip("peft", reason="LoRA needs peft, of rmt[hf]")
    how = peft.LoraConfig(r=3, target_modules=["q_proj"])
    own = peft.get_peft_model(backbone("llama"), how)
    model = round_trip(changed(wrap(own, mem_len=2, tgt_len=5)), tmp_path / "model")
    assert len(trained(model)) == 1 + 2 * 2
    with pytest.raises(UsageError, match="has adapters already: leave out lora_rank 2"):
        wrap(own, mem_len=2, tgt_len=5, lora_rank=2)


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(UsageError, match="is there already: name a new folder"):
        save_pretrained(wrapped("gpt2"), tmp_path / "model")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="can't be written"):
        save_pretrained(wrapped("gpt2"), tmp_path / "file" / "model")


def test_folders_that_hold_something_else(tmp_path):
    good = tmp_path / "good"
    save_pretrained(wrapped("gpt2"), good)
    with pytest.raises(UsageError, match="holds no saved model: it has no"):
        from_pretrained(tmp_path)
    about = json.loads((good / "memory.json").read_text())
    for key, wrong in (
        ("format", "another"),
        ("kind", "decoder"),
        ("backbone", "os:system"),
        ("options", {"mem_len": 2}),
    ):
        bad = tmp_path / key
        shutil.copytree(good, bad)
        (bad / "memory.json").write_text(json.dumps({**about, key: wrong}))
        with pytest.raises(UsageError, match="can't be read"):
            from_pretrained(bad)
    (good / "memory.safetensors").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="can't be read"):
        from_pretrained(good)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("no weights", "the backbone in .* can't be read"),
        ("weights that are none", "the backbone in .* can't be read"),
        ("no configuration", "the backbone in .* can't be read"),
        ("unknown class", "the model in .* can't be read"),
        ("unknown module", "the model in .* can't be read"),
        ("no list of options", "the model in .* can't be read"),
    ],
)
def test_damaged_folders_are_told_in_one_sentence(what, reason, tmp_path):
    folder = tmp_path / "model"
    save_pretrained(wrapped("gpt2"), folder)
    about = json.loads((folder / "memory.json").read_text())
    module, _, name = about["backbone"].partition(":")
    if what == "no weights":
        (folder / "model.safetensors").unlink()
    elif what == "weights that are none":
        (folder / "model.safetensors").write_bytes(b"nothing")
    elif what == "no configuration":
        (folder / "config.json").write_text("nothing")
    else:
        about |= {
            "unknown class": {"backbone": f"{module}:No{name}"},
            "unknown module": {"backbone": f"{module}.no:{name}"},
            "no list of options": {"options": [1, 2]},
        }[what]
        (folder / "memory.json").write_text(json.dumps(about))
    with pytest.raises(UsageError, match=reason) as error:
        from_pretrained(folder)
    assert "\n" not in str(error.value)
