"""A pretrained encoder in the contract of models, against the calls of its own."""

import pytest
import torch

from helpers.labelled import write_tokenizer
from helpers.pretrained import ENCODERS, NO_DROPOUT, backbone, words, wrapped_encoder
from rmt.data.batches import IGNORED, Update
from rmt.data.labelled.samples import cut
from rmt.models.options import Carried
from rmt.models.pretrained.building import build_classifier
from rmt.models.pretrained.classifier import PretrainedClassifier
from rmt.models.pretrained.documents import classify
from rmt.models.pretrained.options import ClassifierOptions
from rmt.options.training import TrainConfig
from rmt.training.step import Step

pytest.importorskip("transformers", reason="pretrained models need rmt[hf]")
T, C = 5, 3
N_WORDS = 37
OPTIONS = ClassifierOptions(n_token=N_WORDS + 1 + C, mem_len=3, n_labels=C)
LENGTHS, LABELS = [17, 5, 11, 1], torch.tensor([0, 2, 1, 2])
CPU = torch.device("cpu")


def classifier(name: str = "bert", mem_len: int = 3) -> PretrainedClassifier:
    """Without dropout, so that a step finds what evaluation mode does."""
    options = ClassifierOptions(n_token=OPTIONS.n_token, mem_len=mem_len, n_labels=C)
    return PretrainedClassifier(options, wrapped_encoder(name, mem_len, T, NO_DROPOUT))


def batch() -> tuple[torch.Tensor, list, list]:
    """Texts of unequal lengths, and their segments with targets, and where they begin."""
    tokens = words(len(LENGTHS), max(LENGTHS))
    texts = [row[:n].numpy() for row, n in zip(tokens, LENGTHS, strict=True)]
    parts, begins = cut(texts, OPTIONS.padding, T)
    targets = torch.full_like(parts[-1], IGNORED)
    targets[:, -1] = OPTIONS.first_label + LABELS
    return tokens, [*((part, None) for part in parts[:-1]), (parts[-1], targets)], begins


def step_of(model, bptt_unrolls: int, mode: str, **options) -> Step:
    config = TrainConfig(dataset="classify", optim="sgd", lr=0.0, **options)
    return Step(model, config, (bptt_unrolls, mode, "stored"), CPU)


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("bptt_unrolls", [-1, 0, 1])
def test_a_step_has_the_loss_and_the_gradient_of_whole_texts(name, bptt_unrolls):
    """By the call that takes texts as they are, in right alignment."""
    model, (tokens, segments, begins) = classifier(name), batch()
    depth, mode = (3, "window") if bptt_unrolls < 0 else (bptt_unrolls, "replay")
    step = step_of(model, depth, mode)
    found = step.accumulate_gradients(segments, len(LENGTHS), begins=begins)
    own = {key: value.clone() for key, value in gradients(model).items()}
    model.zero_grad()
    scores = classify(model.encoder, tokens, LENGTHS, bptt_unrolls=bptt_unrolls)
    expected = torch.nn.functional.cross_entropy(scores, LABELS)
    expected.backward()
    torch.testing.assert_close(found.double(), expected.detach(), rtol=0, atol=1e-6)
    assert_same(own, gradients(model))
    assert own["encoder.memory"].any()


@pytest.mark.parametrize(
    "how", [{"batch_chunk": 2, "batch_size": 4}, {"checkpoint_segments": True}]
)
def test_chunks_and_checkpoints_change_no_gradient(how):
    found = []
    for options in ({}, how):
        model, (_, segments, begins) = classifier(), batch()
        step = step_of(model, 3, "window", **options)
        step.accumulate_gradients(segments, len(LENGTHS), begins=begins)
        found.append(gradients(model))
    assert_same(*found)


def test_absent_texts_keep_their_state_and_are_not_computed():
    model, seen = classifier(), []
    model.encoder.register_forward_hook(lambda module, args, out: seen.append(args[0].shape))
    tokens = torch.full((3, T), OPTIONS.padding)
    tokens[1, 2:] = words(1, 3)
    before = model.advance(words(3, T))
    seen.clear()
    after = model.advance(tokens, before)
    assert seen == [(1, 3)]
    assert torch.equal(after.memory[[0, 2]], before.memory[[0, 2]])
    alone = model.encoder(tokens[1:2, 2:], None, before[[1]])[1]
    torch.testing.assert_close(after.memory[1:2], alone.memory, rtol=0, atol=1e-12)
    none = model.advance(torch.full((3, T), OPTIONS.padding), before)
    assert torch.equal(none.memory, before.memory)


@torch.no_grad()
def test_texts_are_those_of_the_encoder_called_with_their_lengths():
    """Which is how they are computed on a GPU, absent ones and all padding with them."""
    model, (_, segments, _) = classifier(), batch()
    state = None
    for tokens, _ in segments:
        is_text = tokens != OPTIONS.padding
        lengths, shifted = is_text.sum(dim=1), torch.zeros_like(tokens)
        for row, own, text in zip(shifted, tokens, is_text, strict=True):
            row[: text.sum()] = own[text]
        scores, expected = model.encoder(shifted, lengths, state)
        log_probs, state = model.classify(tokens, state)
        there = lengths > 0
        torch.testing.assert_close(
            log_probs[there], scores[there].log_softmax(-1), rtol=0, atol=1e-12
        )
        torch.testing.assert_close(state.memory, expected.memory, rtol=0, atol=1e-12)
    assert there.all()


@pytest.mark.parametrize("mem_len", [0, 3])
def test_loss_predictions_and_the_decoder_agree(mem_len):
    model, (_, segments, _) = classifier(mem_len=mem_len).eval(), batch()
    tokens, targets = segments[-1]
    with torch.no_grad():
        state = model.advance(segments[0][0])
        nll, after = model(tokens, targets, state)
        log_probs, _ = model.predict(tokens, state)
        said = model.decoder(state, T, len(tokens)).feed(tokens)
    assert nll.dtype == torch.float64
    assert (nll[:, :-1] == 0).all()
    assert torch.equal(nll[:, -1], -log_probs[:, -1].gather(1, targets[:, -1:])[:, 0])
    torch.testing.assert_close(said, log_probs[:, -1], rtol=0, atol=1e-12)
    assert (said[:, : OPTIONS.first_label] == -torch.inf).all()
    torch.testing.assert_close(said.exp().sum(1), torch.ones(4, dtype=torch.float64))
    assert after.tensors().keys() == ({"memory"} if mem_len else set())
    assert model.carries == Carried(mem_len * 16, mem_len > 0)


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("name", ENCODERS)
def test_it_is_made_of_a_folder_and_all_that_is_trained_learns(name, lora_rank, tmp_path):
    if name == "bert_alone":
        pytest.skip("a folder is read as BERT for classification")
    if lora_rank:
        pytest.importorskip("peft", reason="adapters need rmt[hf]")
    backbone(name).save_pretrained(tmp_path)
    n_words = write_tokenizer(tmp_path, "$A [SEP]" if name == "t5" else "[CLS] $A [SEP]")
    options = {"backbone": str(tmp_path), "mem_len": 3, "lora_rank": lora_rank, "n_labels": 2}
    model = build_classifier(ClassifierOptions(n_words + 3, **options))
    around = model.encoder.config
    assert (around.cls_id, around.sep_id) == (None if name == "t5" else 1, 2)
    targets = torch.full((2, T), IGNORED)
    targets[:, -1] = torch.tensor([n_words + 1, n_words + 2])
    nll, _ = model(words(2, T) % n_words, targets, model.advance(words(2, T) % n_words))
    nll.sum().backward()
    assert nll.dtype == torch.float32
    idle = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert idle == set()
    assert any("classifier" in n for n in gradients(model))


def test_an_update_is_one_step_of_training():
    model, (_, segments, begins) = classifier(), batch()
    step = Step(model, TrainConfig(lr=0.01), (3, "window", "stored"), CPU)
    update = Update(segments, len(LENGTHS), True, begins=begins)
    losses = [step(update)[0].item() for _ in range(8)]
    assert losses[-1] < losses[0]
    kept = step.gathered()
    assert [sorted(each) for each in kept] == [["state.memory"]] * 4
    step.restore_own(kept, slice(0, 4))
    assert torch.equal(step.gathered()[2]["state.memory"], kept[2]["state.memory"])


def test_it_is_neither_compiled_nor_recorded():
    assert "computed by the transformers library" in OPTIONS.why_eager
