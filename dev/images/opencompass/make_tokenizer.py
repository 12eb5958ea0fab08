"""Write a small byte-level tokenizer to the directory given as argument.

OpenCompass counts a prompt's tokens before it calls an API model and would otherwise fetch a tokenizer from a
hub. The counts are only compared with the model's maximum length, so any tokenizer serves.
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_END = "<|endoftext|>"
_TEXT = ["The quick brown fox jumps over the lazy dog. 0123456789 question answer"] * 4


def main(target: Path) -> None:
    """Train and save."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    target.mkdir(parents=True)
    tokenizer.save(str(target / "tokenizer.json"))
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": _END,
        "pad_token": _END,
        "model_max_length": 131072,
    }
    (target / "tokenizer_config.json").write_text(json.dumps(configuration))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
