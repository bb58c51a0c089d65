"""Image classifiers with seeded weights: LeNet, GoogLeNet, ResNet-50, VGG-16, SqueezeNet and MobileNet v2.

They have the layers, and so the cost, of the published networks; their answers mean nothing.
"""

import numpy as np

from .graph import Graph

IMAGE = {"data": (3, 224, 224)}
CLASSES = 1000


def _finish(g, logits, classes=CLASSES):
    g.output(g.softmax(logits), "prob", [classes])
    return g.serialize()


def lenet():
    """LeNet-5 for 28x28 digits, in the form that Caffe's example made common."""
    g = Graph("lenet", {"data": (1, 28, 28)})
    x = g.conv("data", 20, 5, pad=0, relu=False)
    x = g.max_pool(x, 2)
    x = g.conv(x, 50, 5, pad=0, relu=False)
    x = g.max_pool(x, 2)
    x = g.relu(g.dense(g.flatten(x), 50 * 4 * 4, 500))
    return _finish(g, g.dense(x, 500, 10, gain=1.0), 10)


def googlenet():
    """Inception v1 without the two classifiers that only training needs. As in later versions of it, batch
    normalisation (folded away here) stands in for the local response normalisation, which took 40 % of the time."""
    g = Graph("googlenet", IMAGE)
    ceil = (0, 0, 1, 1)  # what rounding the size up comes to

    def inception(x, one, three_in, three, five_in, five, pool):
        return g.concat([
            g.conv(x, one, 1),
            g.conv(g.conv(x, three_in, 1), three, 3),
            g.conv(g.conv(x, five_in, 1), five, 5),
            g.conv(g.max_pool(x, 3, stride=1, pads=(1, 1, 1, 1)), pool, 1),
        ])

    x = g.conv("data", 64, 7, stride=2)
    x = g.max_pool(x, 3, stride=2, pads=ceil)
    x = g.conv(g.conv(x, 64, 1), 192, 3)
    x = g.max_pool(x, 3, stride=2, pads=ceil)
    x = inception(x, 64, 96, 128, 16, 32, 32)
    x = inception(x, 128, 128, 192, 32, 96, 64)
    x = g.max_pool(x, 3, stride=2, pads=ceil)
    x = inception(x, 192, 96, 208, 16, 48, 64)
    x = inception(x, 160, 112, 224, 24, 64, 64)
    x = inception(x, 128, 128, 256, 24, 64, 64)
    x = inception(x, 112, 144, 288, 32, 64, 64)
    x = inception(x, 256, 160, 320, 32, 128, 128)
    x = g.max_pool(x, 3, stride=2, pads=ceil)
    x = inception(x, 256, 160, 320, 32, 128, 128)
    x = inception(x, 384, 192, 384, 48, 128, 128)
    x = g.flatten(g.global_average_pool(x))
    return _finish(g, g.dense(x, 1024, CLASSES, gain=1.0))


def resnet50():
    g = Graph("resnet50", IMAGE)

    def bottleneck(x, width, stride, project):
        shortcut = g.conv(x, 4 * width, 1, stride=stride, relu=False, gain=1.0) if project else x
        y = g.conv(x, width, 1)
        y = g.conv(y, width, 3, stride=stride)
        # A small last gain: without normalisation sixteen sums would otherwise grow without bound.
        y = g.conv(y, 4 * width, 1, relu=False, gain=0.2)
        return g.relu(g.add(y, shortcut))

    x = g.conv("data", 64, 7, stride=2)
    x = g.max_pool(x, 3, stride=2, pads=(1, 1, 1, 1))
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            x = bottleneck(x, width, stride, project=block == 0)
    x = g.flatten(g.global_average_pool(x))
    return _finish(g, g.dense(x, 2048, CLASSES, gain=1.0))


def vgg16():
    return _vgg16(Graph("vgg16", IMAGE), "data")


def vgg16_thumb():
    """VGG-16 of an image of 28x28 that it scales up itself: as much work for a hundredth of the bytes."""
    g = Graph("vgg16-thumb", {"data": (3, 28, 28)})
    scales = g.constant(np.array([1, 1, 8, 8], np.float32))
    return _vgg16(g, g.node("Resize", ["data", "", scales], mode="nearest"))


def _vgg16(g, x):
    for width, layers in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]:
        for _ in range(layers):
            x = g.conv(x, width, 3)
        x = g.max_pool(x, 2)
    x = g.flatten(x)
    x = g.relu(g.dense(x, 512 * 7 * 7, 4096))
    x = g.relu(g.dense(x, 4096, 4096))
    return _finish(g, g.dense(x, 4096, CLASSES, gain=1.0))


def squeezenet():
    """SqueezeNet 1.1."""
    g = Graph("squeezenet", IMAGE)

    def fire(x, squeeze, expand):
        x = g.conv(x, squeeze, 1)
        return g.concat([g.conv(x, expand, 1), g.conv(x, expand, 3)])

    x = g.max_pool(g.conv("data", 64, 3, stride=2, pad=0), 3, stride=2)
    x = g.max_pool(fire(fire(x, 16, 64), 16, 64), 3, stride=2)
    x = g.max_pool(fire(fire(x, 32, 128), 32, 128), 3, stride=2)
    x = fire(fire(x, 48, 192), 48, 192)
    x = fire(fire(x, 64, 256), 64, 256)
    x = g.conv(x, CLASSES, 1)
    return _finish(g, g.flatten(g.global_average_pool(x)))


def mobilenet():
    """MobileNet v2."""
    g = Graph("mobilenet", IMAGE)

    def inverted_residual(x, channels, stride, expand):
        y = x
        if expand != 1:
            y = g.relu6(g.conv(y, g.channels[x] * expand, 1, relu=False))
        y = g.relu6(g.depthwise(y, 3, stride=stride, relu=False))
        y = g.conv(y, channels, 1, relu=False, gain=1.0)
        return g.add(x, y) if stride == 1 and g.channels[x] == channels else y

    x = g.relu6(g.conv("data", 32, 3, stride=2, relu=False))
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expand, channels, blocks, stride in stages:
        for block in range(blocks):
            x = inverted_residual(x, channels, stride if block == 0 else 1, expand)
    x = g.relu6(g.conv(x, 1280, 1, relu=False))
    x = g.flatten(g.global_average_pool(x))
    return _finish(g, g.dense(x, 1280, CLASSES, gain=1.0))
