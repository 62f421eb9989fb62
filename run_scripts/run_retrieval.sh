#!/usr/bin/env bash
# Associative retrieval: the value of one of K keys (Figure 4c), as
#   bash run_scripts/run_retrieval.sh train --model rmt --pairs 4 --segments 5 --mem_len 2 [flags]
#   bash run_scripts/run_retrieval.sh eval  --model rmt --pairs 4 --segments 5 --mem_len 2 [flags]
# In the paper a run took an hour to days on a GPU; with --recipe fast (pytorch/rmt/options/recipes.py), which
# replaces the settings in TRAINING, it takes minutes on two CPU cores.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODEL_SIZES=(
    --n_layer 6 --n_head 4 --d_head 32 --d_model 64 --d_inner 128
)
TRAINING=(
    --dropout 0.1 --optim adam --lr 0.0001 --clip 0.25
    --scheduler dev_perf --decay_rate 0.5 --lr_min 0.000001 --patience 10
    --batch_size 32 --max_step 1000000
    --eval_interval 12000 --eval_batch_size 500 --max_eval_steps 2 --save_interval 4000
)
algorithmic_task retrieval "$@"
