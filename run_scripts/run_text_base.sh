#!/usr/bin/env bash
# Baseline Transformer on your own text: nothing is handed from one segment to the next.
#   bash run_scripts/run_text_base.sh train --data FILE_OR_FOLDER... [flags of rmt.train]
#   bash run_scripts/run_text_base.sh eval  [flags of rmt.eval]
# Sizes fit the text and the machine (--recipe fit, pytorch/rmt/options/recipes.py): on CPU cores 4 layers
# and at most 5,000 steps. The log says before it starts how long it will take, by some steps that are timed.
# A token is a character; with --tokenizer word it is a word, better for texts of 10 MB and more. The text is
# split 90/5/5 % unless --valid_data and --test_data name others.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HYPERPARAMETERS=(
    --recipe fit
)
BATCH_SIZES=() # the recipe's
language_model text baseline "$@"
