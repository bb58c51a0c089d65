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
        """[(status, seconds, Retry-After, when it came)] of so many requests sent together."""
        results, gate = [], threading.Barrier(count)

        def one():
            with self.server.client() as c:
                gate.wait()
                begin = time.monotonic()
                r = c.request("POST", "/v2/models/%s/infer" % model, identity_body())
                end = time.monotonic()
                results.append((r.status, end - begin, r.header("retry-after"), end))
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
        """A run takes 800 ms and the objective is 1400 ms: of ten, the last ones are told so long before their turn."""
        server = self.serve([(100, 0, [("a", 1, 800)])], ("a", {"slo_ms": 1400}, {"latency_ms": 800}))

        def known():
            """The first ones teach the brain what a run takes: that one is in time, and two are not."""
            status = server.infer("a", identity_body()).status
            return status == 200 and 700 < server.status()["gpulets"][0]["models"][0]["estimate_ms"] < 1200

        def told():
            return server.metric("gpulet_requests_missed_total", model="a", reason="predicted_late")
        wait_for(known, "the latency learnt")
        before = told()
        results = self.at_once("a", 10)
        refused = [r for r in results if r[0] == 503]
        self.assertEqual({r[0] for r in results}, {200, 503})
        self.assertGreaterEqual(len(refused), 7)
        self.assertLess(sorted(r[3] for r in refused)[len(refused) // 2], min(r[3] for r in results if r[0] == 200), "not at once")
        for _, _, after, _ in refused:
            self.assertRegex(after, r"^[1-9]\d*$")
        self.assertEqual(told() - before, len(refused))
        server.stop()

    def counts(self):
        """(offered, in time, late) as the server says."""
        return [self.server.metric("gpulet_requests_" + name, model="a", **labels)
                for name, labels in (("offered_total", {}), ("in_time_total", {}), ("missed_total", {"reason": "late"}))]

    def beyond_doubt(self, count, slo_s):
        """So many at once, of which a client has one in time, none near the objective: sent again where the machine stood still. How
        the server's counts grew."""
        for _ in range(20):
            before = self.counts()
            results = self.at_once("a", count)
            self.assertEqual({r[0] for r in results}, {200})
            if (sum(r[1] <= slo_s - 0.2 for r in results), sum(r[1] >= slo_s + 0.2 for r in results)) == (1, count - 1):
                return [now - then for now, then in zip(self.counts(), before)]
        self.fail("no group of which one was in time and the others late")

    def test_attainment_is_what_a_client_counts(self):
        """Runs of 800 ms one after the other: which answers are late is beyond doubt for both sides."""
        server = self.serve([(100, 0, [("a", 1, 800)])], ("a", {"slo_ms": 1200, "late": "serve"}, {"latency_ms": 800}))
        for count in (3, 2, 1):
            self.assertEqual(self.beyond_doubt(count, 1.2), [count, 1, count - 1])
        offered, in_time, late = self.counts()
        self.assertEqual(in_time + late, offered)
        self.assertAlmostEqual(server.metric("gpulet_attainment_ratio", model="a"), in_time / offered)
        self.assertAlmostEqual(server.model_status("a")["attainment"], in_time / offered)
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
