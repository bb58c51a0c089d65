"""Everyone gets the answer to their own question: many clients, random sizes, batches shared, bytes compared."""
import random
import threading
import unittest

from harness import Load, Repository, Server, binary, floats, infer_json, main, plan_json, strings, tensor, wait_for

THREADS = 32
REQUESTS = 4000


class Answers(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.repository.add("identity", latency_ms=0.3, latency_ms_per_item=0.02)
        self.repository.add("wide", inputs=("IN:UINT8:-1x-1",), outputs=("OUT:UINT8:-1x-1", "COPY:UINT8:-1x-1"), latency_ms=0.3)
        self.repository.add("text", inputs=("IN:BYTES:-1x2", "SIDE:INT64:-1x1"), outputs=("OUT:BYTES:-1x2",), latency_ms=0.3)
        self.repository.add("fixed", inputs=("IN:FP32:8x4",), outputs=("OUT:FP32:8x4",), latency_ms=0.3)
        plan = self.repository.write(".plan.json", plan_json([(100, 0, [
            ("identity", 32, 2), ("wide", 32, 2), ("text", 32, 2), ("fixed", 8, 2)])]))
        self.server = Server(self.repository, plan=plan)
        self.addCleanup(self.repository.close)
        self.addCleanup(self.server.kill)

    def identity(self, rng, items, name):
        values = [float(rng.randrange(1 << 20)) for _ in range(16 * items)]
        want = {"OUTPUT": ("FP32", [items, 16], floats(values))}
        if rng.random() < 0.3:
            want = {"OUTPUT": ("FP32", [items, 16], values)}
            return "identity", infer_json(tensor("INPUT", "FP32", [items, 16], values), id=name), None, want
        body, headers = binary([("INPUT", "FP32", [items, 16], floats(values))], id=name, parameters={"binary_data_output": True})
        return "identity", body, headers, want

    def wide(self, rng, items, name):
        width = rng.choice((1, 3, 64, 1000, 4096))
        data = rng.randbytes(items * width)
        body, headers = binary([("IN", "UINT8", [items, width], data)], id=name, parameters={"binary_data_output": True})
        return "wide", body, headers, {"OUT": ("UINT8", [items, width], data), "COPY": ("UINT8", [items, width], data)}

    def text(self, rng, items, name):
        values = [rng.randbytes(rng.choice((0, 1, 5, 300))) for _ in range(2 * items)]
        data = strings(*values)
        body, headers = binary([("IN", "BYTES", [items, 2], data), ("SIDE", "INT64", [items, 1], list(range(items)))], id=name,
                               parameters={"binary_data_output": True})
        return "text", body, headers, {"OUT": ("BYTES", [items, 2], data)}

    def fixed(self, rng, items, name):
        items = min(items, 8)
        values = floats([float(rng.randrange(1 << 20)) for _ in range(4 * items)])
        body, headers = binary([("IN", "FP32", [items, 4], values)], id=name, parameters={"binary_data_output": True})
        return "fixed", body, headers, {"OUT": ("FP32", [items, 4], values)}

    def test_every_answer_is_the_one_expected(self):
        done = threading.Event()
        numbers = iter(range(REQUESTS))
        lock = threading.Lock()

        def one(thread, number, client):
            with lock:
                if next(numbers, None) is None:
                    done.set()
                    return "spare"
            rng = random.Random(thread * 1000003 + number)
            items = rng.choice((1, 1, 1, 2, 3, 5, 8, 32))
            name = "%d-%d" % (thread, number)
            model, body, headers, want = rng.choice((self.identity, self.identity, self.wide, self.text, self.fixed))(rng, items, name)
            r = client.request("POST", "/v2/models/%s/infer" % model, body, headers)
            assert r.status == 200, r
            answer = r.head_json()
            assert (answer["id"], answer["model_name"]) == (name, model), (answer, name, model)
            assert r.outputs() == want, "a wrong answer for %s of %s, %d items" % (name, model, items)
            return model

        load = Load(self.server.port, THREADS, one)
        wait_for(lambda: done.is_set() or load.problems, "all requests sent", 100)
        counts = load.stop()
        sent = sum(n for word, n in counts.items() if word not in ("spare", "closed"))
        self.assertEqual(counts.get("closed", 0), 0)
        self.assertEqual(sent, REQUESTS)
        stats = {s["name"]: s for s in self.server.get("/v2/models/stats").json()["model_stats"]}
        for model, s in stats.items():
            self.assertEqual(s["inference_stats"]["success"]["count"], counts[model], model)
            self.assertEqual(s["inference_stats"]["fail"]["count"], 0, model)
        self.assertLess(sum(s["execution_count"] for s in stats.values()), sent, "no two requests ever shared a batch")
        self.assertEqual(self.server.metric("gpulet_worker_lost_total"), 0)
        self.server.stop()


if __name__ == "__main__":
    main()
