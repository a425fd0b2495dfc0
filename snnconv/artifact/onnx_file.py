"""Reading an ONNX file: the bytes of one file, every tensor of which is what its type and dimensions say."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import torch
from google.protobuf.message import Message
from onnx import TensorProto, numpy_helper

from snnconv.errors import InputError, first_line
from snnconv.files import Content, undamaged

_VALUES = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def read_model(content: Content) -> onnx.ModelProto:
    """The model of a file. Raises `InputError` for damage, and for weights that are kept in other files."""
    path = content.path
    with undamaged(path, "not an ONNX file, or truncated", "export it again"):
        model = onnx.load_model_from_string(content.data)
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise InputError(
                f"{path}: keeps '{tensor.name}' in another file, which is not the one that is named and hashed",
                "save it as one file: onnx.save_model(onnx.load(FILE), FILE, save_as_external_data=False)",
            )
        with undamaged(path, f"its tensor '{tensor.name}' is damaged", "export it again"):
            _check(tensor)
    return model


def _check(tensor: TensorProto) -> None:
    """Raise `ValueError` unless the values of a tensor are as many, and of such a kind, as it says."""
    if sum(bool(getattr(tensor, name)) for name in _VALUES) > 1:
        raise ValueError("it holds its values twice")
    try:
        array = numpy_helper.to_array(tensor)
        torch.from_numpy(array.copy())
    except Exception as error:
        kind = TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in TensorProto.DataType.values() else "unknown"
        raise ValueError(f"of type {kind} and dimensions {list(tensor.dims)}: {first_line(error)}") from error
    if array.shape != tuple(tensor.dims):
        raise ValueError(f"its dimensions are {list(tensor.dims)}")


def _tensors(message: Message) -> Iterator[TensorProto]:
    """Every tensor in a model, wherever it stands; protobuf has seen to it that nothing lies too deep."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _tensors(part)
