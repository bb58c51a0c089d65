"""Property tests run the seeds that they name; with GPULET_LONG=1 four times as many, others each time, and say which."""
import os
import re
import subprocess
import time
import unittest

TESTS = os.path.join(os.environ.get("GPULET_BIN_DIR") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "release", "bin"), "..", "tests")
# How each is told to run two seeds (fresh ones aside), and what it prints then with and without GPULET_LONG.
PROGRAMS = {"prop.plan.exact": (("2",), "2 passed", "8 passed"), "prop.plan.interference": (("2",), "2 passed", "8 passed"),
            "prop.plan.promises": (("2",), None, None), "prop.sched.worlds": (("1", "2"), "2 passed", "8 passed"),
            "prop.sim.seeds": (("2", "0"), "2 passed", "8 passed"),
            "prop.sched.apps": ((), "of 36000 runs", "of 144000 runs")}


class Seeds(unittest.TestCase):
    def run_program(self, name, words, long):
        done = subprocess.run([os.path.join(TESTS, name), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=250,
                              env=dict(os.environ, GPULET_LONG=long), check=False)
        return done.stdout.decode(errors="replace")

    def first_seed(self, out):
        match = re.search(r"GPULET_LONG=1: (\d+) seeds, first seed (\d+)\n", out)
        self.assertIsNotNone(match, out)
        return int(match.group(2))

    def test_four_times_as_many_and_others_each_time(self):
        before = {}
        for name, (words, few, many) in PROGRAMS.items():
            out = self.run_program(name, words, "0")
            self.assertNotIn("GPULET_LONG", out)
            self.assertIn(few or "passed", out, name)
            out = self.run_program(name, words, "1")
            self.assertIn(many or "passed", out, name)
            before[name] = self.first_seed(out)
        time.sleep(1.1)
        for name, (words, _, _) in PROGRAMS.items():
            self.assertNotEqual(self.first_seed(self.run_program(name, words, "1")), before[name], name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
