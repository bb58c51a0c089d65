"""Writes models in Triton's layout: <folder>/<model>/config.pbtxt and <folder>/<model>/1/model.onnx.

A model appears whole or not at all. Beside it lies `.made`, which says what it was made from and what came out, so
that a second run knows what it may leave alone.
"""

import hashlib
import os
import shutil

from . import catalog

HERE = os.path.dirname(os.path.abspath(__file__))


def _digest(*parts):
    h = hashlib.sha256()
    for part in parts:
        h.update(hashlib.sha256(part).digest())
    return h.hexdigest()


def _recipe_digest(model):
    """Changes with everything that the model's files are made from."""
    parts = [repr(model).encode(), model.config()]
    for name in (*model.module_files(), *model.sources):
        with open(os.path.join(HERE, name), "rb") as f:
            parts.append(f.read())
    return _digest(*parts)


def _read_stamp(path):
    try:
        with open(path, encoding="utf-8") as f:
            return dict(line.split() for line in f)
    except (OSError, ValueError):
        return {}


def is_current(model, folder, samples_dir):
    stamp = _read_stamp(os.path.join(folder, model.name, ".made"))
    wanted = [os.path.join(folder, model.name, name) for name in ("config.pbtxt", *model.extra)]
    if model.samples:
        wanted.append(os.path.join(samples_dir, model.samples))
    file = os.path.join(folder, model.name, "1", "" if model.steps else "model.onnx")
    try:
        size = 0 if model.steps else os.path.getsize(file)
    except OSError:
        return False
    return (stamp.get("recipe") == _recipe_digest(model) and stamp.get("bytes") == str(size)
            and all(os.path.exists(path) for path in (file, *wanted)))


def make(model, folder, samples_dir):
    """Makes one model and gives the size of its file."""
    data = [] if model.steps else catalog.call(model.recipe, *([samples_dir] if model.samples else []))
    size, digest = sum(map(len, data)), hashlib.sha256()
    for piece in data:
        digest.update(piece)
    files = {"config.pbtxt": [model.config()]}
    for name, recipe in model.extra.items():
        files[name] = catalog.call(recipe)
    stamp = f"recipe {_recipe_digest(model)}\nbytes {size}\nsha256 {digest.hexdigest()}\n"
    files[".made"] = [stamp.encode()]
    if not model.steps:
        files[os.path.join("1", "model.onnx")] = data
    _write_whole(os.path.join(folder, model.name), os.path.join(folder, f".new-{model.name}-{os.getpid()}"), files)
    return size


def _write_whole(target, work, files):
    """`files` maps names to lists of pieces."""
    try:
        os.makedirs(os.path.join(work, "1"))
        for name, pieces in files.items():
            with open(os.path.join(work, name), "wb") as f:
                f.writelines(pieces)
        if os.path.isdir(target):
            shutil.rmtree(target)
        os.rename(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
