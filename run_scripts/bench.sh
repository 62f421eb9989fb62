#!/usr/bin/env bash
# Speed, memory and scaling, measured on this machine: the files in results/bench.
#   bash run_scripts/bench.sh [GROUP ...]
# GROUP (default: all): speed     a training step of wt103, enwik8 and copy, against the plain model
#                       window    one step per N+1 segments, against replay
#                       memory    peak memory and gradient depth, with and without checkpoints
#                       chunks    the batch in parts
#                       scaling   streams of any length, encoding, two processes
#                       generation  tokens said one by one
#                       schedules   layers of several segments together, against one by one
# Leave the machine alone meanwhile. With a GPU all but the last three are measured there, and speed with
# --compile, too.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for group in "$@"; do
    [[ "$group" =~ ^(speed|window|memory|chunks|scaling|generation|schedules)$ ]] || fail "there is no group $group"
done
set_up_python
OUT="$ROOT/results/bench"
DEVICE=cpu
ON=()
if [[ "${RMT_DEVICE:-}" != cpu ]] &&
    "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    DEVICE=gpu
    ON=(--cuda)
fi
mkdir -p "$OUT"

# bench NAME SIZES FLAGS...: measure, print, and keep the table and the figures.
bench() {
    local name="$DEVICE-$1"
    shift
    echo
    echo "== $name"
    measure "$name" rmt.bench "$@" ${ON[@]+"${ON[@]}"}
}

# measure NAME MODULE FLAGS...: run the module, and keep what it measures if it gets to the end.
measure() {
    local out="$OUT/$1"
    rm -f "$out.new"
    keep_output "$out.md" "$PYTHON" -m "${@:2}" --out "$out.new"
    mv "$out.new" "$out.json"
}

speed() {
    bench speed-text wt103 enwik8 --models baseline trxl rmt --bptt 0 1 3 --precisions fp32 bf16
    bench speed-copy copy --models baseline trxl rmt --precisions fp32 bf16
    bench against-plain wt103 --bptt 3 --precisions fp32 bf16 --against plain
    bench against-plain-enwik8 enwik8 --bptt 1 --precisions fp32 bf16 --against plain
    bench against-plain-copy copy --precisions fp32 bf16 --against plain
    if [[ "$DEVICE" == gpu ]]; then
        bench speed-text-compiled wt103 enwik8 --models trxl rmt --bptt 1 3 --compile
    fi
}
window() {
    bench window enwik8 --bptt 1 3 --bptt_mode window --against replay
}
memory() {
    bench depth enwik8 --bptt 0 1 2 4 8 --steps 2
    bench depth-checkpointed enwik8 --bptt 0 1 2 4 8 16 --checkpoint_segments --steps 2
}
chunks() {
    bench chunks enwik8 --bptt 1 --batch_size 32 --steps 3
    bench chunks-4 enwik8 --bptt 1 --batch_size 32 --batch_chunk 4 --steps 3
}
scaling() {
    echo
    echo "== scaling"
    measure cpu-scaling rmt.scaling stream encoding ranks
}
generation() {
    echo
    echo "== generation"
    measure cpu-generation rmt.scaling generation
}
schedules() {
    echo
    echo "== schedules"
    measure cpu-schedules rmt.scaling schedules
}

for group in "${@:-speed window memory chunks scaling generation schedules}"; do
    for each in $group; do "$each"; done
done
