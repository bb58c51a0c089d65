"""Runs the example models with ONNX Runtime's own Python interface, as a judge that shares no code with the server.

Every batch must agree with its items run one by one; models that mean something must also be right: digits on
images held out from training, the text models on a line drawn here, voice activity on silence.
"""

import json
import os
import statistics
import time

import numpy as np
import onnxruntime

from . import ocr
from .catalog import MODELS

BATCHES = (1, 3, 8)
TEXT = "gpulet keeps its SLO"
SHORT = "keeps its SLO"  # the direction model sees four times as wide as high; longer lines are squeezed
PAGE = [TEXT, "Seven models share one device", "42 requests a second"]
TOLERANCE = 1e-4  # relative to the largest value of an output
LATENCY_REPEATS = 5
LATENCY_TOTAL_S = 3.0
VAD_WINDOW = 576  # 512 samples at 16 kHz behind 64 of the window before
SAMPLE_RATE = 16000


def _session(folder, name):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    path = os.path.join(folder, name, "1", "model.onnx")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _inputs(session, name, batch, random):
    """Random inputs of the model's own shapes."""
    if name == "vad":
        return {"input": random.standard_normal((batch, VAD_WINDOW), dtype=np.float32) * np.float32(0.1),
                "state": np.zeros((2, batch, 128), np.float32), "sr": np.asarray(SAMPLE_RATE, np.int64)}
    if len(session.get_inputs()) > 1:
        return {value.name: random.random((batch, *value.shape[1:]), dtype=np.float32) for value in session.get_inputs()}
    [value] = session.get_inputs()
    usual = {model.name: model.warmup for model in MODELS}
    shape = usual[name].get(value.name) or value.shape[1:]
    if name == "digits":
        return {value.name: random.integers(0, 17, (batch, *shape)).astype(np.float32)}
    return {value.name: random.standard_normal((batch, *shape), dtype=np.float32)}


def _item(name, inputs, index):
    pick = slice(index, index + 1)
    if name == "vad":
        return {"input": inputs["input"][pick], "state": inputs["state"][:, pick], "sr": inputs["sr"]}
    return {key: value[pick] for key, value in inputs.items()}


def _check_batches(session, name, random):
    """Raises when a batch's answer is not its items' answers, or not finite, or does not depend on the input."""
    for batch in BATCHES:
        inputs = _inputs(session, name, batch, random)
        whole = session.run(None, inputs)
        items = [session.run(None, _item(name, inputs, i)) for i in range(batch)]
        for n, info in enumerate(session.get_outputs()):
            axis = 1 if name == "vad" and info.name == "stateN" else 0
            expected = np.concatenate([item[n] for item in items], axis=axis)
            if whole[n].shape != expected.shape or not np.isfinite(whole[n]).all():
                raise ValueError(f"{info.name} at batch {batch} has shape {whole[n].shape} or is not finite")
            scale = float(np.abs(expected).max()) or 1.0
            worst = float(np.abs(whole[n] - expected).max()) / scale
            if worst > TOLERANCE:
                raise ValueError(f"{info.name} at batch {batch} differs from its items by {worst:.2e}")
        if batch > 1 and np.array_equal(items[0][0], items[1][0]):
            raise ValueError(f"two inputs gave one answer at batch {batch}")


def _latency_ms(session, inputs):
    session.run(None, inputs)
    times, end = [], time.monotonic() + LATENCY_TOTAL_S
    while len(times) < LATENCY_REPEATS and (not times or time.monotonic() < end):
        start = time.perf_counter()
        session.run(None, inputs)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def _check_digits(session, samples):
    with open(os.path.join(samples, "digits.json"), encoding="utf-8") as f:
        rows = json.load(f)["samples"]
    images = np.asarray([row["image"] for row in rows], np.float32)
    [label] = session.run(["label"], {"image": images})
    if [int(v) for v in label[:, 0]] != [row["predicted"] for row in rows]:
        raise ValueError("answers differ from the trained network's")
    right = np.mean(label[:, 0] == np.asarray([row["label"] for row in rows]))
    return f"{right:.1%} right on {len(rows)} held-out images"


def _read(session, characters, image):
    [probabilities] = session.run(None, {"x": ocr.rec_input(image)})
    return ocr.ctc_decode(probabilities[0], characters)


def _check_reading(session, folder):
    characters = ocr.read_characters(os.path.join(folder, "ocr-rec", "characters.txt"))
    classes = session.get_outputs()[0].shape[2]
    if len(characters) != classes:
        raise ValueError(f"{len(characters)} characters for {classes} classes")
    text, confidence = _read(session, characters, ocr.render_line(TEXT))
    if text != TEXT:
        raise ValueError(f"read '{text}' where '{TEXT}' is written")
    return f"reads '{text}' ({confidence:.3f})"


def _check_page(session, folder):
    """Finds the lines of a page and reads them with ocr-rec, where that is there too."""
    page = ocr.render_lines(PAGE)
    [probability] = session.run(None, {"x": ocr.det_input(page)})
    boxes = ocr.det_boxes(probability[0], page)
    if len(boxes) != len(PAGE):
        raise ValueError(f"found {len(boxes)} lines where {len(PAGE)} are written")
    if not os.path.exists(os.path.join(folder, "ocr-rec")):
        return f"finds {len(boxes)} lines"
    reader = _session(folder, "ocr-rec")
    characters = ocr.read_characters(os.path.join(folder, "ocr-rec", "characters.txt"))
    texts = [_read(reader, characters, ocr.crop(page, box))[0] for box in boxes]
    if texts != PAGE:
        raise ValueError(f"read {texts} where {PAGE} is written")
    return f"finds {len(boxes)} lines, all read back exactly"


def _check_direction(session):
    line = ocr.render_line(SHORT)
    turned = np.ascontiguousarray(line[::-1, ::-1])
    [answer] = session.run(None, {session.get_inputs()[0].name: np.concatenate(
        [ocr.cls_input(line), ocr.cls_input(turned)])})
    if list(answer.argmax(axis=1)) != [0, 1]:
        raise ValueError(f"took upright and turned text for {answer.tolist()}")
    return "tells upright from upside down"


def _check_silence(session):
    [speech, _] = session.run(None, {"input": np.zeros((1, VAD_WINDOW), np.float32),
                                     "state": np.zeros((2, 1, 128), np.float32),
                                     "sr": np.asarray(SAMPLE_RATE, np.int64)})
    if speech[0, 0] > 0.1:
        raise ValueError(f"hears speech in silence ({speech[0, 0]:.2f})")
    return f"silence is no speech ({speech[0, 0]:.3f})"


def _check_meaning(session, name, folder, samples):
    checks = {
        "digits": lambda: _check_digits(session, samples),
        "ocr-det": lambda: _check_page(session, folder),
        "ocr-cls": lambda: _check_direction(session),
        "ocr-rec": lambda: _check_reading(session, folder),
        "vad": lambda: _check_silence(session),
    }
    return checks[name]() if name in checks else ""


def run(models, folder, samples):
    """Prints a line for each model; true when all are right."""
    failed = 0
    print(f"{'model':14} {'MB':>6} {'load ms':>8} " + " ".join(f"{f'b{b} ms':>9}" for b in BATCHES) + "  (one thread)")
    for model in models:
        if model.steps:
            print(f"{model.name:14} an ensemble of {', '.join(model.needs())}")
            continue
        random = np.random.default_rng(1)
        try:
            start = time.perf_counter()
            session = _session(folder, model.name)
            load_ms = (time.perf_counter() - start) * 1e3
            _check_batches(session, model.name, random)
            note = _check_meaning(session, model.name, folder, samples)
            times = [_latency_ms(session, _inputs(session, model.name, b, random)) for b in BATCHES]
        except Exception as error:  # whatever is wrong with one model, the others are still looked at
            print(f"{model.name:14} WRONG: {error}")
            failed += 1
            continue
        size = os.path.getsize(os.path.join(folder, model.name, "1", "model.onnx")) / 1e6
        print(f"{model.name:14} {size:6.1f} {load_ms:8.1f} " + " ".join(f"{t:9.2f}" for t in times) + f"  {note}",
              flush=True)
    print(f"{len(models) - failed} passed, {failed} failed")
    return failed == 0
