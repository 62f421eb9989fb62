"""All options of one run: of training, of its model and of a task's samples.

They come from a command line, from a plan, or from a run's config.json; without PyTorch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from rmt.data import registry as data
from rmt.data.labelled.dataset import LabelledOptions, LabelledTexts
from rmt.data.registry import Dataset
from rmt.data.tasks.task import SampleOptions
from rmt.data.text import pretrained
from rmt.data.text.dataset import OF_A_MODEL, TextOptions
from rmt.models import registry as models
from rmt.models.options import Carried, ModelOptions
from rmt.models.registry import ModelEntry
from rmt.options.command_line import Parser, flags_in, pick, value_of
from rmt.options.option import as_tuple, default_of
from rmt.options.recipes import fitting, recipe_for
from rmt.options.schedule import DIAGONAL
from rmt.options.scope import LISTS_OF_PATHS, NOT_OF_LABELLED, NOT_SETTINGS, OF_TASKS, OF_TEXT
from rmt.options.training import TrainConfig
from rmt.runs.run_folder import KEPT
from rmt.runtime.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """What a run is made of.

    given: the model's options as far as they are known; the data tells the rest (n_token, cutoffs).
    task: of the samples, or of texts with labels; None for text.
    """

    dataset: Dataset
    entry: ModelEntry
    given: Mapping[str, object]
    train: TrainConfig
    task: SampleOptions | LabelledOptions | None

    @classmethod
    def of(cls, options: Mapping[str, object]) -> "Settings":
        """Of options that were given, completed by the recipe and the task.

        Raises UsageError for what is unknown, impossible, or makes no sense together.
        """
        options = dict(options)
        for name in LISTS_OF_PATHS:
            options[name] = as_tuple(options.get(name, ()))
        dataset = data.find(options.get("dataset", default_of(TrainConfig, "dataset")))
        options["model"] = models.meant(options.get("model"), options)
        entry = models.find(options["model"])
        if options.get("curriculum_segments"):
            options.setdefault("bptt_unrolls", options["curriculum_segments"][-1] - 1)
        if isinstance(dataset, LabelledTexts):
            options.setdefault("bptt_unrolls", -1)
            if options.get("curriculum_segments"):
                options.setdefault("max_segments", options["curriculum_segments"][-1])
        elif dataset.is_task:
            if dataset.segment_len and not options.get("segments"):
                samples = dataset.options(**pick(dataset.options, options))
                options.setdefault("tgt_len", dataset.segment_len(samples))
            if bool(options.get("segments")) == ("tgt_len" in options):
                raise UsageError(
                    "say how the samples are cut, with either --segments (their number) or "
                    "--tgt_len (their length)"
                )
            # As the published code; Figure 4 of the paper says otherwise (docs/differences.md).
            options.setdefault("bptt_unrolls", -1)
            known = owner_of(dataset, entry)
            options |= {k: v for k, v in recipe_for(options, dataset.fast).items() if k in known}
        elif options.get("recipe") == "fit":
            sizes = fitting(options, *_split_sizes(dataset, options))
            known = owner_of(dataset, entry)
            options |= {k: v for k, v in sizes.items() if k in known}
        if options.get("as_published"):
            options = as_published(options, dataset)
        for name in options.keys() - owner_of(dataset, entry).keys():
            raise UsageError(refusals(dataset, entry).get(name, f"there is no option {name}"))
        own = pick(entry.options, options)
        of_task = pick(dataset.options, options) if dataset.is_task else {}
        # An option that both have (tokenizer) is about the samples.
        of_training = {name: value for name, value in options.items() if name not in of_task}
        train = TrainConfig(**pick(TrainConfig, of_training))
        task = dataset.options(**of_task) if dataset.is_task else None
        _check_dataset(dataset, train)
        if isinstance(dataset, LabelledTexts):
            _check_labelled(dataset, train, task)
        elif task:
            train = in_segments(train, dataset.n_inputs(task))
        settings = cls(dataset, entry, own, train, task)
        model = settings.model_before_data()
        check_gradient(entry.name, model.carried, train)
        model.check_schedule(train.schedule)
        check_can_be(model, train, goes_on=not (dataset.is_task or train.reset_at_documents))
        return settings

    def model_before_data(self) -> ModelOptions:
        """The model's options as far as they are known before the data is read."""
        n_token = 1 + max([0, *self.given.get("cutoffs", ())])  # fits any cutoffs
        return self.model(n_token)

    def model(
        self, n_token: int, cutoffs: Sequence[int] = (), n_labels: int | None = None
    ) -> ModelOptions:
        """The model's options for a vocabulary.

        cutoffs: the usual ones of the data, which options that were given override. n_labels: how
        many of the vocabulary's last words are labels; None: there are none, or it is not known.
        """
        options = {"n_token": n_token, **self.given}
        if n_labels and self.entry.takes("n_labels"):
            options["n_labels"] = n_labels
        if self.train.adaptive:
            if not self.entry.takes("cutoffs"):
                raise UsageError(f"{self.entry.name} has no adaptive softmax: leave out --adaptive")
            options = {"cutoffs": tuple(cutoffs), **options}
        return self.entry.options(**options)

    def record(self, model: ModelOptions) -> dict:
        """For config.json; read is the way back."""
        sections = {"model": asdict(model), "train": self.train.recorded()}
        return sections | ({"task": self.task.recorded()} if self.task else {})

    @classmethod
    def read(cls, work_dir: Path) -> tuple["Settings", ModelOptions]:
        """Those of a run folder. Raises UsageError where they can't be read."""
        try:
            settings, model = cls.from_record(json.loads((work_dir / "config.json").read_text()))
        except FileNotFoundError:
            raise UsageError(f"{work_dir} is not a run folder: it has no config.json") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{work_dir}/config.json can't be used ({error})") from None
        # The tokenizer may be gone from where it was.
        tokenizer = pretrained.kept_in(work_dir / KEPT, settings.tokenizer)
        if hasattr(settings.task, "tokenizer"):
            return replace(settings, task=replace(settings.task, tokenizer=tokenizer)), model
        return replace(settings, train=replace(settings.train, tokenizer=tokenizer)), model

    @classmethod
    def from_record(cls, record: Mapping) -> tuple["Settings", ModelOptions]:
        model = models.options_of(record["model"])
        train = TrainConfig.from_record(record["train"])
        dataset = data.find(train.dataset)
        task = dataset.options.from_record(record["task"]) if dataset.is_task else None
        given = {spec.name: getattr(model, spec.name) for spec in fields(model)}
        return cls(dataset, models.find(model.model), given, train, task), model

    @property
    def tokenizer(self) -> str:
        """--tokenizer: of the samples, where a task has one, else of the text."""
        return getattr(self.task, "tokenizer", self.train.tokenizer)

    @property
    def tokenizer_files(self) -> dict[str, Path]:
        """What a run keeps copies of, by name, so that its tokens can be made anywhere."""
        if not self.tokenizer.startswith(OF_A_MODEL):
            return {}
        return dict(pretrained.reading(self.tokenizer).files)

    def default_of(self, name: str):
        """The default of an option of the run."""
        return default_of(owner_of(self.dataset, self.entry)[name], name)

    def scores_depend_on(self, model: ModelOptions) -> dict:
        """All that a run's scores depend on, but the seed and the data."""
        every = model.settings | self.train.recorded() | (self.task.recorded() if self.task else {})
        return {name: value for name, value in every.items() if name not in NOT_SETTINGS}


def as_published(options: Mapping[str, object], dataset: Dataset) -> dict[str, object]:
    """The options with what --as_published sets beside the model's own (docs/differences.md)."""
    also = {"mem_init": "shared"}
    if not dataset.is_task and options.get("bptt_mode") != "window":
        also["replay_from"] = "newest"
    return {**also, **options}


def _split_sizes(dataset: Dataset, options: Mapping[str, object]) -> tuple[int, int]:
    """Bytes of the training split of a text, and of the shorter of the two others."""
    own = {spec.name for spec in fields(TextOptions)}
    text = TextOptions(**{name: value for name, value in options.items() if name in own})
    documents = dataset.find(options["data"], text).documents
    sizes = {split: sum(map(len, parts)) for split, parts in documents.items()}
    return sizes["train"], min(sizes["valid"], sizes["test"])


def text_options(train: TrainConfig) -> TextOptions:
    """Those that shape the ids of a text."""
    return TextOptions(train.keep_newlines, train.tokenizer, train.valid_data, train.test_data)


def owner_of(dataset: Dataset, entry: ModelEntry) -> dict[str, type]:
    """The options dataclass of every option that a run of a dataset and a model has."""
    owners = [TrainConfig, entry.options, *([dataset.options] if dataset.is_task else [])]
    return {spec.name: owner for owner in owners for spec in fields(owner)}


def _check_dataset(dataset: Dataset, train: TrainConfig) -> None:
    """Options that mean something to other datasets alone."""
    if isinstance(dataset, LabelledTexts):
        return
    if train.bptt_unrolls < 0 and not dataset.is_task:
        raise UsageError(f"bptt_unrolls must be 0 or more, but it is {train.bptt_unrolls}")

    recipe = "fast" if dataset.is_task else "fit"
    if train.recipe not in ("", recipe):
        raise UsageError(
            f"recipe {train.recipe} is not for {dataset.name}: leave it out, or take {recipe}"
        )
    names, others = (OF_TEXT, "text") if dataset.is_task else (OF_TASKS, "the algorithmic tasks")
    for name in names:
        if getattr(train, name) != default_of(TrainConfig, name):
            raise UsageError(f"{name} is for {others}: leave it out with dataset {dataset.name}")
    if not dataset.is_task:
        dataset.check(text_options(train))
        if train.reset_at_documents and not dataset.read_several:
            raise UsageError(
                f"the text of {dataset.name} is one document: leave out reset_at_documents"
            )
    if dataset.is_task and train.curriculum and not dataset.has_lessons:
        raise UsageError(f"samples of {dataset.name} can't be shortened: leave out the curriculum")


def _check_labelled(dataset: LabelledTexts, train: TrainConfig, task: LabelledOptions) -> None:
    """The same of texts with labels; and what a curriculum ends with."""
    for name in NOT_OF_LABELLED:
        if getattr(train, name) != default_of(TrainConfig, name):
            raise UsageError(f"{name} means nothing to dataset {dataset.name}: leave it out")
    if train.schedule == DIAGONAL:
        raise UsageError(
            f"schedule {DIAGONAL} is not possible for dataset {dataset.name}, whose texts begin in "
            "different segments: leave it out"
        )
    if train.bptt_mode == "window" and train.bptt_unrolls >= 0:
        raise UsageError(
            "of a text with a label the last segment alone has a loss: leave out bptt_mode window, "
            "or bptt_unrolls"
        )
    if train.curriculum_segments and task.max_segments != train.curriculum_segments[-1]:
        raise UsageError(
            f"curriculum_segments end with {train.curriculum_segments[-1]}, but max_segments is "
            f"{task.max_segments}: leave that out"
        )


def check_gradient(name: str, carried: Carried | None, train: TrainConfig) -> None:
    """Raise UsageError for gradient through what carries none; None is not known yet."""
    if carried is not None and train.bptt_unrolls > 0 and not carried.gradient:
        raise UsageError(
            f"{name} passes no gradient between segments: leave out bptt_unrolls "
            f"{train.bptt_unrolls}, or choose a model that does"
        )


def check_can_be(model: ModelOptions, train: TrainConfig, goes_on: bool) -> None:
    """Raise UsageError for a step that the model can't have, or in which nothing is trained.

    goes_on: whether a stream begins once in an epoch.
    """
    eager = {"--compile": train.compile, "--cuda_graph on": train.cuda_graph == "on"}
    for flag, is_on in eager.items():
        if is_on and model.why_eager:
            raise UsageError(f"{flag} is not possible: {model.why_eager}")
    if reason := model.why_untrained(train.bptt_unrolls, goes_on):
        raise UsageError(reason)


def in_segments(train: TrainConfig, n_inputs: int) -> TrainConfig:
    """The options with the tgt_len that cuts a sample of n_inputs tokens into train.segments parts.

    The last one is shorter where they can't be equal. Raises UsageError where there is no such
    length. Without train.segments tgt_len says how many there are, at least one.
    """
    tgt_len = -(-n_inputs // train.segments) if train.segments else min(train.tgt_len, n_inputs)
    n_segments = -(-n_inputs // tgt_len)
    if train.segments not in (0, n_segments):
        raise UsageError(
            f"{n_inputs} tokens can't be cut into {train.segments} segments of one length: with "
            f"{tgt_len} tokens each they are {n_segments}"
        )
    return replace(train, tgt_len=tgt_len, segments=n_segments)


# --- the command line ----------------------------------------------------------------------------


def add_settings(parser: Parser, argv: Sequence[str]) -> None:
    """Add the flags of training, and those of the model and the dataset that argv names."""
    dataset = data.find(value_of(argv, "dataset", default_of(TrainConfig, "dataset")))
    named = value_of(argv, "model", "") or None
    entry = models.find(models.meant(named, flags_in(argv)))
    choices = {"dataset": tuple(data.datasets()), "model": tuple(models.entries())}
    parser.add_options(entry.options, choices=choices, meanings=entry.means)
    parser.add_options(TrainConfig, choices=choices)
    if dataset.is_task:
        parser.add_options(dataset.options)
    parser.refuse(refusals(dataset, entry))


def refusals(dataset: Dataset, entry: ModelEntry) -> dict[str, str]:
    """What to say of options that exist, but not here, and of those that are gone."""
    said = {}
    for owner in (TrainConfig, *(other.options for other in models.entries().values())):
        for name, instead in getattr(owner, "DROPPED", {}).items():
            said[name] = f"there is no option --{name}: {instead}"
    for other in models.entries().values():
        for spec in fields(other.options):
            if spec.metadata.get("help"):  # n_token is no flag of any
                said[spec.name] = f"{spec.name} means nothing to model {entry.name}: leave it out"
    for other in data.with_answers().values():
        for spec in fields(other.options):
            said[spec.name] = f"{spec.name} means nothing to dataset {dataset.name}: leave it out"
    return said
