#!/usr/bin/env python3
"""Writes the tiny graphs that the tests of `runtime` run: python3 scripts/golden/make_matmul.py (needs onnx, numpy).

runtime_matmul.onnx   c [m, n] = a [m, k] x b [k, n], f32, every dimension free
runtime_gather.onnx   rows [batch, sequence, 3] = table[ids] * scale[batch, 1, 1], and next [batch, sequence] = ids + 1 (i64);
                      table is external data in runtime_gather.weights: row i is [i, i + 0.25, i + 0.5], 5 rows
"""

from pathlib import Path

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"


def model(name, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(initializers))
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="make_matmul.py"
    )
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made


def value(name, element, shape):
    return helper.make_tensor_value_info(name, element, shape)


def main():
    product = model(
        "matmul",
        [helper.make_node("MatMul", ["a", "b"], ["c"], "product")],
        [value("a", TensorProto.FLOAT, ["m", "k"]), value("b", TensorProto.FLOAT, ["k", "n"])],
        [value("c", TensorProto.FLOAT, ["m", "n"])],
    )
    (DATA / "runtime_matmul.onnx").write_bytes(product.SerializeToString(deterministic=True))

    table = (numpy.arange(5)[:, None] + numpy.array([0.0, 0.25, 0.5])).astype(numpy.float32)
    gather = model(
        "gather",
        [
            helper.make_node("Gather", ["table", "ids"], ["looked_up"], "look_up"),
            helper.make_node("Mul", ["looked_up", "scale"], ["rows"], "scale_rows"),
            helper.make_node("Add", ["ids", "one"], ["next"], "add_one"),
        ],
        [
            value("ids", TensorProto.INT64, ["batch", "sequence"]),
            value("scale", TensorProto.FLOAT, ["batch", 1, 1]),
        ],
        [
            value("rows", TensorProto.FLOAT, ["batch", "sequence", 3]),
            value("next", TensorProto.INT64, ["batch", "sequence"]),
        ],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(numpy.array([1], dtype=numpy.int64), "one"),
        ],
    )
    weights = DATA / "runtime_gather.weights"
    weights.write_bytes(table.tobytes())
    stored = gather.graph.initializer[0]
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    for key, text in (("location", weights.name), ("offset", "0"), ("length", str(table.nbytes))):
        stored.external_data.add(key=key, value=text)
    (DATA / "runtime_gather.onnx").write_bytes(gather.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
