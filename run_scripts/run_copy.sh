#!/usr/bin/env bash
# Copy: say the n symbols twice (Figures 4a, 5a, 5b and 7a), as
#   bash run_scripts/run_copy.sh train --model rmt --n 24 --segments 6 --mem_len 12 [flags]
#   bash run_scripts/run_copy.sh eval  --model rmt --n 24 --segments 6 --mem_len 12 [flags]
# In the paper a run took an hour to days on a GPU; with --recipe fast (pytorch/rmt/options/recipes.py), which
# replaces the settings in TRAINING, it takes minutes on two CPU cores, or with n 120 and 360 half an hour and more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODEL_SIZES=(
    --n_layer 4 --n_head 4 --d_head 64 --d_model 128 --d_inner 256
)
# With n 120 and more most of the authors' runs had --batch_size 128 --patience 5 --eval_interval 40000
# --lr_min 0.00001 and other numbers of steps; reproduce.sh --scale paper gives them.
TRAINING=(
    --dropout 0.1 --optim adam --lr 0.0001 --clip 0.25
    --scheduler dev_perf --decay_rate 0.5 --lr_min 0.000001 --patience 8
    --batch_size 32 --max_step 900000
    --eval_interval 12000 --eval_batch_size 500 --max_eval_steps 2 --save_interval 4000
)
algorithmic_task copy "$@"
