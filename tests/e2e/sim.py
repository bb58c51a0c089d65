"""`gpulet sim` as the contract has it: its fields, its files, its exit codes, and what is wrong named."""
import csv
import json
import os
import unittest

from harness import GPULET, Folder, main, plan_json, run

DEVICES = """types:
  gpu:
    units: 100
    sizes: [50, 100]
    gpulets_max: 2
devices:
  gpu: 4
"""
FIELDS = {"seed", "trace_hash", "models", "attainment", "goodput_rps", "devices_time_avg", "replans", "events_per_s"}
MODEL_FIELDS = {"model", "offered", "in_time", "late", "rejected", "failed", "latency_ms_p50", "latency_ms_p99", "latency_ms_p999"}


def profile(*models):
    rows = ["device,model,units,batch,latency_ms"]
    for model in models:
        for units, times in ((100, 1), (50, 2)):
            rows += ["gpu,%s,%d,%d,%g" % (model, units, batch, times * (3 + batch)) for batch in (1, 2, 4, 8)]
    return "\n".join(rows) + "\n"


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        self.inputs = {"profiles": self.write("p.csv", profile("a", "b")), "devices": self.write("d.yaml", DEVICES),
                       "workload": self.write("w.csv", "model,rate_rps,slo_ms\na,100,60\nb,40,80\n")}

    def write(self, name, text):
        return self.folder.write(name, text)

    def words(self, *more, **inputs):
        words = [GPULET, "sim"]
        for name, value in {**self.inputs, **inputs}.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        return [*words, *more]

    def sim(self, *more, code=0, **inputs):
        found, out, err = run(*self.words("--json", "--check", *more, **inputs))
        self.assertEqual(found, code, out + err)
        if code in (1, 2):
            self.assertEqual(out, "")
            return err
        return json.loads(out)


class Answers(Case):
    def test_the_document_has_the_fields_of_the_contract_and_adds_up(self):
        r = self.sim("--duration-s", "20", "--seed", "7")
        self.assertLessEqual(FIELDS, set(r))
        self.assertEqual(r["seed"], 7)
        self.assertRegex(r["trace_hash"], "^[0-9a-f]{16}$")
        self.assertEqual([m["model"] for m in r["models"]], ["a", "b"])
        for m, rate in zip(r["models"], (100, 40)):
            self.assertLessEqual(MODEL_FIELDS, set(m))
            self.assertEqual(m["offered"], m["in_time"] + m["late"] + m["rejected"] + m["failed"])
            self.assertAlmostEqual(m["offered"] / 20, rate, delta=rate * 0.25)
            self.assertLessEqual(m["latency_ms_p50"], m["latency_ms_p99"])
            self.assertLessEqual(m["latency_ms_p99"], m["latency_ms_p999"])
            self.assertGreaterEqual(m["latency_ms_p50"], 4)
        in_time = sum(m["in_time"] for m in r["models"])
        self.assertAlmostEqual(r["goodput_rps"], in_time / 20, places=3)
        self.assertAlmostEqual(r["attainment"], in_time / sum(m["offered"] for m in r["models"]), places=6)
        self.assertGreater(r["attainment"], 0.99)
        self.assertEqual(r["replans"], 0)
        self.assertGreaterEqual(r["devices_time_avg"], 1)

    def test_the_same_seed_is_the_same_run(self):
        hashes = [self.sim("--seed", seed, "--duration-s", "5")["trace_hash"] for seed in ("3", "3", "4")]
        self.assertEqual(hashes[0], hashes[1])
        self.assertNotEqual(hashes[0], hashes[2])

    def test_too_little_in_time_is_no_and_the_answer_is_whole(self):
        words = ("--duration-s", "10")
        calm = self.sim(*words, "--min-attainment", "0.9")
        self.assertGreater(calm["attainment"], 0.9)
        late = self.write("late.csv", "model,rate_rps,slo_ms\na,100,60\nb,40,0.001\n")
        answers = self.sim(*words, "--min-attainment", "0.9", code=3, workload=late)
        self.assertLessEqual(FIELDS, set(answers))
        code, _, err = run(*self.words(*words, "--min-attainment", "0.9", workload=late))
        self.assertEqual((code, err.count("\n")), (3, 1), err)
        self.assertRegex(err, r"^gpulet sim: --min-attainment 0.9 is missed by b: 0.0000 \(0 of \d+ in time\)$")
        self.sim(*words, workload=late)

    def test_a_table_for_people(self):
        found, out, err = run(*self.words("--duration-s", "5"))
        self.assertEqual(found, 0, err)
        for word in ("model", "a ", "b ", "in time", "devices", "trace "):
            self.assertIn(word, out)

    def test_the_warm_up_is_served_and_not_counted(self):
        short = self.sim("--duration-s", "5", "--warmup-s", "0")
        long = self.sim("--duration-s", "5", "--warmup-s", "50")
        self.assertEqual(sum(m["offered"] for m in short["models"]), short["requests"])
        self.assertGreater(long["requests"], 5 * sum(m["offered"] for m in long["models"]))

    def test_uniform_arrivals_are_as_many_as_asked(self):
        r = self.sim("--arrivals", "uniform", "--duration-s", "10")
        self.assertEqual([m["offered"] for m in r["models"]], [1000, 400])

    def test_overload_is_a_miss_however_it_ends(self):
        r = self.sim("--duration-s", "10", "--multiple", "100")
        self.assertFalse(r["feasible"])
        self.assertLess(r["attainment"], 0.8)
        self.assertGreater(sum(m["late"] + m["rejected"] + m["failed"] for m in r["models"]), 1000)

    def test_every_planner_that_needs_no_running_plan(self):
        for planner in ("temporal", "even", "selftune", "greedy", "elastic", "exhaustive", "optimal"):
            r = self.sim("--planner", planner, "--duration-s", "5")
            self.assertGreater(r["attainment"], 0.9, planner)
        plan = self.write("plan.json", plan_json([(100, 0, [("a", 4, 50), ("b", 4, 50)])], device="gpu"))
        self.sim("--planner", "incremental", "--duration-s", "5", plan=plan)

    def test_a_plan_from_a_file_is_what_is_served(self):
        one = self.write("plan.json", plan_json([(50, 0, [("a", 4, 100)]), (50, 50, [("b", 4, 40)])], device="gpu"))
        r = self.sim("--duration-s", "10", "--arrivals", "uniform", plan=one)
        self.assertEqual(r["devices_max"], 1)
        self.assertGreaterEqual(min(m["latency_ms_p50"] for m in r["models"]), 8)
        wrong = self.write("wrong.json", plan_json([(50, 0, [("nobody", 1, 1)])], device="gpu"))
        self.assertIn("nobody", self.sim(code=1, plan=wrong))


class Applications(Case):
    APPS = ("apps:\n  x: {slo_ms: 120, rate_rps: 50, stages: {p: {model: a}, q: {model: b, after: [p]}, r: {model: a, after: [p], requests: 2}}}\n")

    def setUp(self):
        super().setUp()
        self.inputs["apps"] = self.write("apps.yaml", self.APPS)

    def check_counts(self, rows):
        for m in rows:
            self.assertEqual(m["offered"], m["in_time"] + m["late"] + m["rejected"] + m["failed"] + m["cancelled"])

    def test_they_stand_beside_the_models_and_count_once(self):
        r = self.sim("--duration-s", "20", "--arrivals", "uniform")
        self.assertEqual([a["app"] for a in r["apps"]], ["x"])
        (x,) = r["apps"]
        self.assertLessEqual(MODEL_FIELDS - {"model"}, set(x))
        self.check_counts(r["models"] + r["apps"])
        self.assertEqual((x["offered"], x["in_time"], x["slo_ms"]), (1000, 1000, 120))
        a, b = r["models"]
        self.assertEqual((a["slo_ms"], b["slo_ms"]), (60, 80))
        self.assertAlmostEqual(a["offered"] - a["by_apps"], 2000, delta=1)
        self.assertAlmostEqual(a["by_apps"], 3000, delta=6)  # one and two items a request; some arrive in the warm-up
        self.assertAlmostEqual(b["by_apps"], 1000, delta=2)
        self.assertAlmostEqual(r["goodput_rps"], 190, delta=0.2)
        self.assertGreater(r["attainment"], 0.999)

    def test_alone_with_rates_and_a_series_and_the_same_again(self):
        del self.inputs["workload"]
        rates = self.write("r.csv", "time_s,model,rate_rps\n0,x,20\n60,x,400\n")
        series = self.folder.join("s.csv")
        words = ("--duration-s", "160", "--series", series, "--series-s", "20", "--start-s", "1")
        r = self.sim(*words, rates=rates)
        self.check_counts(r["models"] + r["apps"])
        self.assertGreaterEqual(r["replans"], 1)
        self.assertEqual([(m["model"], m["slo_ms"]) for m in r["models"]], [("a", 0), ("b", 0)])
        with open(series) as f:
            rows = list(csv.DictReader(f))
        self.assertEqual([row["model"] for row in rows[:3]], ["a", "b", "x"])
        last = {row["model"]: row for row in rows[-3:]}
        self.assertEqual(last["x"]["planned_rps"], "")
        self.assertGreater(float(last["a"]["planned_rps"]), 1200)
        self.assertEqual(self.sim(*words, rates=rates)["trace_hash"], r["trace_hash"])
        self.assertLess(self.sim(*words, "--follow", "off", rates=rates)["attainment"], r["attainment"])

    def test_each_arrival_from_a_file_and_rates_from_the_workload(self):
        self.inputs["workload"] = self.write("w3.csv", "model,rate_rps,slo_ms\nx,5,200\na,10,60\n")
        r = self.sim(arrivals=self.write("t.csv", "time_s,model,items\n0,x,1\n1,x,2\n2,a,1\n2.5,b,1\n"))
        self.assertEqual([(a["offered"], a["slo_ms"]) for a in r["apps"]], [(3, 200)])
        self.assertEqual([(m["model"], m["offered"] - m["by_apps"]) for m in r["models"]], [("a", 1), ("b", 1)])

    def test_one_that_misses_is_named_its_models_are_not(self):
        apps = self.write("late.yaml", "apps:\n  app: {slo_ms: 0.01, rate_rps: 50, stages: {x: {model: a}, y: {model: b, after: [x]}}}\n")
        code, _, err = run(*self.words("--duration-s", "5", "--min-attainment", "0.5", apps=apps))
        self.assertEqual(code, 3, err)
        self.assertRegex(err, r"is missed by app: 0.0000 \(0 of \d+ in time\)$")

    def test_the_peak_and_a_table_for_people(self):
        r = self.sim("--peak", "--duration-s", "10")
        self.assertAlmostEqual(r["peak_rps"], 190 * r["peak_multiple"], places=3)
        self.assertLess(1 - r["attainment"], 0.01)
        found, out, err = run(*self.words("--duration-s", "5"))
        self.assertEqual(found, 0, err)
        for word in ("model ", "application ", "x "):
            self.assertIn(word, out)

    def test_what_is_wrong_is_named(self):
        for text, mentions in (("apps: {x: {slo_ms: 1, stages: {p: {model: a}}}}", "application x: rate_rps"),
                               ("apps: {a: {slo_ms: 1, rate_rps: 1, stages: {p: {model: a}}}}", "application a: expected a name"),
                               ("apps: {x: {slo_ms: 1, rate_rps: 1, stages: {p: {model: a, requests: 9}}}}", "stage p: requests"),
                               ("apps: {x: {slo_ms: 1, rate_rps: 1, stages: {p: {model: zebra}}}}", "zebra"),
                               ("apps: {x: {slo_ms: -1, rate_rps: 1}}", "x.yaml:1: "), ("apps: 3", "x.yaml:1: ")):
            err = self.sim("--duration-s", "1", code=1, apps=self.write("x.yaml", text + "\n"))
            self.assertIn(mentions, err)
        self.assertIn("model", self.sim(code=1, rates=self.write("r.csv", "time_s,model,rate_rps\n0,y,1\n")))
        found, out, err = run(GPULET, "sim", "--profiles", self.inputs["profiles"])
        self.assertEqual((found, out), (2, ""))
        self.assertIn("--apps", err)


class Load(Case):
    def test_rates_change_when_they_say_and_the_devices_follow(self):
        rates = self.write("r.csv", "time_s,model,rate_rps\n0,a,50\n100,a,2500\n200,a,50\n")
        series = self.folder.join("s.csv")
        r = self.sim("--duration-s", "300", "--series", series, "--series-s", "20", "--start-s", "1-2", rates=rates)
        self.assertGreaterEqual(r["replans"], 2)
        self.assertLess(r["devices_time_avg"], r["devices_max"])
        with open(series) as f:
            rows = list(csv.DictReader(f))
        self.assertEqual(list(rows[0]), ["time_s", "model", "offered", "in_time", "missed", "planned_rps", "devices_used"])
        self.assertEqual(len(rows), 15 * 2)
        for i, name in enumerate(("a", "b")):
            mine = [row for row in rows if row["model"] == name]
            self.assertEqual([float(row["time_s"]) for row in mine], [20.0 * k for k in range(15)])
            self.assertEqual(sum(int(row["offered"]) for row in mine), r["models"][i]["offered"])
            self.assertEqual(sum(int(row["in_time"]) for row in mine), r["models"][i]["in_time"])
        used = [int(row["devices_used"]) for row in rows if row["model"] == "a"]
        self.assertGreater(max(used[5:10]), used[4])
        self.assertLess(used[14], max(used))
        fixed = self.sim("--duration-s", "300", "--follow", "off", rates=rates)
        self.assertEqual(fixed["replans"], 0)
        self.assertLess(fixed["attainment"], r["attainment"])

    def test_a_model_without_rates_keeps_the_workloads(self):
        rates = self.write("r.csv", "time_s,model,rate_rps\n0,a,10\n")
        r = self.sim("--arrivals", "uniform", "--duration-s", "10", rates=rates)
        self.assertEqual([m["offered"] for m in r["models"]], [100, 400])

    def test_arrivals_from_a_file(self):
        trace = self.write("t.csv", "model,items,time_s\nb,1,0.5\na,3,0.25\na,,1.5\na,2,9.75\n")
        r = self.sim("--follow", "off", arrivals=trace)
        self.assertEqual([m["offered"] for m in r["models"]], [6, 1])
        self.assertEqual([m["in_time"] for m in r["models"]], [6, 1])

    def test_neighbours_disturb_as_the_truth_says_whatever_is_believed(self):
        plan = self.write("plan.json", plan_json([(50, 0, [("a", 1, 20)]), (50, 50, [("b", 1, 20)])], device="gpu"))
        pairs = ["device,model,units,batch,other_model,other_units,other_batch,slowdown"]
        pairs += ["gpu,%s,50,1,%s,50,1,2" % (x, y) for x in "ab" for y in "ab"]
        truth = self.write("pairs.csv", "\n".join(pairs) + "\n")
        belief = self.write("i.csv", "device,constant\ngpu,1.5\n")
        alone = self.sim(plan=plan)["models"][0]["latency_ms_mean"]
        beside = self.sim(plan=plan, truth=truth)["models"][0]["latency_ms_mean"]
        believed = self.sim(plan=plan, interference=belief)["models"][0]["latency_ms_mean"]
        calm = self.sim("--truth-interference", "none", plan=plan, interference=belief)["models"][0]["latency_ms_mean"]
        self.assertGreater(beside, believed)
        self.assertGreater(believed, alone)
        self.assertAlmostEqual(calm, alone, delta=0.05 * alone)
        lacks = self.write("lacks.csv", "\n".join(pairs[:2]) + "\n")
        self.assertRegex(self.sim(code=1, plan=plan, truth=lacks), "model . beside .")

    def test_the_peak(self):
        r = self.sim("--peak", "--duration-s", "20")
        self.assertGreater(r["peak_multiple"], 5)
        self.assertAlmostEqual(r["peak_rps"], 140 * r["peak_multiple"], places=3)
        self.assertGreaterEqual(r["attainment"], 0.99)
        above = self.sim("--multiple", str(r["peak_multiple"] * 1.2), "--duration-s", "20")
        self.assertLess(above["attainment"], 0.99)
        looser = self.sim("--peak", "--duration-s", "20", "--miss-max", "0.2")
        self.assertGreater(looser["peak_multiple"], r["peak_multiple"])
        never = self.write("w2.csv", "model,rate_rps,slo_ms\na,1,1\n")
        self.assertEqual(self.sim("--peak", code=3, workload=never)["peak_multiple"], 0)


class Faults(Case):
    def test_each_fault_happens_and_every_request_ends_once(self):
        for spec in ("worker-death=0.01", "slow=0.05x20", "lost-done=0.01", "ring-full=0.01", "client-gone=0.1", "burst=1x200",
                     "device-gone=0.1x3", "start-fails=0.5,worker-death=0.01"):
            r = self.sim("--duration-s", "20", "--phases", "--run-limit-s", "1", "--start-s", "0.5-1", faults=spec)
            self.assertGreater(r["faults"][spec.split("=")[0]], 0, spec)
            for m in r["models"]:
                self.assertEqual(m["offered"], m["in_time"] + m["late"] + m["rejected"] + m["failed"] + m["cancelled"])

    def test_a_random_world_is_seen_again_by_its_seed(self):
        answers = []
        for _ in range(2):
            found, out, err = run(GPULET, "sim", "--world", "random", "--seed", "11", "--json")
            self.assertEqual(found, 0, err)
            answers.append(json.loads(out)["trace_hash"])
        self.assertEqual(answers[0], answers[1])


class Wrong(Case):
    def test_wrong_usage_is_2(self):
        for words, mentions in ((["--planner", "wishful"], "wishful"), (["--planner", "incremental"], "--plan"),
                                (["--faults", "slow=2"], "slow"), (["--faults", "sloth=0.1"], "sloth"),
                                (["--start-s", "5-1"], "--start-s"), (["--follow", "perhaps"], "--follow"),
                                (["--truth", "x", "--truth-interference", "y"], "--truth"), (["--count", "0"], "0"),
                                (["--peak", "--series", "x"], "--peak"), (["--arrivals", "x.csv", "--peak"], "--peak"),
                                (["--arrivals", "x.csv", "--rates", "y.csv"], "--rates"), (["--seed", "-1"], "--seed"),
                                (["--duration-s", "long"], "--duration-s"), (["word"], "word")):
            self.assertIn(mentions, self.sim(*words, code=2))
        found, out, err = run(GPULET, "sim")
        self.assertEqual((found, out), (2, ""))
        self.assertIn("--profiles", err)
        found, out, err = run(GPULET, "sim", "--world", "real")
        self.assertEqual((found, out), (2, ""))
        self.assertIn("real", err)

    def test_bad_files_are_named_with_line_and_field(self):
        for option, text, mentions in (
                ("rates", "time_s,model,rate_rps\n0,a,fast\n", "x.csv:2: rate_rps"), ("rates", "time_s,model,rate_rps\n0,z,1\n", "x.csv:2: model"),
                ("rates", "time_s,model,rate_rps\n1,a,1\n0,a,1\n", "x.csv:3: time_s"), ("rates", "time_s,model\n", "x.csv:1: rate_rps"),
                ("arrivals", "time_s,model\nsoon,a\n", "x.csv:2: time_s"), ("arrivals", "time_s,model,items\n0,a,0\n", "x.csv:2: items"),
                ("truth", "device,model\n", "x.csv:1"), ("workload", "model,rate_rps,slo_ms\na,1,-1\n", "x.csv:2"),
                ("profiles", "device,model,units,batch,latency_ms\ngpu,a,100,1,soon\n", "x.csv:2"), ("plan", "{", "x.csv"),
                ("truth_interference", "device,constant\ngpu,0\n", "x.csv:2"), ("devices", "types: 1\n", "x.csv")):
            path = self.write("x.csv", text)
            err = self.sim(code=1, **{option: path})
            self.assertIn(mentions, err)
            os.unlink(path)
        for option in ("profiles", "workload", "devices", "rates", "arrivals", "truth", "plan"):
            self.assertIn("/nowhere/x", self.sim(code=1, **{option: "/nowhere/x"}))
        self.assertIn("/nowhere/s", self.sim("--series", "/nowhere/s", "--duration-s", "1", code=1))

    def test_a_model_that_was_never_measured_is_named(self):
        workload = self.write("w2.csv", "model,rate_rps,slo_ms\nzebra,1,10\n")
        self.assertIn("zebra", self.sim(code=1, workload=workload))


if __name__ == "__main__":
    main()
