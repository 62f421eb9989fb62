"""What a run folder says of the code that wrote it."""

import json
import shutil
import subprocess
import sys

import pytest

from helpers.programs import ROOT, process_settings

ASK = "import json; from rmt.runs.run_folder import environment; print(json.dumps(environment()))"


def git(folder, *command: str) -> str:
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")
    return subprocess.run(
        ["git", "-C", folder, *who, *command], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """Somebody's, with one commit."""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "Begin")
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "scripts", "is_ours"),
    [
        ("pytorch", "run_scripts", True),
        ("venv/lib/python3/site-packages", None, False),
        ("lib/packages", "lib/run_scripts", False),
        ("others/rmt/pytorch", "others/rmt/run_scripts", False),
    ],
    ids=["a checkout", "installed", "installed beside scripts", "a copy of the sources"],
)
def test_a_commit_is_that_of_a_checkout_alone(repository, sources, scripts, is_ours):
    shutil.copytree(ROOT / "pytorch" / "rmt", repository / sources / "rmt")
    if scripts:
        (repository / scripts).mkdir()
    settings = process_settings()
    settings["env"] |= {"PYTHONPATH": str(repository / sources), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", ASK], **settings | {"cwd": repository})
    assert done.returncode == 0, done.stderr
    commit = json.loads(done.stdout)["git_commit"]
    if is_ours:
        head = git(repository, "rev-parse", "--short=12", "HEAD")
        # Untracked files alone, as here, are no change.
        assert commit == head
    else:
        assert commit is None
