#!/usr/bin/env bash
# BABILong: questions on facts in a long text (Kuratov et al. 2024), in segments of 64 words, as
#   bash run_scripts/run_babilong.sh train --model rmt --mem_len 10 --sample_len 512 [flags]
#   bash run_scripts/run_babilong.sh eval  --work_dir runs/FOLDER --sample_len 32768 --test_samples 100
# --questions one, two, three, relations, yes_no or all; --babi FOLDER reads the published stories, else
# they are made up in our own words. Published models were fine-tuned from GPT-2; these begin with
# random weights, small enough for two CPU cores, with lessons of 1, 2, 4 ... segments.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODEL_SIZES=(
    --n_layer 4 --n_head 4 --d_head 32 --d_model 128 --d_inner 256
)
TRAINING=(
    --dropout 0.0 --optim adam --lr 0.0005 --clip 1.0 --pre_lnorm
    --scheduler cosine --warmup_step 500 --max_step 20000 --curriculum -1
    --batch_size 32 --eval_interval 500 --eval_batch_size 50 --max_eval_steps 4 --save_interval 500
)
segments=()
if [[ "${1:-}" == train ]] && ! has --segments "$@" && ! has --tgt_len "$@"; then
    segments=(--tgt_len 64)
fi
algorithmic_task babilong "$@" ${segments[@]+"${segments[@]}"}
