"""The command line: exit codes, JSON for programs, errors that say where."""
import contextlib
import csv
import http.server
import json
import math
import os
import re
import sqlite3
import subprocess
import threading
import time
import unittest

from harness import (BIN, GPULET, Crowd, Repository, Server, identity_infer, main, parameters, run, sanitized)

DEVICES = """types:
  card:
    units: 7
    sizes: [1, 2, 3, 4, 7]
    gpulets_max: 7
    models_max: 1
    memory_mb: 81920
    isolated: true
devices:
  card: -1
"""
PLAN_FIELDS = {"planner", "feasible", "devices_used", "lower_bound", "proved_optimal", "elapsed_ms", "models", "devices", "reason"}


def profile_csv():
    lines = ["# measured", "device,model,units,batch,latency_ms,memory_mb,remark", ""]
    for model, ms in (("small", 2.0), ("large", 12.0)):
        for units in (1, 2, 3, 4, 7):
            for batch in (1, 2, 4, 8):
                lines.append("card,%s,%d,%d,%.4f,%d,x" % (model, units, batch, ms * 7 / units * (0.4 + 0.6 * batch) / 7 + 1, 100 * batch))
    return "\n".join(lines) + "\n"


class Case(unittest.TestCase):
    def setUp(self):
        self.repository = Repository()
        self.addCleanup(self.repository.close)

    def write(self, name, text):
        return self.repository.write(os.path.join(".files", name), text)

    def gpulet(self, *words, code=0, **args):
        found, out, err = run(GPULET, *words, **args)
        self.assertEqual(found, code, "gpulet %s\n%s\n%s" % (" ".join(words), out, err))
        return out if code in (0, 3) else err


class General(Case):
    def test_help_and_version(self):
        out = self.gpulet("--help")
        for command in ("plan", "study", "slo", "fit", "profile", "bench", "status", "models", "doctor"):
            self.assertIn(command, out)
            text = self.gpulet(command, "--help")
            self.assertIn("Usage: gpulet " + command, text)
            self.assertIn("--json", text)

    def test_the_three_programs_say_what_they_are_built_of(self):
        for program in ("gpulet", "gpuletd", "gpulet-worker"):
            code, out, err = run(os.path.join(BIN, program), "--version")
            self.assertEqual((code, err), (0, ""))
            self.assertRegex(out, r"^%s \d+\.\d+\.\d+ \([0-9A-Za-z.-]+, preset [a-z]+, [A-Za-z]+, sanitizers: (none|[a-z,]+)\)\n" % program)
            devices, engines = (dict(line.split(": ") for line in out.splitlines()[1:])[key].split() for key in ("devices", "engines"))
            self.assertLessEqual({"cpu", "mps", "fake"}, set(devices))
            self.assertLessEqual({"ort", "fake"}, set(engines))
            self.assertEqual("sanitizers: none" not in out, sanitized())
            folder = os.path.basename(os.path.dirname(os.path.abspath(BIN)))
            if folder in ("dev", "release", "asan", "tsan", "cov"):
                self.assertIn("preset %s," % folder, out)

    def test_wrong_usage_is_2_and_says_what_was_wrong(self):
        self.gpulet(code=2)
        self.assertIn("dance", self.gpulet("dance", code=2))
        for words, mentions in ((("plan",), "--profiles"), (("plan", "--no-such"), "no-such"), (("plan", "--latency-margin", "x"), "latency-margin"),
                                (("bench", "--rate-rps", "-5", "--model", "m"), "rate-rps"), (("bench", "--min-attainment", "0", "--model", "m"), "min-attainment"),
                                (("sim", "--min-attainment", "1.5"), "min-attainment"), (("profile",), "--model-repository"), (("fit",), "--pairs"), (("fit", "--pairs", "p", "--kind", "best"), "auto"),
                                (("fit", "--pairs", "p"), "--profiles"), (("fit", "--pairs", "p", "--train", "1"), "train"),
                                (("status", "word"), "word"), (("status", "--url", "ftp://nothing"), "--url"), (("models", "--url", "host:0"), "--url"),
                                (("models", "load", "m", "--url", "host:x"), "--url"), (("bench", "--model", "m", "--url", "ftp://nothing"), "--url"),
                                (("plan", "--profiles", "p", "--workload", "w", "--device", "nosuch"), "--device"),
                                (("sim", "--profiles", "p", "--workload", "w", "--device", "nosuch"), "--device"),
                                (("slo", "--profiles", "p", "--device", "nosuch"), "--device"),
                                (("study", "--profiles", "p", "--models", "m", "--slo-ms", "m=1", "--rates", "1", "--device", "nosuch"), "--device"),
                                (("plan", "--profiles", "p", "--workload", "w", "--json", "--out", "-"), "--out -"),
                                (("plan", "--profiles", "p", "--workload", "w", "--json", "--svg", "-"), "--svg -"),
                                (("sim", "--profiles", "p", "--workload", "w", "--json", "--series", "-"), "--series -"),
                                (("study", "--profiles", "p", "--models", "m", "--slo-ms", "m=1", "--rates", "1", "--json", "--csv", "-"), "--csv -"),
                                (("profile", "--model-repository", "/", "--json", "--out", "-"), "--out -"), (("bench",), "--model"), (("plan", "--profiles"), "profiles")):
            self.assertIn(mentions, self.gpulet(*words, code=2))


class Plan(Case):
    def setUp(self):
        super().setUp()
        self.profiles = self.write("p.csv", profile_csv())
        self.devices = self.write("d.yaml", DEVICES)
        self.workload = self.write("w.csv", "model,rate_rps,slo_ms\nsmall,1500,50\nlarge,200,120\n")

    def words(self, *more, **replaced):
        files = {"profiles": self.profiles, "devices": self.devices, "workload": self.workload, **replaced}
        return ["plan"] + [w for key, value in files.items() if value is not None for w in ("--" + key, value)] + list(more)

    def test_json_has_the_promised_fields_and_keeps_its_promises(self):
        plan = json.loads(self.gpulet(*self.words("--json")))
        self.assertLessEqual(PLAN_FIELDS, set(plan))
        self.assertTrue(plan["feasible"])
        self.assertIsNone(plan["reason"])
        self.assertEqual(plan["devices_used"], len(plan["devices"]))
        self.assertGreaterEqual(plan["devices_used"], math.ceil(plan["lower_bound"] - 1e-6))
        capacity = {}
        for device in plan["devices"]:
            self.assertLessEqual(sum(g["units"] for g in device["gpulets"]), 7)
            for g in device["gpulets"]:
                for m in g["models"]:
                    self.assertAlmostEqual(m["worst_ms"], g["duty_ms"] + m["latency_ms"], places=3)
                    self.assertLessEqual(m["worst_ms"], {"small": 50, "large": 120}[m["model"]] + 1e-6)
                    capacity[m["model"]] = capacity.get(m["model"], 0) + m["capacity_rps"]
        self.assertGreaterEqual(capacity["small"], 1500 - 1e-3)
        self.assertGreaterEqual(capacity["large"], 200 - 1e-3)
        for m in plan["models"]:
            self.assertLessEqual({"model", "rate_rps", "slo_ms", "capacity_rps"}, set(m))

    def test_for_people(self):
        out = self.gpulet(*self.words())
        self.assertIn("small", out)
        self.assertIn("device", out)

    def test_every_planner_makes_plans_that_the_verifier_takes(self):
        for planner in ("temporal", "even", "selftune", "greedy", "elastic", "exhaustive", "optimal"):
            out = self.gpulet(*self.words("--json", "--planner", planner))
            path = self.write("plan.json", out)
            self.gpulet(*self.words("--verify", path))
            self.assertEqual(json.loads(self.gpulet(*self.words("--verify", path, "--json")))["verified"], True)
            self.assertEqual(json.loads(out)["planner"], planner)

    def test_applications_are_planned_by_shares_of_their_slo(self):
        apps = self.write("a.yaml", "apps:\n  app: {slo_ms: 150, rate_rps: 90, stages: {x: {model: small}, y: {model: large, after: [x]}, "
                                    "z: {model: large, after: [x], requests: 2}}}\n")
        for workload, direct in ((None, 0), (self.workload, 1500)):
            out = self.gpulet(*self.words("--json", "--apps", apps, workload=workload))
            plan = json.loads(out)
            self.assertTrue(plan["feasible"])
            (app,) = plan["apps"]
            self.assertEqual((app["app"], app["slo_ms"], app["rate_rps"]), ("app", 150, 90))
            self.assertEqual([(t["stage"], t["model"]) for t in app["stages"]], [("x", "small"), ("y", "large"), ("z", "large")])
            share = {t["stage"]: t["share_ms"] for t in app["stages"]}
            self.assertLessEqual(share["x"] + max(share["y"], share["z"]), 150 + 1e-6)
            for t in app["stages"]:
                self.assertLessEqual(t["worst_ms"], t["share_ms"] + 1e-6)
            rates = {m["model"]: m["rate_rps"] for m in plan["models"]}
            self.assertEqual(rates, {"small": 90 + direct, "large": 270 + (200 if direct else 0)})
            # The same command verifies what it made.
            self.gpulet(*self.words("--apps", apps, "--verify", self.write("plan.json", out), workload=workload))
        text = self.gpulet(*self.words("--apps", apps, workload=None))
        self.assertIn("app: 90 requests/s within 150 ms", text)
        self.assertIn("longest way", text)
        table = self.write("a.csv", "app,slo_ms,rate_rps,stage,model,after,requests\napp,150,90,x,small,,\napp,,,y,large,x,\napp,,,z,large,x,2\n")
        self.assertEqual(self.gpulet(*self.words("--apps", table, workload=None)), text)
        for content, error in (("apps: {a: {slo_ms: 1}}", "a.yaml:1: stages: expected"),
                               ("apps: {a: {slo_ms: 9, stages: {x: {model: small}}}}", "application a: rate_rps: expected one"),
                               ("apps: {a: {slo_ms: 9, rate_rps: 1, stages: {x: {model: none}}}}", "no row of none")):
            self.assertIn(error, self.gpulet(*self.words("--apps", self.write("a.yaml", content), workload=None), code=1))

    def test_from_a_running_plan(self):
        self.assertIn("--from", self.gpulet(*self.words("--planner", "incremental"), code=2))
        running = self.write("running.json", self.gpulet(*self.words("--json")))
        for planner in ("elastic", "optimal", "incremental"):
            plan = json.loads(self.gpulet(*self.words("--json", "--planner", planner, "--from", running)))
            self.assertEqual({"gpulets_started", "gpulets_stopped", "models_loaded", "devices_added", "devices_removed"},
                             set(plan["movement"]))
        self.assertEqual(0, sum(plan["movement"].values()))
        more = self.write("more.csv", "model,rate_rps,slo_ms\nsmall,3000,50\nlarge,600,120\n")
        words = self.words("--planner", "incremental", "--from", running, "--count", "-1", workload=more)
        self.assertIn("From the running plan:", self.gpulet(*words))
        self.assertGreater(json.loads(self.gpulet(*words, "--json"))["movement"]["gpulets_started"], 0)

    def test_a_time_limit_ends_the_search(self):
        plan = json.loads(self.gpulet(*self.words("--json", "--time-limit-s", "0.001")))
        self.assertEqual("optimal", plan["planner"])
        self.assertTrue(plan["feasible"])
        self.assertIn("optimal", self.gpulet(*self.words("--planner", "greedy", "--time-limit-s", "1"), code=2))

    def test_the_default_planner_follows_the_options(self):
        self.assertEqual("optimal", json.loads(self.gpulet(*self.words("--json")))["planner"])
        self.assertEqual("elastic", json.loads(self.gpulet(*self.words("--json", "--elastic", "paper")))["planner"])
        self.assertIn("elastic", self.gpulet(*self.words("--planner", "optimal", "--elastic", "paper"), code=2))

    def test_the_same_inputs_give_the_same_plan(self):
        def without_time(text):
            plan = json.loads(text)
            del plan["elapsed_ms"]
            return plan
        self.assertEqual(without_time(self.gpulet(*self.words("--json"))), without_time(self.gpulet(*self.words("--json"))))

    def test_infeasible_is_3_and_says_what_is_missing(self):
        out = json.loads(self.gpulet(*self.words("--json", "--count", "1", workload=self.write("w2.csv", "model,rate_rps,slo_ms\nsmall,90000,50\n")),
                                     code=3))
        self.assertFalse(out["feasible"])
        self.assertIn("small", out["reason"])
        self.assertTrue(out["devices"], "the best partial plan is still there")
        self.assertGreater(out["lower_bound"], 1)
        out = json.loads(self.gpulet(*self.words("--json", workload=self.write("w3.csv", "model,rate_rps,slo_ms\nlarge,1,1\n")), code=3))
        self.assertIsNone(out["lower_bound"])
        self.assertIn("large", out["reason"])

    def test_an_empty_workload_needs_nothing(self):
        text = self.gpulet(*self.words("--json", workload=self.write("w0.csv", "model,rate_rps,slo_ms\n")))
        self.assertNotIn("-0", text)
        out = json.loads(text)
        self.assertTrue(out["feasible"])
        self.assertEqual((out["devices_used"], out["devices"]), (0, []))

    def test_a_tampered_plan_does_not_verify(self):
        plan = json.loads(self.gpulet(*self.words("--json")))
        for name, change in (
                ("batch", lambda g, m: m.update(batch=m["batch"] * 2, latency_ms=m["latency_ms"])),
                ("latency", lambda g, m: m.update(latency_ms=m["latency_ms"] / 2)),
                ("rate", lambda g, m: m.update(rate_rps=m["rate_rps"] * 10)),
                ("units", lambda g, m: g.update(units=5)),
                ("duty", lambda g, m: g.update(duty_ms=g["duty_ms"] / 2)),
                ("model", lambda g, m: m.update(model="nobody")),
                ("too many units", lambda g, m: g.update(units=7))):
            bad = json.loads(json.dumps(plan))
            g = bad["devices"][0]["gpulets"][0]
            change(g, g["models"][0])
            if name == "too many units" and len(bad["devices"][0]["gpulets"]) == 1:
                continue
            code, out, err = run(GPULET, *self.words("--verify", self.write("bad.json", json.dumps(bad))))
            self.assertIn(code, (1, 3), "%s: %s%s" % (name, out, err))
        empty = json.loads(json.dumps(plan))
        empty["devices"] = []
        self.gpulet(*self.words("--verify", self.write("bad.json", json.dumps(empty))), code=3)

    def test_errors_name_file_line_and_field(self):
        cases = (
            (dict(profiles="/nowhere.csv"), "/nowhere.csv"),
            (dict(profiles=self.write("p1.csv", "device,model,units,batch\ncard,a,1,1\n")), "latency_ms"),
            (dict(profiles=self.write("p2.csv", "device,model,units,batch,latency_ms\ncard,small,1,1,2\ncard,small,one,1,2\n")), "p2.csv:3"),
            (dict(profiles=self.write("p3.csv", "device,model,units,batch,latency_ms,batch\n")), "p3.csv:1"),
            (dict(profiles=self.write("p4.csv", "device,model,units,batch,latency_ms\ncard,small,1,1,-2\n")), "p4.csv:2"),
            (dict(workload=self.write("w4.csv", "model,rate_rps,slo_ms\nsmall,nan,5\n")), "w4.csv:2"),
            (dict(workload=self.write("w5.csv", "model,rate_rps,slo_ms\nsmall,1,5\nsmall,2,5\n")), "w5.csv:3"),
            (dict(workload=self.write("w6.csv", "model,rate_rps,slo_ms\nunknown,1,50\n")), "unknown"),
            (dict(devices=self.write("d1.yaml", "types:\n  card:\n    units: many\n")), "d1.yaml:3"),
            (dict(devices=self.write("d2.yaml", "types:\n  other:\n    units: 1\n    sizes: [1]\n    gpulets_max: 1\n    memory_mb: 1\n")), ""),
            (dict(devices=self.write("d3.yaml", "types: {")), "d3.yaml"),
        )
        for replaced, mentions in cases:
            with self.subTest(str(replaced)):
                err = self.gpulet(*self.words(**replaced), code=1)
                self.assertIn(mentions, err)
                self.assertTrue(err.startswith("gpulet plan: "), err)
        self.assertIn("elastic", self.gpulet(*self.words("--planner", "nobody"), code=2))
        self.gpulet(*self.words("--count", "0"), code=2)
        self.gpulet(*self.words("--count", "some"), code=2)
        self.gpulet(*self.words("--verify", "/nowhere.json"), code=1)

    def test_scenarios_margins_and_fractions(self):
        workload = self.write("ws.csv", "scenario,model,rate_rps,slo_ms\nlow,small,10,50\nhigh,small,30000,50\n")
        used = {}
        for scenario in ("low", "high"):
            used[scenario] = json.loads(self.gpulet(*self.words("--json", "--scenario", scenario, workload=workload)))["devices_used"]
        self.assertLess(used["low"], used["high"])
        plain = json.loads(self.gpulet(*self.words("--json")))
        wide = json.loads(self.gpulet(*self.words("--json", "--latency-margin", "1.5")))
        self.assertGreaterEqual(wide["devices_used"], plain["devices_used"])
        self.gpulet(*self.words("--json", "--slo-fraction", "0.05"), code=3)


    def test_output_that_is_lost_is_a_failure(self):
        plan = self.write("plan.json", self.gpulet(*self.words("--json")))
        pairs = self.write("pairs.csv", "device,model,units,batch,other_model,other_units,other_batch,slowdown\n" +
                           "".join("card,small,3,%d,large,4,%d,1.%d\n" % (a, b, a + b) for a in (1, 2, 4, 8) for b in (1, 2, 4, 8)))
        sim = ["sim", "--profiles", self.profiles, "--devices", self.devices, "--workload", self.workload, "--duration-s", "1"]
        fit = ["fit", "--pairs", pairs, "--kind", "constant"]
        verify = self.words("--verify", plan)
        for words in (sim, sim + ["--json"], fit, fit + ["--json"], verify, verify + ["--json"], self.words(), self.words("--help"), ["--version"], ["doctor"]):
            with self.subTest(" ".join(words[:1] + words[-1:])), open("/dev/full", "w") as full:
                done = subprocess.run([GPULET] + words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn("standard output: No space left", done.stderr)


class Foreign(Case):
    """A server that is none of ours, with one model."""

    def serve(self, infer, pages=lambda path: None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, body, status=200):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                tensor = {"datatype": "FP32", "shape": [-1, 4]}
                page = {"name": "m", "inputs": [dict(tensor, name="I")], "outputs": [dict(tensor, name="O")]} if self.path == "/v2/models/m" \
                    else pages(self.path)
                self.answer(json.dumps(page or {}).encode(), 200 if page else 404)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                infer()
                self.answer(b"{}")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return ["bench", "--url", "http://127.0.0.1:%d" % server.server_port, "--model", "m", "--rate-rps", "20", "--arrivals", "uniform",
                "--duration-s", "0.2", "--warmup-s", "0", "--json"]

    def test_bench_waits_as_long_as_an_answer_may_take(self):
        words = self.serve(lambda: time.sleep(6))
        m = json.loads(self.gpulet(*words, "--slo-ms", "7000"))["models"][0]
        self.assertGreater(m["offered"], 2)
        self.assertEqual((m["in_time"], m["failed"]), (m["offered"], 0), m["error"])

    def test_what_a_server_does_not_say_of_itself_is_null(self):
        report = json.loads(self.gpulet(*self.serve(lambda: None)))
        self.assertEqual([report[key] for key in ("trace_hash", "devices_time_avg", "replans")], [None] * 3)
        self.assertEqual(report["models"][0]["failed"], 0)

    def test_what_a_server_says_of_itself_before_and_after_is_compared(self):
        calm = {"uptime_s": 100.5, "replans": 7, "devices_used": 2, "next": 12, "transition": None}
        under_way = {"reason": "burst", "since_ms": 5.0, "starting": 1, "loading": 0}
        cases = (({"uptime_s": 110.5}, (2.0, 0)),
                 ({"uptime_s": 110.5, "replans": 9, "next": 14}, (None, 2)),
                 ({"uptime_s": 110.5, "next": 13}, (None, 0)),  # there may have been more devices for a while
                 ({"uptime_s": 110.5, "devices_used": 3}, (None, 0)),
                 ({"uptime_s": 110.5, "transition": under_way}, (None, 0)),
                 ({"uptime_s": 9.5}, (None, None)))  # another process
        for change, expected in cases:
            looks = [calm, {**calm, **change}]

            def pages(path):
                said = looks[0]
                if path.startswith("/gpulet/v1/events"):
                    return {"events": [], "next": looks.pop(0)["next"]}
                return {"version": "1", "ready": True, "draining": False, "planner": "optimal", "feasible": True, "devices": [], "gpulets": [],
                        "models": [], **said} if path == "/gpulet/v1/status" else None
            report = json.loads(self.gpulet(*self.serve(lambda: None, pages)))
            self.assertEqual(looks, [])
            self.assertEqual((report["devices_time_avg"], report["replans"]), expected, change)


class WithServer(Case):
    def setUp(self):
        super().setUp()
        self.repository.add("quick", config=parameters(slo_ms=500)).add("slow", latency_ms=30)
        self.server = Server(self.repository)
        self.addCleanup(self.server.kill)
        self.url = "http://127.0.0.1:%d" % self.server.port

    def test_status_and_models(self):
        identity_infer(self.server, model="quick")
        status = json.loads(self.gpulet("status", "--url", self.url, "--json"))
        self.assertTrue(status["ready"])
        self.assertEqual({m["model"] for m in status["models"]}, {"quick", "slow"})
        out = self.gpulet("status", "--url", self.url)
        self.assertIn("quick", out)
        self.assertIn("serving", out)
        self.assertIn("READY", self.gpulet("models", "--url", self.url))
        index = json.loads(self.gpulet("models", "list", "--url", self.url, "--json"))
        self.assertEqual({m["name"] for m in index}, {"quick", "slow"})
        for words in (["status"], ["status", "--json"], ["models"], ["models", "--json"]):
            with open("/dev/full", "w") as full:
                done = subprocess.run([GPULET] + words + ["--url", self.url], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual(done.returncode, 1)
            self.assertIn("standard output", done.stderr)
        self.server.stop()
        self.assertIn("127.0.0.1", self.gpulet("status", "--url", self.url, code=1))
        self.gpulet("models", "--url", self.url, code=1)

    def test_bench_reports_what_simulations_report(self):
        fields = {"model", "offered", "in_time", "late", "rejected", "failed", "latency_ms_p50", "latency_ms_p99", "latency_ms_p999"}
        report = json.loads(self.gpulet("bench", "--url", self.url, "--model", "quick", "--rate-rps", "100", "--duration-s", "1",
                                        "--warmup-s", "0.2", "--slo-ms", "1000", "--seed", "7", "--json"))
        self.assertLessEqual({"seed", "trace_hash", "models", "attainment", "goodput_rps", "devices_time_avg", "replans"}, set(report))
        self.assertEqual((report["seed"], report["trace_hash"]), (7, None))
        self.assertIsInstance(report["replans"], int)
        m = report["models"][0]
        self.assertLessEqual(fields, set(m))
        self.assertEqual(m["offered"], m["in_time"] + m["late"] + m["rejected"] + m["failed"])
        self.assertEqual(m["failed"], 0)
        self.assertGreater(m["offered"], 40)
        self.assertGreaterEqual(report["attainment"], 0.5)
        self.assertGreater(m["latency_ms_p99"], 0)
        workload = self.write("w.csv", "model,rate_rps,slo_ms\nquick,60,1000\nslow,5,2000\n")
        report = json.loads(self.gpulet("bench", "--url", self.url, "--workload", workload, "--duration-s", "1", "--warmup-s", "0", "--batch", "2",
                                        "--arrivals", "uniform", "--json"))
        self.assertEqual({m["model"] for m in report["models"]}, {"quick", "slow"})
        self.assertEqual(sum(m["failed"] for m in report["models"]), 0)
        self.assertIn("quick", self.gpulet("bench", "--url", self.url, "--model", "quick", "--rate-rps", "50", "--duration-s", "0.3",
                                           "--warmup-s", "0"))
        self.server.stop()

    def test_bench_follows_rates_that_change(self):
        workload = self.write("w.csv", "model,rate_rps,slo_ms\nquick,60,1000\nslow,4,2000\n")
        rates = self.write("r.csv", "time_s,model,rate_rps\n0,quick,0\n0.5,quick,100\n1.5,quick,0\n")
        report = json.loads(self.gpulet("bench", "--url", self.url, "--workload", workload, "--rates", rates, "--duration-s", "2",
                                        "--warmup-s", "0", "--arrivals", "uniform", "--json"))
        offered = {m["model"]: m["offered"] for m in report["models"]}
        self.assertAlmostEqual(offered["quick"], 100, delta=2)  # from 0.5 to 1.5 s, equally spaced
        self.assertAlmostEqual(offered["slow"], 8, delta=1)  # as the workload has it
        more = json.loads(self.gpulet("bench", "--url", self.url, "--workload", workload, "--rates", rates, "--duration-s", "2", "--multiple",
                                      "2", "--warmup-s", "0", "--arrivals", "uniform", "--json"))
        self.assertAlmostEqual({m["model"]: m["offered"] for m in more["models"]}["quick"], 200, delta=3)
        wrong = self.write("bad.csv", "time_s,model,rate_rps\n0,nobody,1\n")
        out = self.gpulet("bench", "--url", self.url, "--workload", workload, "--rates", wrong, code=1)
        self.assertIn("bad.csv:2", out)
        self.gpulet("bench", "--url", self.url, "--model", "quick", "--rates", rates, code=2)

    def test_bench_and_simulation_draw_the_same_arrivals_from_a_seed(self):
        workload = self.write("w.csv", "model,rate_rps,slo_ms\nquick,100,1000\nslow,5,2000\n")
        rates = self.write("r.csv", "time_s,model,rate_rps\n0,quick,50\n0.5,quick,300\n")
        both = ["--workload", workload, "--rates", rates, "--duration-s", "1", "--warmup-s", "0.5", "--json"]
        profiles = self.write("two.csv", "device,model,units,batch,latency_ms\nd,quick,1,1,1\nd,slow,1,1,30\n")
        devices = self.write("d.yaml", "types: {d: {units: 1, sizes: [1]}}\ndevices: {d: 2}\n")
        offered = []
        for seed in ("3", "4"):
            live = json.loads(self.gpulet("bench", "--url", self.url, "--seed", seed, *both))
            simulated = json.loads(self.gpulet("sim", "--profiles", profiles, "--devices", devices, "--seed", seed, *both))
            offered.append({m["model"]: m["offered"] for m in live["models"]})
            self.assertEqual(offered[-1], {m["model"]: m["offered"] for m in simulated["models"]})
        self.assertNotEqual(offered[0], offered[1])

    def test_bench_says_no_when_too_little_is_answered_in_time(self):
        workload = self.write("w.csv", "model,rate_rps,slo_ms\nquick,40,100000\nslow,20,0.01\n")
        words = [GPULET, "bench", "--url", self.url, "--workload", workload, "--duration-s", "0.5", "--warmup-s", "0", "--quiet"]
        for more in ([], ["--json"]):
            code, out, err = run(*words, *more, "--min-attainment", "0.01")
            self.assertEqual((code, err.count("\n")), (3, 1), err)
            self.assertRegex(err, r"^gpulet bench: --min-attainment 0.01 is missed by slow: 0.0000 \(0 of \d+ in time\)$")
            self.assertIn("quick", out)
            code, _, err = run(*words, *more)
            self.assertEqual((code, err), (0, ""))
        self.assertEqual({m["model"] for m in json.loads(run(*words, "--json", "--min-attainment", "1")[1])["models"]}, {"quick", "slow"})
        self.gpulet("bench", "--url", self.url, "--model", "quick", "--rate-rps", "40", "--duration-s", "0.5", "--min-attainment", "0.01")

    def test_bench_failures(self):
        self.gpulet("bench", "--url", self.url, "--model", "nobody", "--duration-s", "0.2", code=1)
        self.server.stop()
        self.gpulet("bench", "--url", self.url, "--model", "quick", "--duration-s", "0.2", code=1)


class OddNames(Case):
    def test_names_that_need_escapes_reach_the_server_as_they_are(self):
        for name in ("odd name+é%", "a?b#c", 'quo"te'):
            self.repository.add(name, config=parameters(slo_ms="123456.7891"), inputs=('the "in" \\:FP32:-1x2',), outputs=("OUT:FP32:-1x2",))
        server = Server(self.repository)
        self.addCleanup(server.kill)
        url = "http://127.0.0.1:%d" % server.port
        with server.client() as c:
            self.assertEqual(c.request("GET", "/v2/models/odd%20name%2B%C3%A9%25").json()["inputs"][0]["name"], 'the "in" \\')
        for m in server.status()["models"]:
            self.assertEqual(m["slo_ms"], 123456.7891)
        for name in ("odd name+é%", "a?b#c", 'quo"te'):
            for more in ([], ["--tensors-json"]):
                report = json.loads(self.gpulet("bench", "--url", url, "--model", name, "--rate-rps", "50", "--duration-s", "0.3", "--warmup-s", "0",
                                                "--json", *more))
                m = report["models"][0]
                self.assertEqual((m["model"], m["failed"], m["error"]), (name, 0, ""))
                self.assertGreater(m["in_time"], 0)
            for verb, state in (("unload", "UNAVAILABLE"), ("load", "READY")):
                self.gpulet("models", verb, name, "--url", url)
                index = json.loads(self.gpulet("models", "--url", url, "--json"))
                self.assertEqual([m["state"] for m in index if m["name"] == name], [state])
                server.note_workers()
        server.stop()


class Profile(Case):
    def words(self, *more, store="none"):
        return ["profile", "--model-repository", self.repository.path, "--engine", "fake", "--device", "fake", "--fake-devices", "fake:4:1",
                "--store", store, "--out", self.out, "--seconds", "1", "--runs-max", "5", "--sizes", "2,4", "--batches", "1,2,4"] + list(more)

    def setUp(self):
        super().setUp()
        self.repository.add("a", latency_ms=2, latency_ms_per_item=1).add("b", latency_ms=1)
        os.makedirs(self.repository.join(".files"))
        self.out = self.repository.join(".files", "profile.csv")

    def rows(self):
        with open(self.out) as f:
            lines = [line.strip().split(",") for line in f if line.strip() and not line.startswith("#")]
        return [dict(zip(lines[0], row)) for row in lines[1:]]

    def test_measures_every_point_and_remembers_them(self):
        store = self.repository.join(".files", "store.db")
        first = json.loads(self.gpulet(*self.words("--json", store=store)))
        self.assertEqual((first["measured"], first["known"], first["problems"]), (12, 0, 0))
        rows = self.rows()
        self.assertEqual({(r["model"], r["units"], r["batch"]) for r in rows},
                         {(m, u, b) for m in "ab" for u in ("2", "4") for b in ("1", "2", "4")})
        for r in rows:
            self.assertEqual(r["device"], "fake")
            least = 2 + int(r["batch"]) if r["model"] == "a" else 1
            self.assertGreaterEqual(float(r["latency_ms"]), least * 0.99)
        second = json.loads(self.gpulet(*self.words("--json", store=store)))
        self.assertEqual((second["measured"], second["known"]), (0, 12))
        self.assertEqual(len(self.rows()), 12)
        third = json.loads(self.gpulet(*self.words("--json", "--fresh", "--models", "b", store=store)))
        self.assertEqual(third["measured"], 6)
        self.assertEqual({r["model"] for r in self.rows()}, {"b"})

    def test_what_the_store_refuses_is_a_problem(self):
        store = self.repository.join(".files", "store.db")
        words = self.words("--json", "--fresh", "--interference", "--rounds", "1", "--slice-ms", "5", "--no-traffic", "--models", "b",
                           "--batches", "1,2", store=store)
        self.gpulet(*words)
        with contextlib.closing(sqlite3.connect(store)) as db:
            tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('point', 'pair')")]
            self.assertEqual(len(tables), 2, tables)
            for table in tables:
                db.execute("CREATE TRIGGER refuse_%s BEFORE INSERT ON %s BEGIN SELECT RAISE(ABORT, 'there is no room'); END" % (table, table))
            db.commit()
        code, out, err = run(GPULET, *words)
        self.assertEqual(code, 1, err)
        self.assertIn("there is no room", err)
        summary = json.loads(out)
        self.assertEqual(summary["problems"], summary["measured"] + summary["pairs_measured"])
        self.assertEqual((summary["measured"], summary["pairs_measured"]), (4, 4))

    def test_a_busy_machine_is_told_of(self):
        crowd = Crowd()
        self.addCleanup(crowd.close)
        words = [w if w != "5" else "60" for w in self.words("--json")]
        code, out, err = run(GPULET, *words)
        self.assertEqual(code, 0, err)
        others = json.loads(out)["others_percent"]
        self.assertGreater(others, 10)
        with open(self.out) as f:
            first = f.readline()
        for text, words in ((err, r"warning: other processes had (\d+) % of the CPUs"),
                            (first, r"^# Measured while other processes had (\d+) % of the CPUs")):
            self.assertRegex(text, words)
            self.assertAlmostEqual(int(re.search(words, text).group(1)), others, delta=1)
        self.plan_with_what_was_measured()

    def test_what_it_writes_can_be_planned_with(self):
        self.gpulet(*self.words())
        self.plan_with_what_was_measured()

    def plan_with_what_was_measured(self):
        devices = self.write("d.yaml", "types:\n  fake:\n    units: 4\n    sizes: [2, 4]\n    gpulets_max: 2\n    memory_mb: 1000000\n")
        workload = self.write("w.csv", "model,rate_rps,slo_ms\na,20,500\nb,20,500\n")
        plan = json.loads(self.gpulet("plan", "--profiles", self.out, "--devices", devices, "--workload", workload, "--json"))
        self.assertTrue(plan["feasible"])

    def test_failures(self):
        for wrong in (("--models", "nobody"), ("--batches", "2,1"), ("--batches", "abc"), ("--sizes", "0"), ("--device", "nosuch")):
            self.assertIn(wrong[0], self.gpulet(*self.words(*wrong), code=2))
        self.gpulet(*self.words("--model-repository", "/nowhere"), code=1)
        self.assertFalse(os.path.exists(self.out))
        self.repository.add("c", fail_load="it is broken")
        code, out, err = run(GPULET, *self.words())
        self.assertIn(code, (0, 1, 3))
        self.assertIn("it is broken", err)


    def test_ensembles_are_not_measured_their_models_are(self):
        self.repository.add("identity")
        self.repository.write("both/config.pbtxt", 'platform: "ensemble" max_batch_size: 4\n'
                              'input { name: "I" data_type: TYPE_FP32 dims: 16 } output { name: "O" data_type: TYPE_FP32 dims: 16 }\n'
                              'ensemble_scheduling { step { model_name: "identity" input_map { key: "INPUT" value: "I" } '
                              'output_map { key: "OUTPUT" value: "O" } } }\n')
        words = ["profile", "--model-repository", self.repository.path, "--engine", "fake", "--device", "fake", "--store", "none",
                 "--seconds", "0.1", "--batches", "1", "--sizes", "100", "--out", self.out]
        self.gpulet(*words)
        self.assertEqual({r["model"] for r in self.rows()}, {"a", "b", "identity"})
        self.assertIn("both is an ensemble", self.gpulet(*words, "--models", "both", code=2))

    def test_models_are_measured_beside_one_another(self):
        store = self.repository.join(".files", "store.db")
        words = self.words("--json", "--interference", "--rounds", "2", "--slice-ms", "5", "--no-traffic", store=store)
        first = json.loads(self.gpulet(*words))
        # Sizes 2 and 4 of 4 units: 2 beside 2 is all that fits; two models of three batches each.
        self.assertEqual((first["pairs_measured"], first["pairs_known"], first["problems"]), (36, 0, 0))
        with open(self.out.replace(".csv", ".pairs.csv")) as f:
            pairs = list(csv.DictReader(f))
        self.assertEqual({(p["model"], p["batch"], p["other_model"], p["other_batch"]) for p in pairs},
                         {(a, x, b, y) for a in "ab" for b in "ab" for x in "124" for y in "124"})
        for p in pairs:
            self.assertEqual((p["device"], p["units"], p["other_units"]), ("fake", "2", "2"))
            self.assertGreater(float(p["slowdown"]), 0.2)  # models that sleep disturb nobody, the machine may
            self.assertLess(float(p["slowdown"]), 5)
        second = json.loads(self.gpulet(*words))
        self.assertEqual((second["measured"], second["pairs_measured"], second["pairs_known"]), (0, 0, 36))
        with open(self.out.replace(".csv", ".pairs.csv")) as f:
            self.assertEqual(pairs, list(csv.DictReader(f)))
        devices = self.write("d.yaml", "types:\n  fake:\n    units: 4\n    sizes: [2, 4]\n    gpulets_max: 2\n    memory_mb: 1000000\n")
        workload = self.write("w.csv", "model,rate_rps,slo_ms\na,20,500\nb,20,500\n")
        plan = json.loads(self.gpulet("plan", "--profiles", self.out, "--devices", devices, "--workload", workload, "--json", "--interference",
                                      self.out.replace(".csv", ".interference.csv"), "--interference-quantile", "0.9"))
        self.assertTrue(plan["feasible"])

    def test_models_are_measured_beside_memory_traffic(self):
        pairs_file = self.repository.join(".files", "pairs.csv")
        code, out, err = run(GPULET, *self.words("--interference", "--rounds", "1", "--slice-ms", "5", "--batches", "1", "--models", "b",
                                                 "--pairs-out", pairs_file, "--interference-out", self.repository.join(".files", "i.csv")))
        self.assertEqual(code, 0, err)
        self.assertIn("streamed over at", err)
        with open(pairs_file) as f:
            pairs = list(csv.DictReader(f))
        traffic = {(p["other_model"], p["other_batch"]) for p in pairs if p["other_model"] != "b"}
        self.assertEqual(traffic, {("@traffic-" + kind, speed) for kind in ("cache", "memory") for speed in ("25", "50", "100")})
        # In a slice this short a busy machine may not let the generator run at all.
        speeds = [float(p["traffic_mb_s"]) for p in pairs if p["other_model"] != "b"]
        self.assertGreaterEqual(min(speeds), 0)
        self.assertGreater(max(speeds), 0)
        with open(self.repository.join(".files", "i.csv")) as f:
            self.assertTrue(f.readline().startswith("device,"))

    def test_a_model_that_cannot_be_loaded_is_told_once_and_the_rest_is_measured(self):
        self.repository.add("c", fail_load="it is broken")
        pairs_file = self.repository.join(".files", "pairs.csv")
        words = self.words("--interference", "--rounds", "1", "--slice-ms", "5", "--no-traffic", "--pairs-out", pairs_file)
        words[words.index("1,2,4")] = "1"
        code, out, err = run(GPULET, *words)
        self.assertEqual(code, 1)
        self.assertEqual(err.count("interference on c at 2 units"), 1, err)
        with open(pairs_file) as f:
            self.assertEqual({(p["model"], p["other_model"]) for p in csv.DictReader(f)}, {(a, b) for a in "ab" for b in "ab"})

    def test_a_device_of_one_unit_has_no_neighbours(self):
        words = self.words("--interference")
        words[words.index("fake:4:1")] = "fake:1:1"
        words[words.index("2,4")] = "1"
        code, out, err = run(GPULET, *words)
        self.assertEqual(code, 1)
        self.assertIn("needs two gpu-lets at once", err)
        self.assertNotIn("runs", err)  # it says so before it measures anything
        self.gpulet(*self.words("--interference"), "--out", "-", code=2)


class Fit(Case):
    """All pairs here are synthetic."""
    COEFFICIENTS = {"l2_self": 0.11, "l2_other": 0.72, "dram_self": 0.35, "dram_other": 0.09, "constant": 0.9}

    def setUp(self):
        super().setUp()
        profile = "device,model,units,batch,latency_ms,l2_util,dram_util\n"
        use = {}
        for m in range(5):
            for i, b in enumerate((1, 4, 16)):
                use[m, b] = ((37 * m + 11 * i) % 50 / 60 + 0.1, (23 * m + 31 * i) % 47 / 60 + 0.1)
                profile += "card,m%d,50,%d,%d,%r,%r\n" % ((m, b, b) + use[m, b])
        self.rows = [(a, x, b, y, sum(c * v for c, v in zip(self.COEFFICIENTS.values(), (use[a, x][0], use[b, y][0], use[a, x][1], use[b, y][1], 1))))
                     for a in range(5) for x in (1, 4, 16) for b in range(5) for y in (1, 4, 16)]
        self.profiles = self.write("p.csv", profile)
        self.pairs = self.write("pairs.csv", self.csv(self.rows))
        self.out = self.write("i.csv", "")

    def csv(self, rows):
        return "device,model,units,batch,other_model,other_units,other_batch,slowdown\n" + "".join(
            "card,m%d,50,%d,m%d,50,%d,%r\n" % row for row in rows)

    def test_finds_the_coefficients_and_plans_with_them(self):
        answer = json.loads(self.gpulet("fit", "--profiles", self.profiles, "--pairs", self.pairs, "--train", "0.7", "--seed", "5", "--out", self.out,
                                        "--json"))
        for name, value in self.COEFFICIENTS.items():
            self.assertAlmostEqual(answer["coefficients"][name], value, places=9)
        for name in ("error_mean", "error_p50", "error_p90", "error_p95"):
            self.assertLess(answer[name], 1e-9)
            self.assertGreater(answer["kinds"]["constant"][name], 1e-3)
        self.assertEqual((answer["kind"], answer["best"], answer["pairs"], answer["held_out"]), ("linear", "linear", 225, 67))
        with open(self.out) as f:
            self.assertTrue(f.readline().startswith("device,l2_self,l2_other,dram_self,dram_other,constant,residual_p50,"))
        devices = self.write("d.yaml", "types:\n  card:\n    units: 100\n    sizes: [50]\n    gpulets_max: 2\n")
        workload = self.write("w.csv", "model,rate_rps,slo_ms\nm0,300,200\nm1,300,200\n")
        words = ["--profiles", self.profiles, "--devices", devices, "--workload", workload, "--interference", self.out, "--json"]
        for more in ([], ["--interference-quantile", "0.95"], ["--utilisation-scaled"]):
            plan = self.gpulet("plan", *words, *more)
            self.assertTrue(json.loads(plan)["feasible"])
            self.assertTrue(json.loads(self.gpulet("plan", "--verify", self.write("plan.json", plan), *words, *more))["verified"])
        self.assertIn("residual_p99.9", self.gpulet_error("plan", *words, "--interference-quantile", "0.999"))

    def gpulet_error(self, *words):
        code, out, err = run(GPULET, *words)
        self.assertEqual(code, 1, err)
        return err

    def test_other_kinds_report_the_same_fields(self):
        without = "device,model,units,batch,latency_ms\ncard,m0,50,1,1\n"
        for kind in ("sensitivity", "constant", "auto"):
            answer = json.loads(self.gpulet("fit", "--profiles", self.write("q.csv", without), "--pairs", self.pairs, "--kind", kind, "--json",
                                            "--out", self.out))
            self.assertEqual(set(answer["coefficients"]), set(self.COEFFICIENTS))
            self.assertTrue(all(answer[name] > 0 for name in ("error_mean", "error_p50", "error_p90", "error_p95")))
            self.assertIn("l2_util", answer["kinds"]["linear"]["reason"])
            self.assertEqual(answer["kind"], "sensitivity" if kind == "auto" else kind)
        text = self.gpulet("fit", "--profiles", self.profiles, "--pairs", self.pairs, "--kind", "auto")
        self.assertIn("* linear", text)

    def test_failures(self):
        few = self.write("few.csv", self.csv(self.rows[:1]))
        flat = self.write("flat.csv", "device,model,units,batch,latency_ms,l2_util,dram_util\n" + "".join(
            "card,m%d,50,%d,1,0.5,0.5\n" % (m, b) for m in range(5) for b in (1, 4, 16)))
        broken = self.write("broken.csv", self.csv(self.rows[:3]).replace(",50,", ",none,", 1))
        self.assertIn("at least 2 different pairs", self.gpulet_error("fit", "--profiles", self.profiles, "--pairs", few))
        self.assertIn("collinear", self.gpulet_error("fit", "--profiles", flat, "--pairs", self.pairs))
        self.assertIn("broken.csv:2: units", self.gpulet_error("fit", "--profiles", self.profiles, "--pairs", broken))
        self.assertIn("/nowhere", self.gpulet_error("fit", "--profiles", self.profiles, "--pairs", "/nowhere/pairs.csv"))


class Doctor(Case):
    def test_it_says_what_is_there(self):
        code, out, err = run(GPULET, "doctor", "--json")
        self.assertIn(code, (0, 3), err)
        answer = json.loads(out)
        self.assertEqual(answer["problems"], sum(not c["ok"] for c in answer["checks"]))
        self.assertEqual(code, 0 if answer["problems"] == 0 else 3)
        checks = {c["check"]: c for c in answer["checks"]}
        self.assertTrue(checks["gpulet-worker"]["ok"])
        self.assertTrue(checks["engine fake"]["ok"])
        self.assertTrue(checks["device cpu"]["ok"] if "device cpu" in checks else True)
        code, out, _ = run(GPULET, "doctor")
        self.assertIn("gpulet-worker", out)


if __name__ == "__main__":
    main()
