"""Odd surroundings: no standard streams, few descriptors, and requests byte by byte as KServe's client sends them."""
import json
import os
import unittest

from harness import GPULETD, Client, Repository, Server, floats, identity_infer, main, wait_for


class Surroundings(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        self.repository.add("identity")

    def shell(self, before, **options):
        """A server that a shell starts; `before` is what it does first."""
        program = self.repository.write(".start", "#!/bin/sh\n%s\nexec '%s' \"$@\"%s\n" % (
            before, os.path.abspath(GPULETD), options.pop("redirect", "")))
        os.chmod(program, 0o755)
        server = Server(self.repository, program=program, worker_program=os.path.join(os.path.dirname(os.path.abspath(GPULETD)), "gpulet-worker"),
                        **options)
        self.addCleanup(server.kill)
        return server

    def test_started_without_standard_input_and_error(self):
        """The log went into whatever took the place of descriptor 2: shared memory, or a client's connection."""
        server = self.shell("", redirect=" <&- 2>&-")
        for fd in (0, 2):
            self.assertEqual(os.readlink("/proc/%d/fd/%d" % (server.pid, fd)), "/dev/null")
        for i in range(20):
            identity_infer(server, first=float(i))
        server.stop()

    def test_a_low_soft_limit_of_descriptors_is_raised(self):
        """A thousand idle connections took the descriptors that a worker's successor needs."""
        server = self.shell("ulimit -S -n 64")
        clients = [Client(server.port) for _ in range(150)]
        for c in clients:
            self.assertEqual(c.request("GET", "/v2/health/live").status, 200)
        os.kill(server.worker_pids()[0], 9)
        wait_for(lambda: server.infer("identity", json.dumps({"inputs": [{"name": "INPUT", "shape": [1, 16], "datatype": "FP32",
                                                                          "data": [0] * 16}]}).encode()).status == 200, "served again")
        server.note_workers()
        for c in clients:
            c.close()
        server.stop()


class KServe(unittest.TestCase):
    """What its Python client (0.14, REST, protocol v2) puts on the wire; driven itself by hand, for it brings 400 MB."""

    HEADERS = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "Connection": "keep-alive", "User-Agent": "python-httpx/0.27.2"}

    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        self.repository.add("identity").add("strings", inputs=("TEXT:BYTES:-1x2",), outputs=("OUT:BYTES:-1x2",))
        self.server = Server(self.repository)
        self.addCleanup(self.server.kill)

    def send(self, verb, path, body=b"", **more):
        with self.server.client() as c:
            return c.request(verb, path, body, dict(self.HEADERS, **more))

    def test_health(self):
        for path, key in (("/v2/health/live", "live"), ("/v2/health/ready", "ready"), ("/v2/models/identity/ready", "ready")):
            r = self.send("GET", path)
            self.assertEqual((r.status, r.json()[key]), (200, True))
        self.assertEqual(self.send("GET", "/v2/models/nobody/ready").status, 404)
        self.server.stop()

    def test_json_without_a_content_type_and_with_the_model_named_inside(self):
        body = {"id": "k1", "model_name": "identity", "inputs": [
            {"name": "INPUT", "shape": [2, 16], "datatype": "FP32", "data": [float(i) for i in range(32)]}]}
        r = self.send("POST", "/v2/models/identity/infer", json.dumps(body, separators=(",", ":")).encode())
        self.assertEqual(r.status, 200, r)
        self.assertEqual((r.json()["id"], r.json()["model_name"]), ("k1", "identity"))
        self.assertEqual(r.outputs()["OUTPUT"], ("FP32", [2, 16], [float(i) for i in range(32)]))
        r = self.send("POST", "/v2/models/strings/infer", b'{"model_name":"strings","inputs":[{"name":"TEXT","shape":[1,2],'
                      b'"datatype":"BYTES","data":["a","bc"]}]}')
        self.assertEqual(r.outputs()["OUT"][2], ["a", "bc"])
        self.server.stop()

    def test_binary_with_headers_in_lower_case(self):
        head = (b'{"id":"c8cc4a42-6bd9-4aa5-a78b-f59f28e2443c","model_name":"identity","inputs":[{"name":"INPUT","shape":[2,16],'
                b'"datatype":"FP32","parameters":{"binary_data_size":128}}],"parameters":{"binary_data_output":true}}')
        values = floats([float(i) for i in range(32)])
        r = self.send("POST", "/v2/models/identity/infer", head + values,
                      **{"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"})
        self.assertEqual(r.status, 200, r)
        self.assertEqual(r.outputs()["OUTPUT"], ("FP32", [2, 16], values))
        r = self.send("POST", "/v2/models/nobody/infer", head + values,
                      **{"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"})
        self.assertEqual(r.status, 404)
        self.server.stop()


if __name__ == "__main__":
    main()
