"""The server on GPUs cut by MPS, with a management library and a control daemon made for tests, and the fake engine."""
import csv
import os
import signal
import tempfile
import unittest

from harness import (BIN, GPULET, Folder, Repository, Server, children_of, command_of, identity_body, is_alive, main, plan_json, run,
                     wait_for)

HERE = os.path.dirname(os.path.abspath(__file__))
DEVICE = "nvidia-fake-80gb"


def environment(folder, **more):
    """One GPU that is not there; the daemon's folder lies in folder."""
    return {**os.environ, "GPULET_NVML_LIBRARY": os.path.join(BIN, "..", "tests", "libfake_nvml.so"), "GPULET_FAKE_GPUS": "1",
            "PATH": os.path.join(HERE, "..", "support", "mps") + os.pathsep + os.environ["PATH"], "XDG_RUNTIME_DIR": folder, **more}


def environ_of(pid):
    with open("/proc/%d/environ" % pid, "rb") as f:
        return f.read().decode(errors="replace").split("\0")


class Mps(unittest.TestCase):
    def serve(self, models, **more):
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        # Short, as the path of a socket must be.
        self.runtime = tempfile.TemporaryDirectory(prefix="gm")
        self.addCleanup(self.runtime.cleanup)
        self.asked = os.path.join(self.repository.path, ".asked")
        for name, args in models:
            self.repository.add(name, **args)
        plan = self.repository.write(".plan.json", plan_json(
            [(40, 0, [(models[0][0], 8, 5)]), (20, 40, [(models[-1][0], 8, 5)])], device=DEVICE))
        server = Server(self.repository, device="mps", plan=plan,
                        env=environment(self.runtime.name, GPULET_FAKE_MPS_ASKED=self.asked), **more)
        self.addCleanup(server.kill)
        return server

    def daemon_left(self):
        return os.listdir(self.runtime.name)

    def test_serves_and_takes_the_daemon_down(self):
        server = self.serve([("a", {}), ("b", {})])
        self.assertEqual(server.infer("a", identity_body()).status, 200)
        self.assertEqual(server.infer("b", identity_body()).status, 200)
        self.assertEqual(sorted(g["units"] for g in server.status()["gpulets"]), [20, 40])
        self.assertEqual(len(self.daemon_left()), 1)
        server.stop()
        self.assertEqual(self.daemon_left(), [])

    def test_metrics_of_the_gpu(self):
        server = self.serve([("a", {}), ("b", {})])
        samples = {n: (l, v) for n, l, v in server.metrics() if n.startswith("nv_gpu_")}
        self.assertEqual({n: v for n, (_, v) in samples.items()}, {
            "nv_gpu_utilization": 0.42, "nv_gpu_memory_total_bytes": 80 << 30, "nv_gpu_memory_used_bytes": 1 << 30,
            "nv_gpu_power_usage": 123.456, "nv_gpu_power_limit": 700})
        self.assertEqual([l for l, _ in samples.values()], [{"gpu_uuid": "GPU-fake-0"}] * 5)
        server.stop()

    def test_nothing_is_left_after_a_kill(self):
        server = self.serve([("a", {}), ("b", {})])
        below = [p for c in children_of(server.pid) for p in [c] + children_of(c)]
        self.assertGreaterEqual(len(below), 4)  # two workers, the keeper, the daemon
        os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: not [p for p in below if is_alive(p)], "all processes gone", 20)
        wait_for(lambda: not self.daemon_left(), "the daemon's folder gone", 20)

    def test_a_worker_that_hangs_is_taken_off_the_gpu_before_it_is_killed(self):
        server = self.serve([("hang", {"latency_ms": 1, "hang_run_every": 6}), ("b", {})], run_limit_s=1)
        pid = next(g["pid"] for g in server.status()["gpulets"] if g["units"] == 40)
        for _ in range(6):  # the session of this batch has run once or more before
            server.infer("hang", identity_body())
        wait_for(lambda: not is_alive(pid) or "gpulet-worker" not in command_of(pid), "the worker gone", 20)
        with open(self.asked, encoding="ascii") as f:
            self.assertIn("terminate_client 4321 %d" % pid, f.read())
        wait_for(lambda: server.infer("b", identity_body()).status == 200, "the neighbour serves")
        wait_for(lambda: any(g["units"] == 40 and g["state"] == "serving" for g in server.status()["gpulets"]), "another worker")

    def test_profiles_in_steps(self):
        folder = Folder("gm")
        self.addCleanup(folder.close)
        repository = Repository().add("a", latency_ms=1)
        self.addCleanup(repository.close)
        out = folder.join("p.csv")
        code, _, err = run(GPULET, "profile", "--model-repository", repository.path, "--device", "mps", "--mps-step", "50",
                           "--engine", "fake", "--batches", "1,2", "--seconds", "0.1", "--store", "none", "--out", out,
                           env=environment(folder.path))
        self.assertEqual(code, 0, err)
        with open(out, encoding="utf-8") as f:
            rows = [line.split(",")[:4] for line in f.read().splitlines() if line.startswith(DEVICE)]
        self.assertEqual(rows, [[DEVICE, "a", units, batch] for units in ("50", "100") for batch in ("1", "2")])

    def profile(self, repository, folder, *words, step=50):
        out = folder.join("p.csv")
        code, _, err = run(GPULET, "profile", "--model-repository", repository.path, "--device", "mps", "--mps-step", str(step),
                           "--engine", "fake", "--seconds", "0.1", "--store", "none", "--out", out, *words,
                           env=environment(folder.path, GPULET_FAKE_MEMORY_OWN="1", GPULET_FAKE_MPS_ASKED=folder.join("asked")))
        self.assertEqual(code, 0, err)
        return out

    def test_memory_in_a_profile_is_what_a_server_will_take(self):
        folder = Folder("gm")
        self.addCleanup(folder.close)
        repository = Repository().add("a", latency_ms=1, memory_mb=64)
        self.addCleanup(repository.close)
        with open(self.profile(repository, folder, "--sizes", "50", "--batches", "1,2,8,32"), encoding="utf-8") as f:
            memory_mb = {int(row["batch"]): float(row["memory_mb"]) for row in csv.DictReader(line for line in f if line[0] != "#")}
        for batch, sessions in {1: 1, 2: 2, 8: 3, 32: 4}.items():  # of 1, 4 and 16 besides the batch's own
            self.assertAlmostEqual(memory_mb[batch] / 64, sessions, delta=0.4)
        repository.write(".plan.json", plan_json([(50, 0, [("a", 32, 5)])], device=DEVICE))
        server = Server(repository, device="mps", plan=repository.path + "/.plan.json",
                        env=environment(folder.path, GPULET_FAKE_MEMORY_OWN="1"))
        self.addCleanup(server.kill)
        taken_mb = server.metric("gpulet_model_memory_bytes", model="a") / 2**20
        self.assertAlmostEqual(taken_mb / memory_mb[32], 1, delta=0.1)
        server.stop()

    def test_models_are_measured_beside_one_another(self):
        folder = Folder("gm")
        self.addCleanup(folder.close)
        repository = Repository().add("a", latency_ms=1).add("b", latency_ms=2)
        self.addCleanup(repository.close)
        self.profile(repository, folder, "--sizes", "40,60", "--batches", "1,8", "--interference", "--rounds", "1", "--slice-ms", "5",
                     step=20)
        with open(folder.join("p.pairs.csv"), encoding="utf-8") as f:
            found = {(p["device"], p["model"], p["units"], p["batch"], p["other_model"], p["other_units"], p["other_batch"])
                     for p in csv.DictReader(f)}
        self.assertEqual(found, {(DEVICE, a, x, i, b, y, j) for a in "ab" for b in "ab" for i in "18" for j in "18"
                                 for x, y in (("40", "60"), ("60", "40"))})  # no traffic: it is the host's memory
        self.assertFalse(os.path.exists(folder.join("asked")))  # no client to be terminated: workers end by themselves

    def test_plans_for_the_gpu(self):
        folder = Folder("gm")
        self.addCleanup(folder.close)
        profile = folder.write("p.csv", "device,model,units,batch,latency_ms\n" + "".join(
            "%s,a,%d,%d,%g\n" % (DEVICE, units, batch, batch * 100 / units) for units in (50, 100) for batch in (1, 2, 4)))
        workload = folder.write("w.csv", "model,rate_rps,slo_ms\na,100,50\n")
        words = ("plan", "--profiles", profile, "--workload", workload, "--device", "mps", "--mps-step", "50")
        code, out, err = run(GPULET, *words, env=environment(folder.path))
        self.assertEqual(code, 0, err)
        self.assertIn(DEVICE, out)
        code, _, err = run(GPULET, *words, env={**environment(folder.path), "GPULET_FAKE_MIG": "1"})
        self.assertEqual(code, 1)
        self.assertIn("MIG", err)


if __name__ == "__main__":
    main()
