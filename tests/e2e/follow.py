"""The closed loop: rates are followed, plans are asked for, and a restart goes on with the last one."""
import contextlib
import json
import os
import random
import shutil
import sqlite3
import threading
import time

from harness import GPULET, Client, identity_body, identity_infer, kept_plan, main, plan_json, run, script, wait_for
from planned import Case


class Following(Case):
    def test_the_plan_follows_a_load_that_swings(self):
        server = self.planned({"a": 1, "b": 1}, latency_ms=4)
        for busy in ("a", "b", "a"):
            load = self.load(busy, threads=4)
            wait_for(lambda: load.problems or (self.rates()[busy]["now_rps"] > 30 and
                                               self.rates()[busy]["covered_rps"] >= self.rates()[busy]["now_rps"]),
                     "the plan covers what is asked of %s" % busy)
            self.all_busy_answered(load, busy)
        self.assertTrue([e for e in self.events(kind="replan") if e["reason"] in ("burst", "period")])
        self.assertIn("event=replan reason=", server.log())
        server.stop()

    def all_busy_answered(self, load, model):
        counts = load.stop()
        self.assertEqual(set(counts), {model})

    def poisson(self, model, rate_rps, seconds, answers):
        rng = random.Random(7)
        due = time.monotonic()
        with Client(self.server.port) as client:
            end = due + seconds
            while due < end:
                time.sleep(max(0, due - time.monotonic()))
                identity_infer(self.server, client, model=model)
                answers.append(model)
                due += rng.expovariate(rate_rps)

    def test_a_steady_load_changes_nothing(self):
        self.planned({"a": 1, "b": 1}, use_spare="true")
        answers = []
        threads = [threading.Thread(target=self.poisson, args=(m, 20, 14, answers)) for m in ("a", "b")]
        for t in threads:
            t.start()
        wait_for(lambda: min(m["now_rps"] for m in self.rates().values()) > 5, "rates are seen")
        time.sleep(5)
        before = self.server.status()["replans"]
        for t in threads:
            t.join()
        self.assertLessEqual(self.server.status()["replans"] - before, 1, self.events())
        self.assertEqual(self.server.status()["shortfall"], 0)
        self.server.stop()

    def test_devices_follow_the_load_up_and_down(self):
        server = self.planned({"a": 1, "b": 1}, latency_ms=4, count=4)
        self.assertEqual(server.status()["devices_used"], 1)
        self.pin(a=600, b=300)
        wait_for(lambda: server.status()["devices_used"] >= 3, "more devices")
        self.assertEqual(server.metric("gpulet_devices_used"), server.status()["devices_used"])
        self.pin(a=1, b=1)
        wait_for(lambda: server.status()["devices_used"] == 1 and len(server.status()["gpulets"]) <= 2, "devices are released")
        server.stop()

    def pin(self, status=200, **rates):
        r = self.post("rates", json.dumps(rates))
        self.assertEqual(r.status, status, r)
        return r

    def test_pinned_rates_are_what_is_planned_for(self):
        server = self.planned({"a": 1, "b": 1})
        self.pin(a=200)
        self.assertEqual(self.rates()["a"]["pinned_rps"], 200)
        wait_for(lambda: self.rates()["a"]["covered_rps"] >= 200, "a is covered")
        self.assertEqual(self.rates()["a"]["planned_rps"], 200)
        self.assertGreater(server.model_status("a")["rate_covered_rps"], 199)
        self.pin(a=None)
        self.assertIsNone(self.rates()["a"]["pinned_rps"])
        self.assertIn("nobody", self.pin(status=400, nobody=1).error())
        self.assertIn("b", self.pin(status=400, b=-1).error())
        self.assertIn("b", self.pin(status=400, b="x").error())
        self.assertEqual(self.post("rates", "[]").status, 400)
        server.stop()

    def test_nothing_is_followed_unless_wanted(self):
        server = self.planned({"a": 1}, latency_ms=4, follow="false")
        load = self.load("a", threads=4)
        wait_for(lambda: load.problems or self.rates()["a"]["now_rps"] > 30, "rates are seen")
        time.sleep(2)
        self.assertEqual(server.status()["replans"], 0)
        load.stop()
        server.stop()


class Asking(Case):
    def test_a_plan_is_checked_before_it_is_applied(self):
        self.add("a", "b", latency_ms=1)
        server = self.serve(plan=self.write("plan.json", plan_json([(100, None, [("a", 4, 5), ("b", 4, 5)])])))
        pids = self.pids()
        good = json.loads(plan_json([(40, None, [("a", 4, 5)]), (60, None, [("b", 4, 5)])]))

        def refused(says, change):
            bad = json.loads(json.dumps(good))
            change(bad)
            self.assertIn(says, self.put(json.dumps(bad), status=400).error())
        gpulets = lambda p: p["devices"][0]["gpulets"]
        refused("devices[0]: device fake 7", lambda p: p["devices"][0].update(index=7))
        refused("devices[0].gpulets[1].units", lambda p: gpulets(p)[1].update(units=101))
        refused("devices[0].gpulets: 140 units", lambda p: gpulets(p)[1].update(units=100))
        refused("devices[0].gpulets[0].models[0].model: no model is called 'x'", lambda p: gpulets(p)[0]["models"][0].update(model="x"))
        refused("devices[0].gpulets[0].models[0].batch", lambda p: gpulets(p)[0]["models"][0].update(batch=1000))
        refused("devices[0].gpulets[0].models[1].model", lambda p: gpulets(p)[0]["models"].append(gpulets(p)[0]["models"][0]))
        refused("devices[1]", lambda p: p["devices"].append(p["devices"][0]))
        refused("devices[0].gpulets[0].units", lambda p: gpulets(p)[0].pop("units"))
        for body in ("", "{", "[]", "null"):
            self.put(body, status=400)
        self.assertIn("wait", self.put(json.dumps(good), status=400, query="?wait=x").error())
        self.assertEqual(self.pids(), pids)
        self.put(json.dumps(good), status=202, query="?wait=0")
        wait_for(lambda: self.cut() == [(40, ("a",)), (60, ("b",))], "reached")
        served = server.get("/gpulet/v1/plan").json()
        self.assertEqual(served["planner"], "by-hand")
        server.stop()

    def test_models_that_a_plan_leaves_out_are_served_all_the_same(self):
        self.add("a", "b", latency_ms=1)
        server = self.serve(plan=self.write("plan.json", plan_json([(100, None, [("a", 4, 5), ("b", 4, 5)])])))
        self.put([(40, None, [("a", 4, 5)])])
        for model in ("a", "b"):
            identity_infer(server, model=model)
        server.stop()

    def test_a_model_of_which_nothing_is_known_moves_no_other(self):
        server = self.planned({"a": 50, "b": 50}, follow="false", calibrate="true", calibrate_seconds=0.3)
        before, pids = self.cut(), set(self.pids().values())
        self.assertEqual(before, [(25, ("a",)), (25, ("b",))])
        load = self.load("a", "b")
        self.add("c", latency_ms=1)
        self.assertEqual(server.post("/v2/repository/models/c/load").status, 200)
        identity_infer(server, model="c")
        self.assertIn(self.cut(), ([(25, ("a", "c")), (25, ("b",))], [(25, ("a",)), (25, ("b", "c"))]))
        self.assertTrue(pids & set(self.pids().values()), "the other gpu-let goes on")
        self.all_were_answered(load, "a", "b")
        wait_for(lambda: "event=measured model=c" in server.log(), "measured when it is quiet")
        wait_for(lambda: server.status()["planner"] != "provisional" and "event=calibration_end" in server.log(), "planned")
        for model in ("a", "b", "c"):
            identity_infer(server, model=model)
        server.stop()

    def test_a_new_plan_is_made_when_asked_for(self):
        server = self.planned({"a": 50, "b": 50}, follow="false")
        pids = self.pids()
        self.assertEqual(self.replan()["outcome"], "kept")
        forced = self.replan(force=True)
        self.assertEqual(forced["outcome"], "reached")
        self.assertGreaterEqual(forced["duration_ms"], 0)
        self.assertEqual(self.pids(), pids, "nothing differs, so nothing is to be touched")
        self.assertEqual(self.replan(status=202, force=True, wait=False), {"outcome": "begun"})
        self.assertEqual(self.post("replan").status, 200)
        for body, says in (("[]", "object"), ('{"force": 1}', "force"), ('{"forced": true}', "forced")):
            r = self.post("replan", body)
            self.assertEqual(r.status, 400, r)
            self.assertIn(says, r.error())
        server.stop()

    def test_events_are_numbered_and_told_from_where_one_left_off(self):
        self.add("a", latency_ms=1)
        server = self.serve(plan=self.write("plan.json", plan_json([(100, None, [("a", 4, 5)])])))
        first = server.get("/gpulet/v1/events").json()
        self.assertEqual([(e["seq"], e["kind"], e["reason"], e["outcome"]) for e in first["events"]], [(1, "plan", "start", "reached")])
        self.assertEqual(first["next"], 2)
        now_ms = time.time() * 1000
        self.assertLess(abs(first["events"][0]["time_ms"] - now_ms), 600000)
        self.assertEqual(server.get("/gpulet/v1/events?since=2").json(), {"events": [], "next": 2})
        for i in range(3):
            self.put([(100, None, [("a", 5 + i, 5)])])
        self.assertEqual([e["seq"] for e in self.events(since=3)], [3, 4])
        r = server.get("/gpulet/v1/events?since=x")
        self.assertEqual(r.status, 400)
        self.assertIn("since", r.error())
        self.assertEqual(server.post("/v2/repository/models/a/load").status, 200)
        server.stop()

    def test_what_is_missed_is_said(self):
        server = self.planned({"a": 1, "b": 1000000}, follow="false")
        status = server.status()
        self.assertIn("b", status["plan_reason"])
        code, out, _ = run(GPULET, "status", "--url", "http://127.0.0.1:%d" % server.port)
        self.assertEqual(code, 0)
        self.assertIn("not every objective is met", out)
        self.assertGreater(server.metric("gpulet_plan_shortfall"), 0.5)
        server.stop()

    def test_whoever_waits_is_told_when_the_server_ends(self):
        self.add("a", "b", latency_ms=1)
        server = self.serve(plan=self.write("plan.json", plan_json([(40, None, [("a", 4, 5)]), (60, None, [("b", 4, 5)])])))
        os.unlink(self.repository.join("b", "1", "model.onnx"))
        self.repository.add("b", script(latency_ms=1, load_ms=3000))
        found = []
        t = threading.Thread(target=lambda: found.append(self.post("plan", plan_json([(40, None, [("a", 4, 5)]), (30, None, [("b", 4, 5)])]))))
        t.start()
        wait_for(lambda: server.status()["transition"], "on the way")
        server.note_workers()
        server.stop()
        t.join()
        self.assertIn(found[0].status, (200, 503))


class Restart(Case):
    """The server dies, and goes on with what it served."""

    def options(self, **more):
        self.store = self.repository.join(".files", "store.db")
        return {"store": self.store, "model_cache": "none", "replan_period_s": 1000, **more}

    def again(self, models=("a", "b"), rates=(1, 1), slo_ms=100, **more):
        self.server.kill()
        options = {"profiles": self.repository.join(".files", "p.csv"), "devices": self.repository.join(".files", "d.yaml"),
                   "workload": self.write("w.csv", "model,rate_rps,slo_ms\n" + "".join("%s,%g,%g\n" % (m, r, slo_ms) for m, r in zip(models, rates))),
                   "use_spare": "false"}
        options.update(self.options(**more))
        return self.serve(**options)

    def grown(self):
        """A server that has come to a plan which the configured rates alone would not lead to."""
        server = self.planned({"a": 1, "b": 1}, latency_ms=4, **self.options())
        first = self.plan()
        self.post("rates", '{"a": 150}')
        wait_for(lambda: self.rates()["a"]["covered_rps"] >= 150, "a is covered")
        wait_for(lambda: self.kept() == self.plan(), "kept in the store")
        return server, first, self.plan()

    def kept(self):
        return self.cut_of(kept_plan(self.store))

    def plan(self):
        return self.cut_of(self.server.get("/gpulet/v1/plan").json())

    @staticmethod
    def cut_of(plan):
        return sorted((d["type"], d["index"], g["units"], m["model"], m["batch"]) for d in plan["devices"] for g in d["gpulets"] for m in g["models"])

    def test_a_killed_server_goes_on_with_its_last_plan(self):
        server, first, last = self.grown()
        self.assertNotEqual(first, last)
        server.process.kill()
        server.wait_exit()
        server = self.again()
        self.assertEqual(self.plan(), last)
        self.assertIn("event=last_plan ", server.log())
        for model in ("a", "b"):
            identity_infer(server, model=model)
        server.stop()
        server = self.again(fresh_plan="true")
        self.assertEqual(self.plan(), first)
        server.stop()

    def test_a_store_that_is_held_by_others_keeps_no_request_waiting(self):
        server, _, last = self.grown()
        with contextlib.closing(sqlite3.connect(self.store, isolation_level=None)) as db, server.client() as client:
            db.execute("BEGIN EXCLUSIVE")
            replans = server.status()["replans"]
            self.post("rates", '{"a": 20, "b": 150}')
            longest, end = 0, time.monotonic() + 3
            while time.monotonic() < end:
                begun = time.monotonic()
                self.assertEqual(client.request("POST", "/v2/models/a/infer", identity_body()).status, 200)
                longest = max(longest, time.monotonic() - begun)
            wait_for(lambda: server.status()["replans"] > replans, "another plan")
            db.execute("ROLLBACK")
        self.assertLess(longest, 1.5, "a try to write waits for two seconds")
        self.assertEqual(self.post("replan", '{"force": true}').status, 200)
        served = self.plan()
        server.stop()
        self.assertEqual(self.kept(), served)

    def test_the_last_plan_is_not_served_where_it_no_longer_fits(self):
        _, first, last = self.grown()
        server = self.again(slo_ms=9)
        self.assertIn("event=last_plan_refused", server.log())
        self.assertNotEqual(self.plan(), last)
        server.stop()
        self.server.kill()
        shutil.rmtree(self.repository.join("b"))
        server = self.again(models=("a",))
        self.assertIn("no model is called 'b'", server.log())
        identity_infer(server, model="a")
        server.stop()

    def test_the_last_plan_is_not_served_where_other_rates_are_told(self):
        _, _, last = self.grown()
        server = self.again(rates=(1, 2))
        self.assertIn("model b is said to be asked 2/s, not 1/s", server.log())
        self.assertNotEqual(self.plan(), last)
        server.stop()

    def test_a_model_that_the_last_plan_does_not_know_is_served_too(self):
        _, _, last = self.grown()
        self.add("c", latency_ms=1)
        server = self.again()
        self.assertLessEqual(set(last), set(self.plan()))
        for model in ("a", "b", "c"):
            identity_infer(server, model=model)
        server.stop()

    def test_without_following_the_configured_rates_are_what_counts(self):
        _, first, _ = self.grown()
        server = self.again(follow="false")
        self.assertEqual(self.plan(), first)
        server.stop()


if __name__ == "__main__":
    main()
