# Shared by the scripts in this folder; source it. It sets up .venv on first use, fetches data that
# is absent, chooses the device and starts one process, or one per GPU with --multi_gpu.
#
# Environment: RMT_PYTHON  a Python that has the requirements, instead of .venv
#              RMT_DEVICE  cpu: don't use a GPU that is there
#              NPROC       processes for --multi_gpu (default: one per GPU)

# A Ctrl-C reaches the program, which saves and leaves; a script must then not go on to the next.
trap 'exit 130' INT TERM

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PYTHONPATH="$ROOT/pytorch${PYTHONPATH:+:$PYTHONPATH}"

# Without these glibc hands large blocks back to the kernel after every layer and fetches them
# again, page by page; and pages are of 4 KiB where they could be of 2 MiB.
export THP_MEM_ALLOC_ENABLE="${THP_MEM_ALLOC_ENABLE:-1}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-4294967296}"
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-4294967296}"

fail() {
    echo "error: $*" >&2
    exit 2
}

# set_up_python [REQUIREMENTS_FILE ...]: set PYTHON to one that has requirements.txt and the files.
set_up_python() {
    if [[ -n "${RMT_PYTHON:-}" ]]; then
        PYTHON="$RMT_PYTHON"
        return
    fi
    PYTHON="$ROOT/.venv/bin/python"
    # An interrupted set-up, or one whose Python has gone since, is made again.
    "$PYTHON" -m pip --version >/dev/null 2>&1 || make_venv
    local file mark
    for file in "$ROOT/requirements.txt" "$@"; do
        # The mark holds what was installed, so that changed requirements are installed again.
        mark="$ROOT/.venv/installed-$(cksum <<<"${file#"$ROOT"}" | cut -d ' ' -f 1)"
        cmp -s "$file" "$mark" && continue
        echo "setting up .venv: installing ${file#"$ROOT/"}" >&2
        "$PYTHON" -m pip install --quiet -r "$file" ||
            fail "pip could not install $file: see above, then run this again"
        cp "$file" "$mark"
    done
}

make_venv() {
    local base="${PYTHON3:-python3}"
    command -v "$base" >/dev/null || fail "there is no $base: install Python 3.11 or newer"
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$base" --version) is too old: install Python 3.11 or newer, or set PYTHON3 to one"
    "$base" -m venv --clear "$ROOT/.venv" ||
        fail "$base -m venv failed: install the venv module (python3-venv on Debian)"
}

# has FLAG ARGUMENTS...: whether a flag is among the arguments, with - or _ in its name.
has() {
    local flag="$1" argument
    shift
    for argument in "$@"; do
        argument="${argument%%=*}"
        [[ "${argument//-/_}" == "${flag//-/_}" ]] && return 0
    done
    return 1
}

# value_of FLAG ARGUMENTS...: the last value given for a flag.
value_of() {
    local flag="$1" value="" name
    shift
    while (($#)); do
        name="${1%%=*}"
        if [[ "${name//-/_}" == "${flag//-/_}" ]]; then
            [[ "$1" == *=* ]] && value="${1#*=}" || value="${2:-}"
        fi
        shift
    done
    echo "$value"
}

# n_cores: CPU cores that this process may use.
n_cores() {
    "$PYTHON" -c 'from rmt.runtime.machine import n_cores; print(n_cores())'
}

n_gpus() {
    if [[ "${RMT_DEVICE:-}" == cpu ]] || ! command -v nvidia-smi >/dev/null; then
        echo 0
    else # those that PyTorch can use, of those that CUDA_VISIBLE_DEVICES leaves
        "$PYTHON" -c 'import torch; print(torch.cuda.device_count())'
    fi
}

# fetch_data DATASET ARGUMENTS...: download a dataset that is absent, unless --data names another.
fetch_data() {
    local dataset="$1"
    shift
    has --data "$@" && return
    case "$dataset" in
        text) return 0 ;; # your own: rmt.train says what is missing
        wt103) [[ -e "$ROOT/data/wikitext-103/train.txt" ]] && return ;;
        *) [[ -e "$ROOT/data/$dataset/$dataset" ]] && return ;;
    esac
    bash "$ROOT/getdata.sh" "$dataset"
}

# paper_batch_size LENGTH:SIZE ... -- ARGUMENTS...: set BATCH to --batch_size and the size that the
# paper used for the segment length (the next longer one listed, or the last), unless it is given.
paper_batch_size() {
    local sizes=() length pair
    while [[ "$1" != -- ]]; do
        sizes+=("$1")
        shift
    done
    length="$(value_of --tgt_len "$@")"
    BATCH=()
    has --batch_size "$@" && return
    [[ "$length" =~ ^[0-9]+$ ]] || return 0 # rmt.train will say what is wrong
    for pair in "${sizes[@]}"; do
        BATCH=(--batch_size "${pair#*:}")
        ((length <= ${pair%%:*})) && return
    done
    return 0
}

# language_model DATASET MODEL VERB ARGUMENTS...: train or evaluate. The calling script has put its
# hyperparameters in HYPERPARAMETERS and the paper's batch sizes in BATCH_SIZES.
language_model() {
    local dataset="$1" model="$2" verb="${3:-}" gpus flags=()
    (($# < 3)) && shift 2 || shift 3
    case "$verb" in
        train | eval) ;;
        *) fail "say train or eval first: bash $0 train [--flag value ...]" ;;
    esac
    set_up_python
    gpus="$(n_gpus)"
    ((gpus > 0)) && ! has --cuda "$@" && flags+=(--cuda)
    if [[ "$verb" == eval ]]; then
        exec "$PYTHON" -m rmt.eval --dataset "$dataset" --model "$model" \
            ${flags[@]+"${flags[@]}"} "$@"
    fi
    if ! has --help "$@" && ! has -h "$@"; then
        fetch_data "$dataset" "$@"
    fi
    paper_batch_size ${BATCH_SIZES[@]+"${BATCH_SIZES[@]}"} -- "${HYPERPARAMETERS[@]}" "$@"
    if ((gpus == 0)) && ((${#BATCH[@]})) && ! has --batch_chunk "$@" && ! has --multi_gpu "$@"; then
        # The paper's batches were made for GPUs with 80 GB; in parts they fit a desktop computer.
        # The gradient is the same.
        BATCH+=(--batch_chunk $((BATCH[1] % 4 ? 2 : 4)))
    fi
    flags=(
        --dataset "$dataset" --model "$model" "${HYPERPARAMETERS[@]}"
        ${BATCH[@]+"${BATCH[@]}"} ${flags[@]+"${flags[@]}"} "$@"
    )
    if has --multi_gpu "$@"; then
        start_processes "${flags[@]}"
    fi
    exec "$PYTHON" -m rmt.train "${flags[@]}"
}

# algorithmic_task TASK VERB ARGUMENTS...: train or evaluate. The calling script has put the paper's
# model sizes in MODEL_SIZES and its training settings in TRAINING; a --recipe replaces the latter.
algorithmic_task() {
    local task="$1" verb="${2:-}" flags=()
    (($# < 2)) && shift || shift 2
    case "$verb" in
        train | eval) ;;
        *) fail "say train or eval first: bash $0 train [--flag value ...]" ;;
    esac
    set_up_python
    (($(n_gpus) > 0)) && ! has --cuda "$@" && flags+=(--cuda)
    if [[ "$verb" == eval ]]; then
        exec "$PYTHON" -m rmt.eval --dataset "$task" ${flags[@]+"${flags[@]}"} "$@"
    fi
    has --recipe "$@" || flags=("${TRAINING[@]}" ${flags[@]+"${flags[@]}"})
    flags=(--dataset "$task" ${MODEL_SIZES[@]+"${MODEL_SIZES[@]}"} ${flags[@]+"${flags[@]}"} "$@")
    if has --multi_gpu "$@"; then
        start_processes "${flags[@]}"
    fi
    exec "$PYTHON" -m rmt.train "${flags[@]}"
}

# keep_output FILE COMMAND...: print what the command prints, and keep it in FILE if it succeeds.
keep_output() {
    local file="$1"
    shift
    mkdir -p "$(dirname "$file")"
    "$@" >"$file.new" || {
        rm "$file.new"
        return 1
    }
    mv "$file.new" "$file"
    cat "$file"
}

# restart_flag FOLDER: print --restart if an interrupted run is there that has saved.
restart_flag() {
    ! compgen -G "$1/checkpoints/step-*" >/dev/null || echo --restart
}

# start_processes FLAGS...: one process of rmt.train per GPU, or NPROC of them.
start_processes() {
    local processes="${NPROC:-$(n_gpus)}"
    ((processes > 0)) || fail "--multi_gpu found no GPU: set NPROC=2 for two CPU processes"
    exec "$PYTHON" -m rmt.launch --standalone --nproc_per_node="$processes" -- "$@"
}
