#!/usr/bin/env bash
# Fetch the paper's corpora into data/:  bash getdata.sh wt103 enwik8 text8
# Needs nothing but Python (3.9 or later), so that it runs before anything is installed.
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$(command -v python3 || true)
if [[ -z $python ]] || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))'; then
  echo "error: getdata.sh needs python3, version 3.9 or later" >&2
  exit 2
fi
# -I: neither the folder of the script nor PYTHONPATH may stand in for the standard library.
exec "$python" -I "$repository/pytorch/getdata" "$@"
