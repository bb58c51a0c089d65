"""Real models give the answers that a direct run of them gives, whatever shares their batches and their gpu-let."""
import json
import threading
import time
import unittest

import real_models as real

real.need_python("numpy", "onnxruntime")
import numpy  # noqa: E402

DIGITS = 10000
THREADS = 32
DEADLINE_S = 60.0
SLO_MS = 60000  # nothing may be refused here: all answers are wanted


class Answers(unittest.TestCase):
    def setUp(self):
        self.samples = real.need_samples()
        self.direct = real.Direct("digits", "identity", "ocr-rec", "vad")
        self.repository = real.RealRepository(digits=SLO_MS, identity=SLO_MS, ocr_rec=SLO_MS, vad=SLO_MS)
        self.addCleanup(self.repository.close)
        self.rng = numpy.random.default_rng(7)
        self.server = real.real_server(self.repository, [
            # digits waits for ocr-rec, which takes long, again and again: then its requests share batches.
            (1, 0, [("digits", 32, 2), ("ocr-rec", 8, 100)]), (1, 1, [("identity", 32, 1), ("vad", 1, 1)])])
        self.addCleanup(self.server.kill)

    def digits(self):
        """A choice of samples costs no run of its own: each sample was run alone, once."""
        images = numpy.array([s["image"] for s in self.samples], numpy.float32)
        alone = [self.direct.run("digits", image=image[None]) for image in images]
        want = {name: numpy.concatenate([a[name] for a in alone]) for name in alone[0]}
        labels = numpy.array([s["label"] for s in self.samples])

        def make(rng):
            rows = [rng.randrange(len(images)) for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8, 17)))]
            return real.Question("digits", {"image": images[rows]}, {name: a[rows] for name, a in want.items()}, labels[rows])
        return make

    def others(self):
        """Requests of the other models: every shape, every batch, each run directly."""
        made = []
        for width in (32, 48, 64, 100, 160, 320):
            for items in (1, 2, 3, 8):
                if items * width <= 8 * 100 or items == 8 and width == 320:
                    made.append(self.ask("ocr-rec", x=self.random(items, 3, 48, width)))
        for length, rate in ((576, 16000), (512, 16000), (320, 16000), (288, 8000), (256, 8000)):
            for items in (1, 2, 5):
                made.append(self.ask("vad", input=self.random(items, length), state=self.random(2, items, 128),
                                     sr=numpy.array(rate, numpy.int64)))
        for items in (1, 2, 7, 16, 33, 64):
            made.append(self.ask("identity", input=self.random(items, 16)))
        return made

    def random(self, *shape):
        return self.rng.standard_normal(shape).astype(numpy.float32)

    def ask(self, model, **inputs):
        return real.Question(model, inputs, self.direct.run(model, **inputs))

    def test_every_answer_equals_a_direct_run_whatever_shares_its_batch(self):
        digits, others = self.digits(), self.others()
        left = {"digits": DIGITS, "ocr-rec": 10 * sum(q.model == "ocr-rec" for q in others)}
        lock = threading.Lock()
        right, seen = [0, 0], {}

        def choose(rng):
            """All of the digits; the others beside them, ocr-rec (which takes long) so many times."""
            other = rng.choice(others)
            with lock:
                if rng.random() < 0.1 and left.get(other.model, 1) > 0:
                    name = other.model
                else:
                    name = "digits"
                if left["digits"] == 0:
                    return None
                if name in left:
                    left[name] -= 1
            return digits(rng) if name == "digits" else other

        def look(question, answer):
            seen[question.model] = seen.get(question.model, 0) + 1
            if question.model == "digits":
                found = real.labels_of(answer)
                right[0] += sum(a == b for a, b in zip(found, question.label))
                right[1] += len(found)

        started = time.monotonic()
        sent = real.Senders(self.server.port, THREADS, choose, look).join(DEADLINE_S)
        seconds = time.monotonic() - started
        wrong = [(s.model, s.status, s.problem) for s in sent if s.problem is not None]
        self.assertEqual(wrong[:5], [])
        self.assertEqual(seen["digits"], DIGITS)
        self.assertGreaterEqual(min(seen.get(m, 0) for m in ("identity", "ocr-rec", "vad")), 50)
        self.assertGreaterEqual(right[0], 0.95 * right[1])
        batches = {}
        for model, count in seen.items():
            stats = real.statistics(self.server, model)
            self.assertEqual(stats["inference_stats"]["success"]["count"], count)
            self.assertEqual(stats["inference_stats"]["fail"]["count"], 0)
            batches[model] = count / stats["execution_count"]
        self.assertGreater(batches["digits"], 1.2, "batches were not shared, so this shows little: %s" % batches)
        print(json.dumps({"requests": seen, "seconds": round(seconds, 2), "labels_right": round(right[0] / right[1], 4),
                          "requests_a_batch": {m: round(b, 2) for m, b in batches.items()}}))
        self.server.stop()


if __name__ == "__main__":
    real.main(real.need_cores, real.library_path, real.need_samples)
