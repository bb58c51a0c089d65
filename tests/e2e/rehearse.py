"""A deployment is rehearsed without its models: the fake engine takes what they take, answers zeros of the shapes that
they answer, and lasts as long as a profile says that they do."""
import json
import os
import shutil
import time
import unittest

from harness import (GPULET, SIZES, Folder, Repository, Server, binary, infer_json, main, missing, plan_json, run, script, strings, tensor,
                     wait_for)
from ort import MODELS, onnx


class Case(unittest.TestCase):
    def setUp(self):
        self.repository, self.folder = Repository(), Folder()
        self.addCleanup(self.repository.close)
        self.addCleanup(self.folder.close)

    def serve(self, **options):
        server = Server(self.repository, **options)
        self.addCleanup(server.kill)
        return server

    def refused(self, *words):
        """The repository is not served, for a reason that has these words."""
        server = self.serve(wait=False)
        self.assertEqual(server.wait_exit(), 1)
        for word in words:
            self.assertIn(word, server.log())

    def configured(self, name, text):
        """A model of which there is but its configuration."""
        self.repository.write(os.path.join(name, "config.pbtxt"), text)

    def zeros(self, server, model, *inputs):
        """The outputs of one request, {name: (datatype, shape)}, which must all be zero."""
        tensors = []
        for name, datatype, shape in inputs:
            elements = 1
            for dim in shape:
                elements *= dim
            data = strings(*[b"text"] * elements) if datatype == "BYTES" else b"\1" * (elements * SIZES[datatype])
            tensors.append((name, datatype, shape, data))
        body, headers = binary(tensors, parameters={"binary_data_output": True})
        r = server.infer(model, body, headers=headers)
        self.assertEqual(r.status, 200, r.body[:300])
        self.assertFalse(any(any(data) for _, _, data in r.outputs().values()))
        return {name: (datatype, shape) for name, (datatype, shape, _) in r.outputs().items()}


class Onnx(Case):
    """The file says what the model takes and gives; nothing is run."""

    def use(self, *names):
        for name in names:
            if MODELS is None or not os.path.isdir(os.path.join(MODELS, name)):
                missing("GPULET_MODELS does not name a folder with '%s'; run: tools/make-models DIR and set GPULET_MODELS=DIR" % name)
            os.symlink(os.path.join(os.path.abspath(MODELS), name), self.repository.join(name))

    def test_real_models_as_they_are(self):
        self.use("lenet", "squeezenet", "vad", "digits", "digits-mean", "digits-pair")
        s = self.serve()
        self.assertEqual(self.zeros(s, "lenet", ("data", "FP32", [3, 1, 28, 28])), {"prob": ("FP32", [3, 10])})
        self.assertEqual(self.zeros(s, "squeezenet", ("data", "FP32", [1, 3, 224, 224])), {"prob": ("FP32", [1, 1000])})
        self.assertEqual(self.zeros(s, "vad", ("input", "FP32", [1, 512]), ("state", "FP32", [2, 1, 128]), ("sr", "INT64", []))["output"],
                         ("FP32", [1, 1]))
        self.assertEqual(self.zeros(s, "digits-pair", ("left", "FP32", [2, 64]), ("right", "FP32", [2, 64])),
                         {"label": ("INT64", [2, 1]), "probabilities": ("FP32", [2, 10]), "left_label": ("INT64", [2, 1])})
        meta = s.get("/v2/models/lenet").json()
        self.assertEqual([(t["name"], t["shape"]) for t in meta["inputs"] + meta["outputs"]],
                         [("data", [-1, 1, 28, 28]), ("prob", [-1, 10])])
        s.stop()

    def test_dynamic_dimensions_follow_the_inputs(self):
        self.repository.add("free", onnx("NotThere", [("A", ["N", 4]), ("B", ["N", "L"])], [("X", ["N", "M", "K"]), ("Y", ["N", "Z"])]),
                            config='output [ { name: "X" }, { name: "Y" data_type: TYPE_FP32 dims: [ 7 ] } ]\n')
        s = self.serve()
        self.assertEqual(self.zeros(s, "free", ("A", "FP32", [2, 4]), ("B", "FP32", [2, 5])),
                         {"X": ("FP32", [2, 5, 1]), "Y": ("FP32", [2, 7])})
        self.assertEqual(self.zeros(s, "free", ("A", "FP32", [1, 4]), ("B", "FP32", [1, 9]))["X"], ("FP32", [1, 9, 1]))
        r = s.infer("free", infer_json(tensor("A", "FP32", [1, 5], [0.0] * 5), tensor("B", "FP32", [1, 1], [0.0])))
        self.assertEqual(r.status, 400)
        s.stop()

    def test_what_is_wrong_is_said(self):
        model = onnx("Identity", [("A", ["N", 4])], [("X", ["N", 4])])
        self.repository.add("m", model, config='input { name: "B" data_type: TYPE_FP32 dims: 4 }\n')
        self.refused("input: expected one of the model's (A), found 'B'")
        self.repository.add("m", model, config='output { name: "X" data_type: TYPE_INT64 dims: 4 }\n')
        self.refused("output X: data_type: expected FP32, found INT64")
        self.repository.add("m", model[:-9], config="")
        self.refused("config.pbtxt lists no input and the file is no script: ", "model.onnx")
        self.repository.add("m", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", config="")
        self.refused("config.pbtxt lists no input and the file is no script: ", "model.onnx")


class Configured(Case):
    """There is no model file, or an empty one: config.pbtxt says what the model takes and gives."""

    MIXED = """max_batch_size: 4
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }, { name: "IDS" data_type: TYPE_INT64 dims: [ -1 ] } ]
output [ { name: "WORDS" data_type: TYPE_STRING dims: [ 2 ] }, { name: "HIDDEN" data_type: TYPE_FP16 dims: [ -1, 3, -1 ] } ]
"""

    def test_tensors_are_those_of_the_configuration(self):
        self.configured("bare", self.MIXED)
        self.repository.add("blank", "", config=self.MIXED)
        self.repository.add("pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", config=self.MIXED)
        self.repository.add("single", "", config='input { name: "I" data_type: TYPE_FP32 dims: [ -1, 2 ] }\n'
                                                 'output { name: "O" data_type: TYPE_INT8 dims: [ 3, -1 ] }\n')
        self.repository.add("folded", "", config='max_batch_size: 8\ninput { name: "I" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 2, 2 ] } }\n'
                                                 'output { name: "O" data_type: TYPE_FP32 dims: [ 6 ] reshape { shape: [ 2, 3 ] } }\n')
        s = self.serve()
        for model in ("bare", "blank", "pointer"):
            self.assertEqual(self.zeros(s, model, ("TEXT", "BYTES", [3, 1]), ("IDS", "INT64", [3, 5])),
                             {"WORDS": ("BYTES", [3, 2]), "HIDDEN": ("FP16", [3, 5, 3, 1])})
        self.assertEqual(self.zeros(s, "single", ("I", "FP32", [7, 2])), {"O": ("INT8", [3, 1])})
        self.assertEqual(self.zeros(s, "folded", ("I", "FP32", [2, 4])), {"O": ("FP32", [2, 6])})
        r = s.infer("bare", infer_json(tensor("TEXT", "BYTES", [5, 1], ["a"] * 5), tensor("IDS", "INT64", [5, 1], [1] * 5)))
        self.assertEqual(r.status, 400)
        self.assertIn("event=rehearsed_without_times gpulet=fake0.1 model=bare device=fake ", s.log())
        s.stop()

    def test_a_script_may_leave_the_tensors_to_the_configuration(self):
        one = 'max_batch_size: 4\ninput { name: "I" data_type: TYPE_FP32 dims: 2 }\noutput { name: "O" data_type: TYPE_FP32 dims: 3 }\n'
        self.repository.add("m", "fail_run_every=2\n", config=one)
        s = self.serve()
        body = infer_json(tensor("I", "FP32", [1, 2], [1.0, 2.0]))
        answers = [s.infer("m", body) for _ in range(4)]
        self.assertEqual(sorted(r.status for r in answers), [200, 200, 500, 500])
        self.assertEqual(next(r for r in answers if r.status == 200).outputs()["O"], ("FP32", [1, 3], [0, 0, 0]))
        s.stop()

    def test_a_file_that_comes_later_counts(self):
        one = 'max_batch_size: 4\ninput { name: "I" data_type: TYPE_FP32 dims: 2 }\noutput { name: "O" data_type: TYPE_FP32 dims: 2 }\n'
        self.configured("m", one)
        s = self.serve(store=self.folder.join("store.db"), calibrate="true", calibrate_seconds="0.1")
        body = infer_json(tensor("I", "FP32", [1, 2], [1.0, 2.0]))
        self.assertEqual(s.infer("m", body).outputs()["O"], ("FP32", [1, 2], [0, 0]))
        self.repository.add("m", script(inputs=("I:FP32:-1x2",), outputs=("O:FP32:-1x2",)))
        self.assertEqual(s.post("/v2/repository/models/m/load").status, 200)
        self.assertEqual(s.infer("m", body).outputs()["O"], ("FP32", [1, 2], [1, 2]))
        shutil.rmtree(self.repository.join("m", "1"))
        self.assertEqual(s.post("/v2/repository/models/m/load").status, 200)
        self.assertEqual(s.infer("m", body).outputs()["O"], ("FP32", [1, 2], [0, 0]))
        self.assertNotIn("event=content_unknown", s.log())
        s.stop()

    def test_what_is_wrong_is_said(self):
        output = 'output { name: "O" data_type: TYPE_FP32 dims: 2 }\n'
        for text, error in (
                (output, "input: expected at least one, since no model file names any, found none"),
                ('input { name: "I" data_type: TYPE_FP32 dims: 2 }\n', "output: expected at least one, since no model file names any, found none"),
                ('input { name: "I" dims: 2 }\n' + output, "input I: data_type: expected one, since no model file says it, found none"),
                ('input { name: "I" data_type: TYPE_FP32 }\n' + output, "input I: dims: expected some, since no model file says them, found none"),
                ('max_batch_size: 5000\ninput { name: "I" data_type: TYPE_FP32 dims: 2 }\n' + output, "max_batch_size: expected 0 to 1024, found 5000")):
            self.configured("m", text)
            self.refused(error)
        self.configured("m", 'parameters { key: "slo_ms" value { string_value: "5" } }\n')
        self.refused("no version folder")


class Times(Case):
    PROFILE = "device,model,units,batch,latency_ms\n" + "".join(
        "%s,%s,100,1,%d\n%s,%s,100,8,%d\n" % (device, model, ms, device, model, 4 * ms)
        for device, ms in (("quick", 10), ("slow", 100)) for model in ("a", "b"))
    DEVICES = "types:\n  quick: {units: 100, sizes: [100]}\n  slow: {units: 100, sizes: [100]}\ndevices: {quick: 1, slow: 1}\n"

    def plan(self):
        """Model a on the quick device, b on the slow one."""
        devices = ",".join('{"type": "%s", "index": 0, "gpulets": [{"units": 100, "slot": 0, "duty_ms": 800, "models": [{"model": "%s", '
                           '"batch": 8, "instances": 1, "rate_rps": 1, "capacity_rps": 10, "latency_ms": %d, "interference": 1.0, '
                           '"worst_ms": 2000}]}]}' % place for place in (("quick", "a", 40), ("slow", "b", 400)))
        return ('{"planner": "by-hand", "feasible": true, "devices_used": 2, "lower_bound": null, "proved_optimal": false, '
                '"elapsed_ms": 0, "models": [], "devices": [%s], "reason": null}' % devices)

    def lasts(self, server, model, items=1):
        """The shortest of some requests, in seconds: a busy machine makes them longer."""
        body = infer_json(tensor("I", "FP32", [items, 2], [0.0] * 2 * items))
        times = []
        with server.client() as c:
            for _ in range(5):
                begun = time.monotonic()
                r = c.request("POST", "/v2/models/%s/infer" % model, body)
                times.append(time.monotonic() - begun)
                self.assertEqual(r.status, 200, r)
        return min(times)

    def test_each_device_type_has_its_own_times(self):
        for model in ("a", "b"):
            self.configured(model, 'max_batch_size: 8\ninput { name: "I" data_type: TYPE_FP32 dims: 2 }\noutput { name: "O" data_type: TYPE_FP32 dims: 1 }\n')
        s = self.serve(fake_devices="quick:100:1,slow:100:1", devices=self.folder.write("d.yaml", self.DEVICES),
                       profiles=self.folder.write("p.csv", self.PROFILE), plan=self.folder.write("plan.json", self.plan()))
        slow = self.lasts(s, "b")
        self.assertGreater(slow / self.lasts(s, "a"), 4, "ten times as long but for what a busy machine adds to both")
        self.assertGreater(self.lasts(s, "b", 8) / slow, 2, "four times as long")
        self.assertNotIn("event=rehearsed_without_times", s.log())
        s.stop()

    def test_a_model_without_a_file_is_profiled_as_well(self):
        self.configured("a", 'max_batch_size: 8\ninput { name: "I" data_type: TYPE_FP32 dims: 2 }\noutput { name: "O" data_type: TYPE_FP32 dims: 1 }\n')
        out = self.folder.join("out.csv")
        for known in (0, 1):
            code, text, err = run(GPULET, "profile", "--model-repository", self.repository.path, "--engine", "fake", "--device", "fake",
                                  "--fake-devices", "slow:100:1", "--fake-profile", self.folder.write("p.csv", self.PROFILE), "--sizes", "100",
                                  "--batches", "1", "--runs-max", "5", "--store", self.folder.join("store.db"), "--out", out, "--json")
            self.assertEqual(code, 0, err)
            self.assertEqual(json.loads(text)["known"], known)
            with open(out, encoding="utf-8") as f:
                header, row = [line.strip().split(",") for line in f if line.strip() and not line.startswith("#")]
            self.assertGreaterEqual(float(dict(zip(header, row))["latency_ms"]), 99)

    def test_a_fixed_batch_takes_the_time_of_all_of_it(self):
        for model, batch in (("fixed", 4), ("free", "N")):
            self.repository.add(model, onnx("Identity", [("I", [batch, 2])], [("O", [batch, 2])]))
        rows = "".join("fake,%s,100,%d,%d\n" % (model, batch, ms) for model in ("fixed", "free") for batch, ms in ((1, 10), (4, 100)))
        s = self.serve(profiles=self.folder.write("p.csv", "device,model,units,batch,latency_ms\n" + rows))
        self.assertGreater(self.lasts(s, "fixed") / self.lasts(s, "free"), 4, "ten times as long but for what a busy machine adds to both")
        s.stop()

    def test_lent_units_count(self):
        for model in ("heavy", "light"):
            self.configured(model, 'max_batch_size: 8\ninput { name: "I" data_type: TYPE_FP32 dims: 2 }\noutput { name: "O" data_type: TYPE_FP32 dims: 1 }\n')
        rows = "fake,heavy,50,1,200\nfake,heavy,100,1,20\nfake,light,50,1,1\nfake,light,100,1,1\n"
        s = self.serve(plan=self.folder.write("plan.json", plan_json([(50, 0, [("heavy", 1, 200)]), (50, 50, [("light", 1, 1)])])),
                       profiles=self.folder.write("p.csv", "device,model,units,batch,latency_ms\n" + rows),
                       workload=self.folder.write("w.csv", "model,rate_rps,slo_ms\nheavy,1,60000\nlight,1,60000\n"))
        wait_for(lambda: self.lasts(s, "heavy") < 0.19, "a run on the neighbour's units as well")
        s.stop()


if __name__ == "__main__":
    main()
