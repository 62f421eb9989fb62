#!/usr/bin/env bash
# Associative retrieval, a pair a segment (Rodkin et al. 2024): which value did a key have, as
#   bash run_scripts/run_associative.sh train --model armt --pairs 20 [flags]
#   bash run_scripts/run_associative.sh eval  --model armt --pairs 20 [flags]
# --dataset rewrite: keys come again, and the last value counts (default: remember). In the paper a run
# took 10,000 steps a lesson on GPUs; with --recipe fast (pytorch/rmt/options/recipes.py), which replaces the
# settings in TRAINING, it takes minutes on two CPU cores.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODEL_SIZES=(
    --n_layer 4 --n_head 4 --d_head 32 --d_model 128 --d_inner 128
)
TRAINING=(
    --dropout 0.0 --optim adam --lr 0.0003 --clip 1.0
    --scheduler cosine --warmup_step 10000 --max_step 100000 --curriculum -1
    --batch_size 512 --eval_interval 1000 --eval_batch_size 500 --max_eval_steps 2 --save_interval 1000
)
task="$(value_of --dataset "$@")"
algorithmic_task "${task:-remember}" "$@"
