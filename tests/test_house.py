"""The house: who may import whom, and who may know of which model."""

import ast
import os
import shutil
import subprocess
import sys

import pytest

from helpers.programs import ROOT
from rmt.models import registry

PACKAGE = ROOT / "pytorch" / "rmt"
# Where models are named, as data: what the paper trained, how that is done at each scale, and what
# we study besides. README's example of rmt.build is a docstring.
NAMES_MODELS = ("models", "paper", "reproduction/scales.py", "reproduction/studies/")
# What only models are made of.
INSIDE_A_MODEL = {
    "n_memory",
    "n_write",
    "n_cached",
    "cache",
    "layers",
    "memory_sees_cache",
    "cache_len",
    "cache_option",
    "writes_memory",
    "content_bias",
    "keys_values",
}
# Attention maps have layers, whatever model they are of.
FILES_OF_MAPS = ("capture", "patterns", "pictures", "shares")


def lint(root) -> subprocess.CompletedProcess:
    """Hold a copy of the project against the contracts in its pyproject.toml."""
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "pytorch")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path):
    """The package and its contracts, to be changed."""
    shutil.copytree(PACKAGE, tmp_path / "pytorch" / "rmt")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        (None, "", ""),
        ("reproduction/jobs.py", "import rmt.train", "nothing imports a program"),
        ("models/contract.py", "import rmt.training.trainer", "only packages below them"),
        ("runs/checkpoint.py", "import rmt.evaluation.text", "only packages below them"),
        ("paper/claims.py", "import numpy", "What the paper says is data"),
        ("reproduction/ledger.py", "import torch", "without PyTorch and without a trainer"),
        ("models/registry.py", "import rmt.models.contract", "can be asked without PyTorch"),
    ],
)
def test_the_contracts_hold_and_can_fail(copy, file, line, contract):
    if file:
        path = copy / "pytorch" / "rmt" / file
        path.write_text(path.read_text() + f"\n{line}\n")
    checked = lint(copy)
    assert checked.returncode == (1 if file else 0), checked.stdout
    broken = [line for line in checked.stdout.splitlines() if line.endswith(" BROKEN")]
    assert any(contract in line for line in broken) if file else not broken


def outside(*allowed: str):
    """Every other file of the package, with its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(allowed):
            yield name, ast.parse(path.read_text())


def test_only_the_papers_data_and_plans_name_models():
    names = set(registry.entries())
    found = [
        (name, node.value)
        for name, tree in outside(*NAMES_MODELS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in names
    ]
    # The name of the package, which is a folder in ~/.cache.
    assert found == [("data/store.py", "rmt")]


def test_nothing_outside_models_knows_a_cache_or_a_layer():
    found = [
        (name, node.attr)
        for name, tree in outside("models")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in INSIDE_A_MODEL
    ]
    # The paper's rows have a cache.
    maps = {(f"analysis/{name}.py", "layers") for name in FILES_OF_MAPS}
    rows = {"paper/experiments.py", "reproduction/scales.py", "reproduction/paper_tables.py"}
    assert set(found) == maps | {(name, "cache") for name in rows}


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import of it fails
from rmt import {program}
from rmt.runtime.errors import run_program
sys.argv = {argv!r}
run_program({program}.main)
"""


@pytest.mark.parametrize("program", ["tables", "figures"])
def test_tables_and_figures_are_made_without_pytorch(tmp_path, program):
    for folder in ("runs/window", "paper"):
        shutil.copytree(ROOT / "results" / folder, tmp_path / folder)
    argv = [program, "paper", "--results", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH.format(program=program, argv=argv)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pytorch")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    kind = {"tables": "window.md", "figures": "window.png"}[program]
    assert (tmp_path / program / kind).exists()


def test_the_package_is_imported_without_pytorch_and_has_what_a_notebook_needs():
    code = "import sys, rmt; assert 'torch' not in sys.modules; print(*dir(rmt))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pytorch")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        *("MemTransformerLM", "ModelConfig", "State", "StreamState"),
        *("build", "classify", "from_pretrained", "load", "read", "sample", "sample_batch"),
        *("save_pretrained", "wrap", "wrap_armt", "wrap_encoder"),
    ]
