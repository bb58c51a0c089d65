"""Small models: `digits`, trained on scikit-learn's 8x8 digits, `digits-mean`, which joins two of its answers, and
`identity`, which gives back its input."""

import json
import os
import warnings

import numpy as np
from onnx import TensorProto

from .graph import Graph

PIXEL_MAX = 16  # the data set's grey values run from 0 to 16
ACCURACY_MIN = 0.95
SAMPLES = 200


def identity():
    g = Graph("identity", {"input": (16,)})
    g.output("input", "output", [16])
    return g.serialize()


def digits_mean():
    """The mean of two answers of `digits`, and what is most likely by it."""
    g = Graph("digits-mean", {"left": (10,), "right": (10,)})
    mean = g.node("Mul", [g.add("left", "right"), g.constant(np.float32(0.5))])
    g.output(mean, "probabilities", [10])
    g.output(g.node("ArgMax", [mean], axis=1, keepdims=1), "label", [1], TensorProto.INT64)
    return g.serialize()


def _train():
    from sklearn.datasets import load_digits
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.25, random_state=7, stratify=labels)
    net = MLPClassifier((128, 64), alpha=1e-3, batch_size=64, max_iter=60, tol=0, random_state=7,
                        n_iter_no_change=60)
    # One thread: sums in another order would train another network, and the file would not be the same twice.
    # That it could train on is no news: the number of rounds is fixed and the accuracy is checked.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(train_x / PIXEL_MAX, train_y)
    return net, test_x, test_y


def digits(samples_dir):
    """Trains, exports, and writes images that the training has not seen to `samples_dir`/digits.json."""
    net, test_x, test_y = _train()
    accuracy = net.score(test_x / PIXEL_MAX, test_y)
    print(f"digits: {accuracy:.1%} right on {len(test_y)} held-out images")
    if accuracy < ACCURACY_MIN:
        raise RuntimeError(f"digits: accuracy {accuracy:.3f} is below {ACCURACY_MIN}")
    _write_samples(samples_dir, test_x[:SAMPLES], test_y[:SAMPLES], net.predict(test_x[:SAMPLES] / PIXEL_MAX))

    g = Graph("digits", {"image": (64,)})
    x = g.node("Mul", ["image", g.constant(np.float32(1 / PIXEL_MAX))])
    last = len(net.coefs_) - 1
    for layer, (weight, bias) in enumerate(zip(net.coefs_, net.intercepts_)):
        x = g.node("Gemm", [x, g.constant(weight.astype(np.float32)), g.constant(bias.astype(np.float32))])
        x = g.relu(x) if layer < last else x
    g.output(x, "logits", [10])
    g.output(g.softmax(x), "probabilities", [10])
    g.output(g.node("ArgMax", [x], axis=1, keepdims=1), "label", [1], TensorProto.INT64)
    return g.serialize()


def _write_samples(folder, images, labels, predicted):
    document = {
        "model": "digits", "input": "image", "output": "label",
        "samples": [{"image": [int(p) for p in image], "label": int(label), "predicted": int(guess)}
                    for image, label, guess in zip(images, labels, predicted)],
    }
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "digits.json")
    with open(path + ".new", "w", encoding="utf-8") as f:
        json.dump(document, f)
        f.write("\n")
    os.replace(path + ".new", path)
