#!/usr/bin/env bash
# Does training work on this machine's GPU, and how fast? In at most 8 minutes, without a network.
#   bash run_scripts/gpu_check.sh [OUT] [--minutes M] [--steps N]
# It trains a small model in every form of the step, runs the tests marked cuda, and times steps.
# OUT (default: results/bench) gets gpu-check.json, gpu-check.md and gpu-tests.txt. The status is 1 if
# forms trained in different ways, or a test or a measurement failed. RMT_PYTHON names a Python
# with PyTorch 2.11 or newer, requirements.txt and tests/requirements.txt. RMT_DEVICE=cpu goes
# through all but CUDA itself without a GPU.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

set_up_python "$ROOT/tests/requirements.txt"
out="$ROOT/results/bench"
if (($#)) && [[ "$1" != -* ]]; then
    out="$1"
    shift
fi
exec "$PYTHON" -m rmt.gpu_check "$out" "$@"
