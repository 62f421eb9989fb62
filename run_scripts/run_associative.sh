#!/usr/bin/env bash
# Associative retrieval, a pair a segment (Rodkin et al. 2024): which value did a key have, as
#   bash run_scripts/run_associative.sh train --model armt --pairs 20 [flags]
#   bash run_scripts/run_associative.sh eval  --model armt --pairs 20 [flags]
# --dataset rewrite: keys come again, and the last value counts (default: remember). In the paper a
# lesson took 10,000 steps of 512 samples; --recipe fast (pytorch/rmt/data/tasks/associative.py and
# pytorch/rmt/options/recipes.py) replaces the settings in TRAINING, with a smaller model, for two CPU cores.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODEL_SIZES=(--n_head 4)
TRAINING=(
    --n_layer 4 --d_head 32 --d_model 128 --d_inner 128
    --dropout 0.0 --optim adam --lr 0.0003 --clip 1.0
    --scheduler cosine --warmup_step 10000 --max_step 100000 --curriculum -1
    --batch_size 512 --eval_interval 1000 --eval_batch_size 500 --max_eval_steps 2 --save_interval 1000
)
if [[ "${1:-}" == train ]] && ! has --mem_len "$@"; then
    case "$(value_of --model "$@")" in
        armt) has --recipe "$@" && MODEL_SIZES+=(--mem_len 1) || MODEL_SIZES+=(--mem_len 4) ;;
        rmt) MODEL_SIZES+=(--mem_len 32) ;;
    esac
fi
task="$(value_of --dataset "$@")"
algorithmic_task "${task:-remember}" "$@"
