"""Models that Python packages carry: text detection, direction and recognition (rapidocr-onnxruntime, PP-OCR,
Apache-2.0) and voice activity (silero-vad, MIT). `tools/setup python` has put the files under .setup/files/."""

import os

import onnx

FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".setup", "files")


def _read(*parts):
    with open(os.path.join(FILES, *parts), "rb") as f:
        return [f.read()]


def ocr_det():
    return _read("ocr", "ch_PP-OCRv4_det_infer.onnx")


def ocr_cls():
    return _read("ocr", "ch_ppocr_mobile_v2.0_cls_infer.onnx")


def ocr_rec():
    return _read("ocr", "ch_PP-OCRv4_rec_infer.onnx")


def ocr_characters():
    """The recogniser's alphabet, one character a line; line n (from 1) belongs to class n, class 0 is the blank."""
    model = onnx.load_from_string(ocr_rec()[0])
    [characters] = [p.value for p in model.metadata_props if p.key == "character"]
    return [characters.rstrip("\n").encode() + b"\n"]


def vad():
    return _read("vad", "silero_vad.onnx")
