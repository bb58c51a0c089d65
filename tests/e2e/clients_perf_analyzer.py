"""Triton's load generator measures gpulet as it measures Triton: throughput, and the server's split of the time."""
import csv
import os
import re
import sys
import unittest

import harness
import real_models as real

real.need_python("tritonclient")
BIN = os.path.join(os.path.dirname(real.VENV_PYTHON), "perf_analyzer")


def environment():
    """perf_analyzer links libraries that only tools/setup brings; without them its loader says so."""
    folders = [os.path.join(path, "nvidia", "cuda_runtime", "lib") for path in sys.path]
    return dict(os.environ, LD_LIBRARY_PATH=":".join([f for f in folders if os.path.isdir(f)] +
                                                     [p for p in [os.environ.get("LD_LIBRARY_PATH")] if p]))


def need_perf_analyzer():
    if not os.access(BIN, os.X_OK):
        harness.missing("no perf_analyzer; run: tools/setup clients")
    code, out, err = harness.run(BIN, "--version", env=environment())
    if code != 0:
        harness.missing("perf_analyzer does not start (%s); run: tools/setup clients" % (err or out).strip()[:200])


class KnownLatency:
    """A fake model of known latency, for the time of a with."""

    def __init__(self, **script):
        self.repository = harness.Repository().add("identity", **script)

    def __enter__(self):
        self.server = harness.Server(self.repository)
        return self.server

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.server.stop()
        finally:
            self.server.kill()
            self.repository.close()


class PerfAnalyzer(unittest.TestCase):
    def measure(self, server, model, *more, batch=1, concurrency=2):
        """One row of its report, after it ended well and without a complaint."""
        report = server.folder.join("report.csv")
        code, out, err = harness.run(
            BIN, "-m", model, "-u", "127.0.0.1:%d" % server.port, "-i", "http", "-b", str(batch), "--concurrency-range",
            str(concurrency), "--measurement-mode", "time_windows", "--measurement-interval", "1000", "-s", "200", "-r", "3",
            "-f", report, *more, env=environment())
        said = "%s\n%s\n%s" % (out, err, server.log()[-1000:])
        self.assertEqual(code, 0, said)
        for complaint in ("rror", "ailed", "unsupported", "WARNING"):
            self.assertNotIn(complaint, out + err, said)
        for line in ("Throughput: ", "Successful request count: ", "Inference count: ", "Execution count: "):
            self.assertIn(line, out)
        with open(report, newline="", encoding="utf-8") as f:
            row, = list(csv.DictReader(f))
        return {key: float(value) for key, value in row.items()}, out

    def check_split(self, out, least_infer_us):
        split = re.search(r"Avg request latency: (\d+) usec \(overhead (\d+) usec \+ queue (\d+) usec \+ compute input (\d+) "
                          r"usec \+ compute infer (\d+) usec \+ compute output (\d+) usec\)", out)
        self.assertTrue(split, out)
        total, *parts = [int(v) for v in split.groups()]
        self.assertAlmostEqual(total, sum(parts), delta=10)
        self.assertGreaterEqual(parts[3], least_infer_us)
        names = ("Request count", "Inference count", "Execution count", "Successful request count")
        counts = {name: int(re.search(name + r": (\d+)", out).group(1)) for name in names}
        self.assertGreater(counts["Request count"], 0)
        self.assertGreaterEqual(counts["Successful request count"], counts["Request count"] * 0.9)
        self.assertLessEqual(counts["Execution count"], counts["Successful request count"])
        return counts

    def test_throughput_and_the_servers_split_of_a_known_latency(self):
        with KnownLatency(latency_ms=5) as server:
            row, out = self.measure(server, "identity", batch=4)
            self.assertGreater(row["Inferences/Second"], 4 * 20)
            self.assertLess(row["Inferences/Second"], 4 * 2 * 200)
            self.assertGreaterEqual(row["p50 latency"], 5000)
            self.assertGreaterEqual(row["Server Compute Infer"], 4900)
            counts = self.check_split(out, 4900)
            self.assertEqual(counts["Inference count"], 4 * counts["Successful request count"])

    def test_asynchronous_requests_at_a_rate(self):
        with KnownLatency(latency_ms=1) as server:
            report = server.folder.join("rate.csv")
            code, out, err = harness.run(
                BIN, "-m", "identity", "-u", "127.0.0.1:%d" % server.port, "-i", "http", "-a", "--request-rate-range", "100",
                "--measurement-mode", "time_windows", "--measurement-interval", "1000", "-s", "200", "-r", "3", "-f", report,
                env=environment())
            self.assertEqual(code, 0, out + err)
            with open(report, newline="", encoding="utf-8") as f:
                row, = list(csv.DictReader(f))
            self.assertAlmostEqual(float(row["Inferences/Second"]), 100, delta=15)

    def test_a_real_model(self):
        repository = real.RealRepository(identity=10000)
        self.addCleanup(repository.close)
        server = real.real_server(repository, [(1, 0, [("identity", 32, 1)])])
        self.addCleanup(server.kill)
        row, out = self.measure(server, "identity", concurrency=4)
        self.assertGreater(row["Inferences/Second"], 100)
        self.check_split(out, 0)
        server.stop()


if __name__ == "__main__":
    real.main(need_perf_analyzer)
