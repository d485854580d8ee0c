#!/usr/bin/env python3
"""sentence-transformers as a peer: PyTorch, in fp32 and bf16, its ONNX and its OpenVINO backend, as its page "Speeding up Inference" advises.

options: {"model": DIR, "threads": N, "backend": "torch", "onnx" or "openvino", "file": NAME of the graph in DIR/onnx or DIR/openvino,
          "dtype": of PyTorch's weights, "ov_config": OpenVINO's own settings}
settings of a pass: {"batch_size": N} (its default is 32; it sorts by length itself)
usage: embed_sentence_transformers.py --export onnx DIR CONFIGURATION     writes DIR/onnx/model.onnx and its 8-bit variant
       embed_sentence_transformers.py --export openvino DIR TEXTS         the same in DIR/openvino; TEXTS: a folder with train.csv, calibrated on
needs: sentence-transformers, with its extra `onnx` or `openvino` for these backends; `datasets` for OpenVINO's 8-bit variant.
"""

import sys
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from worker import serve_embedding


def load(options):
    torch.set_num_threads(options["threads"])
    model = SentenceTransformer(
        options["model"],
        device="cpu",
        backend=options["backend"],
        model_kwargs=BACKENDS[options["backend"]](options),
    )
    return lambda texts, settings: model.encode(texts, show_progress_bar=False, **settings)


def torch_arguments(options):
    return {"torch_dtype": options["dtype"]} if "dtype" in options else {}


def onnx_arguments(options):
    import onnxruntime

    session = onnxruntime.SessionOptions()
    session.intra_op_num_threads = options["threads"]
    return {
        "file_name": f"onnx/{options['file']}",
        "provider": "CPUExecutionProvider",
        "session_options": session,
    }


def openvino_arguments(options):
    return {
        "file_name": f"openvino/{options['file']}",
        "ov_config": {"INFERENCE_NUM_THREADS": options["threads"]} | options.get("ov_config", {}),
    }


BACKENDS = {"torch": torch_arguments, "onnx": onnx_arguments, "openvino": openvino_arguments}


def export(backend, folder, words):
    """As its documentation does: exported by optimum; for ONNX quantised dynamically for the processor's instructions, for OpenVINO statically."""
    from sentence_transformers import (
        export_dynamic_quantized_onnx_model,
        export_static_quantized_openvino_model,
    )

    provider = {"provider": "CPUExecutionProvider"} if backend == "onnx" else {}
    model = SentenceTransformer(
        folder, device="cpu", backend=backend, model_kwargs={"export": True} | provider
    )
    model.save_pretrained(folder)
    if backend == "onnx":
        export_dynamic_quantized_onnx_model(model, words, folder)
    else:
        export_static_quantized_openvino_model(
            model,
            None,
            folder,
            dataset_name=words,
            dataset_config_name="default",
            dataset_split="train",
            column_name="text",
        )
    print(*sorted(path.name for path in Path(folder, backend).iterdir()))


if __name__ == "__main__":
    if sys.argv[1] == "--export":
        export(*sys.argv[2:])
    else:
        serve_embedding(load)
