#!/usr/bin/env bash
# Quadratic equations, a line of the solution per segment (Table 1), as
#   bash run_scripts/run_quadratic.sh train --model rmt --segments 6 --mem_len 30 [flags]
#   bash run_scripts/run_quadratic.sh eval  --model rmt --segments 6 --mem_len 30 [flags]
# In the paper a run took 1 to 2 days on a GPU; with --recipe fast (pytorch/rmt/options/recipes.py), which
# replaces the settings in TRAINING, it takes an hour or two on two CPU cores, and RMT has solved 28 % of the equations by then.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODEL_SIZES=(
    --n_layer 6 --n_head 6 --d_head 64 --d_model 128 --d_inner 256
)
TRAINING=(
    --dropout 0.1 --optim adam --lr 0.0001 --clip 0.25
    --scheduler dev_perf --decay_rate 0.5 --lr_min 0.000001 --patience 10
    --batch_size 32 --max_step 600000
    --eval_interval 12000 --eval_batch_size 200 --max_eval_steps 5 --save_interval 4000
)
algorithmic_task quadratic "$@"
