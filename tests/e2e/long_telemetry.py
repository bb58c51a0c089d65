"""The server and its workers, real engine included, talk to nobody and leave nothing behind: every socket and every file
that they open is looked at by strace while they start, serve for a while, and end."""
import os
import re
import shutil
import stat
import subprocess
import time
import unittest

import harness
import real_models as real

SERVE_S = 12
# Names that a program only opens to find other machines.
RESOLVER_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf")
WRAPPER = '#!/bin/sh\nexec strace -D -f -qq -s 256 -e trace=network,openat,open,creat -o "%s" "%s" "$@"\n'


def need_strace():
    if shutil.which("strace") is None:
        harness.missing("no strace; run: tools/setup check")
    code, _, err = harness.run("strace", "-f", "-o", os.devnull, "-e", "trace=network", "true")
    if code != 0:
        harness.skip("strace may not trace here: %s" % err.strip()[:200])


def calls(path):
    """[(pid, name, the rest of the line)] of whole calls: a call that strace shows in two lines is put together."""
    found, open_calls = [], {}
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            match = re.match(r"(\d+)\s+(.*)", line.rstrip("\n"))
            if not match:
                continue
            pid, text = match.groups()
            resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", text)
            if resumed:
                text = open_calls.pop(pid, "") + resumed.group(1)
            elif text.endswith("<unfinished ...>"):
                open_calls[pid] = text[:-len("<unfinished ...>")]
                continue
            match = re.match(r"(\w+)\((.*)", text)
            if match:
                found.append((int(pid), match.group(1), match.group(2)))
    for pid, text in open_calls.items():  # ended inside the call
        match = re.match(r"(\w+)\((.*)", text)
        if match:
            found.append((int(pid), match.group(1), match.group(2)))
    return found


def violations(found):
    """What no server without outside friends does."""
    bad = []
    for pid, name, rest in found:
        inet = re.search(r"AF_INET6?\b", rest) is not None
        call = "%d %s(%s" % (pid, name, rest)
        if name == "socket":
            # A listener is a stream; it cannot reach out, for nothing here may connect.
            if not re.match(r"AF_INET6?, SOCK_STREAM", rest):
                bad.append(call)
        elif name == "socketpair":
            if not rest.startswith("AF_UNIX"):
                bad.append(call)
        elif name == "bind":
            if inet and "127.0.0.1" not in rest:
                bad.append(call)
        elif name == "connect":
            bad.append(call)
        elif name in ("sendto", "sendmsg", "sendmmsg"):
            if inet or "AF_UNIX" in rest:
                bad.append(call)
        elif name in ("openat", "open", "creat"):
            path = re.search(r'"([^"]*)"', rest)
            path = path.group(1) if path else ""
            if path in RESOLVER_FILES or name == "creat" or "O_CREAT" in rest or "O_TMPFILE" in rest:
                bad.append(call)
    return bad


def files_under(folder):
    return [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]


class Telemetry(unittest.TestCase):
    def setUp(self):
        self.folder = harness.Folder()
        self.addCleanup(self.folder.close)

    def trace(self, *words):
        path = self.folder.join("small")
        subprocess.run(["strace", "-f", "-qq", "-s", "256", "-e", "trace=network,openat", "-o", path] + list(words), check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=harness.DEADLINE_S)
        return violations(calls(path))

    def test_the_check_sees_what_it_looks_for(self):
        python = [shutil.which("python3") or real.VENV_PYTHON, "-B", "-S", "-c"]
        harmless = "import socket as s; x = s.socket(); x.bind(('127.0.0.1', 0)); x.listen(); s.socketpair()"
        self.assertEqual(self.trace(*python, harmless), [])
        for code, word in (("import socket as s; s.socket(type=s.SOCK_DGRAM)", "SOCK_DGRAM"),
                           ("import socket as s; s.socket().connect_ex(('127.0.0.1', 9))", "connect"),
                           ("import socket as s; s.socket().bind(('0.0.0.0', 0))", "0.0.0.0"),
                           ("import socket as s; s.socket(s.AF_UNIX)", "AF_UNIX"),
                           ("open('%s', 'w')" % self.folder.join("written"), "O_CREAT"),
                           ("open('/etc/hosts')", "/etc/hosts")):
            self.assertTrue(any(word in bad for bad in self.trace(*python, code)), code)

    def start(self, repository):
        self.log = self.folder.join("trace")
        wrapper = self.folder.write("traced", WRAPPER % (self.log, harness.GPULETD))
        os.chmod(wrapper, stat.S_IRWXU)
        homes = {}
        for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "TMPDIR"):
            homes[name] = self.folder.join("homes", name)
            os.makedirs(homes[name], mode=0o700)
        env = {k: v for k, v in os.environ.items() if not k.startswith("ORT_")}
        env.update(homes, GPULET_ORT_LIBRARY=real.library_path())
        if harness.sanitized():  # its search for leaks does not work in a traced process
            env["ASAN_OPTIONS"] = ":".join([env.get("ASAN_OPTIONS", ""), "detect_leaks=0"]).strip(":")
        return harness.Server(repository, engine="ort", device="cpu", workload=repository.workload, calibrate="true",
                              calibrate_seconds="1", program=wrapper, env=env)

    def test_nobody_is_called_and_nothing_is_left_behind(self):
        repository = real.RealRepository(identity=10000, lenet=10000, vad=10000)
        self.addCleanup(repository.close)
        server = self.start(repository)
        self.addCleanup(server.kill)
        until = time.monotonic() + SERVE_S
        answered = 0
        while time.monotonic() < until:
            body = harness.infer_json(harness.tensor("input", "FP32", [1, 16], list(range(16))))
            r = server.infer("identity", body)
            self.assertEqual(r.status, 200, r)
            self.assertEqual(r.outputs()["output"][2], list(range(16)))
            self.assertEqual(server.get("/v2/health/ready").status, 200)
            server.metrics_text()
            answered += 1
            time.sleep(0.05)
        library = os.path.basename(real.library_path())
        workers = server.worker_pids()
        server.stop()
        found = self.whole_trace(server.pid)
        loaded = {pid for pid, name, rest in found if name == "openat" and library in rest}
        self.assertTrue(workers and set(workers) <= loaded, "a worker was not traced, or has not the real engine")
        self.assertEqual(violations(found)[:10], [])
        listeners = [c for c in found if c[1] == "listen"]
        self.assertEqual(len(listeners), 2, listeners)
        self.assertEqual(files_under(self.folder.join("homes")), [])
        self.assertGreater(answered, 20)
        print("calls looked at: %d, of %d processes and threads; requests: %d" % (len(found), len({c[0] for c in found}), answered))

    def whole_trace(self, pid):
        """The tracer writes on for a moment after the last of its processes is gone; then the file rests."""
        sizes = []

        def rests():
            sizes.append(os.path.getsize(self.log))
            time.sleep(0.2)
            return len(sizes) > 3 and len(set(sizes[-4:])) == 1
        harness.wait_for(rests, "the trace at its end")
        found = calls(self.log)
        self.assertIn(pid, {c[0] for c in found})
        return found


if __name__ == "__main__":
    real.main(need_strace, real.library_path, lambda: real.need_models("identity", "lenet", "vad"))
