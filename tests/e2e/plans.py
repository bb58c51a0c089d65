"""Where plans come from, what happens without one, and what the server refuses to start with."""
import csv
import fcntl
import json
import math
import os
import pty
import re
import socket
import struct
import subprocess
import termios
import time
import xml.etree.ElementTree

from harness import (GPULET, GPULETD, Crowd, Repository, Server, identity_body, identity_infer, main, parameters, plan_json, run, wait_for)
import planned
from planned import profile_csv

DEVICES = """types:
  fake:
    units: 100
    sizes: [25, 50, 75, 100]
    gpulets_max: 4
    memory_mb: 16384
devices:
  fake: 1
"""


class Case(planned.Case):
    def serves_all(self, server, *models):
        for model in models:
            identity_infer(server, model=model)


class Plans(Case):
    def test_a_given_plan_is_what_is_served(self):
        self.add("a", "b", "c", "left-out", latency_ms=1)
        plan = self.write("plan.json", plan_json([(25, 0, [("a", 4, 2)]), (50, 25, [("b", 8, 3), ("c", 2, 3)])]))
        server = self.serve(plan=plan)
        gpulets = {g["units"]: g for g in server.status()["gpulets"]}
        self.assertEqual(sorted(gpulets), [25, 50])
        self.assertEqual([(m["model"], m["batch"]) for m in gpulets[25]["models"] if m["model"] == "a"], [("a", 4)])
        self.assertLessEqual({("b", 8), ("c", 2)}, {(m["model"], m["batch"]) for m in gpulets[50]["models"]})
        self.assertEqual(len({g["pid"] for g in gpulets.values()}), 2)
        self.serves_all(server, "a", "b", "c", "left-out")
        server.stop()

    def test_what_several_copies_in_a_gpu_let_would_give_is_not_planned_with(self):
        self.add("a")
        tempting = "".join("fake,a,%d,%d,2,%g\n" % (units, batch, 2) for units in (25, 50, 75, 100) for batch in (1, 2, 4, 8))
        rows = profile_csv({"a": 20}).replace("batch,latency_ms", "batch,instances,latency_ms", 1)
        single = "".join(line.replace(",%s," % line.split(",")[3], ",%s,1," % line.split(",")[3], 1) + "\n" if i else line + "\n"
                         for i, line in enumerate(rows.splitlines()))
        server = self.serve(profiles=self.write("p.csv", single + tempting), devices=self.write("d.yaml", DEVICES),
                            workload=self.write("w.csv", "model,rate_rps,slo_ms\na,30,400\n"))
        self.assertIn("event=profile_curves_left_out", server.log())
        shares = [m for g in server.status()["gpulets"] for m in g["models"]]
        self.assertGreaterEqual(min(m["estimate_ms"] for m in shares), 20)
        self.serves_all(server, "a")

    def test_from_profiles_and_a_workload_to_gpu_lets(self):
        self.add("a", "b")
        self.repository.add("c", config=parameters(slo_ms=100, rate_rps=20))
        profiles = self.write("p.csv", profile_csv({"a": 2, "b": 4, "c": 1}))
        workload = self.write("w.csv", "model,rate_rps,slo_ms\na,150,60\nb,60,120\n")
        devices = self.write("d.yaml", DEVICES)
        server = self.serve(profiles=profiles, workload=workload, devices=devices, rate_percentile=0)
        status = server.status()
        self.assertTrue(status["feasible"], status)
        self.assertNotIn(status["planner"], ("", "provisional"))
        self.assertLessEqual(sum(g["units"] for g in status["gpulets"]), 100)
        self.assertEqual({(m["model"], m["slo_ms"], m["rate_rps"]) for m in status["models"]},
                         {("a", 60, 150), ("b", 120, 60), ("c", 100, 20)})
        self.serves_all(server, "a", "b", "c")
        plan = self.write("served.json", server.get("/gpulet/v1/plan").body)
        everything = self.write("all.csv", "model,rate_rps,slo_ms\na,150,60\nb,60,120\nc,20,100\n")
        code, out, err = run(GPULET, "plan", "--verify", plan, "--profiles", profiles, "--devices", devices, "--workload", everything)
        self.assertEqual(code, 0, out + err)
        server.stop()

    def test_a_workload_that_is_too_much_is_served_as_well_as_it_goes(self):
        self.add("a", "b")
        profiles = self.write("p.csv", profile_csv({"a": 2, "b": 4}))
        workload = self.write("w.csv", "model,rate_rps,slo_ms\na,100,60\nb,100000,120\n")
        server = self.serve(profiles=profiles, workload=workload, devices=self.write("d.yaml", DEVICES))
        plan = server.get("/gpulet/v1/plan").json()
        self.assertFalse(plan["feasible"])
        self.assertIn("b", plan["reason"])
        self.assertFalse(server.status()["feasible"])
        self.assertIn("plan_infeasible", server.log())
        self.serves_all(server, "a", "b")
        server.stop()

    def test_an_objective_that_no_size_can_meet(self):
        self.add("a", "b")
        profiles = self.write("p.csv", profile_csv({"a": 2, "b": 50}))
        workload = self.write("w.csv", "model,rate_rps,slo_ms\na,100,60\nb,1,20\n")
        server = self.serve(profiles=profiles, workload=workload, devices=self.write("d.yaml", DEVICES))
        plan = server.get("/gpulet/v1/plan").json()
        self.assertFalse(plan["feasible"])
        self.assertIn("b", plan["reason"])
        self.serves_all(server, "a")
        self.assertIn(server.infer("b", identity_body()).status, (200, 503))
        server.stop()

    def test_the_other_planner_and_other_scenarios(self):
        self.add("a", "b")
        profiles = self.write("p.csv", profile_csv({"a": 2, "b": 4}))
        workload = self.write("w.csv", "scenario,model,rate_rps,slo_ms\nlow,a,10,60\nlow,b,10,120\nhigh,a,200,60\nhigh,b,50,120\n")
        for planner, scenario, rate in (("temporal", "low", 10), ("elastic", "high", 200)):
            server = self.serve(profiles=profiles, workload=workload, scenario=scenario, planner=planner,
                                devices=self.write("d.yaml", DEVICES), rate_percentile=0)
            self.assertEqual(server.status()["planner"], planner)
            self.assertEqual(server.model_status("a")["rate_rps"], rate)
            self.serves_all(server, "a", "b")
            server.stop()


class Answers(Case):
    """What `gpulet plan` prints, draws and answers."""

    def setUp(self):
        super().setUp()
        self.profiles = self.write("p.csv", profile_csv({"alpha": 2, "beta": 4}))
        self.devices = self.write("d.yaml", DEVICES)
        self.fits = self.write("w.csv", "model,rate_rps,slo_ms\nalpha,150,60\nbeta,60,120\n")
        self.too_much = self.write("w2.csv", "model,rate_rps,slo_ms\nalpha,900,60\nbeta,900,120\n")

    def words(self, workload, *more):
        return [GPULET, "plan", "--profiles", self.profiles, "--devices", self.devices, "--workload", workload, *more]

    def plan(self, workload, *more, code=0, **env):
        found, out, err = run(*self.words(workload, *more), env={**os.environ, "LC_ALL": "C.UTF-8", "COLUMNS": "90", **env})
        self.assertEqual(found, code, out + err)
        return out if code in (0, 3) else err

    def on_terminal(self, columns, **env):
        """The output on a terminal of so many columns."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        with subprocess.Popen(self.words(self.fits), stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
                              env={**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm", **env}) as process:
            os.close(slave)
            data = b""
            try:
                while chunk := os.read(master, 65536):
                    data += chunk
            except OSError:  # the other side is closed
                pass
            os.close(master)
        self.assertEqual(process.returncode, 0)
        return data.decode().replace("\r\n", "\n")

    def bars(self, text):
        return [line for line in text.split("\n") if line.startswith("fake ")]

    def test_bars_are_as_wide_as_asked_and_in_the_characters_of_the_locale(self):
        for columns in ("60", "90"):
            out = self.plan(self.fits, COLUMNS=columns)
            self.assertEqual({len(line) for line in self.bars(out)}, {int(columns)}, out)
            self.assertIn("│", out)
            self.assertIn("alpha", out)
            self.assertIn("1 device is enough, and no plan can do with fewer.", out)
        out = self.plan(self.fits, LC_ALL="C")
        self.assertTrue(out.isascii(), out)
        self.assertIn("|", out)
        self.assertNotIn("\033", out)

    def test_a_terminal_gets_its_width_and_colours_unless_unwanted(self):
        out = self.on_terminal(70, NO_COLOR="")
        self.assertIn("\033[", out)
        plain = re.sub("\033\\[[0-9;]*m", "", out)
        self.assertEqual({len(line) for line in self.bars(plain)}, {70}, out)
        self.assertNotIn("\033[", self.on_terminal(70, NO_COLOR="1"))
        self.assertNotIn("\033[", self.on_terminal(70, NO_COLOR="", TERM="dumb"))

    def test_the_document_and_the_picture_appear_whole_or_not_at_all(self):
        out, svg = (self.repository.join(".files", name) for name in ("plan.json", "plan.svg"))
        shown = json.loads(self.plan(self.fits, "--json", "--out", out, "--svg", svg))
        with open(out) as f:
            self.assertEqual(json.load(f), shown)
        root = xml.etree.ElementTree.parse(svg).getroot()
        self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
        text = " ".join("".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text"))
        for word in ("alpha", "beta", "1 device is enough"):
            self.assertIn(word, text)
        self.plan(self.fits, "--verify", out)
        for option in ("--out", "--svg"):
            found, shown, err = run(*self.words(self.fits, option, "/nowhere/file"))
            self.assertEqual((found, shown), (1, ""))
            self.assertIn("/nowhere/file", err)
        self.assertFalse([n for n in os.listdir(self.repository.join(".files")) if ".tmp." in n])

    def test_what_does_not_fit_is_3_with_what_would_be_enough(self):
        out = self.plan(self.too_much, code=3)
        self.assertIn("Not enough: ", out)
        self.assertIn("in place of 1", out)
        self.assertTrue(self.bars(out), "the best partial plan is there")
        plan = json.loads(self.plan(self.too_much, "--json", code=3))
        for model in ("alpha", "beta"):
            if any(m["model"] == model for m in plan["advice"]["models"]):
                self.assertIn(model + " ", plan["reason"])
        enough = plan["advice"]["devices"]["fake"]
        self.plan(self.too_much, "--count", str(enough))
        multiple = plan["advice"]["rate_multiple"]
        self.plan(self.too_much, "--what-if", "devices=2", code=3)
        lower = self.write("w3.csv", "model,rate_rps,slo_ms\nalpha,%r,60\nbeta,%r,120\n" % (900 * multiple, 900 * multiple))
        self.plan(lower)
        missing = {m["model"]: m["missing_rps"] for m in plan["advice"]["models"]}
        served = "".join("%s,%r,%r\n" % (m["model"], math.floor((m["rate_rps"] - missing.get(m["model"], 0)) * 10) / 10, m["slo_ms"])
                         for m in plan["models"])
        self.plan(self.write("w5.csv", "model,rate_rps,slo_ms\n" + served), "--verify", self.write("partial.json", json.dumps(plan)))
        brief = json.loads(self.plan(self.too_much, "--json", "--no-advice", code=3))
        self.assertNotIn("advice", brief)
        self.assertNotIn("advice", json.loads(self.plan(self.fits, "--json")))

    def test_what_if_is_the_plan_of_the_changed_input(self):
        changes = ("alpha.rate*2", "devices=3,all.rate*4", "beta.slo=1", "all.slo*2")
        words = [w for change in changes for w in ("--what-if", change)]
        plan = json.loads(self.plan(self.fits, "--json", *words))
        self.assertEqual([v["change"] for v in plan["what_if"]], list(changes))
        same = ("feasible", "devices_used", "lower_bound", "models", "devices", "reason")
        inputs = (("alpha,300,60\nbeta,60,120\n", 1), ("alpha,600,60\nbeta,240,120\n", 3), ("alpha,150,60\nbeta,60,1\n", 1),
                  ("alpha,150,120\nbeta,60,240\n", 1))
        for variant, (rows, count) in zip(plan["what_if"], inputs):
            workload = self.write("changed.csv", "model,rate_rps,slo_ms\n" + rows)
            alone = json.loads(self.plan(workload, "--json", "--count", str(count), code=0 if variant["feasible"] else 3))
            self.assertEqual({k: variant[k] for k in same}, {k: alone[k] for k in same}, variant["change"])
            before = sum(len(d["gpulets"]) for d in plan["devices"])
            after = sum(len(d["gpulets"]) for d in variant["devices"])
            self.assertEqual(variant["gpulets_kept"] + variant["gpulets_stopped"], before)
            self.assertEqual(variant["gpulets_kept"] + variant["gpulets_started"], after)
            self.assertEqual(sum(c["count"] for c in variant["started"]), variant["gpulets_started"])
        self.assertFalse(plan["what_if"][2]["feasible"])
        out = self.plan(self.fits, *words)
        for change in changes:
            self.assertIn(change, out)
        self.assertIn("capacity/s", out)

    def test_the_largest_multiple(self):
        multiple = json.loads(self.plan(self.fits, "--json", "--max-multiple"))["max_multiple"]
        self.assertGreater(multiple, 1)
        for factor, code in ((multiple, 0), (multiple * 1.003, 3)):
            self.plan(self.write("w4.csv", "model,rate_rps,slo_ms\nalpha,%r,60\nbeta,%r,120\n" % (150 * factor, 60 * factor)), code=code)
        self.assertIsNone(json.loads(self.plan(self.fits, "--json", "--max-multiple", "--count", "-1"))["max_multiple"])
        self.assertIn("largest multiple", self.plan(self.fits, "--max-multiple"))

    def test_wrong_questions(self):
        for words in (["--what-if", "alpha.rate*2"], ["--max-multiple"], ["--svg", "x.svg"], ["--out", "x.json"]):
            self.assertIn("--verify", self.plan(self.fits, "--verify", "plan.json", *words, code=2))
        for change in ("alpha", "alpha.rate", "alpha.rate*x", "devices", "alpha.size=3", ""):
            self.assertIn("--what-if", self.plan(self.fits, "--what-if", change, code=2))
        for change, mentions in (("gamma.rate*2", "gamma"), ("devices.tpu=2", "tpu"), ("devices=0", "found 0"), ("alpha.slo=0", "above 0"),
                                 ("devices=1.5", "1.5")):
            err = self.plan(self.fits, "--what-if", change, code=2)
            self.assertIn("--what-if " + change, err)
            self.assertIn(mentions, err)


class Study(Case):
    def study(self, *words, code=0, profiles=None, rates="0,50,200,9000"):
        profiles = profiles or self.write("p.csv", profile_csv({"a": 2, "b": 4}))
        found, out, err = run(GPULET, "study", "--profiles", profiles, "--devices", self.write("d.yaml", DEVICES), "--models", "a,b",
                              "--slo-ms", "a=60,b=120", "--rates", rates, *words)
        self.assertEqual(found, code, out + err)
        return out if code == 0 else err

    def test_every_combination_is_judged_by_every_planner(self):
        path, svg = (self.repository.join(".files", name) for name in ("cases.csv", "cases.svg"))
        result = json.loads(self.study("--planners", "temporal,elastic", "--json", "--csv", path, "--svg", svg))
        xml.etree.ElementTree.parse(svg)
        self.assertEqual(result["scenarios"], 15)
        self.assertEqual(set(result["schedulable"]), {"temporal", "elastic"})
        self.assertEqual(set(result["elapsed_ms"]), {"temporal", "elastic"})
        with open(path) as f:
            rows = list(csv.DictReader(f))
        self.assertEqual([(float(r["a"]), float(r["b"])) for r in rows],
                         [(a, b) for a in (0, 50, 200, 9000) for b in (0, 50, 200, 9000) if a or b])
        for planner in ("temporal", "elastic"):
            for key, word in (("schedulable", "yes"), ("proved_infeasible", "no"), ("missed", "missed"), ("open", "open")):
                self.assertEqual(result[key][planner], sum(r[planner] == word for r in rows), (key, planner))
        self.assertTrue(all(r["elastic"] == "no" for r in rows if "9000" in (r["a"], r["b"])), "the bound excludes those")
        self.assertGreater(result["schedulable"]["elastic"], 0)

    def test_for_people_and_on_any_number_of_threads(self):
        out = self.study("--planners", "elastic")
        self.assertIn("15 scenarios", out)
        self.assertIn("elastic", out)
        paths = [self.repository.join(".files", "cases%d.csv" % n) for n in (1, 5)]
        for n, path in zip((1, 5), paths):
            self.study("--threads", str(n), "--csv", path)
        texts = []
        for path in paths:
            with open(path) as f:
                texts.append(f.read())
        self.assertEqual(texts[0], texts[1])

    def test_wrong_usage_and_failures_write_nothing(self):
        path = self.repository.join(".files", "cases.csv")
        for words, mentions in ((["--slo-ms", "a=60"], "--slo-ms"), (["--rates", "1,x"], "'x'"), (["--planners", "elastic,nobody"], "nobody"),
                                (["--models", "a,a"], "--models"), (["--count", "0"], "count"), (["--format", "xml"], "xml"),
                                (["--models", "elastic", "--slo-ms", "elastic=1"], "--csv")):
            self.assertIn(mentions, self.study("--csv", path, *words, code=2))
        self.assertIn("p1.csv", self.study("--csv", path, code=1, profiles=self.write("p1.csv", profile_csv({"a": 2}))))
        self.assertFalse(os.path.exists(path))
        self.assertIn("/nowhere", self.study("--csv", "/nowhere/cases.csv", code=1))
        code, _, err = run(GPULET, "study")
        self.assertEqual(code, 2)
        self.assertIn("--profiles", err)


class Calibration(Case):
    def measured(self, server):
        wait_for(lambda: server.status()["replans"] >= 1, "planned anew")

    def test_unknown_models_are_served_measured_planned_and_remembered(self):
        self.add("a", "b", latency_ms=1, latency_ms_per_item=0.5)
        store = self.repository.join(".files", "store.db")
        os.makedirs(os.path.dirname(store))
        options = {"calibrate": "true", "calibrate_seconds": 1, "fake_devices": "fake:2:1", "store": store}
        server = self.serve(**options)
        self.serves_all(server, "a", "b")
        self.measured(server)
        status = server.status()
        self.assertNotEqual(status["planner"], "provisional")
        self.serves_all(server, "a", "b")
        self.assertIn("event=measured model=a", server.log())
        server.note_workers()
        server.stop()

        server = self.serve(**options)
        self.assertNotEqual(server.status()["planner"], "provisional")
        self.assertIn("event=profiles_from_store", server.log())
        self.serves_all(server, "a", "b")
        self.assertEqual(server.status()["replans"], 0)
        self.assertNotIn("event=measured", server.log())
        server.stop()

        path = self.repository.join("b", "1", "model.onnx")
        os.unlink(path)
        self.add("b", latency_ms=2, latency_ms_per_item=0.5)
        server = self.serve(**options)
        self.measured(server)
        self.assertIn("event=measured model=b", server.log())
        self.assertNotIn("event=measured model=a", server.log())
        self.serves_all(server, "a", "b")
        server.stop()

    def test_an_unknown_model_is_not_believed_to_be_quick(self):
        """Nothing is known of it but how long a run took as it was loaded: that is enough not to promise what cannot be."""
        self.add("slow", latency_ms=600, config=parameters(slo_ms=500))
        self.add("quick", latency_ms=2, config=parameters(slo_ms=500))
        server = self.serve()
        self.assertEqual(server.status()["planner"], "provisional")
        estimates = {m["model"]: m["estimate_ms"] for g in server.status()["gpulets"] for m in g["models"]}
        self.assertGreaterEqual(estimates["slow"], 600)
        self.assertLess(estimates["quick"], 500)
        begin = time.monotonic()
        tried = refused = 0
        while refused < 6:
            r = server.post("/v2/models/slow/infer", identity_body())
            if r.status == 200:
                tried += 1
                self.assertLessEqual(tried, 1 + (time.monotonic() - begin) / 1.0, "one in a second is let in to see whether it is so")
                continue
            self.assertEqual(r.status, 503, r)
            self.assertIn("predicted_late", r.error())
            refused += 1
        self.serves_all(server, "quick")
        server.stop()

    def test_a_busy_machine_is_told_of(self):
        crowd = Crowd()
        self.addCleanup(crowd.close)
        self.add("a", latency_ms=5)
        server = self.serve(calibrate="true", calibrate_seconds=2, fake_devices="fake:2:1")
        wait_for(lambda: "event=calibration_end" in server.log(), "measured")
        wait_for(lambda: "event=measured_on_a_busy_machine others_percent=" in server.log(), "a warning")
        server.stop()

    def test_nothing_is_measured_when_it_is_not_wanted(self):
        self.add("a")
        server = self.serve()
        self.serves_all(server, "a")
        self.assertEqual((server.status()["planner"], server.status()["replans"]), ("provisional", 0))
        self.assertNotIn("event=calibration_begin", server.log())
        server.stop()

    def test_stopped_in_the_middle_of_measuring(self):
        self.add("a", "b", latency_ms=20)
        server = self.serve(calibrate="true", calibrate_seconds=20)
        wait_for(lambda: "event=measured" in server.log(), "measuring")
        server.note_workers()
        server.stop()


class BadModels(Case):
    def bad(self):
        self.repository.add("unknown-key", "latency=5\n")
        os.makedirs(self.repository.join("no-version"), exist_ok=True)
        self.repository.add("bad-config", config="max_batch_size: many\n")
        self.repository.add("bad-dims", config='input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ 17 ] } ]\n')
        self.repository.add("bad-name", config='name: "other"\n')
        self.repository.add("bad-backend", config='backend: "python"\n')
        self.repository.add("bad-slo", config=parameters(slo_ms="soon"))
        self.repository.write("no-file/1/README", "nothing")
        return ["unknown-key", "no-version", "bad-config", "bad-dims", "bad-name", "bad-backend", "bad-slo", "no-file"]

    def refused(self, code=1, **options):
        server = Server(self.repository, wait=False, **options)
        self.addCleanup(server.kill)
        self.assertEqual(server.wait_exit(), code, server.log())
        self.assertEqual(server.lines, [])
        message = server.log().strip().splitlines()[-1]
        self.assertTrue(message.startswith("gpuletd: "), server.log())
        return message

    def test_each_is_refused_by_name(self):
        for name in self.bad():
            folder = self.repository.path
            alone = Repository()
            try:
                os.rename(os.path.join(folder, name), alone.join(name))
                alone.add("good")
                server = Server(alone, wait=False)
                self.addCleanup(server.kill)
                self.assertEqual(server.wait_exit(), 1, name)
                message = server.log().strip().splitlines()[-1]
                self.assertTrue(message.startswith("gpuletd: "), message)
                self.assertIn(name, message)
            finally:
                alone.close()

    def test_the_rest_is_served_when_that_is_wanted(self):
        bad = self.bad()
        self.add("good")
        server = self.serve(skip_bad_models="true")
        self.serves_all(server, "good")
        index = {m["name"]: m for m in server.post("/v2/repository/index").json()}
        self.assertEqual(index["good"]["state"], "READY")
        for name in bad:
            self.assertEqual(index[name]["state"], "UNAVAILABLE", name)
            self.assertTrue(index[name]["reason"], name)
            self.assertIn(server.get("/v2/models/%s/ready" % name).status, (400, 404))
            self.assertIn(server.infer(name, identity_body()).status, (400, 404))
            self.assertIn(server.get("/v2/models/%s" % name).status, (400, 404))
        ready = server.post("/v2/repository/index", b'{"ready":true}').json()
        self.assertEqual([m["name"] for m in ready], ["good"])
        server.stop()

    def test_a_model_that_does_not_load(self):
        self.add("good")
        self.repository.add("broken", fail_load="its weights are upside down")
        message = self.refused()
        self.assertIn("broken", message)
        self.assertIn("upside down", message)
        server = self.serve(skip_bad_models="true")
        self.serves_all(server, "good")
        index = {m["name"]: m for m in server.post("/v2/repository/index").json()}
        self.assertEqual(index["broken"]["state"], "UNAVAILABLE")
        self.assertIn("upside down", index["broken"]["reason"])
        self.assertIn(server.infer("broken", identity_body()).status, (400, 503))
        server.stop()

    def test_a_model_that_takes_too_long_to_load(self):
        self.add("good")
        self.repository.add("endless", load_ms=60000)
        self.assertIn("endless", self.refused(load_limit_s=1))


class Refusals(Case):
    def refused(self, code, *words, **options):
        server = Server(self.repository, *words, wait=False, **options)
        self.addCleanup(server.kill)
        found = server.wait_exit()
        lines = server.log().strip().splitlines()
        self.assertEqual(found, code, "%s %s: %s" % (words, options, lines))
        self.assertEqual(server.lines, [])
        self.assertTrue(lines[-1].startswith("gpuletd: "), lines)
        server.check_nothing_left()
        return lines[-1]

    def test_wrong_usage_is_2(self):
        self.add("a")
        for words, mentions in ((["--no-such-option"], "no-such-option"), (["--http-port=abc"], "http-port"), (["--http-port=70000"], "http-port"),
                                (["--http-port=-1"], "http-port"), (["--latency-margin=0.5"], "latency-margin"), (["word"], "word"),
                                (["--calibrate=perhaps"], "calibrate"), (["--requests-max"], "requests-max"),
                                (["--run-limit-s=nan"], "run-limit-s")):
            self.assertIn(mentions, self.refused(2, *words))
        code, out, err = run(GPULETD)
        self.assertEqual((code, out), (2, ""))
        self.assertIn("model-repository", err)

    def test_what_is_not_there_is_1(self):
        self.assertIn("no model", self.refused(1))
        self.add("a")
        profile = self.write("p.csv", profile_csv({"a": 2}))
        cases = (
            ({"engine": "steam"}, "steam"), ({"device": "quantum"}, "quantum"), ({"planner": "wishful"}, "wishful"),
            ({"profiles": "/nowhere/p.csv"}, "/nowhere/p.csv"), ({"workload": "/nowhere/w.csv"}, "/nowhere/w.csv"),
            ({"plan": "/nowhere/plan.json"}, "/nowhere/plan.json"), ({"devices": "/nowhere/d.yaml"}, "/nowhere/d.yaml"),
            ({"worker_program": "/nowhere/worker"}, "/nowhere/worker"), ({"log_level": "loud"}, "loud"),
            ({"fake_devices": "fake:zero"}, "fake"), ({"address": "999.1.1.1"}, "999.1.1.1"),
            ({"workload": self.write("w1.csv", "model,rate_rps,slo_ms\nnobody,1,10\n")}, "nobody"),
            ({"workload": self.write("w2.csv", "model,rate_rps,slo_ms\na,1,10\na,fast,10\n")}, "w2.csv:3"),
            ({"workload": self.write("w3.csv", "model,rate\na,1\n")}, "w3.csv"),
            ({"profiles": self.write("p1.csv", "device,model,units,batch,latency_ms\nfake,a,100,1,2\nfake,a,100,1,3\n")}, "p1.csv:3"),
            ({"profiles": self.write("p2.csv", "device,model,units,batch,latency_ms\nfake,a,100,1,soon\n")}, "p2.csv:2"),
            ({"plan": self.write("plan1.json", "{")}, "plan1.json"),
            ({"plan": self.write("plan2.json", plan_json([(100, 0, [("nobody", 1, 1)])]))}, "nobody"),
            ({"plan": self.write("plan3.json", plan_json([(100, 0, [("a", 1, 1)])], device="tpu"))}, "tpu"),
            ({"plan": self.write("plan4.json", plan_json([(60, 0, [("a", 1, 1)]), (60, 0, [("a", 1, 1)])]))}, ""),
            ({"devices": self.write("d.yaml", "types: [1, 2]\n"), "profiles": profile}, "d.yaml"),
            ({"store": self.write("store.db", "this is no database, and long enough to be seen as none " * 40)}, "store.db"),
        )
        for options, mentions in cases:
            with self.subTest(str(options)):
                self.assertIn(mentions, self.refused(1, **options))
        with open(self.repository.join(".files", "store.db")) as f:
            self.assertTrue(f.read().startswith("this is no database"), "a foreign file was overwritten")
        code, _, err = run(GPULETD, "--model-repository=/nowhere/models", "--engine=fake", "--device=fake", "--store=none")
        self.assertEqual(code, 1)
        self.assertIn("/nowhere/models", err)

    def test_a_port_that_is_taken(self):
        self.add("a")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.assertIn(str(port), self.refused(1, http_port=port))
            self.assertIn(str(port), self.refused(1, metrics_port=port))

    def test_help_and_version(self):
        code, out, _ = run(GPULETD, "--help")
        self.assertEqual(code, 0)
        for option in ("--model-repository", "--http-port", "--plan", "--profiles", "--workload", "--skip-bad-models"):
            self.assertIn(option, out)
        code, out, _ = run(GPULETD, "--version")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^gpuletd \d+\.\d+\.\d+")


class Config(Case):
    def test_settings_from_a_file_and_the_command_line_wins(self):
        self.add("a")
        config = self.write("gpulet.yaml", "# settings\nmodel-repository: %s\nengine: fake\ndevice: fake\nstore: none\ncalibrate: false\n"
                            "http-port: 0\nmetrics-port: 0\nbatch-max: 7\nhttp-body-mb-max: 1\n" % self.repository.path)
        server = Server(None, "--config=" + config, "--batch-max=9", wait=True, http_port=None, metrics_port=None, engine=None,
                        device=None, store=None, calibrate=None)
        self.addCleanup(server.kill)
        self.assertEqual(int(server.get("/v2/models/a/config").json()["max_batch_size"]), 9)
        self.assertEqual(server.post("/v2/models/a/infer", b"x" * (2 << 20)).status, 413)
        server.stop()

    def test_errors_name_file_and_line(self):
        self.add("a")
        for text, line, mentions in (("engine: fake\nno-such: 1\n", 2, "no-such"), ("\n\nhttp-port: many\n", 3, "http-port"),
                                     ("engine: fake\nplanner: [a, b]\n", 2, "planner"), ("- a\n- b\n", 1, ""),
                                     ("engine: fake\n  bad: indent: here\n", 2, ""), ("batch-max: 0\n", 1, "batch-max")):
            config = self.write("gpulet.yaml", text)
            code, out, err = run(GPULETD, "--config=" + config, "--model-repository=" + self.repository.path)
            self.assertEqual((code, out), (2, ""), err)
            self.assertIn("gpulet.yaml:%d" % line, err)
            self.assertIn(mentions, err)
        code, _, err = run(GPULETD, "--config=/nowhere/gpulet.yaml")
        self.assertIn(code, (1, 2))
        self.assertIn("/nowhere/gpulet.yaml", err)


if __name__ == "__main__":
    main()
