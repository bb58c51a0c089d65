"""Memory, descriptors and shared segments stay flat over 200,000 requests."""
import json
import os
import re
import threading
import time
import unittest

import harness
import real_models as real

real.need_python("numpy", "onnxruntime")
import numpy  # noqa: E402

REQUESTS = 200000
THREADS = 8
SAMPLES = 200
GROWTH_MAX = 1.03
SAMPLE_S = 90  # a thousand requests take that long only where something hangs


def memory_kb(pid):
    """PSS without file pages: those are shared with whatever else runs on the machine, and change with it."""
    with open("/proc/%d/smaps_rollup" % pid, encoding="utf-8") as f:
        found = {key: int(value) for key, value in re.findall(r"^(\w+):\s+(\d+) kB", f.read(), re.M)}
    if "Pss_Anon" not in found:  # Linux before 5.4 tells the sum alone
        return found["Pss"]
    return found["Pss_Anon"] + found["Pss_Shmem"]


def descriptors(pid):
    """(all, shared segments)."""
    folder = "/proc/%d/fd" % pid
    targets = []
    for fd in os.listdir(folder):
        try:
            targets.append(os.readlink(os.path.join(folder, fd)))
        except FileNotFoundError:
            pass
    return len(targets), sum("memfd:" in t for t in targets)


def segments_of_the_machine():
    with open("/proc/sysvipc/shm", encoding="utf-8") as f:
        system_v = len(f.readlines())
    return system_v, sorted(name for name in os.listdir("/dev/shm") if "gpulet" in name)


class Shot:
    """A request as bytes, and what its answer must hold."""

    def __init__(self, model, name, values, output, want):
        body, headers = harness.binary([(name, "FP32", list(values.shape), values.tobytes())],
                                       parameters={"binary_data_output": True})
        self.bytes = harness.head("POST", "/v2/models/%s/infer" % model, body, headers) + body
        self.output, self.want, self.exact = output, want, model == "identity"

    def problem(self, response):
        if response.status != 200:
            return repr(response)
        datatype, shape, data = response.outputs()[self.output]
        if datatype != "FP32" or shape != list(self.want.shape):
            return "%s%s" % (datatype, shape)
        if self.exact:
            return None if data == self.want.tobytes() else "other numbers"
        got = numpy.frombuffer(data, numpy.float32).reshape(self.want.shape)
        return None if numpy.abs(got - self.want).max() <= real.TOLERANCE else "other numbers"


class Flat(unittest.TestCase):
    def setUp(self):
        direct = real.Direct("lenet")
        rng = numpy.random.default_rng(5)
        self.shots = []
        for items in (1, 1, 1, 2, 3, 8, 33, 64):
            values = rng.standard_normal((items, 16)).astype(numpy.float32)
            self.shots.append(Shot("identity", "input", values, "output", values))
        for items in (1, 1, 2, 4):
            values = rng.random((items, 1, 28, 28), numpy.float32)
            self.shots.append(Shot("lenet", "data", values, "prob", direct.run("lenet", data=values)["prob"]))
        self.before = segments_of_the_machine()
        self.repository = real.RealRepository(identity=60000, lenet=60000)
        self.addCleanup(self.repository.close)
        self.server = real.real_server(self.repository, [(1, 0, [("identity", 16, 1)]), (1, 1, [("lenet", 16, 2)])])
        self.addCleanup(self.server.kill)
        self.lock = threading.Lock()
        self.done, self.problems = 0, []

    def send(self, index):
        try:
            client = self.server.client()
            number = index
            while True:
                with self.lock:
                    if self.done >= REQUESTS or self.problems:
                        break
                    self.done += 1
                number = (number * 1103515245 + 12345) % (1 << 31)
                shot = self.shots[(number >> 8) % len(self.shots)]
                client.send(shot.bytes)
                problem = shot.problem(client.read_response("POST"))
                if problem is not None:
                    self.problems.append(problem)
                if number % 1000 == 0:  # connections come and go
                    client.close()
                    client = self.server.client()
            client.close()
        except Exception as e:  # pylint: disable=broad-except
            self.problems.append(repr(e))

    def sample(self, pids):
        return {pid: (memory_kb(pid),) + descriptors(pid) for pid in pids}

    def test_memory_and_descriptors_stay_flat(self):
        pids = [self.server.pid] + self.server.worker_pids()
        self.assertEqual(len(pids), 3)
        threads = [threading.Thread(target=self.send, args=(i + 1,), daemon=True) for i in range(THREADS)]
        started = time.monotonic()
        for t in threads:
            t.start()
        samples = []
        for i in range(SAMPLES):
            harness.wait_for(lambda: self.done >= (i + 1) * REQUESTS // SAMPLES or self.problems, "the load goes on", SAMPLE_S)
            samples.append(self.sample(pids))
        for t in threads:
            t.join(harness.DEADLINE_S)
        self.assertEqual(self.problems[:3], [])
        seconds = time.monotonic() - started
        report = {pid: self.growth(pid, samples) for pid in pids}
        print(json.dumps({"requests": self.done, "seconds": round(seconds, 1), "gpuletd": report[pids[0]],
                          "workers": [report[p] for p in pids[1:]]}))
        for pid, found in report.items():
            self.assertLessEqual(found["memory"], GROWTH_MAX, (pid, found))
            self.assertLessEqual(found["fds"][1], found["fds"][0] + 1, (pid, found))
            self.assertEqual(found["segments"][1], found["segments"][0], (pid, found))
        self.assertEqual(sorted(self.server.worker_pids()), sorted(pids[1:]))
        counted = sum(real.statistics(self.server, m)["inference_stats"]["success"]["count"] for m in ("identity", "lenet"))
        self.assertEqual(counted, REQUESTS)
        self.server.stop()
        self.assertEqual(segments_of_the_machine(), self.before)

    @staticmethod
    def growth(pid, samples):
        """The last quarter over the second: the first is warming up."""
        quarter = SAMPLES // 4
        second, last = samples[quarter:2 * quarter], samples[-quarter:]

        def mean(part, i):
            return sum(s[pid][i] for s in part) / len(part)
        return {"memory_kb": round(mean(last, 0)), "memory": round(mean(last, 0) / mean(second, 0), 4),
                "fds": [max(s[pid][1] for s in second), max(s[pid][1] for s in last)],
                "segments": [max(s[pid][2] for s in second), max(s[pid][2] for s in last)]}


def need_plain_build():
    if harness.sanitized():
        harness.skip("a sanitizer keeps memory for itself")


if __name__ == "__main__":
    real.main(real.need_long, real.need_cores, need_plain_build, real.library_path, lambda: real.need_models("identity", "lenet"))
