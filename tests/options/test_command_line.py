"""The command line: flags in either spelling, refusals in one sentence, no flag without effect."""

import ast
import re
from dataclasses import asdict, fields, replace

import pytest
import torch

from helpers.programs import (
    RMT,
    ROOT,
    TRXL,
    assert_one_sentence,
    records,
    run,
    run_process,
    weights_of,
)
from rmt import eval as evaluation
from rmt import interop, train
from rmt.data import registry as data
from rmt.data.text import wt103
from rmt.evaluation.workloads import load_workload
from rmt.models import registry as models
from rmt.models.transformer_xl.options import ModelConfig
from rmt.options.evaluation import EvalConfig
from rmt.options.training import TrainConfig
from rmt.runs.settings import Settings
from rmt.runtime.errors import UsageError

PACKAGE = ROOT / "pytorch" / "rmt"


def test_dashes_and_underscores_are_alike():
    parsed = train.parse(["--tgt-len", "7", "--batch_size=8", "--mem-init=shared", "--pre-lnorm"])
    assert parsed == {"tgt_len": 7, "batch_size": 8, "mem_init": "shared", "pre_lnorm": True}


def test_values_keep_their_dashes():
    assert train.parse(["--work-dir", "my-run", "--data=a-b_c"]) == {
        "work_dir": "my-run",
        "data": ["a-b_c"],
    }
    assert train.parse(["--clamp-len", "-1"]) == {"clamp_len": -1}


def test_a_flag_not_given_is_absent():
    assert train.parse([]) == {}


def test_cutoffs_are_numbers():
    assert train.parse(["--cutoffs", "10", "20", "--adaptive"]) == {
        "cutoffs": [10, 20],
        "adaptive": True,
    }


DROPPED = ModelConfig.DROPPED | TrainConfig.DROPPED


@pytest.mark.parametrize("name", DROPPED)
def test_dropped_flags_say_what_to_do(name):
    for spelling in (name, name.replace("_", "-")):
        sentence = assert_one_sentence(run(train.main, f"--{spelling}", "3"))
        assert sentence == f"there is no option --{name}: {DROPPED[name]}"


@pytest.mark.parametrize("advised", re.findall(r"--\w+", " ".join(DROPPED.values())))
def test_what_is_advised_instead_exists(advised):
    assert f" {advised} " in run(train.main, "--help").out.replace("\n", " ")


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--mem_size", "3"], "there is no option --mem_size; --help lists all options"),
        (["--mem-size=3"], "there is no option --mem_size=3"),
        (["wt103"], "there is no option wt103"),
        (["--tgt", "3"], "there is no option --tgt;"),  # not short for --tgt_len
        (["--dropat", "0.1"], "there is no option --dropat;"),
        (["--n_token", "10"], "there is no option --n_token"),
        (["--tgt_len", "3.5"], "invalid int value: '3.5'"),
        (["--tgt_len"], "expected one argument"),
        (["--lr", "fast"], "invalid float value: 'fast'"),
        (["--cutoffs", "ten"], "invalid int value: 'ten'"),
        (["--cutoffs"], "expected at least one argument"),
        (["--varlen=yes"], "ignored explicit argument"),
        (["--model", "gpt"], "model must be one of baseline, mt, "),
        (["--optim", "lion"], "invalid choice: 'lion'"),
        (["--scheduler", "linear"], "invalid choice: 'linear'"),
    ],
)
def test_what_is_wrong_is_said(flags, part):
    assert part in assert_one_sentence(run(train.main, *flags))


def test_eval_and_interop_refuse_in_the_same_way(tmp_path):
    assert "--ext_len" in assert_one_sentence(run(evaluation.main, "--ext_len", "3"))
    assert "--split" in assert_one_sentence(run(evaluation.main, "--split", "train"))
    assert "arguments are required" in assert_one_sentence(run(interop.main))
    missing = run(interop.main, tmp_path / "no", tmp_path / "out")
    assert "there is no file" in assert_one_sentence(missing)


def test_fp16_is_short_for_a_precision():
    assert train.parse(["--fp16"]) == {"precision": "fp16"}
    assert train.parse(["--fp16", "--precision", "fp16"]) == {"precision": "fp16"}
    with pytest.raises(UsageError, match="--fp16 contradicts --precision bf16"):
        train.parse(["--fp16", "--precision", "bf16"])


@pytest.mark.parametrize(
    ("main", "configs"),
    [(train.main, (ModelConfig, TrainConfig)), (evaluation.main, (EvalConfig,))],
)
def test_help_lists_every_option_with_its_meaning(main, configs):
    outcome = run(main, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    for config in configs:
        for spec in fields(config):
            meaning = spec.metadata["help"]
            assert meaning is None or f"--{spec.name} " in outcome.out.replace("\n", " ")
            if meaning:
                assert meaning.split()[0] in outcome.out
    assert "--n_token" not in outcome.out


@pytest.mark.parametrize("module", ["rmt.train", "rmt.eval"])
def test_help_works_as_a_program(module):
    outcome = run_process(module, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"python -m {module}" in outcome.out


def test_defaults_are_allowed_together():
    assert ModelConfig(n_token=100, mem_len=1).model == "rmt"
    assert TrainConfig().dataset == "wt103"
    assert EvalConfig().split == "all"


# No option without effect


def read_of_options() -> set[str]:
    """Attributes that are read anywhere but in the checks of options themselves."""
    names = set()
    for source in PACKAGE.rglob("*.py"):
        tree = ast.parse(source.read_text())
        checks = [
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == "__post_init__"
            for inner in ast.walk(node)
        ]
        for node in set(ast.walk(tree)) - set(checks):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                names.add(node.attr)
    return names


REGISTERED = [*models.entries().values(), *data.with_answers().values()]
# Of the package; other tests may have added models and tasks of their own.
OPTIONS = [
    *dict.fromkeys(
        entry.options for entry in REGISTERED if entry.options.__module__.startswith("rmt.")
    ),
    TrainConfig,
    EvalConfig,
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options.__name__)
def test_every_option_is_read(options):
    # The recipe is read from what was given, before there is an object.
    assert {spec.name for spec in fields(options)} - read_of_options() <= {"recipe"}


BASE = "--dropout 0.1 --eval_interval 2 --max_step 6".split()
DEV_PERF = "--scheduler dev_perf --lr 3".split()  # so large that validation gets worse
# Flags under which an option has its effect, and the option.
EFFECTS = [
    ([], "--mem_len 3"),
    ([], "--mem_init shared"),
    ([], "--memory_mask causal"),
    ([], "--write_from learned"),
    ([], "--as_published"),
    (["--model", "mt"], "--published_memory"),
    (["--model", "trxl_rmt", "--cache_len", "4"], "--published_cache"),
    ([], "--published_positions"),
    ([], "--n_layer 1"),
    ([], "--n_head 1"),
    ([], "--d_head 2"),
    ([], "--d_model 6"),
    ([], "--d_embed 4"),
    ([], "--d_inner 8"),
    ([], "--dropout 0.2"),
    ([], "--dropatt 0.2"),
    ([], "--pre_lnorm"),
    ([], "--untie_r"),
    ([], "--not_tied"),
    ([], "--cutoffs 20"),
    (["--cutoffs", "20"], "--div_val 2"),
    ([], "--clamp_len 2"),
    ([], "--init uniform"),
    (["--init", "uniform"], "--init_range 0.2"),
    ([], "--init_std 0.1"),
    (["--d_embed", "4"], "--proj_init_std 0.1"),
    (TRXL, "--same_length"),
    (TRXL, "--mem_len 4"),
    (["--model", "trxl_rmt"], "--cache_len 4"),
    (["--model", "trxl_rmt", "--cache_len", "4"], "--read_mem_from_cache"),
    ([], "--model mt"),
    ([], "--tgt_len 9"),
    ([], "--batch_size 5"),
    ([], "--batch_chunk 2"),  # other dropout masks
    ([], "--varlen"),
    ([], "--bptt_unrolls 1"),
    (["--bptt_unrolls", "1"], "--bptt_mode window"),
    (["--bptt_unrolls", "1"], "--replay_from newest"),
    ([], "--optim sgd"),
    ([], "--optim adagrad"),
    (["--optim", "sgd"], "--mom 0.9"),
    (["--optim", "adamw"], "--weight_decay 0.5"),
    ([], "--lr 0.02"),
    ([], "--scheduler constant"),
    ([], "--scheduler inv_sqrt"),
    ([], "--warmup_step 3"),
    ([], "--eta_min 0.001"),
    (DEV_PERF, "--decay_rate 0.25"),
    (DEV_PERF, "--patience 9"),
    (DEV_PERF, "--lr_min 2"),
    (["--optim", "sgd"], "--clip 0.01"),
    ([], "--max_step 5"),
    ([], "--precision bf16"),
    ([], "--seed 7"),
    (["--dataset", "text"], "--tokenizer word"),
    ([], "--eval_interval 3"),
    ([], "--max_eval_steps 1"),
    ([], "--eval_tgt_len 4"),
    ([], "--eval_batch_size 3"),
]


@pytest.fixture(scope="module")
def outcome_of(tiny, tmp_path_factory):
    """Weights and validation losses of a run with some flags; runs are shared between tests."""
    known = {}

    def outcome_of(*flags: str) -> tuple[dict, list[float]]:
        if flags not in known:
            work_dir = tmp_path_factory.mktemp("run")
            outcome = run(train.main, *tiny, *RMT, *BASE, *flags, "--work_dir", work_dir)
            assert outcome.status == 0, outcome.err
            losses = [entry["loss"] for entry in records(work_dir, "valid")]
            known[flags] = weights_of(work_dir), losses
        return known[flags]

    return outcome_of


@pytest.mark.parametrize(("under", "option"), EFFECTS, ids=[option for _, option in EFFECTS])
def test_an_option_changes_the_weights_or_their_score(outcome_of, under, option):
    plain, plain_losses = outcome_of(*under)
    changed, changed_losses = outcome_of(*under, *option.split())
    same_weights = plain.keys() == changed.keys() and all(
        plain[name].shape == changed[name].shape and torch.equal(plain[name], changed[name])
        for name in plain
    )
    assert not (same_weights and plain_losses == changed_losses)


def test_as_published_sets_what_training_does_differently(outcome_of):
    """Beside the model's own: equal memory rows, and replay from the newest memory."""
    depth = ["--bptt_unrolls", "1"]
    each = ["--published_positions", "--mem_init", "shared", "--replay_from", "newest"]
    together, one_by_one = outcome_of(*depth, "--as_published"), outcome_of(*depth, *each)
    assert together[1] == one_by_one[1]
    assert all(torch.equal(together[0][name], one_by_one[0][name]) for name in one_by_one[0])
    own = Settings.of({"as_published": True, "mem_len": 2, "mem_init": "distinct"})
    assert own.given["mem_init"] == "distinct"
    assert own.train.replay_from == "newest"


@pytest.mark.parametrize(
    "options", [{"bptt_mode": "window"}, {"dataset": "reverse", "segments": 2, "n": 4}]
)
def test_what_replays_nothing_starts_from_nothing_newer(options):
    own = Settings.of({"as_published": True, "mem_len": 2, **options})
    assert own.train.replay_from == "stored"
    with pytest.raises(UsageError, match="replay_from newest is for bptt_mode replay"):
        Settings.of({"mem_len": 2, "replay_from": "newest", "bptt_mode": "window"})


def test_options_with_another_effect_are_few():
    """What the list above leaves out; a new option belongs there or here."""
    tested = {option.split()[0].removeprefix("--") for _, option in EFFECTS}
    elsewhere = {
        *("dataset data encoded_dir keep_newlines adaptive".split()),  # tests of the corpora
        *("checkpoint_segments max_nonfinite compile".split()),  # same weights; own tests
        *("attention pad_sizes schedule".split()),  # likewise
        *("work_dir restart restart_dir save_interval log_interval debug".split()),
        *("cuda multi_gpu cuda_graph".split()),  # need devices
        *("segments curriculum stop_at stop_after recipe".split()),  # test_task_training
        *("curriculum_segments curriculum_steps".split()),  # test_segment_curriculum
        "init_from",  # test_warm_start
        *("valid_data test_data reset_at_documents".split()),  # test_documents
        "tell_time",  # test_run_text
    }
    options = asdict(TrainConfig()).keys() | asdict(ModelConfig(1, mem_len=1)).keys()
    assert options - tested - elsewhere == {"n_token"}


def test_adaptive_takes_the_cutoffs_of_the_dataset(corpus_folder, encoded_dir, monkeypatch):
    few = replace(wt103.WT103, cutoffs=(10, 30, 1000))
    monkeypatch.setitem(data.datasets(), "wt103", few)
    options = {"data": str(corpus_folder), "encoded_dir": str(encoded_dir), "adaptive": True}
    options |= {"mem_len": 1, "tgt_len": 8, "batch_size": 4}
    chosen, _ = load_workload(Settings.of(options))
    assert chosen.cutoffs == (10, 30), "1000 is beyond the vocabulary"
    own, _ = load_workload(Settings.of({**options, "cutoffs": [5]}))
    assert own.cutoffs == (5,)


def test_adaptive_without_effect_says_so(tiny, tmp_path):
    outcome = run(train.main, *tiny, *RMT, "--adaptive", "--work_dir", tmp_path)
    assert "| --adaptive changes nothing: of 51 different tokens none is beyond" in outcome.out
