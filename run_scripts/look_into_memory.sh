#!/usr/bin/env bash
# How RMT turns a sequence round, as in Figure 6(a) of the paper, and how it and Transformer-XL pass 12
# tokens through a memory of 6, as in Figure 8: trains models to reverse 24 digits in 4 segments
# (minutes each on two CPU cores), draws what they attend to and lists the memory operations among it.
#   bash run_scripts/look_into_memory.sh
# The models stay in runs/memory; their logs, figures and tables go to results/. Runs that are finished
# are not made again, interrupted ones go on.
#
# Environment: SEEDS  seeds of the runs of Figure 6 (default "1 2 3"); those of Figure 8 have seed 1
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
(($# == 0)) || fail "look_into_memory.sh takes no arguments; run_reverse.sh takes any flag"

set_up_python
RESULTS="$ROOT/results"

# look NAME FLAGS...: train a run if need be, then draw it.
look() {
    local name="$1" work_dir="$ROOT/runs/memory/$1" logs="$RESULTS/runs/memory/$1"
    shift
    echo
    echo "== $name"
    if [[ ! -e "$work_dir/result.json" ]]; then
        RMT_PYTHON="$PYTHON" bash "$ROOT/run_scripts/run_reverse.sh" train --recipe fast \
            --model rmt --n 24 --segments 4 --mem_len 12 "$@" \
            --work_dir "$work_dir" $(restart_flag "$work_dir")
    fi
    mkdir -p "$logs"
    cp "$work_dir"/{config.json,metrics.jsonl,log.txt,result.json} "$logs"
    keep_output "$RESULTS/tables/memory-$name.md" \
        draw "$work_dir" "$RESULTS/figures/memory-$name.png"
}

# draw WORK_DIR FILE: draw the attention, and print the operations found in it.
draw() {
    "$PYTHON" -m rmt.figures attention --work_dir "$1" --out "$2" | grep -v '\.png$'
}

for seed in ${SEEDS:-1 2 3}; do
    look "reverse-2-layers-seed$seed" --seed "$seed" --n_layer 2
    look "reverse-4-layers-seed$seed" --seed "$seed"
done
look reverse-memory6-rmt-seed1 --mem_len 6 --seed 1
# Without lessons: with them it never looked further back than in the first of them.
look reverse-memory6-trxl-seed1 --model trxl --mem_len 6 --curriculum 0 --init xavier --seed 1
