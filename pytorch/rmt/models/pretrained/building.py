"""Models with memory from a folder that holds a backbone, as the registry asks for them."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from rmt.data.text import pretrained
from rmt.data.text.dataset import OF_A_MODEL
from rmt.models.pretrained import hub
from rmt.models.pretrained.adaptation import adapted
from rmt.models.pretrained.armt import PretrainedARMT
from rmt.models.pretrained.backbone import check_rows, classifies, most_rows
from rmt.models.pretrained.causal import PretrainedLM
from rmt.models.pretrained.classifier import PretrainedClassifier
from rmt.models.pretrained.encoder import EncoderOptions, MemoryEncoder
from rmt.models.pretrained.options import (
    AssociativeBackboneOptions,
    BackboneOptions,
    ClassifierOptions,
    PretrainedOptions,
)
from rmt.runtime.errors import UsageError

NO_LIMIT = 1 << 31  # tokens of a segment, where a backbone counts distances


def build(options: PretrainedOptions) -> PretrainedLM:
    """The backbone with its weights, and new memory.

    Raises UsageError where the folder holds no causal language model, or one for fewer words.
    """
    return PretrainedLM(options, _backbone(options))


def build_armt(options: AssociativeBackboneOptions) -> PretrainedARMT:
    """The same with new associative memories around its layers."""
    return PretrainedARMT(options, _backbone(options))


def _backbone(options: BackboneOptions) -> nn.Module:
    """As it is trained, with adapters."""
    backbone = load_backbone(options.backbone)
    n_words = backbone.get_input_embeddings().weight.shape[0]
    if options.n_token > n_words:
        raise UsageError(
            f"the data has {options.n_token:,} tokens and the backbone {n_words:,}: use the "
            "backbone's tokenizer, --tokenizer hf:PATH"
        )
    return adapted(backbone, options.lora_rank, options.freeze_backbone)


def build_classifier(options: ClassifierOptions) -> PretrainedClassifier:
    """The backbone with its weights, and new memory and a new classifier.

    Raises UsageError where the folder holds no encoder and its tokenizer, and for data without
    labels or of another tokenizer.
    """
    if not options.n_labels:
        raise UsageError(
            f"model {options.model} tells labels: choose a dataset that has them, as classify, or "
            "facts with --answer label"
        )
    backbone = load_encoder(options.backbone, options.n_labels)
    place = Path(options.backbone)
    option = f"{OF_A_MODEL}{place.parent if _is_configuration(place) else place}"
    tokenizer = pretrained.reading(option).tokenizer
    n_words = backbone.get_input_embeddings().weight.shape[0]
    if options.padding != len(tokenizer.symbols) or options.padding > n_words:
        raise UsageError(
            f"the data has {options.padding:,} different tokens, the backbone's tokenizer "
            f"{len(tokenizer.symbols):,} and the backbone {n_words:,}: use its tokenizer, "
            f"--tokenizer {option}"
        )
    cls_id, sep_id = tokenizer.around
    n_labels = 0 if classifies(backbone) else options.n_labels
    around = EncoderOptions(options.mem_len, 1, cls_id, sep_id, n_labels)
    most = most_rows(backbone)
    check_rows(around.n_rows(1), most, f"one token and {options.mem_len} of memory")
    around = replace(around, tgt_len=NO_LIMIT if most is None else most - around.n_rows(0))
    wrapped = adapted(backbone, options.lora_rank, options.freeze_backbone)
    return PretrainedClassifier(options, MemoryEncoder(around, wrapped))


def load_backbone(place: str) -> nn.Module:
    """A causal language model in float32: from a folder of the transformers library or a GGUF file
    in it, or of random weights from a configuration, a JSON file."""
    how, path, transformers = {"dtype": torch.float32}, Path(place), hub.transformers()
    kind, what = transformers.AutoModelForCausalLM, "causal language model"
    if _is_configuration(path):
        config = _loaded(transformers.AutoConfig, path, what)
        return kind.from_config(config, **how)
    if path.suffix == ".gguf":
        path, how["gguf_file"] = path.parent, path.name
    return _loaded(kind, _folder(str(path) if place else ""), what, **how)


def load_encoder(place: str, n_labels: int) -> nn.Module:
    """An encoder in float32, with a new classifier for so many labels where its kind has one: from
    a folder, or of random weights from a configuration, a JSON file."""
    path, transformers, how = Path(place), hub.transformers(), {"dtype": torch.float32}
    path = path if _is_configuration(path) else _folder(place)
    config = _loaded(transformers.AutoConfig, path, "encoder")
    if type(config) in transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        alone = type(config) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING
        kind = transformers.AutoModelForTextEncoding if alone else transformers.AutoModel
    elif type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING:
        kind, config.num_labels = transformers.AutoModelForSequenceClassification, n_labels
        how["ignore_mismatched_sizes"] = True  # the folder's may tell other classes
    else:
        raise UsageError(
            f"{place} holds a {config.model_type} model, which is no encoder: choose one such as "
            "BERT, RoBERTa, DeBERTa, ELECTRA, T5 or BART"
        )
    if path.is_file():
        return kind.from_config(config, dtype=torch.float32)
    return _loaded(kind, path, "encoder", config=config, **how)


def _is_configuration(path: Path) -> bool:
    """Whether it is that of a backbone, of which there are no weights."""
    return path.suffix == ".json" and path.is_file()


def _folder(place: str) -> Path:
    if not place:
        raise UsageError("name the folder of a Hugging Face model with --backbone")
    path = Path(place)
    if not path.is_dir():
        raise UsageError(f"there is no folder {path}: --backbone is one with a Hugging Face model")
    return path


def _loaded(kind: type, path: Path, what: str, **how):
    """What kind.from_pretrained makes of a folder, in silence."""
    transformers = hub.transformers()
    # A program's own lines would be in between.
    transformers.utils.logging.disable_progress_bar()
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        return kind.from_pretrained(str(path), local_files_only=True, **how)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"{path} holds no {what} ({reason})") from None
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
