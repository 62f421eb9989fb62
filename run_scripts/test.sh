#!/usr/bin/env bash
# Set up and run the linter and the tests; arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

set_up_python "$ROOT/tests/requirements.txt"
cd "$ROOT"
"$PYTHON" -m ruff check
"$PYTHON" -m ruff format --check
exec "$PYTHON" -m pytest "$@"
