#!/usr/bin/env python3
"""Writes what transformers and PyTorch compute of pairs of texts from the tiny encoders of three families.

usage: make_pairs_golden.py TESTS_DATA      (needs torch, transformers, tokenizers; reads TESTS_DATA/families)

TESTS_DATA/pairs_golden.json
  versions; `pairs`: 50 pairs of texts, among them empty halves and some longer than any limit here
  `families`: per family
    max_length, ids, types   of a pair, cut by longest_first, as its fast tokenizer gives them
    embedding                [50, 32], f32, eager attention, one pair at a time, pooled as its directory says; types are fed where the network has several
  `train` (BERT): pairs, labels, loss; of the mean cross entropy of the head of families/bert on the mean over real tokens, a batch padded to the
    longest, the gradients of the token types' table and of the normalisation behind it
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import tokenizers
import torch
import transformers as tf
from safetensors.torch import load_file

data = Path(sys.argv[1])
torch.set_num_threads(1)
TEXTS = [
    "The battery died after two days.",
    "Great phone, would buy again!",
    "Is the museum open on Mondays?",
    "ok",
    "   ",
    "!!!",
    "A dull, lifeless film that wastes a wonderful cast.",
    "I can't believe it's not butter…",
    "Café déjà vu – naïve façade",
    "今天天气很好",
    "Привет, как дела?",
    "🙂🔥 emoji",
    "UPPER lower MiXeD 123 4,567.89",
    "line one\nline two\ttabbed",
    "Der Akku war nach zwei Tagen leer.",
    "What is the capital of Australia, and how many people live there?",
    "[SEP] </s> in a text",
    "한국어 문장입니다",
    "It was not good, it was not bad.",
]
LONG, LONGER = " ".join(TEXTS * 8), " ".join(TEXTS[::-1] * 12)
PAIRS = [(TEXTS[k % 19], TEXTS[(k * 7 + k // 19 + 5) % 19]) for k in range(40)]
PAIRS += [
    ("", ""),
    ("", TEXTS[0]),
    (TEXTS[0], ""),
    (LONG, TEXTS[1]),
    (TEXTS[1], LONG),
    (LONG, LONGER),
    (LONGER, LONG),
    (LONG, LONG),
    (LONG, ""),
    (" ".join(TEXTS[:3]), LONG),
]
BATCH, LABELS = [PAIRS[0], PAIRS[7], PAIRS[42], PAIRS[15]], [0, 1, 2, 1]
# family: longest text, pooling, scaled to length 1, token types are fed
FAMILIES = {
    "bert": (90, "mean", False, True),
    "roberta": (90, "max", False, False),
    "mpnet": (91, "mean", True, False),
}


def pooled(states, mask, pooling, normalize):
    share = mask.unsqueeze(-1).float()
    found = (
        (states * share).sum(1) / share.sum(1)
        if pooling == "mean"
        else states.masked_fill(share == 0, -1e9).max(1).values
    )
    return torch.nn.functional.normalize(found, dim=-1) if normalize else found


def opened(family):
    place = data / "families" / family
    encoder = tf.AutoModel.from_pretrained(place, dtype=torch.float32, attn_implementation="eager").eval()
    return tf.PreTrainedTokenizerFast(tokenizer_file=str(place / "tokenizer.json")), encoder


def encoded(tokenizer, first, second, **more):
    # As a batch of one: an empty second text alone would be taken for none.
    found = tokenizer([first], [second], return_token_type_ids=True, **more)
    return {name: found[name][0] for name in ("input_ids", "token_type_ids", "attention_mask")}


def of_family(family):
    longest, pooling, normalize, typed = FAMILIES[family]
    tokenizer, encoder = opened(family)
    ids, types, embeddings = [], [], []
    for first, second in PAIRS:
        found = encoded(tokenizer, first, second, truncation="longest_first", max_length=longest)
        ids.append(found["input_ids"])
        types.append(found["token_type_ids"])
        fed = {
            "input_ids": torch.tensor([ids[-1]]),
            "attention_mask": torch.ones(1, len(ids[-1]), dtype=torch.long),
        }
        if typed:
            fed["token_type_ids"] = torch.tensor([types[-1]])
        with torch.no_grad():
            states = encoder(**fed).last_hidden_state
        embeddings.append(pooled(states, fed["attention_mask"], pooling, normalize)[0].tolist())
    return {"max_length": longest, "ids": ids, "types": types, "embedding": embeddings}


def train():
    tokenizer, encoder = opened("bert")
    kept = load_file(data / "families/bert/golden.safetensors")
    found = [encoded(tokenizer, *pair) for pair in BATCH]
    longest = max(len(pair["input_ids"]) for pair in found)
    padded = {
        name: torch.tensor([pair[name] + [0] * (longest - len(pair[name])) for pair in found])
        for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    states = encoder(**padded).last_hidden_state
    logits = (
        pooled(states, padded["attention_mask"], "mean", False) @ kept["head.weight"].T + kept["head.bias"]
    )
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS))
    loss.backward()
    parameters = dict(encoder.named_parameters())
    names = (
        "embeddings.token_type_embeddings.weight",
        "embeddings.LayerNorm.weight",
        "embeddings.LayerNorm.bias",
    )
    return {
        "pairs": BATCH,
        "labels": LABELS,
        "loss": loss.item(),
        "gradients": {name: parameters[name].grad.flatten().tolist() for name in names},
    }


assert len(set(PAIRS)) == 50
facts = {
    "versions": {
        "torch": torch.__version__,
        "transformers": tf.__version__,
        "tokenizers": tokenizers.__version__,
    },
    "pairs": PAIRS,
    "families": {family: of_family(family) for family in FAMILIES},
    "train": train(),
}
(data / "pairs_golden.json").write_text(json.dumps(facts, ensure_ascii=False) + "\n")
print(
    len(PAIRS),
    "pairs;",
    {family: sum(map(len, of["ids"])) for family, of in facts["families"].items()},
    "tokens",
)
