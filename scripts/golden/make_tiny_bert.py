#!/usr/bin/env python3
"""Writes a tiny random BERT as the kinds of checkpoint that are published, and what `transformers` computes from each.

usage: make_tiny_bert.py OUT_DIR        (needs torch, transformers, safetensors; versions go into bert_tiny.json)

bert_tiny_pretraining.safetensors  names of bert-base-uncased: `bert.` prefix, LayerNorm.gamma/beta, pooler, cls.*; f32
bert_tiny_f16.safetensors          names of a sentence-transformers model: no prefix, LayerNorm.weight/bias, pooler, position_ids; f16
bert_tiny_bf16.safetensors         `bert.` prefix, LayerNorm.weight/bias, a `classifier`; bf16
bert_tiny.json                     config.json's content, the token ids of the texts, versions
bert_tiny_golden.safetensors       f32, eager attention, one text at a time:
  VARIANT.mean / .cls   [texts, 32]   pooled last hidden states, VARIANT = pretraining, f16, bf16 (gelu), gelu_new, relu
                                      (gelu_new and relu: the weights of pretraining under another hidden_act)
  pretraining.hidden.L  [all tokens of all texts, 32]   L = 0 (embeddings), 1, 2
"""

import json
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import BertConfig, BertForPreTraining, BertModel

out = sys.argv[1]
torch.manual_seed(20)
torch.set_num_threads(1)
sizes = dict(
    vocab_size=100,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=48,
    type_vocab_size=2,
    layer_norm_eps=1e-12,
    pad_token_id=0,
)
model = BertForPreTraining(BertConfig(**sizes)).eval()
with (
    torch.no_grad()
):  # larger than BERT's own start, so that activation functions and padding make a visible difference
    for name, parameter in model.named_parameters():
        parameter.copy_(
            torch.randn_like(parameter) * 0.25 + (1.0 if name.endswith("LayerNorm.weight") else 0.0)
        )
state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
encoder = {
    name[5:]: t for name, t in state.items() if name.startswith("bert.") and "position_ids" not in name
}
texts = [[2, *torch.randint(4, 100, (n - 2,)).tolist(), 3] for n in (2, 5, 9, 16, 40)]


def old_names(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


tied = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
pretraining = {old_names(n): t for n, t in state.items() if n not in tied and "position_ids" not in n}
position_ids = torch.arange(sizes["max_position_embeddings"]).unsqueeze(0)
half = {name: t.half() for name, t in encoder.items()}
brain = {f"bert.{name}": t.bfloat16() for name, t in encoder.items() if not name.startswith("pooler.")}
save_file(pretraining, f"{out}/bert_tiny_pretraining.safetensors")
save_file({**half, "embeddings.position_ids": position_ids}, f"{out}/bert_tiny_f16.safetensors")
classifier = {"classifier.weight": torch.ones(3, 32), "classifier.bias": torch.zeros(3)}
save_file({**brain, **classifier}, f"{out}/bert_tiny_bf16.safetensors")

variants = {
    "pretraining": ("gelu", encoder),
    "f16": ("gelu", {n: t.half().float() for n, t in encoder.items()}),
    "bf16": ("gelu", {n: t.bfloat16().float() for n, t in encoder.items()}),
    "gelu_new": ("gelu_new", encoder),
    "relu": ("relu", encoder),
}
golden = {}
for variant, (activation, weights) in variants.items():
    config = BertConfig(**sizes, hidden_act=activation, attn_implementation="eager")
    bert = BertModel(config).eval()
    missing, unexpected = bert.load_state_dict(weights, strict=False)
    assert not unexpected and all("position_ids" in n or "token_type_ids" in n for n in missing), (
        missing,
        unexpected,
    )
    with torch.no_grad():
        states = [bert(torch.tensor([ids]), output_hidden_states=True).hidden_states for ids in texts]
    golden[f"{variant}.mean"] = torch.stack([s[-1][0].mean(0) for s in states])
    golden[f"{variant}.cls"] = torch.stack([s[-1][0, 0] for s in states])
    if variant == "pretraining":
        for level in range(sizes["num_hidden_layers"] + 1):
            golden[f"{variant}.hidden.{level}"] = torch.cat([s[level][0] for s in states])
save_file({name: t.contiguous() for name, t in golden.items()}, f"{out}/bert_tiny_golden.safetensors")
versions = {"torch": torch.__version__, "transformers": transformers.__version__}
config = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute", **sizes}
with open(f"{out}/bert_tiny.json", "w") as file:
    json.dump({"versions": versions, "config": config, "texts": texts}, file)
    file.write("\n")
difference = (golden["pretraining.mean"] - golden["gelu_new.mean"]).abs().max().item()
print(f"gelu and gelu_new differ by {difference:.1e} in the mean")
