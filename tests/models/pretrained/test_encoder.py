"""Memory around encoders that classify texts, segment by segment."""

import pytest
import torch

from helpers.pretrained import CLS, ENCODERS, SEP, V, backbone, words, wrapped_encoder
from rmt.models.pretrained.documents import classify
from rmt.models.pretrained.segments import ALIGNMENTS
from rmt.models.pretrained.wrapping import wrap_encoder
from rmt.runtime.errors import UsageError

pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
every_family = pytest.mark.parametrize("name", ENCODERS)
LENGTHS = [17, 6, 11]


def encoder(model):
    """What a backbone computes hidden states with."""
    backbone = model.backbone
    return backbone.get_encoder() if backbone.config.is_encoder_decoder else backbone.base_model


def special(n_texts: int, token: int) -> torch.Tensor:
    return torch.full((n_texts, 1), token)


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_memory_it_is_the_backbone_bit_for_bit(name, dtype):
    model, tokens = wrapped_encoder(name, mem_len=0).to(dtype), words(2, 5)
    first = [] if name == "t5" else [special(2, CLS)]
    ids = torch.cat([*first, tokens, special(2, SEP)], dim=1)
    scores, state = model(tokens)
    assert state.tensors() == {}
    if model.classifies:
        assert torch.equal(scores, model.backbone(input_ids=ids).logits)
    else:
        hidden = encoder(model)(input_ids=ids).last_hidden_state
        expected = hidden.mean(1) @ model.classifier.weight.T + model.classifier.bias
        torch.testing.assert_close(scores, expected)
        assert scores.dtype == dtype


@every_family
def test_two_segments_are_the_backbone_called_by_hand(name):
    model, tokens = wrapped_encoder(name), words(2, 9)
    embed = model.backbone.get_input_embeddings()
    memory, state = model.memory.expand(2, -1, -1), None
    for part in tokens.split([5, 4], dim=1):
        if name == "t5":
            rows, first = [memory, embed(part), embed(special(2, SEP))], 0
        else:
            sep = embed(special(2, SEP))
            rows, first = [embed(special(2, CLS)), memory, sep, embed(part), sep], 1
        x = torch.cat(rows, dim=1)
        if model.classifies:
            out = encoder(model)(inputs_embeds=x)
            expected = model.backbone(inputs_embeds=x).logits
        else:
            out = encoder(model)(inputs_embeds=x)
            others = [i for i in range(x.shape[1]) if not first <= i < first + 3]
            expected = model.classifier(out.last_hidden_state[:, others].mean(1))
        memory = out.last_hidden_state[:, first : first + 3]
        scores, state = model(part, None, state)
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(state.memory, memory, rtol=0, atol=1e-12)


@every_family
@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("mem_len", [0, 3])
def test_texts_of_unequal_length_are_classified_as_each_alone(name, alignment, mem_len):
    model, tokens = wrapped_encoder(name, mem_len), words(3, 17)
    together = classify(model, tokens, LENGTHS, alignment=alignment)
    assert together.isfinite().all()
    for i, n in enumerate(LENGTHS):
        alone = classify(model, tokens[i : i + 1, :n], [n], alignment=alignment)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-12)


@every_family
def test_absent_texts_keep_their_memory_and_give_no_nan(name):
    model, tokens = wrapped_encoder(name), words(2, 5)
    scores, first = model(tokens, torch.tensor([4, 0]))
    assert torch.equal(first.memory[1], model.memory)
    assert not torch.equal(first.memory[0], model.memory)
    more, second = model(tokens, torch.tensor([0, 5]), first)
    assert torch.equal(second.memory[0], first.memory[0])
    (scores.sum() + more.sum() + second.memory.sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def reached(model, bptt_unrolls: int, alignment: str, lengths: list[int], text: int) -> set[int]:
    """The tokens of a text that its scores send gradient to."""
    tokens, embedded = words(len(lengths), max(lengths)), []
    # Every token of the texts is another one, so that gradients tell them apart.
    tokens = torch.arange(tokens.numel()).view_as(tokens) + 3

    def keep(module, args, out):
        out.retain_grad()
        embedded.append((args[0], out))

    hook = model.backbone.get_input_embeddings().register_forward_hook(keep)
    scores = classify(model, tokens, lengths, alignment=alignment, bptt_unrolls=bptt_unrolls)
    (scores[text] * torch.arange(1, 4)).sum().backward()
    hook.remove()
    found = {
        int(token)
        for ids, out in embedded
        if out.grad is not None
        for token, gradient in zip(ids[text], out.grad[text], strict=True)
        if gradient.any()
    }
    return {i for i, token in enumerate(tokens[text].tolist()) if token in found}


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("bptt_unrolls", [0, 1, 2, -1])
def test_gradient_reaches_exactly_the_unrolled_segments_of_each_text(alignment, bptt_unrolls):
    model, lengths = wrapped_encoder("bert", tgt_len=4), [11, 3, 8]
    segments = {
        "left": [[4, 8, 11], [3], [4, 8]],
        "right": [[3, 7, 11], [3], [4, 8]],
        "centre": [[3, 7, 11], [3], [4, 8]],
    }[alignment]
    for text, ends in enumerate(segments):
        n_before = len(ends) - 1 if bptt_unrolls < 0 else min(bptt_unrolls, len(ends) - 1)
        start = [0, *ends][len(ends) - 1 - n_before]
        expected = set(range(start, lengths[text]))
        assert reached(model, bptt_unrolls, alignment, lengths, text) == expected


def gradients_of(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@every_family
def test_checkpointed_gradients_are_the_plain_ones(name):
    model, tokens, found = wrapped_encoder(name).train(), words(3, 17), []
    for checkpoint_segments in (False, True):
        model.zero_grad()
        torch.manual_seed(7)  # for dropout
        scores = classify(model, tokens, LENGTHS, checkpoint_segments=checkpoint_segments)
        torch.nn.functional.cross_entropy(scores, torch.tensor([0, 2, 1])).backward()
        found.append(gradients_of(model))
    plain, checkpointed = found
    assert plain["memory"].any()
    assert plain.keys() == checkpointed.keys()
    assert all(torch.equal(plain[key], checkpointed[key]) for key in plain)


@every_family
def test_memory_begins_as_far_spread_as_embeddings_and_distinct(name):
    alone = backbone(name, **({} if name == "t5" else {"max_position_embeddings": 1000}))
    spread = alone.get_input_embeddings()(torch.arange(V)).std().item()
    n_labels = 0 if type(alone).__name__.endswith("ForSequenceClassification") else 3
    memory = wrap_encoder(alone, mem_len=400, tgt_len=5, n_labels=n_labels).memory
    assert memory.std().item() == pytest.approx(spread, rel=0.05)
    assert len(memory.unique(dim=0)) == 400


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: wrapped_encoder("bert", n_labels=2), "classifies by itself: leave out n_labels 2"),
        (
            lambda: wrap_encoder(backbone("t5"), mem_len=2, tgt_len=5),
            "T5EncoderModel has no classifier: say n_labels",
        ),
        (lambda: wrapped_encoder("bert", tgt_len=508), "positions for 512 rows, and 508 tokens, 3"),
        (lambda: wrapped_encoder("roberta", tgt_len=505), "positions for 510 rows"),
        (
            lambda: wrap_encoder(backbone("electra", embedding_size=8), mem_len=2, tgt_len=5),
            "embeddings have 8 numbers and its hidden states 16",
        ),
        (lambda: wrapped_encoder("bert")(words(1, 6)), "a segment has at most 5 tokens, not 6"),
        (lambda: classify(wrapped_encoder("bert"), words(2, 6), [6, 0]), "without tokens"),
        (
            lambda: classify(wrapped_encoder("bert"), words(1, 6), [6], bptt_unrolls=-2),
            "bptt_unrolls must be -1 or more",
        ),
        (lambda: wrapped_encoder("bert", tgt_len=0), "tgt_len must be 1 or more, but it is 0"),
    ],
)
def test_wrong_use(make, sentence):
    with pytest.raises(UsageError, match=sentence):
        make()


@pytest.mark.parametrize("name", ["t5", "bert_alone", "bert"])
@pytest.mark.parametrize("mem_len", [0, 2])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_text_that_is_absent_sends_no_gradient_that_is_no_number(name, mem_len, attention):
    """Without tokens around a segment there is then no row whose mean could be classified."""
    n_labels = {} if name == "bert" else {"n_labels": 3}
    hf_model = backbone(name, attn_implementation=attention)
    model = wrap_encoder(hf_model, mem_len=mem_len, tgt_len=4, **n_labels)
    tokens, lengths = words(2, 9), [9, 3]

    def gradient_of(tokens, lengths):
        model.zero_grad()
        classify(model, tokens, lengths).square().sum().backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    alone = [gradient_of(tokens[i : i + 1, :n], [n]) for i, n in enumerate(lengths)]
    for key, found in gradient_of(tokens, lengths).items():
        torch.testing.assert_close(found, alone[0][key] + alone[1][key], rtol=1e-9, atol=1e-9)
