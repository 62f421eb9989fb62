"""What options of training (training.py) are about: the run, its settings, text, tasks, labels."""

# Options that say where and how a run is made, not what it computes, and what the data tells.
NOT_SETTINGS = (
    "seed",
    "data",
    "valid_data",
    "test_data",
    "encoded_dir",
    "cuda",
    "multi_gpu",
    "compile",
    "cuda_graph",
    "schedule",
    "batch_chunk",
    "checkpoint_segments",
    "log_interval",
    "save_interval",
    "recipe",
    "tell_time",
    "segments",
    "n_token",
    "n_labels",
    "cutoffs",
    "debug",
)
# Options that are paths, which records have relative to the project.
PATHS = ("encoded_dir", "init_from")
# Of several paths; records have one of them as it is, and none as "".
LISTS_OF_PATHS = ("data", "valid_data", "test_data")
# Options that mean something to text alone, and to the samples of tasks alone.
OF_TEXT = (
    *LISTS_OF_PATHS,
    "keep_newlines",
    "tokenizer",
    "reset_at_documents",
    "adaptive",
    "varlen",
    "eval_tgt_len",
    "curriculum_segments",
    "curriculum_steps",
    "tell_time",
)
OF_TASKS = ("segments", "curriculum", "stop_at")
# Options that mean nothing to texts with labels, whose samples are of unequal length.
NOT_OF_LABELLED = (
    "segments",
    "curriculum",
    "keep_newlines",
    "reset_at_documents",
    "adaptive",
    "varlen",
    "eval_tgt_len",
    "tell_time",
    "recipe",
    "replay_from",
    "compile",
)
