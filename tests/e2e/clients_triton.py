"""Triton's own Python client works unchanged: what it asks, what it sends, what it raises."""
import os
import threading
import unittest

import harness
import real_models as real

real.need_python("numpy", "tritonclient.http")
import numpy  # noqa: E402
import tritonclient.http as triton  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402


class RecordingClient(triton.InferenceServerClient):
    """Keeps what the client itself hides: the headers of the last answer to a POST."""
    last = None

    def _post(self, *args, **more):
        self.last = super()._post(*args, **more)
        return self.last


def tensor(name, values, binary=True):
    datatype = {"float32": "FP32", "int64": "INT64", "int32": "INT32", "object": "BYTES", "float16": "FP16"}[str(values.dtype)]
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def counting(*shape):
    return numpy.arange(numpy.prod(shape), dtype=numpy.float32).reshape(shape) / 8


class TritonClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = harness.standard_repository()
        cls.repository.add("sorter", config="max_batch_size: 1\n", latency_ms=300)
        cls.repository.add("patient", latency_ms=2000)
        cls.repository.add("labelled", config='max_batch_size: 8\ninput { name: "INPUT" data_type: TYPE_FP32 dims: 16 }\n'
                           'output { name: "OUTPUT" data_type: TYPE_FP32 dims: 16 label_filename: "names.txt" }\n')
        cls.repository.write("labelled/names.txt", "".join("name-%d\n" % i for i in range(16)))
        cls.server = harness.Server(cls.repository)

    @classmethod
    def tearDownClass(cls):
        try:
            cls.server.stop()
        finally:
            cls.repository.close()

    def setUp(self):
        self.client = RecordingClient("127.0.0.1:%d" % self.server.port, concurrency=8, network_timeout=harness.DEADLINE_S)
        self.addCleanup(self.client.close)

    def header(self, name):
        return self.client.last.get(name)

    def identity(self, values, outputs=None, **more):
        return self.client.infer("identity", [tensor("INPUT", values)], outputs=outputs, **more)

    def assert_raises(self, status, text, call, *args, **more):
        with self.assertRaises(InferenceServerException) as caught:
            call(*args, **more)
        self.assertEqual(caught.exception.status(), str(status), caught.exception)
        self.assertIn(text, caught.exception.message())
        return caught.exception.message()

    # ---- asking about the server ----

    def test_health_of_the_server_and_of_its_models(self):
        self.assertIs(self.client.is_server_live(), True)
        self.assertIs(self.client.is_server_ready(), True)
        self.assertIs(self.client.is_model_ready("identity"), True)
        self.assertIs(self.client.is_model_ready("versioned", "10"), True)
        self.assertIs(self.client.is_model_ready("versioned", "3"), False)
        self.assertIs(self.client.is_model_ready("odd name+é%"), True)
        self.assertIs(self.client.is_model_ready("nope"), False)

    def test_server_metadata_names_the_extensions_that_the_client_uses(self):
        metadata = self.client.get_server_metadata()
        self.assertTrue(metadata["name"] and metadata["version"])
        for extension in ("binary_tensor_data", "classification", "statistics"):
            self.assertIn(extension, metadata["extensions"])

    def test_model_metadata_and_configuration_agree(self):
        metadata = self.client.get_model_metadata("pair")
        config = self.client.get_model_config("pair")
        self.assertEqual(metadata["name"], "pair")
        self.assertEqual(metadata["versions"], ["1"])
        self.assertEqual([(i["name"], i["datatype"], i["shape"]) for i in metadata["inputs"]],
                         [("A", "FP32", [-1, 4]), ("B", "FP32", [-1, 4])])
        self.assertEqual([(o["name"], o["shape"]) for o in metadata["outputs"]], [("X", [-1, 4]), ("Y", [-1, 8])])
        self.assertEqual(config["name"], "pair")
        self.assertGreaterEqual(int(config["max_batch_size"]), 1)
        self.assertEqual([i["name"] for i in config["input"]], ["A", "B"])
        self.assertEqual([(o["name"], o["data_type"], [int(d) for d in o["dims"]]) for o in config["output"]],
                         [("X", "TYPE_FP32", [4]), ("Y", "TYPE_FP32", [8])])
        self.assertEqual(self.client.get_model_metadata("versioned", "2")["outputs"][0]["shape"], [-1, 8])

    def test_statistics_count_requests_items_and_executions(self):
        def read():
            s, = self.client.get_inference_statistics("ints")["model_stats"]
            return s, s["inference_stats"]
        before, spent_before = read()
        for items in (1, 3):
            self.client.infer("ints", [tensor("IN", numpy.zeros((items, 4), numpy.int64))])
        after, spent_after = read()
        self.assertEqual(int(after["inference_count"]) - int(before["inference_count"]), 4)
        self.assertEqual(int(after["execution_count"]) - int(before["execution_count"]), 2)
        for key in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
            self.assertEqual(spent_after[key]["count"] - spent_before[key]["count"], 2, key)
        self.assertGreater(spent_after["success"]["ns"], spent_before["success"]["ns"])
        self.assertEqual(spent_after["fail"]["count"], spent_before["fail"]["count"])
        names = {s["name"] for s in self.client.get_inference_statistics()["model_stats"]}
        self.assertLessEqual({"ints", "identity", "pair"}, names)

    def test_repository_index_lists_every_model(self):
        index = {(m["name"], m.get("version")): m["state"] for m in self.client.get_model_repository_index()}
        self.assertEqual(index["identity", "1"], "READY")
        self.assertEqual({name for name, _ in index}, set(self.repository_models()))

    def repository_models(self):
        return [name for name in os.listdir(self.repository.path) if not name.startswith(".")]

    # ---- inference ----

    def test_binary_and_json_tensors_in_every_combination(self):
        values = counting(2, 16)
        for binary_in in (True, False):
            for binary_out in (True, False):
                with self.subTest(binary_in=binary_in, binary_out=binary_out):
                    result = self.client.infer("identity", [tensor("INPUT", values, binary_in)],
                                               outputs=[triton.InferRequestedOutput("OUTPUT", binary_data=binary_out)])
                    numpy.testing.assert_array_equal(result.as_numpy("OUTPUT"), values)
                    self.assertEqual("data" in result.get_output("OUTPUT"), not binary_out)
                    response = result.get_response()
                    self.assertEqual((response["model_name"], response["model_version"]), ("identity", "1"))

    def test_several_outputs_all_or_the_ones_named_in_their_order(self):
        a, b = counting(3, 4), counting(3, 4) + 100
        inputs = [tensor("A", a), tensor("B", b, binary=False)]
        result = self.client.infer("pair", inputs)
        numpy.testing.assert_array_equal(result.as_numpy("X"), a)
        numpy.testing.assert_array_equal(result.as_numpy("Y"), numpy.concatenate([a, a], axis=1))
        result = self.client.infer("pair", inputs, outputs=[triton.InferRequestedOutput("Y"),
                                                            triton.InferRequestedOutput("X", binary_data=False)])
        self.assertEqual([o["name"] for o in result.get_response()["outputs"]], ["Y", "X"])
        self.assertEqual(result.as_numpy("Y").shape, (3, 8))
        numpy.testing.assert_array_equal(result.as_numpy("X"), a)
        result = self.client.infer("pair", inputs, outputs=[triton.InferRequestedOutput("Y")])
        self.assertIsNone(result.as_numpy("X"))

    def test_strings_integers_and_halves(self):
        words = numpy.array([[b"", b"two words"], ["grün".encode(), b"\x00\xff"]], dtype=object)
        result = self.client.infer("strings", [tensor("TEXT", words)])
        numpy.testing.assert_array_equal(result.as_numpy("OUT"), words)
        plain = numpy.array([["a", 'quote " and \\'], ["ü", "\u2028"]], dtype=object)
        result = self.client.infer("strings", [tensor("TEXT", plain, binary=False)],
                                   outputs=[triton.InferRequestedOutput("OUT", binary_data=False)])
        self.assertEqual([v.decode() if isinstance(v, bytes) else v for v in result.as_numpy("OUT").ravel()],
                         list(plain.ravel()))
        extremes = numpy.array([[-2**63, 2**63 - 1, 2**53 + 1, 0]], numpy.int64)
        for binary in (True, False):
            result = self.client.infer("ints", [tensor("IN", extremes, binary)],
                                       outputs=[triton.InferRequestedOutput("OUT", binary_data=binary)])
            numpy.testing.assert_array_equal(result.as_numpy("OUT"), extremes)
        halves = numpy.array([[0.5, -2, 65504, 6e-8]], numpy.float16)
        result = self.client.infer("type-fp16", [tensor("IN", halves)])
        numpy.testing.assert_array_equal(result.as_numpy("OUT"), halves)

    def test_ids_versions_and_parameters_of_ones_own(self):
        self.assertEqual(self.identity(counting(1, 16), request_id="r-1 ü").get_response()["id"], "r-1 ü")
        self.assertNotIn("id", self.identity(counting(1, 16)).get_response())
        result = self.client.infer("versioned", [tensor("INPUT", counting(1, 16))], model_version="2")
        self.assertEqual(result.get_response()["model_version"], "2")
        self.assertEqual(result.as_numpy("OUTPUT").shape, (1, 8))
        self.assertEqual(self.identity(counting(1, 16), parameters={"mine": "x", "count": 3, "flag": True})
                         .as_numpy("OUTPUT").shape, (1, 16))

    def test_results_of_a_body_made_and_read_apart_from_sending(self):
        body, length = triton.InferenceServerClient.generate_request_body([tensor("INPUT", counting(1, 16))], request_id="apart")
        with self.server.client() as c:
            r = c.request("POST", "/v2/models/identity/infer", body, {"Inference-Header-Content-Length": str(length)})
        result = triton.InferenceServerClient.parse_response_body(
            r.body, header_length=int(r.header("inference-header-content-length")))
        self.assertEqual(result.get_response()["id"], "apart")
        numpy.testing.assert_array_equal(result.as_numpy("OUTPUT"), counting(1, 16))

    def test_many_asynchronous_requests_get_their_own_answers(self):
        waiting = []
        for i in range(200):
            values = counting(1 + i % 4, 16) + i
            waiting.append((str(i), values, self.client.async_infer("identity", [tensor("INPUT", values)], request_id=str(i))))
        for request_id, values, handle in waiting:
            result = handle.get_result(timeout=harness.DEADLINE_S)
            self.assertEqual(result.get_response()["id"], request_id)
            numpy.testing.assert_array_equal(result.as_numpy("OUTPUT"), values)

    def test_asynchronous_requests_raise_when_their_result_is_taken(self):
        handle = self.client.async_infer("nope", [tensor("INPUT", counting(1, 16))])
        self.assert_raises(404, "Request for unknown model: 'nope' is not found", handle.get_result)

    # ---- compression ----

    def test_compressed_requests_and_answers(self):
        values = counting(16, 16)
        for algorithm in ("gzip", "deflate"):
            for sent, wanted in ((algorithm, None), (None, algorithm), (algorithm, algorithm)):
                for binary_out in (True, False):
                    with self.subTest(sent=sent, wanted=wanted, binary_out=binary_out):
                        result = self.identity(values, [triton.InferRequestedOutput("OUTPUT", binary_data=binary_out)],
                                               request_compression_algorithm=sent, response_compression_algorithm=wanted)
                        numpy.testing.assert_array_equal(result.as_numpy("OUTPUT"), values)
                        # Binary tensors are numbers that hardly shrink; an answer may always come plain.
                        self.assertIn(self.header("content-encoding"), (None, wanted) if binary_out else (wanted,))

    def test_compressed_asynchronous_requests(self):
        values = counting(16, 16)
        handles = [self.client.async_infer("identity", [tensor("INPUT", values)], request_compression_algorithm=a,
                                           response_compression_algorithm=a) for a in ("gzip", "deflate") * 4]
        for handle in handles:
            numpy.testing.assert_array_equal(handle.get_result(timeout=harness.DEADLINE_S).as_numpy("OUTPUT"), values)

    # ---- classification ----

    def test_the_highest_values_as_classes(self):
        values = numpy.zeros((2, 16), numpy.float32)
        values[0, [3, 9, 1]] = (5, 4, 3)
        values[1, [15, 0, 2]] = (8, 7, 6)
        expected = [[(5, 3), (4, 9), (3, 1)], [(8, 15), (7, 0), (6, 2)]]
        for binary in (True, False):
            result = self.identity(values, [triton.InferRequestedOutput("OUTPUT", binary_data=binary, class_count=3)])
            self.assertEqual(result.get_output("OUTPUT")["datatype"], "BYTES")
            found = [[self.parse_class(c)[:2] for c in row] for row in result.as_numpy("OUTPUT")]
            self.assertEqual(found, expected)
        result = self.client.infer("labelled", [tensor("INPUT", values)],
                                   outputs=[triton.InferRequestedOutput("OUTPUT", class_count=1)])
        self.assertEqual([self.parse_class(row[0]) for row in result.as_numpy("OUTPUT")], [(5, 3, "name-3"), (8, 15, "name-15")])

    @staticmethod
    def parse_class(text):
        text = text.decode() if isinstance(text, bytes) else text
        value, index, *name = text.split(":")
        return (float(value), int(index), *name)

    # ---- timeout and priority ----

    def wait_offered(self, model, count):
        harness.wait_for(lambda: self.server.model_status(model)["offered"] >= count, "so many requests there")

    def test_a_timeout_that_passes_raises_and_one_that_does_not_is_kept_to(self):
        values = counting(1, 16)
        first = self.client.async_infer("patient", [tensor("INPUT", values)])
        self.wait_offered("patient", 1)
        with self.assertRaises(InferenceServerException) as caught:
            self.client.infer("patient", [tensor("INPUT", values)], timeout=20000)
        self.assertEqual(caught.exception.status(), "503")
        self.assertRegex(caught.exception.message(), "Request timeout expired|could not be answered within its objective")
        self.assertRegex(caught.exception.message(), "patient")
        first.get_result(timeout=harness.DEADLINE_S)
        result = self.client.infer("patient", [tensor("INPUT", values)], timeout=50 * 1000 * 1000)
        numpy.testing.assert_array_equal(result.as_numpy("OUTPUT"), values)

    def test_a_higher_priority_is_served_first(self):
        order, lock = [], threading.Lock()

        def ask(name, priority):
            client = triton.InferenceServerClient("127.0.0.1:%d" % self.server.port, network_timeout=harness.DEADLINE_S)
            client.infer("sorter", [tensor("INPUT", counting(1, 16))], priority=priority)
            client.close()
            with lock:
                order.append(name)

        threads = []
        for name, priority in (("running", 1), ("next", 1), ("low-1", 5), ("low-2", 5), ("low-3", 5), ("high", 1)):
            threads.append(threading.Thread(target=ask, args=(name, priority), daemon=True))
            threads[-1].start()
            if name != "high":
                self.wait_offered("sorter", len(threads))
        for t in threads:
            t.join(harness.DEADLINE_S)
        self.assertEqual(len(order), 6)
        self.assertLess(order.index("high"), order.index("low-3"), order)

    # ---- errors ----

    def test_errors_say_what_is_wrong(self):
        good = tensor("INPUT", counting(1, 16))
        infer = self.client.infer
        self.assert_raises(404, "Request for unknown model: 'nope' is not found", infer, "nope", [good])
        self.assert_raises(404, "nope", self.client.get_model_metadata, "nope")
        self.assert_raises(404, "nope", self.client.get_model_config, "nope")
        self.assert_raises(400, "requested model 'nope' is not available", self.client.get_inference_statistics, "nope")
        self.assert_raises(400, "inference input 'INPUT' data-type is 'INT32', but model 'identity' expects 'FP32'",
                           infer, "identity", [tensor("INPUT", numpy.zeros((1, 16), numpy.int32))])
        self.assert_raises(400, "unexpected shape for input 'INPUT' for model 'identity'. Expected [-1,16], got [1,3].",
                           infer, "identity", [tensor("INPUT", counting(1, 3))])
        self.assert_raises(400, "inference request batch-size must be <= 8 for 'labelled'",
                           infer, "labelled", [tensor("INPUT", counting(9, 16))])
        self.assert_raises(400, "expected 2 inputs but got 1 inputs for model 'pair'. Got input(s) ['A'], but missing "
                           "required input(s) ['B']. Please provide all required input(s).",
                           infer, "pair", [tensor("A", counting(1, 4))])
        self.assert_raises(400, "unexpected inference input 'OTHER' for model 'identity'",
                           infer, "identity", [good, tensor("OTHER", counting(1, 16))])
        self.assert_raises(400, "unexpected inference output 'OTHER' for model 'identity'",
                           infer, "identity", [good], outputs=[triton.InferRequestedOutput("OTHER")])
        self.assert_raises(400, "input 'B' batch size does not match other inputs for 'pair'",
                           infer, "pair", [tensor("A", counting(2, 4)), tensor("B", counting(1, 4))])

    def test_errors_name_the_request(self):
        message = self.assert_raises(400, "[request id: mine] ", self.client.infer, "identity",
                                     [tensor("INPUT", counting(1, 3))], request_id="mine")
        self.assertTrue(message.startswith("[request id: mine] "), message)

    def test_the_client_goes_on_after_an_error(self):
        for _ in range(20):
            self.assert_raises(400, "unexpected shape", self.client.infer, "identity", [tensor("INPUT", counting(1, 3))])
            numpy.testing.assert_array_equal(self.identity(counting(2, 16)).as_numpy("OUTPUT"), counting(2, 16))


if __name__ == "__main__":
    real.main()
