#!/usr/bin/env bash
# From nothing to a comparison: trains a baseline, Transformer-XL and RMT of equal size on the text
# of Python's own language reference and on reversing digits over four segments, for about a minute
# each on one CPU core, and shows what they scored. No arguments, no download of data, no GPU.
# Runs that are finished are left out, interrupted ones go on: remove results/quickstart to begin anew.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
(($# == 0)) || fail "quickstart.sh takes no arguments; the run_*.sh scripts take any flag"

set_up_python
OUT="$ROOT/results/quickstart"
mkdir -p "$OUT"
# Models as small as these gain little from more threads, and lose a lot where the cores are shared.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
echo "Six short runs, about six minutes in all. Ctrl-C saves, and the same command goes on."

# train NAME FLAGS...: train into a folder of that name, and let only the evaluations through.
train() {
    local name="$1"
    shift
    echo
    echo "== $name"
    if [[ -e "$OUT/$name/result.json" ]]; then
        echo "finished in $OUT/$name"
        return
    fi
    "$PYTHON" -m rmt.train --work_dir "$OUT/$name" --log_interval 25 "$@" \
        $(restart_flag "$OUT/$name") |
        (trap '' INT && exec grep --line-buffered -E '^\| (Eval|End)|^training')
}

TEXT=(
    --dataset pydoc
    --n_layer 4 --d_model 128 --n_head 4 --d_head 32 --d_inner 512 --dropout 0.1
    --tgt_len 64 --batch_size 16 --max_step 600
    --lr 0.002 --warmup_step 50 --precision bf16
    --eval_interval 100 --save_interval 600
)
train baseline "${TEXT[@]}" --model baseline
train trxl "${TEXT[@]}" --model trxl --mem_len 16
train rmt "${TEXT[@]}" --model rmt --mem_len 16 --bptt_unrolls 1

# Reverse 8 digits in 4 segments of 4 tokens: all that is needed for the answer has to be carried.
REVERSE=(
    --dataset reverse --n 8 --segments 4 --recipe fast --init xavier
    --n_layer 3 --d_model 128 --n_head 4 --d_head 32 --d_inner 256
    --max_step 700 --lr 0.002 --warmup_step 100 --test_samples 2000
    --eval_interval 50 --max_eval_steps 1 --save_interval 700
)
train reverse-baseline "${REVERSE[@]}" --model baseline
train reverse-trxl "${REVERSE[@]}" --model trxl --mem_len 4
train reverse-rmt "${REVERSE[@]}" --model rmt --mem_len 4

echo
echo "Measured on the test part of the text (bits per character, lower is better):"
echo
RUNS=("$OUT/baseline" "$OUT/trxl" "$OUT/rmt")
"$PYTHON" -m rmt.tables runs "${RUNS[@]}" | tee "$OUT/table.md"
echo
echo "Curves: $("$PYTHON" -m rmt.figures curves "${RUNS[@]}" --out "$OUT/curves.png")"
echo
echo "And reversing 8 digits in 4 segments (accuracy, free running; 0.125 is chance):"
echo
RUNS=("$OUT/reverse-baseline" "$OUT/reverse-trxl" "$OUT/reverse-rmt")
"$PYTHON" -m rmt.tables tasks "${RUNS[@]}" | tee "$OUT/reverse.md"
echo
echo "Accuracy: $("$PYTHON" -m rmt.figures accuracy "${RUNS[@]}" --out "$OUT/reverse.png")"
"$PYTHON" -m rmt.figures attention --work_dir "$OUT/reverse-rmt" --out "$OUT/attention.png"
cat <<'NEXT'

"numbers carried" is what a segment hands to the next one; the runs have one seed and are short, so
small differences mean nothing. What to do next:
  tensorboard --logdir results/quickstart                        look at the curves
  bash run_scripts/reproduce.sh table3 --scale mini --dry_run    the paper's Table 3, small
  bash run_scripts/run_reverse.sh train --model rmt --segments 4 --mem_len 12 --recipe fast
                                                                 24 digits, minutes
  bash run_scripts/run_wt103_rmt.sh train --mem_len 10 --bptt_unrolls 3 --tgt_len 50
                                                                 the paper's setting (GPU)
  bash run_scripts/test.sh                                       the tests
NEXT
