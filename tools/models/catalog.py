"""Which example models there are, how each is made, and what its config.pbtxt says."""

import importlib
from dataclasses import dataclass, field

LENET_IO = """\
input [ { name: "data" data_type: TYPE_FP32 dims: [ 1, 28, 28 ] } ]
output [ { name: "prob" data_type: TYPE_FP32 dims: [ 10 ] } ]
dynamic_batching { }
"""
RESNET50_IO = """\
input [
  {
    name: "data"
    data_type: TYPE_FP32
    dims: [ 3, 224, 224 ]
  }
]
output [
  {
    name: "prob"
    data_type: TYPE_FP32
    dims: [ 1000 ]
  }
]
dynamic_batching { preferred_batch_size: [ 4, 8 ] }
"""
SSD_IO = """\
input [ { name: "image" data_type: TYPE_FP32 dims: [ 3, 300, 300 ] } ]
output [
  { name: "boxes" data_type: TYPE_FP32 dims: [ 1917, 4 ] },
  { name: "scores" data_type: TYPE_FP32 dims: [ 1917, 91 ] }
]
"""
DIGITS_IO = """\
# Grey values from 0 to 16, row by row, as scikit-learn's digits have them.
input [ { name: "image" data_type: TYPE_FP32 dims: [ 64 ] } ]
output [
  { name: "logits" data_type: TYPE_FP32 dims: [ 10 ] },
  { name: "probabilities" data_type: TYPE_FP32 dims: [ 10 ] },
  { name: "label" data_type: TYPE_INT64 dims: [ 1 ] }
]
"""
OCR_REC_IO = """\
# A line of text, 48 pixels high; only lines of one width can share a batch.
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, 48, -1 ] } ]
output [ { name: "softmax_11.tmp_0" data_type: TYPE_FP32 dims: [ -1, 6625 ] } ]
"""
DIGITS_MEAN_IO = """\
# What two looks at a digit say together.
input [
  { name: "left" data_type: TYPE_FP32 dims: [ 10 ] },
  { name: "right" data_type: TYPE_FP32 dims: [ 10 ] }
]
output [
  { name: "probabilities" data_type: TYPE_FP32 dims: [ 10 ] },
  { name: "label" data_type: TYPE_INT64 dims: [ 1 ] }
]
"""
CROP_RESIZE_IO = """\
# The part of the image in the box of the highest score, whatever its class, scaled to what classifiers take.
input [
  { name: "image" data_type: TYPE_FP32 dims: [ 3, 300, 300 ] },
  { name: "boxes" data_type: TYPE_FP32 dims: [ 1917, 4 ] },
  { name: "scores" data_type: TYPE_FP32 dims: [ 1917, 91 ] }
]
output [ { name: "crop" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]
"""
DIGITS_PAIR_IO = """\
# Two images of one digit, looked at one by one, and what they say together.
input [ { name: "left" data_type: TYPE_FP32 dims: [ 64 ] }, { name: "right" data_type: TYPE_FP32 dims: [ 64 ] } ]
output [
  { name: "label" data_type: TYPE_INT64 dims: [ 1 ] },
  { name: "probabilities" data_type: TYPE_FP32 dims: [ 10 ] },
  { name: "left_label" data_type: TYPE_INT64 dims: [ 1 ] }
]
"""
TRAFFIC_IO = """\
# arXiv 2109.01611's application: what a camera sees is found, cut out, and looked at as a car and as a person.
input [ { name: "image" data_type: TYPE_FP32 dims: [ 3, 300, 300 ] } ]
output [
  { name: "car" data_type: TYPE_FP32 dims: [ 1000 ] },
  { name: "person" data_type: TYPE_FP32 dims: [ 1000 ] }
]
"""
GAME_IO = """\
# arXiv 2109.01611's application: a picture of a game, and six readings of its digits beside it.
input [
  { name: "image" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] },
  { name: "digit" data_type: TYPE_FP32 dims: [ 1, 28, 28 ] }
]
output [
  { name: "scene" data_type: TYPE_FP32 dims: [ 1000 ] },
  { name: "digit1" data_type: TYPE_FP32 dims: [ 10 ] },
  { name: "digit2" data_type: TYPE_FP32 dims: [ 10 ] },
  { name: "digit3" data_type: TYPE_FP32 dims: [ 10 ] },
  { name: "digit4" data_type: TYPE_FP32 dims: [ 10 ] },
  { name: "digit5" data_type: TYPE_FP32 dims: [ 10 ] },
  { name: "digit6" data_type: TYPE_FP32 dims: [ 10 ] }
]
"""
IDENTITY_IO = """\
input [ { name: "input" data_type: TYPE_FP32 dims: [ 16 ] } ]
output [ { name: "output" data_type: TYPE_FP32 dims: [ 16 ] } ]
"""


@dataclass(frozen=True)
class Model:
    name: str
    recipe: str  # "module:function"; the function gives the file as a list of pieces
    batch_max: int  # 0: the model has no batch dimension of ours
    slo_ms: int
    rate_rps: int = 0  # what a demonstration on a small machine asks of it; 0: unsaid
    tensors: str = ""  # inputs and outputs; empty where the server is to find them in the model
    sources: tuple = ()  # further files, in this folder, that the bytes depend on
    extra: dict = field(default_factory=dict)  # file beside config.pbtxt -> "module:function" as above
    on_request: bool = False  # made only when it is named
    warmup: dict = field(default_factory=dict)  # FP32 input of any size -> dims that it is tried and measured with
    samples: str = ""  # file that the recipe writes into the samples folder, which it is then given

    steps: tuple = ()  # of an ensemble: (model, {its input: tensor}, {its output: tensor}); then there is no recipe

    def config(self):
        kind = 'platform: "ensemble"' if self.steps else 'backend: "onnxruntime"'
        lines = [f'name: "{self.name}"', kind, f"max_batch_size: {self.batch_max}"]
        text = "\n".join(lines) + "\n" + self.tensors + self._scheduling() + self._warmup()
        parameters = {"slo_ms": self.slo_ms}
        if self.rate_rps:
            parameters["rate_rps"] = self.rate_rps
        for key, value in parameters.items():
            text += f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
        return text.encode()

    def _warmup(self):
        if not self.warmup:
            return ""
        text = 'model_warmup {\n  name: "usual sizes"\n'
        for name, dims in self.warmup.items():
            text += f'  inputs {{ key: "{name}" value {{ data_type: TYPE_FP32 dims: {list(dims)} random_data: true }} }}\n'
        return text + "}\n"

    def _scheduling(self):
        if not self.steps:
            return ""
        text = "ensemble_scheduling {\n"
        for model, inputs, outputs in self.steps:
            text += f'  step {{\n    model_name: "{model}"\n    model_version: -1\n'
            for kind, tensors in (("input_map", inputs), ("output_map", outputs)):
                for key, value in tensors.items():
                    text += f'    {kind} {{ key: "{key}" value: "{value}" }}\n'
            text += "  }\n"
        return text + "}\n"

    def module_files(self):
        return [self.recipe.split(":")[0] + ".py"] if self.recipe else []

    def needs(self):
        """Names of the models that an ensemble is made of."""
        return list(dict.fromkeys(model for model, _, _ in self.steps))


def call(recipe, *arguments):
    """Modules are loaded only when something is to be made: most runs find everything there."""
    module, function = recipe.split(":")
    return getattr(importlib.import_module("." + module, __package__), function)(*arguments)


_SEEDED = {"sources": ("graph.py", "requirements.txt")}
_PACKAGED = {"sources": ("requirements-wheels.txt",)}

MODELS = [
    Model("identity", "small:identity", 64, 10, 50, IDENTITY_IO, **_SEEDED),
    Model("lenet", "classifiers:lenet", 64, 10, 50, LENET_IO, **_SEEDED),
    Model("digits", "small:digits", 64, 10, 50, DIGITS_IO, samples="digits.json", **_SEEDED),
    Model("squeezenet", "classifiers:squeezenet", 32, 60, 5, **_SEEDED),
    Model("mobilenet", "classifiers:mobilenet", 32, 60, 5, **_SEEDED),
    Model("googlenet", "classifiers:googlenet", 32, 150, 2, **_SEEDED),
    Model("resnet50", "classifiers:resnet50", 32, 300, 1, RESNET50_IO, **_SEEDED),
    Model("vgg16", "classifiers:vgg16", 32, 1000, **_SEEDED),
    Model("vgg16-thumb", "classifiers:vgg16_thumb", 32, 1000, on_request=True, **_SEEDED),
    Model("ssd-mobilenet", "detector:ssd_mobilenet", 32, 300, 1, SSD_IO, **_SEEDED),
    Model("digits-mean", "small:digits_mean", 64, 10, 0, DIGITS_MEAN_IO, **_SEEDED),
    Model("crop-resize", "detector:crop_resize", 32, 50, 0, CROP_RESIZE_IO, **_SEEDED),
    Model("ocr-det", "packaged:ocr_det", 8, 1000, warmup={"x": (3, 256, 320)}, **_PACKAGED),
    Model("ocr-cls", "packaged:ocr_cls", 8, 1000, warmup={"x": (3, 48, 192)}, **_PACKAGED),
    Model("ocr-rec", "packaged:ocr_rec", 8, 1000, 0, OCR_REC_IO, warmup={"x": (3, 48, 320)},
          extra={"characters.txt": "packaged:ocr_characters"}, **_PACKAGED),
    Model("vad", "packaged:vad", 0, 50, warmup={"input": (1, 576), "state": (2, 1, 128)}, **_PACKAGED),
    Model("digits-pair", "", 32, 50, 20, DIGITS_PAIR_IO, steps=(
        ("digits", {"image": "left"}, {"probabilities": "left_probabilities", "label": "left_label"}),
        ("digits", {"image": "right"}, {"probabilities": "right_probabilities"}),
        ("digits-mean", {"left": "left_probabilities", "right": "right_probabilities"},
         {"probabilities": "probabilities", "label": "label"}))),
    Model("traffic", "", 8, 2000, 1, TRAFFIC_IO, steps=(
        ("ssd-mobilenet", {"image": "image"}, {"boxes": "boxes", "scores": "scores"}),
        ("crop-resize", {"image": "image", "boxes": "boxes", "scores": "scores"}, {"crop": "crop"}),
        ("googlenet", {"data": "crop"}, {"prob": "car"}),
        ("vgg16", {"data": "crop"}, {"prob": "person"}))),
    Model("game", "", 8, 1000, 1, GAME_IO, steps=(
        ("resnet50", {"data": "image"}, {"prob": "scene"}),
        *(("lenet", {"data": "digit"}, {"prob": f"digit{i}"}) for i in range(1, 7)))),
]
