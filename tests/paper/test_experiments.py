"""The paper's language-model experiments: rows, settings, and the time they would take."""

import re
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers.models import tiny_config, tiny_model
from helpers.programs import ROOT, assert_one_sentence, run
from rmt import expected
from rmt.models.transformer_xl.mem_transformer import MemTransformerLM
from rmt.models.transformer_xl.operations import softmax_flops, word_frequencies
from rmt.models.transformer_xl.options import ModelConfig
from rmt.options.command_line import Parser, pick
from rmt.options.training import TrainConfig
from rmt.paper.experiments import TABLES, rows
from rmt.reproduction.expected import hours, run_operations
from rmt.reproduction.scales import plan
from rmt.runs.settings import check_gradient

SCRIPTS = ROOT / "run_scripts"


def test_every_row_of_the_tables_is_there():
    assert {table: len(rows(table)) for table in TABLES} == {
        "table2": 15,
        "table3": 15,
        "table4": 43,
        "headline": 1,
    }
    second, fourth = ({(row.name, row.score) for row in rows(f"table{n}")} for n in (2, 4))
    assert second <= fourth


@pytest.mark.parametrize("row", [row for table in TABLES for row in rows(table)], ids=str)
def test_a_row_is_what_its_run_script_trains(row):
    """With the row's flags: the script's text gives the same options as the registry."""
    script = SCRIPTS / f"run_{row.dataset}_{'base' * (row.model == 'baseline') or row.model}.sh"
    text = script.read_text()
    words = re.search(r"HYPERPARAMETERS=\((.*?)\n\)", text, re.S)[1].split()
    sizes = dict(pair.split(":") for pair in re.search(r"BATCH_SIZES=\((.*?)\)", text)[1].split())
    parser = Parser()
    parser.add_options(ModelConfig)
    parser.add_options(TrainConfig)
    own = [word for name, value in row.flags.items() for word in (f"--{name}", str(value))]
    given = parser.parse([*words, *own, "--batch_size", sizes[str(row.segment_len)]])
    own = plan(row, "paper")
    model, train = own.model, replace(own.settings.train, seed=TrainConfig.seed)
    of_text = {"model": row.model, "n_token": model.n_token, "cutoffs": model.cutoffs}
    assert model == ModelConfig(**pick(ModelConfig, given) | of_text)
    found = TrainConfig(dataset=row.dataset, **pick(TrainConfig, given))
    assert found.n_eval == train.n_eval
    assert replace(found, eval_tgt_len=0) == replace(train, eval_tgt_len=0)
    check_gradient(model.model, model.carried, train)


def test_the_parameters_are_the_papers():
    first = rows("table2")[:1] + rows("table3")[:1]
    by_dataset = {row.dataset: plan(row, "paper").model for row in first}
    with torch.device("meta"):
        sizes = {name: MemTransformerLM(c).n_parameters() for name, c in by_dataset.items()}
    assert sizes == {"wt103": 151_107_538, "enwik8": 41_055_436}


def test_a_damaged_table_is_named(tmp_path):
    (tmp_path / "table2.csv").write_text("row,model\nRMT,rmt\n")
    with pytest.raises(OSError, match=r"it is damaged.*table2.csv"):
        rows("table2", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"are not here.*table3.csv"):
        rows("table3", tmp_path)


@pytest.mark.parametrize("changes", [{}, {"d_embed": 6}])
def test_softmax_operations_are_those_that_pytorch_counts(changes):
    config, model = tiny_config("baseline", **changes), tiny_model("baseline", **changes)
    hidden, targets = torch.randn(7, config.d_model).double(), torch.zeros(7, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model.softmax(hidden, targets, *model.word_weights())
    assert counter.get_total_flops() == softmax_flops(config, 7)


@pytest.mark.parametrize("changes", [{}, {"d_embed": 6}, {"div_val": 2}])
def test_clusters_count_as_often_as_they_are_met(changes):
    """Against predictions in exactly the assumed shares, of which the softmax computes 1000."""
    changes = {"cutoffs": (5, 11)} | changes
    config = tiny_config("baseline", **changes)
    model, frequency = tiny_model("baseline", **changes), word_frequencies(config.n_token)
    n = 100_000
    counts = torch.tensor([round(n * frequency[a:b].sum()) for a, b in ((0, 5), (5, 11), (11, 23))])
    targets = torch.tensor([0, 5, 11]).repeat_interleave(counts)
    hidden = torch.randn(len(targets), config.d_model).double()
    with FlopCounterMode(display=False) as counter:
        model.softmax(hidden, targets, *model.word_weights())
    assert counter.get_total_flops() == pytest.approx(softmax_flops(config, n), rel=1e-3)


def test_the_table_has_every_configuration_once():
    outcome = run(expected.main, "--utilization", "0.5")
    lines = outcome.out.splitlines()
    assert lines[0] == "Hours with ~ are estimated, at 50% of the GPU's peak in bf16."
    # Table 2 is part of Table 4; both tables have two rows of one Transformer-XL.
    assert len(lines) == 4 + 14 + 42 + 1
    row = next(row for row in rows("table2") if row.name == "RMT BPTT-3" and row.segment_len == 150)
    own = plan(row, "paper")
    flops = run_operations(own.model, own.settings.train)
    assert hours(flops, "A100", "bf16", 0.5) * 3600 * 312e12 * 0.5 == pytest.approx(flops)
    assert f"| ~{hours(flops, 'A100', 'bf16', 0.5):.1f} |" in outcome.out
    assert "must be above 0" in assert_one_sentence(run(expected.main, "--utilization", "0"))
