#!/usr/bin/env python3
"""A tiny random BERT exported to ONNX by PyTorch's own exporter, and the embeddings transformers computes for some texts.

usage: make_foreign_onnx.py UNIGRAM_DIR OUT_DIR    (needs torch, transformers, onnx, tokenizers)

Writes encoder.onnx (input_ids, attention_mask, token_type_ids -> last_hidden_state), encoder_external.onnx (the same with
its weights in encoder_external.bin), tokenizer.json (the one of UNIGRAM_DIR) and golden.json (texts; mean-pooled, L2-normalised
embeddings).
"""

import json, shutil, sys
from pathlib import Path

import onnx, torch, transformers
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

unigram, out = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(5)
config = BertConfig(
    vocab_size=260,
    hidden_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=40,
    attn_implementation="eager",
)
model = BertModel(config, add_pooling_layer=False).eval()


class States(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        # Tracing a mask of ones would leave the mask out of the graph: the additive mask is given whole.
        bias = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        return self.bert(
            input_ids=input_ids, attention_mask=bias, token_type_ids=token_type_ids
        ).last_hidden_state


tokenizer = Tokenizer.from_file(str(unigram / "tokenizer.json"))
texts = ["The battery died after two days.", "Tolles Telefon, gerne wieder!", "", "ok"]
encoded = [tokenizer.encode(text).ids[:40] for text in texts]
example = torch.tensor([encoded[0], encoded[0]])
axes = {
    name: {0: "batch", 1: "sequence"}
    for name in ("input_ids", "attention_mask", "token_type_ids", "last_hidden_state")
}
torch.onnx.export(
    States().eval(),
    (example, torch.ones_like(example), torch.zeros_like(example)),
    str(out / "encoder.onnx"),
    opset_version=17,
    dynamo=False,
    input_names=["input_ids", "attention_mask", "token_type_ids"],
    output_names=["last_hidden_state"],
    dynamic_axes=axes,
)
onnx.save_model(
    onnx.load(out / "encoder.onnx"),
    str(out / "encoder_external.onnx"),
    save_as_external_data=True,
    all_tensors_to_one_file=True,
    location="encoder_external.bin",
    size_threshold=0,
    convert_attribute=False,
)
embeddings = []
for ids in encoded:
    with torch.no_grad():
        states = model(torch.tensor([ids])).last_hidden_state[0].mean(0)
    embeddings.append(torch.nn.functional.normalize(states, dim=0).tolist())
shutil.copy(unigram / "tokenizer.json", out / "tokenizer.json")
json.dump(
    {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "texts": texts,
        "embeddings": embeddings,
    },
    (out / "golden.json").open("w"),
)
