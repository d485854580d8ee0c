#!/usr/bin/env python3
"""sentence-transformers as a peer: PyTorch, or its ONNX backend, fp32 and 8-bit, as its page "Speeding up Inference" advises.

options: {"model": DIR, "threads": N, "backend": "torch" or "onnx", "file": NAME of the graph in DIR/onnx}
settings of a pass: {"batch_size": N} (its default is 32; it sorts by length itself)
usage: embed_sentence_transformers.py --export DIR CONFIGURATION     writes DIR/onnx/model.onnx and its 8-bit variant
needs: sentence-transformers, for ONNX with its extra `onnx`.
"""
import sys
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from worker import serve_embedding


def load(options):
    torch.set_num_threads(options["threads"])
    if options["backend"] == "torch":
        model = SentenceTransformer(options["model"], device="cpu")
    else:
        import onnxruntime

        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = options["threads"]
        model = SentenceTransformer(options["model"], device="cpu", backend="onnx",
                                    model_kwargs={"file_name": f"onnx/{options['file']}", "provider": "CPUExecutionProvider", "session_options": session})
    return lambda texts, settings: model.encode(texts, show_progress_bar=False, **settings)


def export(folder, configuration):
    """As its documentation does: exported by optimum, quantised dynamically for the processor's instructions."""
    from sentence_transformers import export_dynamic_quantized_onnx_model

    model = SentenceTransformer(folder, device="cpu", backend="onnx", model_kwargs={"export": True, "provider": "CPUExecutionProvider"})
    model.save_pretrained(folder)
    export_dynamic_quantized_onnx_model(model, configuration, folder)
    print(*sorted(path.name for path in Path(folder, "onnx").iterdir()))


if __name__ == "__main__":
    if sys.argv[1] == "--export":
        export(*sys.argv[2:])
    else:
        serve_embedding(load)
