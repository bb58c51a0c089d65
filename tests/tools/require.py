"""A test that lacks what the set-up brings says so: it is skipped, and with GPULET_REQUIRE=1 it fails."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

TESTS = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(TESTS, "e2e"))
import harness  # noqa: E402

BIN = os.environ.get("GPULET_BIN_DIR") or os.path.join(TESTS, "..", "build", "release", "bin")
CONTRACT = os.path.join(BIN, "..", "tests", "contract.engine.ort")


class Require(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="gpulet-require-")
        self.addCleanup(shutil.rmtree, self.folder)

    def outcome(self, required, *words, **env):
        env = dict(os.environ, GPULET_REQUIRE="1" if required else "0", **env)
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100, env=env, check=False)
        return done.returncode, done.stdout.decode(errors="replace")

    def program(self, text, *words, **env):
        """One that ends before its tests begin."""
        code, out = self.outcome(False, *words, **env)
        self.assertEqual(code, 77, out)
        self.assertIn(text, out)
        code, out = self.outcome(True, *words, **env)
        self.assertEqual(code, 1, out)
        self.assertIn(text, out)

    def case(self, text, *words, **env):
        """A single case of a program, the others of which can run."""
        code, out = self.outcome(False, *words, **env)
        self.assertEqual(code, 0, out)
        self.assertRegex(out, "skipped ['\"]")
        self.assertIn(text, out)
        code, out = self.outcome(True, *words, **env)
        self.assertEqual(code, 1, out)
        self.assertIn(text, out)
        self.assertIn("GPULET_REQUIRE=1", out)

    def python(self, name, *cases):
        return [sys.executable, "-B", os.path.join(TESTS, "e2e", name + ".py"), *cases]

    def tools(self, *names):
        """A folder of programs that holds these only."""
        for name in names:
            found = shutil.which(name)
            self.assertIsNotNone(found, name)
            os.symlink(found, os.path.join(self.folder, name))
        return self.folder

    def test_programs_that_were_not_built(self):
        self.program("gpuletd is not there; build first", *self.python("basic"), GPULET_BIN_DIR=self.folder)

    def test_an_interpreter_of_javascript(self):
        self.case("tools/setup check", *self.python("page", "Page.test_it_shows_a_busy_server"), PATH=self.folder)

    def test_promtool(self):
        self.case("promtool is not installed", *self.python("metrics", "Metrics.test_promtool_takes_it"), PATH=self.folder)

    def test_strace(self):
        self.program("no strace; run: tools/setup check", *self.python("long_telemetry"), PATH=self.folder, GPULET_LONG="1",
                     GPULET_TEST_PYTHON="")

    def test_the_python_environment_of_the_set_up(self):
        os.mkdir(os.path.join(self.folder, "tests"))
        copy = shutil.copytree(os.path.join(TESTS, "e2e"), os.path.join(self.folder, "tests", "e2e"))
        self.program("tools/setup python clients", sys.executable, "-B", os.path.join(copy, "clients_triton.py"))

    def test_models(self):
        if not os.access(os.path.join(TESTS, "..", ".setup", "venv", "bin", "python3"), os.X_OK):
            harness.missing("no Python environment, which is asked for before the models; run: tools/setup python clients")
        for name, model in (("real_answers", "digits"), ("real_follow", "")):
            self.program("no model " + model, *self.python(name), GPULET_MODELS=self.folder)
        self.case("tools/make-models", *self.python("ort", "ExampleModels"), GPULET_MODELS=self.folder)

    def test_the_engine(self):
        nowhere = os.path.join(self.folder, "none.so")
        self.program("tools/setup engine", *self.python("ort"), GPULET_ORT_LIBRARY=nowhere)
        self.program("tools/setup engine", *self.python("real_answers"), GPULET_ORT_LIBRARY=nowhere)
        self.program("tools/setup engine", CONTRACT, "ort", GPULET_ORT_LIBRARY=nowhere)

    def test_clang_format(self):
        self.program("clang-format is not installed", "/bin/sh", os.path.join(TESTS, "tidy", "format.sh"), os.path.join(TESTS, ".."),
                     PATH=self.folder)
        other = os.path.join(self.tools("sh"), "clang-format")
        with open(other, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\necho clang-format version 99.0\n")
        os.chmod(other, 0o755)
        self.program("another clang-format", "/bin/sh", os.path.join(TESTS, "tidy", "format.sh"), os.path.join(TESTS, ".."),
                     PATH=self.folder)

    def test_what_may_be_absent_is_a_skip_in_any_case(self):
        for required in (False, True):
            code, out = self.outcome(required, *self.python("long_death"), GPULET_LONG="0")
            self.assertEqual(code, 77, out)
            self.assertIn("GPULET_LONG=1", out)

    def test_no_test_skips_past_the_helpers(self):
        """They alone know of GPULET_REQUIRE."""
        for path in glob.glob(os.path.join(TESTS, "**", "*.py"), recursive=True):
            if os.path.basename(path) in ("harness.py", os.path.basename(__file__)):
                continue
            with open(path, encoding="utf-8") as f:
                found = re.findall(r"skipTest|SkipTest|skipUnless|skipIf|unittest\.skip|exit\(77\)", f.read())
            self.assertEqual(found, [], path)


if __name__ == "__main__":
    unittest.main(verbosity=2)
