"""An ONNX file that snnconv did not write: its graph alone, to be run as a source's contract says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto

from snnconv.artifact.artifact import Foreign
from snnconv.artifact.metadata import Metadata, foreign
from snnconv.artifact.onnx_file import OnnxFile, names_of_outputs, ours, read_model
from snnconv.files import Content
from snnconv.ir.program import TimeContract


def read_onnx(content: Content) -> OnnxFile | ForeignOnnx:
    """Read an ONNX file, whoever wrote it. Raises `InputError` if it, or what snnconv wrote into it, is damaged."""
    model = read_model(content)
    return ours(content, model) or ForeignOnnx(model, content.path, content.sha256)


@dataclass(frozen=True)
class ForeignOnnx(Foreign):
    """An ONNX file without metadata of snnconv.

    Its input is its only one, its output the first. Several are found by the names that snnconv would give them, or by their
    order if there are as many.
    """

    model: onnx.ModelProto
    path: Path
    sha256: str
    format: str = "onnx"

    @property
    def metadata(self) -> Metadata:
        """Raises `InputError`: it has none."""
        raise foreign(self.path)

    def structure(self) -> list[str]:
        """Raises `InputError`: nothing says what its values are."""
        raise foreign(self.path)

    def misfit(self, contract: TimeContract) -> str:
        """Why it cannot be run with inputs of `contract`, in words; empty if it can."""
        inputs = self._inputs
        if len(inputs) != 1 or not self.model.graph.output:
            names = ", ".join(value.name for value in inputs) or "none"
            return (
                f"its graph takes {len(inputs)} inputs ({names}) and gives {len(self.model.graph.output)} outputs, not 1 of each"
            )
        wanted = names_of_outputs(contract)
        if len(self._outputs(contract)) < len(wanted):
            given = ", ".join(value.name for value in self.model.graph.output)
            return f"its graph gives {len(self.model.graph.output)} outputs ({given}), not {len(wanted)} ({', '.join(wanted)})"
        kind = inputs[0].type.tensor_type
        declared = [dim.dim_value or dim.dim_param or "?" for dim in kind.shape.dim] if kind.HasField("shape") else None
        sample = contract.batch_shape(1)[1:]
        said = f"its input {inputs[0].name} is"
        if kind.elem_type != TensorProto.FLOAT:
            kinds = TensorProto.DataType
            return f"{said} {kinds.Name(kind.elem_type) if kind.elem_type in kinds.values() else 'of no type'}, not FLOAT"
        if declared is None:
            return ""
        sizes = zip(declared[1:], sample, strict=False)
        if len(declared) != len(sample) + 1 or any(isinstance(size, int) and size != other for size, other in sizes):
            return f"{said} {declared}, but the source takes {['batch', *sample]}"
        return ""

    def under(self, contract: TimeContract) -> OnnxFile:
        """It as an artifact that keeps `contract`; it must not be a `misfit`."""
        dims = [value.type.tensor_type.shape.dim for value in self._inputs[:1]]
        batch = dims[0][0].dim_value or None if dims and dims[0] else None
        metadata = Metadata("sequence", batch, contract, {}, False, sha256_of_source="")
        x = next((value.name for value in self._inputs), "")
        return OnnxFile(self.model, self.sha256, metadata, {}, self.format, x, self._outputs(contract))

    def _outputs(self, contract: TimeContract) -> tuple[str, ...]:
        """The names of the outputs of `contract` in the graph; none if they are not to be found."""
        given, wanted = [value.name for value in self.model.graph.output], names_of_outputs(contract)
        if len(wanted) == 1:
            return tuple(given[:1])
        if set(wanted) <= set(given):
            return tuple(wanted)
        return tuple(given) if len(given) == len(wanted) else ()

    @property
    def _inputs(self) -> list[onnx.ValueInfoProto]:
        """Those inputs of the graph that are no constants."""
        held = {tensor.name for tensor in self.model.graph.initializer}
        return [value for value in self.model.graph.input if value.name not in held]
