#!/usr/bin/env bash
# Transformer-XL on WikiText-103 (Tables 2 and 4: cache 1 to 200, segments of 150 and 50).
#   bash run_scripts/run_wt103_trxl.sh train [flags of rmt.train, which override those below]
#   bash run_scripts/run_wt103_trxl.sh eval  [flags of rmt.eval]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HYPERPARAMETERS=(
    --adaptive
    --n_layer 16 --d_model 410 --n_head 10 --d_head 41 --d_inner 2100
    --dropout 0.1 --dropatt 0.0
    --optim adam --lr 0.00025 --scheduler cosine --warmup_step 0 --clip 0.25
    --max_step 200000
    --tgt_len 150 --mem_len 150
)
BATCH_SIZES=(50:128 150:60) # segment length:batch size in the paper's runs
language_model wt103 trxl "$@"
