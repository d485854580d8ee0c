#!/usr/bin/env bash
# Pins what each peer of the benchmark is installed from, by version and hash, for any platform and Python from 3.11 on.
# usage: lock.sh UV [NAME…]     UV: the program uv (pip install uv); without names all files are written anew

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
uv=${1:?usage: lock.sh UV [NAME…]}
shift

# A peer and what it is; its dependencies follow. The runtime is the one that frosthead is measured with.
declare -A wanted=(
  [driver]='numpy onnx pyarrow safetensors tokenizers'
  [plain-loop]='onnxruntime==1.32.0 tokenizers'
  [fastembed]='fastembed onnxruntime==1.32.0'
  [scikit-learn]='pyarrow safetensors scikit-learn'
  [sentence-transformers]='pyarrow sentence-transformers'
  [sentence-transformers-onnx]='onnxruntime==1.32.0 sentence-transformers[onnx]'
  [sentence-transformers-openvino]='datasets optimum-intel>=2.2 sentence-transformers[openvino]'
  [fasttext]='fasttext-numpy2-wheel'
  [model2vec]='model2vec[distill] scikit-learn'
  [setfit]='setfit'
)

for name in "${@:-${!wanted[@]}}"; do
  tr ' ' '\n' <<<"${wanted[$name]}" |
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header - --output-file "$name.txt"
done
