"""Every route, every kind of body, every way of asking: what a good client may do."""
import gzip
import json
import math
import os
import socket
import struct
import unittest
import zlib

from harness import (SIZES, Client, Server, binary, floats, head, identity_body, identity_infer, infer_json, main,
                     standard_repository, strings, tensor, unfloats, wait_for)


class Basic(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = standard_repository()
        cls.server = Server(cls.repository)

    @classmethod
    def tearDownClass(cls):
        try:
            cls.server.stop()
        finally:
            cls.repository.close()

    def setUp(self):
        self.client = self.server.client()
        self.addCleanup(self.client.close)

    def get(self, path, **args):
        return self.client.request("GET", path, **args)

    def infer(self, model, body, headers=None):
        return self.client.request("POST", "/v2/models/%s/infer" % model, body, headers)

    def good(self, r):
        self.assertEqual(r.status, 200, r)
        return r


class Routes(Basic):
    def test_root_and_health(self):
        root = self.good(self.get("/")).json()
        self.assertEqual(root["name"], "gpulet")
        self.assertIn("docs/README.md", root["documentation"])
        self.assertEqual(set(root["api"]), {"inference", "status", "plan", "page"})
        for path in root["api"].values():
            self.good(self.get(path))
        self.assertEqual(self.good(self.get("/v2/health/live")).json(), {"live": True})
        self.assertEqual(self.good(self.get("/v2/health/ready")).json(), {"ready": True})
        self.assertEqual(self.good(self.get("/v2/health/ready?verbose=1")).json(), {"ready": True})

    def test_server_metadata_names_the_extensions(self):
        meta = self.good(self.get("/v2")).json()
        self.assertTrue(meta["name"] and meta["version"])
        self.assertLessEqual({"statistics", "binary_tensor_data", "classification"}, set(meta["extensions"]))

    def test_model_metadata_has_the_batch_dimension(self):
        meta = self.good(self.get("/v2/models/pair")).json()
        self.assertEqual(meta["name"], "pair")
        self.assertEqual(meta["versions"], ["1"])
        self.assertTrue(meta["platform"])
        self.assertEqual(meta["inputs"], [{"name": "A", "datatype": "FP32", "shape": [-1, 4]},
                                          {"name": "B", "datatype": "FP32", "shape": [-1, 4]}])
        self.assertEqual(meta["outputs"], [{"name": "X", "datatype": "FP32", "shape": [-1, 4]},
                                           {"name": "Y", "datatype": "FP32", "shape": [-1, 8]}])
        scalar = self.good(self.get("/v2/models/scalar")).json()
        self.assertEqual(scalar["inputs"], [{"name": "S", "datatype": "FP32", "shape": []}])

    def test_model_config_has_what_load_generators_read(self):
        config = self.good(self.get("/v2/models/identity/config")).json()
        self.assertEqual(config["name"], "identity")
        self.assertEqual(int(config["max_batch_size"]), 32)
        self.assertEqual(config["input"][0]["name"], "INPUT")
        self.assertEqual(config["input"][0]["data_type"], "TYPE_FP32")
        self.assertEqual([int(d) for d in config["input"][0]["dims"]], [16])
        self.assertEqual(config["output"][0]["name"], "OUTPUT")
        self.assertFalse(config["model_transaction_policy"]["decoupled"])
        text = self.good(self.get("/v2/models/strings/config")).json()
        self.assertEqual(text["input"][0]["data_type"], "TYPE_STRING")
        self.assertEqual(int(self.good(self.get("/v2/models/unbatched/config")).json()["max_batch_size"]), 0)
        self.assertEqual(int(self.good(self.get("/v2/models/fixed/config")).json()["max_batch_size"]), 8)

    def test_model_ready(self):
        self.assertEqual(self.good(self.get("/v2/models/identity/ready")).json(), {"name": "identity", "ready": True})
        self.good(self.get("/v2/models/identity/versions/1/ready"))
        self.assertEqual(self.get("/v2/models/nobody/ready").status, 404)

    def test_statistics_have_all_eight_durations(self):
        for n in (1, 3):
            identity_infer(self.server, self.client, items=n)
        keys = ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"]
        for path in ("/v2/models/identity/stats", "/v2/models/identity/versions/1/stats", "/v2/models/stats"):
            stats = self.good(self.get(path)).json()["model_stats"]
            one = next(s for s in stats if s["name"] == "identity")
            self.assertEqual(one["version"], "1")
            self.assertEqual(sorted(one["inference_stats"]), sorted(keys))
            for key in keys:
                self.assertIsInstance(one["inference_stats"][key]["count"], int)
                self.assertIsInstance(one["inference_stats"][key]["ns"], int)
            self.assertGreaterEqual(one["inference_count"], 4)
            self.assertGreaterEqual(one["execution_count"], 2)
            self.assertGreater(one["last_inference"], 1600000000000)
            self.assertGreater(one["inference_stats"]["success"]["ns"], 0)
            sizes = {b["batch_size"] for b in one["batch_stats"]}
            self.assertLessEqual({1, 3}, sizes)
            for b in one["batch_stats"]:
                self.assertLessEqual({"compute_input", "compute_infer", "compute_output"}, set(b))
        self.assertEqual(len(stats), len(self.server.status()["models"]))
        r = self.get("/v2/models/nobody/stats")
        self.assertEqual((r.status, r.error()), (400, "requested model 'nobody' is not available"))

    def test_statistics_count_items_requests_and_executions(self):
        def read():
            return self.get("/v2/models/type-fp64/stats").json()["model_stats"][0]
        before = read()
        for _ in range(3):
            self.good(self.infer("type-fp64", infer_json(tensor("IN", "FP64", [2, 4], [0.5] * 8))))
        after = read()
        self.assertEqual(after["inference_count"] - before["inference_count"], 6)
        self.assertEqual(after["execution_count"] - before["execution_count"], 3)
        self.assertEqual(after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"], 3)

    def test_repository_index_with_every_body_that_clients_send(self):
        names = {m["model"] for m in self.server.status()["models"]}
        for body in (b"", b'""', b"{}", b'{"ready":true}', b'{"ready":false}'):
            index = self.good(self.client.request("POST", "/v2/repository/index", body)).json()
            self.assertIsInstance(index, list)
            self.assertEqual({i["name"] for i in index}, names, body)
            self.assertEqual({i["state"] for i in index}, {"READY"})
            self.assertTrue(all("reason" in i and "version" in i for i in index))
        for body in (b"[", b"5", b'{"ready":1}'):
            self.assertEqual(self.client.request("POST", "/v2/repository/index", body).status, 400, body)

    def test_unknown_paths_and_wrong_methods(self):
        for path in ("/v3", "/v2/", "/v2/model", "/v2/models/identity/", "/v2/models/identity/versions/x/ready", "/v2/models//infer",
                     "/v2/models/identity/infer/x", "//", "/v2/models/identity/versions//ready"):
            r = self.get(path)
            self.assertEqual((r.status, r.json()), (404, {"error": "Not Found"}), path)
        for path in ("/v2/models/%zz/ready", "/v2/models/a%00b/ready", "/v2/models/%/ready"):
            with self.server.client() as c:
                self.assertIn(c.request("GET", path).status, (400, 404), path)
        for method, path in (("GET", "/v2/models/identity/infer"), ("POST", "/v2/health/live"), ("GET", "/v2/repository/index"),
                             ("DELETE", "/v2/models/identity"), ("PUT", "/v2"), ("PATCH", "/"), ("OPTIONS", "/v2")):
            r = self.client.request(method, path)
            self.assertEqual((r.status, r.json()), (405, {"error": "Method Not Allowed"}), (method, path))
            self.assertTrue(r.header("content-type").startswith("application/json"))

    def test_unknown_models_are_404_with_the_known_sentence(self):
        for path in ("/v2/models/nobody", "/v2/models/nobody/config", "/v2/models/nobody/ready"):
            self.assertEqual(self.get(path).status, 404)
        r = self.infer("nobody", identity_body())
        self.assertEqual((r.status, r.error()), (404, "Request for unknown model: 'nobody' is not found"))

    def test_versions(self):
        meta = self.good(self.get("/v2/models/versioned")).json()
        self.assertEqual(sorted(meta["versions"]), ["1", "10", "2"])
        for version, width in (("", 16), ("/versions/10", 16), ("/versions/2", 8), ("/versions/1", 4)):
            path = "/v2/models/versioned%s" % version
            self.assertEqual(self.good(self.get(path)).json()["outputs"][0]["shape"], [-1, width])
            self.good(self.get(path + "/ready"))
            self.good(self.get(path + "/config"))
            r = self.good(self.client.request("POST", path + "/infer", identity_body()))
            self.assertEqual(r.outputs()["OUTPUT"][1:], ([1, width], [float(i) for i in range(width)]))
            self.assertEqual(r.json()["model_version"], version.rsplit("/", 1)[-1] or "10")
        self.assertEqual(self.get("/v2/models/versioned/versions/3").status, 404)
        self.assertEqual(self.get("/v2/models/versioned/versions/3/ready").status, 404)
        self.assertEqual(self.client.request("POST", "/v2/models/versioned/versions/01/infer", identity_body()).status, 404)

    def test_percent_encoded_names(self):
        body = infer_json(tensor("IN", "FP32", [1, 2], [1, 2]))
        for name in ("odd%20name%2B%C3%A9%25", "odd%20name+%c3%a9%25", "%6fdd%20name%2b%C3%A9%25"):
            self.assertEqual(self.good(self.get("/v2/models/%s" % name)).json()["name"], "odd name+é%")
            self.good(self.get("/v2/models/%s/ready" % name))
            self.assertEqual(self.good(self.infer(name, body)).outputs()["OUT"][2], [1, 2])
        self.good(self.get("/v2/models/%69dentity/ready"))

    def test_plan_and_status(self):
        plan = self.good(self.get("/gpulet/v1/plan")).json()
        self.assertTrue(plan["devices"][0]["gpulets"][0]["models"])
        status = self.good(self.get("/gpulet/v1/status")).json()
        self.assertTrue(status["ready"])
        self.assertEqual({g["state"] for g in status["gpulets"]}, {"serving"})
        self.assertEqual(set(self.server.worker_pids()), set(p for p in self.server.note_workers()))

    def test_metrics_port_serves_metrics_alone(self):
        with Client(self.server.metrics_port) as c:
            self.assertEqual(c.request("GET", "/metrics").status, 200)
            self.assertEqual(c.request("GET", "/").status, 404)
            self.assertEqual(c.request("POST", "/metrics", b"x").status, 405)
            r = c.request("HEAD", "/metrics")
            self.assertEqual((r.status, r.body), (200, b""))


class Inference(Basic):
    def test_json_in_and_out(self):
        r = self.good(self.infer("identity", identity_body(id="a-1")))
        self.assertTrue(r.header("content-type").startswith("application/json"))
        self.assertIsNone(r.header("inference-header-content-length"))
        answer = r.json()
        self.assertEqual((answer["model_name"], answer["model_version"], answer["id"]), ("identity", "1", "a-1"))
        self.assertEqual(r.outputs()["OUTPUT"], ("FP32", [1, 16], [float(i) for i in range(16)]))

    def test_ids_are_echoed_as_they_are(self):
        for name in ("x", "a \"quoted\" \\ id", "é漢😀", "0", "a" * 128):
            self.assertEqual(self.good(self.infer("identity", identity_body(id=name))).json()["id"], name)
        self.assertNotIn("id", self.good(self.infer("identity", identity_body())).json())
        self.good(self.infer("identity", identity_body(id=None)))

    def test_every_batch_size(self):
        for items in range(1, 33):
            identity_infer(self.server, self.client, items=items, first=items * 1000.0)

    def test_nested_data_is_flat_data(self):
        nested = [[float(j * 16 + i) for i in range(16)] for j in range(3)]
        flat = [v for row in nested for v in row]
        for data in (nested, flat):
            r = self.good(self.infer("identity", infer_json(tensor("INPUT", "FP32", [3, 16], data))))
            self.assertEqual(r.outputs()["OUTPUT"], ("FP32", [3, 16], flat))

    def test_binary_in_json_out_and_all_other_pairs(self):
        values = [i / 8 for i in range(32)]
        want = {"binary": floats(values), "json": values}
        for asked, more in (("json", {}), ("binary", {"parameters": {"binary_data_output": True}}),
                            ("binary", {"outputs": [{"name": "OUTPUT", "parameters": {"binary_data": True}}]}),
                            ("json", {"outputs": [{"name": "OUTPUT", "parameters": {"binary_data": False}}],
                                      "parameters": {"binary_data_output": True}}),
                            ("binary", {"outputs": [{"name": "OUTPUT"}], "parameters": {"binary_data_output": True}})):
            body, headers = binary([("INPUT", "FP32", [2, 16], floats(values))], **more)
            for r in (self.good(self.infer("identity", body, headers)),
                      self.good(self.infer("identity", infer_json(tensor("INPUT", "FP32", [2, 16], values), **more)))):
                self.assertEqual(r.outputs()["OUTPUT"], ("FP32", [2, 16], want[asked]), more)
                is_binary = asked == "binary"
                self.assertEqual(r.header("inference-header-content-length") is not None, is_binary)
                self.assertTrue(r.header("content-type").startswith(
                    "application/octet-stream" if is_binary else "application/json"))

    def test_two_inputs_mixed_forms_and_orders(self):
        a, b = [1.0, 2, 3, 4], [5.0, 6, 7, 8]
        forms = [(("A", "FP32", [1, 4], x), ("B", "FP32", [1, 4], y)) for x in (a, floats(a)) for y in (b, floats(b))]
        for first, second in forms:
            for order in ((first, second), (second, first)):
                body, headers = binary(order)
                out = self.good(self.infer("pair", body, headers)).outputs()
                self.assertEqual(out, {"X": ("FP32", [1, 4], a), "Y": ("FP32", [1, 8], a + a)})

    def test_outputs_are_chosen_in_the_order_asked_for(self):
        a = tensor("A", "FP32", [1, 4], [1, 2, 3, 4])
        b = tensor("B", "FP32", [1, 4], [5, 6, 7, 8])
        r = self.good(self.infer("pair", infer_json(a, b, outputs=[{"name": "Y"}])))
        self.assertEqual(list(r.outputs()), ["Y"])
        r = self.good(self.infer("pair", infer_json(a, b, outputs=[{"name": "Y"}, {"name": "X"}])))
        self.assertEqual(set(r.outputs()), {"X", "Y"})
        self.assertEqual(set(self.good(self.infer("pair", infer_json(a, b, outputs=[]))).outputs()), {"X", "Y"})
        r = self.good(self.infer("pair", infer_json(a, b, outputs=[
            {"name": "X", "parameters": {"binary_data": True}}, {"name": "Y", "parameters": {"binary_data": False}}])))
        self.assertEqual(r.outputs(), {"X": ("FP32", [1, 4], floats([1, 2, 3, 4])),
                                       "Y": ("FP32", [1, 8], [1, 2, 3, 4, 1, 2, 3, 4])})

    def test_raw_binary_requests(self):
        values = [float(i) for i in range(16)]
        r = self.good(self.infer("identity", floats(values), {"Inference-Header-Content-Length": "0"}))
        self.assertEqual(r.outputs()["OUTPUT"], ("FP32", [1, 16], floats(values)))
        r = self.good(self.infer("ints", struct.pack("<4q", 1, -2, 3, 1 << 62), {"Inference-Header-Content-Length": "0"}))
        self.assertEqual(r.outputs()["OUT"], ("INT64", [1, 4], struct.pack("<4q", 1, -2, 3, 1 << 62)))
        r = self.good(self.infer("wide", b"abcdefg", {"Inference-Header-Content-Length": "0"}))
        self.assertEqual(r.outputs()["OUT"], ("UINT8", [1, 7], b"abcdefg"))
        r = self.infer("pair", floats(values), {"Inference-Header-Content-Length": "0"})
        self.assertEqual(r.status, 400, r)
        r = self.infer("identity", floats(values[:15]), {"Inference-Header-Content-Length": "0"})
        self.assertEqual(r.status, 400, r)

    def test_a_single_input_needs_no_size(self):
        for model, name, datatype, raw in (("identity", "INPUT", "FP32", floats([float(i) for i in range(32)])),
                                           ("strings", "TEXT", "BYTES", strings(b"a", b"", b"bcd", b"e"))):
            start = infer_json(tensor(name, datatype, [2, 16 if datatype == "FP32" else 2]), parameters={"binary_data_output": True})
            length = {"Inference-Header-Content-Length": str(len(start))}
            for body, headers in ((start + raw, {}), (gzip.compress(start + raw), {"Content-Encoding": "gzip"})):
                (output,) = self.good(self.infer(model, body, dict(length, **headers))).outputs().values()
                self.assertEqual((output[0], output[2]), (datatype, raw))
            for wrong in (raw[:-1], raw + b"x"):
                self.assertEqual(self.infer(model, start + wrong, length).status, 400)
            self.assertIn("has neither 'data' nor binary data", self.infer(model, start, length).error())
        start = infer_json(tensor("A", "FP32", [1, 4]), tensor("B", "FP32", [1, 4], size=16))
        r = self.infer("pair", start + floats([0.0] * 8), {"Inference-Header-Content-Length": str(len(start))})
        self.assertIn("has neither 'data' nor binary data", r.error())

    def test_every_datatype_as_binary_and_as_json(self):
        formats = {"BOOL": "?", "UINT8": "B", "INT8": "b", "UINT16": "H", "INT16": "h", "UINT32": "I", "INT32": "i", "FP32": "f",
                   "UINT64": "Q", "INT64": "q", "FP64": "d"}
        for datatype, size in SIZES.items():
            model = "type-" + datatype.lower()
            raw = bytes((i * 37) % 120 for i in range(4 * size)) if datatype != "BOOL" else b"\1\0\0\1"
            body, headers = binary([("IN", datatype, [1, 4], raw)], parameters={"binary_data_output": True})
            self.assertEqual(self.good(self.infer(model, body, headers)).outputs()["OUT"], (datatype, [1, 4], raw))
            if datatype not in formats:
                continue
            values = list(struct.unpack("<4" + formats[datatype], raw))
            r = self.good(self.infer(model, infer_json(tensor("IN", datatype, [1, 4], values))))
            self.assertEqual(r.outputs()["OUT"][:2], (datatype, [1, 4]))
            self.assertEqual(struct.pack("<4" + formats[datatype], *r.outputs()["OUT"][2]), raw, datatype)

    def test_numbers_keep_their_value(self):
        edges = {"INT64": [-(1 << 63), (1 << 63) - 1, 0, -1], "UINT64": [(1 << 64) - 1, 0, 1, 1 << 63],
                 "INT8": [-128, 127, 0, -1], "UINT16": [65535, 0, 1, 2], "FP64": [1e308, 5e-324, -0.1, 1 / 3],
                 "FP32": [16777216.0, -0.0, 1.5, 2.0 ** -126]}
        for datatype, values in edges.items():
            r = self.good(self.infer("type-" + datatype.lower(), infer_json(tensor("IN", datatype, [1, 4], values))))
            got = r.outputs()["OUT"][2]
            if datatype == "FP32":  # as few digits as name the same float
                got = unfloats(floats(got))
            self.assertEqual(got, values, datatype)
        r = self.good(self.infer("type-fp32", b'{"inputs":[{"name":"IN","datatype":"FP32","shape":[1,4],"data":[1e2,-1E-2,0.1,3]}]}'))
        for got, want in zip(r.outputs()["OUT"][2], (100, -0.01, 0.1, 3)):
            self.assertTrue(math.isclose(got, want, rel_tol=1e-6))

    def test_strings_of_all_kinds(self):
        values = ["", "plain", "a \"b\" \\ /", "é漢😀", "tab\tnew\nline", "\u0001"]
        r = self.good(self.infer("strings", infer_json(tensor("TEXT", "BYTES", [3, 2], values))))
        self.assertEqual(r.outputs()["OUT"], ("BYTES", [3, 2], values))
        r = self.good(self.infer("strings", b'{"inputs":[{"name":"TEXT","datatype":"BYTES","shape":[1,2],'
                                 b'"data":["\\u00e9\\ud83d\\ude00","\\/"]}]}'))
        self.assertEqual(r.outputs()["OUT"][2], ["é😀", "/"])
        raw = strings(b"\x00\xff\xfe", b"", b"x" * 70000, "é".encode())
        body, headers = binary([("TEXT", "BYTES", [2, 2], raw)], parameters={"binary_data_output": True})
        self.assertEqual(self.good(self.infer("strings", body, headers)).outputs()["OUT"], ("BYTES", [2, 2], raw))

    def test_scalars_fixed_batches_and_no_batches(self):
        r = self.good(self.infer("scalar", infer_json(tensor("S", "FP32", [], [2.5]))))
        self.assertEqual(r.outputs()["O"], ("FP32", [1], [2.5]))
        r = self.good(self.infer("unbatched", infer_json(tensor("IN", "FP32", [3, 2], [1, 2, 3, 4, 5, 6]))))
        self.assertEqual(r.outputs()["OUT"], ("FP32", [3, 2], [1, 2, 3, 4, 5, 6]))
        for items in (1, 5, 8):
            values = [float(i) for i in range(items * 4)]
            r = self.good(self.infer("fixed", infer_json(tensor("IN", "FP32", [items, 4], values))))
            self.assertEqual(r.outputs()["OUT"], ("FP32", [items, 4], values))

    def test_tensors_of_no_elements(self):
        r = self.good(self.infer("wide", infer_json(tensor("IN", "UINT8", [1, 0], []))))
        self.assertEqual(r.outputs()["OUT"], ("UINT8", [1, 0], []))
        body, headers = binary([("IN", "UINT8", [2, 0], b"")], parameters={"binary_data_output": True})
        self.assertEqual(self.good(self.infer("wide", body, headers)).outputs()["OUT"], ("UINT8", [2, 0], b""))

    def test_classification(self):
        values = [0.1, 0.9, 0.5, 0.2, 4, 3, 2, 1]
        r = self.good(self.infer("type-fp32", infer_json(
            tensor("IN", "FP32", [2, 4], values), outputs=[{"name": "OUT", "parameters": {"classification": 2}}])))
        datatype, shape, data = r.outputs()["OUT"]
        self.assertEqual((datatype, shape), ("BYTES", [2, 2]))
        self.assertEqual([int(text.split(":")[1]) for text in data], [1, 2, 0, 1])
        for text, want in zip(data, (0.9, 0.5, 4, 3)):
            self.assertTrue(math.isclose(float(text.split(":")[0]), want, rel_tol=1e-4), data)
        r = self.good(self.infer("type-fp32", infer_json(tensor("IN", "FP32", [1, 4], [1, 2, 3, 4]), outputs=[
            {"name": "OUT", "parameters": {"classification": 1, "binary_data": True}}])))
        self.assertTrue(r.outputs()["OUT"][2][4:].startswith(b"4"))
        self.assertTrue(r.outputs()["OUT"][2].endswith(b":3"))

    def test_classification_with_labels(self):
        r = self.good(self.infer("labelled", infer_json(
            tensor("IN", "FP32", [2, 3], [1, 5, 3, 9, 2, 1]), outputs=[{"name": "OUT", "parameters": {"classification": 3}}])))
        _, shape, data = r.outputs()["OUT"]
        self.assertEqual(shape, [2, 3])
        self.assertEqual([text.split(":")[1:] for text in data], [["1", "dog"], ["2"], ["0", "cat"], ["0", "cat"], ["1", "dog"], ["2"]])

    def test_parameters_that_clients_send(self):
        for params in ({"priority": 0}, {"priority": 1}, {"priority": 99}, {"timeout": 60000000}, {"timeout": 0},
                       {"my_own": "text", "other": 1.5, "third": True, "fourth": -3}, {}):
            r = self.good(self.infer("identity", identity_body(parameters=params)))
            self.assertEqual(r.outputs()["OUTPUT"][1], [1, 16])
        self.good(self.infer("identity", json.dumps({
            "unknown": {"x": [1]}, "inputs": [dict(tensor("INPUT", "FP32", [1, 16], [0] * 16), extra=[1, {"y": 2}])]}).encode()))

    def test_priorities_are_at_most_an_order(self):
        for p in (1, 2, 3):
            self.good(self.infer("identity", identity_body(parameters={"priority": p, "timeout": 30000000})))


class Http(Basic):
    path = "/v2/models/identity/infer"

    def test_compressed_request_bodies(self):
        body = identity_body(items=4)
        data, binary_headers = binary([("INPUT", "FP32", [4, 16], floats([1.0] * 64))])
        for coding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)):
            r = self.good(self.client.request("POST", self.path, pack(body), {"Content-Encoding": coding}))
            self.assertEqual(r.outputs()["OUTPUT"][1], [4, 16])
            r = self.good(self.client.request("POST", self.path, pack(data), dict(binary_headers, **{"Content-Encoding": coding})))
            self.assertEqual(r.outputs()["OUTPUT"][2], [1.0] * 64)
        r = self.client.request("POST", self.path, body, {"Content-Encoding": "br"})
        self.assertEqual(r.status, 501)
        self.assertEqual(r.header("accept-encoding"), "gzip, deflate")

    def test_compressed_answers(self):
        body = identity_body(items=32)
        plain = self.good(self.client.request("POST", self.path, body)).body
        for asked, unpack in (("gzip", gzip.decompress), ("deflate", zlib.decompress), ("deflate, gzip;q=0.5", None),
                              ("identity", None), ("br", None), ("gzip;q=0", None)):
            r = self.good(self.client.request("POST", self.path, body, {"Accept-Encoding": asked}))
            coding = r.header("content-encoding")
            if coding is None:
                self.assertEqual(r.body, plain, asked)
                self.assertIsNone(unpack, "not compressed for " + asked)
            else:
                self.assertIn(coding, asked)
                self.assertNotIn(coding + ";q=0\n", asked + "\n")
                unpacked = {"gzip": gzip.decompress, "deflate": zlib.decompress}[coding](r.body)
                self.assertEqual(unpacked, plain)

    def test_answers_that_are_binary_small_or_large_are_not_compressed(self):
        for model, body in (("identity", identity_body(items=32, parameters={"binary_data_output": True})), ("identity", identity_body()),
                            ("big", infer_json(tensor("IN", "FP32", [1, 16], [0.5] * 16)))):
            r = self.good(self.infer(model, body, {"Accept-Encoding": "gzip"}))
            self.assertIsNone(r.header("content-encoding"), r)

    def test_chunked_bodies(self):
        body = identity_body(items=2)
        data, headers = binary([("INPUT", "FP32", [2, 16], floats([2.0] * 32))])
        for payload, more in ((body, {}), (data, headers)):
            for step in (1, 7, 1000):
                parts = [payload[i:i + step] for i in range(0, len(payload), step)]
                text = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\nX-Trailer: 1\r\n\r\n"
                self.client.send(head("POST", self.path, headers=dict(more, **{"Transfer-Encoding": "chunked"}), length=False) + text)
                self.assertEqual(self.good(self.client.read_response()).outputs()["OUTPUT"][1], [2, 16])
        packed = gzip.compress(body)
        self.client.send(head("POST", self.path, headers={"Transfer-Encoding": "chunked", "Content-Encoding": "gzip"}, length=False) +
                         b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed))
        self.good(self.client.read_response())

    def test_expect_continue(self):
        body = identity_body()
        self.client.send(head("POST", self.path, body, {"Expect": "100-continue"}))
        r = self.client.read_response()
        self.assertEqual(r.status, 100)
        self.client.send(body)
        self.good(self.client.read_response())
        self.client.send(head("POST", self.path, body, {"Expect": ""}) + body)  # libcurl's way of not expecting
        self.good(self.client.read_response())
        with self.server.client() as c:
            c.send(head("POST", "/v2/nowhere", body, {"Expect": "100-continue"}))
            self.assertEqual(c.read_response().status, 404)

    def test_head_has_the_headers_of_get(self):
        for path in ("/v2", "/v2/health/ready", "/v2/models/identity"):
            got = self.good(self.get(path))
            r = self.good(self.client.request("HEAD", path))
            self.assertEqual((r.header("content-length"), r.header("content-type")),
                             (got.header("content-length"), got.header("content-type")))
        self.good(self.get("/v2"))

    def test_keep_alive_close_and_http_1_0(self):
        for _ in range(50):
            identity_infer(self.server, self.client)
        self.good(self.client.request("GET", "/v2", headers={"Connection": "close"}))
        self.assertTrue(self.client.is_closed())
        with self.server.client() as c:
            c.send(b"GET /v2 HTTP/1.0\r\n\r\n")
            self.good(c.read_response())
            self.assertTrue(c.is_closed())
        with self.server.client() as c:
            c.send(head("POST", self.path, identity_body(), version="HTTP/1.0") + identity_body())
            self.good(c.read_response())

    def test_pipelined_requests_are_answered_in_order(self):
        count = 40
        data = b""
        for i in range(count):
            body = identity_body(items=i % 5 + 1, first=float(i), id=str(i))
            data += head("POST", self.path, body) + body
            if i % 7 == 0:
                data += head("GET", "/v2/models/nobody")
        self.client.send(data)
        for i in range(count):
            r = self.good(self.client.read_response())
            self.assertEqual(r.json()["id"], str(i))
            self.assertEqual(r.outputs()["OUTPUT"][2][0], float(i))
            if i % 7 == 0:
                self.assertEqual(self.client.read_response().status, 404)

    def test_a_request_in_pieces(self):
        body = identity_body(id="slowly")
        data = head("POST", self.path, body) + body
        for i in range(0, len(data), 9):
            self.client.send(data[i:i + 9])
        self.assertEqual(self.good(self.client.read_response()).json()["id"], "slowly")

    def test_absolute_form_and_header_case(self):
        self.client.send(b"GET http://somewhere:99/v2/models/identity?x=/y HTTP/1.1\r\nhOsT: somewhere:99\r\n\r\n")
        self.assertEqual(self.good(self.client.read_response()).json()["name"], "identity")
        body, headers = binary([("INPUT", "FP32", [1, 16], floats([1.0] * 16))])
        lower = {key.lower(): value for key, value in headers.items()}
        self.good(self.client.request("POST", self.path, body, lower))
        del lower["content-type"]
        self.good(self.client.request("POST", self.path, body, lower))

    def test_whoever_has_said_all_is_answered_or_told_that_it_is_taken_for_gone(self):
        """That a client sends no more looks the same whether it still reads or not. What happens to a request that runs then, and to one
        that waits, is in overload.py."""
        body = identity_body()
        for _ in range(100):
            with self.server.client() as c:
                c.send(head("POST", self.path, body) + body)
                c.socket.shutdown(socket.SHUT_WR)
                r = c.read_response()
                if r.status == 200:
                    self.assertEqual(r.outputs()["OUTPUT"][1], [1, 16])
                else:
                    self.assertEqual(r.status, 400, r)
                    self.assertIn(r.error(), ("the client is gone", "[request id: <id_unknown>] the client is gone"))  # while it is read; later
                self.assertTrue(c.is_closed())
        identity_infer(self.server, self.client)

    def test_many_connections(self):
        clients = [self.server.client() for _ in range(100)]
        try:
            for i, c in enumerate(clients):
                body = identity_body(first=float(i))
                c.send(head("POST", self.path, body) + body)
            for i, c in enumerate(clients):
                self.assertEqual(self.good(c.read_response()).outputs()["OUTPUT"][2][0], float(i))
        finally:
            for c in clients:
                c.close()


class Large(Basic):
    def test_large_inputs_come_back_whole(self):
        for size in (1 << 20, (1 << 20) + 1, 5 << 20, 20 << 20):
            data = os.urandom(1 << 16) * (size // (1 << 16) + 1)
            data = data[:size]
            body, headers = binary([("IN", "UINT8", [1, size], data)], parameters={"binary_data_output": True})
            r = self.good(self.infer("wide", body, headers))
            self.assertTrue(r.outputs()["OUT"][2] == data, size)

    def test_large_outputs(self):
        for items in (1, 5):
            values = [float(i) for i in range(16 * items)]
            body, headers = binary([("IN", "FP32", [items, 16], floats(values))], parameters={"binary_data_output": True})
            datatype, shape, data = self.good(self.infer("big", body, headers)).outputs()["OUT"]
            self.assertEqual((datatype, shape), ("FP32", [items, 1048576]))
            for item in range(items):
                row = floats(values[item * 16:item * 16 + 16]) * (1048576 // 16)
                self.assertTrue(data[item * 4194304:(item + 1) * 4194304] == row)

    def test_large_json(self):
        size = 200000
        values = [i % 251 for i in range(size)]
        r = self.good(self.infer("wide", infer_json(tensor("IN", "UINT8", [1, size], values))))
        self.assertEqual(r.outputs()["OUT"][2], values)

    def test_a_slow_reader_gets_everything_and_blocks_nobody(self):
        body, headers = binary([("IN", "FP32", [4, 16], floats([1.5] * 64))], parameters={"binary_data_output": True})
        readers = [self.server.client() for _ in range(6)]
        try:
            for c in readers:
                c.send(head("POST", "/v2/models/big/infer", body, headers) + body)
            for _ in range(20):
                identity_infer(self.server, self.client)
            for c in readers:
                data = self.good(c.read_response()).outputs()["OUT"][2]
                self.assertTrue(data == floats([1.5]) * (4 * 1048576))
        finally:
            for c in readers:
                c.close()

    def test_zz_nothing_is_left_open(self):
        def settle():
            self.client.close()
            self.client = self.server.client()
            wait_for(lambda: self.get("/gpulet/v1/status").json()["connections"] <= 1, "other connections closed")
            return self.server.fds()
        before = settle()
        for i in range(30):
            with self.server.client() as c:
                identity_infer(self.server, c, items=i % 4 + 1)
        self.assertLessEqual(settle(), before + 2)


if __name__ == "__main__":
    main()
