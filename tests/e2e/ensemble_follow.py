"""Ensembles in the closed loop: their steps' rates are followed, and their shares of the objective go with the plan."""
import json
import os
import unittest

from ensemble import DIAMOND, Ensembles, ensemble, step
from harness import GPULET, Load, kept_plan, main, parameters, run, wait_for


class Following(Ensembles):
    def profile(self, **latency_ms):
        """Batches of 1 to 8 cost a fixed part and one for each item."""
        rows = ["fake,%s,%d,%d,%.6f" % (model, units, batch, (fixed + each * batch) * 100 / units)
                for model, (fixed, each) in latency_ms.items() for units in (25, 50, 75, 100) for batch in (1, 2, 4, 8)]
        return self.repository.write(".profiles.csv", "\n".join(["device,model,units,batch,latency_ms"] + rows) + "\n")

    def planned(self, slo_ms=400, rate_rps=10, **options):
        self.add_diamond()
        self.add_ensemble("e", ensemble(*DIAMOND, slo_ms=slo_ms, rate_rps=rate_rps, late="serve"))
        settings = {"profiles": self.profile(first=(1, 1), left=(20, 5), right=(2, 1), join=(4, 1)), "planner": "elastic",
                    "use_spare": "false", "replan_period_s": 1000, "rate_window_s": 4}
        settings.update(options)
        return self.serve(**settings)

    def plan(self):
        return self.server.get("/gpulet/v1/plan").json()

    def cut(self):
        return sorted((d["index"], g["units"], m["model"], m["batch"]) for d in self.plan()["devices"] for g in d["gpulets"] for m in g["models"])

    def shares(self, names=("first", "left", "right", "join")):
        return {name: round(self.server.model_status(name)["step_slo_ms"], 3) for name in names}

    def rates(self):
        return {m["model"]: m for m in self.server.get("/gpulet/v1/rates").json()["models"]}

    def put(self, plan, status=200):
        r = self.server.post("/gpulet/v1/plan", json.dumps(plan).encode())
        self.server.note_workers()
        self.assertEqual(r.status, status, r)
        return r

    def with_slos(self, **slo_ms):
        """What runs, as if it had been made for other shares."""
        plan = self.plan()
        for m in plan["models"]:
            m["slo_ms"] = slo_ms[m["model"]]
        return plan


class Rates(Following):
    def test_steps_count_for_their_models_and_the_plan_follows(self):
        s = self.planned(rate_rps=0.5, replan_period_s=1, replan_hold_s=0.2)
        before = self.rates()
        self.assertEqual(sorted(before), ["first", "join", "left", "right"])

        def one(thread, number, client):
            self.assertEqual(self.ask(client=client).status, 200)
            return "e"
        load = Load(s.port, 4, one)
        wait_for(lambda: load.problems or all(r["now_rps"] > 5 for r in self.rates().values()), "requests of the ensemble are seen")
        wait_for(lambda: load.problems or all(r["covered_rps"] > before[m]["covered_rps"] + 3 for m, r in self.rates().items()),
                 "the plan covers them")
        wait_for(lambda: load.problems or s.metric("gpulet_rate_rps", model="left", kind="now") > 5, "the metrics say so, too")
        self.assertEqual(set(load.stop()), {"e"})
        self.assertIsNone(s.model_status("e")["rate_now_rps"])
        for words in (("top", "--once"), ("status",)):  # an ensemble has no gpu-let, and no rate that is planned for
            code, out, err = run(GPULET, *words, "--url", "http://127.0.0.1:%d" % s.port)
            self.assertEqual(code, 0, err)
            lines = [line for line in out.splitlines() if "e" in line.split()[:2]]
            self.assertEqual(len(lines), 1, out)
            self.assertIn("-", lines[0].split(), out)
        s.note_workers()
        s.stop()

    def test_a_rate_is_pinned_for_models_not_for_an_ensemble(self):
        s = self.planned()
        r = s.post("/gpulet/v1/rates", b'{"left": 5, "e": 5}')
        self.assertEqual(r.status, 400, r)
        self.assertIn("e: an ensemble", r.error())
        self.assertIsNone(self.rates()["left"]["pinned_rps"])
        s.stop()

    def test_an_ensemble_that_comes_is_expected_to_ask_as_it_says(self):
        self.repository.add("identity", config=parameters(slo_ms=90, rate_rps=3))
        s = self.serve(profiles=self.profile(identity=(1, 1)), planner="elastic", rate_percentile="0", use_spare="false", replan_period_s=1000)
        (model,) = self.plan()["models"]
        self.assertAlmostEqual(model["rate_rps"], 3, 3)
        steps = [step("identity", {"INPUT": "I"}, {"OUTPUT": "M"}), step("identity", {"INPUT": "M"}, {"OUTPUT": "O"})]
        self.add_ensemble("late", ensemble({"I": "16"}, {"O": "16"}, steps, slo_ms=100, rate_rps=40, late="serve"))
        self.assertEqual(s.post("/v2/repository/models/late/load").status, 200)
        (model,) = self.plan()["models"]
        self.assertGreaterEqual(model["rate_rps"], 80)
        self.assertAlmostEqual(model["slo_ms"], 50, 3)
        self.assertEqual(self.shares(["identity"]), {"identity": 50})
        self.assertEqual(self.ask("late").status, 200)
        s.stop()


class Shares(Following):
    OTHERS = {"first": 85.0, "left": 175.0, "right": 175.0, "join": 140.0}

    def test_a_plan_from_outside_brings_the_shares_that_it_was_made_for(self):
        s = self.planned()
        made = self.shares()
        self.assertEqual(made, {m["model"]: round(m["slo_ms"], 3) for m in self.plan()["models"]})
        self.assertNotEqual(made, self.OTHERS)
        self.put(self.with_slos(**self.OTHERS))
        self.assertEqual(self.shares(), self.OTHERS)
        # What it says is more than the ensemble has: then it is what its gpu-lets take.
        self.put(self.with_slos(first=300, left=300, right=300, join=300))
        shares = self.shares()
        self.assertLessEqual(shares["first"] + max(shares["left"], shares["right"]) + shares["join"], 400.01)
        self.assertGreater(shares["left"], shares["first"])
        self.assertEqual(self.ask().status, 200)
        s.stop()

    def test_a_plan_of_an_ensemble_itself_is_refused(self):
        s = self.planned()
        plan = self.plan()
        plan["devices"][0]["gpulets"][0]["models"][0]["model"] = "e"
        r = self.put(plan, status=400)
        self.assertIn("'e' is an ensemble", r.error())
        s.stop()

    def test_a_plan_that_is_not_reached_changes_no_share(self):
        program = self.repository.write(".worker", "#!/bin/sh\n[ -e '%s' ] && exit 3\nexec '%s' \"$@\"\n" %
                                        (self.repository.join(".down"), os.path.join(os.path.dirname(os.path.abspath(GPULET)), "gpulet-worker")))
        os.chmod(program, 0o755)
        s = self.planned(worker_program=program)
        made = self.shares()
        self.repository.write(".down", "")
        plan = self.with_slos(**self.OTHERS)
        gpulets = plan["devices"][0]["gpulets"]
        units = {g["units"] for g in gpulets}
        for g in gpulets:
            g["units"] = 25 if units != {25} else 50
        plan["devices"][0]["gpulets"] = gpulets[:2]
        self.put(plan, status=503)
        self.assertEqual(self.shares(), made)
        self.assertEqual(self.ask().status, 200)
        s.stop()

    def test_a_model_that_is_replaced_has_the_share_at_once(self):
        s = self.planned()
        made = self.shares()
        self.repository.add("left", latency_ms=1)
        self.assertEqual(s.post("/v2/repository/models/left/load").status, 200)
        s.note_workers()
        shares = self.shares()
        self.assertGreater(shares["left"], 0)
        self.assertLessEqual(shares["first"] + max(shares["left"], shares["right"]) + shares["join"], 400.01)
        self.assertEqual(sorted(made), sorted(shares))
        self.assertEqual(self.ask().status, 200)
        s.stop()

    def test_a_killed_server_goes_on_with_its_shares_while_they_fit(self):
        options = {"store": self.repository.join(".store.db"), "model_cache": "none"}
        s = self.planned(**options)
        self.put(self.with_slos(**self.OTHERS))
        cut = self.cut()
        wait_for(lambda: kept_plan(options["store"])["models"] == self.plan()["models"], "kept in the store")
        s.process.kill()
        s.wait_exit()
        s = self.planned(**options)
        self.assertIn("event=last_plan ", s.log())
        self.assertEqual((self.shares(), self.cut()), (self.OTHERS, cut))
        self.assertEqual(self.ask().status, 200)
        s.stop()
        s = self.planned(slo_ms=20, **options)  # shorter than the plan can be
        self.assertIn("event=last_plan_refused", s.log())
        s.stop()


if __name__ == "__main__":
    main()
