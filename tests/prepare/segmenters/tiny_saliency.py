"""Networks of the layout of rembg's, whose answer is known: the redder, the more salient."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save_network(
    path: Path, side: int = 32, logits: bool = False, offset: float = 0.0, maps: int = 2
) -> Path:
    """Saves a network: 8 (red - (green + blue) / 2) + offset, as logits or between 0 and 1.

    Args:
        path: Where.
        side: Of the square that it takes.
        logits: Whether it gives logits, as BiRefNet does.
        offset: Added to the logits.
        maps: How many outputs it has; ISNet has several, BiRefNet one.
    """
    weights = np.array([8.0, -4.0, -4.0], np.float32).reshape(1, 3, 1, 1)
    nodes = [helper.make_node("Conv", ["image", "weights", "offset"], ["sum"])]
    nodes.append(helper.make_node("Identity" if logits else "Sigmoid", ["sum"], ["map0"]))
    nodes += [helper.make_node("Identity", ["map0"], [f"map{number}"]) for number in range(1, maps)]
    outputs = [
        helper.make_tensor_value_info(f"map{number}", TensorProto.FLOAT, [1, 1, side, side])
        for number in range(maps)
    ]
    graph = helper.make_graph(
        nodes,
        "redness",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])],
        outputs,
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([offset], np.float32), "offset"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path
