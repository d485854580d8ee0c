#!/usr/bin/env python3
"""What sentence-transformers computes of the 31 texts of tests/data/golden/golden.json with another model (fp32, CPU, eval mode).

usage: make_sentence_golden.py MODEL_DIR OUT.safetensors      (needs sentence-transformers; versions go into the file's metadata)
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import sentence_transformers
import torch
import transformers
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

torch.set_num_threads(1)
folder = Path(__file__).resolve().parents[2] / "tests/data/golden"
texts = json.loads((folder / "golden.json").read_text(encoding="utf-8"))["texts"]
model = SentenceTransformer(sys.argv[1], device="cpu", model_kwargs={"dtype": torch.float32})
embedding = torch.stack([model.encode(text, convert_to_tensor=True) for text in texts]).float().contiguous()
versions = {
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "sentence-transformers": sentence_transformers.__version__,
}
save_file(
    {"embedding": embedding}, sys.argv[2], metadata={name: str(version) for name, version in versions.items()}
)
print(tuple(embedding.shape), model.max_seq_length)
