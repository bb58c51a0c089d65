"""What the benchmarks on GPUs share beside serve.py: plans by hand, clients that keep every answer's time, what the driver says of memory."""

import csv
import http.client
import json
import math
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request

BYTES = {"BOOL": 1, "UINT8": 1, "INT8": 1, "UINT16": 2, "INT16": 2, "FP16": 2, "BF16": 2, "UINT32": 4, "INT32": 4, "FP32": 4,
         "UINT64": 8, "INT64": 8, "FP64": 8}
ANSWER_LIMIT_S = 60.0


def device_of(profile):
    """The device type that a profile speaks of."""
    with open(profile, encoding="utf-8", newline="") as file:
        return next(csv.DictReader(line for line in file if line.strip() and not line.startswith("#")))["device"]


def plan_by_hand(path, device, gpulets):
    """A plan file of one device from [(units, [(model, batch, latency_ms)])]."""
    made = []
    slot = 0
    for units, models in gpulets:
        duty = sum(ms for _, _, ms in models)
        made.append({"units": units, "slot": slot, "duty_ms": duty, "models": [
            {"model": name, "batch": batch, "instances": 1, "rate_rps": 1.0, "capacity_rps": batch * 1000 / duty, "latency_ms": ms,
             "interference": 1.0, "worst_ms": duty + ms} for name, batch, ms in models]})
        slot += units
    path.write_text(json.dumps({
        "planner": "by-hand", "feasible": True, "devices_used": 1, "lower_bound": None, "proved_optimal": False, "elapsed_ms": 0.0,
        "models": [], "devices": [{"type": device, "index": 0, "gpulets": made}], "reason": None}), encoding="utf-8")
    return path


def own_options(args):
    """What gpuletd and `gpulet profile` must be told of the device."""
    options = ["--device", args.device]
    return options + ["--mps-step", str(args.step)] if args.device == "mps" else options


class Body:
    """A request of one item, all zeros, in binary tensors."""

    def __init__(self, server, model):
        with urllib.request.urlopen(f"{server.url}/v2/models/{model}", timeout=10) as answer:
            inputs = json.load(answer)["inputs"]
        head = {"inputs": []}
        data = b""
        for one in inputs:
            shape = [dim if dim > 0 else 1 for dim in one["shape"]]
            size = math.prod(shape) * BYTES[one["datatype"]]
            head["inputs"].append({"name": one["name"], "datatype": one["datatype"], "shape": shape,
                                   "parameters": {"binary_data_size": size}})
            data += bytes(size)
        text = json.dumps(head).encode()
        self.path = f"/v2/models/{model}/infer"
        self.bytes = text + data
        self.headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))}


class Clients:
    """Threads that each send one request after the other. answers: (sent_s, done_s, status), by time.monotonic(); a request that
    was sent and got no answer has the status 0 and is one of lost."""

    def __init__(self, server, model, count):
        self.body = Body(server, model)
        self.address = urllib.parse.urlsplit(server.url).netloc
        self.stopping = threading.Event()
        self.answers = []
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _one(self, connection):
        connection.request("POST", self.body.path, self.body.bytes, self.body.headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def _run(self):
        connection = http.client.HTTPConnection(self.address, timeout=ANSWER_LIMIT_S)
        while not self.stopping.is_set():
            sent_s = time.monotonic()
            try:
                status = self._one(connection)
            except (OSError, http.client.HTTPException):
                connection.close()  # the next request opens it anew
                status = 0
            self.answers.append((sent_s, time.monotonic(), status))
            if status != 200:
                time.sleep(0.002)  # refused at once: not to send thousands a second
        connection.close()

    def stop(self):
        """Ends the threads when their last requests are answered."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(2 * ANSWER_LIMIT_S)
        return sum(thread.is_alive() for thread in self.threads)

    def counts(self):
        """How many there were of each status."""
        found = {}
        for _, _, status in list(self.answers):
            found[status] = found.get(status, 0) + 1
        return found

    def latencies_ms(self, from_s, to_s):
        """Of good answers that came in between, ascending."""
        return sorted(1000 * (done - sent) for sent, done, status in list(self.answers) if status == 200 and from_s <= done < to_s)


def percentile(ascending, percent):
    """None of an empty list."""
    return ascending[min(len(ascending) - 1, int(len(ascending) * percent / 100))] if ascending else None


def smi(query):
    """Rows of nvidia-smi's answer; none where it is not there or refuses."""
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(["nvidia-smi", query, "--format=csv,noheader,nounits"], capture_output=True, text=True, check=False)
    return [[word.strip() for word in line.split(",")] for line in done.stdout.splitlines() if "," in line or line.strip().isdigit()]


def used_mb():
    """Memory in use on the first GPU, by whomever; None where nobody says."""
    rows = smi("--query-gpu=memory.used")
    return float(rows[0][0]) if rows else None


def processes_mb():
    """pid -> memory that the driver says it takes."""
    return {int(pid): float(used) for pid, used in smi("--query-compute-apps=pid,used_memory") if used.replace(".", "").isdigit()}
