"""tools/setup on machines that lack something: one clear sentence, a failure, and nothing half done; and nothing to do the second time.

It runs with a PATH of its own, in which what changes the machine is a stub, and sets up a folder of its own.
"""
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import unittest

SETUP = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "setup"))
REAL = ("awk", "cat", "comm", "cut", "dirname", "flock", "grep", "mkdir", "mv", "paste", "rm", "sed", "sha256sum", "sort", "tail")
# Says of every package that it is installed, or of none; takes the call down.
DPKG_ALL = 'shift 2; for p in "$@"; do echo "installed $p"; done'
DF = 'echo "Filesystem 1M-blocks Used Available Capacity Mounted"; echo "/dev/x 100000 1 %d 1%% /"'
# pip without a network, and pip that fetches a wheel with what tools/setup takes out of it.
PIP_FAILS = 'echo "WARNING: Retrying: Temporary failure in name resolution"; echo "ERROR: No matching distribution found"; exit 1'
PIP_FETCHES = """while [ "$1" != -d ]; do shift; done
exec "$REAL_PYTHON" -c 'import sys, zipfile
with zipfile.ZipFile(sys.argv[1] + "/it.whl", "w") as z:
    for name in ("capi/libonnxruntime.so.1.2.3", "LICENSE", "ThirdPartyNotices.txt"):
        z.writestr("onnxruntime/" + name, name)' "$2\""""
PYTHON = """case "$*" in
"-m pip --version") exit 0 ;;
"-m pip "*) %s ;;
"-m venv "*) "$REAL_MKDIR" -p "$4/bin"; echo '#!/bin/sh
echo "(3, 11)"' >"$4/bin/python"; "$REAL_CHMOD" +x "$4/bin/python" ;;
*) exec "$REAL_PYTHON" "$@" ;;
esac"""


class Setup(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="gpulet-setup-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path, self.home, self.calls = (os.path.join(self.folder, name) for name in ("bin", "home", "calls"))
        os.mkdir(self.path)
        for name in REAL:
            found = shutil.which(name)
            self.assertIsNotNone(found, name)
            os.symlink(found, os.path.join(self.path, name))
        self.stub("uname", "echo x86_64")
        self.stub("id", "echo 0")
        self.stub("df", DF % 50000)
        self.stub("apt-get", "exit 0")
        self.stub("dpkg-query", DPKG_ALL)
        self.python = self.stub("python", PYTHON % PIP_FETCHES)

    def stub(self, name, text):
        """A program of the PATH; it notes that it was called."""
        path = os.path.join(self.path, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\nprintf '%%s|' %s \"$@\" | \"$REAL_TR\" '\\n|' '  ' >>'%s'; echo >>'%s'\n%s\n" %
                    (name, self.calls, self.calls, text))
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def run_setup(self, *parts, **env):
        env = {"PATH": self.path, "GPULET_SETUP_DIR": self.home, "GPULET_PYTHON": self.python, "REAL_PYTHON": sys.executable,
               "REAL_MKDIR": shutil.which("mkdir"), "REAL_TR": shutil.which("tr"), "REAL_CHMOD": shutil.which("chmod"), **env}
        done = subprocess.run([shutil.which("bash"), SETUP, *parts], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=100, env=env, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def fails(self, says, *parts, code=1, **env):
        """One sentence of its own; what comes before is indented: the end of what the failing program said."""
        found, out, err = self.run_setup(*parts, **env)
        self.assertEqual(found, code, out + err)
        own = [line for line in err.splitlines() if not line.startswith("    ")]
        self.assertEqual(len(own), 1, err)
        self.assertRegex(own[0], "^setup: .*[.?]$")
        self.assertIn(says, own[0])
        return out, err

    def called(self):
        if not os.path.exists(self.calls):
            return ""
        with open(self.calls, encoding="utf-8") as f:
            return f.read()

    def stamps(self):
        folder = os.path.join(self.home, "stamp")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def test_a_machine_without_apt_get(self):
        os.unlink(os.path.join(self.path, "apt-get"))
        for part in ("build", "check", "engine", "python"):
            self.fails("this machine has no apt-get; gpulet is set up on Debian 12", part)
        self.assertEqual(self.stamps(), [])

    def test_packages_that_cannot_be_installed(self):
        self.stub("dpkg-query", "exit 1")
        self.stub("apt-get", "echo 'E: Unable to fetch some archives'; exit 100")
        _, err = self.fails("apt-get could not install them; is the network there", "build")
        self.assertIn("    E: Unable to fetch some archives", err)
        self.stub("id", "echo 1000")
        self.fails("installing packages needs root or sudo; as root, run: apt-get install", "build")

    def test_no_network_for_pip(self):
        self.stub("python", PYTHON % PIP_FAILS)
        _, err = self.fails("could not fetch ONNX Runtime with pip; is the network there?", "engine")
        self.assertIn("    ERROR: No matching distribution found", err)
        self.assertIn("log/engine.log", err)
        self.fails("could not fetch Python packages with pip; is the network there?", "python")
        self.assertEqual(self.stamps(), [])
        self.assertFalse(os.path.exists(os.path.join(self.home, "ort")))
        self.stub("python", PYTHON % PIP_FETCHES)
        self.assertEqual(self.run_setup("engine")[0], 0, "once the network is there")
        self.assertEqual(self.stamps(), ["engine"])

    def test_no_space(self):
        self.stub("df", DF % 120)
        for part in ("engine", "python"):
            self.fails("only 120 MB are free under %s; packages and example models need" % self.home, part)
        self.stub("dpkg-query", "exit 1")
        self.fails("only 120 MB are free", "build")
        self.assertNotIn("pip download", self.called())
        self.assertNotIn("apt-get", self.called())

    def test_no_python_and_no_pip(self):
        self.fails("there is no /nowhere/python; install python3, or name another in GPULET_PYTHON", "engine",
                   GPULET_PYTHON="/nowhere/python")
        self.stub("python", "exit 1")
        self.fails("has no pip; install python3-pip", "engine")

    def test_another_processor(self):
        self.stub("uname", "echo aarch64")
        self.fails("ONNX Runtime is pinned for x86-64 only; this is aarch64", "engine")

    def test_a_folder_that_cannot_be_written(self):
        self.fails("cannot write to /dev/null/x", "engine", GPULET_SETUP_DIR="/dev/null/x")

    def test_a_part_that_does_not_exist(self):
        self.fails("no part is called 'everything'; there are build, check, engine", "engine", "everything", code=2)
        self.assertFalse(os.path.exists(self.home))

    def test_the_second_time_nothing_is_done_and_quickly(self):
        code, out, err = self.run_setup("build", "engine")
        self.assertEqual((code, err), (0, ""), out)
        self.assertIn("fetching ONNX Runtime's library ... done in", out)
        library = os.path.join(self.home, "ort", "libonnxruntime.so.1.2.3")
        before = os.stat(library).st_mtime_ns
        self.assertIn("pip download", self.called())
        os.unlink(self.calls)
        started = time.monotonic()
        self.assertEqual(self.run_setup("build", "engine"), (0, "", ""))
        self.assertLess(time.monotonic() - started, 2)
        self.assertEqual({line.split()[0] for line in self.called().splitlines()}, {"uname", "dpkg-query"})
        self.assertEqual(os.stat(library).st_mtime_ns, before)

    def test_what_vanished_is_fetched_again(self):
        self.assertEqual(self.run_setup("engine")[0], 0)
        shutil.rmtree(os.path.join(self.home, "ort"))
        code, out, _ = self.run_setup("engine")
        self.assertEqual((code, os.listdir(os.path.join(self.home, "ort")) != []), (0, True), out)


if __name__ == "__main__":
    unittest.main(verbosity=2)
