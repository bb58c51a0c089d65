"""What the end-to-end tests share: a model repository of the fake engine, a server to run, and clients.

The tests talk to the programs only through what is promised to everybody: command lines, exit codes, HTTP. Nothing
here waits for a fixed time: it polls, with a deadline that is generous enough for a slow build on a busy machine.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BIN = os.environ.get("GPULET_BIN_DIR") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "release", "bin")
GPULETD = os.path.join(BIN, "gpuletd")
GPULET = os.path.join(BIN, "gpulet")
DEADLINE_S = 60.0
SKIPPED = 77
# tools/check sets it: what is set up before must be there, or "all checks passed" would be said of tests that never ran.
REQUIRED = os.environ.get("GPULET_REQUIRE") == "1"

SIZES = {"BOOL": 1, "UINT8": 1, "INT8": 1, "UINT16": 2, "INT16": 2, "FP16": 2, "BF16": 2, "UINT32": 4, "INT32": 4,
         "FP32": 4, "UINT64": 8, "INT64": 8, "FP64": 8}
SANITIZER_WORDS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "Assertion", "assertion")


def sanitized():
    """Whether the programs carry a sanitizer: memory figures mean nothing then, and all is slower."""
    with open(GPULETD, "rb") as f:
        data = f.read()
    return b"__asan_" in data or b"__tsan_" in data


# ---- what may be absent ----

class Missing(AssertionError):
    """Something that must be there, GPULET_REQUIRE=1 says, is not."""


def skip(reason):
    """For what a machine may lack by right: a GPU, cores, a permission, the time for a long test."""
    raise unittest.SkipTest(reason)


def missing(reason):
    """For what tools/setup installs, tools/make-models makes, or the build builds: a skip, or a failure where it is required."""
    if REQUIRED:
        raise Missing("%s (GPULET_REQUIRE=1: this is a failure and no skip)" % reason)
    skip(reason)


def or_end(look):
    """Does look(), which may call skip() or missing(), before any test begins; they end the program here."""
    try:
        return look()
    except Missing as e:
        print("failed: %s" % e, flush=True)
        sys.exit(1)
    except unittest.SkipTest as e:
        print("skipped: %s" % e, flush=True)
        sys.exit(SKIPPED)


def wait_for(condition, what, deadline_s=DEADLINE_S):
    """The first true value of condition(); fails when there is none by the deadline."""
    until = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError("within %.0f s: not %s" % (deadline_s, what))
        time.sleep(0.01)


# ---- repository ----

def script(inputs=("INPUT:FP32:-1x16",), outputs=("OUTPUT:FP32:-1x16",), **more):
    """The text of a model of the fake engine: outputs are the rows of the first input, repeated or cut."""
    lines = ["input=" + i for i in inputs] + ["output=" + o for o in outputs]
    return "\n".join(lines + ["%s=%s" % item for item in more.items()]) + "\n"


class Folder:
    """A temporary folder that goes with the test."""

    def __init__(self, prefix="gpulet-e2e-"):
        self.path = tempfile.mkdtemp(prefix=prefix)

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)

    def join(self, *names):
        return os.path.join(self.path, *names)

    def write(self, name, text):
        path = self.join(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        return path


class Repository(Folder):
    def add(self, name, text=None, config=None, versions=None, **script_args):
        """versions: {number: text}. config: the lines of config.pbtxt."""
        for number, body in (versions or {1: text if text is not None else script(**script_args)}).items():
            self.write(os.path.join(name, str(number), "model.onnx"), body)
        if config is not None:
            self.write(os.path.join(name, "config.pbtxt"), config)
        return self


def parameters(**values):
    """Lines of config.pbtxt."""
    return "".join('parameters { key: "%s" value { string_value: "%s" } }\n' % (key, value) for key, value in values.items())


def standard_repository():
    """One model of every kind of tensor."""
    r = Repository()
    r.add("identity")
    r.add("pair", inputs=("A:FP32:-1x4", "B:FP32:-1x4"), outputs=("X:FP32:-1x4", "Y:FP32:-1x8"))
    r.add("strings", inputs=("TEXT:BYTES:-1x2",), outputs=("OUT:BYTES:-1x2",))
    r.add("ints", inputs=("IN:INT64:-1x4",), outputs=("OUT:INT64:-1x4",))
    r.add("scalar", inputs=("S:FP32:",), outputs=("O:FP32:1",))
    r.add("unbatched", inputs=("IN:FP32:3x2",), outputs=("OUT:FP32:3x2",), config="max_batch_size: 0\n")
    r.add("fixed", inputs=("IN:FP32:8x4",), outputs=("OUT:FP32:8x4",))
    r.add("big", inputs=("IN:FP32:-1x16",), outputs=("OUT:FP32:-1x1048576",))
    r.add("wide", inputs=("IN:UINT8:-1x-1",), outputs=("OUT:UINT8:-1x-1",))
    r.add("slow", latency_ms=200)
    r.add("odd name+é%", inputs=("IN:FP32:-1x2",), outputs=("OUT:FP32:-1x2",))
    r.add("labelled", inputs=("IN:FP32:-1x3",), outputs=("OUT:FP32:-1x3",),
          config='output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" } ]\n')
    r.write("labelled/labels.txt", "cat\ndog\n")
    r.add("versioned", config="version_policy { all {} }\n", versions={
        1: script(outputs=("OUTPUT:FP32:-1x4",)), 2: script(outputs=("OUTPUT:FP32:-1x8",)),
        10: script(outputs=("OUTPUT:FP32:-1x16",))})
    for datatype in SIZES:
        r.add("type-" + datatype.lower(), inputs=("IN:%s:-1x4" % datatype,), outputs=("OUT:%s:-1x4" % datatype,))
    return r


# ---- processes ----

def children_of(pid):
    found = []
    try:
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, task)) as f:
                found += [int(word) for word in f.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


class Crowd:
    """Other processes that want every CPU, at the lowest priority, so that they only take what nobody else wants."""

    def __init__(self):
        loop = "import os\nos.nice(19)\nprint('on', flush=True)\nwhile os.getppid() == %d: sum(range(20000))" % os.getpid()
        self.processes = [subprocess.Popen([sys.executable, "-S", "-c", loop], stdout=subprocess.PIPE)
                          for _ in os.sched_getaffinity(0)]
        for p in self.processes:
            p.stdout.readline()

    def close(self):
        for p in self.processes:
            p.kill()
            p.wait()
            p.stdout.close()


def is_alive(pid):
    """A zombie is not."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def command_of(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return f.read().split(b"\0")[0].decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def rss_mb(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) / 1024


class Server:
    """A gpuletd of its own. Arguments given replace the defaults of the tests."""

    DEFAULTS = {"http-port": "0", "metrics-port": "0", "engine": "fake", "device": "fake", "store": "none",
                "calibrate": "false", "log-level": "info"}

    def __init__(self, repository, *args, wait=True, program=GPULETD, env=None, **options):
        self.folder = Folder()
        self.log_path = self.folder.join("log")
        self.workers_seen = set()
        settings = dict(self.DEFAULTS)
        settings.update({key.replace("_", "-"): value for key, value in options.items()})
        words = ["--%s=%s" % item for item in settings.items() if item[1] is not None]
        if repository is not None:
            words.append("--model-repository=" + (repository if isinstance(repository, str) else repository.path))
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([program] + words + list(args), stdout=subprocess.PIPE, stderr=log,
                                            stdin=subprocess.DEVNULL, env=env)
        self.pid = self.process.pid
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = self.metrics_port = None
        if wait:
            try:
                self.wait_ready()
            except BaseException:
                self.kill()
                raise

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))

    def log(self):
        with open(self.log_path, "rb") as f:
            return f.read().decode(errors="replace")

    def wait_ready(self):
        def look():
            for line in list(self.lines):
                match = re.fullmatch(r"ready http=(\S+):(\d+) grpc=\S+ metrics=(\S+):(\d+)", line)
                if match:
                    return match
            if self.process.poll() is not None:
                raise AssertionError("gpuletd ended with %s before it was ready:\n%s" % (self.process.returncode, self.log()))
            return None
        try:
            match = wait_for(look, "ready")
        except AssertionError as e:
            raise AssertionError("%s\n%s" % (e, self.log()[-4000:]))
        self.port, self.metrics_port = int(match.group(2)), int(match.group(4))
        self.note_workers()

    def note_workers(self):
        self.workers_seen.update(children_of(self.pid))
        return self.workers_seen

    def wait_exit(self, deadline_s=DEADLINE_S):
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError("gpuletd still runs after %.0f s:\n%s" % (deadline_s, self.log()[-4000:]))

    def check_nothing_left(self):
        wait_for(lambda: not [p for p in self.workers_seen if is_alive(p) and "gpulet-worker" in command_of(p)],
                 "all workers gone", 20)

    def stop(self, code=0):
        """SIGTERM, and all that must hold then."""
        try:
            self.note_workers()
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            found = self.wait_exit()
            log = self.log()
            assert found == code, "exit code %s instead of %s:\n%s" % (found, code, log[-6000:])
            for word in SANITIZER_WORDS:
                assert word not in log, log[max(0, log.index(word) - 300):][:6000]
            self.check_nothing_left()
        finally:
            self.kill()

    def kill(self):
        """Ends it in any case; may be called again."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
        self.process.stdout.close()
        self.folder.close()

    def client(self, **args):
        return Client(self.port, **args)

    def get(self, path, **args):
        with self.client() as c:
            return c.request("GET", path, **args)

    def post(self, path, body=b"", **args):
        with self.client() as c:
            return c.request("POST", path, body, **args)

    def infer(self, model, body, **args):
        return self.post("/v2/models/%s/infer" % model, body, **args)

    def status(self):
        r = self.get("/gpulet/v1/status")
        assert r.status == 200, r
        return r.json()

    def model_status(self, name):
        return next(m for m in self.status()["models"] if m["model"] == name)

    def worker_pids(self):
        return [g["pid"] for g in self.status()["gpulets"] if g["pid"] > 0]

    def metrics_text(self):
        with Client(self.metrics_port) as c:
            r = c.request("GET", "/metrics")
        assert r.status == 200, r
        return r.body.decode()

    def metrics(self):
        return parse_metrics(self.metrics_text())

    def metric(self, name, **labels):
        """The sum over the samples that carry these labels."""
        return sum(value for n, l, value in self.metrics() if n == name and all(l.get(k) == v for k, v in labels.items()))

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def rss_mb(self):
        return rss_mb(self.pid)

    def all_rss_mb(self):
        """With its workers."""
        return sum(rss_mb(pid) for pid in [self.pid] + self.worker_pids())

    def wait_quiet(self):
        """No connection but our own, no request open: the state that an fd count is taken in."""
        wait_for(lambda: self.status()["connections"] <= 1, "all connections closed")


def parse_metrics(text):
    samples = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", line)
        assert match, "not a sample: " + line
        labels = dict(re.findall(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"', match.group(2) or ""))
        samples.append((match.group(1), labels, float(match.group(3))))
    return samples


def run(*words, timeout=DEADLINE_S, env=None, cwd=None):
    """A command to its end: (exit code, stdout, stderr)."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=timeout,
                          env=env, cwd=cwd)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


# ---- HTTP by hand ----

class Closed(Exception):
    """The server closed the connection where an answer was expected."""


class Response:
    def __init__(self, status, reason, headers, body):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body

    def header(self, name):
        return self.headers.get(name.lower())

    def json(self):
        return json.loads(self.body)

    def error(self):
        return self.json()["error"]

    def outputs(self):
        """{name: (datatype, shape, data)}; data of a binary output is bytes."""
        length = self.header("inference-header-content-length")
        head = json.loads(self.body if length is None else self.body[:int(length)])
        tail = b"" if length is None else self.body[int(length):]
        found = {}
        for o in head["outputs"]:
            size = o.get("parameters", {}).get("binary_data_size")
            if size is None:
                found[o["name"]] = (o["datatype"], o["shape"], o["data"])
            else:
                found[o["name"]] = (o["datatype"], o["shape"], tail[:size])
                assert len(tail) >= size, "the binary part is too short"
                tail = tail[size:]
        assert tail == b"", "bytes are left after the last output"
        return found

    def head_json(self):
        length = self.header("inference-header-content-length")
        return json.loads(self.body if length is None else self.body[:int(length)])

    def __repr__(self):
        return "<%s %s %r>" % (self.status, self.headers, self.body[:400])


class Client:
    def __init__(self, port, timeout=DEADLINE_S, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _fill(self):
        try:
            data = self.socket.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        if not data:
            raise Closed(bytes(self.buffer[:200]))
        self.buffer += data

    def _line(self):
        while True:
            end = self.buffer.find(b"\r\n")
            if end >= 0:
                line = bytes(self.buffer[:end])
                del self.buffer[:end + 2]
                return line
            self._fill()

    def _take(self, count):
        while len(self.buffer) < count:
            self._fill()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def _chunks(self):
        parts = []
        while True:
            size = int(self._line().split(b";")[0], 16)
            if size == 0:
                while self._line():
                    pass
                return b"".join(parts)
            parts.append(self._take(size))
            assert self._take(2) == b"\r\n"

    def read_response(self, method="GET"):
        line = self._line().decode()
        match = re.fullmatch(r"HTTP/1\.[01] (\d\d\d) ?(.*)", line)
        assert match, "not a status line: %r" % line
        status = int(match.group(1))
        headers = {}
        while True:
            line = self._line().decode("latin-1")
            if not line:
                break
            name, value = line.split(":", 1)
            headers[name.strip().lower()] = value.strip()
        if method == "HEAD" or status < 200 or status in (204, 304):
            body = b""
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunks()
        elif "content-length" in headers:
            body = self._take(int(headers["content-length"]))
        else:
            body = self._rest()
        return Response(status, match.group(2), headers, body)

    def _rest(self):
        try:
            while True:
                self._fill()
        except Closed:
            data = bytes(self.buffer)
            self.buffer.clear()
            return data

    def is_closed(self):
        """Waits for the end of the stream; False when bytes come instead."""
        try:
            self._fill()
            return False
        except Closed:
            return not self.buffer

    def request(self, method, path, body=b"", headers=None, length=True):
        self.send(head(method, path, body, headers, length) + body)
        return self.read_response(method)


def head(method, path, body=b"", headers=None, length=True, version="HTTP/1.1"):
    lines = ["%s %s %s" % (method, path, version), "Host: test"]
    lines += ["%s: %s" % item for item in (headers or {}).items()]
    if length and (body or method == "POST"):
        lines.append("Content-Length: %d" % len(body))
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


# ---- inference bodies ----

def tensor(name, datatype, shape, data=None, size=None, **params):
    t = {"name": name, "datatype": datatype, "shape": shape}
    if size is not None:
        params["binary_data_size"] = size
    if params:
        t["parameters"] = params
    if data is not None:
        t["data"] = data
    return t


def infer_json(*inputs, **more):
    return json.dumps({"inputs": list(inputs), **more}).encode()


def binary(tensors, outputs=None, **more):
    """(body, headers) of a request whose tensors are (name, datatype, shape, bytes or list)."""
    inputs, tail = [], b""
    for name, datatype, shape, data in tensors:
        if isinstance(data, (bytes, bytearray)):
            inputs.append(tensor(name, datatype, shape, size=len(data)))
            tail += data
        else:
            inputs.append(tensor(name, datatype, shape, data))
    request = {"inputs": inputs, **more}
    if outputs is not None:
        request["outputs"] = outputs
    text = json.dumps(request).encode()
    return text + tail, {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"}


def floats(values):
    return struct.pack("<%df" % len(values), *values)


def unfloats(data):
    return list(struct.unpack("<%df" % (len(data) // 4), data))


def strings(*values):
    return b"".join(struct.pack("<I", len(v)) + v for v in values)


def identity_body(items=1, first=0.0, **more):
    values = [first + i for i in range(16 * items)]
    return infer_json(tensor("INPUT", "FP32", [items, 16], values), **more)


def identity_infer(server, client=None, items=1, first=0.0, model="identity"):
    """A good request whose answer is checked."""
    body = identity_body(items, first, id="good")
    path = "/v2/models/%s/infer" % model
    r = client.request("POST", path, body) if client is not None else server.post(path, body)
    assert r.status == 200, r
    assert r.json()["id"] == "good"
    assert r.outputs()["OUTPUT"] == ("FP32", [items, 16], [first + i for i in range(16 * items)]), r
    return r


def half_sent(server, model, body):
    """The client of a request that stays open until it is closed: the rest of its body never comes."""
    c = server.client()
    c.send(head("POST", "/v2/models/%s/infer" % model, body) + body[:len(body) // 2])
    return c


# ---- plans ----

def plan_json(gpulets, device="fake", index=0):
    """A plan of one device from [(units, slot, [(model, batch, latency_ms)])]."""
    made = []
    for units, slot, models in gpulets:
        duty = sum(m[2] for m in models)
        made.append({"units": units, "slot": slot, "duty_ms": duty, "models": [
            {"model": name, "batch": batch, "instances": 1, "rate_rps": 10.0, "capacity_rps": batch * 1000.0 / duty,
             "latency_ms": latency, "interference": 1.0, "worst_ms": duty + latency} for name, batch, latency in models]})
    return json.dumps({
        "planner": "by-hand", "feasible": True, "devices_used": 1, "lower_bound": None, "proved_optimal": False,
        "elapsed_ms": 0.0, "models": [], "devices": [{"type": device, "index": index, "gpulets": made}], "reason": None})


def kept_plan(store):
    """The plan that a server of that store would begin with: an empty one while none is kept."""
    with contextlib.closing(sqlite3.connect(store)) as db:
        row = db.execute("SELECT json FROM plan ORDER BY id DESC LIMIT 1").fetchone()
    return json.loads(row[0]) if row is not None else {"models": None, "devices": []}


# ---- load ----

class Load:
    """Threads that keep sending until stopped. answer(thread, number, client) sends one request and returns a word
    that is counted; a broken connection is counted as "closed" and opened anew."""

    def __init__(self, port, threads, answer):
        self.port, self.answer = port, answer
        self.stop_event = threading.Event()
        self.lock = threading.Lock()
        self.counts = {}
        self.problems = []
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(threads)]
        for t in self.threads:
            t.start()

    def _count(self, word):
        with self.lock:
            self.counts[word] = self.counts.get(word, 0) + 1

    def count(self, word=None):
        with self.lock:
            return sum(self.counts.values()) if word is None else self.counts.get(word, 0)

    def _run(self, index):
        client = None
        number = 0
        while not self.stop_event.is_set():
            try:
                if client is None:
                    client = Client(self.port)
                self._count(self.answer(index, number, client))
            except (Closed, ConnectionError) as e:
                self._count("refused" if isinstance(e, ConnectionRefusedError) else "closed")
                if client is not None:
                    client.close()
                client = None
                if isinstance(e, ConnectionRefusedError):
                    break
            except Exception as e:  # pylint: disable=broad-except
                self.problems.append(repr(e))
                break
            number += 1
        if client is not None:
            client.close()

    def stop(self):
        self.stop_event.set()
        for t in self.threads:
            t.join(DEADLINE_S)
            assert not t.is_alive(), "a client thread hangs: some request was never answered"
        assert not self.problems, self.problems[:3]
        return self.counts


class Beats:
    """Pings at a fixed rate, from the moments when they are due. Where one is answered late the machine stood still, whoever was asked."""

    EVERY_S, LATE_S = 0.02, 0.1

    def __init__(self, port):
        self.port, self.over, self.problem = port, threading.Event(), None
        self.stills = []  # [from, until]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            with Client(self.port) as client:
                due = time.monotonic()
                while not self.over.wait(max(0.0, due - time.monotonic())):
                    assert client.request("GET", "/v2/health/live").status == 200
                    self._note(due, time.monotonic())
                    due += self.EVERY_S
        except Exception as e:  # pylint: disable=broad-except
            self.problem = repr(e)

    def _note(self, due, end):
        if end - due <= self.LATE_S:
            return
        if self.stills and due <= self.stills[-1][1]:
            self.stills[-1][1] = end
        else:
            self.stills.append([due, end])

    def stop(self):
        self.over.set()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive() and self.problem is None, self.problem

    def outside(self, requests, span):
        """Those that the machine did not stand still for; span(request) is (begin, end). Where it hardly did anything else nothing is
        shown, so no more than a fifth may be left out."""
        kept = []
        for r in requests:
            begin, end = span(r)
            if not any(since <= end and begin <= until for since, until in self.stills):
                kept.append(r)
        print("the machine stood still %d times, %.1f s in all: %d of %d requests left out" % (
            len(self.stills), sum(until - since for since, until in self.stills), len(requests) - len(kept), len(requests)))
        assert len(kept) >= 0.8 * len(requests), "the machine stood still for too many requests"
        return kept


def need_programs():
    for program in (GPULETD, GPULET, os.path.join(BIN, "gpulet-worker")):
        if not os.access(program, os.X_OK):
            missing("%s is not there; build first" % program)


def main():
    or_end(need_programs)
    unittest.main(verbosity=2)
