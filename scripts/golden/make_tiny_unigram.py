#!/usr/bin/env python3
"""A tiny Unigram tokenizer in the form multilingual models have, and the ids Python's tokenizers gives for some texts.

usage: make_tiny_unigram.py OUT_DIR     (needs tokenizers; writes tokenizer.json and ids.json)
"""

import json, sys
from pathlib import Path

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors, trainers, models, __version__

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
sentences = [
    "The battery died after two days.",
    "Der Akku war nach zwei Tagen leer.",
    "La batería murió en dos días.",
    "Great phone, would buy again!",
    "Tolles Telefon, gerne wieder!",
    "今天天气很好。",
    "Привет, как дела?",
    "It was not good, it was not bad, it just was.",
    "unbelievable x9 don't the a",
] * 20
tokenizer = Tokenizer(models.Unigram())
tokenizer.normalizer = normalizers.Sequence(
    [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(__import__("tokenizers").Regex(" {2,}"), " ")]
)
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
trainer = trainers.UnigramTrainer(
    vocab_size=220, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>"
)
tokenizer.train_from_iterator(sentences, trainer)
tokenizer.post_processor = processors.TemplateProcessing(
    single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
)
tokenizer.save(str(out / "tokenizer.json"), pretty=False)
texts = sentences[:9] + ["", "   ", "🙂 unknown 🙂", "two  spaces", "ﬁ ½"]
json.dump(
    {"tokenizers": __version__, "texts": texts, "ids": [tokenizer.encode(text).ids for text in texts]},
    (out / "ids.json").open("w"),
    ensure_ascii=False,
)
