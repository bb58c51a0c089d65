"""Workers die, hang and fail: every request is answered exactly once, and other gpu-lets notice nothing."""
import os
import signal
import threading
import unittest

from harness import Load, Repository, Server, binary, head, identity_body, identity_infer, main, plan_json, wait_for

MODEL = {"latency_ms": 3}


def sender(model):
    """Answers 200 are checked; anything but 200 and 503 is a problem."""
    def one(thread, number, client):
        first = float(thread * 10000 + number % 10000)
        r = client.request("POST", "/v2/models/%s/infer" % model, identity_body(first=first, id=model))
        if r.status == 200:
            assert r.json()["id"] == model
            assert r.outputs()["OUTPUT"][2] == [first + i for i in range(16)], r
        else:
            assert r.status == 503, r
            assert int(r.header("retry-after")) >= 0 and r.error(), r
        return str(r.status)
    return one


class Death(unittest.TestCase):
    def serve(self, *models, **options):
        """Each model in a gpu-let of its own. models: (name, script arguments)."""
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        for name, args in models:
            self.repository.add(name, **args)
        units = 100 // len(models)
        plan = self.repository.write(".plan.json", plan_json([(units, i * units, [(name, 8, 5)]) for i, (name, _) in enumerate(models)]))
        self.server = Server(self.repository, plan=plan, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def gpulet(self, model):
        return next(g for g in self.server.status()["gpulets"] if model in [m["model"] for m in g["models"]])

    def serving_pid(self, model):
        g = self.gpulet(model)
        return g["pid"] if g["state"] == "serving" and g["pid"] > 0 else 0

    def lost(self, model):
        return self.server.metric("gpulet_worker_lost_total", gpulet=self.gpulet(model)["name"])

    def again(self, model):
        refused = [0]

        def served():
            self.server.note_workers()
            if self.server.infer(model, identity_body()).status == 200:
                return True
            refused[0] += 1
            return False
        wait_for(served, "%s served again" % model)
        return refused[0]

    def test_workers_killed_again_and_again_under_load(self):
        server = self.serve(("victim", MODEL), ("steady", MODEL))
        victims = Load(server.port, 8, sender("victim"))
        steady = Load(server.port, 4, sender("steady"))
        killed = 0
        pause = threading.Event()
        while killed < 5:
            pid = wait_for(lambda: self.serving_pid("victim"), "victim serving")
            server.note_workers()
            before = victims.count("200")
            wait_for(lambda: victims.count("200") > before, "the new worker answers")
            pause.wait(0.1)
            try:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
            wait_for(lambda: self.serving_pid("victim") != pid, "the loss noticed")
        refused = self.again("victim")
        victim_counts, steady_counts = victims.stop(), steady.stop()
        self.assertEqual(set(steady_counts), {"200"}, "another gpu-let was disturbed")
        self.assertGreater(steady_counts["200"], 50)
        self.assertLessEqual(set(victim_counts), {"200", "503"})
        self.assertGreater(victim_counts["200"], 50)
        self.assertEqual(self.lost("victim"), killed)
        self.assertEqual(self.lost("steady"), 0)
        for model, counts in (("victim", victim_counts), ("steady", steady_counts)):
            s = server.model_status(model)
            self.assertEqual(s["waiting"] + s["running"], 0)
            self.assertGreaterEqual(s["offered"], sum(counts.values()))
            self.assertEqual(s["rejected"], counts.get("503", 0) + (refused if model == "victim" else 0))
        server.stop()

    def test_a_batch_in_flight_is_run_again(self):
        server = self.serve(("victim", {"latency_ms": 1000}), ("steady", MODEL))
        clients = [server.client() for _ in range(8)]
        body = identity_body()
        for c in clients:
            c.send(head("POST", "/v2/models/victim/infer", body) + body)

        def all_there():
            """The worker that runs some of them, when all are there; two runs take them all."""
            status = server.status()
            s = next(m for m in status["models"] if m["model"] == "victim")
            if s["offered"] < 8 or s["running"] == 0:
                return 0
            return next(g["pid"] for g in status["gpulets"] if g["models"][0]["model"] == "victim")
        os.kill(wait_for(all_there, "running"), signal.SIGKILL)
        statuses = [c.read_response().status for c in clients]
        for c in clients:
            c.close()
        self.assertIn(200, statuses, "without an objective there is time to run it again")
        self.assertLessEqual(set(statuses), {200, 503})
        self.assertEqual(self.lost("victim"), 1)
        server.stop()

    def test_a_model_that_crashes_its_worker(self):
        server = self.serve(("crash", {"latency_ms": 1, "crash_run_every": 13}), ("steady", MODEL))
        steady = Load(server.port, 2, sender("steady"))
        statuses = []
        with server.client() as c:
            while self.lost("crash") < 3:
                r = c.request("POST", "/v2/models/crash/infer", identity_body())
                self.assertIn(r.status, (200, 503), r)
                statuses.append(r.status)
                server.note_workers()
                if r.status == 503:
                    wait_for(lambda: self.serving_pid("crash") > 0, "a new worker")
        self.assertGreater(statuses.count(200), 20)
        self.assertEqual(set(steady.stop()), {"200"})
        self.assertEqual(self.lost("steady"), 0)
        server.stop()

    def test_a_run_that_hangs_loses_its_worker(self):
        server = self.serve(("hang", {"latency_ms": 1, "hang_run_every": 7}), ("steady", MODEL), run_limit_s=1)
        steady = Load(server.port, 2, sender("steady"))
        with server.client() as c:
            while self.lost("hang") < 2:
                r = c.request("POST", "/v2/models/hang/infer", identity_body())
                self.assertIn(r.status, (200, 500, 503), r)
                server.note_workers()
        self.again("hang")
        self.assertEqual(set(steady.stop()), {"200"})
        self.assertEqual(self.lost("steady"), 0)
        server.stop()

    def test_a_stopped_worker_is_replaced(self):
        server = self.serve(("frozen", MODEL), ("steady", MODEL), run_limit_s=1)
        pid = self.serving_pid("frozen")
        os.kill(pid, signal.SIGSTOP)
        try:
            r = server.infer("frozen", identity_body())
            self.assertIn(r.status, (200, 500, 503), r)
            self.again("frozen")
            identity_infer(server, model="steady")
            self.assertEqual(self.lost("frozen"), 1)
            wait_for(lambda: not os.path.exists("/proc/%d" % pid), "the frozen one gone")
        finally:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        server.stop()

    def test_runs_that_fail_are_500_and_harm_no_other(self):
        server = self.serve(("fail", {"latency_ms": 1, "fail_run_every": 2}), ("steady", MODEL))
        counts = {200: 0, 500: 0}
        with server.client() as c:
            for i in range(20):
                r = c.request("POST", "/v2/models/fail/infer", identity_body(first=float(i)))
                counts[r.status] += 1
                if r.status == 500:
                    self.assertIn("fails as its script says", r.error())
                else:
                    self.assertEqual(r.outputs()["OUTPUT"][2][0], float(i))
                identity_infer(server, c, model="steady")
        self.assertEqual(counts, {200: 10, 500: 10})
        self.assertEqual(server.metric("gpulet_worker_lost_total"), 0)
        self.assertEqual(server.metric("nv_inference_request_failure", model="fail", reason="BACKEND"), 10)
        self.assertEqual(server.metric("nv_inference_request_success", model="fail"), 10)
        self.assertEqual(server.get("/v2/models/fail/stats").json()["model_stats"][0]["inference_stats"]["fail"]["count"], 10)
        server.stop()

    def test_large_tensors_survive_the_death_of_a_worker(self):
        size = 3 << 20
        server = self.serve(("wide", {"inputs": ("IN:UINT8:-1x-1",), "outputs": ("OUT:UINT8:-1x-1",), "latency_ms": 20}), input_mb=32)
        data = os.urandom(size)
        body, headers = binary([("IN", "UINT8", [1, size], data)], parameters={"binary_data_output": True})

        def one(thread, number, client):
            r = client.request("POST", "/v2/models/wide/infer", body, headers)
            assert r.status in (200, 503), r
            assert r.status != 200 or r.outputs()["OUT"][2] == data, "not what was sent"
            return str(r.status)
        load = Load(server.port, 3, one)
        for _ in range(3):
            before = load.count("200")
            wait_for(lambda: load.count("200") > before + 2 or load.problems, "answers")
            server.note_workers()
            os.kill(wait_for(lambda: self.serving_pid("wide"), "serving"), signal.SIGKILL)
        before = load.count("200")
        wait_for(lambda: load.count("200") > before + 2 or load.problems, "answers")
        self.assertLessEqual(set(load.stop()), {"200", "503"})
        with server.client() as c:
            for _ in range(20):
                self.assertEqual(one(0, 0, c), "200", "input memory was lost with the workers")
        server.stop()

    def test_nothing_piles_up_when_workers_are_replaced(self):
        server = self.serve(("victim", MODEL))
        self.again("victim")
        before = None
        for i in range(4):
            pid = wait_for(lambda: self.serving_pid("victim"), "victim serving")
            server.note_workers()
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: self.serving_pid("victim") not in (0, pid), "replaced")
            self.again("victim")
            wait_for(lambda: not os.path.exists("/proc/%d" % pid), "no zombie")
            if i == 0:
                before = server.fds()
        wait_for(lambda: server.fds() <= before + 1, "no descriptor is left of a dead worker")
        server.stop()


if __name__ == "__main__":
    main()
