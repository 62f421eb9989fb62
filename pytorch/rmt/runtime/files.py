"""Where the project's own folders are."""

from pathlib import Path


def project_root() -> Path:
    """The source checkout this package belongs to; the current folder where it is installed."""
    checkout = Path(__file__).resolve().parents[3]
    return checkout if (checkout / "run_scripts").is_dir() else Path.cwd()
