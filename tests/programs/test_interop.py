"""Weights to the published names and back, and published checkpoints into run folders."""

import json
import pickle
import re

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from helpers.models import V, tiny_config, tiny_model, tiny_segments
from helpers.programs import RMT, ROOT, assert_one_sentence, run, weights_of
from rmt import eval as evaluation
from rmt import generate, train
from rmt.data.metrics import PERPLEXITY
from rmt.evaluation.text import Protocol, evaluate
from rmt.evaluation.workloads import load_workload
from rmt.interop import main
from rmt.models.transformer_xl.options import MODELS, ModelConfig
from rmt.models.transformer_xl.published_names import (
    from_published_names,
    load_published_weights,
    published_state_dict,
)
from rmt.models.transformer_xl.published_options import published_options
from rmt.runs.settings import Settings
from rmt.runs.trained import load
from rmt.runtime.errors import UsageError

VARIANTS = [
    {},
    {"cutoffs": (5, 9)},
    {"d_embed": 6, "cutoffs": (5,)},
    {"not_tied": True},
    {"untie_r": True},
    {"div_val": 2, "cutoffs": (5, 9, 16)},
    {"div_val": 3, "cutoffs": (5, 9), "d_embed": 6, "untie_r": True},
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


def test_with_div_val_every_cluster_has_names_of_its_own():
    names = published_state_dict(tiny_model("trxl", cutoffs=(5, 9), div_val=2, untie_r=True))
    shapes = {k: tuple(tensor.shape) for k, tensor in names.items() if not k.startswith("layers.1")}
    parts = {
        "word_emb.emb_layers.{}.weight": [(5, 8), (4, 4), (14, 2)],
        "word_emb.emb_projs.{}": [(8, 8), (8, 4), (8, 2)],
        "crit.out_layers.{}.weight": [(5, 8), (4, 4), (14, 2)],
        "crit.out_layers.{}.bias": [(5,), (4,), (14,)],
        "crit.out_projs.{}": [(8, 8), (8, 4), (8, 2)],
    }
    for name, own in parts.items():
        assert [shapes[name.format(i)] for i in range(3)] == own
    assert torch.equal(names["crit.out_projs.1"], names["word_emb.emb_projs.1"])
    assert not torch.equal(names["crit.out_projs.0"], names["word_emb.emb_projs.0"])
    assert shapes["crit.cluster_weight"] == (2, 8)
    assert shapes["layers.0.dec_attn.r_w_bias"] == (2, 4)
    assert "r_w_bias" not in shapes


def test_query_rows_come_first_then_keys_then_values():
    model = tiny_model("trxl")
    joined = published_state_dict(model)["layers.1.dec_attn.qkv_net.weight"]
    attention = model.layers[1].attention
    assert torch.equal(joined[:8], attention.query.weight)
    assert torch.equal(joined[8:], attention.key_value.weight)


def test_other_models_weights_are_refused_by_name():
    weights = published_state_dict(tiny_model("trxl"))
    with pytest.raises(UsageError, match="rmt, memory 3: they come without mem_tokens"):
        load_published_weights(tiny_model("rmt"), weights)
    with pytest.raises(UsageError, match=r"CoreNet\.0\.bias of shape \(12,\), not \(9,\)"):
        load_published_weights(tiny_model("trxl", d_inner=9), weights)
    more = {**weights, "extra.thing": torch.zeros(1), "r_w_bias": torch.zeros(3, 3)}
    del more["crit.out_layers.0.bias"]
    with pytest.raises(UsageError) as caught:
        load_published_weights(tiny_model("trxl"), more)
    assert str(caught.value) == (
        "these are not the weights of trxl, cache 9: they come without crit.out_layers.0.bias; "
        "with extra.thing, which it has not; with r_w_bias of shape (3, 3), not (2, 4)"
    )
    with pytest.raises(UsageError, match=r"extra\.thing is not a parameter"):
        from_published_names({**weights, "extra.thing": torch.zeros(1)})


def test_ties_that_do_not_hold_are_named():
    weights = published_state_dict(tiny_model("trxl", cutoffs=(5, 9), div_val=2))
    for name in ("crit.out_layers.1.weight", "crit.out_projs.2"):
        with pytest.raises(UsageError, match=f"{name} and word_emb.* differ, and here they are on"):
            from_published_names({**weights, name: weights[name] + 1})


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
        for out in ("out.pt", "run"):
            outcome = run(main, tmp_path / name, tmp_path / out)
            sentence = assert_one_sentence(outcome)
            assert "holds more than tensors (" in sentence
            assert "open)" in sentence
            assert "torch.save(model.state_dict(), 'state.pt')" in sentence
    assert not (tmp_path / "sprung").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "zip.pt"]


# Checkpoints into run folders


def converted(folder, weights, *flags):
    """The run folder that the program makes of published weights."""
    torch.save(weights, folder / "state.pt")
    outcome = run(main, folder / "state.pt", folder / "run", *flags)
    assert outcome.status == 0, outcome.err
    return folder / "run"


def assert_same_predictions(found, model):
    """In single precision, over three segments."""
    states = [None, None]
    for tokens, targets in tiny_segments([7, 5, 6]):
        losses = []
        for i, each in enumerate((found.double(), model)):
            nll, states[i] = each(tokens, targets, states[i])
            losses.append(nll)
        torch.testing.assert_close(*losses, rtol=0, atol=1e-4)


def test_the_tensors_of_a_folder_become_a_file(tmp_path):
    """Of a run of ours, and of one that another program saved, under the other names each."""
    weights = published_state_dict(tiny_model("rmt", cutoffs=(5, 9)))
    flags = "--mem_len 3 --cutoffs 5 9".split()
    run_folder = converted(tmp_path, weights, *flags)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "state.pt").rename(tmp_path / "theirs" / "pytorch_model.bin")
    for folder, name in ((run_folder, "again.pt"), (tmp_path / "theirs", "ours.pt")):
        outcome = run(main, folder, tmp_path / name)
        assert outcome.status == 0, outcome.err
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], tensor.float()) for name, tensor in weights.items())
    assert "layers.0.attention.query.weight" in torch.load(tmp_path / "ours.pt", weights_only=True)


# What the published programs were told, for the models of helpers/models.py.
CONFIGURATIONS = {
    "baseline": {"mem_len": 0, "num_mem_tokens": 0},
    "mt": {"mem_len": 0, "num_mem_tokens": 2, "mem_at_end": False},
    "trxl": {"mem_len": 9, "num_mem_tokens": 0, "mem_at_end": True},
    "rmt": {"mem_len": 0, "num_mem_tokens": 3, "mem_at_end": True},
    "trxl_rmt": {"mem_len": 9, "num_mem_tokens": 2, "mem_at_end": True},
}


@pytest.mark.parametrize("name", MODELS)
def test_checkpoints_of_lm_rmt_mean_what_that_computes(name, tmp_path):
    model = tiny_model(name, as_published=True, cutoffs=(5, 9), pre_lnorm=True)
    config = CONFIGURATIONS[name] | {"pre_lnorm": True, "tgt_len": 33, "d_model": 8, "d_embed": 8}
    (tmp_path / "args.json").write_text(json.dumps(config))
    flags = ["--config", tmp_path / "args.json", "--cutoffs", 5, 9]
    loaded = load(converted(tmp_path, published_state_dict(model), *flags))
    assert loaded.config.as_published == (name not in ("baseline", "trxl"))
    assert loaded.settings.train.tgt_len == 33
    assert loaded.vocabulary is None
    assert_same_predictions(loaded, model)
    if model.config.n_memory:
        assert torch.equal(loaded.memory, model.memory.float().double())


@st.composite
def models_and_flags(draw):
    """A model's name, its options, and the flags for those that no tensor tells."""
    name = draw(st.sampled_from(MODELS))
    changes = {"cutoffs": tuple(sorted(draw(st.sets(st.integers(1, V - 1), max_size=3))))}
    changes["div_val"] = draw(st.integers(1, 3)) if changes["cutoffs"] else 1
    for option in ("untie_r", "pre_lnorm"):
        changes[option] = draw(st.booleans())
    changes["not_tied"] = changes["div_val"] == 1 and draw(st.booleans())
    changes |= {"d_embed": draw(st.sampled_from([0, 6, 12])), "d_head": draw(st.integers(1, 6))}
    changes |= {"n_layer": draw(st.integers(1, 3)), "clamp_len": draw(st.sampled_from([-1, 5]))}
    config = tiny_config(name, **changes)
    flags = {"model": name, "mem_len": config.mem_len, "cache_len": config.cache_len}
    flags |= {"as_published": False, "pre_lnorm": config.pre_lnorm, "clamp_len": config.clamp_len}
    return name, changes, flags | ({"cutoffs": config.cutoffs} if config.cutoffs else {})


@given(models_and_flags())
def test_tensors_tell_the_sizes(drawn):
    name, changes, flags = drawn
    weights = published_state_dict(tiny_model(name, **changes))
    found = ModelConfig(**published_options(weights, {"div_val": changes["div_val"]}, flags))
    assert found == tiny_config(name, **changes)


def huggingface_names(theirs):
    """A state_dict as transfo-xl has it: a prefix, and the first cluster in the first column."""
    named = {k if k.startswith("crit.") else f"transformer.{k}": v for k, v in theirs.items()}
    for name in ("crit.cluster_weight", "crit.cluster_bias"):
        named[name] = named[name].flip(0)
    return named


@pytest.mark.parametrize("div_val", [1, 2])
@pytest.mark.parametrize("in_safetensors", [False, True])
def test_folders_of_transfo_xl(div_val, in_safetensors, tmp_path):
    """safetensors keeps only the first name of what is tied."""
    model = tiny_model("trxl", cutoffs=(5, 9), div_val=div_val, untie_r=True, clamp_len=6)
    config = {"mem_len": 9, "clamp_len": 6, "cutoffs": [5, 9], "div_val": div_val, "vocab_size": V}
    config |= {"untie_r": True, "same_length": False, "attn_type": 0, "architectures": None}
    folder = tmp_path / "transfo-xl"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    weights = huggingface_names(published_state_dict(model))
    if in_safetensors:
        first = {
            k: v for k, v in weights.items() if not re.match(r"crit.out_(lay.*wei|projs.[12])", k)
        }
        first = {name: tensor.contiguous() for name, tensor in first.items()}
        safetensors.torch.save_file(first, folder / "model.safetensors")
    else:
        torch.save(weights, folder / "pytorch_model.bin")
    words = ("<eos>", *(f"word{i}" for i in range(V - 2)), "a\u2028b")
    (tmp_path / "words").write_text("".join(f"{word}\n" for word in words))
    outcome = run(main, folder, tmp_path / "run", "--vocabulary", tmp_path / "words")
    assert outcome.status == 0, outcome.err
    loaded = load(tmp_path / "run")
    assert loaded.vocabulary.symbols == words
    assert_same_predictions(loaded, model)


def test_biases_that_all_layers_share_may_have_a_name_in_each(tmp_path):
    model = tiny_model("trxl")
    weights = published_state_dict(model)
    for i in range(3):
        weights |= {
            f"layers.{i}.dec_attn.{name}": weights[name] for name in ("r_w_bias", "r_r_bias")
        }
    loaded = load(converted(tmp_path, weights, "--mem_len", 9))
    assert not loaded.config.untie_r
    assert_same_predictions(loaded, model)


@pytest.mark.parametrize("name", ["div4", "div1"])
@torch.no_grad()
def test_it_agrees_with_hugging_face(name, tmp_path):
    """Over three segments; transfo-xl starts with a cache of zeros, which it attends to."""
    path = ROOT.parent / "shared" / "reference" / "hf_transfo_xl" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"the numbers of transformers 4.46 are not here: no {path.name}")
    numbers = np.load(path)
    (tmp_path / "config.json").write_text(str(numbers["config"]))
    weights = {k.removeprefix("w/"): torch.tensor(numbers[k]) for k in numbers if k[:2] == "w/"}
    torch.save(weights, tmp_path / "pytorch_model.bin")
    outcome = run(main, tmp_path, tmp_path / "run")
    assert outcome.status == 0, outcome.err
    model = load(tmp_path / "run")
    n_streams, n_cached, width = numbers["last_mems"].shape[1:]
    assert n_cached == model.config.mem_len
    zeros = torch.zeros(n_streams, n_cached, width)
    state = model.State(cache=(zeros,) * model.config.n_layer)
    n_segments, _, n_tokens, _ = numbers["log_probs"].shape
    tokens, targets = (torch.tensor(numbers["tokens"][:, i:]) for i in (0, 1))
    for i in range(n_segments):
        segment = slice(i * n_tokens, (i + 1) * n_tokens)
        log_probs, _ = model.predict(tokens[:, segment], state)
        nll, state = model(tokens[:, segment], targets[:, segment], state)
        np.testing.assert_allclose(log_probs, numbers["log_probs"][i], rtol=0, atol=1e-4)
        np.testing.assert_allclose(nll, numbers["nll"][i], rtol=0, atol=1e-4)
    for cached, expected in zip(state.cache, numbers["last_mems"], strict=False):
        np.testing.assert_allclose(cached, expected, rtol=0, atol=1e-4)


def test_a_converted_run_is_scored_on_a_text_of_its_vocabulary(
    corpus_folder, encoded_dir, tmp_path
):
    source = ["--data", corpus_folder, "--encoded_dir", encoded_dir]
    settings = Settings.of(
        {"data": str(corpus_folder), "encoded_dir": str(encoded_dir), "mem_len": 2}
    )
    _, workload = load_workload(settings)
    words = workload.vocabulary.symbols
    model = tiny_model("trxl", n_token=len(words), cutoffs=(20,), div_val=2).float()
    (tmp_path / "words").write_text("\n".join(words))
    flags = ["--mem_len", 9, "--tgt_len", 9, "--vocabulary", tmp_path / "words"]
    run_folder = converted(tmp_path, published_state_dict(model), *flags)
    scored = run(evaluation.main, "--work_dir", run_folder, "--split", "test", *source)
    assert scored.status == 0, scored.err
    protocol = Protocol(tgt_len=9, batch_size=10, lengths={"mem_len": 9})
    loss, _ = evaluate(model, workload.corpus.splits["test"], protocol)
    assert f"test {PERPLEXITY.readable(loss)}" in scored.out

    (tmp_path / "words").write_text("\n".join([*words[:-1], "zebra"]))
    (tmp_path / "other").mkdir()
    other = converted(tmp_path / "other", published_state_dict(model), *flags)
    refused = run(evaluation.main, "--work_dir", other, *source)
    assert f"the word {words[-1]!r} is not in the vocabulary of" in assert_one_sentence(refused)


def test_a_run_begins_with_a_converted_one(corpus_folder, encoded_dir, tmp_path):
    """It was never trained here, so that it can't be restarted, there or elsewhere."""
    model = tiny_model("rmt", n_token=51, mem_len=2).float()
    words = ["<eos>", *(f"w{i}" for i in range(50))]
    (tmp_path / "words").write_text("\n".join(words))
    weights = published_state_dict(model)
    folder = converted(tmp_path, weights, "--no_as_published", "--vocabulary", tmp_path / "words")
    config = model.config
    flags = ["--data", corpus_folder, "--encoded_dir", encoded_dir, *RMT]
    for name in ("n_layer", "n_head", "d_head", "d_model", "d_inner", "d_embed"):
        flags += [f"--{name}", getattr(config, name)]
    flags += "--tgt_len 8 --batch_size 4 --eval_batch_size 2 --max_step 1 --lr 0".split()
    outcome = run(train.main, *flags, "--init_from", folder, "--work_dir", tmp_path / "warm")
    assert outcome.status == 0, outcome.err
    assert load(tmp_path / "warm").vocabulary.symbols == tuple(words)
    for name, tensor in weights_of(tmp_path / "warm").items():
        assert torch.equal(tensor, weights_of(folder)[name])

    before = sorted(tmp_path.rglob("*"))
    for where in (
        ["--work_dir", folder],
        ["--work_dir", tmp_path / "new", "--restart_dir", folder],
    ):
        sentence = assert_one_sentence(run(train.main, *flags, "--restart", *where))
        assert sentence.startswith(f"{folder} holds published weights, which were never trained h")
        assert sentence.endswith(f"--init_from {folder}")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_without_vocabulary_takes_ids_alone(corpus_folder, encoded_dir, tmp_path):
    weights = published_state_dict(tiny_model("trxl"))
    folder = converted(tmp_path, weights, "--mem_len", 9)
    assert load(folder).codec is None
    (tmp_path / "text").write_text("w1 w2")
    own = ["--data", corpus_folder, "--encoded_dir", encoded_dir]
    before = sorted(tmp_path.rglob("*"))
    for main_, flags in (
        (generate.main, ["--work_dir", folder, "--prompt", "w1"]),
        (evaluation.main, ["--work_dir", folder, "--text", tmp_path / "text"]),
        (evaluation.main, ["--work_dir", folder, *own]),
        (train.main, ["--init_from", folder, "--work_dir", tmp_path / "warm", *own]),
    ):
        model = ["--model", "trxl", "--mem_len", 9] if main_ is train.main else []
        sentence = assert_one_sentence(run(main_, *flags, *model))
        assert sentence == (
            f"{folder} holds no vocabulary.json, so that nobody knows what its ids mean: convert "
            "the checkpoint again with its --vocabulary"
        )
    assert sorted(tmp_path.rglob("*")) == before


def damaged(weights, folder):
    (folder / "state.pt").write_bytes((folder / "state.pt").read_bytes()[:-500])


def write(name, content):
    return lambda weights, folder: (folder / name).write_text(content)


def saved(change):
    return lambda weights, folder: torch.save(change(weights), folder / "state.pt")


@pytest.mark.parametrize(
    ("spoil", "flags", "sentence"),
    [
        (None, "--mem_len -1 --cutoffs 5 9", "mem_len must be 0 or more"),
        (None, "", "no tensor tells how many states were cached"),
        (None, "--mem_len 9 --cutoffs 5", "there are 1 cutoffs, but the weights are of 2 clusters"),
        (None, "--mem_len 9 --cutoffs 9 5", "must increase"),
        (None, "--model rmt --mem_len 9 --cutoffs 5 9", "they come without mem_tokens"),
        (None, "--mem_len 9", "give the checkpoint's --config, or 2 --cutoffs"),
        (None, "--mem_len 9 --dataset copy", "invalid choice"),
        (None, "--mem_len 9 --cutoffs 5 9 --vocabulary no", "there is no file"),
        (
            write("words", "a\nb\n"),
            "{good} --vocabulary words",
            "2 symbols, but the weights are for 23",
        ),
        (write("words", "a\na\n"), "{good} --vocabulary words", "holds each symbol once"),
        (
            write("words", "\n".join(map(chr, range(97, 97 + V)))),
            "{good} --vocabulary words",
            "does not fit dataset wt103: it has no <eos>",
        ),
        (
            write("words", "\n".join(f"word{i}" for i in range(V))),
            "{good} --vocabulary words --dataset text",
            "its 'word0' is none of the characters of such a text; name the --dataset",
        ),
        (write("a.json", "[1"), "{good} --config a.json", "is not JSON"),
        (write("a.json", "[1]"), "{good} --config a.json", "not a JSON object"),
        (write("a.json", '{"n_head": 3}'), "{good} --config a.json", "n_head is 3 in the config"),
        (write("a.json", '{"vocab_size": 9}'), "{good} --config a.json", "n_token is 9 in the con"),
        (write("a.json", '{"attn_type": 2}'), "{good} --config a.json", "attn_type 2 is not here"),
        (write("a.json", '{"mem_len": "x"}'), "--config a.json", "mem_len can't be 'x'"),
        (write("a.json", '{"cutoffs": 5}'), "--mem_len 9 --config a.json", "cutoffs can't be 5"),
        (
            write("a.json", '{"num_mem_tokens": 4}'),
            "{good} --config a.json",
            "hold 0 memory tokens",
        ),
        (damaged, "{good}", "is damaged, or is no file of tensors"),
        (saved(lambda w: {"model": w, "epoch": 3}), "{good}", "is not a state_dict"),
        (saved(lambda w: {"a": torch.zeros(1)}), "{good}", "the weights of no model that is known"),
        (saved(lambda w: w | {"x.y": torch.zeros(1)}), "{good}", "with x.y, which it has not"),
        (
            saved(lambda w: w | {"crit.cluster_bias": torch.zeros(2, 1)}),
            "{good}",
            "of shape (2, 1)",
        ),
    ],
)
def test_what_can_not_be_converted_is_said_and_nothing_is_written(spoil, flags, sentence, tmp_path):
    weights = published_state_dict(tiny_model("trxl", cutoffs=(5, 9)))
    torch.save(weights, tmp_path / "state.pt")
    if spoil:
        spoil(weights, tmp_path)
    before = sorted(tmp_path.iterdir())
    words = flags.format(good="--mem_len 9 --cutoffs 5 9").split()
    files = {path.name for path in before} | {"no"}
    words = [str(tmp_path / word) if word in files else word for word in words]
    outcome = run(main, tmp_path / "state.pt", tmp_path / "run", *words)
    assert sentence in assert_one_sentence(outcome)
    assert sorted(tmp_path.iterdir()) == before


NAMES = sorted(published_state_dict(tiny_model("rmt", cutoffs=(5, 9), div_val=2, untie_r=True)))
OTHER_SHAPES = {
    "no axis": lambda tensor: torch.zeros(()),
    "one number more": lambda tensor: torch.cat([tensor.flatten(), torch.zeros(1)]),
    "one axis more": lambda tensor: tensor[None],
    "nothing in it": lambda tensor: tensor[:0],
    "one row less": lambda tensor: tensor[1:],
    "other numbers": lambda tensor: tensor + 1,
}


@example("crit.cluster_bias", "no axis")
@example("mem_tokens", "no axis")
@example("mem_tokens", "one row less")
@example("crit.out_layers.1.weight", "missing")
@given(st.sampled_from(NAMES), st.sampled_from(["missing", *OTHER_SHAPES]))
def test_whatever_is_wrong_with_a_tensor_is_said_in_a_sentence(tmp_path_factory, name, how):
    model = tiny_model("rmt", cutoffs=(5, 9), div_val=2, untie_r=True)
    weights = published_state_dict(model)
    tensor = weights.pop(name)
    if how != "missing":
        weights[name] = OTHER_SHAPES[how](tensor)
    folder = tmp_path_factory.mktemp("spoiled")
    torch.save(weights, folder / "state.pt")
    outcome = run(main, folder / "state.pt", folder / "run")
    second = re.match(r"crit\.out_(layers\.\d\.weight|projs\.[12])", name)
    numbers_alone = how == "other numbers" and not (second or "emb_layers" in name)
    fine = name == "pos_emb.inv_freq" or (how == "missing" and second)
    fine = fine or (name, how) == ("mem_tokens", "one row less")  # a smaller memory
    if fine or (numbers_alone and not re.match(r"word_emb\.emb_projs\.[12]", name)):
        assert outcome.status == 0, outcome.err
    else:
        assert_one_sentence(outcome)
        assert not (folder / "run").exists()


def test_folders_without_weights_and_flags_for_files_are_refused(tmp_path):
    refused = run(main, tmp_path, tmp_path / "run")
    assert "neither model.safetensors nor pytorch_model.bin" in assert_one_sentence(refused)
    refused = run(main, tmp_path / "a.pt", tmp_path / "b.pt", "--mem_len", 3)
    assert "--mem_len is for run folders" in assert_one_sentence(refused)
    assert not list(tmp_path.iterdir())
