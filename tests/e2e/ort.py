"""With ONNX Runtime and real models. The example models are used when GPULET_MODELS names their folder."""
import glob
import json
import math
import os
import random
import struct
import threading
import time
import unittest

from harness import (GPULET, Folder, Load, Repository, Server, binary, floats, half_sent, identity_body, identity_infer, infer_json, main,
                     missing, or_end, run, tensor, unfloats, wait_for)

MODELS = os.environ.get("GPULET_MODELS")
OWN_LIBRARY = glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".setup", "ort", "libonnxruntime.so*"))


# ---- the smallest ONNX writer: protobuf by hand ----

def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def value_info(name, dims):
    shape = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def onnx(op, inputs, outputs):
    """A model of one node. inputs and outputs: [(name, dims)]."""
    node = b"".join(field(1, name) for name, _ in inputs) + b"".join(field(2, name) for name, _ in outputs) + field(4, op)
    graph = field(1, node) + field(2, "g") + b"".join(field(11, value_info(*i)) for i in inputs)
    graph += b"".join(field(12, value_info(*o)) for o in outputs)
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


IDENTITY = onnx("Identity", [("INPUT", ["N", 16])], [("OUTPUT", ["N", 16])])


def environment(home):
    """Of a server that must write nowhere."""
    env = dict(os.environ, HOME=home, XDG_CACHE_HOME=home, XDG_STATE_HOME=home, XDG_CONFIG_HOME=home, TMPDIR=home)
    if "GPULET_ORT_LIBRARY" not in env and OWN_LIBRARY:
        env["GPULET_ORT_LIBRARY"] = os.path.realpath(OWN_LIBRARY[0])
    return env


class Case(unittest.TestCase):
    def setUp(self):
        self.repository, self.home = Repository(), Folder()
        self.addCleanup(self.repository.close)
        self.addCleanup(self.home.close)

    def use(self, *names):
        for name in names:
            if MODELS is None or not os.path.isdir(os.path.join(MODELS, name)):
                missing("GPULET_MODELS does not name a folder with '%s'; run: tools/make-models DIR and set GPULET_MODELS=DIR" % name)
            os.symlink(os.path.join(os.path.abspath(MODELS), name), self.repository.join(name))

    def serve(self, wait=True, slo_ms=60000, **options):
        """Objectives are so wide that a slow machine keeps them: it is answers that are looked at."""
        names = [n for n in os.listdir(self.repository.path) if not n.startswith(".")]
        workload = self.repository.write(".w.csv", "model,rate_rps,slo_ms\n" + "".join("%s,1,%d\n" % (n, slo_ms) for n in names))
        server = Server(self.repository, engine="ort", device="cpu", workload=workload, wait=wait, env=environment(self.home.path), **options)
        self.addCleanup(server.kill)
        return server

    def finish(self, server):
        server.stop()
        left = [os.path.join(d, f) for d, _, files in os.walk(self.home.path) for f in files]
        self.assertEqual(left, [], "something was written into the home folder")


class Prepared(Case):
    """A model that takes long to load is rewritten while nothing else is to do, and loaded from there the next time."""

    def start(self):
        server = self.serve(store=self.home.join("store.db"))
        self.wait_prepared(server)
        return server

    def wait_prepared(self, server):
        """By a process of idle priority: beside others that want every core it takes its time."""
        wait_for(lambda: server.get("/gpulet/v1/status").json()["preparing"] == 0, "all models prepared", 240)

    def answer(self, server, items):
        rng = random.Random(items)
        values = floats([rng.random() for _ in range(items * 3 * 224 * 224)])
        body, headers = binary([("data", "FP32", [items, 3, 224, 224], values)], parameters={"binary_data_output": True})
        r = server.infer("squeezenet", body, headers=headers)
        self.assertEqual(r.status, 200, r)
        (_, _, data), = r.outputs().values()
        return unfloats(data)

    def check(self, server, wanted):
        for items, values in wanted.items():
            for a, b in zip(self.answer(server, items), values):
                self.assertLess(abs(a - b), 1e-4 * max(1, abs(b)))

    def entries(self):
        return sorted(glob.glob(self.home.join("models", "*")))

    def test_answers_are_the_same_and_a_broken_entry_does_no_harm(self):
        self.use("squeezenet")
        server = self.start()
        name, = [i["name"] for i in server.get("/v2/models/squeezenet").json()["inputs"]]
        self.assertEqual(name, "data")
        meta = server.get("/v2/models/squeezenet").json()
        wanted = {items: self.answer(server, items) for items in (1, 3)}
        entry, = self.entries()
        server.stop()

        server = self.start()
        model, = server.get("/gpulet/v1/status").json()["models"]
        self.assertTrue(model["prepared"])
        self.assertEqual(server.get("/v2/models/squeezenet").json(), meta)
        self.check(server, wanted)
        worker, = [p for p in server.note_workers()]
        with open("/proc/%d/maps" % worker, encoding="ascii") as maps:
            self.assertIn(entry, maps.read())
        self.assertNotIn("prepared_refused", server.log())
        server.stop()
        self.assertEqual(self.entries(), [entry])

        weights = os.path.join(entry, "weights.bin")
        os.truncate(weights, os.path.getsize(weights) // 2)
        server = self.start()
        self.check(server, wanted)
        self.assertIn("prepared_refused", server.log())
        server.stop()

    def busy(self, patience_s):
        """A server that always has a request, and its load."""
        self.use("squeezenet", "identity")
        server = self.serve(store=self.home.join("store.db"), calibrate="false", patience_s=patience_s)

        def one(thread, number, client):
            body = infer_json(tensor("input", "FP32", [1, 16], [float(number)] * 16))
            r = client.request("POST", "/v2/models/identity/infer", body)
            assert r.status == 200, r
            return "200"
        load = Load(server.port, 2, one)
        self.addCleanup(load.stop)
        wait_for(lambda: load.count() > 20 or load.problems, "requests")
        return server, load

    def test_prepared_beside_requests_when_patience_ends(self):
        server, load = self.busy(0.3)
        self.wait_prepared(server)
        prepared = {m["model"]: m["prepared"] for m in server.get("/gpulet/v1/status").json()["models"]}
        self.assertTrue(prepared["squeezenet"], "the other one is prepared too where it took long enough to load")
        self.assertEqual(len(self.entries()), sum(prepared.values()))
        self.assertEqual(set(load.stop()), {"200"})
        server.stop()

    def test_not_prepared_beside_requests_while_there_is_patience(self):
        server, load = self.busy(1000)
        with half_sent(server, "identity", infer_json(tensor("input", "FP32", [1, 16], [0.0] * 16))):
            before = load.count()
            wait_for(lambda: load.count() > before + 20 or load.problems, "one request always open")
            self.assertEqual(self.entries(), [])
            time.sleep(1.5)
            self.assertEqual(self.entries(), [])
        self.assertEqual(set(load.stop()), {"200"})
        server.stop()

    def test_what_a_dead_server_left_half_made_goes_and_a_folder_of_others_is_refused(self):
        self.repository.add("identity", IDENTITY)
        left = self.home.join("models", "making-999999999-0123")
        os.makedirs(left)
        with open(os.path.join(left, "weights.bin"), "wb") as f:
            f.write(bytes(1000))
        os.chmod(self.home.join("models"), 0o700)
        self.start().stop()
        self.assertFalse(os.path.exists(left))
        os.chmod(self.home.join("models"), 0o777)
        server = self.serve(model_cache=self.home.join("models"), wait=False)
        self.assertEqual(server.wait_exit(), 1)
        self.assertIn("--model-cache", server.log())


class WarmUp(Case):
    """Inputs that may have any size are made up in the sizes that model_warmup says."""

    def add(self, a, b):
        inputs = "".join('inputs { key: "%s" value { data_type: TYPE_FP32 dims: %d random_data: true } }' % i for i in (("A", a), ("B", b)))
        self.repository.add("add", onnx("Add", [("A", ["N", "W"]), ("B", ["N", "V"])], [("C", ["N", "X"])]),
                            config='model_warmup { name: "usual" batch_size: 1 %s }\n' % inputs)

    def test_a_model_is_tried_with_them(self):
        self.add(7, 7)
        server = self.serve()
        self.assertNotIn("event=warm_up_failed", server.log())
        warmup, = server.get("/v2/models/add/config").json()["model_warmup"]
        self.assertEqual(warmup["inputs"]["B"], {"data_type": "TYPE_FP32", "dims": [7], "random_data": True})
        self.assertNotIn("model_warmup", server.log(), "it is said to be without effect")
        server.stop()
        self.add(7, 3)
        server = self.serve()
        self.assertIn("event=warm_up_failed model=add", server.log())
        self.assertEqual(server.infer("add", infer_json(tensor("A", "FP32", [1, 1], [1]), tensor("B", "FP32", [1, 1], [2]))).status, 200)
        server.stop()

    def profile(self):
        out = self.home.join("p.csv")
        words = ["profile", "--model-repository", self.repository.path, "--store", self.home.join("store.db"), "--out", out, "--json",
                 "--sizes", "1", "--batches", "1", "--seconds", "1", "--runs-max", "30"]
        code, text, err = run(GPULET, *words, env=environment(self.home.path))
        self.assertEqual(code, 0, err)
        with open(out, encoding="utf-8") as f:
            header, row = [line.strip().split(",") for line in f if line.strip() and not line.startswith("#")]
        return json.loads(text)["known"], float(dict(zip(header, row))["latency_ms"])

    def test_a_model_is_measured_with_them_and_known_by_them(self):
        self.add(16, 16)
        self.assertEqual(self.profile()[0], 0)
        known, small = self.profile()
        self.assertEqual(known, 1)
        self.add(4000000, 4000000)
        known, large = self.profile()
        self.assertEqual(known, 0)
        self.assertGreater(large, 10 * small)
        self.add(16, 16)
        self.assertEqual(self.profile(), (1, small))


class OwnModels(Case):
    def test_a_model_of_one_node(self):
        self.repository.add("identity", IDENTITY)
        server = self.serve()
        meta = server.get("/v2/models/identity").json()
        self.assertEqual(meta["inputs"], [{"name": "INPUT", "datatype": "FP32", "shape": [-1, 16]}])
        for items in (1, 2, 7, 32):
            identity_infer(server, items=items)
        self.assertIn("onnxruntime", meta["platform"])
        self.finish(server)

    def test_two_inputs_and_shapes_that_mix(self):
        self.repository.add("add", onnx("Add", [("A", ["N", "W"]), ("B", ["N", "W"])], [("C", ["N", "W"])]))
        server = self.serve()
        problems = []

        def client(seed):
            rng = random.Random(seed)
            try:
                with server.client() as c:
                    for _ in range(50):
                        items, width = rng.choice((1, 1, 2, 4)), rng.choice((1, 5, 100))
                        a, b = ([float(rng.randrange(1000)) for _ in range(items * width)] for _ in range(2))
                        body, headers = binary([("A", "FP32", [items, width], floats(a)), ("B", "FP32", [items, width], floats(b))],
                                               parameters={"binary_data_output": True})
                        r = c.request("POST", "/v2/models/add/infer", body, headers)
                        assert r.status == 200, r
                        assert r.outputs()["C"] == ("FP32", [items, width], floats([x + y for x, y in zip(a, b)]))
            except Exception as e:  # pylint: disable=broad-except
                problems.append(repr(e))
        threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(problems, [])
        self.finish(server)

    def test_outputs_that_have_no_batch_dimension(self):
        """The mean over everything: declared with a batch dimension, as exporters do, yet one figure whatever the batch."""
        self.repository.add("mean", onnx("ReduceMean", [("INPUT", ["N", 16])], [("MEAN", ["N", 1])]), config="max_batch_size: 8\n")
        server = self.serve()
        self.assertIn("event=model_unbatched model=mean", server.log())
        for i in range(5):
            r = server.infer("mean", infer_json(tensor("INPUT", "FP32", [1, 16], [float(i)] * 16)))
            self.assertEqual(r.status, 200, r)
            self.assertEqual(r.outputs()["MEAN"], ("FP32", [1, 1], [float(i)]))
        self.assertEqual(server.infer("mean", infer_json(tensor("INPUT", "FP32", [2, 16], [0.0] * 32))).status, 400)
        self.finish(server)

    def test_a_run_that_the_engine_refuses_is_an_error_of_that_request(self):
        self.repository.add("add", onnx("Add", [("A", ["N", "W"]), ("B", ["N", "V"])], [("C", ["N", "W"])])).add("identity", IDENTITY)
        server = self.serve()
        r = server.infer("add", infer_json(tensor("A", "FP32", [1, 3], [1, 2, 3]), tensor("B", "FP32", [1, 2], [1, 2])))
        self.assertIn(r.status, (400, 500), r)
        self.assertTrue(r.error())
        r = server.infer("add", infer_json(tensor("A", "FP32", [1, 3], [1, 2, 3]), tensor("B", "FP32", [1, 3], [1, 2, 3])))
        self.assertEqual(r.outputs()["C"][2], [2, 4, 6])
        identity_infer(server)
        self.assertEqual(server.metric("gpulet_worker_lost_total"), 0)
        self.finish(server)

    def test_bad_files_are_refused_in_clear_words_and_the_rest_is_served(self):
        bad = {"cut-off": IDENTITY[:60], "no-operator": onnx("NoSuchOperator", [("INPUT", ["N", 16])], [("OUTPUT", ["N", 16])]),
               "empty": b"", "text": b"this is no model\n" * 100}
        # The file and what is wrong with it, in the reader's words or the engine's.
        words = {"cut-off": r"cut-off/1/model\.onnx: not an ONNX model: a field is longer than what holds it at byte \d+$",
                 "empty": r"empty/1/model\.onnx: the file is empty$",
                 "text": r"text/1/model\.onnx: not an ONNX model: unknown kind of field at byte 0$",
                 "no-operator": r"no-operator/1/model\.onnx .*NoSuchOperator"}
        for name, data in bad.items():
            alone = Repository().add(name, data).add("identity", IDENTITY)
            try:
                server = Server(alone, engine="ort", device="cpu", wait=False, env=environment(self.home.path))
                self.addCleanup(server.kill)
                self.assertEqual(server.wait_exit(), 1, name)
                message = server.log().strip().splitlines()[-1]
                self.assertTrue(message.startswith("gpuletd: model %s: " % name), message)
                self.assertRegex(message, words[name])
            finally:
                alone.close()
            self.repository.add(name, data)
        self.repository.add("identity", IDENTITY)
        server = self.serve(skip_bad_models="true")
        identity_infer(server)
        index = {m["name"]: m for m in server.post("/v2/repository/index").json()}
        for name in bad:
            self.assertEqual(index[name]["state"], "UNAVAILABLE")
            self.assertRegex(index[name]["reason"], words[name])
            self.assertIn(server.infer(name, identity_body()).status, (400, 404, 503))
        self.finish(server)


class ExampleModels(Case):
    def test_digits_are_recognised(self):
        self.use("digits")
        with open(os.path.join(MODELS, "..", "samples", "digits.json"), encoding="utf-8") as f:
            samples = json.load(f)["samples"]
        server = self.serve()
        right = same = 0
        with server.client() as c:
            for begin, size in [(i, 1) for i in range(40)] + [(i, 32) for i in range(40, len(samples), 32)]:
                part = samples[begin:begin + size]
                body, headers = binary([("image", "FP32", [len(part), 64], floats([float(v) for s in part for v in s["image"]]))],
                                       outputs=[{"name": "label"}, {"name": "probabilities", "parameters": {"classification": 1}}])
                r = c.request("POST", "/v2/models/digits/infer", body, headers)
                self.assertEqual(r.status, 200, r)
                out = r.outputs()
                labels = out["label"][2]
                self.assertEqual([int(text.split(":")[1]) for text in out["probabilities"][2]], labels)
                right += sum(label == s["label"] for label, s in zip(labels, part))
                same += sum(label == s["predicted"] for label, s in zip(labels, part))
        self.assertGreaterEqual(right, 0.95 * len(samples))
        self.assertEqual(same, len(samples), "not what the model said when it was made")
        self.finish(server)

    def test_speech_is_told_from_silence_with_state_and_a_scalar(self):
        self.use("vad")
        server = self.serve()
        inputs = {i["name"]: i for i in server.get("/v2/models/vad").json()["inputs"]}
        self.assertEqual(inputs["sr"], {"name": "sr", "datatype": "INT64", "shape": []})
        rng = random.Random(3)

        def listen(chunks):
            state, heard = floats([0.0] * 256), []
            with server.client() as c:
                for chunk in chunks:
                    body, headers = binary([("input", "FP32", [1, len(chunk)], floats(chunk)), ("state", "FP32", [2, 1, 128], state),
                                            ("sr", "INT64", [], struct.pack("<q", 16000))], parameters={"binary_data_output": True})
                    r = c.request("POST", "/v2/models/vad/infer", body, headers)
                    self.assertEqual(r.status, 200, r)
                    out = r.outputs()
                    self.assertEqual(out["stateN"][:2], ("FP32", [2, 1, 128]))
                    state = out["stateN"][2]
                    heard.append(unfloats(out["output"][2])[0])
            return heard
        noise = [[rng.gauss(0, 0.3) for _ in range(576)] for _ in range(6)]
        silence = listen([[0.0] * 576] * 6)
        self.assertTrue(all(0 <= p < 0.5 for p in silence), silence)
        first, second = listen(noise), listen(noise)
        self.assertEqual(first, second)
        self.assertNotEqual(first, silence)
        self.finish(server)

    def test_lines_of_several_widths_at_once(self):
        self.use("ocr-rec")
        server = self.serve()
        rng = random.Random(5)
        lines = [(width, struct.pack("<%df" % (3 * 48 * width), *[rng.random() for _ in range(3 * 48 * width)]))
                 for width in (32, 64, 32, 96, 64, 32, 32, 64)]

        def read(client, line):
            body, headers = binary([("x", "FP32", [1, 3, 48, line[0]], line[1])], parameters={"binary_data_output": True})
            r = client.request("POST", "/v2/models/ocr-rec/infer", body, headers)
            assert r.status == 200, r
            (_, shape, data), = r.outputs().values()
            return shape, unfloats(data)
        with server.client() as c:
            alone = [read(c, line) for line in lines]
        together = [None] * len(lines)

        def one(i):
            with server.client() as c:
                together[i] = read(c, lines[i])
        threads = [threading.Thread(target=one, args=(i,)) for i in range(len(lines))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for a, b in zip(alone, together):
            self.assertIsNotNone(b)
            self.assertEqual(a[0], b[0])
            self.assertTrue(all(math.isclose(x, y, rel_tol=1e-3, abs_tol=1e-4) for x, y in zip(a[1], b[1])))
        self.finish(server)

    def test_a_cut_off_copy_of_a_real_model(self):
        self.use("digits")
        with open(os.path.join(MODELS, "digits", "1", "model.onnx"), "rb") as f:
            data = f.read()
        for share in (0.3, 0.9, 0.999):
            self.repository.add("cut-%d" % (share * 1000), data[:int(len(data) * share)])
        server = self.serve(skip_bad_models="true")
        states = {m["name"]: (m["state"], m["reason"]) for m in server.post("/v2/repository/index").json()}
        self.assertEqual(states.pop("digits")[0], "READY")
        for name, (state, reason) in states.items():
            self.assertEqual(state, "UNAVAILABLE", name)
            self.assertTrue(reason, name)
        r = server.infer("digits", infer_json(tensor("image", "FP32", [1, 64], [0.0] * 64)))
        self.assertEqual(r.status, 200, r)
        self.finish(server)


def need_library():
    if not os.access(GPULET, os.X_OK):
        return
    home = Folder()
    code, out, err = run(GPULET, "doctor", "--json", env=environment(home.path))
    home.close()
    engine = next((c for c in json.loads(out or '{"checks":[]}')["checks"] if c["check"] == "engine ort"), {"ok": False, "text": err})
    if not engine["ok"]:
        missing("no engine: %s (doctor: %d); run: tools/setup engine" % (engine["text"], code))


if __name__ == "__main__":
    or_end(need_library)
    main()
