"""Weights to the published names and back."""

import pickle

import pytest
import torch

from helpers.models import tiny_model, tiny_segments
from rmt.interop import main
from rmt.models.transformer_xl.options import MODELS
from rmt.models.transformer_xl.published_names import (
    load_published_weights,
    published_state_dict,
)
from rmt.runtime.errors import UsageError

VARIANTS = [
    {},
    {"cutoffs": (5, 9)},
    {"d_embed": 6, "cutoffs": (5,)},
    {"not_tied": True},
    {"untie_r": True},
]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("changes", VARIANTS)
def test_round_trip_through_the_published_names(name, changes):
    source, target = tiny_model(name, seed=0, **changes), tiny_model(name, seed=1, **changes)
    load_published_weights(target, published_state_dict(source))
    [segment] = tiny_segments([6])
    assert torch.equal(source(*segment)[0], target(*segment)[0])
    for ours, theirs in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_names_and_shapes_are_the_published_ones():
    names = published_state_dict(tiny_model("rmt", cutoffs=(5, 9)))
    shapes = {name: tuple(tensor.shape) for name, tensor in names.items()}
    layer = {
        "dec_attn.qkv_net.weight": (24, 8),
        "dec_attn.r_net.weight": (8, 8),
        "dec_attn.o_net.weight": (8, 8),
        "dec_attn.layer_norm.weight": (8,),
        "dec_attn.layer_norm.bias": (8,),
        "pos_ff.CoreNet.0.weight": (12, 8),
        "pos_ff.CoreNet.0.bias": (12,),
        "pos_ff.CoreNet.3.weight": (8, 12),
        "pos_ff.CoreNet.3.bias": (8,),
        "pos_ff.layer_norm.weight": (8,),
        "pos_ff.layer_norm.bias": (8,),
    }
    expected = {f"layers.{i}.{name}": shape for i in range(3) for name, shape in layer.items()}
    expected |= {
        "word_emb.emb_layers.0.weight": (23, 8),
        "crit.out_layers.0.weight": (23, 8),
        "crit.out_layers.0.bias": (23,),
        "crit.cluster_weight": (2, 8),
        "crit.cluster_bias": (2,),
        "r_w_bias": (2, 4),
        "r_r_bias": (2, 4),
        "mem_tokens": (3, 1, 8),
        "pos_emb.inv_freq": (4,),
    }
    assert shapes == expected


def test_query_rows_come_first_then_keys_then_values():
    model = tiny_model("trxl")
    joined = published_state_dict(model)["layers.1.dec_attn.qkv_net.weight"]
    attention = model.layers[1].attention
    assert torch.equal(joined[:8], attention.query.weight)
    assert torch.equal(joined[8:], attention.key_value.weight)


def test_other_models_weights_are_refused_by_name():
    weights = published_state_dict(tiny_model("trxl"))
    with pytest.raises(UsageError, match="memory is absent in the weights"):
        load_published_weights(tiny_model("rmt"), weights)
    with pytest.raises(UsageError, match=r"inner\.bias is \(12,\) in the weights and \(9,\)"):
        load_published_weights(tiny_model("trxl", d_inner=9), weights)
    with pytest.raises(UsageError, match=r"extra\.thing is not a parameter"):
        load_published_weights(tiny_model("trxl"), {**weights, "extra.thing": torch.zeros(1)})


def test_the_command_converts_there_and_back(tmp_path):
    model = tiny_model("rmt", cutoffs=(5,))
    torch.save(published_state_dict(model), tmp_path / "theirs.pt")
    main([str(tmp_path / "theirs.pt"), str(tmp_path / "ours.safetensors")])
    main([str(tmp_path / "ours.safetensors"), str(tmp_path / "again.pt")])
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    load_published_weights(tiny_model("rmt", seed=3, cutoffs=(5,)), again)
    for name, tensor in published_state_dict(model).items():
        assert torch.equal(again[name], tensor)
    with pytest.raises(UsageError, match="exists already"):
        main([str(tmp_path / "theirs.pt"), str(tmp_path / "again.pt")])


class Trap:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_no_pickle_is_executed(tmp_path):
    with (tmp_path / "model.pt").open("wb") as file:
        pickle.dump({"weight": Trap(tmp_path / "sprung")}, file, protocol=2)
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "zip.pt")
    for name in ("model.pt", "zip.pt"):
        with pytest.raises(UsageError, match="can be read safely"):
            main([str(tmp_path / name), str(tmp_path / "out.pt")])
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "out.pt").exists()
