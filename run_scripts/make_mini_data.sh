#!/usr/bin/env bash
# The texts of reproduce.sh's mini scale, cut from the published ones, which are fetched if absent:
#   bash run_scripts/make_mini_data.sh [enwik8] [wt103]     data/enwik8-head, data/wt103-mini
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($#)) || set -- enwik8 wt103
set_up_python
for name in enwik8 wt103; do
    ! has "$name" "$@" || fetch_data "$name"
done
exec "$PYTHON" -m rmt.data.text.mini "$@"
