"""A load that swings by large factors for a minute and a half, while a model comes and goes and a worker is killed: no request is lost or
answered twice, plans follow, and a model whose load is steady does not notice."""
import json
import os
import random
import signal
import threading
import time
import unittest

import harness
import real_models as real
from drain import segments
from planned import Case

SECONDS = 90
SEED = 23
SLO_MS = 150
PLANS_LEAST = 8
GUEST = "guest"
REST_RPS = 3
# Who is asked how much, turn by turn.
TURN_S = 9
TURNS = {"steady": (40,), "tide": (5, 150), "wave": (120, 4, 4), "surge": (2, 2, 100, 30), GUEST: (20,)}
SENDERS = {"steady": 8, "tide": 16, "wave": 16, "surge": 16, GUEST: 6}


def arrivals(rng, turns):
    """Moments of a Poisson stream, the rate of which changes with every turn."""
    at = 0.0
    while True:
        at += rng.expovariate(turns[int(at / TURN_S) % len(turns)])
        if at >= SECONDS:
            return
        yield at


class Asked:
    """One request as its sender saw it; status None: no answer, or none that belongs to it."""
    __slots__ = ("begin", "end", "late_s", "status")

    def __init__(self, begin, end, late_s, status):
        self.begin, self.end, self.late_s, self.status = begin, end, late_s, status


def in_time(asked):
    return asked.status == 200 and (asked.end - asked.begin) * 1000 <= SLO_MS


class Stream:
    """Sends a model's requests when they are due, over as many connections as there are threads; all answers are checked."""

    def __init__(self, port, model, begin):
        self.port, self.model, self.begin = port, model, begin
        self.due = arrivals(random.Random("%d %s" % (SEED, model)), TURNS[model])
        self.lock = threading.Lock()
        self.asked, self.problems, self.number = [], [], 0
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(SENDERS[model])]
        for t in self.threads:
            t.start()

    def _next(self):
        with self.lock:
            self.number += 1
            return self.number, next(self.due, None)

    def _run(self):
        try:
            with harness.Client(self.port) as client:
                while True:
                    number, due = self._next()
                    if due is None:
                        break
                    time.sleep(max(0.0, self.begin + due - time.monotonic()))
                    self._one(client, number, self.begin + due)
                client.socket.setblocking(False)
                try:
                    more = bytes(client.buffer) + client.socket.recv(100)
                except BlockingIOError:
                    more = bytes(client.buffer)
                assert not more, "after the last answer came %r" % more
        except Exception as e:  # pylint: disable=broad-except
            with self.lock:
                self.problems.append("%s: %r" % (self.model, e))

    def _one(self, client, number, due):
        """A second answer to a request would be taken for that of the next one, whose id and values it does not have."""
        begin = time.monotonic()
        body = harness.identity_body(first=float(number), id=str(number))
        r = client.request("POST", "/v2/models/%s/infer" % self.model, body)
        end = time.monotonic()
        if r.status == 200:
            assert r.json()["id"] == str(number), (number, r)
            assert r.outputs()["OUTPUT"][2] == [float(number) + i for i in range(16)], (number, r)
        with self.lock:
            self.asked.append(Asked(begin, end, begin - due, r.status))

    def join(self):
        for t in self.threads:
            t.join(harness.DEADLINE_S)
            assert not t.is_alive(), "a request to %s was never answered" % self.model
        assert not self.problems, self.problems[:3]
        return self.asked


class Swing(Case):
    def setUp(self):
        super().setUp()
        rates = {model: turns[0] if model in ("steady", GUEST) else REST_RPS for model, turns in TURNS.items()}
        self.planned(rates, latency_ms=4, slo_ms=SLO_MS, count=3, late="drop")
        self.gone = []  # [from, until] of the guest's absences

    def sleep_until(self, second):
        time.sleep(max(0.0, self.begin + second - time.monotonic()))

    def change(self, verb):
        r = self.post_model(verb)
        self.server.note_workers()
        self.assertEqual(r.status, 200, r)

    def post_model(self, verb):
        return self.server.post("/v2/repository/models/%s/%s" % (GUEST, verb))

    def kill_a_worker(self):
        """One that serves the steady model: that is the hardest."""
        victim = next(g for g in self.gpulets() if "steady" in [m["model"] for m in g["models"]])
        self.server.note_workers()
        os.kill(victim["pid"], signal.SIGKILL)

    def disturb(self):
        """The guest goes and comes four times; in between a worker dies."""
        for second in range(8, SECONDS - 10, 20):
            self.sleep_until(second)
            away = [time.monotonic(), None]
            self.gone.append(away)
            self.change("unload")
            self.sleep_until(second + 4)
            self.change("load")
            away[1] = time.monotonic()
            if second == 48:
                self.sleep_until(second + 8)
                self.kill_a_worker()
        self.sleep_until(SECONDS)

    def was_away(self, asked):
        return any(begin <= asked.end and asked.begin <= end for begin, end in self.gone)

    def check_statuses(self, model, asked):
        allowed = (200, 503, 400, 404) if model == GUEST else (200, 503)
        self.assertEqual([a.status for a in asked if a.status not in allowed], [], model)
        self.assertEqual([a.status for a in asked if a.status in (400, 404) and not self.was_away(a)], [], model)

    def check_counts(self, model, asked):
        """The server counted what the senders counted: none twice, none forgotten."""
        s = self.server.model_status(model)
        got = {status: sum(a.status == status for a in asked) for status in (200, 503)}
        self.assertEqual(s["in_time"] + s["late"], got[200], (model, s))
        self.assertEqual((s["waiting"], s["running"], s["cancelled"]), (0, 0, 0), (model, s))
        if model != GUEST:
            self.assertEqual((s["offered"], s["rejected"] + s["failed"]), (len(asked), got[503]), (model, s))

    def test_nothing_is_lost_and_a_steady_model_does_not_notice(self):
        fds = self.server.fds()
        self.begin = time.monotonic() + 0.5
        streams = {model: Stream(self.server.port, model, self.begin) for model in TURNS}
        beats = harness.Beats(self.server.port)
        self.disturb()
        asked = {model: stream.join() for model, stream in streams.items()}
        beats.stop()
        figures = {model: {"asked": len(all_), "answered": sum(a.status == 200 for a in all_),
                           "in_time": sum(in_time(a) for a in all_)}
                   for model, all_ in asked.items()}
        changed = [e for e in self.events(kind="replan") if e["outcome"] == "reached" and e["reason"] in ("burst", "period", "lost")]
        print(json.dumps({"models": figures, "plans": len(changed), "replans": self.server.status()["replans"],
                          "sent_late_s": round(max(a.late_s for all_ in asked.values() for a in all_), 3)}))
        for model, all_ in asked.items():
            self.check_statuses(model, all_)
            self.check_counts(model, all_)
            self.assertGreater(figures[model]["answered"], 100, model)
        self.assertGreaterEqual(len(changed), PLANS_LEAST)
        self.assertEqual(len(self.events(kind="worker_lost")), 1)
        if not harness.sanitized():
            steady = beats.outside(asked["steady"], lambda a: (a.begin, a.end))
            self.assertGreaterEqual(sum(in_time(a) for a in steady) / len(steady), 0.95)
        self.check_nothing_is_left(fds)

    def check_nothing_is_left(self, fds):
        """Neither in the server, once it is back at the plan for few requests, nor of it."""
        self.server.wait_quiet()
        harness.wait_for(lambda: self.server.status()["transition"] is None and self.server.fds() <= fds + 2,
                         "back to %d descriptors: %d" % (fds, self.server.fds()))
        held = segments([self.server.pid, *self.server.note_workers()])
        self.assertTrue(held)
        self.server.stop()
        everybody = segments([int(name) for name in os.listdir("/proc") if name.isdigit()])
        self.assertEqual([name for ino, name in everybody.items() if ino in held], [])


if __name__ == "__main__":
    real.main(real.need_long)
