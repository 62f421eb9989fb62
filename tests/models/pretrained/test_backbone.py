"""What a backbone is asked before memory is put around it, and how it is left."""

import pytest
import torch

from helpers.pretrained import SIZES, V, backbone
from rmt.models.pretrained.wrapping import wrap, wrap_armt
from rmt.runtime.errors import UsageError

transformers = pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
FAMILIES = {
    "OPT": {
        **SIZES,
        "ffn_dim": 24,
        "word_embed_proj_dim": 16,
        "max_position_embeddings": 64,
    },
    "Bloom": {"vocab_size": V, "hidden_size": 16, "n_layer": 2, "n_head": 2},
    "Mamba": {"vocab_size": V, "hidden_size": 16, "num_hidden_layers": 2},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("training", [True, False])
def test_one_that_takes_no_mask_of_the_paper_is_refused_in_words_and_left_as_it_was(
    family, training
):
    config = getattr(transformers, f"{family}Config")(**FAMILIES[family])
    model = getattr(transformers, f"{family}ForCausalLM")(config).train(training)
    with pytest.raises(UsageError, match=f"{family}ForCausalLM takes no mask that lets a row see"):
        wrap(model, mem_len=2, tgt_len=4, memory_mask="paper")
    assert all(module.training == training for module in model.modules())


@pytest.mark.parametrize("calls", [0, 1, 2])
@pytest.mark.parametrize("wrapping", [wrap, wrap_armt])
def test_one_that_fails_is_left_in_training(wrapping, calls, monkeypatch):
    """In whichever of the calls by which it is asked."""
    model, done = backbone("gpt2").train(), []
    compute = model.transformer.forward

    def failing(*args, **kwargs):
        if len(done) == calls:
            raise ValueError("not today")
        done.append(1)
        return compute(*args, **kwargs)

    monkeypatch.setattr(model.transformer, "forward", failing)
    mask = {"memory_mask": "paper"} if wrapping is wrap else {}
    with pytest.raises(ValueError, match="not today"):
        wrapping(model, mem_len=2, tgt_len=4, **mask)
    assert torch.is_grad_enabled()
    assert all(module.training for module in model.modules())
