"""What the metrics port says: the names that dashboards use, in a form that Prometheus takes, with figures that add up."""
import re
import shutil
import subprocess
import unittest

from harness import Client, Repository, Server, identity_body, identity_infer, infer_json, main, tensor

COUNTERS = ["nv_inference_request_success", "nv_inference_count", "nv_inference_exec_count", "nv_inference_request_duration_us",
            "nv_inference_queue_duration_us", "nv_inference_compute_input_duration_us", "nv_inference_compute_infer_duration_us",
            "nv_inference_compute_output_duration_us"]
GAUGES = ["nv_inference_pending_request_count", "nv_model_load_duration_secs"]


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.repository = Repository().add("a").add("b", latency_ms=2)
        cls.repository.add('odd "name" \\ é')
        cls.server = Server(cls.repository)
        for n in (1, 2, 3):
            identity_infer(cls.server, items=n, model="a")
        identity_infer(cls.server, model="b")
        cls.server.infer("a", b"{}")
        cls.server.infer("a", infer_json(tensor("X", "FP32", [1], [1])))

    @classmethod
    def tearDownClass(cls):
        try:
            cls.server.stop()
        finally:
            cls.repository.close()

    def test_content_type(self):
        with Client(self.server.metrics_port) as c:
            r = c.request("GET", "/metrics?x=1")
        self.assertTrue(r.header("content-type").startswith("text/plain; charset=utf-8") or
                        r.header("content-type").startswith("text/plain; version=0.0.4"), r.headers)

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool_takes_it(self):
        done = subprocess.run(["promtool", "check", "metrics"], input=self.server.metrics_text().encode(), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60, check=False)
        complaints = [line for line in done.stdout.decode().splitlines()
                      if line and not re.match(r"nv_\S+ ", line)]  # those names and forms are given
        self.assertEqual(complaints, [], "promtool, exit code %d" % done.returncode)

    def test_every_name_has_help_and_type_once_and_its_samples_together(self):
        text = self.server.metrics_text()
        self.assertTrue(text.endswith("\n"))
        seen, current = {}, None
        for line in text.splitlines():
            match = re.match(r"# (HELP|TYPE) (\S+) (.+)", line)
            if match:
                kind, name, rest = match.groups()
                entry = seen.setdefault(name, {})
                self.assertNotIn(kind, entry, line)
                entry[kind] = rest
                current = name
                continue
            name = re.match(r"[a-zA-Z0-9_:]+", line).group(0)
            self.assertTrue(name == current or re.sub("_(sum|count|bucket)$", "", name) == current, line)
        for name, entry in seen.items():
            self.assertEqual(set(entry), {"HELP", "TYPE"}, name)
            self.assertIn(entry["TYPE"], ("counter", "gauge", "summary", "histogram"))
        for name in COUNTERS + ["nv_inference_request_failure"]:
            self.assertEqual(seen[name]["TYPE"], "counter", name)
        for name in GAUGES:
            self.assertEqual(seen[name]["TYPE"], "gauge", name)

    def test_no_sample_twice_and_every_model_everywhere(self):
        keys = [(n, tuple(sorted(labels.items()))) for n, labels, _ in self.server.metrics()]
        self.assertEqual(len(keys), len(set(keys)))
        models = {("a", "1"), ("b", "1"), ('odd \\"name\\" \\\\ é', "1")}
        for name in COUNTERS + GAUGES:
            self.assertEqual({(labels["model"], labels["version"]) for n, labels, _ in self.server.metrics() if n == name}, models)
        for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER"):
            self.assertEqual(len([1 for n, labels, _ in self.server.metrics()
                                  if n == "nv_inference_request_failure" and labels["reason"] == reason]), len(models))

    def test_the_figures_add_up(self):
        metric = self.server.metric
        self.assertEqual(metric("nv_inference_request_success", model="a"), 3)
        self.assertEqual(metric("nv_inference_count", model="a"), 6)
        self.assertEqual(metric("nv_inference_exec_count", model="a"), 3)
        self.assertEqual(metric("nv_inference_request_success", model="b"), 1)
        self.assertEqual(metric("nv_inference_request_failure", model="a", reason="OTHER"), 2)
        self.assertEqual(metric("nv_inference_request_failure", model="b"), 0)
        self.assertGreaterEqual(metric("nv_inference_compute_infer_duration_us", model="b"), 1900)
        self.assertGreaterEqual(metric("nv_inference_request_duration_us", model="b"),
                                metric("nv_inference_compute_infer_duration_us", model="b"))
        self.assertEqual(metric("nv_inference_pending_request_count"), 0)
        self.assertEqual(metric("gpulet_ready"), 1)
        self.assertEqual(metric("gpulet_request_latency_seconds_count", model="a"), 3)
        stats = {s["name"]: s for s in self.server.get("/v2/models/stats").json()["model_stats"]}
        for model in ("a", "b"):
            self.assertEqual(stats[model]["inference_count"], metric("nv_inference_count", model=model))
            self.assertEqual(stats[model]["execution_count"], metric("nv_inference_exec_count", model=model))
            self.assertEqual(stats[model]["inference_stats"]["success"]["ns"] // 1000,
                             metric("nv_inference_request_duration_us", model=model))

    def test_zz_counters_never_fall(self):
        def counters():
            kinds = dict(re.findall(r"# TYPE (\S+) (\S+)", self.server.metrics_text()))
            return {(n, tuple(sorted(labels.items()))): v for n, labels, v in self.server.metrics() if kinds.get(n) == "counter"}
        before = counters()
        for _ in range(5):
            self.server.infer("b", identity_body())
        after = counters()
        for key, value in before.items():
            self.assertGreaterEqual(after[key], value, key)


if __name__ == "__main__":
    main()
