"""Models that compute different things have different names, and the usual ones those that logged
runs have."""

from itertools import combinations

import pytest

from rmt.models import registry
from rmt.models.options import ModelOptions

# By model: its usual options, its label and its folder, and what makes another model of it.
CASES = {
    "baseline": ({}, "baseline", "baseline-mem0", []),
    "mt": (
        {"mem_len": 4},
        "mt, memory 4",
        "mt-mem4",
        [
            {"memory_mask": "causal"},
            {"published_memory": True},
            {"published_positions": True},
            {"as_published": True},
        ],
    ),
    "rmt": (
        {"mem_len": 4},
        "rmt, memory 4",
        "rmt-mem4",
        [
            {"memory_mask": "causal"},
            {"write_from": "learned"},
            {"published_positions": True},
            {"memory_mask": "causal", "write_from": "learned", "published_positions": True},
        ],
    ),
    "trxl_rmt": (
        {"mem_len": 4, "cache_len": 8},
        "trxl_rmt, memory 4, cache 8",
        "trxl_rmt-mem4-cache8",
        [{"read_mem_from_cache": True}, {"published_cache": True}],
    ),
    "pretrained": (
        {"mem_len": 4},
        "pretrained, memory 4",
        "pretrained-mem4",
        [
            {"memory_mask": "paper"},
            {"lora_rank": 8},
            {"lora_rank": 4},
            {"freeze_backbone": True},
            {"memory_mask": "paper", "lora_rank": 8},
        ],
    ),
    "pretrained_armt": (
        {"mem_len": 4},
        "pretrained_armt, memory 4, d_mem 64",
        "pretrained_armt-mem4-d64",
        [{"lora_rank": 8}, {"freeze_backbone": True}, {"memory_update": "delta"}],
    ),
    "encoder": (
        {"mem_len": 4},
        "encoder, memory 4",
        "encoder-mem4",
        [{"lora_rank": 8}, {"freeze_backbone": True}],
    ),
}


def options(model: str, **changes) -> ModelOptions:
    return registry.find(model).options(n_token=50, model=model, **changes)


@pytest.mark.parametrize("model", CASES)
def test_other_models_have_other_names(model):
    usual, label, folder, others = CASES[model]
    assert (options(model, **usual).label, options(model, **usual).folder_name) == (label, folder)
    each = [options(model, **usual, **changes) for changes in ({}, *others)]
    for one, other in combinations(each, 2):
        assert one.label != other.label
        assert one.folder_name != other.folder_name
        assert one.in_result() != other.in_result()
    for one in each:
        assert one.label.startswith(label)
        assert " " not in one.folder_name


def test_what_makes_no_difference_is_not_in_a_name():
    both = options("pretrained", mem_len=4, lora_rank=8, freeze_backbone=True)
    assert both.label == options("pretrained", mem_len=4, lora_rank=8).label
    assert "published" not in options("armt", mem_len=4).label
