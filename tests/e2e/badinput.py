"""What a bad client may do: each request gets its 4xx or 5xx, or is cut off, and the next client notices nothing."""
import gzip
import json
import random
import re
import socket
import struct
import unittest
import zlib

from harness import (Closed, Repository, Server, binary, floats, head, identity_body, identity_infer, infer_json, main,
                     sanitized, script, standard_repository, strings, tensor, wait_for)

INFER = "/v2/models/identity/infer"
GOOD = [float(i) for i in range(16)]
# None of these is a size, in JSON or as the text of a header (there 016 is one).
NO_SIZES = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "-16", "-1", "16.5", "0.5", "9" * 25, "9" * 400, "0x10", "016", "+16", "1_6"]


def one(**changes):
    t = tensor("INPUT", "FP32", [1, 16], GOOD)
    t.update(changes)
    return infer_json({k: v for k, v in t.items() if v is not None})


# Name: (body, status, sentence; "…" at its end: only the beginning, model)
JSON_CASES = {
    "empty body": (b"", 400, None),
    "no JSON": (b"hello", 400, "failed to parse the request JSON buffer…"),
    "an array": (b"[]", 400, None),
    "a number": (b"17", 400, None),
    "null": (b"null", 400, None),
    "cut off": (identity_body()[:-1], 400, "failed to parse the request JSON buffer…"),
    "cut off in the middle": (identity_body()[:40], 400, None),
    "garbage behind": (identity_body() + b"x", 400, None),
    "two documents": (identity_body() + identity_body(), 400, None),
    "a zero byte in it": (identity_body().replace(b"INPUT", b"IN\0UT"), 400, None),
    "invalid UTF-8": (identity_body().replace(b"INPUT", b"IN\xffUT"), 400, None),
    "single quotes": (identity_body().replace(b'"', b"'"), 400, None),
    "deep arrays": (b'{"inputs":' + b"[" * 100000, 400, None),
    "deep closed arrays": (b'{"x":' + b"[" * 5000 + b"]" * 5000 + b',"inputs":[]}', 400, None),
    "deep objects": (b'{"a":' * 50000, 400, None),
    "deep data": (one(data=json.loads("[" * 40 + "1" + "]" * 40)), 400, None),
    "no inputs member": (b"{}", 400, "unable to parse 'inputs'…"),
    "inputs an object": (b'{"inputs":{}}', 400, None),
    "inputs null": (b'{"inputs":null}', 400, None),
    "inputs a string": (b'{"inputs":"INPUT"}', 400, None),
    "inputs empty": (b'{"inputs":[]}', 400,
                     "expected 1 inputs but got 0 inputs for model 'identity'. Got input(s) [], but missing required input(s) "
                     "['INPUT']. Please provide all required input(s)."),
    "inputs of numbers": (b'{"inputs":[1,2]}', 400, None),
    "65 inputs": (infer_json(*[tensor("I%d" % i, "FP32", [1], [1]) for i in range(65)]), 400, None),
    "1000 outputs": (identity_body(outputs=[{"name": "O%d" % i} for i in range(1000)]), 400, None),
    "outputs an object": (identity_body(outputs={}), 400, None),
    "outputs of strings": (identity_body(outputs=["OUTPUT"]), 400, None),
    "an output without a name": (identity_body(outputs=[{}]), 400, None),
    "an unknown output": (identity_body(outputs=[{"name": "Y"}]), 400, "unexpected inference output 'Y' for model 'identity'"),
    "an output twice": (identity_body(outputs=[{"name": "OUTPUT"}, {"name": "OUTPUT"}]), 400, None),
    "parameters an array": (identity_body(parameters=[]), 400, None),
    "a parameter an object": (identity_body(parameters={"x": {}}), 400, None),
    "a reserved parameter": (identity_body(parameters={"triton_x": 1}), 400,
                             "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."),
    "timeout negative": (identity_body(parameters={"timeout": -1}), 400, None),
    "timeout a string": (identity_body(parameters={"timeout": "1"}), 400, None),
    "priority a fraction": (identity_body(parameters={"priority": 1.5}), 400, None),
    "priority too large": (b'{"parameters":{"priority":99999999999999999999999},"inputs":[]}', 400, None),
    "binary_data_output a number": (identity_body(parameters={"binary_data_output": 1}), 400, None),
    "classification negative": (identity_body(outputs=[{"name": "OUTPUT", "parameters": {"classification": -1}}]), 400, None),
    "shared memory": (one(data=None, parameters={"shared_memory_region": "r", "shared_memory_byte_size": 64}), (400, 501), None),
    "a sequence": (identity_body(parameters={"sequence_id": 5}), 501, None),
    "id a number": (identity_body(id=5), 400, None),
    "id too long": (identity_body(id="x" * 100000), 400, None),
    "no name": (one(name=None), 400, None),
    "name a number": (one(name=5), 400, None),
    "name empty": (one(name=""), 400, None),
    "name too long": (one(name="x" * 5000), 400, None),
    "no shape": (one(shape=None), 400, None),
    "no datatype": (one(datatype=None), 400, None),
    "no data": (one(data=None), 400, None),
    "an unknown input": (one(name="X"), 400, "unexpected inference input 'X' for model 'identity'"),
    "an input twice": (infer_json(tensor("INPUT", "FP32", [1, 16], GOOD), tensor("INPUT", "FP32", [1, 16], GOOD)), 400, None),
    "an input too many": (infer_json(tensor("INPUT", "FP32", [1, 16], GOOD), tensor("X", "FP32", [1, 16], GOOD)), 400,
                          "unexpected inference input 'X' for model 'identity'"),
    "one of two inputs": (infer_json(tensor("A", "FP32", [1, 4], [1, 2, 3, 4])), 400,
                          "expected 2 inputs but got 1 inputs for model 'pair'. Got input(s) ['A'], but missing required input(s) "
                          "['B']. Please provide all required input(s).", "pair"),
    "batches that differ": (infer_json(tensor("A", "FP32", [1, 4], [0] * 4), tensor("B", "FP32", [2, 4], [0] * 8)), 400,
                            "input 'B' batch size does not match other inputs for 'pair'", "pair"),
    "another datatype": (one(datatype="INT32"), 400,
                         "inference input 'INPUT' data-type is 'INT32', but model 'identity' expects 'FP32'"),
    "no datatype at all": (one(datatype="FLOAT"), 400, None),
    "datatype in small letters": (one(datatype="fp32"), 400, None),
    "datatype a number": (one(datatype=32), 400, None),
    "batch too large": (infer_json(tensor("INPUT", "FP32", [33, 16], [0] * 528)), 400,
                        "inference request batch-size must be <= 32 for 'identity'"),
    "batch of none": (infer_json(tensor("INPUT", "FP32", [0, 16], [])), 400, None),
    "another shape": (infer_json(tensor("INPUT", "FP32", [1, 3], [1, 2, 3])), 400,
                      "unexpected shape for input 'INPUT' for model 'identity'. Expected [-1,16], got [1,3]. NOTE: Setting a non-zero "
                      "max_batch_size in the model config requires a batch dimension to be prepended to each input shape.…"),
    "no batch dimension": (one(shape=[16]), 400, "unexpected shape for input 'INPUT' for model 'identity'. Expected [-1,16], got [16].…"),
    "a dimension too many": (one(shape=[1, 1, 16]), 400, None),
    "shape empty": (one(shape=[]), 400, None),
    "a negative dimension": (one(shape=[-1, 16]), 400, None),
    "a dimension that is a fraction": (one(shape=[1, 16.5]), 400, None),
    "a dimension in quotes": (one(shape=["1", "16"]), 400, None),
    "a dimension over 64 bits": (b'{"inputs":[{"name":"INPUT","datatype":"FP32","shape":[99999999999999999999,16],"data":[1]}]}', 400, None),
    "dimensions whose product overflows": (one(shape=[1, 1 << 62]), 400, None),
    "twenty dimensions": (one(shape=[1] * 20), 400, None),
    "a huge dynamic dimension": (infer_json(tensor("IN", "UINT8", [1, 1 << 40], [1])), (400, 413), None, "wide"),
    "an overflowing dynamic shape": (infer_json(tensor("IN", "UINT8", [32, 1 << 61], [1])), (400, 413), None, "wide"),
    "data too short": (one(data=GOOD[:15]), 400, None),
    "data too long": (one(data=GOOD + [1.0]), 400, None),
    "data empty": (one(data=[]), 400, None),
    "data a number": (one(data=5), 400, None),
    "data of strings": (one(data=["1"] * 16), 400, None),
    "data of objects": (one(data=[{}] * 16), 400, None),
    "data of null": (one(data=[None] * 16), 400, None),
    "data of booleans": (one(data=[True] * 16), (200, 400), None),
    "ragged data": (infer_json(tensor("INPUT", "FP32", [2, 16], [GOOD, GOOD[:15], [1.0]])), 400, None),
    "NaN": (one(data=GOOD).replace(b"15.0", b"NaN"), 400, None),
    "infinity": (one(data=GOOD).replace(b"15.0", b"-Infinity"), 400, None),
    "hexadecimal": (one(data=GOOD).replace(b"15.0", b"0x15"), 400, None),
    "leading zeros": (one(data=GOOD).replace(b"15.0", b"015"), 400, None),
    "an integer out of range": (infer_json(tensor("IN", "INT8", [1, 4], [128, 0, 0, 0])), 400, None, "type-int8"),
    "a negative unsigned": (infer_json(tensor("IN", "UINT64", [1, 4], [-1, 0, 0, 0])), 400, None, "type-uint64"),
    "an integer with a fraction": (infer_json(tensor("IN", "INT32", [1, 4], [1.5, 0, 0, 0])), 400, None, "type-int32"),
    "an integer over 64 bits": (b'{"inputs":[{"name":"IN","datatype":"INT64","shape":[1,4],"data":[18446744073709551616,0,0,0]}]}', 400,
                                None, "ints"),
    "strings for integers": (infer_json(tensor("IN", "INT64", [1, 4], ["1", "2", "3", "4"])), 400, None, "ints"),
    "numbers for strings": (infer_json(tensor("TEXT", "BYTES", [1, 2], [1, 2])), 400, None, "strings"),
    "half floats as JSON": (infer_json(tensor("IN", "FP16", [1, 4], [1, 2, 3, 4])), 400,
                            "receiving FP16 data via JSON is not supported. Please use the binary data format for input IN", "type-fp16"),
    "bfloats as JSON": (infer_json(tensor("IN", "BF16", [1, 4], [1, 2, 3, 4])), 400,
                        "receiving BF16 data via JSON is not supported. Please use the binary data format for input IN", "type-bf16"),
    "an unknown model": (identity_body(), 404, "Request for unknown model: 'nobody' is not found", "nobody"),
    "a model name that is too long": (identity_body(), 404, None, "x" * 2000),
    "a path as model name": (identity_body(), 404, None, "..%2f..%2fetc"),
    "data and binary data": (one(parameters={"binary_data_size": 64}), 400, None),
    "a lone surrogate": (b'{"id":"\\ud800","inputs":[]}', 400, None),
    "a wrong escape": (b'{"id":"\\q","inputs":[]}', 400, None),
    "a number that never ends": (one().replace(b"15.0", b"1" * 100000), 400, None),
    "a huge exponent": (infer_json(tensor("IN", "INT64", [1, 4], [0, 0, 0, 7])).replace(b"7]", b"1e999999999]"), 400, None, "ints"),
}

for size in NO_SIZES:
    JSON_CASES["a dimension of %.30s" % size] = (one().replace(b"[1, 16]", b"[1, %s]" % size.encode()), 400, None)
    JSON_CASES["a batch of %.30s" % size] = (one().replace(b"[1, 16]", b"[%s, 16]" % size.encode()), 400, None)
    JSON_CASES["a dynamic dimension of %.30s" % size] = (
        infer_json(tensor("IN", "UINT8", [1, 7], [1] * 7)).replace(b"[1, 7]", b"[1, %s]" % size.encode()), 400, None, "wide")


def raw_case(size_said, data, model="identity", name="INPUT", datatype="FP32", shape=(1, 16), header=None, **more):
    text = infer_json(tensor(name, datatype, list(shape), size=size_said), **more)
    return text + data, {"Inference-Header-Content-Length": str(len(text)) if header is None else header}, model


BINARY_CASES = {
    "fewer bytes than said": (raw_case(64, b"\0" * 60), 400, "unexpected size for input 'INPUT', expecting 4 additional bytes for model 'identity'"),
    "no bytes at all": (raw_case(64, b""), 400, None),
    "more bytes than said": (raw_case(64, b"\0" * 65), 400, "unexpected additional input data for model 'identity'"),
    "a size that is not the shape's": (raw_case(60, b"\0" * 60), 400,
                                       "input byte size mismatch for input 'INPUT' for model 'identity'. Expected 64, got 60"),
    "a size of zero": (raw_case(0, b""), 400, None),
    "a huge size": (raw_case(1 << 63, b"\0" * 64), 400, None),
    "a size over 64 bits": (raw_case(1 << 70, b"\0" * 64), 400, None),
    "a negative size": (raw_case(-64, b"\0" * 64), 400, None),
    "a size in quotes": (raw_case("64", b"\0" * 64), 400, None),
    "a JSON part longer than the body": (raw_case(64, b"\0" * 64, header="100000"), 400, "inference header size should be in range (0, …"),
    "a negative JSON part": (raw_case(64, b"\0" * 64, header="-1"), 400, "inference header size should be in range (0, …"),
    "a JSON part that is no number": (raw_case(64, b"\0" * 64, header="abc"), 400, None),
    "a JSON part over 64 bits": (raw_case(64, b"\0" * 64, header="9" * 30), 400, None),
    "a JSON part cut short": (raw_case(64, b"\0" * 64, header="20"), 400, None),
    "a JSON part into the tensor": (raw_case(64, b"\0" * 64, header="120"), 400, None),
    "raw of another size": ((b"\0" * 63, {"Inference-Header-Content-Length": "0"}, "identity"), 400, None),
    "raw for two inputs": ((b"\0" * 32, {"Inference-Header-Content-Length": "0"}, "pair"), 400, None),
    "raw of nothing": ((b"", {"Inference-Header-Content-Length": "0"}, "identity"), 400, None),
    "a string longer than the rest": (raw_case(12, struct.pack("<I", 100) + b"abcdefgh", "strings", "TEXT", "BYTES", (1, 2)), 400, None),
    "a string of 4 GiB": (raw_case(12, struct.pack("<I", 0xffffffff) + b"abcdefgh", "strings", "TEXT", "BYTES", (1, 2)), 400, None),
    "a length cut off": (raw_case(10, strings(b"a") + b"\0\0\0\0\0", "strings", "TEXT", "BYTES", (1, 2)), 400, None),
    "strings too few": (raw_case(8, strings(b"abcd"), "strings", "TEXT", "BYTES", (1, 2)), 400, None),
    "strings too many": (raw_case(15, strings(b"a", b"b", b"c"), "strings", "TEXT", "BYTES", (1, 2)), 400, None),
    "strings too small for their lengths": (raw_case(3, b"\0\0\0", "strings", "TEXT", "BYTES", (1, 2)), 400, None),
    "a huge dynamic shape": (raw_case(1 << 40, b"\0" * 10, "wide", "IN", "UINT8", (1, 1 << 40)), (400, 413), None),
    "a shape that overflows": (raw_case(8, b"\0" * 8, "wide", "IN", "UINT8", (8, 1 << 61)), (400, 413), None),
}

for size in NO_SIZES:
    text = infer_json(tensor("INPUT", "FP32", [1, 16], size=64)).replace(b"64", size.encode())
    BINARY_CASES["a size of %.30s" % size] = ((text + b"\0" * 64, {"Inference-Header-Content-Length": str(len(text))}, "identity"), 400, None)
    if size != "016":  # in a header it is a number
        BINARY_CASES["a JSON part of %.30s" % size] = (raw_case(64, b"\0" * 64, header=size), 400, None)


def request(*lines, body=b""):
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def post(*lines, body=b""):
    return request("POST %s HTTP/1.1" % INFER, "Host: t", *lines, body=body)


# Name: (bytes, expected statuses; None stands for a closed connection)
WIRE_CASES = {
    "binary garbage": (bytes(range(256)) * 4 + b"\r\n\r\n", (400, 505)),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500 + b"\r\n\r\n", (400,)),
    "an HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    "no version": (b"GET /v2\r\n\r\n", (400, 505)),
    "another version": (request("GET /v2 HTTP/3.0", "Host: t"), (400, 505)),
    "two spaces": (request("GET  /v2 HTTP/1.1", "Host: t"), (400,)),
    "no method": (request(" /v2 HTTP/1.1", "Host: t"), (400,)),
    "a target without a slash": (request("GET v2 HTTP/1.1", "Host: t"), (400,)),
    "a space in the target": (request("GET /v2 /x HTTP/1.1", "Host: t"), (400, 505)),
    "CONNECT": (request("CONNECT t:80 HTTP/1.1", "Host: t"), (400, 405, 501)),
    "no host": (request("GET /v2 HTTP/1.1"), (400,)),
    "two hosts": (request("GET /v2 HTTP/1.1", "Host: a", "Host: b"), (400,)),
    "a field without a colon": (request("GET /v2 HTTP/1.1", "Host: t", "nothing"), (400,)),
    "a space before the colon": (request("GET /v2 HTTP/1.1", "Host : t"), (400,)),
    "a folded field": (request("GET /v2 HTTP/1.1", "Host: t", "X: a", " b"), (400,)),
    "a control byte in a field": (request("GET /v2 HTTP/1.1", "Host: t", "X: a\0b"), (400,)),
    "lines without CR": (b"GET /v2 HTTP/1.1\nHost: t\n\n", (400, 200)),
    "a request line too long": (request("GET /" + "x" * 40000 + " HTTP/1.1", "Host: t"), (414, 431)),
    "a field too long": (request("GET /v2 HTTP/1.1", "Host: t", "X: " + "y" * 40000), (431,)),
    "too many fields": (request("GET /v2 HTTP/1.1", "Host: t", *["X%d: y" % i for i in range(1000)]), (431,)),
    "a body without a length": (post(body=identity_body()), (400, 411)),
    "a negative length": (post("Content-Length: -5", body=b"abcde"), (400,)),
    "a length with a plus": (post("Content-Length: +5", body=b"abcde"), (400,)),
    "a length that is no number": (post("Content-Length: five", body=b"abcde"), (400,)),
    "a length over 64 bits": (post("Content-Length: 99999999999999999999999", body=b"abcde"), (400, 413)),
    "a length of 1 TiB": (post("Content-Length: 1099511627776", body=b"abcde"), (413,)),
    "a length over the limit": (post("Content-Length: %d" % (17 << 20), body=b"abcde"), (413,)),
    "two lengths": (post("Content-Length: 5", "Content-Length: 6", body=b"abcdef"), (400,)),
    "length and chunks": (post("Content-Length: 5", "Transfer-Encoding: chunked", body=b"5\r\nabcde\r\n0\r\n\r\n"), (400,)),
    "chunked in HTTP/1.0": (request("POST %s HTTP/1.0" % INFER, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), (400,)),
    "another transfer coding": (post("Transfer-Encoding: gzip", body=b"x"), (400, 501)),
    "chunked not last": (post("Transfer-Encoding: chunked, gzip", body=b"x"), (400, 501)),
    "a chunk size that is no number": (post("Transfer-Encoding: chunked", body=b"xyz\r\n"), (400,)),
    "a negative chunk size": (post("Transfer-Encoding: chunked", body=b"-1\r\n"), (400,)),
    "a chunk size over 64 bits": (post("Transfer-Encoding: chunked", body=b"f" * 30 + b"\r\n"), (400, 413)),
    "a huge chunk size": (post("Transfer-Encoding: chunked", body=b"7fffffffffffffff\r\nabc"), (400, 413)),
    "a chunk without its end": (post("Transfer-Encoding: chunked", body=b"3\r\nabcdef\r\n"), (400,)),
    "no chunk size": (post("Transfer-Encoding: chunked", body=b"\r\n\r\n"), (400,)),
    "an endless chunk extension": (post("Transfer-Encoding: chunked", body=b"3;" + b"x" * 200000), (400, 431)),
    "no gzip": (post("Content-Encoding: gzip", "Content-Length: 5", body=b"abcde"), (400,)),
    "gzip cut off": (post("Content-Encoding: gzip", "Content-Length: 30", body=gzip.compress(identity_body())[:30]), (400,)),
    "an empty gzip body": (post("Content-Encoding: gzip", "Content-Length: 0"), (400,)),
    "no deflate": (post("Content-Encoding: deflate", "Content-Length: 5", body=b"abcde"), (400,)),
    "another coding": (post("Content-Encoding: br", "Content-Length: 5", body=b"abcde"), (501,)),
    "another expectation": (post("Expect: miracles", "Content-Length: 5", body=b"abcde"), (417,)),
}

for size in NO_SIZES + ["", "1e1", "5.0", "5 5", "5;", "five", "\u00b2"]:
    if size != "016":
        WIRE_CASES["a length of %.30s" % size] = (post("Content-Length: " + size, body=b"abcde"), (413,) if set(size) == {"9"} else (400,))


def gzip_tampered():
    data = bytearray(gzip.compress(identity_body()))
    data[-6] ^= 0xff
    return bytes(data)


WIRE_CASES["a wrong gzip checksum"] = (post("Content-Encoding: gzip", "Content-Length: %d" % len(gzip_tampered()), body=gzip_tampered()),
                                       (400,))
BOMB = zlib.compress(b" " * (200 << 20), 9)
WIRE_CASES["a deflate bomb"] = (post("Content-Encoding: deflate", "Content-Length: %d" % len(BOMB), body=BOMB), (413,))


class Bad(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = standard_repository()
        cls.server = Server(cls.repository, http_body_mb_max=16)
        identity_infer(cls.server)

    @classmethod
    def tearDownClass(cls):
        try:
            cls.server.stop()
        finally:
            cls.repository.close()

    def impatient(self):
        """A server of the same models that does not wait for heads and bodies as long as others do."""
        server = Server(self.repository, http_head_timeout_ms=400, http_body_timeout_ms=400)
        self.addCleanup(server.kill)
        return server

    def still_good(self, case, server=None):
        server = server or self.server
        try:
            identity_infer(server)
        except (AssertionError, Closed, OSError) as e:
            self.fail("after %s: %r\n%s" % (case, e, server.log()[-3000:]))

    def check(self, case, response, status, text=None):
        statuses = status if isinstance(status, tuple) else (status,)
        self.assertIn(response.status, statuses, "%s: %r" % (case, response))
        if response.status == 200:
            return
        self.assertTrue(response.header("content-type").startswith("application/json"), (case, response))
        message = re.sub(r"^\[request id: [^\]]*\] ", "", response.error())
        self.assertTrue(message, case)
        if text is not None and text.endswith("…"):
            self.assertTrue(message.startswith(text[:-1]), "%s: %r" % (case, message))
        elif text is not None:
            self.assertEqual(message, text, case)

    def test_bad_json(self):
        for case, (body, status, text, *model) in JSON_CASES.items():
            with self.subTest(case):
                path = "/v2/models/%s/infer" % (model[0] if model else "identity")
                self.check(case, self.server.post(path, body), status, text)
                self.still_good(case)

    def test_bad_json_as_the_head_of_a_binary_request_and_in_chunks(self):
        for case, (body, status, text, *model) in JSON_CASES.items():
            if not body or len(body) > 20000:
                continue
            with self.subTest(case):
                path = "/v2/models/%s/infer" % (model[0] if model else "identity")
                with self.server.client() as c:
                    r = c.request("POST", path, body, {"Inference-Header-Content-Length": str(len(body))})
                    self.check(case, r, status, text)
                with self.server.client() as c:
                    c.send(head("POST", path, headers={"Transfer-Encoding": "chunked"}, length=False) +
                           b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
                    self.check(case, c.read_response(), status, text)
        self.still_good("all of them")

    def test_bad_binary(self):
        for case, ((body, headers, model), status, text) in BINARY_CASES.items():
            with self.subTest(case):
                r = self.server.post("/v2/models/%s/infer" % model, body, headers=headers)
                self.check(case, r, status, text)
                with self.server.client() as c:
                    c.send(head("POST", "/v2/models/%s/infer" % model, headers=dict(headers, **{"Transfer-Encoding": "chunked"}),
                                length=False) + (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n")
                    self.check(case + ", chunked", c.read_response(), status)
                self.still_good(case)

    def test_one_connection_survives_bad_requests(self):
        with self.server.client() as c:
            for case, (body, status, text, *model) in JSON_CASES.items():
                if len(body) > 20000:
                    continue
                path = "/v2/models/%s/infer" % (model[0] if model else "identity")
                self.check(case, c.request("POST", path, body), status, text)
                identity_infer(self.server, c)

    def test_the_id_stands_in_the_message(self):
        r = self.server.infer("identity", infer_json(tensor("X", "FP32", [1, 16], GOOD), id="my-17"))
        self.assertEqual((r.status, r.error()), (400, "[request id: my-17] unexpected inference input 'X' for model 'identity'"))
        r = self.server.infer("identity", infer_json(tensor("X", "FP32", [1, 16], GOOD)))
        self.assertEqual(r.error(), "[request id: <id_unknown>] unexpected inference input 'X' for model 'identity'")
        r = self.server.infer("pair", b"1234", headers={"Inference-Header-Content-Length": "0"})
        self.assertTrue(r.error().startswith("[request id: <id_unknown>] Raw request must only have 1 input"), r)
        body, headers = binary([("TEXT", "BYTES", [1, 2], b"\xff" * 16)])
        r = self.server.infer("strings", body, headers=headers)
        self.assertTrue(r.status == 400 and r.error().startswith("[request id: <id_unknown>] "), r)
        for name, id in (("<id_unknown>", {}), ("mine", {"id": "mine"})):
            r = self.server.infer("slow", infer_json(tensor("INPUT", "FP32", [1, 16], GOOD), parameters={"timeout": 1}, **id))
            self.assertEqual(r.status, 503, r)
            self.assertTrue(r.error().startswith("[request id: %s] " % name), r)

    def test_what_reading_finds_wrong_has_no_unknown_id(self):
        body, headers = binary([("INPUT", "FP32", [1, 16], floats(GOOD))])
        for r in (self.server.infer("identity", b"{"), self.server.infer("identity", infer_json(tensor("INPUT", "FP32", [1, 16], GOOD[:-1]))),
                  self.server.infer("identity", body + b"x", headers=headers), self.server.infer("nobody", identity_body())):
            self.assertIn(r.status, (400, 404))
            self.assertNotIn("request id", r.error())

    def test_bad_requests_on_the_wire(self):
        for case, (data, statuses) in WIRE_CASES.items():
            with self.subTest(case):
                with self.server.client() as c:
                    try:
                        c.send(data)
                    except (BrokenPipeError, ConnectionResetError):
                        pass
                    try:
                        self.check(case, c.read_response(), statuses)
                    except Closed:
                        self.fail("%s: closed without an answer" % case)
                self.still_good(case)

    def test_garbage_behind_a_good_request(self):
        body = identity_body(id="before")
        with self.server.client() as c:
            c.send(head("POST", INFER, body) + body + b"\x00\x01garbage\r\n\r\n" * 20)
            self.assertEqual(c.read_response().json()["id"], "before")
            self.assertEqual(c.read_response().status, 400)
            self.assertTrue(c.is_closed())
        self.still_good("garbage")

    def test_an_early_answer_does_not_confuse_what_follows(self):
        body = b"\0" * 300000
        with self.server.client() as c:
            try:
                c.send(head("POST", "/v2/models/nobody/infer", body) + body)
                self.assertEqual(c.read_response().status, 404)
                r = c.request("GET", "/v2")
                self.assertEqual(r.status, 200)
            except (Closed, BrokenPipeError, ConnectionResetError):
                pass  # closing is allowed when the body is large
        small = b"\0" * 1000
        with self.server.client() as c:
            c.send(head("POST", "/v2/models/nobody/infer", small) + small)
            self.assertEqual(c.read_response().status, 404)
            identity_infer(self.server, c)
        self.still_good("an early answer")

    def test_slow_heads_and_bodies_are_cut_off(self):
        body = identity_body()
        starts = [b"GET /v2 HT", b"GET /v2 HTTP/1.1\r\nHost: t\r\nX: ", head("POST", INFER, body) + body[:20],
                  head("POST", INFER, body), post("Transfer-Encoding: chunked", body=b"5\r\nab"),
                  post("Content-Encoding: gzip", "Content-Length: 50", body=b"\x1f\x8b\x08")]
        server = self.impatient()
        clients = []
        for start in starts:
            c = server.client()
            clients.append(c)
            c.send(start)
        self.still_good("slow clients begin", server)
        for start, c in zip(starts, clients):
            with self.subTest(start[:60]):
                try:
                    self.assertEqual(c.read_response().status, 408)
                    self.assertTrue(c.is_closed())
                except Closed:
                    pass
                c.close()
        self.still_good("slow clients", server)
        server.stop()

    def test_a_trickling_head_is_cut_off_all_the_same(self):
        server = self.impatient()
        with server.client() as c:
            c.send(b"GET /v2 HTTP/1.1\r\n")
            sent = [0]

            def cut():
                try:
                    c.send(b"X%d: y\r\n" % sent[0])
                    sent[0] += 1
                    c.socket.settimeout(0.05)
                    c._fill()  # pylint: disable=protected-access
                except socket.timeout:
                    return False
                except (Closed, OSError):
                    pass
                return True
            wait_for(cut, "cut off")
        self.still_good("a trickle", server)
        server.stop()

    def test_clients_that_leave_in_the_middle(self):
        body = identity_body()
        data, headers = binary([("IN", "UINT8", [1, 1000000], b"\7" * 1000000)])
        whole = head("POST", INFER, body) + body
        large = head("POST", "/v2/models/wide/infer", data, headers) + data
        for piece in ([whole[:i] for i in range(1, len(whole), 23)] + [large[:i] for i in (100, 200, 300, 1000, 100000, 999999)] +
                      [whole, large]):
            for how in ("close", "half", "reset"):
                c = self.server.client()
                try:
                    c.send(piece)
                    if how == "half":
                        c.socket.shutdown(socket.SHUT_WR)
                    elif how == "reset":
                        c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                except OSError:
                    pass
                c.close()
        self.still_good("clients that left")

    def test_good_requests_with_random_damage(self):
        body = identity_body(items=2, id="mutant", outputs=[{"name": "OUTPUT", "parameters": {"binary_data": True}}])
        data, headers = binary([("INPUT", "FP32", [2, 16], floats(GOOD * 2))], parameters={"binary_data_output": True})
        text, text_headers = binary([("TEXT", "BYTES", [1, 2], strings(b"abc", b"defgh"))])
        chunked = head("POST", INFER, headers={"Transfer-Encoding": "chunked"}, length=False) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        packed = gzip.compress(body)
        seeds = [head("POST", INFER, body) + body, head("POST", INFER, data, headers) + data, chunked,
                 head("POST", "/v2/models/strings/infer", text, text_headers) + text,
                 head("POST", INFER, packed, {"Content-Encoding": "gzip"}) + packed,
                 head("POST", "/v2/repository/index", b"{}") + b"{}" + head("GET", "/v2/models/pair/config")]
        rng = random.Random(20)
        for number in range(600):
            mutant = bytearray(rng.choice(seeds))
            for _ in range(rng.choice((1, 1, 2, 5, 20))):
                at, how = rng.randrange(len(mutant)), rng.randrange(5)
                if how == 0:
                    mutant[at] ^= 1 << rng.randrange(8)
                elif how == 1:
                    mutant[at] = rng.randrange(256)
                elif how == 2:
                    del mutant[at:at + rng.choice((1, 3, 30))]
                elif how == 3:
                    mutant[at:at] = mutant[at:at + rng.choice((1, 5, 50))]
                else:
                    mutant[at:at] = rng.choice((b"0", b"-", b"9" * 20, b"\r\n", b"\0", b"[", b"{", b'"', b"1e99", b"\xff"))
                if not mutant:
                    break
            with self.server.client() as c:
                try:
                    c.send(bytes(mutant))
                    c.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                answer = c._rest()  # pylint: disable=protected-access
                self.assertTrue(answer == b"" or answer.startswith(b"HTTP/1.1 "), (number, bytes(mutant)[:200], answer[:200]))
            if number % 20 == 0:
                self.still_good("mutant %d: %r" % (number, bytes(mutant)))
        self.still_good("all mutants")

    def test_zz_nothing_has_grown(self):
        if not sanitized():
            self.assertLess(self.server.rss_mb(), 200)
        with self.server.client() as c:
            wait_for(lambda: c.request("GET", "/gpulet/v1/status").json()["connections"] <= 1, "connections closed")
            before = self.server.fds()
            for case in ("no JSON", "data too short", "another shape"):
                self.server.post(INFER, JSON_CASES[case][0])
            wait_for(lambda: c.request("GET", "/gpulet/v1/status").json()["connections"] <= 1, "connections closed")
            self.assertLessEqual(self.server.fds(), before + 1)
        self.assertEqual(self.server.metric("gpulet_worker_lost_total"), 0)


class Limits(unittest.TestCase):
    def serve(self, **options):
        repository = Repository().add("identity").add("pair", inputs=("A:FP32:-1x4", "B:FP32:-1x4"), outputs=("X:FP32:-1x4",))
        repository.add("big", outputs=("OUTPUT:FP32:-1x1048576",))
        self.addCleanup(repository.close)
        server = Server(repository, **options)
        self.addCleanup(server.kill)
        return server

    def check_fields_max(self, server, most):
        for count, status in ((most, 200), (most + 1, 431)):
            with server.client() as c:
                c.send(request("GET /v2 HTTP/1.1", "Host: t", *["X%d: y" % i for i in range(count - 1)]))
                r = c.read_response()
                self.assertEqual(r.status, status, (count, r))
                self.assertTrue(r.header("content-type").startswith("application/json"), r)
                self.assertTrue(status == 200 or c.is_closed(), count)

    def test_header_fields(self):
        for settings, most in (({}, 100), ({"http_headers_max": 12}, 12), ({"http_headers_max": 300}, 300)):
            server = self.serve(**settings)
            self.check_fields_max(server, most)
            identity_infer(server)
            server.stop()

    def test_an_answer_that_nobody_takes_is_given_up(self):
        server = self.serve(http_send_timeout_ms=200)
        body, headers = binary([("INPUT", "FP32", [16, 16], floats([0.0] * 256))])
        with server.client() as c:  # more than sockets hold
            c.send(head("POST", "/v2/models/big/infer", body, headers) + body)
            wait_for(lambda: server.model_status("big")["in_time"] == 1, "answered")
            wait_for(lambda: server.status()["connections"] == 1, "the connection closed", 20)
            with self.assertRaises(Closed):
                c.read_response()
        server.stop()

    def test_too_many_connections_are_answered_and_closed(self):
        server = self.serve(http_connections_max=4)
        clients = [server.client() for _ in range(4)]
        for c in clients:
            identity_infer(server, c)
        body = identity_body()
        # Whoever is too many is told so, whatever it sends: what nobody reads must not cost it the answer.
        for sent in (b"", head("GET", "/v2"), head("POST", INFER, body) + body, b"\0" * 100000) * 5:
            with server.client() as c:
                try:
                    c.send(sent)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                r = c.read_response()
                self.assertEqual((r.status, r.error(), r.header("retry-after")), (429, "too many connections", "1"))
                self.assertEqual(r.header("content-type"), "application/json")
                self.assertTrue(c.is_closed())
        for c in clients:
            identity_infer(server, c)
            c.close()

        def again():
            with server.client() as c:
                return c.request("GET", "/v2").status == 200
        wait_for(again, "served again")
        server.stop()

    def infer(self, server, model, body, headers=None):
        return server.infer(model, body, headers=headers).status

    def test_how_deep_json_may_be_is_a_setting(self):
        flat, nested = identity_body(), one(data=[GOOD])
        deep = b'{"unknown":' + b"[" * 60 + b"]" * 60 + b"," + identity_body()[1:]
        for depth, statuses in ((None, (200, 200, 400)), (4, (200, 400, 400)), (100, (200, 200, 200))):
            server = self.serve(http_json_depth_max=depth)
            self.assertEqual(tuple(self.infer(server, "identity", body) for body in (flat, nested, deep)), statuses, depth)
            server.stop()

    def test_how_many_tensors_a_request_may_have_is_a_setting(self):
        two = infer_json(tensor("A", "FP32", [1, 4], [0] * 4), tensor("B", "FP32", [1, 4], [0] * 4))
        asked = identity_body(outputs=[{"name": "OUTPUT"}])
        asked_twice = identity_body(outputs=[{"name": "OUTPUT"}, {"name": "OTHER"}])
        server = self.serve(http_tensors_max=1)
        self.assertEqual([self.infer(server, "identity", body) for body in (identity_body(), asked)], [200, 200])
        for model, body, which in (("pair", two, "inputs"), ("identity", asked_twice, "outputs")):
            r = server.infer(model, body)
            self.assertEqual((r.status, r.error()), (400, "unable to parse '%s': more than 1" % which))
        server.stop()
        server = self.serve(http_tensors_max=2)
        self.assertEqual(self.infer(server, "pair", two), 200)
        server.stop()

    def test_how_large_a_head_may_be_is_a_setting(self):
        for bytes_max, statuses in ((None, [200, 200, 431]), (1024, [200, 431, 431]), (65536, [200, 200, 200])):
            server = self.serve(http_head_bytes_max=bytes_max)
            found = [server.get("/v2", headers={"X": "y" * size}).status for size in (500, 2000, 40000)]
            self.assertEqual(found, statuses, bytes_max)
            server.stop()

    def test_how_long_a_connection_may_be_idle_is_a_setting(self):
        server = self.serve(http_idle_timeout_ms=300)
        silent, used = server.client(), server.client()
        identity_infer(server, used)
        for c in (silent, used):  # the default is longer than a client of these tests waits
            self.assertTrue(c.is_closed())
            c.close()
        identity_infer(server)
        server.stop()

    def test_inputs_beyond_the_shared_memory_are_503_and_later_ones_are_served(self):
        repository = Repository().add("wide", script(("IN:UINT8:-1x-1",), ("OUT:UINT8:-1x1",), latency_ms=50)).add("identity")
        server = Server(repository, input_mb=8)
        try:
            size = 3 << 20
            body, headers = binary([("IN", "UINT8", [1, size], b"\5" * size)])
            clients = [server.client() for _ in range(8)]
            for c in clients:
                c.send(head("POST", "/v2/models/wide/infer", body, headers))
            for c in clients:
                try:
                    c.send(body)
                except (BrokenPipeError, ConnectionResetError):
                    pass
            statuses = []
            for c in clients:
                try:
                    statuses.append(c.read_response().status)
                except Closed:
                    statuses.append(None)
                c.close()
            self.assertIn(200, statuses)
            self.assertTrue(set(statuses) <= {200, 503, None}, statuses)
            r = server.post("/v2/models/wide/infer", body, headers=headers)
            self.assertEqual(r.status, 200, r)
            identity_infer(server)
            server.stop()
        finally:
            server.kill()
            repository.close()


if __name__ == "__main__":
    main()
