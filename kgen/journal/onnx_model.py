"""Converts a network to an ONNX file, and compares its outputs with torch's.

Independent of runs and students. Needs the optional onnx, onnxruntime and onnxscript.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kgen.errors import ExportError

BATCH_SIZES = (1, 7)
TOLERANCE = 1e-3
"""As a share of the largest logit. Typical: 1e-6."""
REMEDY = "it was discarded; export without --onnx, or try other versions of torch and onnxruntime."


def convert(network: nn.Module, sample: tuple[int, ...], facts: dict[str, str]) -> bytes:
    """A network in eval mode as ONNX: "images" [batch,*sample] → "logits", any batch size.

    `facts` become the file's metadata. Raises ExportError for a network that torch cannot convert.
    """
    import onnx

    try:
        program = torch.onnx.export(
            network,
            (torch.zeros(2, *sample),),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(
            f"torch cannot convert this network to ONNX ({str(error).strip().splitlines()[0]});"
            " export it without --onnx.",
            code="unsupported-network",
        ) from None
    assert program is not None  # with dynamo=True
    model = program.model_proto
    # drop the origin of each node: it has paths on this machine and takes a third of a small file
    for proto in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        proto.ClearField("metadata_props")
    onnx.helper.set_model_props(model, facts)
    return model.SerializeToString()


@torch.no_grad()
def compare(data: bytes, network: nn.Module, sample: tuple[int, ...]) -> float:
    """The largest difference between onnxruntime's and torch's logits, over random images.

    As a share of the largest logit, over batches of BATCHES. Raises ExportError if it is above
    TOLERANCE, or if onnxruntime cannot run the file.
    """
    rng, largest = torch.Generator().manual_seed(0), 0.0
    batches = [torch.rand(n, *sample, generator=rng) for n in BATCH_SIZES]
    for images, logits in zip(batches, onnx_logits(data, batches)):
        expected = network(images)
        if logits.shape != expected.shape:
            raise ExportError(
                f"student.onnx produces logits of shape {tuple(logits.shape)}; torch produces"
                f" {tuple(expected.shape)}; {REMEDY}",
                code="other-logits",
            )
        difference = float((logits - expected).abs().max() / expected.abs().max())
        if not difference <= TOLERANCE:  # catches NaN too
            raise ExportError(
                f"student.onnx differs from torch by {difference:.1e} of the largest logit; the"
                f" limit is {TOLERANCE:.0e}; {REMEDY}",
                code="other-logits",
            )
        largest = max(largest, difference)
    return largest


def onnx_logits(data: bytes, batches: list[Tensor]) -> list[Tensor]:
    """onnxruntime's logits for each batch of images. Raises ExportError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return [
            torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
            for images in batches
        ]
    except Exception as error:  # its exceptions have no common base class
        raise ExportError(
            f"onnxruntime cannot run student.onnx ({str(error).splitlines()[0]}); {REMEDY}",
            code="onnx-failed",
        ) from None
