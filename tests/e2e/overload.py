"""More is asked than can be done: what is refused is refused at once and counted, what is accepted is in time."""
import socket
import threading
import time
import unittest

from harness import (Closed, Load, Repository, Server, binary, head, identity_body, identity_infer, main, parameters, plan_json, sanitized,
                     wait_for)


SLO_MS = 120  # of the model that is asked for more than it can do


def quantile(values, part):
    return sorted(values)[int(part * (len(values) - 1))] if values else 0.0


class OpenLoop:
    """Requests at a fixed rate whatever the answers do, as far as the threads suffice."""

    def __init__(self, server, model, rate, seconds, threads=64):
        self.server, self.model = server, model
        self.statuses, self.problems, self.retry_after = [], [], []
        self.refused_ms = []  # how long each 503 took that was said at arrival
        self.dropped = 0  # those that waited in vain
        self.due = iter(i / rate for i in range(int(rate * seconds)))
        self.lock = threading.Lock()
        self.begin = time.monotonic()
        workers = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for w in workers:
            w.start()
        for w in workers:
            w.join(90)
        assert not any(w.is_alive() for w in workers), "a request was never answered"
        self.seconds = time.monotonic() - self.begin

    def _run(self):
        with self.server.client() as c:
            while True:
                with self.lock:
                    due = next(self.due, None)
                if due is None:
                    return
                wait = self.begin + due - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                body = identity_body(first=due)
                sent = time.monotonic()
                try:
                    r = c.request("POST", "/v2/models/%s/infer" % self.model, body)
                except (Closed, OSError) as e:
                    self.problems.append(repr(e))
                    return
                took_ms = (time.monotonic() - sent) * 1000
                with self.lock:
                    self.statuses.append(r.status)
                    if r.status == 503:
                        if "dropped" in r.error():
                            self.dropped += 1
                        else:
                            self.refused_ms.append(took_ms)
                        self.retry_after.append(r.header("retry-after"))


class Pings:
    """Questions that cost nothing, all the while: how long an answer takes that nothing has to be decided for tells what the machine is
    like, whatever else runs on it."""

    def __init__(self, server):
        self.server, self.over, self.took_ms = server, threading.Event(), []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with self.server.client() as c:
            while not self.over.wait(0.005):
                begin = time.monotonic()
                c.request("GET", "/v2/health/live")
                self.took_ms.append((time.monotonic() - begin) * 1000)

    def stop(self):
        self.over.set()
        self.thread.join(60)
        return self.took_ms


class Overload(unittest.TestCase):
    def serve(self, *models, gpulets=None, **options):
        """models: (name, config, script arguments)."""
        self.repository = Repository()
        self.addCleanup(self.repository.close)
        for name, config, args in models:
            self.repository.add(name, config=config, **args)
        plan = self.repository.write(".plan.json", plan_json(gpulets or [(100, 0, [(m[0], 1, m[2].get("latency_ms", 1)) for m in models])]))
        self.server = Server(self.repository, plan=plan, **options)
        self.addCleanup(self.server.kill)
        return self.server

    def misses(self, model):
        """{reason: count} of what was not answered in time."""
        return {labels["reason"]: int(value) for name, labels, value in self.server.metrics()
                if name == "gpulet_requests_missed_total" and labels["model"] == model and value > 0}

    def send(self, model, count, **more):
        clients = []
        for i in range(count):
            body = identity_body(first=float(i), id=str(i), **more)
            c = self.server.client()
            c.send(head("POST", "/v2/models/%s/infer" % model, body) + body)
            clients.append(c)
        return clients

    def receive(self, clients):
        responses = [c.read_response() for c in clients]
        for c in clients:
            c.close()
        return responses

    def learn(self, model, least_ms):
        """Asks until the server knows how slow the model is."""
        def known():
            identity_infer(self.server, model=model)
            return self.server.status()["gpulets"][0]["models"][0]["estimate_ms"] >= least_ms
        wait_for(known, "the latency learnt")

    def fill(self, model, count):
        """So many requests wait and run, and none is on its way any more."""
        offered = self.server.model_status(model)["offered"]
        clients = self.send(model, count)

        def there():
            s = self.server.model_status(model)
            return s["offered"] >= offered + count
        wait_for(there, "the queue filled")
        return clients

    def test_goodput_does_not_collapse_beyond_capacity(self):
        server = self.serve(("busy", "max_batch_size: 4\n" + parameters(slo_ms=SLO_MS), {"latency_ms": 10, "latency_ms_per_item": 2}),
                            gpulets=[(100, 0, [("busy", 4, 18)])])

        def one(thread, number, client):
            r = client.request("POST", "/v2/models/busy/infer", identity_body())
            return str(r.status)
        warm = Load(server.port, 8, one)
        wait_for(lambda: warm.count("200") > 100, "warm")
        begin, first = time.monotonic(), server.model_status("busy")["in_time"]
        wait_for(lambda: server.model_status("busy")["in_time"] - first >= 300, "the peak measured")
        peak = (server.model_status("busy")["in_time"] - first) / (time.monotonic() - begin)
        warm.stop()
        before = server.model_status("busy")
        pings = Pings(server)
        loop = OpenLoop(server, "busy", peak * 3, 3)
        ping_ms, refused_ms = quantile(pings.stop(), 0.99), quantile(loop.refused_ms, 0.99)
        after = server.model_status("busy")
        self.assertEqual(loop.problems, [])
        self.assertLessEqual(set(loop.statuses), {200, 503})
        refused = loop.statuses.count(503)
        goodput = (after["in_time"] - before["in_time"]) / loop.seconds
        self.assertGreater(refused, 0)
        self.assertTrue(all(text is not None and int(text) >= 1 for text in loop.retry_after), loop.retry_after[:5])
        self.assertEqual(after["rejected"] - before["rejected"], refused)
        figures = "goodput %.0f/s, peak %.0f/s, refused %d of %d (%d late), p99 of refusals %.1f ms, of pings %.1f ms" % (
            goodput, peak, refused, len(loop.statuses), loop.dropped, refused_ms, ping_ms)
        print(figures)
        if not sanitized():
            self.assertGreaterEqual(goodput, 0.9 * peak, figures)
            self.assertLess(refused_ms, SLO_MS / 5 + 3 * ping_ms, figures)
            self.assertLess(loop.dropped, 0.1 * refused, figures)
        misses = self.misses("busy")
        self.assertGreaterEqual(sum(misses.get(r, 0) for r in ("predicted_late", "dropped", "queue_full", "timeout")), refused)
        self.assertGreaterEqual(server.metric("nv_inference_request_failure", model="busy", reason="REJECTED"), refused)
        identity_infer(server, model="busy")
        server.stop()

    def test_memory_is_flat_in_overload(self):
        """Many times as much is asked as can be done: what is refused leaves nothing behind."""
        config = "max_batch_size: 1\n" + parameters(slo_ms=100)
        server = self.serve(("busy", config, {"latency_ms": 20, "inputs": ("INPUT:UINT8:-1x-1",), "outputs": ("OUTPUT:UINT8:-1x8",)}))
        body, headers = binary([("INPUT", "UINT8", [1, 20000], b"\7" * 20000)])

        def one(thread, number, client):
            return str(client.request("POST", "/v2/models/busy/infer", body, headers).status)
        load = Load(server.port, 32, one)
        figures = []
        for count in (10000, 30000):
            wait_for(lambda: load.count() >= count or load.problems, "requests")  # pylint: disable=cell-var-from-loop
            figures.append(server.all_rss_mb())
        counts = load.stop()
        print("%.1f MiB after a third, %.1f at the end, %s" % (*figures, counts))
        self.assertLessEqual(set(counts), {"200", "503"})
        self.assertGreater(counts["503"], 2 * counts["200"], "no overload")
        if not sanitized():
            self.assertLess(figures[1], 1.1 * figures[0])
        server.stop()

    def test_a_model_that_is_served_late_is_never_refused(self):
        server = self.serve(("late", "max_batch_size: 1\n" + parameters(slo_ms=40, late="serve"), {"latency_ms": 10}))
        responses = self.receive(self.send("late", 50))
        self.assertEqual([r.status for r in responses], [200] * 50)
        self.assertEqual([r.outputs()["OUTPUT"][2][0] for r in responses], [float(i) for i in range(50)])
        self.assertGreater(self.misses("late").get("late", 0), 0)
        self.assertEqual(set(self.misses("late")), {"late"})
        server.stop()

    def test_without_an_objective_everything_is_served(self):
        server = self.serve(("calm", "max_batch_size: 2\n", {"latency_ms": 5}))
        self.assertEqual({r.status for r in self.receive(self.send("calm", 80))}, {200})
        self.assertEqual(self.misses("calm"), {})
        server.stop()

    def test_a_limited_queue(self):
        config = "max_batch_size: 1\ndynamic_batching { default_queue_policy { max_queue_size: 4 } }\n"
        server = self.serve(("short", config, {"latency_ms": 100}))
        responses = self.receive(self.send("short", 30))
        refused = [r for r in responses if r.status == 503]
        self.assertEqual(len(refused) + sum(r.status == 200 for r in responses), 30)
        self.assertGreaterEqual(len(refused), 10)
        self.assertGreaterEqual(30 - len(refused), 4)
        for r in refused:
            self.assertRegex(r.error(), r"^\[request id: \d+\] Exceeds maximum queue size")
            self.assertGreaterEqual(int(r.header("retry-after")), 1)
        self.assertEqual(self.misses("short"), {"queue_full": len(refused)})
        identity_infer(server, model="short")
        server.stop()

    def test_requests_max(self):
        server = self.serve(("calm", "max_batch_size: 1\n", {"latency_ms": 20}), requests_max=16)
        statuses = [r.status for r in self.receive(self.send("calm", 60))]
        self.assertEqual(set(statuses), {200, 503})
        # A quarter of the places is kept for models that have an objective.
        self.assertGreaterEqual(statuses.count(200), 12, self.misses("calm"))
        identity_infer(server, model="calm")
        server.stop()

    def test_a_request_keeps_to_its_own_timeout(self):
        server = self.serve(("slow", "max_batch_size: 1\n", {"latency_ms": 150}))
        self.learn("slow", 100)
        occupants = self.fill("slow", 8)
        timed = self.send("slow", 1, parameters={"timeout": 100000})
        r = self.receive(timed)[0]
        self.assertEqual(r.status, 503, r)
        self.assertIn("retry-after", r.headers)
        s = server.model_status("slow")
        self.assertGreater(s["waiting"] + s["running"], 0, "it was told only after all others were answered")
        self.assertEqual({r.status for r in self.receive(occupants)}, {200})
        self.assertEqual(sum(self.misses("slow").values()), 1)
        self.assertLessEqual(set(self.misses("slow")), {"timeout", "predicted_late", "dropped"})
        self.assertEqual([r.status for r in self.receive(self.send("slow", 1, parameters={"timeout": 60000000}))], [200])
        server.stop()

    def test_the_timeout_of_the_configuration(self):
        config = ("max_batch_size: 1\ndynamic_batching { default_queue_policy { timeout_action: REJECT "
                  "default_timeout_microseconds: 300000 allow_timeout_override: true } }\n")
        server = self.serve(("slow", config, {"latency_ms": 150}))
        statuses = [r.status for r in self.receive(self.send("slow", 12))]
        self.assertEqual(set(statuses), {200, 503}, statuses)
        self.assertLessEqual(set(self.misses("slow")), {"timeout", "predicted_late", "dropped", "late"})
        server.stop()

    def test_a_client_that_leaves_cancels_what_waits(self):
        server = self.serve(("slow", "max_batch_size: 1\n", {"latency_ms": 200}))
        clients = self.fill("slow", 9)
        for c in clients[5:]:
            c.close()
        wait_for(lambda: server.metric("nv_inference_request_failure", model="slow", reason="CANCELED") == 4, "four cancelled")
        self.assertEqual([r.status for r in self.receive(clients[:5])], [200] * 5)
        identity_infer(server, model="slow")
        stats = server.get("/v2/models/slow/stats").json()["model_stats"][0]
        self.assertEqual(stats["execution_count"], 6)
        self.assertEqual(server.model_status("slow")["cancelled"], 4)
        server.stop()

    def test_a_client_that_sends_no_more_is_answered_if_its_request_runs_and_told_so_if_it_waits(self):
        """Half a close looks like a whole one: what waits is called off, with an answer in case somebody still reads."""
        server = self.serve(("slow", "max_batch_size: 1\n", {"latency_ms": 200}))
        clients = self.fill("slow", 1)
        wait_for(lambda: server.model_status("slow")["running"] + server.model_status("slow")["in_time"] > 0, "the first one runs")
        clients[0].socket.shutdown(socket.SHUT_WR)
        clients += self.fill("slow", 8)
        for c in clients[5:]:
            c.socket.shutdown(socket.SHUT_WR)
        for number, c in enumerate(clients[5:], 4):
            r = c.read_response()
            self.assertEqual((r.status, r.error()), (400, "[request id: %d] the client is gone" % number))
            self.assertTrue(c.is_closed())
            c.close()
        self.assertEqual([r.status for r in self.receive(clients[:5])], [200] * 5)
        self.assertEqual(server.model_status("slow")["cancelled"], 4)
        identity_infer(server, model="slow")
        server.stop()

    def test_a_high_priority_overtakes(self):
        server = self.serve(("slow", "max_batch_size: 1\n", {"latency_ms": 300}))
        low = self.send("slow", 0)
        for _ in range(10):
            low += self.send("slow", 1, parameters={"priority": 3})
        wait_for(lambda: server.model_status("slow")["offered"] >= 10, "the queue filled")
        high = self.send("slow", 1, parameters={"priority": 1})
        self.assertEqual(self.receive(high)[0].status, 200)
        s = server.model_status("slow")
        self.assertGreater(s["waiting"] + s["running"], 2, "it waited for all that were before it")
        self.assertEqual({r.status for r in self.receive(low)}, {200})
        server.stop()

    def test_a_busy_best_effort_model_leaves_room_for_one_with_an_objective(self):
        server = self.serve(("effort", "max_batch_size: 1\n", {"latency_ms": 50}),
                            ("prompt", "max_batch_size: 1\n" + parameters(slo_ms=2000), {"latency_ms": 5}))
        waiting = self.fill("effort", 60)
        for _ in range(5):
            identity_infer(server, model="prompt")
        s = server.model_status("effort")
        self.assertGreater(s["waiting"], 0, "the best-effort queue was served first")
        self.assertEqual(server.model_status("prompt")["in_time"], 5)
        self.assertEqual({r.status for r in self.receive(waiting)}, {200})
        server.stop()


if __name__ == "__main__":
    main()
