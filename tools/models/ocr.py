"""What stands before and after the text models: images in, tensors out, and back to text and boxes.

Pure functions over numpy arrays; images are uint8 arrays of height x width x 3. No inference happens here, so the same
code serves a client of the server and a check with ONNX Runtime alone.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LINE_HEIGHT = 48  # what the recogniser was trained on
CLS_WIDTH = 192
DET_MULTIPLE = 32  # the detector halves its input five times
DET_THRESHOLD = 0.3
DET_AREA_MIN = 16


def render_lines(lines, size=40, margin=16):
    """Black text on white, one line under the other."""
    font = ImageFont.load_default(size=size)
    boxes = [font.getbbox(line) for line in lines]
    pitch = max(box[3] for box in boxes) + margin
    width = max(box[2] for box in boxes) + 2 * margin
    image = Image.new("RGB", (int(width), int(pitch * len(lines) + margin)), "white")
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        draw.text((margin, margin // 2 + row * pitch), line, fill="black", font=font)
    return np.asarray(image)


def render_line(text, size=40):
    return render_lines([text], size)


def _resize(image, width, height):
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _normalise(image):
    """To channels x height x width in -1..1."""
    return ((image.astype(np.float32) / 255 - 0.5) / 0.5).transpose(2, 0, 1)


def rec_width(image):
    """The width of a line once it is LINE_HEIGHT high."""
    return max(1, int(np.ceil(image.shape[1] * LINE_HEIGHT / image.shape[0])))


def rec_input(image, width=None):
    """A line for ocr-rec, [1, 3, 48, width]. A wider `width` is filled up, so that lines can share a batch."""
    own = rec_width(image)
    width = own if width is None else width
    own = min(own, width)
    tensor = np.zeros((1, 3, LINE_HEIGHT, width), np.float32)
    tensor[0, :, :, :own] = _normalise(_resize(image, own, LINE_HEIGHT))
    return tensor


def cls_input(image):
    """A line for ocr-cls, which tells upright (class 0) from upside down (class 1)."""
    return rec_input(image, CLS_WIDTH)


def read_characters(path):
    """The alphabet by class: the blank, the characters of the file, the space."""
    with open(path, encoding="utf-8") as f:
        return ["", *f.read().rstrip("\n").split("\n"), " "]


def ctc_decode(probabilities, characters):
    """Text and mean confidence of one line from [steps, classes]: repeats collapse, then blanks vanish."""
    probabilities = np.asarray(probabilities)
    best = probabilities.argmax(axis=1)
    keep = (best != 0) & (best != np.concatenate([[0], best[:-1]]))
    if not keep.any():
        return "", 0.0
    text = "".join(characters[i] for i in best[keep])
    return text, float(probabilities.max(axis=1)[keep].mean())


def det_input(image):
    """A page for ocr-det, [1, 3, height, width] with both sides rounded to what the network can halve."""
    height, width = (max(DET_MULTIPLE, round(side / DET_MULTIPLE) * DET_MULTIPLE) for side in image.shape[:2])
    return _normalise(_resize(image, width, height))[np.newaxis]


def det_boxes(probability, image):
    """Upright boxes (left, top, right, bottom) in pixels of `image`, from top to bottom, of ocr-det's [1, h, w] map.

    The map marks the core of each line of text; as in the method it comes from, a box is grown again by a distance in
    proportion to its area over its perimeter.
    """
    from scipy import ndimage

    mask = np.asarray(probability)[0] > DET_THRESHOLD
    labels, _ = ndimage.label(ndimage.binary_dilation(mask, np.ones((2, 2), bool)))
    scale_y, scale_x = image.shape[0] / mask.shape[0], image.shape[1] / mask.shape[1]
    boxes = []
    for rows, columns in ndimage.find_objects(labels):
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if height * width < DET_AREA_MIN:
            continue
        grow = 1.6 * height * width / (2 * (height + width))
        boxes.append((max(0, int((columns.start - grow) * scale_x)), max(0, int((rows.start - grow) * scale_y)),
                      min(image.shape[1], int((columns.stop + grow) * scale_x) + 1),
                      min(image.shape[0], int((rows.stop + grow) * scale_y) + 1)))
    return sorted(boxes, key=lambda box: (box[1], box[0]))


def crop(image, box):
    left, top, right, bottom = box
    return image[top:bottom, left:right]
