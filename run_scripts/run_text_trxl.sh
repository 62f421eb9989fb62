#!/usr/bin/env bash
# Transformer-XL on your own text: a cache of 64 states.
#   bash run_scripts/run_text_trxl.sh train --data FILE_OR_FOLDER... [flags of rmt.train]
#   bash run_scripts/run_text_trxl.sh eval  [flags of rmt.eval]
# Sizes fit the text and the machine (--recipe fit, pytorch/rmt/options/recipes.py): on CPU cores 4 layers
# and at most 5,000 steps. The log says before it starts how long it will take, by some steps that are timed.
# A token is a character; with --tokenizer word it is a word, better for texts of 10 MB and more. The text is
# split 90/5/5 % unless --valid_data and --test_data name others.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HYPERPARAMETERS=(
    --recipe fit --mem_len 64
)
BATCH_SIZES=() # the recipe's
language_model text trxl "$@"
