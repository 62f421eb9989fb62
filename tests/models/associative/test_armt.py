"""armt as a whole: against NumPy, and what only it promises."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers import numpy_associative, numpy_reference
from helpers.models import ON_BACKBONE, V, tiny_config, tiny_model, tiny_segments
from helpers.programs import ARMT, RMT, TRXL, assert_one_sentence, result, run, weights_of
from rmt import eval as evaluation
from rmt import generate, train
from rmt.models import registry
from rmt.models.associative.armt import Associations, AssociativeMemoryLM
from rmt.models.associative.options import AssociativeConfig
from rmt.models.contract import Carried
from rmt.models.transformer_xl.options import ModelConfig
from rmt.models.transformer_xl.plain import PlainAttention
from rmt.models.transformer_xl.published_names import to_published_names
from rmt.runtime.errors import UsageError

UPDATES = ["normalized", "delta"]
VARIANTS = [{}, {"memory_update": "delta"}, {"correction": False}]


def assert_same(found: Associations, expected: Associations) -> None:
    assert found.tensors().keys() == expected.tensors().keys()
    for name, tensor in expected.tensors().items():
        torch.testing.assert_close(found.tensors()[name], tensor, rtol=1e-12, atol=1e-12)


# The model in NumPy


class Reference:
    """A model's segments, one stream at a time. States are a {"A", "z"} per layer."""

    def __init__(self, model: AssociativeMemoryLM):
        self.config = model.config
        own = {name: weight.detach().numpy() for name, weight in model.state_dict().items()}
        self.memory_tokens = own["memory"]
        self.associative = [
            {
                **{name: own[f"layers.{i}.memory.{name}.weight"] for name in ("query", "key")},
                "value": own[f"layers.{i}.memory.value.weight"],
                "strength_weight": own[f"layers.{i}.memory.strength.weight"],
                "strength_bias": own[f"layers.{i}.memory.strength.bias"],
            }
            for i in range(model.config.n_layer)
        ]
        backbone = {
            name: weight for name, weight in model.state_dict().items() if "memory" not in name
        }
        self.backbone = {
            name: weight.numpy() for name, weight in to_published_names(backbone).items()
        }

    def segment(self, tokens_T, states):
        """The log-probabilities [T, V] and the next states."""
        config, n_tokens = self.config, len(tokens_T)
        nu, delta = config.dpfp_nu, config.memory_update == "delta"
        embedded = numpy_reference.embed(self.backbone, config, tokens_T)
        x = np.concatenate([embedded, self.memory_tokens])
        causal = np.tri(len(x), dtype=bool)
        after = []
        for i, weights in enumerate(self.associative):
            known = [numpy_associative.read(weights, nu, delta, row, states[i]) for row in x]
            nothing = np.zeros((0, config.d_model))
            x = x + np.array(known)
            x = numpy_reference.layer(self.backbone, i, config, x, nothing, causal)
            after.append(
                numpy_associative.write(
                    weights, nu, delta, config.correction, x[n_tokens:], states[i]
                )
            )
        return numpy_reference.token_log_probs(self.backbone, config, x[:n_tokens]), after


@pytest.mark.parametrize(
    "changes", [*VARIANTS, {"pre_lnorm": True, "untie_r": True}, {"clamp_len": 3, "dpfp_nu": 2}]
)
@torch.no_grad()
def test_it_is_the_model_in_numpy(changes):
    """Predictions and states of four segments, the last of which is shorter."""
    model = tiny_model("armt", **changes)
    reference, config = Reference(model), model.config
    empty = {
        "A": np.zeros((config.n_features, config.d_model)),
        "z": np.zeros(config.n_features),
    }
    states, state = [[empty] * config.n_layer] * 2, None
    for tokens, _ in tiny_segments([5, 5, 5, 2]):
        found, state = model.predict(tokens, state)
        for b in range(2):
            expected, states[b] = reference.segment(tokens[b].numpy(), states[b])
            np.testing.assert_allclose(found[b], expected, rtol=1e-9, atol=1e-9)
            for i, of_layer in enumerate(states[b]):
                np.testing.assert_allclose(state.A[i][b], of_layer["A"], rtol=1e-8, atol=1e-9)
                if state.z is not None:
                    np.testing.assert_allclose(state.z[i][b], of_layer["z"], rtol=1e-8, atol=1e-9)


# Its state


@pytest.mark.parametrize("changes", VARIANTS)
def test_a_stream_starts_with_memories_of_zeros(changes):
    """None is the same, bit for bit, with the same gradients."""
    (first, second), found = tiny_segments([5, 6]), []
    for is_none in (True, False):
        model = tiny_model("armt", **changes)
        start = None if is_none else model.empty_state(2)
        nll, state = model(*first, start)
        later, after = model(*second, state)
        (nll.mean() + later.mean()).backward()
        gradients = [weight.grad for weight in model.parameters()]
        found.append([nll, later, *after.tensors().values(), *gradients])
    assert all(not tensor.any() for tensor in model.empty_state(2).tensors().values())
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("changes", [*VARIANTS, {"pre_lnorm": True}, {"n_layer": 1}])
def test_advance_hands_over_what_forward_does(changes):
    """With the same gradient, and the last layer computes its memory rows alone."""
    model, segments = tiny_model("armt", **changes), tiny_segments([5, 6, 2])
    states, rows = [None, None], []
    model.layers[-1].attention.register_forward_hook(lambda *_: rows.append(_[2].shape[1]))
    for tokens, targets in segments:
        states = [model(tokens, targets, states[0])[1], model.advance(tokens, states[1])]
    assert rows == [8, 3, 9, 3, 5, 3]
    assert_same(states[1], states[0])
    gradients = []
    for state in states:
        model.zero_grad()
        sum(tensor.square().sum() for tensor in state.tensors().values()).backward()
        gradients.append({n: w.grad for n, w in model.named_parameters() if w.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("changes", VARIANTS)
@torch.no_grad()
def test_a_segment_without_tokens_changes_nothing(changes):
    model = tiny_model("armt", **changes)
    ((tokens, targets),) = tiny_segments([5])
    state = model.advance(tokens)
    nll, after = model(tokens[:, :0], targets[:, :0], state)
    assert nll.shape == (2, 0)
    assert after is state
    assert model.advance(tokens[:, :0], state) is state
    assert model.predict(tokens[:, :0], state)[0].shape == (2, 0, V)


@torch.no_grad()
def test_a_stream_that_ends_before_others_keeps_its_state():
    """Streams know nothing of each other."""
    model = tiny_model("armt")
    (first, _), (second, _) = tiny_segments([5, 5], n_streams=3)
    both = model.advance(first)
    going_on = model.advance(second[:2], both[:2])
    alone = model.advance(second[:1], model.advance(first[:1]))
    assert_same(going_on[:1], alone)
    assert_same(both[2:], model.advance(first[2:]))


def test_a_segment_in_which_nothing_is_scored_has_no_loss_and_no_nan():
    model = tiny_model("armt")
    (first, second) = tiny_segments([5, 6])
    nll, state = model(*first)
    none, _ = model(second[0], torch.full_like(second[1], -100), state)
    assert not none.any()
    (nll.sum() + none.sum()).backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize("changes", VARIANTS)
def test_what_it_carries_is_counted(changes):
    model = tiny_model("armt", **changes)
    ((tokens, _),) = tiny_segments([5], n_streams=1)
    numbers = sum(tensor.numel() for tensor in model.advance(tokens).tensors().values())
    assert model.carries == Carried(numbers, gradient=True)
    assert model.config.n_features == 2 * 3 * 4
    assert numbers == 3 * 24 * (8 if changes.get("memory_update") else 9)


@pytest.mark.parametrize("update", UPDATES)
def test_in_bf16_it_trains_and_its_state_is_of_full_precision(update):
    segments, losses = tiny_segments([6, 6, 6]), []
    for enabled in (False, True):
        model, state = tiny_model("armt", memory_update=update).float().train(), None
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for segment in segments:
                nll, state = model(*segment, state)
        nll.mean().backward()
        assert {tensor.dtype for tensor in state.tensors().values()} == {torch.float32}
        assert all(weight.grad.isfinite().all() for weight in model.parameters())
        losses.append(nll.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=0.05, atol=0.05)


# Who sees what


def test_memory_rows_come_after_the_tokens_and_see_what_is_before_them():
    model = tiny_model("armt")
    ((tokens, _),) = tiny_segments([5], n_streams=1)
    found, _ = model.attention(tokens, None, predict=True)
    assert found.regions == {"cache": 0, "read": 0, "tokens": 5, "write": 3}
    for weights in found.layers:
        assert weights.shape == (2, 8, 8)
        assert ((weights > 0) == np.tri(8, dtype=bool)).all()
    found, _ = model.attention(tokens, None, predict=False)
    assert found.layers[-1].shape == (2, 3, 8)


@torch.no_grad()
def test_tokens_see_memory_tokens_only_by_way_of_the_state():
    model = tiny_model("armt")
    (first, _), (second, _) = tiny_segments([5, 5])
    expected, state = model.predict(first)
    later, _ = model.predict(second, state)
    model.memory.add_(1)
    found, state = model.predict(first)
    assert torch.equal(found, expected)
    assert not torch.allclose(model.predict(second, state)[0], later)


@torch.no_grad()
def test_a_new_model_predicts_what_the_baseline_does():
    """For its memories hold zeros until training changes their values' weights."""
    torch.manual_seed(0)
    model, state = registry.build(tiny_config("armt")).double().eval(), None
    baseline = tiny_model("baseline")
    own = {name: weight for name, weight in model.state_dict().items() if "memory" not in name}
    baseline.load_state_dict(own)
    for tokens, _ in tiny_segments([5, 6, 5]):
        found, state = model.predict(tokens, state)
        torch.testing.assert_close(found, baseline.predict(tokens)[0], rtol=1e-12, atol=1e-12)
    assert not any(A.any() for A in state.A)
    assert all(z.any() for z in state.z)


def test_memory_tokens_start_as_large_as_the_rows_of_words():
    torch.manual_seed(0)
    model = registry.build(tiny_config("armt", mem_len=400, d_model=64, n_token=300))
    words = model.embedded(torch.arange(300)[None]).std()
    torch.testing.assert_close(model.memory.std(), words, rtol=0.02, atol=0)


# Its counted operations


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("n_tokens", [9, 4])
def test_counted_operations_are_those_that_pytorch_counts(changes, n_tokens):
    """The embedding and the softmax are left out; PyTorch counts no systems of equations."""
    config = tiny_config("armt", **changes)
    model, segments = registry.build(config), tiny_segments([n_tokens] * 2, n_streams=3)
    for layer in model.layers:  # whose products are all counted
        layer.attention = PlainAttention.of(layer.attention, config)
    _, state = model(*segments[0])
    with FlopCounterMode(display=False) as counter:
        model(*segments[1], state)
    of_softmax = 2 * (3 * n_tokens) * config.d_model * config.n_token
    solved = config.n_layer * 3 * config.mem_len**2 * config.d_model
    solved = solved if config.memory_update == "delta" else 0
    found = counter.get_total_flops() - of_softmax + solved
    assert found == config.segment_operations(n_tokens, 3)


# Its options


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mem_len": 0}, "armt needs memory tokens: give mem_len 1 or more"),
        ({"d_mem": 0}, "d_mem must be 1 or more, but it is 0"),
        ({"dpfp_nu": 0}, "dpfp_nu must be 1 or more, but it is 0"),
        ({"memory_update": "sum"}, "memory_update must be one of normalized, delta, not 'sum'"),
        (
            {"memory_update": "delta", "correction": False},
            "no_correction is about the denominator, and memory_update delta has none: leave one "
            "of them out",
        ),
    ],
)
def test_what_can_not_be_is_said(changes, sentence):
    with pytest.raises(UsageError) as refused:
        tiny_config("armt", **changes)
    assert str(refused.value) == sentence


def test_its_options_are_those_of_the_backbone_and_its_own():
    names = {
        config: {spec.name for spec in fields(config)}
        for config in (ModelConfig, AssociativeConfig)
    }
    assert names[AssociativeConfig] - names[ModelConfig] == {
        *("d_mem", "dpfp_nu", "correction", "memory_update")
    }
    assert names[ModelConfig] - names[AssociativeConfig] == {
        *("cache_len", "read_mem_from_cache", "same_length", "mem_init", "as_published"),
        *("memory_mask", "write_from"),
        *("published_memory", "published_cache", "published_positions"),
    }


@pytest.mark.parametrize(
    ("changes", "label", "folder"),
    [
        ({}, "armt, memory 3, d_mem 4", "armt-mem3-d4"),
        ({"dpfp_nu": 2}, "armt, memory 3, d_mem 4, nu 2", "armt-mem3-d4-nu2"),
        (
            {"correction": False},
            "armt, memory 3, d_mem 4, no correction",
            "armt-mem3-d4-uncorrected",
        ),
        (
            {"memory_update": "delta"},
            "armt, memory 3, d_mem 4, delta rule",
            "armt-mem3-d4-delta",
        ),
    ],
)
def test_models_that_differ_have_other_names(changes, label, folder):
    config = tiny_config("armt", **changes)
    assert (config.label, config.folder_name, config.memory) == (label, folder, 3)
    assert f"armt, memory {config.memory_label}" == label  # a table's two columns


def test_lengths_that_evaluation_may_change():
    model = tiny_model("armt")
    assert model.with_lengths(clamp_len=4).config.clamp_len == 4
    with pytest.raises(UsageError, match="trained with mem_len 3, which its weights depend on"):
        model.with_lengths(mem_len=4)
    with pytest.raises(UsageError, match="armt has no cache_len: leave cache_len out"):
        model.with_lengths(cache_len=4)


# Beginning with other weights


@pytest.mark.parametrize("name", ON_BACKBONE)
def test_it_begins_with_the_backbone_of_any_other_model(name):
    """Memories are taken from an armt alone; memory tokens from whoever has some."""
    model, other = tiny_model("armt"), tiny_model(name, seed=1)
    weights, said = model.weights_from(other.state_dict(), other.config)
    assert weights.keys() == model.state_dict().keys()
    own, theirs = model.state_dict(), other.state_dict()
    for key, weight in weights.items():
        if key == "memory":
            n_kept = len(theirs.get("memory", ()))
            expected = torch.cat([theirs.get("memory", own[key])[:n_kept], own[key][n_kept:]])
        else:
            expected = theirs.get(key, own[key])
        assert torch.equal(weight, expected), key
    assert said.keys() - {"memory"} == {key for key in own.keys() - theirs.keys()} - {"memory"}
    if name == "trxl":
        assert said["layers.0.memory.key.weight"] == "new, trxl has none"
        assert said["memory"] == "new, trxl has none"
    if name == "armt":
        assert not said


# The programs


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """The folder of a finished run, made when first asked for."""
    known = {}

    def trained(*flags: object):
        if flags not in known:
            known[flags] = tmp_path_factory.mktemp("runs") / "run"
            outcome = run(train.main, *tiny, *flags, "--work_dir", known[flags])
            assert outcome.status == 0, outcome.err
        return known[flags]

    return trained


@pytest.mark.parametrize("variant", ["", "--memory_update delta", "--no_correction --dpfp_nu 2"])
def test_it_is_trained_scored_and_speaks(trained, variant):
    folder = trained(*ARMT, *variant.split(), "--bptt_unrolls", "1")
    found = result(folder)
    options = json.loads((folder / "config.json").read_text())["model"]
    own = ("d_mem", "dpfp_nu", "correction", "memory_update")
    assert {name: found[name] for name in own} == {name: options[name] for name in own}
    assert "cache_len" not in options
    assert found["correction"] == ("--no_correction" not in variant)
    assert found["n_carried"] == registry.options_of(options).carried.numbers
    scored = run(evaluation.main, "--work_dir", folder, "--split", "test")
    assert scored.status == 0, scored.err
    assert scored.out.splitlines()[-2].removeprefix("| ") in (folder / "log.txt").read_text()
    said = run(generate.main, "--work_dir", folder, "--prompt", "w1 w2", "--tokens", 12)
    assert said.status == 0, said.err


@pytest.mark.parametrize("there", [RMT, TRXL], ids=["rmt", "trxl"])
def test_a_run_begins_with_a_run_of_another_model(tiny, trained, tmp_path, there):
    folder = trained(*there)
    flags = [*tiny, *ARMT, "--init_from", folder, *"--lr 0 --max_step 1".split()]
    outcome = run(train.main, *flags, "--work_dir", tmp_path / "warm")
    assert outcome.status == 0, outcome.err
    mine, theirs = weights_of(tmp_path / "warm"), weights_of(folder, "best")
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert f"layers.0.memory.key.weight: new, {there[1]} has none\n" in outcome.out


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--cache_len 4", "cache_len means nothing to model armt: leave it out"),
        ("--as_published", "as_published means nothing to model armt: leave it out"),
        ("--mem_len 0", "armt needs memory tokens: give mem_len 1 or more"),
        ("--model rmt", "d_mem means nothing to model rmt: leave it out"),
    ],
)
def test_flags_that_mean_nothing_are_refused(tiny, tmp_path, flags, sentence):
    outcome = run(train.main, *tiny, *ARMT, *flags.split(), "--work_dir", tmp_path / "new")
    assert assert_one_sentence(outcome) == sentence
    assert not (tmp_path / "new").exists()
