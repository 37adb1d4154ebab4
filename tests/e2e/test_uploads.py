#!/usr/bin/python3
"""Uploads: what is acknowledged is stored, once; what cannot be read is kept; what is out of bounds is refused."""
from harness import *

TELEMETRY = gateway.PAYLOAD_FORMAT_TELEMETRY_BATCH
EVENTS = gateway.PAYLOAD_FORMAT_EVENT_BATCH


def batch(samples, metric="test.value", instance=""):
    """samples: (time_us, value)."""
    series = gateway.TelemetrySeries(metric=metric, instance=instance, unit="ratio")
    return gateway.TelemetryBatch(series=[series], samples=[
        gateway.TelemetrySample(series=0, time_us=time_us, value=value) for time_us, value in samples]).SerializeToString()


def telemetry(payload, sequence=0, **fields):
    return gateway.UploadTelemetryRequest(**{"payload": payload, "captured_at": now(), "sequence": sequence,
                                             "format": TELEMETRY, **fields})


class Uploads(ServerCase):
    def samples(self, agent):
        return self.server.database.query(
            "SELECT s.metric, p.time_us, p.value FROM sample p JOIN series s ON s.workspace_id = p.workspace_id "
            f"AND s.id = p.series_id WHERE s.agent_id = {agent.id} ORDER BY 1, 2")

    def opaque(self, agent):
        return self.server.database.query(
            f"SELECT sequence, {Database.hex('payload')} FROM upload WHERE agent_id = {agent.id} ORDER BY id")

    def base_time(self):
        return int(time.time() * 1e6) // 1000000 * 1000000

    def test_replayed_batches_are_stored_once_and_acknowledged_again(self):
        agent = self.agent()
        start = self.base_time()
        requests = [telemetry(batch([(start + i, i)]), sequence=i + 1) for i in range(100)]
        reply = agent.upload(requests)
        self.assertEqual((100, 100), (reply.accepted_count, reply.acked_sequence))
        for _ in range(3):
            self.assertEqual(100, agent.upload(requests).acked_sequence)
        self.assertEqual(100, len(self.samples(agent)))
        self.assertEqual(100, self.agent_row(agent).telemetry_sequence)
        # The same sequence with another payload changes nothing either.
        agent.upload([telemetry(batch([(start + 5000, 1.0)]), sequence=50)])
        self.assertEqual(100, len(self.samples(agent)))

    def test_replayed_events_are_stored_once(self):
        agent = self.agent()
        payload = gateway.EventBatch(events=[gateway.AgentEvent(
            time_us=self.base_time(), severity=gateway.SEVERITY_WARNING, kind="test.once", text="x" * 4096,
            attributes={"a": "\"quoted\"\n", "\u00e9": "\u00fc"})]).SerializeToString()
        request = gateway.UploadEventsRequest(payload=payload, captured_at=now(), sequence=7, format=EVENTS)
        for _ in range(3):
            self.assertEqual(7, agent.upload([request], events=True).acked_sequence)
        events = self.operator.ListEvents(agent=str(agent.id)).events
        self.assertEqual(1, len(events))
        self.assertEqual({"a": "\"quoted\"\n", "\u00e9": "\u00fc"}, dict(events[0].attributes))
        self.assertEqual(7, self.agent_row(agent).events_sequence)
        self.assertEqual(0, self.agent_row(agent).telemetry_sequence)

    def test_a_gap_is_allowed_a_step_back_is_a_repeat(self):
        agent = self.agent()
        start = self.base_time()
        self.assertEqual(1000, agent.upload([telemetry(batch([(start, 1)]), 1000)]).acked_sequence)
        self.assertEqual(1000, agent.upload([telemetry(batch([(start + 1, 2)]), 3)]).acked_sequence)
        self.assertEqual(1, len(self.samples(agent)))
        agent.upload([telemetry(batch([(start + 2, 3)]))])
        self.assertEqual(2, len(self.samples(agent)))
        top = (1 << 63) - 1
        self.assertEqual(top, agent.upload([telemetry(batch([(start + 3, 4)]), top)]).acked_sequence)
        self.assertEqual(3, len(self.samples(agent)))

    def test_sequence_beyond_int64_is_refused(self):
        agent = self.agent()
        for sequence in (1 << 63, (1 << 64) - 1):
            self.refused(Code.INVALID_ARGUMENT, lambda s=sequence: agent.upload([telemetry(b"", s)]), "sequence")
        self.assertEqual([], self.opaque(agent))

    def test_the_acknowledged_sequence_comes_back_with_the_handshake(self):
        agent = self.agent()
        agent.upload([telemetry(batch([(self.base_time(), 1)]), 41)])
        request = base.CompleteAuthHandshakeRequest(challenge=agent.begin().challenge)
        request.signature = agent.identity.sign(request.challenge)
        reply = agent.unary("CompleteAuthHandshake", request, gateway.CompleteAuthHandshakeResponse)
        self.assertEqual((41, 0), (reply.telemetry_acked_sequence, reply.events_acked_sequence))
        self.assertGreaterEqual(reply.heartbeat_interval_ms, 1000)

    def test_what_cannot_be_decoded_is_kept(self):
        agent = self.agent()
        start = self.base_time()
        nan = batch([(start, float("nan"))])
        no_series = gateway.TelemetryBatch(samples=[gateway.TelemetrySample(series=3, time_us=start)]).SerializeToString()
        bad_utf8 = b"\x0a\x03\x0a\x01\xff"
        deep = b""
        for _ in range(60):
            deep = bytes([0x0b]) + deep + bytes([0x0c])
        payloads = [b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x08\x80\x80", nan, no_series, bad_utf8, deep,
                    batch([(-1, 1.0)]), batch([(1 << 62, 1.0)])]
        requests = [telemetry(payload, i + 1) for i, payload in enumerate(payloads)]
        requests.append(telemetry(b"not zstd", len(payloads) + 1, compression=gateway.PAYLOAD_COMPRESSION_ZSTD))
        reply = agent.upload(requests)
        self.assertEqual((len(requests), len(requests)), (reply.accepted_count, reply.acked_sequence))
        self.assertEqual([], self.samples(agent))
        kept = self.opaque(agent)
        self.assertEqual([(str(i + 1), request.payload.hex()) for i, request in enumerate(requests)], kept)
        # The session is none the worse for it.
        agent.upload([telemetry(batch([(start, 1)]), 100)])
        self.assertEqual(1, len(self.samples(agent)))

    def test_timestamps_of_1970_and_9999(self):
        agent = self.agent()
        last = 253402300799
        for seconds in (0, last):
            request = telemetry(batch([(seconds * 1000000, 1.0)]))
            request.captured_at.seconds = seconds
            request.captured_at.nanos = 999999999
            self.assertEqual(1, agent.upload([request]).accepted_count)
        self.assertEqual([0, last * 1000000], [int(row[1]) for row in self.samples(agent)])
        for seconds, nanos in ((last + 1, 0), (-62135596801, 0), (0, -1), (0, 1000000000), (1 << 62, 0)):
            request = telemetry(b"")
            request.captured_at.seconds = seconds
            request.captured_at.nanos = nanos
            self.refused(Code.INVALID_ARGUMENT, lambda r=request: agent.upload([r]), "captured_at")
        self.refused(Code.INVALID_ARGUMENT, lambda: agent.upload([gateway.UploadTelemetryRequest(payload=b"x")]),
                     "captured_at")

    def test_unknown_enums(self):
        agent = self.agent()
        for field in ("format", "compression"):
            code, text = code_of(lambda f=field: agent.upload([telemetry(b"x", 5, **{f: 77})]))
            if code != Code.OK:
                self.assertEqual(Code.INVALID_ARGUMENT, code)
                self.assertIn(field, text)

    def test_malformed_messages_are_refused(self):
        agent = self.agent()
        stamp = telemetry(b"")
        deep = b"\x0b" * 10000 + b"\x0c" * 10000
        for raw in (b"\xff", b"\x0a\x05abc", b"\x08\x80\x80", deep, stamp.SerializeToString()[:-1],
                    b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"):
            self.refused(Code.INVALID_ARGUMENT, lambda r=raw: agent.upload([r]))
        self.assertEqual([], self.opaque(agent))
        bad = b"\x0a\x03\xff\xfe\xfd" + b"\x12\x01a"
        stub = agent.channel.unary_unary(GATEWAY + "Register", None, None)
        self.refused(Code.INVALID_ARGUMENT, lambda: stub(bad, timeout=TIMEOUT))

    def test_a_mebibyte_fits_more_does_not(self):
        agent = self.agent()
        self.assertEqual(1, agent.upload([base.UploadTelemetryRequest(payload=os.urandom(1 << 20), captured_at=now())])
                         .accepted_count)
        self.refused(Code.INVALID_ARGUMENT, lambda: agent.upload(
            [base.UploadTelemetryRequest(payload=bytes((1 << 20) + 1), captured_at=now())]), "payload")
        self.refused(Code.RESOURCE_EXHAUSTED, lambda: agent.upload(
            [base.UploadTelemetryRequest(payload=bytes(3 << 20), captured_at=now())]))
        self.assertEqual(1, len(self.opaque(agent)))
        agent.heartbeat()

    def test_an_empty_upload_is_answered(self):
        self.assertEqual(0, self.agent().upload([]).accepted_count)

    def test_wrong_format_for_the_stream_is_kept_or_refused(self):
        agent = self.agent()
        code, _ = code_of(lambda: agent.upload([telemetry(b"\x0a\x00", 3, format=EVENTS)]))
        self.assertIn(code, (Code.OK, Code.INVALID_ARGUMENT))
        agent.heartbeat()

    def test_sixteen_agents_at_once(self):
        agents = [self.agent() for _ in range(16)]
        start = self.base_time()

        def work(index):
            requests = [telemetry(batch([(start + i * 10 + j, j) for j in range(10)]), i + 1) for i in range(50)]
            return agents[index].upload(requests).acked_sequence
        self.assertEqual([50] * 16, in_threads(16, work))
        for agent in agents:
            self.assertEqual(500, len(self.samples(agent)))


if __name__ == "__main__":
    main()
