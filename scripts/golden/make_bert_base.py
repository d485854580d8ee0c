#!/usr/bin/env python3
"""A checkpoint of bert-base-uncased's exact layout and size with random weights, for measuring memory and time.

usage: make_bert_base.py TOKENIZER_DIR OUT_DIR     (needs numpy and safetensors; TOKENIZER_DIR: any 30,522-word tokenizer.json)
"""

import json, shutil, sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

source, out = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
hidden, inner, layers = 768, 3072, 12
draw = np.random.default_rng(1)
shapes = {
    "bert.embeddings.word_embeddings.weight": (30522, hidden),
    "bert.embeddings.position_embeddings.weight": (512, hidden),
    "bert.embeddings.token_type_embeddings.weight": (2, hidden),
    "cls.predictions.bias": (30522,),
    "bert.pooler.dense.weight": (hidden, hidden),
    "bert.pooler.dense.bias": (hidden,),
}
norms = ["bert.embeddings.LayerNorm"]
for layer in range(layers):
    name = f"bert.encoder.layer.{layer}."
    for part, shape in (
        ("attention.self.query", (hidden, hidden)),
        ("attention.self.key", (hidden, hidden)),
        ("attention.self.value", (hidden, hidden)),
        ("attention.output.dense", (hidden, hidden)),
        ("intermediate.dense", (inner, hidden)),
        ("output.dense", (hidden, inner)),
    ):
        shapes[f"{name}{part}.weight"], shapes[f"{name}{part}.bias"] = shape, shape[:1]
    norms += [f"{name}attention.output.LayerNorm", f"{name}output.LayerNorm"]
tensors = {name: draw.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}
for norm in norms:
    tensors[f"{norm}.gamma"], tensors[f"{norm}.beta"] = (
        np.ones(hidden, np.float32),
        np.zeros(hidden, np.float32),
    )
save_file(tensors, str(out / "model.safetensors"))
config = {
    "architectures": ["BertForMaskedLM"],
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": hidden,
    "intermediate_size": inner,
    "num_hidden_layers": layers,
    "num_attention_heads": 12,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
(out / "config.json").write_text(json.dumps(config))
shutil.copy(source / "tokenizer.json", out / "tokenizer.json")
