#!/usr/bin/env bash
# Baseline Transformer on enwik8 (no row of Table 3; Transformer-XL without its cache).
#   bash run_scripts/run_enwik8_base.sh train [flags of rmt.train, which override those below]
#   bash run_scripts/run_enwik8_base.sh eval  [flags of rmt.eval]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HYPERPARAMETERS=(
    --n_layer 12 --d_model 512 --n_head 8 --d_head 64 --d_inner 2048
    --dropout 0.1 --dropatt 0.0
    --optim adam --lr 0.00025 --scheduler cosine --warmup_step 0 --clip 0.25
    --max_step 400000 --eval_tgt_len 512
    --tgt_len 512
)
BATCH_SIZES=(128:64 512:22) # segment length:batch size in the paper's runs
language_model enwik8 baseline "$@"
