"""The log line of a request that was refused, late, failed or given up, and that no other request has one."""
import os
import re
import unittest
from urllib.parse import quote

from harness import (GPULETD, Repository, Server, head, identity_body, identity_infer, infer_json, main, parameters, plan_json, run,
                     tensor, wait_for)

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FIELDS = ["time", "level", "who", "event", "request", "model", "version", "outcome", "reason", "queue_ms", "exec_ms", "total_ms",
          "gpulet", "batch"]
LINES_A_SECOND = 10


def fields_of(line):
    """{key: value}, a quoted value with its quotes; the line must be made of nothing else."""
    pairs = re.findall(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "]*)(?: |$)', line)
    assert " ".join("%s=%s" % pair for pair in pairs) == line, line
    return dict(pairs)


def bad_body(**more):
    return infer_json(tensor("NONE", "FP32", [1, 16], [0.0] * 16), **more)


class Base(unittest.TestCase):
    def serve(self, *models, files=None, **options):
        """models: (name, config, script arguments)."""
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        for name, config, args in models:
            self.repository.add(name, config=config, **args)
        for name, text in (files or {}).items():
            self.repository.write(name, text)
        plan = self.repository.write(".plan.json", plan_json(
            [(100, 0, [(m[0], 1, m[2].get("latency_ms", 1)) for m in models])]))
        self.server = Server(self.repository, plan=plan, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def lines(self):
        return [fields_of(line) for line in self.server.log().splitlines() if " event=request " in line]

    def wait_lines(self, count):
        wait_for(lambda: len(self.lines()) >= count, "%d lines" % count)
        return self.lines()

    def send(self, model, count, begin=0, **headers):
        """Requests with the ids begin, begin+1, …, each on a connection of its own."""
        clients = []
        for i in range(begin, begin + count):
            body = identity_body(id="r%d" % i)
            c = self.server.client()
            self.addCleanup(c.close)
            c.send(head("POST", "/v2/models/%s/infer" % model, body, headers) + body)
            clients.append(c)
        return clients

    def wait_offered(self, model, count):
        wait_for(lambda: self.server.model_status(model)["offered"] >= count, "%d requests there" % count)


class Requests(Base):
    def test_a_request_in_time_has_none(self):
        server = self.serve(("a", None, {}))
        for _ in range(20):
            identity_infer(server, model="a")
        self.assertEqual(server.infer("nobody", identity_body()).status, 404)
        server.process.terminate()
        server.wait_exit()
        self.assertEqual(self.lines(), [])

    def test_a_refused_one(self):
        config = "max_batch_size: 1\ndynamic_batching { default_queue_policy { max_queue_size: 2 } }\n"
        server = self.serve(("short", config, {"latency_ms": 300}))
        statuses = {}
        for i, c in enumerate(self.send("short", 8)):
            statuses['"r%d"' % i] = c.read_response().status
        refused = {name for name, status in statuses.items() if status == 503}
        self.assertGreaterEqual(len(refused), 3)
        lines = self.wait_lines(len(refused))
        self.assertEqual({line["request"] for line in lines}, refused)
        self.assertEqual(len(lines), len(refused))
        for line in lines:
            self.assertEqual(list(line), FIELDS)
            self.assertEqual((line["level"], line["model"], line["version"]), ("info", "short", "1"))
            self.assertEqual((line["outcome"], line["reason"]), ("refused", "queue_full"))
            self.assertEqual((line["exec_ms"], line["gpulet"], line["batch"]), ("0.000", "-", "-"))
        server.stop()

    def test_a_late_one(self):
        server = self.serve(("late", "max_batch_size: 1\n" + parameters(slo_ms=20, late="serve"), {"latency_ms": 60}))
        self.assertEqual(server.infer("late", identity_body(id="r")).status, 200)
        line = self.wait_lines(1)[0]
        self.assertEqual(list(line), FIELDS)
        self.assertEqual((line["request"], line["level"], line["outcome"], line["reason"]), ('"r"', "info", "late", "late"))
        self.assertEqual(line["gpulet"], server.status()["gpulets"][0]["name"])
        self.assertGreaterEqual(int(line["batch"]), 1)
        self.assertGreaterEqual(float(line["exec_ms"]), 59)
        self.assertGreaterEqual(float(line["total_ms"]), float(line["exec_ms"]) + float(line["queue_ms"]))
        server.stop()

    def test_one_that_fails_in_the_engine(self):
        server = self.serve(("fail", None, {"fail_run_every": 1}))
        r = server.infer("fail", identity_body(id="r"))
        self.assertEqual(r.status, 500, r)
        line = self.wait_lines(1)[0]
        self.assertEqual(list(line), FIELDS + ["error"])
        self.assertEqual((line["request"], line["level"], line["outcome"], line["reason"]), ('"r"', "warning", "failed", "BACKEND"))
        self.assertEqual(line["gpulet"], server.status()["gpulets"][0]["name"])
        self.assertIn(line["error"].strip('"'), r.error())
        self.assertEqual(server.metric("nv_inference_request_failure", reason="BACKEND"), 1)
        server.stop()

    def test_one_that_is_wrong(self):
        server = self.serve(("a", None, {}))
        self.assertEqual(server.infer("a", bad_body(id="r")).status, 400)
        line = self.wait_lines(1)[0]
        self.assertEqual(list(line), FIELDS + ["error"])
        self.assertEqual((line["level"], line["outcome"], line["reason"]), ("warning", "failed", "OTHER"))
        self.assertIn("NONE", line["error"])
        self.assertEqual(server.metric("nv_inference_request_failure", reason="OTHER"), 1)
        server.stop()

    def test_one_whose_body_does_not_come(self):
        server = self.serve(("a", None, {}), http_body_timeout_ms="50")
        with server.client() as c:
            c.send(b"POST /v2/models/a/infer HTTP/1.1\r\nHost: x\r\nX-Request-Id: slow\r\nContent-Length: 100\r\n\r\n{")
            self.assertEqual(c.read_response().status, 408)
        line = self.wait_lines(1)[0]
        self.assertEqual((line["request"], line["outcome"], line["reason"]), ('"slow"', "failed", "OTHER"))
        self.assertEqual(server.metric("nv_inference_request_failure", reason="OTHER"), 1)
        server.stop()

    def test_one_whose_client_goes(self):
        server = self.serve(("slow", "max_batch_size: 1\n", {"latency_ms": 300}))
        clients = self.send("slow", 5)
        self.wait_offered("slow", 5)
        clients[4].close()
        line = self.wait_lines(1)[0]
        self.assertEqual(list(line), FIELDS)
        self.assertEqual((line["request"], line["level"], line["outcome"], line["reason"]),
                         ('"r4"', "info", "cancelled", "CANCELED"))
        self.assertLessEqual(float(line["queue_ms"]), float(line["total_ms"]))
        self.assertGreaterEqual(float(line["queue_ms"]), float(line["total_ms"]) - 50)
        self.assertEqual({c.read_response().status for c in clients[:4]}, {200})
        self.assertEqual(len(self.lines()), 1)
        server.stop()

    def test_those_that_the_end_of_the_server_cuts_off(self):
        server = self.serve(("slow", "max_batch_size: 1\n", {"latency_ms": 500}))
        self.send("slow", 5)
        self.wait_offered("slow", 5)
        with server.client() as c:
            c.send(b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: x\r\nX-Request-Id: half\r\nContent-Length: 100\r\n\r\n{")
            wait_for(lambda: server.status()["connections"] == 7, "all connections there")
            server.process.terminate()
            wait_for(lambda: "event=drain " in server.log(), "draining")
            server.process.terminate()
            server.wait_exit()
        lines = self.lines()
        outcomes = {x["request"]: (x["outcome"], x["reason"], x.get("error")) for x in lines}
        self.assertEqual(len(lines), len(outcomes))
        self.assertEqual(outcomes.pop('"half"'), ("failed", "OTHER", '"the server ended"'))
        self.assertIn('"r4"', outcomes)
        self.assertEqual(set(outcomes.values()), {("refused", "shutdown", None)})

    def id_of(self, headers, **more):
        """What the log calls a request that is wrong."""
        seen = len(self.lines())
        self.server.infer("a", bad_body(**more), headers=headers)
        return self.wait_lines(seen + 1)[seen]["request"]

    def test_the_id_is_the_first_of_body_header_trace_and_number(self):
        server = self.serve(("a", None, {}))
        both = {"X-Request-Id": "from-header", "traceparent": TRACE}
        self.assertEqual(self.id_of(both, id="from-body"), '"from-body"')
        self.assertEqual(self.id_of(both), '"from-header"')
        self.assertEqual(self.id_of({"traceparent": TRACE}), '"4bf92f3577b34da6a3ce929d0e0e4736"')
        numbers = [self.id_of({}), self.id_of({"x-request-id": ""})]
        self.assertEqual(numbers, ["4", "5"])
        # What cannot be parsed has no id in its body.
        server.infer("a", b"{", headers={"x-request-id": "h"})
        self.assertEqual(self.wait_lines(6)[5]["request"], '"h"')
        server.stop()

    def test_what_is_no_trace_is_not_taken_for_one(self):
        for text in ("", "00", TRACE[:-1], TRACE + "-x", TRACE.upper(), "ff" + TRACE[2:], TRACE.replace("-", "_")):
            with self.subTest(text):
                server = self.serve(("a", None, {}))
                self.assertEqual(self.id_of({"traceparent": text}), "1")
                server.stop()
        server = self.serve(("a", None, {}))
        self.assertEqual(self.id_of({"traceparent": "00-" + 32 * "0" + TRACE[35:]}), "1")
        self.assertEqual(self.id_of({"traceparent": "01" + TRACE[2:] + "-more"}), '"%s"' % TRACE[3:35])
        server.stop()

    def test_an_id_cannot_forge_anything(self):
        server = self.serve(("a", None, {}))
        self.assertEqual(self.id_of({}, id='x" outcome=ok\nlevel=error \\ é'), '"x\\" outcome=ok\\x0alevel=error \\\\ \\xc3\\xa9"')
        self.assertEqual(self.id_of({}, id=200 * "x"), '"%s..."' % (128 * "x"))
        self.assertEqual(self.id_of({"x-request-id": 3000 * '"'}), '"%s..."' % (128 * '\\"'))
        self.assertEqual(server.log().count("level=error"), 1)
        server.stop()

    def test_names_of_models_cannot_either(self):
        names = {"plain-1.0": "plain-1.0", "a b": '"a b"', "a=b": '"a=b"', 'a"b': '"a\\"b"', "\u00e9": '"\\xc3\\xa9"'}
        server = self.serve(*[(name, None, {}) for name in names])
        for name in names:
            server.infer(quote(name), bad_body(id=name))
        self.assertEqual([line["model"] for line in self.wait_lines(len(names))], list(names.values()))
        server.stop()

    def test_at_most_so_many_a_second_and_the_rest_counted(self):
        server = self.serve(("a", None, {}), ("b", None, {}))
        count = 0
        with server.client() as c:
            def more():
                nonlocal count
                self.assertEqual(c.request("POST", "/v2/models/a/infer", bad_body(id=str(count))).status, 400)
                count += 1
                return any("suppressed" in line for line in self.lines())
            wait_for(more, "the limit met and passed")
        self.assertEqual(server.infer("b", bad_body()).status, 400)
        lines = self.lines()
        self.assertEqual([line["model"] for line in lines].count("b"), 1, "a model's lines are at the cost of another's")
        lines = [line for line in lines if line["model"] == "a"]
        self.assertEqual([line["request"] for line in lines[:LINES_A_SECOND]], ['"%d"' % i for i in range(LINES_A_SECOND)])
        self.assertEqual(lines[LINES_A_SECOND]["suppressed"], str(count - LINES_A_SECOND - 1))
        self.assertEqual(len(lines), LINES_A_SECOND + 1)
        server.stop()

    def test_failures_are_not_hidden_by_refusals(self):
        config = "max_batch_size: 1\ndynamic_batching { default_queue_policy { max_queue_size: 1 } }\n"
        server = self.serve(("short", config, {"latency_ms": 500}))
        self.send("short", 40)
        wait_for(lambda: server.model_status("short")["rejected"] >= 30, "refusals")
        server.infer("short", bad_body(id="wrong"))
        wait_for(lambda: '"wrong"' in [line["request"] for line in self.lines()], "the failure told")
        server.kill()

    def test_levels(self):
        config = "max_batch_size: 1\n" + parameters(slo_ms=20, late="serve")
        server = self.serve(("late", config, {"latency_ms": 60}), log_level="warning")
        self.assertEqual(server.infer("late", identity_body()).status, 200)
        self.assertEqual(server.infer("late", bad_body()).status, 400)
        self.assertEqual([line["outcome"] for line in self.wait_lines(1)], ["failed"])
        server.stop()


def chain(*models):
    """An ensemble that runs the models one after another, each a step of its name."""
    steps = ['{ model_name: "%s" input_map { key: "INPUT" value: "T%d" } output_map { key: "OUTPUT" value: "T%d" } }' %
             (name, i, i + 1) for i, name in enumerate(models)]
    return ('platform: "ensemble"\nmax_batch_size: 1\ninput { name: "T0" data_type: TYPE_FP32 dims: [ 16 ] }\n'
            'output { name: "T%d" data_type: TYPE_FP32 dims: [ 16 ] }\nensemble_scheduling { step [ %s ] }\n' %
            (len(models), ", ".join(steps)))


class EnsembleLogs(Base):
    def ask(self, number):
        body = infer_json(tensor("T0", "FP32", [1, 16], [0.0] * 16), id="r%d" % number)
        c = self.server.client()
        self.addCleanup(c.close)
        c.send(head("POST", "/v2/models/e/infer", body) + body)
        return c

    def test_names_the_step_that_was_refused(self):
        config = "max_batch_size: 1\ndynamic_batching { default_queue_policy { max_queue_size: 1 } }\n"
        server = self.serve(("first", None, {}), ("second", config, {"latency_ms": 300}),
                            files={os.path.join("e", "config.pbtxt"): chain("first", "second")})
        statuses = [c.read_response().status for c in [self.ask(i) for i in range(8)]]
        refused = {'"r%d"' % i for i, status in enumerate(statuses) if status == 503}
        self.assertGreaterEqual(len(refused), 3)
        lines = self.wait_lines(len(refused))
        self.assertEqual({line["request"] for line in lines}, refused)
        for line in lines:
            self.assertEqual(list(line), FIELDS + ["step"])
            self.assertEqual((line["model"], line["outcome"], line["reason"], line["step"]), ("e", "refused", "queue_full", "second"))
            self.assertGreater(float(line["exec_ms"]), 0)
        self.assertEqual(len(self.lines()), len(refused), "one line a request")
        server.stop()

    def test_names_the_step_that_failed(self):
        server = self.serve(("first", None, {}), ("second", None, {"fail_run_every": 1}),
                            files={os.path.join("e", "config.pbtxt"): chain("first", "second")})
        self.assertEqual(self.ask(0).read_response().status, 500)
        lines = self.wait_lines(1)
        self.assertEqual([(x["model"], x["outcome"], x["reason"], x["step"]) for x in lines], [("e", "failed", "BACKEND", "second")])
        self.assertEqual(server.metric("nv_inference_request_failure", model="e", reason="BACKEND"), 1)
        server.stop()

    def test_a_late_one_and_one_whose_client_goes(self):
        text = chain("first", "second") + parameters(slo_ms=20, late="serve")
        server = self.serve(("first", None, {}), ("second", "max_batch_size: 1\n", {"latency_ms": 300}),
                            files={os.path.join("e", "config.pbtxt"): text})
        clients = [self.ask(i) for i in range(5)]
        wait_for(lambda: server.model_status("second")["offered"] >= 5, "all in the second step")
        clients[4].close()
        self.assertEqual({c.read_response().status for c in clients[:4]}, {200})
        outcomes = {x["request"]: (x["model"], x["outcome"], x["reason"]) for x in self.wait_lines(5)}
        self.assertEqual(outcomes.pop('"r4"'), ("e", "cancelled", "CANCELED"))
        self.assertEqual(outcomes, {'"r%d"' % i: ("e", "late", "late") for i in range(4)})
        server.stop()


class Start(Base):
    def test_a_grpc_port_is_taken_and_warned_of(self):
        for port, lines in ((None, 0), ("0", 0), ("8001", 1)):
            with self.subTest(port):
                server = self.serve(("a", None, {}), grpc_port=port)
                self.assertRegex(server.lines[0], r"^ready http=127\.0\.0\.1:\d+ grpc=off metrics=127\.0\.0\.1:\d+$")
                told = [fields_of(line) for line in server.log().splitlines() if "event=grpc_unavailable" in line]
                self.assertEqual([(x["level"], x["port"]) for x in told], [("warning", port)] * lines)
                identity_infer(server, model="a")
                server.stop()

    def test_a_grpc_port_that_is_none_is_refused(self):
        for port in ("x", "65536", "-1", ""):
            with self.subTest(port):
                code, _, err = run(GPULETD, "--model-repository", "/", "--grpc-port=" + port)
                self.assertEqual(code, 2)
                self.assertIn("grpc-port", err)


if __name__ == "__main__":
    main()
