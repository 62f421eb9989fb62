#!/usr/bin/env bash
# The models on copy and reverse with --recipe fast, n 24: the table in results/README.md.
#   bash run_scripts/compare_tasks_fast.sh [JOBS [SEED ...]]
# JOBS runs at a time (default 1; with more, each has one thread), of every SEED (default 1 2 3).
# Runs that are finished are left out, interrupted ones go on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

JOBS="${1:-1}"
shift $(($# > 0))
(($#)) || set -- 1 2 3
RUNS="$ROOT/results/runs/tasks-fast"
mkdir -p "$RUNS" "$ROOT/results/tables"
set_up_python
export PYTHON ROOT RUNS
((JOBS > 1)) && export OMP_NUM_THREADS=1

# NAME and flags, a run per line.
cells() {
    local seed
    for seed in "$@"; do
        cell copy-6x12-rmt12 "$seed" copy --segments 6 --model rmt --mem_len 12
        cell reverse-4x12-rmt12 "$seed" reverse --segments 4 --model rmt --mem_len 12
        cell reverse-6x8-rmt8 "$seed" reverse --segments 6 --model rmt --mem_len 8
        cell copy-6x12-trxl12 "$seed" copy --segments 6 --model trxl --mem_len 12
        cell reverse-4x12-trxl12 "$seed" reverse --segments 4 --model trxl --mem_len 12
        cell reverse-6x8-trxl8 "$seed" reverse --segments 6 --model trxl --mem_len 8
        cell copy-6x12-baseline "$seed" copy --segments 6 --model baseline
        cell reverse-4x12-baseline "$seed" reverse --segments 4 --model baseline
        cell reverse-6x8-baseline "$seed" reverse --segments 6 --model baseline
    done
}

cell() {
    local name="$1-seed$2" seed="$2" task="$3" restart=""
    shift 3
    [[ -e "$RUNS/$name/result.json" ]] && return
    [[ -e "$RUNS/$name/last" ]] && restart=--restart
    echo "$name $task train --recipe fast --seed $seed $* $restart"
}

run() {
    local name="$1" task="$2"
    shift 2
    echo "== $name"
    RMT_PYTHON="$PYTHON" RMT_DEVICE="${RMT_DEVICE:-}" bash "$ROOT/run_scripts/run_$task.sh" "$@" \
        --work_dir "$RUNS/$name" >"$RUNS/$name.out" 2>&1 || { tail -n 3 "$RUNS/$name.out" && exit 1; }
    rm "$RUNS/$name.out"
    grep "End of training" "$RUNS/$name/log.txt" || true
}
export -f run

cells "$@" | xargs -r -P "$JOBS" -I {} bash -c 'run $1' _ {}
"$PYTHON" -m rmt.tables tasks "$RUNS" | tee "$ROOT/results/tables/tasks-fast.md"
