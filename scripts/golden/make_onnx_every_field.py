#!/usr/bin/env python3
"""Writes a (meaningless) ONNX model in which every field of every message of onnx-ml.proto is set.

usage: make_onnx_every_field.py OUT.onnx        (needs `onnx`; the version used is printed)
The fields come from the schema's own descriptors, so a field that a newer ONNX adds appears here without a change. A list
of messages gets one element per alternative of a `oneof`. `TypeProto.denotation` is left out where the alternative's tag
is above its own, so that "fields in the order of their numbers" is one well-defined sequence of bytes.
"""

import sys

import onnx

SCALARS = {"string": "text", "bytes": b"\x00\xff", "float": 1.5, "double": -2.5, "enum": 1}


def scalar(field, seed):
    kinds = {9: "string", 12: "bytes", 2: "float", 1: "double", 14: "enum"}
    kind = kinds.get(field.type)
    if kind == "string":
        return f"{field.name}.{seed}"
    return SCALARS[kind] if kind else 100 + seed  # the rest are integers


def variants(make, above):
    """One message per alternative of each oneof (one message when there is none)."""
    descriptor = make.DESCRIPTOR
    alternatives = [f for oneof in descriptor.oneofs if not oneof.name.startswith("_") for f in oneof.fields]
    return [fill(make(), descriptor, f, above) for f in alternatives] or [
        fill(make(), descriptor, None, above)
    ]


def fill(message, descriptor, chosen, above):
    in_oneof = {f.name for oneof in descriptor.oneofs if not oneof.name.startswith("_") for f in oneof.fields}
    for field in descriptor.fields:
        if field.name in in_oneof and (chosen is None or field.name != chosen.name):
            continue
        if descriptor.name == "TypeProto" and field.name == "denotation" and chosen.number > field.number:
            continue
        repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == 3
        if field.message_type is None:
            if repeated:
                getattr(message, field.name).extend([scalar(field, 1), scalar(field, 300)])
            else:
                setattr(message, field.name, scalar(field, 1))
            continue
        if above.count(field.message_type.full_name) > 0:
            if not repeated:
                getattr(message, field.name).SetInParent()
            continue
        make = type(getattr(message, field.name).add()) if repeated else type(getattr(message, field.name))
        if repeated:
            message.ClearField(field.name)
        values = variants(make, above + [field.message_type.full_name])
        if repeated:
            getattr(message, field.name).extend(values)
        else:
            getattr(message, field.name).CopyFrom(values[0])
    return message


model = variants(onnx.ModelProto, ["onnx.ModelProto"])[0]
bytes_ = model.SerializeToString(deterministic=True)
open(sys.argv[1], "wb").write(bytes_)
print(f"onnx {onnx.__version__}: {len(bytes_)} bytes")
