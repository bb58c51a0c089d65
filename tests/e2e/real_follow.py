"""Plans are changed while real models are asked: every answer is right, and workers go on where they can."""
import time
import unittest

import harness
import real_models as real

real.need_python("numpy", "onnxruntime")
import numpy  # noqa: E402

CHANGES = 12
DEADLINE_S = 150.0
SLO_MS = 60000  # nothing may be refused here: all answers are wanted


class Follow(unittest.TestCase):
    def setUp(self):
        self.direct = real.Direct("digits", "identity", "ocr-rec", "vad")
        self.repository = real.RealRepository(digits=SLO_MS, identity=SLO_MS, ocr_rec=SLO_MS, vad=SLO_MS)
        self.addCleanup(self.repository.close)
        self.rng = numpy.random.default_rng(11)
        self.server = real.real_server(self.repository, self.cut(0), follow="false")
        self.addCleanup(self.server.kill)

    @staticmethod
    def cut(number):
        """The heavy model moves between two gpu-lets that go on; now and then they become one."""
        if number % 4 == 3:
            return [(2, None, [("digits", 8, 2), ("ocr-rec", 4, 50), ("identity", 8, 1), ("vad", 1, 1)])]
        there = [("ocr-rec", 4, 50)] if number % 4 == 1 else []
        return [(1, None, [("digits", 8, 2)] + ([] if there else [("ocr-rec", 4, 50)])), (1, None, [("identity", 8, 1), ("vad", 1, 1)] + there)]

    def random(self, *shape):
        return self.rng.standard_normal(shape).astype(numpy.float32)

    def ask(self, model, **inputs):
        return real.Question(model, inputs, self.direct.run(model, **inputs))

    def questions(self):
        samples = real.need_samples()
        images = numpy.array([s["image"] for s in samples[:20]], numpy.float32)
        return ([self.ask("digits", image=image[None]) for image in images] +
                [self.ask("identity", input=self.random(items, 16)) for items in (1, 3, 8)] +
                [self.ask("ocr-rec", x=self.random(1, 3, 48, width)) for width in (32, 64)] +
                [self.ask("vad", input=self.random(1, 512), state=self.random(2, 1, 128), sr=numpy.array(16000, numpy.int64))])

    def test_every_answer_is_right_while_plans_change(self):
        questions = self.questions()
        ended = []
        senders = real.Senders(self.server.port, 4, lambda rng: None if ended else rng.choice(questions))
        kept = 0
        for i in range(1, CHANGES + 1):
            before = {g["pid"] for g in self.server.status()["gpulets"]}
            r = self.server.post("/gpulet/v1/plan", harness.plan_json(self.cut(i), device="cpu").encode())
            self.server.note_workers()
            self.assertEqual(r.status, 200, r)
            kept += len(before & {g["pid"] for g in self.server.status()["gpulets"] if g["state"] == "serving"})
            time.sleep(0.2)
        ended.append(True)
        sent = senders.join(DEADLINE_S)
        self.assertEqual([(s.model, s.status, s.problem) for s in sent if s.problem is not None][:5], [])
        self.assertEqual({s.model for s in sent}, {"digits", "identity", "ocr-rec", "vad"})
        for model in {s.model for s in sent}:
            s = self.server.model_status(model)
            self.assertEqual((s["offered"], s["failed"] + s["rejected"]), (sum(x.model == model for x in sent), 0))
        # Of every four changes two are made by workers that go on, two of them at a time.
        self.assertGreaterEqual(kept, CHANGES)
        self.server.stop()


if __name__ == "__main__":
    real.main(real.need_cores, real.library_path, real.need_samples)
