"""Memory around causal language models: as the backbone called by hand, and its properties."""

import pytest
import torch
from torch import nn

from helpers.pretrained import CAUSAL, WINDOWED, V, backbone, tolerance, words, wrapped
from rmt.evaluation.sampling import sample
from rmt.evaluation.stream import StreamState, read
from rmt.models.contract import Carried, Decoder
from rmt.models.pretrained.backbone import initial_memory
from rmt.models.pretrained.segments import ALIGNMENTS, cut
from rmt.models.pretrained.wrapping import wrap
from rmt.runs import checkpoint
from rmt.runtime.errors import UsageError

pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
IGNORED = -100
every_family = pytest.mark.parametrize("name", CAUSAL)
masks = pytest.mark.parametrize(
    ("name", "memory_mask"),
    [(name, "causal") for name in CAUSAL]
    + [(name, "paper") for name in CAUSAL if name not in WINDOWED],
)


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_memory_it_is_the_backbone_bit_for_bit(name, dtype):
    model, tokens, targets = wrapped(name, mem_len=0).to(dtype), words(2, 7), words(2, 7, seed=4)
    logits = model.backbone(input_ids=tokens).logits
    log_probs, state = model.predict(tokens)
    assert torch.equal(log_probs, logits.log_softmax(-1))
    nll, _ = model(tokens, targets, state)
    expected = nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none"
    )
    assert nll.dtype == dtype
    assert torch.equal(nll.flatten(), expected)
    assert model.carries == Carried(0, gradient=False)
    assert state.tensors() == model.advance(tokens, state).tensors() == {}


@every_family
def test_two_segments_are_the_backbone_called_by_hand(name):
    model, tokens = wrapped(name), words(2, 9)
    memory, state = model.memory.expand(2, -1, -1), None
    for part in tokens.split([5, 4], dim=1):
        rows = torch.cat([memory, model.embedding(part), memory], dim=1)
        out = model.backbone(inputs_embeds=rows, output_hidden_states=True)
        expected = out.logits[:, 3:-3].log_softmax(-1)
        memory = out.hidden_states[-1][:, -3:]
        log_probs, after = model.predict(part, state)
        torch.testing.assert_close(log_probs, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(after.memory, memory, rtol=0, atol=1e-12)
        assert torch.equal(model.advance(part, state).memory, after.memory)
        state = after
    assert model.carries == Carried(3 * 16, gradient=True)


@every_family
def test_losses_are_those_of_predict_and_no_other_logits_are_computed(name):
    model, tokens, targets = wrapped(name), words(2, 6), words(2, 6, seed=4)
    targets[0, :4] = targets[1, 2] = IGNORED
    rows = []
    head = model.backbone.get_output_embeddings()
    head.register_forward_hook(lambda module, args, out: rows.append(out.numel() // V))
    nll, _ = model(tokens, targets)
    assert rows == [7]
    log_probs, _ = model.predict(tokens)
    expected = -log_probs.gather(2, targets.clamp(min=0)[..., None]).squeeze(2)
    expected[targets == IGNORED] = 0
    torch.testing.assert_close(nll, expected, rtol=0, atol=1e-12)
    with model.given_rooms((9,)):
        torch.testing.assert_close(model(tokens, targets)[0], nll, rtol=0, atol=1e-12)
    nothing, _ = model(tokens, torch.full_like(targets, IGNORED))
    assert not nothing.any()
    nothing.sum().backward()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("length", [4, 2])
def test_rows_see_what_the_paper_says(name, length):
    """2 memory rows, 4 tokens, some of them padding at the end: which outputs depend on what."""
    model = wrapped(name, mem_len=2, memory_mask="paper")
    x = torch.randn(1, 8, 16, dtype=torch.float64, requires_grad=True)
    mask = model.paper_mask(x, 2, torch.tensor([length]))
    out = model.layers(x, attention_mask=mask, use_cache=False).last_hidden_state
    # Not the sum: what a LayerNorm gives out sums up to the same whatever it reads.
    weights = torch.randn(16, dtype=torch.float64)
    found = []
    for row in range(4 + length):
        (gradient,) = torch.autograd.grad(out[0, row] @ weights, x, retain_graph=True)
        found.append("".join("x" if any_ else "." for any_ in gradient[0].abs().sum(-1) > 0))
    table = {
        4: ["xx......"] * 2 + ["xxx.....", "xxxx....", "xxxxx...", "xxxxxx.."] + ["xxxxxxxx"] * 2,
        2: ["xx......"] * 2 + ["xxx.....", "xxxx...."] + ["xxxxxx.."] * 2,
    }
    assert found == table[length]


@masks
@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_texts_of_unequal_length_are_read_as_each_alone(name, memory_mask, alignment):
    model, lengths = wrapped(name, memory_mask=memory_mask), [11, 4, 7]
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
            loss, state = model(inputs, outputs, state, sizes)
            assert not loss[torch.arange(loss.shape[1]) >= sizes[:, None]].any()
            for i in (sizes == 0).nonzero().flatten():
                start = model.memory if before is None else before.memory[i]
                assert torch.equal(state.memory[i], start)
                assert torch.equal(model.advance(inputs, before, sizes).memory[i], start)
            nll = nll + loss.sum(1)
        assert nll.isfinite().all()
        return nll, state

    together, state = losses(slice(None), lengths)
    for i, length in enumerate(lengths):
        alone, own = losses(slice(i, i + 1), [length])
        torch.testing.assert_close(together[i : i + 1], alone, **tolerance(name))
        torch.testing.assert_close(state.memory[i : i + 1], own.memory, **tolerance(name))


# Generation


@masks
def test_decoding_with_a_cache_is_predicting_again(name, memory_mask):
    model, tokens = wrapped(name, memory_mask=memory_mask), words(2, 13)
    state = model.advance(words(2, 5, seed=9))
    kept, again = (make(model, state, 5, 2) for make in (type(model).decoder, Decoder))
    for part in tokens.split([1, 3, 1, 1, 4, 2, 1], dim=1):
        torch.testing.assert_close(kept.feed(part), again.feed(part), **tolerance(name))
    assert torch.equal(kept.state.memory, again.state.memory)


def test_the_backbone_computes_new_rows_alone():
    model, rows = wrapped("llama"), []
    decoder = model.decoder(None, 5)
    model.backbone.model.layers[0].register_forward_hook(
        lambda module, args, out: rows.append(args[0].shape[1])
    )
    for token in words(1, 7)[0]:
        decoder.feed(token.view(1, 1))
    # The read memory with a segment's first token; in between a whole segment for its state.
    assert rows == [3 + 1, 1, 1, 1, 1, 3 + 5 + 3, 3 + 1, 1]


def test_it_is_read_and_sampled_from_like_any_model(tmp_path):
    model, ids = wrapped("gpt_neox"), words(12).tolist()
    said = list(sample(model, ids, 9, seed=1))
    assert said == list(sample(model, ids[5:], 9, state=read(model, ids[:5]), seed=1))
    assert len(said) == 9
    state = read(model, ids)
    state.save(tmp_path / "state", model)
    again = StreamState.load(tmp_path / "state", model)
    assert torch.equal(again.before.memory, state.before.memory)
    assert again.tgt_len == 5


# What it is made of


@every_family
def test_initial_memory_is_as_far_spread_as_embeddings_and_distinct(name):
    model = backbone(name)
    embedding = model.get_input_embeddings()
    torch.manual_seed(0)
    memory = initial_memory(embedding, 500)
    spread = embedding(torch.arange(V)).std().item()
    assert memory.std().item() == pytest.approx(spread, rel=0.05)
    assert len(memory.unique(dim=0)) == 500


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_tied_weights_are_one_in_a_checkpoint(name, tmp_path):
    model, other = wrapped(name), wrapped(name)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(1)
    path = checkpoint.save(tmp_path, 1, model.state_dict(), {}, {}, best=True)
    size = (path / checkpoint.MODEL_FILE).stat().st_size
    assert size < 8 * model.n_parameters() + 8000
    checkpoint.find(tmp_path).load_model(other)
    tokens = words(2, 5)
    assert torch.equal(other.predict(tokens)[0], model.predict(tokens)[0])
    assert other.embedding.weight is other.backbone.get_output_embeddings().weight


def test_more_memory_begins_with_what_there_is():
    small, large, none = (wrapped("gpt2", mem_len=m) for m in (2, 4, 0))
    weights, changes = large.weights_from(small.state_dict(), small.config)
    assert torch.equal(weights["memory"][:2], small.memory)
    assert torch.equal(weights["memory"][2:], large.memory[2:])
    assert changes == {"memory": "2 rows taken, 2 new"}
    assert "memory" not in none.weights_from(small.state_dict(), small.config)[0]
    weights, changes = small.weights_from(none.state_dict(), none.config)
    assert weights.keys() == small.state_dict().keys()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: wrap(nn.Linear(2, 2), mem_len=1, tgt_len=2), "model of the transformers library"),
        (lambda: wrap(backbone("bert_alone"), mem_len=1, tgt_len=2), "no causal language model"),
        (lambda: wrapped("gpt2", tgt_len=59), "positions for 64 rows, and 59 tokens and twice 3"),
        (lambda: wrapped("gpt2", mem_len=-1), "mem_len must be 0 or more, but it is -1"),
        (lambda: wrapped("gemma2", memory_mask="paper"), "see a sliding window"),
        (lambda: wrapped("gpt2", mem_len=0, memory_mask="paper"), "there is none: leave it out"),
        (lambda: wrapped("gpt2", mem_len=0, freeze_backbone=True), "there is nothing to train"),
        (lambda: wrapped("gpt2").predict(words(1, 60)), "choose a shorter segment"),
        (lambda: wrapped("gpt2").decoder(None, 60), "choose a shorter segment"),
    ],
)
def test_wrong_use(make, sentence):
    with pytest.raises(UsageError, match=sentence):
        make()
