"""The wheel: what is in it, and that it works where the checkout is not."""

import email
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from helpers.programs import RMT, ROOT, TINY, Outcome, assert_one_sentence, result

# All that building could take in. Not the checkout itself: building leaves files where it builds.
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "pytorch", "tests", "run_scripts")
RUN_IT_THERE = "run this in the folder of the project's source"
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    build = ("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir")
    subprocess.run([*PIP, *build, folder / "built", folder], check=True)
    (found,) = (folder / "built").iterdir()
    return found


class Installed:
    """A Python whose rmt is the wheel's; what that needs, it finds where these tests do."""

    def __init__(self, wheel: Path, folder: Path):
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        venv.create(folder / "venv", symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        install = ("--python", self.python, "install", "--no-index", "--no-deps")
        subprocess.run([*PIP, *install, wheel], check=True)
        (self.packages,) = (folder / "venv").glob("lib/python3*/site-packages")
        shared = [path for path in sys.path if path.endswith("-packages")]
        (self.packages / "shared.pth").write_text("\n".join(shared) + "\n")
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.environment.pop("PYTHONPATH", None)

    def __call__(self, *arguments: object) -> Outcome:
        done = subprocess.run(
            [self.python, *map(str, arguments)],
            cwd=self.elsewhere,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def succeeded(self, *arguments: object) -> str:
        outcome = self(*arguments)
        assert outcome.status == 0, outcome
        return outcome.out

    def left(self) -> set[str]:
        """What lies in the folder where the programs were started."""
        return {path.name for path in self.elsewhere.iterdir()}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Installed:
    return Installed(wheel, tmp_path_factory.mktemp("installed"))


def about(wheel: Path) -> str:
    """The folder in it that describes it."""
    return "-".join(wheel.name.split("-")[:2]) + ".dist-info"


def test_the_package_is_in_it_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    package = ROOT / "pytorch" / "rmt"
    sources = {path.relative_to(package.parent).as_posix() for path in package.rglob("*.py")}
    assert {name for name in names if not name.startswith(f"{about(wheel)}/")} == sources


@pytest.mark.parametrize(
    ("file", "extra"),
    [
        ("requirements.txt", ""),
        ("tests/requirements.txt", "dev"),
        ("tests/requirements-pretrained.txt", "hf"),
    ],
)
def test_the_ranges_hold_the_versions_that_results_were_made_with(wheel, file, extra):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"{about(wheel)}/METADATA").decode()
    needed = map(Requirement, email.message_from_string(text).get_all("Requires-Dist"))
    ranges = {
        need.name: need.specifier
        for need in needed
        if (need.marker.evaluate({"extra": extra}) if need.marker else not extra)
    }
    lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
    pins = {pin.name: str(pin.specifier).removeprefix("==") for pin in map(Requirement, lines)}
    assert pins.keys() == ranges.keys()
    assert all(pins[name] in ranges[name] for name in pins)


def test_it_trains_scores_and_loads(installed):
    place = "import rmt; print(rmt.__file__)"
    assert installed.succeeded("-c", place).strip() == str(installed.packages / "rmt/__init__.py")

    text = ("--dataset", "pydoc", "--encoded_dir", "encoded")
    training = installed.succeeded(
        *("-m", "rmt.train", *text, *TINY, *RMT, "--max_eval_steps", 5),
        *("--max_step", 2, "--work_dir", "run"),
    )
    assert "End of training" in training
    assert installed.left() == {"encoded", "run"}
    made = result(installed.elsewhere / "run")
    assert made["git_commit"] is None

    scored = installed.succeeded("-m", "rmt.eval", "--work_dir", "run")
    assert f"{made['test_bpc']:.5f}" in scored

    load = "import rmt; run = rmt.load('run'); print(run.settings.train.dataset, run.training)"
    assert installed.succeeded("-c", load) == "pydoc False\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("tables paper", f"the published numbers are not here: {RUN_IT_THERE}"),
        ("tables pages", f"README.md: {RUN_IT_THERE}"),
        ("figures paper", RUN_IT_THERE),
        ("reproduce table3 --scale mini", RUN_IT_THERE),
        ("expected", RUN_IT_THERE),
        ("train --dataset enwik8 --mem_len 2", "name its file or folder with --data"),
    ],
)
def test_what_needs_the_checkout_says_so(installed, arguments, sentence):
    before = installed.left()
    assert sentence in assert_one_sentence(installed("-m", *f"rmt.{arguments}".split()))
    assert installed.left() == before
