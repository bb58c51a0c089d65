"""From one plan to another under load: what can be reached is reached without a gap, and what cannot be reached changes nothing."""
import os
import signal

from harness import GPULET, identity_infer, main, plan_json, script, wait_for
from planned import Case, profile_csv


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


if __name__ == "__main__":
    main()
