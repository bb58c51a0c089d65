"""From one plan to the next: what a gpu-let's worker refuses, plans that cannot be reached, and what is kept."""
import os
import unittest

from harness import BIN, Load, Repository, Server, identity_body, identity_infer, infer_json, main, plan_json, sanitized, script, tensor, wait_for

BROKEN = "its weights are upside down"


class Case(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)

    def plan(self, *gpulets):
        return self.repository.write(".plan.json", plan_json(gpulets))

    def serve(self, **options):
        self.server = Server(self.repository, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def change(self, verb, model, status=200):
        r = self.server.post("/v2/repository/models/%s/%s" % (model, verb))
        self.server.note_workers()
        self.assertEqual(r.status, status, r)
        return r

    def state(self, model):
        return {m["name"]: m["state"] for m in self.server.post("/v2/repository/index").json()}[model]

    def gpulet_of(self, units):
        return next(g for g in self.server.status()["gpulets"] if g["units"] == units)


class Refusals(Case):
    def test_a_model_refused_by_one_gpu_let_is_served_by_the_other(self):
        self.repository.add("a")
        self.repository.add("b", fail_load=BROKEN, load_units=60)
        server = self.serve(plan=self.plan((40, 0, [("b", 4, 5)]), (60, 40, [("a", 4, 5), ("b", 4, 5)])))
        self.assertEqual(self.state("b"), "READY")
        self.assertEqual(server.get("/v2/models/b/ready").status, 200)
        for _ in range(20):
            identity_infer(server, model="b")
        identity_infer(server, model="a")
        small, large = self.gpulet_of(40), self.gpulet_of(60)
        self.assertEqual([(m["model"], m["loaded"], m["refused"]) for m in small["models"]], [("b", True, False)])
        self.assertEqual([(m["model"], m["loaded"], m["refused"]) for m in large["models"]], [("a", True, False), ("b", False, True)])
        self.assertEqual(server.metric("gpulet_model_refused", gpulet=large["name"], model="b"), 1)
        self.assertEqual(server.metric("gpulet_model_refused"), 1)
        self.assertEqual(server.metric("gpulet_model_ready", model="b"), 1)
        self.assertIn("event=model_refused gpulet=%s model=b" % large["name"], server.log())
        self.assertIn("event=model_served_elsewhere model=b not_in=%s" % large["name"], server.log())
        server.stop()

    def test_a_model_that_every_gpu_let_refuses_is_unavailable(self):
        self.repository.add("a")
        self.repository.add("b", fail_load=BROKEN)
        plan = self.plan((40, 0, [("b", 4, 5)]), (60, 40, [("a", 4, 5), ("b", 4, 5)]))
        server = self.serve(plan=plan, skip_bad_models="true")
        self.assertEqual(self.state("b"), "UNAVAILABLE")
        self.assertEqual(server.infer("b", identity_body()).status, 400)
        identity_infer(server, model="a")
        server.stop()
        refused = Server(self.repository, plan=plan, wait=False)
        self.addCleanup(refused.kill)
        self.assertEqual(refused.wait_exit(), 1)
        self.assertIn(BROKEN, refused.log())

    def test_refused_after_a_death_what_waits_is_answered(self):
        """The worker dies, and the one that replaces it refuses the model: requests without an objective waited for ever."""
        self.repository.add("a", latency_ms=1500)
        server = self.serve(plan=self.plan((100, 0, [("a", 4, 5)])))
        pid = self.gpulet_of(100)["pid"]
        os.unlink(self.repository.join("a", "1", "model.onnx"))
        self.repository.add("a", fail_load=BROKEN)
        with server.client() as c:
            body = identity_body()
            c.send(b"POST /v2/models/a/infer HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            wait_for(lambda: server.model_status("a")["running"] == 1, "running")
            os.kill(pid, 9)
            self.assertEqual(c.read_response().status, 503)
        self.assertEqual(self.state("a"), "UNAVAILABLE")
        self.assertEqual(server.infer("a", identity_body()).status, 400)
        server.stop()


class Unbatched(Case):
    def test_outputs_without_a_batch_dimension_are_answered_one_item_a_run(self):
        self.repository.add("whole", whole_outputs=1, latency_ms=2, config="max_batch_size: 8\n")
        server = self.serve(plan=self.plan((100, 0, [("whole", 8, 5)])))
        self.assertIn("event=model_unbatched model=whole", server.log())
        self.assertEqual(int(server.get("/v2/models/whole/config").json()["max_batch_size"]), 1)

        def one(thread, number, client):
            first = float(thread * 1000 + number)
            r = client.request("POST", "/v2/models/whole/infer", identity_body(first=first))
            assert r.status == 200, r
            assert r.outputs()["OUTPUT"][1:] == ([1, 16], [first + i for i in range(16)]), r
            return "200"
        load = Load(server.port, 6, one)
        wait_for(lambda: load.count() > 60 or load.problems, "answers")
        load.stop()
        r = server.infer("whole", infer_json(tensor("INPUT", "FP32", [2, 16], [0.0] * 32)))
        self.assertEqual(r.status, 400, r)
        self.assertIn("batch-size must be <= 1", r.error())
        server.stop()


class Kept(Case):
    def test_a_gpu_let_that_is_kept_takes_the_new_rates(self):
        self.repository.add("a").add("b").add("c")
        server = self.serve(plan=self.plan((40, 0, [("a", 4, 5)]), (30, 40, [("b", 4, 5)]), (30, 63, [("c", 4, 5)])))
        before = self.gpulet_of(40)
        self.change("unload", "c")
        text = plan_json([(40, 0, [("a", 4, 5)]), (30, 40, [("b", 4, 5)]), (30, 63, [("c", 4, 5)])])
        self.repository.write(".plan.json", text.replace('"rate_rps": 10.0', '"rate_rps": 70.0').replace('"duty_ms": 5', '"duty_ms": 9'))
        self.change("load", "c")
        after = self.gpulet_of(40)
        self.assertEqual(after["pid"], before["pid"], "it was to be kept")
        self.assertEqual((before["models"][0]["rate_rps"], before["duty_ms"]), (10, 5))
        self.assertEqual((after["models"][0]["rate_rps"], after["duty_ms"]), (70, 9))
        identity_infer(server, model="a")
        server.stop()


class Unreachable(Case):
    """The new plan cannot be had: the running one goes on, and whoever asked for the new one is told."""

    def served_all_the_while(self, act, status, says, **options):
        self.repository.add("a", latency_ms=2)
        self.repository.add("b")
        server = self.serve(plan=self.plan((40, 0, [("a", 4, 5)]), (60, 40, [("b", 4, 5)])), **options)
        pid = self.gpulet_of(40)["pid"]
        self.change("unload", "b")
        act()

        def one(thread, number, client):
            identity_infer(server, client, model="a")
            return "200"
        load = Load(server.port, 2, one)
        r = self.change("load", "b", status)
        self.assertIn(says, r.error())
        before = load.count()
        wait_for(lambda: load.count() > before + 10 or load.problems, "a served afterwards")
        self.assertEqual(set(load.stop()), {"200"})
        self.assertEqual(self.gpulet_of(40)["pid"], pid)
        self.assertEqual(self.state("b"), "UNAVAILABLE")
        wait_for(lambda: [g["state"] for g in server.status()["gpulets"]] == ["serving"], "the rest of the new plan gone")
        return server

    def broken(self, **args):
        """Another file: one in use is not written over."""
        def act():
            os.unlink(self.repository.join("b", "1", "model.onnx"))
            self.repository.add("b", script(**args))
        return act

    def mended(self, server):
        self.broken()()
        self.change("load", "b")
        identity_infer(server, model="b")
        server.stop()

    def test_workers_crash_while_they_load(self):
        server = self.served_all_the_while(self.broken(crash_load=1), 400, "b")
        self.assertIn("event=plan_given_up", server.log())
        self.mended(server)

    def test_workers_hang_while_they_load(self):
        server = self.served_all_the_while(self.broken(hang_load=1), 400, "b", load_limit_s=1, run_limit_s=3)
        self.assertIn("event=plan_given_up", server.log())
        self.mended(server)

    def test_a_load_that_takes_too_long(self):
        self.mended(self.served_all_the_while(self.broken(load_ms=60000), 400, "did not finish loading", load_limit_s=0.5))

    def test_memory_is_too_little(self):
        server = self.served_all_the_while(self.broken(memory_mb=1 << 20), 400, "out of memory", env=self.limited())
        self.broken()()
        self.change("load", "b")
        identity_infer(server, model="b")
        if not sanitized():  # they report the refused allocation as well
            server.stop()

    @staticmethod
    def limited():
        """Address space of the sanitizers is huge: allocations are bounded by their own option there."""
        return dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":allocator_may_return_null=1:max_allocation_size_mb=65536",
                    TSAN_OPTIONS=os.environ.get("TSAN_OPTIONS", "") + ":allocator_may_return_null=1:max_allocation_size_mb=65536")

    def test_workers_never_start(self):
        flag = self.repository.join(".down")
        program = self.repository.write(".worker", "#!/bin/sh\n[ -e '%s' ] && exit 3\nexec '%s' \"$@\"\n" % (flag, os.path.abspath(os.path.join(BIN, "gpulet-worker"))))
        os.chmod(program, 0o755)
        server = self.served_all_the_while(lambda: self.repository.write(".down", ""), 400, "b", worker_program=program)
        self.assertIn("event=plan_given_up", server.log())
        os.unlink(flag)
        self.mended(server)

    def test_a_worker_program_that_is_gone(self):
        program = self.repository.join(".worker")
        self.repository.write(".files/made", "")
        os.symlink(os.path.abspath(os.path.join(BIN, "gpulet-worker")), program)
        server = self.served_all_the_while(lambda: os.unlink(program), 503, ".worker", worker_program=program)
        os.symlink(os.path.abspath(os.path.join(BIN, "gpulet-worker")), program)
        self.mended(server)


if __name__ == "__main__":
    main()
