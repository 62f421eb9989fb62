#!/usr/bin/env bash
# Hyperpartisan news with memory around a pretrained encoder, an article read in 1, 2, 3 and 4 segments, and a
# table of F1 beside the published one, as
#   bash run_scripts/run_hyperpartisan.sh --data FOLDER --backbone FOLDER [flags of rmt.train]
# --data is the folder of SemEval-2019 task 4's by-article files (zenodo.org/records/1489920, on request), and
# --backbone that of a Hugging Face encoder and its tokenizer.json, such as roberta-base.
# One segment is read without memory, more are read with 10 memory tokens, after as many steps with fewer of them.
# Settings are those of the authors' scripts (AdamW, learning rate 1e-5, batches of 32, segments of 499 tokens)
# but for the schedule, which is a cosine, and the steps, of which theirs are not said.
# Runs that are finished are left out, interrupted ones go on.
#
# Environment: SEEDS     seeds of the runs (default "1 2 3 4 5")
#              SEGMENTS  segments of an article (default "1 2 3 4")
#              FOLDS     folds to test on (default "0", which has 516, 64 and 65 articles; "0 1 2 3 4 5 6 7 8 9"
#                        is cross-validation). --split_file FILE takes any other split
#              STEPS     steps with each number of segments (default 320, 20 epochs)
#              RUNS      where the runs are kept (default runs/hyperpartisan)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

BACKBONE="$(value_of --backbone "$@")"
[[ -n "$BACKBONE" ]] || fail "name the folder of a Hugging Face encoder with --backbone"
RUNS="${RUNS:-$ROOT/runs/hyperpartisan}"
STEPS="${STEPS:-320}"
set_up_python "$ROOT/tests/requirements-pretrained.txt"
DEVICE=()
if (($(n_gpus) > 0)); then
    ! has --cuda "$@" && DEVICE=(--cuda)
elif ! has --batch_chunk "$@"; then
    DEVICE=(--batch_chunk 4) # the gradient is the same
fi

run() {
    local segments="$1" fold="$2" seed="$3" memory=10 work_dir stages=() steps=()
    shift 3
    ((segments > 1)) || memory=0
    work_dir="$RUNS/segments$segments-memory$memory-fold$fold-seed$seed"
    if [[ -e "$work_dir/result.json" ]]; then
        echo "$work_dir is finished"
        return
    fi
    for ((i = 1; i < segments; i++)); do
        stages+=("$i")
        steps+=("$STEPS")
    done
    ((segments > 1)) && stages=(--curriculum_segments "${stages[@]}" "$segments" --curriculum_steps "${steps[@]}")
    "$PYTHON" -m rmt.train --dataset hyperpartisan --model encoder --tokenizer "hf:$BACKBONE" \
        --mem_len "$memory" --max_segments "$segments" --tgt_len 499 --fold "$fold" --seed "$seed" \
        --batch_size 32 --optim adamw --lr 0.00001 --weight_decay 0.001 --clip 1.0 \
        --scheduler cosine --warmup_step 32 --max_step $((STEPS * segments)) \
        --eval_interval 16 --eval_batch_size 8 --log_interval 16 --save_interval 160 \
        ${stages[@]+"${stages[@]}"} ${DEVICE[@]+"${DEVICE[@]}"} "$@" --work_dir "$work_dir" \
        $(restart_flag "$work_dir")
}

for seed in ${SEEDS:-1 2 3 4 5}; do
    for fold in ${FOLDS:-0}; do
        for segments in ${SEGMENTS:-1 2 3 4}; do
            run "$segments" "$fold" "$seed" "$@"
        done
    done
done
"$PYTHON" -m rmt.tables labels "$RUNS"
