"""Memory around causal language models: as the backbone called by hand, and its properties."""

import pytest
import torch
from torch import nn

from helpers.pretrained import CAUSAL, WINDOWED, V, backbone, tolerance, words, wrapped
from rmt.models.contract import Carried
from rmt.models.pretrained.wrapping import wrap
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
def test_without_memory_texts_of_unequal_length_are_read_as_each_alone(name):
    model, tokens, targets = wrapped(name, mem_len=0), words(3, 5), words(3, 5, seed=4)
    lengths = [5, 2, 0]
    nll, state = model(tokens, targets, None, torch.tensor(lengths))
    assert state.tensors() == {}
    for i, n in enumerate(lengths):
        assert not nll[i, n:].any()
        if n:
            alone, _ = model(tokens[[i], :n], targets[[i], :n])
            torch.testing.assert_close(nll[[i], :n], alone, **tolerance(name))


# Which rows see which with the paper's memory of 2, by the number of tokens between.
PAPER = {
    3: ["xx.....", "xx.....", "xxx....", "xxxx...", "xxxxx..", "xxxxxxx", "xxxxxxx"],
    2: ["xx....", "xx....", "xxx...", "xxxx..", "xxxxxx", "xxxxxx"],
}


def of_paper(n_tokens: int) -> dict[str, torch.Tensor]:
    """For a backbone's own call."""
    sees_QK = torch.tensor([[cell == "x" for cell in row] for row in PAPER[n_tokens]])
    added_QK = torch.zeros(sees_QK.shape, dtype=torch.float64)
    return {"attention_mask": added_QK.masked_fill(~sees_QK, -torch.inf)[None, None]}


@masks
def test_segments_are_the_backbone_called_by_hand(name, memory_mask):
    """For each of two streams alone, which has no padding then."""
    model = wrapped(name, mem_len=2, tgt_len=3, memory_mask=memory_mask)
    state, memories = None, [model.memory[None]] * 2
    for part, lengths in zip(words(2, 9).split(3, dim=1), (None, [3, 2], [2, 3]), strict=True):
        sizes = None if lengths is None else torch.tensor(lengths)
        log_probs, after = model.predict(part, state, sizes)
        for i, n in enumerate(lengths or [3, 3]):
            rows = torch.cat([memories[i], model.embedding(part[[i], :n]), memories[i]], dim=1)
            mask = of_paper(n) if memory_mask == "paper" else {}
            out = model.backbone(inputs_embeds=rows, output_hidden_states=True, **mask)
            expected, memories[i] = (
                out.logits[:, 2:-2].log_softmax(-1),
                out.hidden_states[-1][:, -2:],
            )
            torch.testing.assert_close(log_probs[[i], :n], expected, **tolerance(name))
            torch.testing.assert_close(after.memory[[i]], memories[i], **tolerance(name))
        assert torch.equal(model.advance(part, state, sizes).memory, after.memory)
        state = after
    assert model.carries == Carried(2 * 16, gradient=True)


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
