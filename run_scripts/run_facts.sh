#!/usr/bin/env bash
# Facts to be remembered through a long text (Bulatov et al. 2023), in 7 segments of 64 words, as
#   bash run_scripts/run_facts.sh train --kind memorize --model rmt --mem_len 10 [flags]
#   bash run_scripts/run_facts.sh eval  --work_dir runs/FOLDER --sample_len 32768 --test_samples 100
# --kind memorize, detect or reason; --background FILE is the text between the facts. With
# --backbone FOLDER --tokenizer hf:FOLDER it is a pretrained model that learns to remember. The
# published models were BERT, in segments of 499 tokens; the ones that begin with random weights are
# small enough for two CPU cores. Lessons are 1, 2, 4 and 7 segments.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Without --pre_lnorm, which other tasks have: it leaves memory free to grow with every segment.
MODEL_SIZES=(
    --n_layer 2 --n_head 4 --d_head 16 --d_model 64 --d_inner 128 --dropout 0.0
)
TRAINING=(
    --optim adam --lr 0.001 --clip 1.0 --scheduler cosine --warmup_step 200 --max_step 6000
    --curriculum -1 --batch_size 32 --eval_interval 250 --eval_batch_size 100 --max_eval_steps 2
    --save_interval 500 --stop_at 0.995
)
if has --backbone "$@"; then
    MODEL_SIZES=() # its folder has them
    TRAINING+=(--lr 0.0001)
fi
samples=()
if [[ "${1:-}" == train ]]; then
    has --segments "$@" || has --tgt_len "$@" || samples+=(--tgt_len 64)
    has --sample_len "$@" || samples+=(--sample_len 448)
fi
algorithmic_task facts "$@" ${samples[@]+"${samples[@]}"}
