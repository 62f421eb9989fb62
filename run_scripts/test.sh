#!/usr/bin/env bash
# Set up and run the linters and the tests, one process per core; arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

set_up_python "$ROOT/tests/requirements.txt" "$ROOT/tests/requirements-pretrained.txt"
cd "$ROOT"
"$PYTHON" -m ruff check
"$PYTHON" -m ruff format --check
"$PYTHON" -c 'from importlinter.cli import lint_imports_command as check; check()' --no-logo
exec "$PYTHON" -m pytest --numprocesses auto "$@"
