"""The example ensembles with the real engine: their answers are those of their steps asked for one by one, and right."""
import os
import time
import unittest

import harness
import real_models as real

real.need_python("numpy")
import numpy  # noqa: E402

TOLERANCE = 1e-5
SLO_MS = 60000  # nothing may be refused here


class RealEnsembles(unittest.TestCase):
    def serve(self, ensembles, models, **options):
        self.repository = real.RealRepository(**{name.replace("-", "_"): SLO_MS for name in models})
        self.addCleanup(self.repository.close)
        source = real.need_models(*models)
        for name in ensembles:
            if not os.path.isfile(os.path.join(source, name, "config.pbtxt")):
                harness.missing("no ensemble %s under %s; run: tools/make-models DIR --only %s" % (name, source, name))
            os.symlink(os.path.abspath(os.path.join(source, name)), self.repository.join(name))
        with open(self.repository.workload, "a", encoding="utf-8") as f:
            f.writelines("%s,2,%d\n" % (name, SLO_MS) for name in ensembles)
        self.server = real.real_server(self.repository, **options)
        self.addCleanup(self.server.kill)
        self.client = real.KeptAlive(self.server.port)
        self.addCleanup(self.client.close)
        return self.server

    def ask(self, model, **inputs):
        """{output: array}"""
        status, answer = self.client.infer(real.Question(model, inputs, {}), "id")
        self.assertEqual(status, 200, answer)
        kinds = {"FP32": numpy.float32, "INT64": numpy.int64}
        return {name: numpy.frombuffer(data, kinds[datatype]).reshape(shape)
                for name, (datatype, shape, data) in answer[1].items()}

    def assert_same(self, got, want):
        self.assertEqual(got.shape, want.shape)
        self.assertLessEqual(float(numpy.abs(got - want).max()), TOLERANCE)

    def test_digits_pair_is_right_and_equals_its_steps(self):
        samples = real.need_samples()
        self.serve(["digits-pair"], ["digits", "digits-mean"])
        images = {}
        for s in samples:
            images.setdefault(s["label"], []).append(s["image"])
        pairs = [(a, b, label) for label, rows in images.items() for a, b in zip(rows[::2], rows[1::2])]
        right = 0
        for at in range(0, len(pairs), 8):
            chunk = pairs[at:at + 8]
            left = numpy.array([p[0] for p in chunk], numpy.float32)
            second = numpy.array([p[1] for p in chunk], numpy.float32)
            whole = self.ask("digits-pair", left=left, right=second)
            first, other = self.ask("digits", image=left), self.ask("digits", image=second)
            mean = self.ask("digits-mean", left=first["probabilities"], right=other["probabilities"])
            self.assert_same(whole["probabilities"], mean["probabilities"])
            numpy.testing.assert_array_equal(whole["label"], mean["label"])
            numpy.testing.assert_array_equal(whole["left_label"], first["label"])
            right += int((whole["label"][:, 0] == numpy.array([p[2] for p in chunk])).sum())
        self.assertGreaterEqual(right / len(pairs), 0.97)
        self.assertEqual(self.server.model_status("digits-pair")["failed"], 0)
        self.server.stop()

    def test_traffic_equals_its_steps_and_its_crop_is_the_best_box(self):
        self.serve(["traffic"], ["ssd-mobilenet", "crop-resize", "googlenet", "vgg16"])
        image = numpy.random.default_rng(5).random((2, 3, 300, 300), dtype=numpy.float32)
        found = self.ask("ssd-mobilenet", image=image)
        crop = self.ask("crop-resize", image=image, boxes=found["boxes"], scores=found["scores"])["crop"]
        for item in range(2):
            best = found["scores"][item, :, 1:].max(axis=1).argmax()
            top, left, bottom, right = numpy.clip(found["boxes"][item, best], 0, 1)
            self.assertLess(float(numpy.abs(crop[item] - cut(image[item], top, left, bottom, right)).max()), 1e-3)
        begin = time.monotonic()
        whole = self.ask("traffic", image=image)
        print("traffic, two items: %.0f ms" % ((time.monotonic() - begin) * 1000))
        self.assert_same(whole["car"], self.ask("googlenet", data=crop)["prob"])
        self.assert_same(whole["person"], self.ask("vgg16", data=crop)["prob"])
        self.server.stop()

    def test_game_equals_its_steps_and_reads_six_digits_in_one_batch(self):
        self.serve(["game"], ["resnet50", "lenet"])
        rng = numpy.random.default_rng(6)
        image = rng.random((1, 3, 224, 224), dtype=numpy.float32)
        digit = rng.random((1, 1, 28, 28), dtype=numpy.float32)
        whole = self.ask("game", image=image, digit=digit)
        self.assert_same(whole["scene"], self.ask("resnet50", data=image)["prob"])
        lenet = self.ask("lenet", data=digit)["prob"]
        for n in range(1, 7):
            self.assert_same(whole["digit%d" % n], lenet)
        stats = real.statistics(self.server, "lenet")
        self.assertEqual(stats["inference_count"], 7)
        self.server.stop()


def cut(image, top, left, bottom, right, size=224):
    """Bilinear samples of the box, pixel centres at halves, edges repeated."""
    def along(low, high, count):
        at = (low + max(high - low, 1 / 300) * (numpy.arange(size) + 0.5) / size) * count - 0.5
        at = numpy.clip(at, 0, count - 1)
        first = numpy.minimum(numpy.floor(at).astype(int), count - 2)
        return first, (at - first).astype(numpy.float32)

    (y, fy), (x, fx) = along(top, bottom, image.shape[1]), along(left, right, image.shape[2])
    rows = image[:, y] * (1 - fy)[:, None] + image[:, y + 1] * fy[:, None]
    return rows[:, :, x] * (1 - fx) + rows[:, :, x + 1] * fx


if __name__ == "__main__":
    real.main(lambda: real.library_path())
