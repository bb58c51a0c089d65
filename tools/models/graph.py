"""A small builder of ONNX graphs whose weights are drawn from a seed.

Layers take and return the name of a value; the builder keeps the number of channels of each, so that a network reads
as the list of its layers. Weights follow He's initialisation, which keeps activations of one size through a deep
network of rectifiers; batch normalisation is folded away, as it is in any network prepared for serving.
"""

import zlib

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper

OPSET = 17
IR_VERSION = 8
BATCH = "N"

# Field numbers of onnx.proto that serialize() writes itself.
GRAPH = ModelProto.GRAPH_FIELD_NUMBER
INITIALIZER = GraphProto.INITIALIZER_FIELD_NUMBER
RAW_DATA = TensorProto.RAW_DATA_FIELD_NUMBER


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number, size):
    """What stands before `size` bytes of a field of protobuf."""
    return _varint(number << 3 | 2) + _varint(size)


class Graph:
    def __init__(self, name, inputs):
        """`inputs` maps names to shapes without the batch."""
        self.name = name
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self.nodes = []
        self.weights = []
        self.outputs = []
        self.inputs = []
        self.channels = {}
        self.count = 0
        for key, shape in inputs.items():
            self.inputs.append(helper.make_tensor_value_info(key, TensorProto.FLOAT, [BATCH, *shape]))
            self.channels[key] = shape[0]

    # Plumbing ---------------------------------------------------------------------------------------------------

    def node(self, op, inputs, channels=None, name=None, **attributes):
        self.count += 1
        out = name or f"{op.lower()}_{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [out], name=f"{op}_{self.count}", **attributes))
        self.channels[out] = self.channels.get(inputs[0]) if channels is None else channels
        return out

    def constant(self, array, name=None):
        name = name or f"w_{len(self.weights)}"
        self.weights.append((name, np.asarray(array, order="C")))
        return name

    def random_weight(self, shape, fan_in, gain=2.0):
        weight = self.random.standard_normal(shape, dtype=np.float32)
        weight *= np.float32(np.sqrt(gain / fan_in))
        return self.constant(weight)

    def output(self, value, name, shape, kind=TensorProto.FLOAT):
        """Names a value as an output; `shape` is without the batch."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"output_{name}"))
        self.outputs.append(helper.make_tensor_value_info(name, kind, [BATCH, *shape]))

    def serialize(self):
        """The file as a list of pieces. The weights are pieces as they stand: put together by the library, a large
        network would be in memory six times over."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs)
        pieces = [graph.SerializeToString(deterministic=True)]
        for name, array in self.weights:
            tensor = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
            head = tensor.SerializeToString(deterministic=True) + _field(RAW_DATA, array.nbytes)
            pieces.append(_field(INITIALIZER, len(head) + array.nbytes) + head)
            pieces.append(array.tobytes() if array.ndim == 0 else array.reshape(-1).view(np.uint8).data)
        model = ModelProto(ir_version=IR_VERSION, producer_name="gpulet",
                           opset_import=[helper.make_opsetid("", OPSET)])
        return [model.SerializeToString(deterministic=True) + _field(GRAPH, sum(map(len, pieces))), *pieces]

    # Layers -----------------------------------------------------------------------------------------------------

    def conv(self, x, channels, kernel, *, stride=1, pad=None, groups=1, relu=True, gain=2.0):
        """A convolution with a bias, by default one that keeps the size, and a rectifier."""
        pad = kernel // 2 if pad is None else pad
        pads = [pad] * 4 if isinstance(pad, int) else list(pad)
        group_inputs = self.channels[x] // groups
        weight = self.random_weight((channels, group_inputs, kernel, kernel), group_inputs * kernel * kernel, gain)
        bias = self.constant(np.zeros(channels, np.float32))
        out = self.node("Conv", [x, weight, bias], channels, kernel_shape=[kernel, kernel],
                        strides=[stride, stride], pads=pads, group=groups)
        return self.relu(out) if relu else out

    def depthwise(self, x, kernel, **options):
        channels = self.channels[x]
        return self.conv(x, channels, kernel, groups=channels, **options)

    def dense(self, x, inputs, outputs, *, gain=2.0):
        weight = self.random_weight((inputs, outputs), inputs, gain)
        bias = self.constant(np.zeros(outputs, np.float32))
        return self.node("Gemm", [x, weight, bias], outputs)

    def relu(self, x):
        return self.node("Relu", [x])

    def relu6(self, x):
        low, high = self.constant(np.float32(0)), self.constant(np.float32(6))
        return self.node("Clip", [x, low, high])

    def max_pool(self, x, kernel, *, stride=None, pads=(0, 0, 0, 0)):
        stride = stride or kernel
        return self.node("MaxPool", [x], kernel_shape=[kernel, kernel], strides=[stride, stride], pads=list(pads))

    def global_average_pool(self, x):
        return self.node("GlobalAveragePool", [x])

    def add(self, a, b):
        return self.node("Add", [a, b])

    def concat(self, values, axis=1):
        return self.node("Concat", values, sum(self.channels[v] for v in values), axis=axis)

    def flatten(self, x):
        return self.node("Flatten", [x], axis=1)

    def softmax(self, x):
        return self.node("Softmax", [x], axis=1)

    def reshape(self, x, shape):
        """0 keeps a dimension (always so for the batch), -1 takes what is left."""
        return self.node("Reshape", [x, self.constant(np.asarray(shape, np.int64))], shape[1])
