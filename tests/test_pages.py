"""What the pages show to be typed does what they say."""

import ast
import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

import rmt
from helpers.data import load_corpus
from helpers.labelled import texts, write_lines
from helpers.models import tiny_model
from helpers.pages import Reader, Shown, python_blocks, shown
from helpers.pretrained import CAUSAL, backbone, words, write_tokenizer
from helpers.programs import ROOT
from rmt.models.transformer_xl.published_names import published_state_dict
from rmt.runs.reports import anchor
from rmt.runtime import files

DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = ("README.md", *(str(path.relative_to(ROOT)) for path in DOCS))
PAGES += ("results/README.md", "data/README.md")
ADDING_A_MODEL = "docs/adding_a_model.md"

# What a program gets besides, by how its command begins.
Added = dict[str, str]

SHORT = (
    "--batch_size 4 --batch_chunk 1 --eval_batch_size 2 --max_eval_steps 1 --warmup_step 1 "
    "--max_step 3 --no_cuda --no_multi_gpu"
)
SMALL = f"--n_layer 1 --n_head 1 --d_head 4 --d_model 8 --d_inner 8 {SHORT}"
TRAIN: Added = {
    "rmt.train": SMALL,
    "rmt.train .*--dataset (copy|reverse|retrieval|quadratic|remember|rewrite|babilong|facts)": (
        "--train_samples 64 --valid_samples 8 --test_samples 8"
    ),
    "rmt.eval .*--sample_len": "--test_samples 2",
}
WITH_BACKBONE: Added = {
    "rmt.train": SHORT,
    "rmt.train .*--dataset facts": "--train_samples 64 --valid_samples 8 --test_samples 8",
}
BENCH = "--models rmt --bptt 1 --precisions fp32 --steps 1 --n_layer 1 --d_model 8 --batch_size 2"

# Every command, by the first pattern that it begins with: what is added, so that it is quick, or
# why it isn't run.
RULES: tuple[tuple[str, Added | str], ...] = (
    ("source .venv/bin/activate", {}),
    ("bash getdata.sh", "downloads: tests/test_getdata.py runs it against a server of its own"),
    ("bash run_scripts/bench.sh", "takes hours: tests/benchmark runs the programs that it starts"),
    ("bash run_scripts/test.sh", "runs these tests"),
    ("bash run_scripts/run_hyperpartisan.sh", "tests/programs/test_run_hyperpartisan.py runs it"),
    (".*--model encoder", "tests/training/test_labelled_training.py trains one, of its own making"),
    ("python -m .*parity", "is of a task that the reader has added"),
    ("bash run_scripts/gpu_check.sh", {"rmt.gpu_check": "--help"}),
    ("bash run_scripts/make_backbones.sh", {"rmt.models.pretrained.small": "--help"}),
    ("bash run_scripts/make_mini_data.sh", {"rmt.data.text.mini": "--help"}),
    (r".*run_scripts/(slurm_)?reproduce\.", {"rmt.reproduce": "--dry_run --results new"}),
    (r"sbatch run_scripts/slurm_wt103_rmt\.", {"rmt.train": f"{SMALL} --work_dir runs/slurm"}),
    (".*--backbone gpt2", WITH_BACKBONE),
    (".*--curriculum_segments", {"rmt.train": f"{SMALL} --curriculum_steps 1 1"}),
    ("bash run_scripts/.*|NPROC=2 bash run_scripts/.*|python -m rmt.train", TRAIN),
    ("python my_train.py", {"my_train.py": "--max_step 2 --max_eval_steps 1"}),
    ("python -m rmt.bench", {"rmt.bench": BENCH}),
    ("python -m rmt.tables paper", {"rmt.tables": "--results few"}),
    ("python -m rmt.figures paper", {"rmt.figures": "--results few"}),
    ("python -m rmt.figures context", {"rmt.figures": "--history 2 --segments 4"}),
    ("python -m rmt.figures attention .*--text", {"rmt.figures": "--segments 4"}),
    (r"python -m rmt\.(tables|figures|generate|eval|interop|expected|data\.tasks) ", {}),
)


def rule_of(command: Shown) -> Added | str:
    for pattern, rule in RULES:
        if re.match(pattern, command.text):
            return rule
    raise AssertionError(f"there is no rule for {command}")


# What the pages take for granted


def prepare_adding_a_model(root: Path) -> None:
    """The page's model and its program, as files of the reader's own."""
    shutil.copy(ROOT / "tests" / "helpers" / "gru.py", root / "my_gru.py")
    (program,) = (block for block in python_blocks(ADDING_A_MODEL) if "import my_gru" in block)
    (root / "my_train.py").write_text(program)


def prepare_published_checkpoints(root: Path) -> None:
    """Small random weights with the names and the files of those that were published."""
    words = load_corpus("wt103", None, encoded_dir=root / "data" / "encoded").vocabulary.symbols
    (root / "words.txt").write_text("".join(f"{word}\n" for word in words))
    folder = root / "transfo-xl-wt103"
    folder.mkdir()
    config = {"n_token": len(words), "mem_len": 9, "cutoffs": (20, 40)}
    weights = published_state_dict(tiny_model("trxl", **config))
    torch.save(
        {k if k.startswith("crit.") else f"transformer.{k}": v for k, v in weights.items()},
        folder / "pytorch_model.bin",
    )
    config |= {"vocab_size": len(words), "div_val": 1, "same_length": False, "clamp_len": -1}
    (folder / "config.json").write_text(json.dumps(config))
    clusters = {"n_token": 200_001, "cutoffs": (20_000, 40_000, 200_000)}
    torch.save(published_state_dict(tiny_model("trxl", **clusters)), root / "txl.pt")
    torch.save(published_state_dict(tiny_model("rmt", as_published=True)), root / "lm-rmt.pt")
    args = {"mem_len": 0, "num_mem_tokens": 3, "mem_at_end": True}
    (root / "args.json").write_text(json.dumps(args))


def prepare_labels(root: Path) -> None:
    write_lines(root / "reviews.jsonl", texts(60))


def prepare_backbone(root: Path) -> None:
    """A small model of random weights where the pages have a pretrained one."""
    if importlib.util.find_spec("transformers"):
        small = {"vocab_size": 300, "n_layer": 1, "n_embd": 8, "n_head": 1, "n_positions": 200}
        backbone("gpt2", **small).float().save_pretrained(root / "gpt2")
        # It knows the rooms of facts as words.
        text = (root / "my.txt").read_text() + " attic cellar garden library porch workshop" * 400
        write_tokenizer(root / "gpt2", text, 300)


def prepare_smollm(root: Path) -> None:
    """A small tokenizer in the place of the real one, which make_backbones.sh brings."""
    if importlib.util.find_spec("transformers"):
        folder = root / "data" / "smollm2-135m"
        folder.mkdir()
        write_tokenizer(folder, (root / "my.txt").read_text(), 300)


# What a page's lines of Python take for granted.
GIVEN = {
    name: torch.ones(1, 4, dtype=torch.int64)
    for name in ("tokens", "targets", "more_tokens", "more_targets")
}

PREPARE = {
    "README.md": prepare_backbone,
    "docs/pretrained.md": prepare_backbone,
    "docs/results/pretrained.md": prepare_smollm,
    "docs/labels.md": prepare_labels,
    ADDING_A_MODEL: prepare_adding_a_model,
    "docs/published_checkpoints.md": prepare_published_checkpoints,
}


@pytest.fixture
def reader(tmp_path, monkeypatch):
    reader = Reader(tmp_path / "project")
    monkeypatch.setattr(files, "SOURCE", reader.root / "pytorch")
    monkeypatch.chdir(reader.root)
    return reader


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_can_be_typed(page, reader):
    """From top to bottom: what a command leaves, those after it find."""
    PREPARE.get(page, lambda root: None)(reader.root)
    names, left_out = dict(GIVEN), []
    has_library = bool(importlib.util.find_spec("transformers"))
    for each in shown(page):
        if re.search("transformers|gpt2", each.text) and not has_library:
            left_out.append(str(each))
            continue
        if not each.is_python:
            rule = rule_of(each)
            if isinstance(rule, dict):
                done = reader.type(each.text, rule)
                assert done.returncode == 0, f"{each}\n{done.stdout}{done.stderr}"
        elif page != ADDING_A_MODEL:
            exec(compile(each.text, str(each), "exec"), names)
    if left_out:
        pytest.skip(
            "\n".join(["without transformers these were left out, and all else ran:", *left_out])
        )


@pytest.mark.parametrize("family", CAUSAL)
def test_the_readmes_lines_put_memory_around_any_family(family, tmp_path, monkeypatch):
    """In the place of the pretrained GPT-2; and they are among the page's first 100 lines."""
    (lines,) = (each for each in shown("README.md") if "rmt.wrap(" in each.text)
    assert lines.line + lines.text.count("\n") < 100
    more_rows = {"n_positions": 200} if family == "gpt2" else {}
    backbone(family, **more_rows).float().save_pretrained(tmp_path / "gpt2")
    monkeypatch.chdir(tmp_path)
    ids = {name: words(1, 4, seed=i) for i, name in enumerate(GIVEN)}
    names, found = {"rmt": rmt, **ids}, []
    for statement in ast.parse(lines.text).body:
        exec(compile(ast.Module([statement], []), str(lines), "exec"), names)
        if "nll" in names:
            found.append((names["nll"], names["state"]))
    (nll, state), (more_nll, more_state) = found
    for each in (nll, more_nll):
        assert each.shape == (1, 4)
        assert each.isfinite().all()
    assert not torch.equal(more_state.memory, state.memory)
    alone, _ = names["model"](ids["more_tokens"], ids["more_targets"])
    assert (alone - more_nll).abs().max() > 1e-4


def test_every_rule_is_for_some_command():
    commands = [each for page in PAGES for each in shown(page) if not each.is_python]
    used = {id(rule_of(each)) for each in commands}
    assert [pattern for pattern, rule in RULES if id(rule) not in used] == []


def test_a_command_without_a_rule_and_one_that_fails_are_noticed(reader):
    with pytest.raises(AssertionError, match=r"no rule for somepage\.md, line 3: make coffee"):
        rule_of(Shown("somepage.md", 3, False, "make coffee"))
    command = "python -m rmt.train --dataset pydoc --model rmt --mem_len none"
    done = reader.type(command, TRAIN)
    assert done.returncode == 2
    assert "mem_len" in done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """To a file, and where they name one to a heading of it."""
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        place, _, heading = link.partition("#")
        target = (ROOT / page).parent / place if place else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert heading in map(anchor, headings), f"{page} links to {link}"


def test_the_readmes_lines_of_python_are_five():
    assert sum(map(bool, python_blocks("README.md")[1].splitlines())) == 5


def test_the_page_on_adding_a_model_shows_the_files_that_the_tests_add():
    """So that what it says of them is true: the blocks are the files, part by part."""
    blocks = [block for block in python_blocks(ADDING_A_MODEL) if "import my_gru" not in block]
    assert blocks
    helpers = "\n".join((ROOT / "tests" / "helpers" / f"{name}.py").read_text() for name in FILES)
    for block in blocks:
        for part in filter(None, map(str.strip, re.split(r"^# \.\.\.$", block, flags=re.M))):
            assert part in helpers, part


FILES = ("gru", "parity", "alphabet")
