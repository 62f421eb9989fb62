"""Our own studies: plans beside the paper's, and tables of what has run of them."""

from dataclasses import replace

import pytest

from helpers.logged import run_of
from helpers.programs import ROOT, assert_one_sentence, run
from rmt import reproduce
from rmt.data.registry import tasks
from rmt.models.registry import build
from rmt.paper.published import table_cells
from rmt.reproduction.ledger import not_alike
from rmt.reproduction.plans import Plan
from rmt.reproduction.scales import plan
from rmt.reproduction.studies.common import DIFFERENCES
from rmt.reproduction.studies.registry import OF_TEXT, STUDIES, is_complete, study_table
from rmt.reproduction.targets import TARGETS, plans_for
from rmt.reproduction.texts import find_texts
from rmt.runs.logged_runs import finished_runs
from rmt.training.cost import segments_per_step


@pytest.mark.parametrize("with_data", [True, False])
def test_every_study_has_plans_that_rmt_train_takes(with_data):
    """A name means one configuration, and a configuration has one name, also among the paper's."""
    by_name, by_settings = {}, {}
    for target in (*TARGETS, *STUDIES):
        for own in plans_for([target], "mini", with_data):
            settings = tuple(sorted(own.compared.items()))
            assert by_name.setdefault(own.name, settings) == settings
            assert by_settings.setdefault(settings, own.name) == own.name
            assert own.is_task == (own.dataset in tasks())
    for name in STUDIES:
        assert all(own.is_task == (name not in OF_TEXT) for own in STUDIES[name](with_data))


def test_window_trains_on_what_it_says():
    tokens, steps = {}, {}
    for own in STUDIES["window"](True):
        config = own.settings.train
        n_new = config.bptt_unrolls + 1 if config.bptt_mode == "window" else 1
        way = own.name.removeprefix("enwik8-")
        steps[way] = config.max_step
        tokens[way] = config.max_step * config.batch_size * config.tgt_len * n_new
    for n in (1, 3):
        of_replay = tokens[f"replay-{n}"]
        assert tokens[f"window-steps-{n}"] == tokens[f"window-tokens-{n}"] == of_replay
        assert tokens[f"window-time-{n}"] == (n + 1) * of_replay
        assert steps[f"window-tokens-{n}"] * (n + 1) == steps[f"window-steps-{n}"]
        assert steps[f"window-steps-{n}"] == steps[f"window-time-{n}"] == steps[f"replay-{n}"]


@pytest.mark.parametrize("name", ["segments", "rates"])
def test_the_plans_differ_in_what_is_studied_alone(name):
    plans = STUDIES[name](True)
    studied = {"segments": {"tgt_len", "eval_tgt_len", "batch_size"}, "rates": {"lr"}}[name]
    models = {}
    for own in plans:
        rest = {k: v for k, v in own.compared.items() if k not in studied}
        assert models.setdefault(own.model.model, rest) == rest
        config = own.settings.train
        assert config.batch_size * config.tgt_len == 512
    assert len(plans) == {"segments": 3 * 4, "rates": 2 * 3}[name]


def test_memory_and_cache_grow_with_the_segment():
    found = {}
    for own in STUDIES["segments_scaled"](True):
        config = own.settings.train
        assert config.batch_size * config.tgt_len == 512
        assert config.eval_tgt_len == config.tgt_len
        found.setdefault(config.tgt_len, set()).add((own.model.model, own.model.mem_len))
    assert found == {
        n: {("rmt", n // 8), ("trxl", n // 8), ("trxl", 20)} for n in (16, 32, 64, 128)
    }


def test_rmt_and_armt_carry_as_many_numbers():
    carried = {}
    for own in STUDIES["associative"](True):
        arm = own.name.partition("-")[2]
        carried.setdefault(arm, set()).add(own.model.carried.numbers)
    assert carried["baseline"] == {0}
    assert carried["rmt32"] == carried["armt-small"] == {2_048}
    assert carried["rmt192"] == {12_288}
    assert carried["armt"] == {12_288}


def test_armt_on_text_is_as_large_as_what_it_is_compared_with():
    models = {own.name: own.model for own in STUDIES["armt_text"](True)}
    carried = {name: model.carried.numbers for name, model in models.items()}
    small, of_rmt, cache = "enwik8-128-armt-small-bptt1", "enwik8-128-rmt40-bptt1", "trxl10"
    assert carried[small] == carried[of_rmt] == carried[f"enwik8-128-{cache}"] == 5_120
    vocabulary = {"n_token": 204}
    sizes = [
        build(replace(models[name], **vocabulary)).n_parameters()
        for name in (small, "enwik8-128-armt-bptt1", "enwik8-128-rmt10-bptt1")
    ]
    assert max(sizes) - min(sizes) < 400  # of 883,783


def test_the_studies_of_tasks_change_one_thing_of_a_cell():
    base, *shorter = STUDIES["gradients"](True)
    for own, depth in zip(shorter, (0, 1), strict=True):
        assert own.compared == base.compared | {"bptt_unrolls": depth}
    plans = STUDIES["lessons"](True)
    for base, other in zip(plans[::2], plans[1::2], strict=True):
        differing = {name for name in base.compared if base.compared[name] != other.compared[name]}
        assert "curriculum" in differing
        assert differing <= {"curriculum", "init"}


def test_both_models_are_trained_alike_in_every_arm():
    """Four arms of each of two models in four cells; the arms of a cell are the same trainings."""
    plans = STUDIES["alike"](True)
    assert len({own.name for own in plans}) == len(plans) == 4 * 2 * 4
    arms = {}
    for own in plans:
        rest = {k: v for k, v in own.compared.items() if k not in ("model", "mem_len")}
        cell = own.dataset, own.settings.train.segments
        arms.setdefault((cell, own.model.model), []).append(rest)
    cells = {cell for cell, _ in arms}
    assert len(cells) == 4
    for cell in cells:
        of_rmt, of_trxl = arms[cell, "rmt"], arms[cell, "trxl"]
        assert of_rmt == of_trxl
        trainings = {(rest["curriculum"], rest["init"]) for rest in of_rmt}
        assert trainings == {(-1, "xavier"), (-1, "uniform"), (0, "xavier"), (0, "uniform")}


def test_each_difference_of_the_published_code_is_alone_and_with_all_others():
    for name, n_bases in (("as_published", 2), ("as_published_reverse", 1)):
        plans = STUDIES[name](True)
        bases = [own for own in plans if "-published-" not in own.name]
        assert len(bases) == n_bases
        for base in bases:
            names = [own.name.removeprefix(f"{base.name}-published-") for own in plans]
            arms = dict(zip(names, plans, strict=True))
            every = {}
            for arm in DIFFERENCES.keys() & arms.keys():
                assert arms[arm].compared == base.compared | DIFFERENCES[arm]
                every |= DIFFERENCES[arm]
            assert arms["all"].compared == base.compared | every
    (of_rmt, of_both), (of_reverse,) = (
        [own for own in STUDIES[name](True) if own.name.endswith("-all")]
        for name in ("as_published", "as_published_reverse")
    )
    # What --as_published would set, but for what has no effect there.
    assert not of_rmt.compared["published_cache"]
    assert of_both.compared["published_cache"]
    assert of_reverse.compared["replay_from"] == "stored"


def test_quadratic_equations_are_trained_alike_and_longer():
    plans = STUDIES["quadratic_longer"](True)
    for alike in (plans[:3], plans[3:]):
        assert [own.settings.given["model"] for own in alike] == ["baseline", "trxl", "rmt"]
        assert not_alike(alike) == []
        assert all(own.settings.train.curriculum == -1 for own in alike)
    assert plans[:3] == [plan(cell, "mini") for cell in table_cells()]
    steps = [own.settings.train.max_step for own in plans]
    assert steps == [20_000] * 3 + [40_000] * 3


def test_an_ablation_changes_one_thing_at_a_time():
    for name in ("ablation", "ablation_reverse"):
        base, *others = STUDIES[name](True)
        changed = [
            {key for key, value in own.compared.items() if value != base.compared[key]}
            for own in others
        ]
        assert changed == [{"mem_init"}, {"memory_mask"}, {"write_from"}]


def test_the_grid_has_rows_of_the_papers_table():
    published = {own.name for own in plans_for(["table4"], "mini")}
    names = [own.name for own in STUDIES["grid"](True)]
    assert len(set(names)) == 16
    assert set(names) - published == {"wt103-50-rmt25-bptt3"}


def test_memory_around_pretrained_models_is_trained_alike():
    for name in ("wrapped_gpt2", "smollm"):
        plans = {own.name: own for own in STUDIES[name](True)}
        with_memory = [own for key, own in plans.items() if "-mem" in key]
        assert len(with_memory) == 3
        alone = plans[with_memory[0].name.partition("-mem")[0]]
        for own in with_memory:
            assert set(not_alike([alone, own])) <= {"batch_size", "bptt_mode"}
            assert tokens_of_a_step(own) == tokens_of_a_step(alone) == 512
            assert own.begins_with == alone.begins_with


def test_the_gap_is_between_trainings_of_as_many_tokens():
    plans = {own.name: own for own in STUDIES["smollm_gap"](True)}
    alone, long = plans["text-smollm2"], plans["text-smollm2-1024"]
    trained = [own.settings.train.max_step * tokens_of_a_step(own) for own in (alone, long)]
    assert trained == [76_800, 76_800]
    for own in plans.values():
        base = long if "-1024" in own.name else alone
        untrained = own.name.endswith("-untrained")
        assert (own.settings.train.lr == 0) == untrained
        allowed = {"max_step", "lr", "warmup_step"} if untrained else {"max_step"}
        if "-mem" not in own.name:
            assert set(not_alike([base, own])) <= allowed


def tokens_of_a_step(own) -> int:
    config = own.settings.train
    n_new, _ = segments_per_step(config)
    return n_new * config.batch_size * config.tgt_len


@pytest.mark.parametrize("name", ["smollm", "smollm_gap", "wrapped_gpt2"])
def test_a_study_of_a_text_of_its_own_needs_it(name, tmp_path):
    refused = run(reproduce.main, name, "--scale", "mini", "--results", tmp_path)
    assert f"{name} needs a text: name it with --data" in assert_one_sentence(refused)


def test_a_study_is_complete_with_a_run_of_each_plan():
    runs = [run_of(own, seed=3, score=2.5) for own in STUDIES["rates"](True)]
    for logged in runs:
        logged.result.update(tokens=1, tokens_per_s=1.0, n_all_param=1)
    assert is_complete("rates", runs)
    assert not is_complete("rates", runs[1:])
    assert study_table("rates", runs[1:]).count("2.500") == 5
    assert study_table("rates", []) == "not run\n"


def test_the_logged_runs_of_window_are_its_plans():
    assert is_complete("window", finished_runs(ROOT / "results" / "runs"))


def test_a_study_has_no_paper_scale():
    sentence = assert_one_sentence(run(reproduce.main, "window", "table3", "--scale", "paper"))
    assert sentence == "window is a study at mini scale: give --scale mini"


@pytest.mark.parametrize("with_data", [True, False])
def test_a_warm_start_differs_in_how_it_begins_alone(with_data):
    trained, nothing, longer, again, warm, whole, grown = STUDIES["warm_start"](with_data)

    def differing(one, other):
        return {name for name in one.compared if one.compared[name] != other.compared[name]}

    assert differing(nothing, warm) == differing(trained, again) == {"init_from"}
    assert warm.begins_with is again.begins_with is trained
    assert differing(nothing, longer) == {"max_step", "warmup_step"}
    assert longer.settings.train.max_step == 2 * trained.settings.train.max_step
    assert differing(whole, grown) == {"curriculum_segments", "curriculum_steps"}
    assert grown.settings.train.stages == ((0, 0), (500, 1), (1000, 3))


def test_a_run_that_began_with_another_one_does_not_count():
    _, nothing, _, _, warm, *_ = STUDIES["warm_start"](True)
    assert nothing.fits(run_of(nothing))
    assert not nothing.fits(run_of(warm))
    assert not warm.fits(run_of(nothing))
    for seed in (1, 2):
        assert warm.fits(run_of(warm, seed))
        other = run_of(warm, seed, init_from=f"results/runs/mini-enwik8/rmt-seed{seed}")
        assert not warm.fits(other)
        of_other_seed = warm.begins_with.folder_name(seed + 1)
        assert not warm.fits(run_of(warm, seed, init_from=of_other_seed))


def test_one_text_may_be_read_in_several_ways(tmp_path):
    """As by the studies around pretrained models, each with the tokenizer of its own."""
    text = tmp_path / "my.txt"
    text.write_text("a few words of a text of few words " * 400)
    common = {"dataset": "text", "model": "baseline", "encoded_dir": str(tmp_path / "encoded")}
    plans = [Plan("mini", how, {**common, "tokenizer": how}) for how in ("char", "word")]
    found = find_texts([*plans, plans[0]], str(text))
    assert len(found) == len({corpus.fingerprint for corpus in found.values()}) == 2
