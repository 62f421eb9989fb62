#!/usr/bin/env bash
# The two small models in results/models, which can be tried in a new clone before any training: RMT
# that reverses 24 digits in 4 segments, and RMT on the characters of Python's language reference.
#   bash run_scripts/make_models.sh
# Trains them in runs/models (2 and 25 minutes on a core each), copies what is needed to use them, and
# scores the copies. What is there is not made again: remove results/models/NAME to make it anew.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
(($# == 0)) || fail "make_models.sh takes no arguments; the run_*.sh scripts take any flag"

set_up_python
# Models as small as these gain little from more threads.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
cd "$ROOT"

# make NAME FLAGS...: train a run if need be, and make results/models/NAME of its best model.
make() {
    local name="$1"
    shift
    if [[ ! -e "runs/models/$name/result.json" ]]; then
        "$PYTHON" -m rmt.train --model rmt "$@" \
            --work_dir "runs/models/$name" $(restart_flag "runs/models/$name")
    fi
    [[ -e "results/models/$name" ]] ||
        "$PYTHON" -m rmt.interop "runs/models/$name" "results/models/$name" --bf16
}

# score NAME FLAGS...: keep the scores of what was made of it; in fp32, so that all machines agree.
score() {
    local name="$1"
    shift
    "$PYTHON" -m rmt.eval --work_dir "results/models/$name" --precision fp32 "$@" \
        --json "results/models/$name/scores.json"
}

make reverse --dataset reverse --n 24 --segments 4 --mem_len 12 --recipe fast --seed 3 \
    --n_layer 2 --n_head 4 --d_head 64 --d_model 128 --d_inner 256
make pydoc --dataset pydoc --tgt_len 64 --mem_len 16 --bptt_unrolls 1 --seed 1 \
    --n_layer 6 --n_head 4 --d_head 32 --d_model 128 --d_inner 512 --dropout 0.15 \
    --batch_size 16 --max_step 8000 --lr 0.002 --warmup_step 300 --precision bf16 \
    --eval_interval 500 --save_interval 500 --log_interval 100
score reverse --split test --max_eval_steps 2
# Python's reference differs from version to version; the licence stays.
score pydoc --text LICENSE
