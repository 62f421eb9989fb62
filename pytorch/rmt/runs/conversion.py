"""Weights and checkpoints of other programs, read and written without executing a pickle."""

import importlib
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import safetensors.torch
import torch
from torch import Tensor

from rmt.data import registry as data
from rmt.data.vocabulary import Vocabulary
from rmt.models import registry
from rmt.models.registry import ModelEntry
from rmt.options.command_line import pick
from rmt.options.option import default_of
from rmt.options.training import TrainConfig
from rmt.runs import checkpoint
from rmt.runs.hand_on import is_run
from rmt.runs.run_folder import RunFolder, environment
from rmt.runs.settings import Settings, text_options
from rmt.runs.weights import read_weights
from rmt.runtime.errors import UsageError
from rmt.runtime.files import new_file, new_folder

# In a folder that a checkpoint was saved to; Hugging Face's names.
CONFIG, WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin")
# Options of training that a configuration may have, too.
IN_CONFIG = ("tgt_len", "eval_tgt_len")
HOW_TO_SAVE = (
    "save the weights alone with the program that made it, torch.save(model.state_dict(), "
    "'state.pt'), and convert that file"
)


# Files of tensors


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of named tensors. Raises UsageError for one that holds more, or is damaged."""
    try:
        if path.suffix == ".safetensors":
            return read_weights(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except PermissionError as error:
        raise UsageError(f"{path} can't be read ({error.strerror})") from None
    except Exception as error:  # torch and safetensors raise many kinds for damaged files
        more = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and more:
            raise UsageError(
                f"{path} holds more than tensors ({more[1]}), which can't be read safely, for to "
                f"unpickle it could run any program: {HOW_TO_SAVE}"
            ) from None
        raise UsageError(f"{path} is damaged, or is no file of tensors") from None
    if not (isinstance(loaded, dict) and all(isinstance(t, Tensor) for t in loaded.values())):
        raise UsageError(
            f"{path} is not a state_dict, a mapping from names to tensors: {HOW_TO_SAVE}"
        )
    return loaded


def file_of_tensors(place: Path) -> Path:
    """The file itself, or of a folder the best model of a run of ours or what another program saved
    there. Raises UsageError where there is none."""
    if not place.is_dir():
        return place
    if is_run(place):
        return checkpoint.find_best(place).path / checkpoint.MODEL_FILE
    found = [place / name for name in WEIGHTS if (place / name).is_file()]
    if not found:
        raise UsageError(f"there is neither {' nor '.join(WEIGHTS)} in {place}")
    return found[0]


def convert_file(source: Path, target: Path) -> int:
    """Write a file's tensors under the other names to another file; returns how many they are."""
    tensors = convert(read_tensors(source))
    converted = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    with new_file(target) as file:
        if target.suffix == ".safetensors":
            file.write(safetensors.torch.save(converted))
        else:
            torch.save(converted, file)
    return len(converted)


def convert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Ours under published names, published ones under ours.

    Raises UsageError where they are neither, in the words of the first family that was asked.
    """
    refusals = []
    for names in map(names_of, families()):
        try:
            if names.are_ours(weights):
                return names.to_published_names(weights)
            return names.from_published_names(weights)
        except UsageError as error:
            refusals.append(error)
    raise refusals[0]


def families() -> list[ModelEntry]:
    """One entry of each family whose weights other programs name."""
    entries = registry.entries().values()
    return [*{entry.published_names: entry for entry in entries if entry.published_names}.values()]


def names_of(family: ModelEntry) -> ModuleType:
    return importlib.import_module(family.published_names)


# Checkpoints


def convert_checkpoint(place: Path, run: Path, options: Mapping) -> str:
    """Make a run folder of a published checkpoint; returns what it is, for people.

    options: those that were given, of the model and of training, and config and vocabulary, files.
    Raises UsageError, and writes nothing, where it can't be made.
    """
    weights, said = read_checkpoint(place, options.get("config"))
    family = next((one for one in families() if names_of(one).are_theirs(weights)), None)
    if family is None or family.published_options is None:
        raise UsageError(f"{place} holds the weights of no model that is known here")
    names, others = names_of(family), importlib.import_module(family.published_options)

    of_text = {name: said[name] for name in IN_CONFIG if type(said.get(name)) is int}
    of_text |= pick(TrainConfig, options)
    dataset = data.find(of_text.get("dataset", default_of(TrainConfig, "dataset")))
    given = {name: value for name, value in options.items() if name in others.UNTOLD}
    of_model = others.published_options(weights, said, given, dataset.cutoffs)
    n_token = of_model.pop("n_token")
    settings = Settings.of(of_text | of_model)
    model_options = settings.model(n_token)
    with torch.device("meta"):  # shapes alone
        model = registry.build(model_options)
    names.check_published_weights(model, weights)
    ours = {name: tensor.float() for name, tensor in names.from_published_names(weights).items()}
    vocabulary = None
    if file := options.get("vocabulary"):
        vocabulary = read_vocabulary(Path(file), n_token)
        try:
            dataset.reading(text_options(settings.train)).tokenizer.adopted(vocabulary)
        except UsageError as error:
            raise UsageError(
                f"{file} does not fit dataset {dataset.name}: {error}; name the --dataset that the "
                "weights were trained on, or text, which is any"
            ) from None

    sizes = {"n_all_param": model.n_parameters(), "n_nonemb_param": model.n_layer_parameters()}
    about = {checkpoint.CONVERTED_FROM: place.name}
    record = settings.record(model_options) | about | sizes | environment()
    write_run(run, record, about, ours, vocabulary)
    ids_alone = "" if vocabulary else ", and no vocabulary: it takes ids alone"
    return f"{model_options.label}, {sizes['n_all_param']:,} parameters{ids_alone}"


def read_checkpoint(place: Path, config: str | None) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a file or folder, and the configuration: the given file, or the folder's.

    Raises UsageError where they can't be read.
    """
    tensors = read_tensors(file_of_tensors(place))
    if config is None and (place / CONFIG).is_file():
        config = place / CONFIG
    options = {} if config is None else read_json(Path(config))
    if not isinstance(options, dict):
        raise UsageError(f"{config} is not a JSON object of options")
    return tensors, options


def read_vocabulary(file: Path, n_token: int) -> Vocabulary:
    """Symbols one a line in the order of their ids, or the vocabulary.json of a run.

    Raises UsageError unless they are as many as the model has.
    """
    try:
        if file.suffix == ".json":
            vocabulary = Vocabulary.from_json(read_json(file))
        else:
            # Not splitlines: words may hold other characters that Unicode counts as ends of lines.
            lines = read_text(file).removesuffix("\n").split("\n")
            vocabulary = Vocabulary([line.removesuffix("\r") for line in lines])
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} can't be used as a vocabulary ({error})") from None
    if len(vocabulary) != n_token:
        raise UsageError(
            f"{file} holds {len(vocabulary):,} symbols, but the weights are for {n_token:,}"
        )
    return vocabulary


def write_run(
    run: Path,
    record: Mapping,
    about: Mapping,
    weights: Mapping[str, Tensor],
    vocabulary: Vocabulary | None,
) -> None:
    """Write a run folder of step 0, as a whole or not at all.

    record: for config.json. about: for the checkpoint's manifest.
    """
    with new_folder(run) as unfinished:
        folder = RunFolder(unfinished, printing=False)
        folder.write_json("config.json", dict(record))
        if vocabulary is not None:
            folder.write_vocabulary(vocabulary)
        folder.log(f"| converted from {about[checkpoint.CONVERTED_FROM]}")
        folder.close()
        checkpoint.save(unfinished, 0, weights, {}, dict(about), best=True)


def read_json(file: Path) -> object:
    """Raises UsageError where a file can't be read or is no JSON."""
    try:
        return json.loads(read_text(file))
    except ValueError as error:
        raise UsageError(f"{file} is not JSON ({error})") from None


def read_text(file: Path) -> str:
    """Raises UsageError where a file can't be read or is not UTF-8."""
    try:
        return file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise UsageError(f"there is no file {file}") from None
    except OSError as error:
        raise UsageError(f"{file} can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text") from None
