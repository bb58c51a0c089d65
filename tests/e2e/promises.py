"""The promises of the first page, each at a small scale: what an objective buys, and what a neighbour cannot take."""
import os
import re
import signal
import threading
import time
import unittest

from harness import Load, Repository, Server, identity_body, identity_infer, main, parameters, plan_json, sanitized, skip, wait_for


class Promises(unittest.TestCase):
    def serve(self, plan, *models, **options):
        """models: (name, parameters, script arguments)."""
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        for name, params, args in models:
            self.repository.add(name, config="max_batch_size: 1\n" + parameters(**params), **args)
        self.server = Server(self.repository, plan=self.repository.write(".plan.json", plan_json(plan)), **options)
        self.addCleanup(self.server.kill)
        return self.server

    def at_once(self, model, count):
        """[(status, seconds, Retry-After)] of so many requests sent together."""
        results, gate = [], threading.Barrier(count)

        def one():
            with self.server.client() as c:
                gate.wait()
                begin = time.monotonic()
                r = c.request("POST", "/v2/models/%s/infer" % model, identity_body())
                results.append((r.status, time.monotonic() - begin, r.header("retry-after")))
        threads = [threading.Thread(target=one) for _ in range(count)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return results

    def test_an_objective_is_a_setting(self):
        server = self.serve([(100, 0, [("a", 1, 5)])], ("a", {"slo_ms": 75}, {}))
        self.assertEqual(server.model_status("a")["slo_ms"], 75)
        self.assertEqual(server.metric("gpulet_slo_seconds", model="a"), 0.075)
        server.stop()

    def test_what_cannot_be_in_time_is_refused_at_once(self):
        """A run takes 400 ms and the objective is 700 ms: of ten, the last ones are told so long before their turn."""
        server = self.serve([(100, 0, [("a", 1, 400)])], ("a", {"slo_ms": 700}, {"latency_ms": 400}))
        while server.infer("a", identity_body()).status != 200:  # the first ones teach the brain what a run takes
            pass
        identity_infer(server, model="a")
        results = self.at_once("a", 10)
        refused = [r for r in results if r[0] == 503]
        self.assertEqual({r[0] for r in results}, {200, 503})
        self.assertGreaterEqual(len(refused), 7)
        self.assertLess(sorted(r[1] for r in refused)[len(refused) // 2], 0.35, "not at once")
        for _, _, after in refused:
            self.assertRegex(after, r"^[1-9]\d*$")
        self.assertEqual(server.metric("gpulet_requests_missed_total", model="a", reason="predicted_late"), len(refused))
        server.stop()

    def test_attainment_is_what_a_client_counts(self):
        """Runs of 300 ms one after the other: which answers are late is beyond doubt for both sides."""
        server = self.serve([(100, 0, [("a", 1, 300)])], ("a", {"slo_ms": 450, "late": "serve"}, {"latency_ms": 300}))
        results = self.at_once("a", 3) + self.at_once("a", 2) + self.at_once("a", 1)
        self.assertEqual({r[0] for r in results}, {200})
        in_time = sum(r[1] <= 0.45 for r in results)
        self.assertEqual(in_time, 3)
        self.assertEqual(server.metric("gpulet_requests_offered_total", model="a"), 6)
        self.assertEqual(server.metric("gpulet_requests_in_time_total", model="a"), in_time)
        self.assertEqual(server.metric("gpulet_requests_missed_total", model="a", reason="late"), 6 - in_time)
        self.assertAlmostEqual(server.metric("gpulet_attainment_ratio", model="a"), in_time / 6)
        self.assertAlmostEqual(server.model_status("a")["attainment"], in_time / 6)
        server.stop()

    def neighbours(self, plan, beside):
        """The share of a tight model's answers in time beside a heavy one under load."""
        server = self.serve(plan, ("tight", {"slo_ms": 200}, {"latency_ms": 2}),
                            ("heavy", {"late": "serve", "slo_ms": 60000}, dict(latency_ms=500, **beside)), run_limit_s=2)

        def heavy(thread, number, client):
            return str(client.request("POST", "/v2/models/heavy/infer", identity_body()).status)
        load = Load(server.port, 2, heavy)
        wait_for(lambda: server.model_status("heavy")["running"] > 0, "the heavy one at work")
        good = sent = 0
        until = time.monotonic() + 4
        with server.client() as c:
            while time.monotonic() < until:
                begin = time.monotonic()
                status = c.request("POST", "/v2/models/tight/infer", identity_body()).status
                good += status == 200 and time.monotonic() - begin <= 0.2
                sent += 1
                time.sleep(0.02)
        load.stop()
        server.note_workers()
        server.stop()
        return good / sent

    def test_a_neighbour_in_another_gpu_let_takes_nothing(self):
        apart = self.neighbours([(50, 0, [("tight", 1, 2)]), (50, 50, [("heavy", 1, 500)])], {})
        together = self.neighbours([(100, 0, [("tight", 1, 2), ("heavy", 1, 500)])], {})
        self.assertGreater(apart, 0.95)
        self.assertLess(together, 0.8, "the test would not notice a neighbour")

    def test_a_neighbour_that_dies_takes_nobody_along(self):
        self.assertGreater(self.neighbours([(50, 0, [("tight", 1, 2)]), (50, 50, [("heavy", 1, 500)])], {"crash_run_every": 5}), 0.95)

    def test_a_neighbour_that_hangs_takes_nobody_along(self):
        self.assertGreater(self.neighbours([(50, 0, [("tight", 1, 2)]), (50, 50, [("heavy", 1, 500)])], {"hang_run_every": 4}), 0.95)

    def test_each_gpu_let_is_a_process_of_its_own(self):
        server = self.serve([(40, 0, [("a", 1, 5)]), (60, 40, [("b", 1, 5)])], ("a", {}, {}), ("b", {}, {}))
        gpulets = server.status()["gpulets"]
        self.assertEqual(len({g["pid"] for g in gpulets} | {server.pid}), 3)
        server.stop()

    def cores_of(self, pid):
        """[the set of cores of a thread] of all threads."""
        found = []
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/status" % (pid, task)) as f:
                ranges = re.search(r"Cpus_allowed_list:\s+(\S+)", f.read()).group(1).split(",")
            ends = [[int(end) for end in r.split("-")] for r in ranges]
            found.append({core for end in ends for core in range(end[0], end[-1] + 1)})
        return found

    def test_each_gpu_let_has_cores_of_its_own(self):
        repository = Repository().add("a").add("b")
        self.addCleanup(repository.close)
        options = {"device": "cpu", "lend": "false"}  # a loan would be of the neighbour's cores
        server = Server(repository, **options)
        self.addCleanup(server.kill)
        units = server.status()["devices"][0]["units"]
        server.stop()
        if units < 2:
            skip("needs two cores")
        plan = plan_json([(1, 0, [("a", 1, 5)]), (1, 1, [("b", 1, 5)])], device="cpu")
        server = Server(repository, plan=repository.write(".plan.json", plan), **options)
        self.addCleanup(server.kill)
        for model in ("a", "b"):
            identity_infer(server, model=model)
        self.disjoint(server)
        victim = server.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in server.worker_pids() and len(server.worker_pids()) == 2 and
                 all(g["state"] == "serving" for g in server.status()["gpulets"]), "replaced")
        self.disjoint(server)
        server.stop()

    def disjoint(self, server):
        """No thread of a worker may run where one of the other does."""
        one, other = [set().union(*self.cores_of(pid)) for pid in server.worker_pids()]
        self.assertTrue(one and other)
        self.assertEqual(one & other, set())

    def test_memory_is_flat(self):
        server = self.serve([(100, 0, [("a", 1, 1)])], ("a", {}, {}))

        def one(thread, number, client):
            return str(client.request("POST", "/v2/models/a/infer", identity_body()).status)
        rests = []
        for _ in range(3):
            load = Load(server.port, 8, one)
            wait_for(lambda: load.count() >= 1500 or load.problems, "requests")
            self.assertEqual(set(load.stop()), {"200"})
            rests.append(server.all_rss_mb())
        if not sanitized():
            self.assertLess(rests[2] - rests[0], 4, rests)
        server.stop()


if __name__ == "__main__":
    main()
