"""Train a language model on text, segment by segment: python -m rmt.train --help.

From options to a test score: corpus -> model -> training -> the best checkpoint's score on the
test split, kept in the run folder's result.json.
"""

import os
import resource
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import torch

from rmt import checkpoint, distributed
from rmt.cli import Parser, pick
from rmt.config import ModelConfig, TrainConfig, check_together
from rmt.data.batches import SegmentBatches
from rmt.data.corpora import Corpus, load_corpus
from rmt.errors import UsageError, run_program
from rmt.interruption import Interrupted, Interruption
from rmt.mem_transformer import MemTransformerLM
from rmt.metrics import (
    Protocol,
    bits_per_character,
    in_train_protocol,
    perplexity,
    readable,
)
from rmt.progress import Progress
from rmt.resume import choose_work_dir, find_checkpoint
from rmt.run_folder import RunFolder, environment
from rmt.trainer import Trainer


def main(argv: list[str]) -> None:
    options = parse(argv)
    config = TrainConfig(**pick(TrainConfig, options))
    # All that can be said before the text is read, with a vocabulary that fits any cutoffs.
    n_token = 1 + max([0, *options.get("cutoffs", [])])
    check_together(ModelConfig(n_token=n_token, **pick(ModelConfig, options)), config)
    try:
        device = distributed.start(config.cuda)
        check_processes(config)
        corpus = shared_corpus(config)
        model_config = make_model_config(options, config, corpus)
        protocol = in_train_protocol(model_config, config)
        replace(model_config, **protocol.lengths)  # raises UsageError for lengths that can't be
        check_lengths(config, corpus, protocol)
        work_dir = None if config.debug else choose_work_dir(model_config, config)
        found = find_checkpoint(model_config, config, corpus, work_dir)

        torch.manual_seed(config.seed)
        model = MemTransformerLM(model_config).to(device)
        # The weights are the same in all processes; their dropout masks are not.
        torch.manual_seed(config.seed + distributed.rank())
        trainer = Trainer(model, model_config, config, corpus, protocol, device)
        if found:
            trainer.restore(found)
        train(trainer, model_config, config, work_dir, found)
    finally:
        distributed.stop()


def parse(argv: list[str]) -> dict:
    parser = Parser(prog="python -m rmt.train", description=__doc__.splitlines()[0])
    parser.add_options(ModelConfig)
    parser.add_options(TrainConfig)
    parser.add_argument("--fp16", action="store_true", help="the same as --precision fp16")
    options = parser.parse(argv)
    if options.pop("fp16") and options.setdefault("precision", "fp16") != "fp16":
        raise UsageError(f"--fp16 contradicts --precision {options['precision']}: leave one out")
    return options


def check_processes(config: TrainConfig) -> None:
    """Raise UsageError unless the batch can be shared out evenly."""
    n_processes = distributed.world_size()
    if config.multi_gpu and "WORLD_SIZE" not in os.environ:
        raise UsageError(
            "--multi_gpu needs one process per GPU: use the run scripts, or start this with "
            "torchrun --nproc_per_node=GPUS -m rmt.train"
        )
    if config.batch_size % n_processes:
        raise UsageError(
            f"batch_size {config.batch_size} does not divide among {n_processes} processes: "
            "choose a multiple"
        )
    share = config.batch_size // n_processes
    if share % config.batch_chunk:
        raise UsageError(
            f"the {share} streams of each process do not divide into {config.batch_chunk} chunks: "
            "choose another batch_chunk"
        )


def shared_corpus(config: TrainConfig) -> Corpus:
    """Load the corpus; with several processes the first one encodes it for all."""

    def load() -> Corpus:
        return load_corpus(
            config.dataset,
            config.data or None,
            keep_newlines=config.keep_newlines,
            tokenizer=config.tokenizer,
            encoded_dir=config.encoded_dir or None,
            progress=distributed.is_main(),
        )

    corpus, error = None, None
    if distributed.is_main():
        try:
            corpus = load()
        except UsageError as wrong:
            error = wrong
    # All of them must leave together; the first one says why.
    if distributed.any_rank(error is not None):
        raise error or UsageError("the first process could not read the text")
    return corpus or load()


def make_model_config(options: dict, config: TrainConfig, corpus: Corpus) -> ModelConfig:
    chosen = pick(ModelConfig, options)
    if config.adaptive:
        chosen.setdefault("cutoffs", corpus.cutoffs)
    return ModelConfig(n_token=len(corpus.vocabulary), **chosen)


def check_lengths(config: TrainConfig, corpus: Corpus, protocol: Protocol) -> None:
    """Raise UsageError if a split is too short for its batches."""
    SegmentBatches(corpus.splits["train"], config.batch_size, config.tgt_len)
    for split in ("valid", "test"):
        try:
            SegmentBatches(corpus.splits[split], protocol.batch_size, protocol.tgt_len)
        except UsageError as error:
            raise UsageError(f"in the {split} split, eval_{error}") from None


def train(
    trainer: Trainer,
    model_config: ModelConfig,
    config: TrainConfig,
    work_dir: Path | None,
    found: checkpoint.Checkpoint | None,
) -> None:
    """Run the trainer in its folder and, at the end, score the best checkpoint on the test set.

    found: the checkpoint that the trainer goes on from.
    """
    is_main = distributed.is_main()
    folder = RunFolder(work_dir if is_main else None, printing=is_main)
    settings = {"model": asdict(model_config), "train": config.recorded()}
    sizes = {
        "n_all_param": trainer.model.n_parameters(),
        "n_nonemb_param": trainer.model.n_layer_parameters(),
    }
    folder.write_json("config.json", settings | sizes | environment())
    folder.forget_after(trainer.step)
    folder.remove("result.json")  # of the run before it was continued
    if found and config.restart_dir:
        if folder.path:
            checkpoint.adopt(found, folder.path)
        distributed.barrier()  # others may test the best at once
    rule = "=" * 100
    folder.log(rule)
    for name, value in {**settings["model"], **settings["train"]}.items():
        folder.log(f"    - {name} : {value}")
    folder.log(f"#params = {sizes['n_all_param']}")
    folder.log(f"#non emb params = {sizes['n_nonemb_param']}")
    folder.log(rule)
    if trainer.step:
        folder.log(f"| continuing after step {trainer.step}")

    progress = Progress(
        config.max_step, "training", initial=trainer.step, shown=is_main, unit="step"
    )
    with Interruption() as interruption, progress:
        folder.progress = progress
        test_loss = None
        if trainer.run(folder, progress, interruption):
            with suppress(Interrupted):  # all is saved; a restart goes straight to the test
                test_step, test_loss, n_scored = test(trainer, work_dir, interruption)
        folder.progress = None
    if test_loss is None:
        folder.log(f"| interrupted after step {trainer.step}, saved: continue with --restart")
    else:
        folder.log(rule)
        folder.log(f"| End of training | test {readable(test_loss, trainer.corpus.word_level)}")
        folder.log(rule)
        folder.record("test", trainer.step, loss=test_loss, tokens_scored=n_scored)
        result = summary(trainer, model_config, config, test_step, test_loss)
        folder.write_json("result.json", result | sizes | environment())
    folder.close()


def test(
    trainer: Trainer, work_dir: Path | None, interruption: Interruption
) -> tuple[int, float, int]:
    """Score the best checkpoint on the test split.

    Returns its step, its loss in nats per token and the tokens scored.
    """
    step = trainer.step
    if work_dir:
        best = checkpoint.find_best(work_dir)
        best.load_model(trainer.model)
        step = best.step
    return step, *trainer.score("test", interruption)


def summary(
    trainer: Trainer,
    model: ModelConfig,
    config: TrainConfig,
    test_step: int,
    test_loss: float,
) -> dict:
    """What result.json says beside sizes and versions: settings, cost and scores."""
    if trainer.device.type == "cuda":
        device = torch.cuda.get_device_name(trainer.device)
        peak_memory = torch.cuda.max_memory_allocated(trainer.device)
    else:
        device = f"CPU, {torch.get_num_threads()} threads"
        peak_memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if trainer.corpus.word_level:
        test_score = {"test_ppl": perplexity(test_loss)}
    else:
        test_score = {"test_bpc": bits_per_character(test_loss)}
    return {
        "dataset": config.dataset,
        "data": config.recorded()["data"],
        "corpus": trainer.corpus.fingerprint,
        "n_token": model.n_token,
        **{name: getattr(model, name) for name in ("model", "mem_len", "cache_len")},
        **{name: getattr(model, name) for name in ("n_layer", "d_model", "n_head", "d_inner")},
        **{name: getattr(config, name) for name in ("tgt_len", "batch_size", "bptt_unrolls")},
        **{name: getattr(config, name) for name in ("bptt_mode", "seed", "precision")},
        "steps": trainer.step,
        "tokens": trainer.tokens,
        "seconds": round(trainer.seconds, 1),
        "tokens_per_s": round(trainer.tokens / trainer.seconds, 1),
        "peak_memory_bytes": peak_memory,
        "device": device,
        "processes": distributed.world_size(),
        "n_nonfinite": trainer.n_nonfinite,
        "eval_protocol": trainer.protocol.describe(),
        "best_step": trainer.best_step,
        "valid_loss": trainer.best_valid_loss,
        "test_step": test_step,
        "test_loss": test_loss,
        **test_score,
    }


if __name__ == "__main__":
    run_program(main)
