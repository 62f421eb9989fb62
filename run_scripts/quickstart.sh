#!/usr/bin/env bash
# From nothing to a comparison, on CPU cores, without data to download:
#   1. a task that needs memory: RMT and Transformer-XL learn to reverse 12 digits over 4 segments
#   2. text: a baseline, Transformer-XL and RMT of equal size on Python's own language reference
# Two runs at a time where there are two cores; then three minutes in all, one for the first result.
#   bash run_scripts/quickstart.sh
# Runs that are finished are left out, interrupted ones go on: remove results/quickstart to begin anew.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
(($# == 0)) || fail "quickstart.sh takes no arguments; the run_*.sh scripts take any flag"

set_up_python
OUT="$ROOT/results/quickstart"
mkdir -p "$OUT"
# Models as small as these gain little from more threads, and lose a lot where the cores are shared.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
AT_A_TIME="$(($(n_cores) > 1 ? 2 : 1))"
RUNNING=()
# In the background a run does not see Ctrl-C; SIGTERM lets it save, too.
trap 'echo; echo "saving; the same command goes on"; kill "${RUNNING[@]}" 2>/dev/null; wait; exit 130' \
    INT TERM

# train NAME FLAGS...: train into a folder of that name, beside one other run, and let only the
# evaluations through.
train() {
    local name="$1" log="$OUT/$1.log"
    shift
    if [[ -e "$OUT/$name/result.json" ]]; then
        echo "$name: finished in $OUT/$name"
        return
    fi
    if ((${#RUNNING[@]} >= AT_A_TIME)); then
        finish_one
    fi
    "$PYTHON" -m rmt.train --work_dir "$OUT/$name" --log_interval 25 "$@" \
        $(restart_flag "$OUT/$name") 2>"$log" \
        > >(trap '' INT && grep --line-buffered -E '^\| (Eval|End)' | sed -u "s/^|/$name:/; s/ | time: *[^ ]*//") &
    RUNNING+=("$!")
}

# finish_one: wait for the run that began first; one that fails ends this script with its words.
finish_one() {
    wait "${RUNNING[0]}" || {
        cat "$OUT"/*.log >&2
        kill "${RUNNING[@]}" 2>/dev/null || true
        fail "a run failed, see above"
    }
    RUNNING=("${RUNNING[@]:1}")
}

finish_all() {
    while ((${#RUNNING[@]})); do finish_one; done
}

# All that is needed for the answer has to be carried through three segments.
REVERSE=(
    --dataset reverse --n 12 --segments 4 --mem_len 6 --recipe fast --init xavier
    --n_layer 2 --d_model 128 --n_head 4 --d_head 32 --d_inner 256
    --max_step 600 --lr 0.002 --warmup_step 100 --test_samples 2000
    --eval_interval 50 --max_eval_steps 1 --save_interval 600
)
TEXT=(
    --dataset pydoc
    --n_layer 4 --d_model 128 --n_head 4 --d_head 32 --d_inner 512 --dropout 0.1
    --tgt_len 64 --batch_size 16 --max_step 600
    --lr 0.002 --warmup_step 50 --precision bf16
    --eval_interval 100 --save_interval 600
)
echo "Two short runs on a task, then three on text. Ctrl-C saves, and the same command goes on."
echo
train reverse-rmt "${REVERSE[@]}" --model rmt
train reverse-trxl "${REVERSE[@]}" --model trxl
finish_all
echo
echo "Reversing 12 digits in 4 segments, both models trained alike (accuracy, free running; 0.125 is"
echo "chance):"
echo
RUNS=("$OUT/reverse-trxl" "$OUT/reverse-rmt")
"$PYTHON" -m rmt.tables tasks "${RUNS[@]}" | tee "$OUT/reverse.md"
echo
echo "What RMT's heads do with its memory, as far as a measure finds it:"
echo
"$PYTHON" -m rmt.figures attention --work_dir "$OUT/reverse-rmt" --out "$OUT/attention.png"
echo
train trxl "${TEXT[@]}" --model trxl --mem_len 16
train rmt "${TEXT[@]}" --model rmt --mem_len 16 --bptt_unrolls 1
train baseline "${TEXT[@]}" --model baseline
finish_all
echo
echo "Measured on the test part of the text (bits per character, lower is better):"
echo
RUNS=("$OUT/baseline" "$OUT/trxl" "$OUT/rmt")
"$PYTHON" -m rmt.tables runs "${RUNS[@]}" | tee "$OUT/table.md"
echo
echo "Curves: $("$PYTHON" -m rmt.figures curves "${RUNS[@]}" --out "$OUT/curves.png")"
cat <<'NEXT'

"numbers carried" is what a segment hands to the next one. The runs have one seed and are short, so
small differences mean nothing. What to do next:
  tensorboard --logdir results/quickstart                        look at the curves
  bash run_scripts/reproduce.sh table3 --scale mini --dry_run    the paper's Table 3, small
  bash run_scripts/run_reverse.sh train --model rmt --segments 4 --mem_len 12 --recipe fast
                                                                 24 digits, minutes
  bash run_scripts/run_wt103_rmt.sh train --mem_len 10 --bptt_unrolls 3 --tgt_len 50
                                                                 the paper's setting (GPU)
  bash run_scripts/test.sh                                       the tests
NEXT
