"""The closed loop: rates are followed, plans are changed under load, and what cannot be reached changes nothing."""
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
import unittest

from harness import (GPULET, Client, Load, Repository, Server, identity_body, identity_infer, kept_plan, main, parameters, plan_json, run, script, wait_for)


def devices_yaml(count=1, memory_mb=16384):
    return ("types:\n  fake:\n    units: 100\n    sizes: [25, 50, 75, 100]\n    gpulets_max: 4\n    memory_mb: %d\n"
            "devices:\n  fake: %d\n" % (memory_mb, count))


def profile_csv(models, sizes=(25, 50, 75, 100), batches=(1, 2, 4, 8), memory_mb=None):
    """{model: ms of batch 1 on the whole device}; half the device takes twice as long, a batch of eight four times."""
    lines = ["device,model,units,batch,latency_ms" + (",memory_mb" if memory_mb else "")]
    for model, ms in models.items():
        for units in sizes:
            for batch in batches:
                lines.append("fake,%s,%d,%d,%.4f" % (model, units, batch, ms * 100 / units * (0.5 + 0.5 * batch)) +
                             (",%d" % memory_mb[model] if memory_mb else ""))
    return "\n".join(lines) + "\n"


def plan_of_devices(*devices):
    """A plan of several devices, each a list of gpu-lets as plan_json takes them."""
    plan = None
    for index, gpulets in enumerate(devices):
        one = json.loads(plan_json(gpulets, index=index))
        if plan is None:
            plan = one
        else:
            plan["devices"] += one["devices"]
    plan["devices_used"] = len(plan["devices"])
    return json.dumps(plan)


class Case(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)

    def add(self, *names, **args):
        for name in names:
            self.repository.add(name, **args)

    def write(self, name, text):
        return self.repository.write(os.path.join(".files", name), text)

    def serve(self, **options):
        self.server = Server(self.repository, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def planned(self, rates, latency_ms=2, slo_ms=100, count=1, late="serve", **options):
        """A server that plans for these rates: quickly, and with nothing to spare unless told otherwise. All is answered, however late
        on a machine that stands still, unless it is lateness that is looked at."""
        self.add(*rates, config=parameters(late=late))
        settings = {"profiles": self.write("p.csv", profile_csv({m: latency_ms for m in rates})),
                    "workload": self.write("w.csv", "model,rate_rps,slo_ms\n" + "".join("%s,%g,%g\n" % (m, r, slo_ms) for m, r in rates.items())),
                    "devices": self.write("d.yaml", devices_yaml(count)), "fake_devices": "fake:100:%d" % count,
                    "replan_period_s": 1, "replan_hold_s": 0.2, "rate_window_s": 4, "use_spare": "false"}
        settings.update(options)
        return self.serve(**settings)

    def post(self, path, text=""):
        return self.server.post("/gpulet/v1/" + path, text.encode())

    def put(self, plan, status=200, query=""):
        r = self.post("plan" + query, plan if isinstance(plan, str) else plan_json(plan))
        self.server.note_workers()
        self.assertEqual(r.status, status, r)
        return r

    def replan(self, status=200, **fields):
        r = self.post("replan", json.dumps(fields))
        self.server.note_workers()
        self.assertEqual(r.status, status, r)
        return r.json()

    def gpulets(self):
        return [g for g in self.server.status()["gpulets"] if g["state"] == "serving"]

    def cut(self):
        """What serves: {(units, models)}."""
        return sorted((g["units"], tuple(sorted(m["model"] for m in g["models"]))) for g in self.gpulets())

    def pids(self):
        return {g["name"]: g["pid"] for g in self.gpulets()}

    def rates(self):
        return {m["model"]: m for m in self.server.get("/gpulet/v1/rates").json()["models"]}

    def events(self, since=0, kind=None):
        found = self.server.get("/gpulet/v1/events?since=%d" % since).json()["events"]
        return [e for e in found if kind is None or e["kind"] == kind]

    def load(self, *models, threads=1):
        """Closed loops that check every answer; each request is answered once or the loop ends with a problem."""
        def one(thread, number, client):
            model = models[thread % len(models)]
            identity_infer(self.server, client, first=float(thread * 100000 + number), model=model)
            return model
        return Load(self.server.port, threads * len(models), one)

    def all_were_answered(self, load, *models):
        counts = load.stop()
        self.assertEqual(set(counts), set(models))
        for model in models:
            s = self.server.model_status(model)
            self.assertEqual((s["offered"], s["rejected"] + s["failed"] + s["cancelled"]), (counts[model], 0), model)


class Changes(Case):
    """From one cut to another while all models are asked."""

    def between(self, *plans, models="abc"):
        self.add(*models, latency_ms=1)
        server = self.serve(plan=self.write("plan.json", plan_json(plans[0])))
        load = self.load(*models)
        for plan in plans[1:]:
            before = load.count()
            wait_for(lambda: load.count() > before + 20 or load.problems, "answers")
            self.put(plan)
        before = load.count()
        wait_for(lambda: load.count() > before + 20 or load.problems, "answers")
        self.all_were_answered(load, *models)
        return server

    def test_a_gpu_let_goes_on_with_other_models(self):
        self.add("a", "b", "c", latency_ms=1)
        server = self.serve(plan=self.write("plan.json", plan_json([(40, None, [("a", 4, 5)]), (60, None, [("b", 4, 5), ("c", 4, 5)])])))
        pids = self.pids()
        load = self.load("a", "b", "c", threads=3)
        for _ in range(10):
            self.put([(40, None, [("a", 4, 5), ("b", 2, 5)]), (60, None, [("c", 8, 5)])])
            self.put([(40, None, [("a", 4, 5)]), (60, None, [("b", 4, 5), ("c", 4, 5)])])
        self.put([(40, None, [("a", 4, 5), ("b", 2, 5)]), (60, None, [("c", 8, 5)])])
        self.assertEqual(self.pids(), pids)
        self.assertEqual(self.cut(), [(40, ("a", "b")), (60, ("c",))])
        last = self.events(kind="replan")[-1]
        self.assertEqual([last[k] for k in ("reason", "outcome", "gpulets_started", "gpulets_stopped", "gpulets_kept", "models_loaded", "models_unloaded")],
                         ["asked", "reached", 0, 0, 2, 1, 1])
        self.assertEqual({(m["model"], m["batch"]) for g in self.gpulets() for m in g["models"]}, {("a", 4), ("b", 2), ("c", 8)})
        self.all_were_answered(load, "a", "b", "c")
        server.stop()

    def test_two_gpu_lets_swap_models_and_nobody_waits_in_vain(self):
        one = [(50, None, [("x", 4, 5), ("a", 4, 5)]), (50, None, [("y", 4, 5), ("b", 4, 5)])]
        two = [(50, None, [("x", 4, 5), ("b", 4, 5)]), (50, None, [("y", 4, 5), ("a", 4, 5)])]
        self.add("x", "y", "a", "b", latency_ms=1)
        server = self.serve(plan=self.write("plan.json", plan_json(one)))
        pids = self.pids()
        load = self.load("x", "y", "a", "b", threads=2)
        for i in range(10):
            self.put(one if i % 2 else two)
        self.assertEqual(self.pids(), pids)
        self.all_were_answered(load, "x", "y", "a", "b")
        server.stop()

    def test_batches_and_rates_change_at_no_cost(self):
        self.add("a", latency_ms=1)
        server = self.serve(plan=self.write("plan.json", plan_json([(100, None, [("a", 4, 5)])])))
        pids = self.pids()
        self.put(plan_json([(100, None, [("a", 16, 5)])]).replace('"rate_rps": 10.0', '"rate_rps": 70.0'))
        self.assertEqual(self.pids(), pids)
        self.assertEqual([(m["batch"], m["rate_rps"]) for g in self.gpulets() for m in g["models"]], [(16, 70)])
        last = self.events(kind="replan")[-1]
        self.assertEqual((last["models_loaded"], last["gpulets_started"]), (0, 0))
        server.stop()

    def test_a_model_that_was_never_loaded_does_not_come_into_a_worker_that_serves(self):
        self.add("a", "b", latency_ms=1)
        server = self.serve(plan=self.write("plan.json", plan_json([(40, None, [("a", 4, 5)]), (60, None, [("b", 4, 5)])])))
        pid = next(g["pid"] for g in self.gpulets() if g["units"] == 40)
        self.assertEqual(server.post("/v2/repository/models/b/unload").status, 200)
        os.unlink(self.repository.join("b", "1", "model.onnx"))
        self.add("b", crash_load=1)
        self.write("plan.json", plan_json([(40, None, [("a", 4, 5), ("b", 4, 5)])]))
        load = self.load("a")
        self.assertEqual(server.post("/v2/repository/models/b/load").status, 400)
        self.assertEqual(next(g["pid"] for g in self.gpulets() if g["units"] == 40), pid)
        self.all_were_answered(load, "a")
        server.stop()

    def test_another_cut_is_reached_without_a_gap(self):
        self.between([(100, None, [("a", 4, 5), ("b", 4, 5), ("c", 4, 5)])], [(50, None, [("a", 4, 5)]), (50, None, [("b", 4, 5), ("c", 4, 5)])],
                     [(25, None, [("a", 4, 5)]), (25, None, [("b", 4, 5)]), (50, None, [("c", 4, 5)])],
                     [(75, None, [("a", 4, 5), ("c", 4, 5)]), (25, None, [("b", 4, 5)])]).stop()

    def test_a_hundred_plans_in_a_row_and_not_one_request_lost(self):
        cuts = [[(40, None, [("a", 4, 5)]), (60, None, [("b", 4, 5), ("c", 4, 5)])],
                [(40, None, [("a", 4, 5)]), (30, None, [("b", 4, 5)]), (30, None, [("c", 4, 5)])],
                [(40, None, [("a", 4, 5)]), (60, None, [("c", 4, 5), ("b", 4, 5)])],
                [(40, None, [("a", 4, 5)]), (20, None, [("b", 4, 5)]), (40, None, [("c", 4, 5)])]]
        self.add("a", "b", "c", latency_ms=1)
        server = self.serve(plan=self.write("plan.json", plan_json(cuts[0])))
        untouched = next(g for g in self.gpulets() if g["units"] == 40)
        load = self.load("a", "b", "c")
        for i in range(100):
            self.put(cuts[(i + 1) % 4])
            if i % 10 == 0:
                self.assertIn(untouched["pid"], [g["pid"] for g in self.gpulets()], "it was not to be touched")
        self.assertIn(untouched["pid"], [g["pid"] for g in self.gpulets()])
        self.assertEqual(server.status()["replans"], 100)
        self.assertEqual(server.metric("gpulet_replans_total", reason="asked", outcome="reached"), 100)
        self.all_were_answered(load, "a", "b", "c")
        self.assertEqual(len(self.events(kind="replan")), 100)
        server.stop()


class Unreachable(Case):
    def begin(self, **options):
        self.add("a", "b", latency_ms=1)
        self.running = [(40, None, [("a", 4, 5)]), (60, None, [("b", 4, 5)])]
        server = self.serve(plan=self.write("plan.json", plan_json(self.running)), **options)
        self.before = self.pids()
        return server

    def goes_on(self):
        wait_for(lambda: self.pids() == self.before and len(self.server.status()["gpulets"]) == 2, "as it was")
        self.assertEqual(self.cut(), [(40, ("a",)), (60, ("b",))])
        self.assertIsNone(self.server.status()["transition"])

    def test_a_start_that_fails_is_rolled_back(self):
        flag = self.repository.join(".down")
        program = self.repository.write(".worker", "#!/bin/sh\n[ -e '%s' ] && exit 3\nexec '%s' \"$@\"\n" %
                                        (flag, os.path.join(os.path.dirname(os.path.abspath(GPULET)), "gpulet-worker")))
        os.chmod(program, 0o755)
        server = self.begin(worker_program=program)
        self.repository.write(".down", "")
        load = self.load("a", "b")
        r = self.put([(40, None, [("b", 4, 5)]), (60, None, [("a", 4, 5)])], status=503)
        self.assertEqual(r.json()["outcome"], "failed")
        self.goes_on()
        os.unlink(flag)
        self.assertEqual(self.events()[-1]["kind"], "rollback")
        self.put([(40, None, [("b", 4, 5)]), (60, None, [("a", 4, 5)])])
        self.assertEqual(self.cut(), [(40, ("b",)), (60, ("a",))])
        self.all_were_answered(load, "a", "b")
        server.stop()

    def test_a_plan_that_takes_too_long_is_given_up(self):
        server = self.begin(transition_limit_s=0.5)
        self.slow("b")
        load = self.load("a", "b")
        self.put([(40, None, [("a", 4, 5)]), (30, None, [("b", 4, 5)])], status=503)
        self.goes_on()
        self.assertIn("limit", self.events(kind="rollback")[-1]["text"])
        self.all_were_answered(load, "a", "b")
        server.stop()

    def test_a_load_beside_batches_that_takes_too_long_is_given_up(self):
        server = self.begin(transition_limit_s=0.5)
        self.slow("b")
        load = self.load("a", "b")
        self.put([(40, None, [("a", 4, 5), ("b", 4, 5)]), (60, None, [("b", 4, 5)])], status=503)
        self.goes_on()
        self.all_were_answered(load, "a", "b")
        server.kill()

    def slow(self, model):
        os.unlink(self.repository.join(model, "1", "model.onnx"))
        self.repository.add(model, script(latency_ms=1, load_ms=60000))

    def test_a_worker_that_dies_on_the_way_is_replaced_at_once(self):
        server = self.begin(load_limit_s=100)
        self.slow("b")
        self.put([(40, None, [("a", 4, 5)]), (30, None, [("b", 4, 5)])], status=202, query="?wait=0")
        status = server.status()["transition"]
        self.assertEqual((status["reason"], status["starting"]), ("asked", 1))
        os.kill(self.before[next(g["name"] for g in self.gpulets() if g["units"] == 40)], signal.SIGKILL)
        wait_for(lambda: [g for g in self.gpulets() if g["units"] == 40], "served again while the other plan is being reached")
        identity_infer(server, model="a")
        self.assertIsNotNone(server.status()["transition"])
        self.put(self.running)
        identity_infer(server, model="b")
        server.stop()


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


class Memory(Case):
    """Two plans at once are more than the device holds."""

    def begin(self, memory_mb, **models_mb):
        self.add(*models_mb, latency_ms=1)
        profile = profile_csv({m: 1 for m in models_mb}, sizes=(20, 25, 30, 40, 50, 60, 75, 80, 100), memory_mb=models_mb)
        self.server = self.serve(profiles=self.write("p.csv", profile), fake_devices="fake:100:1:%d" % memory_mb, follow="false",
                                 plan=self.write("plan.json", plan_json([(50, None, [("a", 4, 5)]), (50, None, [("b", 4, 5)])])))
        return self.server

    def broken(self):
        return self.server.log().count("event=break_before_make")

    def test_what_fits_is_made_before_anything_is_broken(self):
        server = self.begin(1200, a=300, b=300)
        self.put([(60, None, [("a", 4, 5)]), (40, None, [("b", 4, 5)])])
        self.assertEqual(self.broken(), 0)
        server.stop()

    def test_as_little_as_possible_is_broken_first(self):
        server = self.begin(1000, a=300, b=300)
        load = self.load("a", "b")
        for i in range(6):
            self.put([(60, None, [("a", 4, 5)]), (40, None, [("b", 4, 5)])] if i % 2 == 0 else
                     [(80, None, [("a", 4, 5)]), (20, None, [("b", 4, 5)])])
            self.assertEqual(self.broken(), i + 1)
        self.assertIn("for lack of memory", self.events(kind="replan")[-1]["text"])
        self.assertEqual(self.cut(), [(20, ("b",)), (80, ("a",))])
        self.all_were_answered(load, "a", "b")
        server.stop()

    def test_what_is_served_elsewhere_too_makes_room_first(self):
        server = self.begin(1000, a=300, b=300)
        self.put([(25, None, [("a", 4, 5)]), (25, None, [("a", 4, 5)]), (50, None, [("b", 4, 5)])])
        broken = self.broken()
        load = self.load("b", threads=2)
        self.put([(25, None, [("a", 4, 5)]), (75, None, [("b", 4, 5)])])
        self.assertEqual(self.broken(), broken + 1)
        self.assertEqual(self.last_given_up(), "a")
        self.all_were_answered(load, "b")
        server.stop()

    def last_given_up(self):
        """The model of the gpu-let that gave up its memory last."""
        lines = self.server.log().splitlines()
        held = {l.split("gpulet=")[1].split()[0]: l.split("model=")[1].split()[0] for l in lines if "event=model_loaded" in l}
        return held[[l.split("gpulet=")[1].split()[0] for l in lines if "event=break_before_make" in l][-1]]

    def test_nothing_fits_beside_what_runs(self):
        server = self.begin(600, a=300, b=300)
        load = self.load("a", "b")
        self.put([(60, None, [("a", 4, 5)]), (40, None, [("b", 4, 5)])])
        self.assertEqual(self.broken(), 2)
        self.all_were_answered(load, "a", "b")
        server.stop()

    def test_a_gpu_let_that_goes_on_gives_up_a_model_for_another(self):
        server = self.begin(1000, a=100, b=100, x=400, y=400)
        self.put([(50, None, [("a", 4, 5), ("x", 4, 5)]), (50, None, [("b", 4, 5), ("y", 4, 5)])])
        pids = self.pids()
        load = self.load("a", "b", "x", "y")
        self.put([(50, None, [("a", 4, 5), ("y", 4, 5)]), (50, None, [("b", 4, 5), ("x", 4, 5)])])
        self.assertEqual(self.pids(), pids)
        self.assertGreaterEqual(self.broken(), 1)
        self.all_were_answered(load, "a", "b", "x", "y")
        server.stop()

    def test_what_made_room_in_vain_comes_back(self):
        server = self.begin(600, a=300, b=300)
        os.unlink(self.repository.join("b", "1", "model.onnx"))
        self.repository.add("b", script(latency_ms=1, fail_load="its weights are upside down", load_units=40))
        self.put([(60, None, [("a", 4, 5)]), (40, None, [("b", 4, 5)])], status=503)
        wait_for(lambda: self.cut() == [(50, ("a",)), (50, ("b",))], "as it was")
        self.assertGreaterEqual(self.broken(), 2)
        for model in ("a", "b"):
            identity_infer(server, model=model)
        server.stop()


class Devices(Case):
    def begin(self, **options):
        self.gone = self.repository.join(".gone")
        self.script = self.repository.join(".down")
        server = self.planned({"a": 300, "b": 300}, latency_ms=4, count=3, fake_gone=self.gone, replan_period_s=1000, **options)
        self.assertEqual(server.status()["devices_used"], 3)
        return server

    def used(self):
        return {g["index"] for g in self.gpulets()}

    def test_a_device_that_is_gone_is_done_without_until_it_is_back(self):
        server = self.begin(follow="false")
        load = self.load("a", "b")
        for gone in (1, 0):
            self.repository.write(".gone", "fake/%d\n" % gone)
            wait_for(lambda: self.used() == {0, 1, 2} - {gone} and not server.status()["transition"], "planned for what is left")
            self.assertEqual([d["state"] for d in server.status()["devices"]], ["gone" if i == gone else "there" for i in range(3)])
            for model in ("a", "b"):
                identity_infer(server, model=model)
            os.unlink(self.gone)
            wait_for(lambda: self.used() == {0, 1, 2} and not server.status()["transition"], "used again")
        load.stop_event.set()
        self.assertEqual([e["text"].split(":")[0] for e in self.events() if e["kind"] == "device_lost"], ["fake 1", "fake 0"])
        self.assertEqual(len(self.events(kind="device_back")), 2)
        self.assertTrue([e for e in self.events(kind="replan") if e["reason"] == "lost"])
        server.note_workers()
        server.stop()

    def test_all_devices_gone_and_back(self):
        server = self.begin(follow="false")
        self.repository.write(".gone", "fake/0\nfake/1\nfake/2\n")
        wait_for(lambda: not self.gpulets(), "nothing serves")
        wait_for(lambda: [e for e in self.events() if e["outcome"] == "failed" and "no device is left" in e["text"]], "told")
        os.unlink(self.gone)
        wait_for(lambda: self.used() == {0, 1, 2}, "used again")
        for model in ("a", "b"):
            identity_infer(server, model=model)
        server.note_workers()
        server.stop()

    def test_a_device_that_is_gone_at_the_start(self):
        self.repository.write(".gone", "fake/0\n")
        self.gone = self.repository.join(".gone")
        self.add("a")
        server = self.serve(fake_devices="fake:100:2", fake_gone=self.gone)
        self.assertEqual(self.used(), {1})
        identity_infer(server, model="a")
        server.stop()

    def test_a_device_on_which_no_worker_lives_is_left(self):
        flag = self.repository.join(".down")
        program = self.repository.write(".worker", "#!/bin/sh\n[ -e '%s' ] && case \"$*\" in *fake1.*) exit 3;; esac\nexec '%s' \"$@\"\n" %
                                        (flag, os.path.join(os.path.dirname(os.path.abspath(GPULET)), "gpulet-worker")))
        os.chmod(program, 0o755)
        server = self.begin(follow="false", worker_program=program)
        self.repository.write(".down", "")
        for g in self.gpulets():
            if g["index"] == 1:
                os.kill(g["pid"], signal.SIGKILL)
        wait_for(lambda: [d["state"] for d in server.status()["devices"]] == ["there", "failing", "there"], "given up")
        wait_for(lambda: self.used() == {0, 2} and not server.status()["transition"], "planned for what is left")
        self.assertTrue(self.events(kind="worker_lost"))
        self.assertIn("fake 1", self.events(kind="device_lost")[0]["text"])
        server.note_workers()
        server.stop()

    def test_a_plan_that_a_failing_device_spoils_is_made_anew_without_it(self):
        flag = self.repository.join(".down")
        program = self.repository.write(".worker", "#!/bin/sh\n[ -e '%s' ] && case \"$*\" in *fake1.*) exit 3;; esac\nexec '%s' \"$@\"\n" %
                                        (flag, os.path.join(os.path.dirname(os.path.abspath(GPULET)), "gpulet-worker")))
        os.chmod(program, 0o755)
        self.repository.write(".down", "")
        server = self.planned({"a": 1, "b": 1}, latency_ms=4, count=3, worker_program=program, follow="false")
        self.assertEqual(self.used(), {0})
        load = self.load("a", "b")
        self.post("rates", '{"a": 300, "b": 200}')
        wait_for(lambda: load.problems or self.used() == {0, 2}, "planned for what is left")
        self.assertTrue(self.events(kind="rollback"))
        self.all_were_answered(load, "a", "b")
        server.note_workers()
        server.stop()


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
