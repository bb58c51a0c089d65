"""What the tests with foreign clients and with real models share: where Python's packages, the engine's library and the
example models are, direct runs of a model to compare with, and a client over Python's own HTTP.

Everything that may be absent on a machine is asked for by name (need_python, need_models, need_long): where it is
missing, main() ends the program with 77 and a line that says how to get it; with GPULET_REQUIRE=1 it fails for want of
what tools/setup and tools/make-models bring.
"""
import glob
import http.client
import json
import os
import random
import struct
import sys
import threading
import time

import harness

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
VENV_PYTHON = os.path.join(ROOT, ".setup", "venv", "bin", "python3")
TOLERANCE = 1e-4


# ---- what may be absent ----

def main(*needs):
    """Runs the program's tests if it has what it needs."""
    for need in needs:
        harness.or_end(need)
    harness.main()


def need_python(*packages):
    """Goes on in the environment of tools/setup, which has numpy, onnxruntime and Triton's client. Stands before the
    imports of those, so it ends the program itself."""
    harness.or_end(lambda: go_on_in_python(*packages))


def go_on_in_python(*packages):
    if os.environ.get("GPULET_TEST_PYTHON") != VENV_PYTHON:
        if not os.access(VENV_PYTHON, os.X_OK):
            harness.missing("no Python environment; run: tools/setup python clients")
        sys.stdout.flush()
        os.execve(VENV_PYTHON, [VENV_PYTHON, "-B"] + sys.argv, dict(os.environ, GPULET_TEST_PYTHON=VENV_PYTHON))
    for package in packages:
        try:
            __import__(package)
        except ImportError as e:
            harness.missing("%s is not installed (%s); run: tools/setup python clients" % (package, e))


def library_path():
    """ONNX Runtime's library: the one named, or the one that tools/setup fetched."""
    named = os.environ.get("GPULET_ORT_LIBRARY")
    found = [named] if named else sorted(glob.glob(os.path.join(ROOT, ".setup", "ort", "libonnxruntime.so.1.*")))
    if not found or not os.path.isfile(found[-1]):
        harness.missing("no ONNX Runtime library; run: tools/setup engine, or set GPULET_ORT_LIBRARY")
    return found[-1]


def need_models(*names):
    """The folder that holds these models."""
    folder = os.environ.get("GPULET_MODELS") or os.path.join(ROOT, ".setup", "models", "repository")
    for name in names:
        if not os.path.isfile(os.path.join(folder, name, "1", "model.onnx")):
            harness.missing("no model %s under %s; run: tools/make-models DIR and set GPULET_MODELS=DIR" % (name, folder))
    return folder


def need_samples():
    path = os.path.join(need_models("digits"), "..", "samples", "digits.json")
    if not os.path.isfile(path):
        harness.missing("no %s; run: tools/make-models DIR --samples DIR/../samples" % os.path.normpath(path))
    with open(path, encoding="utf-8") as f:
        return json.load(f)["samples"]


def need_long():
    if os.environ.get("GPULET_LONG") != "1":
        harness.skip("takes minutes; set GPULET_LONG=1")


def need_cores():
    """Enough for two gpu-lets."""
    if len(os.sched_getaffinity(0)) < 2:
        harness.skip("needs two cores")


# ---- servers ----

class RealRepository(harness.Repository):
    """Links to example models, with objectives of the test's own."""

    def __init__(self, **slo_ms):
        super().__init__()
        source = need_models(*[name.replace("_", "-") for name in slo_ms])
        lines = ["model,rate_rps,slo_ms"]
        for name, slo in slo_ms.items():
            name = name.replace("_", "-")
            os.symlink(os.path.abspath(os.path.join(source, name)), self.join(name))
            lines.append("%s,20,%s" % (name, slo))
        self.workload = self.write(".workload.csv", "\n".join(lines) + "\n")


def real_server(repository, gpulets=None, **options):
    """A server with the real engine on the CPU's cores; gpulets as harness.plan_json takes them."""
    if gpulets is not None:
        options["plan"] = repository.write(".plan.json", harness.plan_json(gpulets, device="cpu"))
    env = dict(os.environ, GPULET_ORT_LIBRARY=library_path())
    return harness.Server(repository, engine="ort", device="cpu", workload=repository.workload, env=env, **options)


# ---- direct runs ----

class Direct:
    """Models run in this process by the same library, one thread each, to compare the server's answers with."""

    def __init__(self, *names):
        import onnxruntime
        version = os.path.basename(os.path.realpath(library_path())).split(".so.")[-1]
        if version != onnxruntime.__version__:
            harness.missing("the library is %s, Python's onnxruntime %s: answers may differ" % (version, onnxruntime.__version__))
        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        folder = need_models(*names)
        self.sessions = {name: onnxruntime.InferenceSession(os.path.join(folder, name, "1", "model.onnx"), options,
                                                            providers=["CPUExecutionProvider"]) for name in names}

    def run(self, name, **inputs):
        """{output: array}."""
        session = self.sessions[name]
        return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs)))


TYPES = {"float32": "FP32", "int64": "INT64"}


class Question:
    """A request, ready to be sent as often as one likes, and the only right answer to it."""

    def __init__(self, model, inputs, want, label=None):
        self.model, self.want, self.label = model, want, label
        self.items = len(next(iter(inputs.values())))
        self.tensors = [{"name": name, "datatype": TYPES[str(a.dtype)], "shape": list(a.shape),
                         "parameters": {"binary_data_size": a.nbytes}} for name, a in inputs.items()]
        self.tail = b"".join(a.tobytes() for a in inputs.values())

    def body(self, request_id):
        text = json.dumps({"id": request_id, "inputs": self.tensors, "parameters": {"binary_data_output": True}}).encode()
        return text + self.tail, {"Inference-Header-Content-Length": str(len(text))}

    def problem(self, request_id, answer):
        """Why this 200 is wrong, or None."""
        import numpy
        head, outputs = answer
        if head.get("id") != request_id or head.get("model_name") != self.model:
            return "the answer of another request: %r" % head
        if set(outputs) != set(self.want):
            return "outputs %s" % sorted(outputs)
        for name, want in self.want.items():
            datatype, shape, data = outputs[name]
            if datatype != TYPES[str(want.dtype)] or shape != list(want.shape):
                return "%s is %s%s instead of %s%s" % (name, datatype, shape, want.dtype, want.shape)
            got = numpy.frombuffer(data, want.dtype).reshape(want.shape)
            if want.dtype.kind == "i":
                wrong = got != want
            else:
                wrong = ~(numpy.abs(got - want) <= TOLERANCE * numpy.maximum(1, numpy.abs(want)))
            if wrong.any():
                return "%s: %d of %d elements differ from a direct run" % (name, wrong.sum(), wrong.size)
        return None


def labels_of(answer):
    return list(struct.unpack("<%dq" % answer[1]["label"][1][0], answer[1]["label"][2]))


# ---- a client ----

class KeptAlive:
    """One connection of Python's own http.client, which must survive every answer."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=harness.DEADLINE_S)
        self.connection.connect()
        self.socket = self.connection.sock

    def infer(self, question, request_id):
        """(status, (head, outputs) or the error's text)."""
        body, headers = question.body(request_id)
        self.connection.request("POST", "/v2/models/%s/infer" % question.model, body, headers)
        response = self.connection.getresponse()
        data = response.read()
        if self.connection.sock is not self.socket:
            raise harness.Closed("the connection did not stay open")
        answer = harness.Response(response.status, response.reason, {k.lower(): v for k, v in response.getheaders()}, data)
        if response.status != 200:
            return response.status, answer.error()
        return 200, (answer.head_json(), answer.outputs())

    def is_silent(self):
        """Nothing came that was not asked for: no second answer."""
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1) is None
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(harness.DEADLINE_S)

    def close(self):
        self.connection.close()


class Sent:
    """One request as its sender saw it."""
    __slots__ = ("model", "at", "seconds", "status", "problem")

    def __init__(self, model, at, seconds, status, problem):
        self.model, self.at, self.seconds, self.status, self.problem = model, at, seconds, status, problem


class Senders:
    """Threads with a connection each that ask choose(rng) for the next Question until it says None. Everything they
    sent is in .sent; look(question, answer) sees every right one."""

    def __init__(self, port, threads, choose, look=None, seed=1):
        self.port, self.choose, self.look = port, choose, look
        self.sent, self.problems = [], []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(i, seed), daemon=True) for i in range(threads)]
        for t in self.threads:
            t.start()

    def _run(self, index, seed):
        rng = random.Random(seed * 1000 + index)
        number = 0
        try:
            client = KeptAlive(self.port)
            while True:
                question = self.choose(rng)
                if question is None:
                    break
                self._one(client, question, "%d-%d" % (index, number))
                number += 1
            if not client.is_silent():
                raise AssertionError("bytes came after the last answer")
            client.close()
        except Exception as e:  # pylint: disable=broad-except
            self.problems.append("thread %d, request %d: %r" % (index, number, e))

    def _one(self, client, question, request_id):
        at = time.monotonic()
        status, answer = client.infer(question, request_id)
        seconds = time.monotonic() - at
        problem = question.problem(request_id, answer) if status == 200 else answer
        with self.lock:
            self.sent.append(Sent(question.model, at, seconds, status, problem))
            if status == 200 and problem is None and self.look is not None:
                self.look(question, answer)

    def join(self, deadline_s):
        until = time.monotonic() + deadline_s
        for t in self.threads:
            t.join(max(0.0, until - time.monotonic()))
            assert not t.is_alive(), "after %.0f s some request was not answered" % deadline_s
        assert not self.problems, self.problems[:3]
        return self.sent


def statistics(server, model):
    r = server.get("/v2/models/%s/stats" % model)
    assert r.status == 200, r
    return r.json()["model_stats"][0]
