"""The text models mean something through the server: lines are found on a page, upright is told from upside down, and what is found is
read, with what stands before and after the models in the demo."""
import os
import sys
import unittest

import harness
import real_models as real

real.need_python("numpy", "onnxruntime", "scipy", "PIL")
import numpy  # noqa: E402

sys.path.insert(0, os.path.join(real.ROOT, "tools"))
from models import ocr  # noqa: E402

SLO_MS = 60000  # nothing may be refused here
LINE = "keeps its SLO"  # the direction model sees four times as wide as high; longer lines are squeezed
LINES = [LINE, "42 requests", "seven models", "one device"]
PAGE = ["gpulet keeps its SLO", "Seven models share one device", "42 requests a second"]
MARGIN_PX = 24  # a box stands off from the ink; the line is some 60 high


def ink(image):
    """(left, top, right, bottom) of what is not white."""
    rows, columns = numpy.nonzero((image < 128).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def turned(image):
    return numpy.ascontiguousarray(image[::-1, ::-1])


class Ocr(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.direct = real.Direct("ocr-det", "ocr-cls", "ocr-rec")
        cls.repository = real.RealRepository(ocr_det=SLO_MS, ocr_cls=SLO_MS, ocr_rec=SLO_MS)
        cls.addClassCleanup(cls.repository.close)
        cls.server = real.real_server(cls.repository)
        cls.addClassCleanup(cls.server.kill)
        cls.client = real.KeptAlive(cls.server.port)
        cls.addClassCleanup(cls.client.close)
        cls.characters = ocr.read_characters(os.path.join(real.need_models("ocr-rec"), "ocr-rec", "characters.txt"))

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def ask(self, model, x):
        """The one output of the model, which must be that of a direct run too."""
        question = real.Question(model, {"x": x}, self.direct.run(model, x=x))
        status, answer = self.client.infer(question, "ocr")
        self.assertEqual((status, status == 200 and question.problem("ocr", answer)), (200, None), (model, answer))
        [(_, shape, data)] = answer[1].values()
        return numpy.frombuffer(data, numpy.float32).reshape(shape)

    def boxes(self, image):
        return ocr.det_boxes(self.ask("ocr-det", ocr.det_input(image))[0], image)

    def directions(self, images):
        """0 upright, 1 upside down, of all in one batch."""
        found = self.ask("ocr-cls", numpy.concatenate([ocr.cls_input(image) for image in images]))
        self.assertEqual(found.shape, (len(images), 2))
        return [int(d) for d in found.argmax(axis=1)]

    def read(self, image):
        return ocr.ctc_decode(self.ask("ocr-rec", ocr.rec_input(image))[0], self.characters)[0]

    def test_a_line_is_found_where_it_is_written(self):
        for size in (28, 40):
            image = ocr.render_lines([LINE], size=size, margin=60)
            found = self.boxes(image)
            self.assertEqual(len(found), 1, found)
            for side, (got, want) in enumerate(zip(found[0], ink(image))):
                self.assertLess(abs(int(got) - int(want)), MARGIN_PX, (size, side, found, ink(image)))

    def test_nothing_is_found_where_nothing_is_written(self):
        self.assertEqual(self.boxes(numpy.full((96, 320, 3), 255, numpy.uint8)), [])

    def test_upright_is_told_from_upside_down(self):
        images = [ocr.render_line(line) for line in LINES]
        self.assertEqual(self.directions(images), [0] * len(LINES))
        self.assertEqual(self.directions([turned(image) for image in images]), [1] * len(LINES))
        self.assertEqual(self.directions([images[0], turned(images[1]), images[2]]), [0, 1, 0])

    def test_a_page_is_found_turned_and_read(self):
        page = ocr.render_lines(PAGE)
        found = self.boxes(page)
        self.assertEqual(len(found), len(PAGE), found)
        self.assertEqual([self.read(ocr.crop(page, box)) for box in found], PAGE)

    def test_a_line_upside_down_is_turned_before_it_is_read(self):
        image = turned(ocr.render_lines([LINE], margin=60))
        [box] = self.boxes(image)
        line = ocr.crop(image, box)
        self.assertNotEqual(self.read(line), LINE)
        self.assertEqual(self.directions([line]), [1])
        self.assertEqual(self.read(turned(line)), LINE)


if __name__ == "__main__":
    real.main(real.library_path, lambda: real.need_models("ocr-det", "ocr-cls", "ocr-rec"))
