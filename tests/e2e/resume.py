"""`gpulet profile` is broken off in the middle and run again: what was measured is kept, and not measured a second time."""
import json
import os
import re
import signal
import subprocess
import unittest

from harness import DEADLINE_S, GPULET, Repository, children_of, is_alive, main, run, wait_for

MODELS, SIZES, BATCHES = ("a", "b"), (2, 4), (1, 2, 4)
ALL = {(m, u, b) for m in MODELS for u in SIZES for b in BATCHES}
LINE = re.compile(r"(\S+) +(\d+) units  batch +(\d+)  p50 +([0-9.]+) ms  p99 +([0-9.]+) ms +([0-9.]+) MiB +(\d+) runs")


class Resume(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        for model in MODELS:
            self.repository.add(model, latency_ms=60, latency_ms_per_item=2)
        self.store, self.out = self.repository.join(".store.db"), self.repository.join(".profile.csv")

    def words(self, *more):
        return [GPULET, "profile", "--model-repository", self.repository.path, "--engine", "fake", "--device", "fake", "--fake-devices",
                "fake:4:1", "--store", self.store, "--out", self.out, "--seconds", "2", "--runs-max", "5",
                "--sizes", ",".join(map(str, SIZES)), "--batches", ",".join(map(str, BATCHES)), *more]

    def lines(self, text):
        """[(point, p50 ms, p99 ms, MiB, runs)] of the progress that was told."""
        return [((m[0], int(m[1]), int(m[2])), float(m[3]), float(m[4]), float(m[5]), int(m[6])) for m in LINE.findall(text)]

    def begin(self):
        """A run of which some points are measured, and its workers."""
        self.err = self.repository.join(".err")
        with open(self.err, "wb") as err:
            process = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_for(lambda: len(self.told()) >= 4 or process.poll() is not None, "some points measured")
        return process, children_of(process.pid)

    def told(self):
        with open(self.err, encoding="utf-8") as f:
            return self.lines(f.read())

    def rows(self):
        with open(self.out, encoding="utf-8") as f:
            lines = [line.strip().split(",") for line in f if line.strip() and not line.startswith("#")]
        return [dict(zip(lines[0], row)) for row in lines[1:]]

    def break_off(self, number):
        process, workers = self.begin()
        process.send_signal(number)
        self.assertEqual(process.wait(DEADLINE_S), -number)
        self.assertTrue(workers)
        wait_for(lambda: not any(is_alive(p) for p in workers), "its workers gone", 20)
        self.assertFalse(os.path.exists(self.out), "half a profile is none")
        told = self.told()
        self.assertTrue(4 <= len(told) < len(ALL), told)
        # A line is told before its point is stored, so the last one may be lost.
        first = {point: (p50, p99, mib) for point, p50, p99, mib, _ in told[:-1]}
        return first

    def go_on(self, first):
        code, out, err = run(*self.words("--json"))
        self.assertEqual(code, 0, err)
        second = self.lines(err)
        points = [line[0] for line in second]
        told = json.loads(out)
        self.assertEqual((told["known"] + told["measured"], told["problems"]), (len(ALL), 0))
        self.assertGreaterEqual(told["known"], len(first))
        self.assertEqual(told["measured"], len(points))
        self.assertEqual(set(points) & set(first), set(), "measured again")
        self.assertEqual(len(points), len(set(points)))
        return second

    def check_rows(self, first, second):
        """The profile has all points, those of the first run with the figures that were told then."""
        rows = {(r["model"], int(r["units"]), int(r["batch"])): r for r in self.rows()}
        self.assertEqual(set(rows), ALL)
        told = dict(first)
        told.update({point: (p50, p99, mib) for point, p50, p99, mib, _ in second})
        for point, (p50, p99, mib) in told.items():
            self.assertAlmostEqual(float(rows[point]["latency_ms"]), p50, delta=0.002, msg=point)
            self.assertAlmostEqual(float(rows[point]["latency_ms_p99"]), p99, delta=0.002, msg=point)
            self.assertAlmostEqual(float(rows[point]["memory_mb"]), mib, delta=0.06, msg=point)
        for point, row in rows.items():
            least = 60 + 2 * point[2]
            self.assertGreaterEqual(float(row["latency_ms"]), 0.99 * least, point)
            self.assertGreaterEqual(float(row["latency_ms_p99"]), float(row["latency_ms"]) * 0.999, point)
            self.assertGreater(float(row["memory_mb"]), 0, point)

    def goes_on_after(self, number):
        first = self.break_off(number)
        second = self.go_on(first)
        self.assertTrue(all(runs >= 1 for *_, runs in second))
        self.check_rows(first, second)
        code, out, _ = run(*self.words("--json"))
        self.assertEqual((code, json.loads(out)["measured"]), (0, 0))

    def test_after_an_interrupt(self):
        self.goes_on_after(signal.SIGINT)

    def test_after_being_told_to_end(self):
        self.goes_on_after(signal.SIGTERM)

    def test_after_being_killed(self):
        self.goes_on_after(signal.SIGKILL)


if __name__ == "__main__":
    main()
