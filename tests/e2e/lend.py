"""A busy gpu-let has the use of units that its neighbour leaves idle, and loses them when the neighbour wants them."""
import os
import signal
import subprocess
import time
import unittest

from harness import GPULET, Client, Load, Repository, Server, identity_body, main, plan_json, skip, wait_for

PROFILE = """device,model,units,batch,latency_ms
fake,heavy,50,1,40
fake,heavy,100,1,20
fake,light,50,1,2
fake,light,100,1,2
"""


def loop(model):
    def answer(_thread, _number, client):
        r = client.request("POST", "/v2/models/%s/infer" % model, identity_body())
        assert r.status in (200, 503), r
        return str(r.status)
    return answer


class Lend(unittest.TestCase):
    def serve(self, light_batch_ms=2, **options):
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        workload = "model,rate_rps,slo_ms\nheavy,10,1000\nlight,10,100\n"
        for name in ("heavy", "light"):
            self.repository.add(name)
        plan = plan_json([(50, 0, [("heavy", 1, 40)]), (50, 50, [("light", 1, light_batch_ms)])])
        profile = PROFILE.replace("light,50,1,2", "light,50,1,%s" % light_batch_ms)
        self.server = Server(self.repository, plan=self.repository.write(".plan.json", plan),
                             profiles=self.repository.write(".profile.csv", profile),
                             workload=self.repository.write(".workload.csv", workload), **options)
        self.addCleanup(self.server.kill)

    def load(self, model, threads):
        load = Load(self.server.port, threads, loop(model))
        self.addCleanup(load.stop_event.set)
        return load

    def busy(self, model):
        """An open loop that hardly leaves a pause between runs of a millisecond: its gpu-let is busy however slow this program is."""
        bench = subprocess.Popen([GPULET, "bench", "--url", "http://127.0.0.1:%d" % self.server.port, "--model", model, "--rate-rps", "1500",
                                  "--duration-s", "600", "--quiet"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)

        def stop():
            bench.kill()
            bench.wait()
        self.addCleanup(stop)
        return stop

    def borrowed(self):
        return {g["models"][0]["model"]: g["borrowed_units"] for g in self.server.status()["gpulets"]}

    def estimate_ms(self, model="heavy"):
        return next(m["estimate_ms"] for g in self.server.status()["gpulets"] for m in g["models"] if m["model"] == model)

    def test_idle_units_are_lent_and_taken_back(self):
        self.serve()
        heavy = self.load("heavy", 2)
        wait_for(lambda: self.borrowed() == {"heavy": 50, "light": 0}, "units lent")
        self.assertEqual(self.server.metric("gpulet_borrowed_units", index="0"), 50)
        wait_for(lambda: 10 < self.estimate_ms() < 32, "runs on both halves")
        idle_again = self.busy("light")
        wait_for(lambda: self.borrowed()["heavy"] == 0, "units taken back")
        wait_for(lambda: self.estimate_ms() > 35, "runs on its own half")
        self.assertIn("reason=lender_busy", self.server.log())
        idle_again()
        wait_for(lambda: self.borrowed()["heavy"] == 50, "units lent again")
        heavy.stop()
        self.server.stop()

    def test_a_loan_stands_before_it_is_needed(self):
        self.serve()
        wait_for(lambda: self.borrowed() == {"heavy": 50, "light": 0}, "units lent without any load")
        # Before the first run the profile says what to expect: 20 ms for three quarters of the work, 40 for the rest.
        self.assertAlmostEqual(self.estimate_ms(), 1 / (0.75 / 20 + 0.25 / 40), delta=0.1)
        client = Client(self.server.port)
        self.addCleanup(client.close)

        def answer_ms():
            begin = time.monotonic()
            self.assertEqual(client.request("POST", "/v2/models/heavy/infer", identity_body()).status, 200)
            return 1000 * (time.monotonic() - begin)
        wait_for(lambda: answer_ms() < 39, "an answer sooner than on its own units, where it takes 40 ms")
        self.server.stop()

    def serve_three(self, heavy):
        """Three gpu-lets of 30 units; the models named take 40 ms on 30 units, 20 on 60 and 14 on 90, the others 1."""
        models = heavy + ["light", "other_light"][:3 - len(heavy)]
        repository = Repository()
        self.addCleanup(repository.close)
        rows = ["device,model,units,batch,latency_ms"]
        for model in models:
            repository.add(model)
            rows += ["fake,%s,%d,1,%d" % (model, units, ms if model in heavy else 1) for units, ms in ((30, 40), (60, 20), (90, 14))]
        plan = plan_json([(30, 30 * i, [(model, 1, 40 if model in heavy else 1)]) for i, model in enumerate(models)])
        workload = "model,rate_rps,slo_ms\n" + "".join("%s,10,300\n" % model for model in models)
        self.server = Server(repository, plan=repository.write(".plan.json", plan),
                             profiles=repository.write(".profile.csv", "\n".join(rows) + "\n"),
                             workload=repository.write(".workload.csv", workload))
        self.addCleanup(self.server.kill)

    def test_a_loan_goes_to_whom_needs_it(self):
        self.serve_three(["heavy", "other"])
        wait_for(lambda: sorted(self.borrowed().values()) == [0, 0, 30], "one of them has the loan")
        for name in ("heavy", "other", "heavy"):
            load = self.load(name, 2)
            wait_for(lambda: self.borrowed()[name] == 30, "units of light lent to " + name)
            load.stop()
        self.assertIn("reason=wanted", self.server.log())
        self.server.stop()

    def test_who_cannot_use_a_loan_takes_none_away(self):
        until = time.monotonic() + 90
        while not self.is_left_alone():
            if time.monotonic() > until:
                skip("runs of a millisecond take three of them on this machine")

    def is_left_alone(self):
        """False, and nothing is claimed, when light was taken for a heavy model: its runs of a millisecond took three as the machine stood
        still."""
        self.serve_three(["heavy"])
        wait_for(lambda: self.borrowed()["heavy"] == 60, "units of both lent")
        idle_again = self.busy("light")
        heavy = False
        in_time = None  # of light, once units of the idle one are lent

        def over():
            nonlocal heavy, in_time
            status = self.server.status()
            gpulets = {g["models"][0]["model"]: g for g in status["gpulets"]}
            count = next(m["in_time"] for m in status["models"] if m["model"] == "light")
            heavy = gpulets["light"]["models"][0]["estimate_ms"] >= 3 or gpulets["light"]["borrowed_units"] > 0
            if in_time is None and gpulets["heavy"]["borrowed_units"] == 30:
                in_time = count
            return heavy or (in_time is not None and count > in_time + 1000)
        wait_for(over, "units of the idle one lent, and a load for several ticks")
        idle_again()
        if not heavy:
            self.assertNotIn("reason=wanted", self.server.log())
        self.server.stop()
        return not heavy

    def test_a_loan_grows_when_there_is_more(self):
        self.serve_three(["heavy"])
        wait_for(lambda: self.borrowed()["heavy"] == 60, "units of both lent")
        heavy = self.load("heavy", 2)
        idle_again = self.busy("other_light")
        wait_for(lambda: self.borrowed()["heavy"] == 30, "units of the idle one lent")
        idle_again()
        wait_for(lambda: self.borrowed()["heavy"] == 60, "units of both lent again", 30)
        self.assertIn("reason=more", self.server.log())
        heavy.stop()
        self.server.stop()

    def test_a_borrower_that_was_to_go_and_is_kept_after_all(self):
        repository = Repository()
        self.addCleanup(repository.close)
        rows = ["device,model,units,batch,latency_ms"]
        for name, ms in (("heavy", 40), ("light", 1), ("slow", 1)):
            repository.add(name, **({"load_ms": 1500} if name == "slow" else {}))
            rows += ["fake,%s,%d,%d,%d" % (name, units, batch, ms) for units in (20, 50, 60) for batch in (1, 2)]
        light = [("light", 1, 1), ("slow", 1, 1)]
        plans = {batch: plan_json([(50, 0, [("heavy", batch, 40)]), (50, 50, light)]) for batch in (1, 2)}
        self.server = Server(repository, plan=repository.write(".plan.json", plans[1]),
                             profiles=repository.write(".profile.csv", "\n".join(rows) + "\n"),
                             workload=repository.write(".workload.csv", "model,rate_rps,slo_ms\nheavy,10,1000\nlight,10,100\nslow,10,100\n"))
        self.addCleanup(self.server.kill)
        wait_for(lambda: sorted(self.borrowed().values()) == [0, 50], "units lent")
        elsewhere = plan_json([(60, 0, [("heavy", 1, 40)]), (20, 60, light)])
        self.assertEqual(self.server.post("/gpulet/v1/plan?wait=0", elsewhere.encode()).status, 202)
        wait_for(lambda: "reason=plan" in self.server.log(), "units taken back, as another plan is being reached")
        self.assertEqual(self.server.post("/gpulet/v1/plan", plans[2].encode()).status, 200)
        heavy = next(g for g in self.server.status()["gpulets"] if g["units"] == 50 and g["models"][0]["model"] == "heavy")
        self.assertEqual(heavy["models"][0]["batch"], 2)
        client = Client(self.server.port)
        self.addCleanup(client.close)
        self.assertEqual(client.request("POST", "/v2/models/heavy/infer", identity_body()).status, 200)
        self.server.stop()

    def test_a_borrower_without_its_lender_goes_on(self):
        self.serve()
        heavy = self.load("heavy", 2)
        wait_for(lambda: self.borrowed()["heavy"] == 50, "units lent")
        pids = {g["models"][0]["model"]: g["pid"] for g in self.server.status()["gpulets"]}
        os.kill(pids["light"], signal.SIGKILL)
        wait_for(lambda: "reason=lender_gone" in self.server.log(), "taken back when the lender died")
        wait_for(lambda: self.borrowed()["heavy"] == 50, "lent by its successor")
        os.kill(pids["heavy"], signal.SIGKILL)
        wait_for(lambda: self.borrowed()["heavy"] == 50, "lent to its successor", 30)
        heavy.stop()
        self.server.stop()

    def test_a_neighbour_with_long_runs_lends_nothing(self):
        self.serve(light_batch_ms=200)  # more than a tenth of the other's objective
        heavy = self.load("heavy", 2)
        wait_for(lambda: self.server.model_status("heavy")["in_time"] > 50, "load")
        self.assertNotIn("event=lent", self.server.log())
        heavy.stop()
        self.server.stop()

    def test_it_can_be_turned_off(self):
        self.serve(lend="false")
        heavy = self.load("heavy", 2)
        wait_for(lambda: self.server.model_status("heavy")["in_time"] > 50, "load")
        self.assertNotIn("event=lent", self.server.log())
        heavy.stop()
        self.server.stop()


if __name__ == "__main__":
    main()
