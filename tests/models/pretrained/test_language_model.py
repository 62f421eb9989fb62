"""What models around causal language models have in common, whatever they hand on."""

import pytest
import safetensors
import torch

from helpers.pretrained import (
    CAUSAL,
    WINDOWED,
    V,
    assert_same_state,
    backbone,
    tolerance,
    words,
    wrapped,
    wrapped_armt,
)
from rmt.evaluation.sampling import sample
from rmt.evaluation.stream import StreamState, read
from rmt.models.contract import Decoder, State
from rmt.models.pretrained.armt import PretrainedARMT
from rmt.models.pretrained.causal import Memory
from rmt.models.pretrained.language_model import BackboneLM
from rmt.models.pretrained.segments import ALIGNMENTS, cut
from rmt.models.pretrained.wrapping import wrap, wrap_armt
from rmt.runs import checkpoint

pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
both_kinds = pytest.mark.parametrize("make", [wrapped, wrapped_armt])
every_model = pytest.mark.parametrize(
    ("make", "name", "options"),
    [(wrapped, name, {"memory_mask": "causal"}) for name in CAUSAL]
    + [(wrapped, name, {"memory_mask": "paper"}) for name in CAUSAL if name not in WINDOWED]
    + [
        (wrapped_armt, name, options)
        for name in CAUSAL
        for options in ({}, {"memory_update": "delta"}, {"correction": False})
    ],
)


def start(model: BackboneLM, n_streams: int) -> State:
    """What streams begin with."""
    if isinstance(model, PretrainedARMT):
        return model.empty_state(n_streams)
    return Memory(model.memory.expand(n_streams, -1, -1))


@every_model
@pytest.mark.parametrize("alignment", ALIGNMENTS)
@torch.no_grad()
def test_texts_of_unequal_length_are_read_as_each_alone(make, name, options, alignment):
    model, lengths = make(name, **options), [11, 4, 7]
    tokens, targets = words(3, 11), words(3, 11, seed=4)

    def losses(rows: slice, lengths: list[int]):
        state, nll = None, 0
        parts = zip(
            cut(tokens[rows], lengths, 5, alignment),
            cut(targets[rows], lengths, 5, alignment),
            strict=True,
        )
        for (inputs, sizes), (outputs, _) in parts:
            before = state
            loss, state = model(inputs, outputs, before, sizes)
            assert not loss[torch.arange(loss.shape[1]) >= sizes[:, None]].any()
            advanced, kept = (
                model.advance(inputs, before, sizes),
                before or start(model, len(sizes)),
            )
            for i in (sizes == 0).nonzero().flatten():
                assert_same_state(state[i : i + 1], kept[i : i + 1], rtol=0, atol=0)
                assert_same_state(advanced[i : i + 1], kept[i : i + 1], rtol=0, atol=0)
            nll = nll + loss.sum(1)
        assert nll.isfinite().all()
        return nll, state

    together, state = losses(slice(None), lengths)
    for i, length in enumerate(lengths):
        alone, own = losses(slice(i, i + 1), [length])
        torch.testing.assert_close(together[i : i + 1], alone, **tolerance(name))
        assert_same_state(state[i : i + 1], own, **tolerance(name))


# Generation


@every_model
@torch.no_grad()
def test_decoding_with_a_cache_is_predicting_again(make, name, options):
    model, tokens = make(name, **options), words(2, 13)
    for state in (None, model.advance(words(2, 5, seed=9))):
        kept, again = (decoder(model, state, 5, 2) for decoder in (type(model).decoder, Decoder))
        for part in tokens.split([1, 3, 1, 1, 4, 2, 1], dim=1):
            torch.testing.assert_close(kept.feed(part), again.feed(part), **tolerance(name))
        assert_same_state(kept.state, again.state)


@pytest.mark.parametrize(
    ("make", "first", "all_rows"),
    # The read memory comes with a segment's first token, the memory rows once at its end.
    [(wrapped, 3 + 1, 3 + 5 + 3), (wrapped_armt, 1, 5 + 3)],
)
def test_the_backbone_computes_new_rows_alone(make, first, all_rows):
    model, rows = make("llama"), []
    decoder = model.decoder(None, 5)
    model.backbone.model.layers[0].register_forward_hook(
        lambda module, args, out: rows.append(args[0].shape[1])
    )
    for token in words(1, 7)[0]:
        decoder.feed(token.view(1, 1))
    # In between a whole segment for its state.
    assert rows == [first, 1, 1, 1, 1, all_rows, first, 1]


@both_kinds
def test_it_is_read_and_sampled_from_like_any_model(make, tmp_path):
    model, ids = make("gpt_neox"), words(12).tolist()
    said = list(sample(model, ids, 9, seed=1))
    assert said == list(sample(model, ids[5:], 9, state=read(model, ids[:5]), seed=1))
    assert len(said) == 9
    state = read(model, ids)
    state.save(tmp_path / "state", model)
    again = StreamState.load(tmp_path / "state", model)
    assert_same_state(again.before, state.before, rtol=0, atol=0)
    assert again.tgt_len == 5


# What it is made of


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("put_around", [wrap, wrap_armt])
def test_memory_begins_as_far_spread_as_embeddings_and_distinct(put_around, name):
    alone = backbone(name, max_position_embeddings=1000)
    spread = alone.get_input_embeddings()(torch.arange(V)).std().item()
    memory = put_around(alone, mem_len=400, tgt_len=5).memory
    assert memory.std().item() == pytest.approx(spread, rel=0.05)
    assert len(memory.unique(dim=0)) == 400


@both_kinds
@pytest.mark.parametrize(("name", "is_tied"), [("gpt2", True), ("llama", True), ("qwen2", False)])
def test_a_checkpoint_holds_all_of_it_and_what_is_one_weight_once(make, name, is_tied, tmp_path):
    model, other = make(name), make(name)
    assert (model.embedding.weight is model.backbone.get_output_embeddings().weight) == is_tied
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(1)
    path = checkpoint.save(tmp_path, 1, model.state_dict(), {}, {}, best=True)
    with safetensors.safe_open(path / checkpoint.MODEL_FILE, "pt") as file:
        sizes = [file.get_tensor(key).numel() for key in file.keys()]  # noqa: SIM118
    assert sum(sizes) == model.n_parameters()
    checkpoint.find(tmp_path).load_model(other)
    tokens, state = words(2, 5), model.advance(words(2, 5, seed=7))
    assert torch.equal(other.predict(tokens, state)[0], model.predict(tokens, state)[0])
    assert (other.embedding.weight is other.backbone.get_output_embeddings().weight) == is_tied


@both_kinds
def test_more_memory_begins_with_what_there_is(make):
    small, large = (make("gpt2", mem_len=m) for m in (2, 4))
    weights, changes = large.weights_from(small.state_dict(), small.config)
    assert weights.keys() == large.state_dict().keys()
    assert torch.equal(weights["memory"][:2], small.memory)
    assert torch.equal(weights["memory"][2:], large.memory[2:])
    assert changes == {"memory": "2 rows taken, 2 new"}


def test_each_kind_begins_with_the_other_and_with_one_without_memory():
    armt, rmt, none = wrapped_armt("gpt2"), wrapped("gpt2"), wrapped("gpt2", mem_len=0)
    assert "memory" not in none.weights_from(rmt.state_dict(), rmt.config)[0]
    weights, _ = rmt.weights_from(none.state_dict(), none.config)
    assert weights.keys() == rmt.state_dict().keys()
    weights, changes = armt.weights_from(rmt.state_dict(), rmt.config)
    assert weights.keys() == armt.state_dict().keys()
    assert set(changes.values()) == {"new, pretrained has none"}
    weights, changes = rmt.weights_from(armt.state_dict(), armt.config)
    assert weights.keys() == rmt.state_dict().keys()
    assert set(changes.values()) == {"left out, there is none here"}
