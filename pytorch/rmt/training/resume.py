"""Where a run is kept, and whether it may go on from a checkpoint."""

from dataclasses import asdict, replace
from pathlib import Path

from rmt.data.text.corpora import Inherited
from rmt.models.options import ModelOptions
from rmt.options import paths
from rmt.options.option import default_of, from_json
from rmt.options.scope import NOT_SETTINGS
from rmt.options.training import TrainConfig
from rmt.runs import checkpoint
from rmt.runs.run_folder import saved_checkpoints
from rmt.runs.settings import Settings
from rmt.runs.trained import read_vocabulary
from rmt.runtime import distributed
from rmt.runtime.errors import UsageError
from rmt.runtime.files import project_root

# A checkpoint is continued only with the same values of these. batch_chunk and the number of
# processes may differ: that changes the dropout masks, nothing else.
SAME_ON_RESTART = (
    "dataset",
    "tokenizer",
    "keep_newlines",
    "reset_at_documents",
    "tgt_len",
    "varlen",
    "batch_size",
    "bptt_unrolls",
    "bptt_mode",
    "replay_from",
    "optim",
    "mom",
    "weight_decay",
    "scheduler",
    "seed",
    "curriculum",
    "curriculum_segments",
    "curriculum_steps",
)
# The state of this schedule holds its options.
SAME_FOR_DEV_PERF = ("lr", "decay_rate", "lr_min", "patience", "warmup_step")


def choose_work_dir(settings: Settings, model: ModelOptions) -> Path:
    """The run folder; a new run must not touch an old one's."""
    config = settings.train
    work_dir = Path(config.work_dir) if config.work_dir else usual_work_dir(settings, model)
    try:
        # A process that was killed in its first save has left no checkpoint to continue from.
        occupied = (work_dir / "result.json").exists() or bool(saved_checkpoints(work_dir))
    except OSError as error:  # such as a name too long
        raise UsageError(
            f"{work_dir} can't be a run folder ({error.strerror}): choose another --work_dir"
        ) from None
    if occupied and not (config.restart and not config.restart_dir):
        way = "leave out --restart_dir" if config.restart else "give --restart"
        raise UsageError(
            f"{work_dir} already holds a run: {way} to continue it, or give another --work_dir"
        )
    return work_dir


def usual_work_dir(settings: Settings, model: ModelOptions) -> Path:
    """runs/ and a name made of the settings."""
    config, size = settings.train, ""
    if settings.task:
        size = settings.dataset.size(asdict(settings.task)) or ""
    parts = [f"{config.dataset}{size}", model.folder_name, f"seg{config.tgt_len}"]
    if model.carried is None or model.carried.gradient:
        parts.append(f"bptt{config.bptt_unrolls if config.bptt_unrolls >= 0 else 'all'}")
    parts += ["window"] if config.bptt_mode == "window" else []
    parts += ["warm"] if config.init_from else []
    if config.curriculum_segments:
        parts.append("after" + "-".join(map(str, config.curriculum_segments[:-1])))
    return project_root() / "runs" / "-".join([*parts, f"seed{config.seed}"])


def find_checkpoint(config: TrainConfig, work_dir: Path | None) -> checkpoint.Checkpoint | None:
    """The checkpoint to continue from, if asked for. Raises UsageError where there is none."""
    if not config.restart:
        return None
    folder = Path(config.restart_dir or work_dir)
    warn = print if distributed.is_main() else lambda _: None
    found = checkpoint.find(folder, warn)
    if checkpoint.CONVERTED_FROM in found.manifest:
        raise UsageError(
            f"{folder} holds published weights, which were never trained here, so that there is "
            f"nothing to restart: begin a run of its own with them, --init_from {folder}"
        )
    if found.is_model_alone:
        raise UsageError(
            f"{folder} holds a model alone, without what its training would go on from: begin a "
            f"run of its own with it, --init_from {folder}"
        )
    return found


def inherited_vocabulary(
    found: checkpoint.Checkpoint, config: TrainConfig, work_dir: Path
) -> Inherited | None:
    """What a run that began with another one reads its text with; None for any other run."""
    if not found.manifest.get("train", {}).get("init_from"):
        return None
    folder = Path(config.restart_dir or work_dir)
    vocabulary = read_vocabulary(folder)
    if vocabulary is None:  # it is older than these, and its text has made the same one
        return None
    cutoffs = tuple(found.manifest["model"].get("cutoffs", ()))
    return Inherited(vocabulary, str(folder), found.manifest["corpus"], cutoffs)


def check_same_run(
    found: checkpoint.Checkpoint, model: ModelOptions, config: TrainConfig, fingerprint: str
) -> None:
    """Raise UsageError where a checkpoint is another run's.

    fingerprint: of the data.
    """
    names = SAME_ON_RESTART + (SAME_FOR_DEV_PERF if config.scheduler == "dev_perf" else ())
    try:
        then = found.manifest
        # An option that is newer than the checkpoint had its default.
        pairs = [
            (name, then["model"].get(name, default_of(type(model), name)), _plain(value))
            for name, value in model.settings.items()
        ]
        for name in names:
            was = then["train"].get(name, default_of(TrainConfig, name))
            pairs.append((name, from_json(was), getattr(config, name)))
        pairs += [("the data", then["corpus"], fingerprint)]
    except (KeyError, TypeError, AttributeError):
        raise UsageError(f"{found.path} was not written by this version of the program") from None
    for name, old, new in pairs:
        if old != new:
            raise UsageError(
                f"{found.path} belongs to another run: {name} was {old} there and is {new} now"
            )


def beginning_of(found: checkpoint.Checkpoint, config: TrainConfig) -> TrainConfig:
    """The options with --init_from as the run began, which need not be given when it goes on.

    Raises UsageError for another one.
    """
    then = found.manifest["train"].get("init_from", "")
    now = config.recorded()["init_from"]
    if now not in ("", then):
        raise UsageError(
            f"{found.path} belongs to another run: init_from was {then or 'not given'} there and "
            f"is {now} now"
        )
    return replace(config, init_from=paths.from_record(then))


def changed_settings(
    found: checkpoint.Checkpoint, model: ModelOptions, config: TrainConfig
) -> list[str]:
    """Settings that are others now than in a part of the run that led to a checkpoint."""
    then = found.manifest["model"] | found.manifest["train"]
    now = model.settings | config.recorded()
    names = [name for name in now if name not in NOT_SETTINGS and name in then]
    differing = [name for name in names if then[name] != _plain(now[name])]
    return sorted({*found.manifest.get("changed", []), *differing})


def _plain(value):
    """A value as it comes back from JSON."""
    return list(value) if isinstance(value, tuple) else value
