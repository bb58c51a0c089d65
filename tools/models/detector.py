"""SSD with a MobileNet v1 backbone: a detector with seeded weights and the cost of the published network.

`boxes` are ymin, xmin, ymax, xmax as fractions of the image for each of 1917 anchors, `scores` the score of each of
91 classes for each anchor. Choosing among overlapping boxes is left to the client, or to `crop-resize`, which cuts
the best one out of the image for a classifier.
"""

import numpy as np
from onnx import helper

from .graph import Graph

CLASSES = 91
MAPS = [19, 10, 5, 3, 2, 1]  # cells along a side, finest map first
ANCHORS = [3, 6, 6, 6, 6, 6]  # anchors in a cell
COUNT = sum(size * size * anchors for size, anchors in zip(MAPS, ANCHORS))


def _anchors():
    """Centre y, centre x, height and width of every anchor, in the order of the heads' outputs."""
    scales = np.append(np.linspace(0.2, 0.95, len(MAPS)), 1.0)
    rows = []
    for level, size in enumerate(MAPS):
        scale = scales[level]
        if level == 0:
            shapes = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            shapes = [(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)]
            shapes.append((np.sqrt(scale * scales[level + 1]), 1.0))
        for y in range(size):
            for x in range(size):
                for scale_, ratio in shapes:
                    root = np.sqrt(ratio)
                    rows.append(((y + 0.5) / size, (x + 0.5) / size, scale_ / root, scale_ * root))
    return np.asarray(rows, np.float32)


def _decode(g, codes):
    """Boxes from what the heads say relative to the anchors."""
    anchors = _anchors()[np.newaxis]
    splits = g.constant(np.asarray([2, 2], np.int64))
    g.nodes.append(helper.make_node("Split", [codes, splits], ["code_centre", "code_size"], name="split_codes", axis=2))
    centre = g.node("Mul", ["code_centre", g.constant(anchors[:, :, 2:] / np.float32(10))])
    centre = g.node("Add", [centre, g.constant(anchors[:, :, :2])])
    half = g.node("Exp", [g.node("Mul", ["code_size", g.constant(np.float32(0.2))])])
    half = g.node("Mul", [half, g.constant(anchors[:, :, 2:] / np.float32(2))])
    return g.node("Concat", [g.node("Sub", [centre, half]), g.node("Add", [centre, half])], axis=2)


def _backbone(g):
    """MobileNet v1 at full width; gives the two maps that the heads read first."""
    same = (0, 0, 1, 1)  # padding that TensorFlow's SAME comes to at stride 2 on even sizes

    def block(x, channels, stride=1, pad=1):
        x = g.relu6(g.depthwise(x, 3, stride=stride, pad=pad, relu=False))
        return g.relu6(g.conv(x, channels, 1, relu=False))

    x = g.relu6(g.conv("image", 32, 3, stride=2, pad=same, relu=False))
    x = block(x, 64)
    x = block(block(x, 128, 2, same), 128)
    x = block(block(x, 256, 2), 256)
    x = block(x, 512, 2, same)
    for _ in range(5):
        x = block(x, 512)
    fine = x
    return fine, block(block(x, 1024, 2), 1024)


def ssd_mobilenet():
    g = Graph("ssd-mobilenet", {"image": (3, 300, 300)})
    fine, x = _backbone(g)
    maps = [fine, x]
    for squeeze, channels in [(256, 512), (128, 256), (128, 256), (64, 128)]:
        x = g.relu6(g.conv(x, squeeze, 1, relu=False))
        x = g.relu6(g.conv(x, channels, 3, stride=2, relu=False))
        maps.append(x)

    def head(x, anchors, values):
        y = g.conv(x, anchors * values, 1, relu=False, gain=0.1)
        y = g.node("Transpose", [y], perm=[0, 2, 3, 1])
        return g.reshape(y, [0, -1, values])

    codes = g.node("Concat", [head(x, a, 4) for x, a in zip(maps, ANCHORS)], axis=1)
    scores = g.node("Concat", [head(x, a, CLASSES) for x, a in zip(maps, ANCHORS)], axis=1)
    g.output(_decode(g, codes), "boxes", [COUNT, 4])
    g.output(g.node("Sigmoid", [scores]), "scores", [COUNT, CLASSES])
    return g.serialize()


CROP = 224
LEAST = 1 / 300  # a box is a pixel high and wide at least


def _along(g, low, high, axis):
    """Where the crop's pixels lie along one side of the image, from -1 to 1: [N, CROP], then one more axis."""
    steps = ((np.arange(CROP) + 0.5) / CROP).astype(np.float32)[np.newaxis]
    length = g.node("Max", [g.node("Sub", [high, low]), g.constant(np.float32(LEAST))])
    at = g.add(low, g.node("Mul", [length, g.constant(steps)]))
    at = g.node("Sub", [g.node("Mul", [at, g.constant(np.float32(2))]), g.constant(np.float32(1))])
    return g.node("Unsqueeze", [at, g.constant(np.asarray([axis], np.int64))])


def crop_resize():
    """Of each item's image the box of the highest score (the first class, background, left out), by bilinear sampling."""
    g = Graph("crop-resize", {"image": (3, 300, 300), "boxes": (COUNT, 4), "scores": (COUNT, CLASSES)})
    whole = [g.constant(np.asarray([n], np.int64)) for n in (1, CLASSES, 2)]
    scores = g.node("Slice", ["scores", *whole])
    best = g.node("ReduceMax", [scores], axes=[2], keepdims=0)
    best = g.node("ArgMax", [best], axis=1, keepdims=1)
    box = g.node("GatherND", ["boxes", best], batch_dims=1)
    box = g.node("Clip", [box, g.constant(np.float32(0)), g.constant(np.float32(1))])
    sides = ["top", "left", "bottom", "right"]
    g.nodes.append(helper.make_node("Split", [box, g.constant(np.asarray([1] * 4, np.int64))], sides, name="sides", axis=1))
    y, x = _along(g, "top", "bottom", 2), _along(g, "left", "right", 1)
    zero = g.constant(np.float32(0))
    last = g.constant(np.asarray([3], np.int64))
    grid = [g.node("Unsqueeze", [g.add(a, g.node("Mul", [b, zero])), last]) for a, b in ((x, y), (y, x))]
    grid = g.node("Concat", grid, axis=3)
    g.output(g.node("GridSample", ["image", grid], mode="bilinear", padding_mode="border", align_corners=0), "crop",
             [3, CROP, CROP])
    return g.serialize()
