#!/usr/bin/python3
"""The newest session and stream of an agent win whichever server they are on, and a server that was stopped while its
agent went elsewhere writes nothing of the old session when it goes on."""
from replicas import *
from sandbox_agent import READY, SandboxAgent


def stored(server, agent):
    return sorted(row[0] for row in server.database.query(f"SELECT kind FROM event WHERE agent_id = {agent.id}"))


class Newest(ReplicaCase):
    def test_a_newer_session_elsewhere_ends_the_older_stream(self):
        agent = self.agent_on(self.replicas[0])
        streams = [agent.stream()]
        for turn in range(1, 5):
            self.move(agent, self.replicas[turn % 2]).handshake()
            streams.append(agent.stream())
            self.assertEqual(Code.UNAUTHENTICATED, streams[-2].end()[0])
        self.carry(self.operators[1], agent, streams[-1])
        streams[-1].cancel()

    def test_a_newer_stream_of_the_same_session_elsewhere_ends_the_older(self):
        agent = self.agent_on(self.replicas[0])
        older = agent.stream()
        newer = self.move(agent, self.replicas[1]).stream()
        code, text = older.end()
        self.assertEqual(Code.ABORTED, code, text)
        self.assertIn("newer control stream", text)
        self.carry(self.operators[0], agent, newer)
        newer.cancel()

    def test_an_eviction_anywhere_ends_the_stream(self):
        agent = self.agent_on(self.replicas[0])
        stream = agent.stream()
        self.operators[1].EvictAgent(agent=str(agent.id), reason="r")
        self.assertEqual(Code.UNAUTHENTICATED, stream.end()[0])


class Stopped(ReplicaCase):
    def test_what_a_stopped_server_holds_of_the_old_session_is_not_written(self):
        stopped, other = self.replicas
        operator = self.operators[1]
        agent = self.agent_on(stopped)
        stream = agent.stream()
        sent = operator.SendCommand(agent=str(agent.id), command=TELEMETRY_NOW, ttl_seconds=120)
        self.assertEqual(sent.id, stream.command().command_id)
        old_channel, old_session = agent.channel, agent.credentials
        records = queue.SimpleQueue()
        upload = old_channel.stream_unary(GATEWAY + "UploadEvents", lambda m: m.SerializeToString(),
                                          gateway.UploadEventsResponse.FromString)
        upload = upload.future(iter(records.get, None), timeout=60, metadata=old_session)
        records.put(event(1, "fence.before"))
        eventually(lambda: stored(self.server, agent) == ["fence.before"], "the first record is stored")
        stopped.signal(signal.SIGSTOP)
        try:
            self.move(agent, other).handshake()
            newer = agent.stream()
            # All of this waits in the sockets of the stopped server, which still takes the session for good.
            stream.send(ack(sent.id, succeeded=False, error="of the old session"))
            records.put(event(2, "fence.after"))
            beat = old_channel.unary_unary(GATEWAY + "UploadHeartbeat", lambda m: m.SerializeToString(),
                                           gateway.UploadHeartbeatResponse.FromString)
            beat = beat.future(gateway.UploadHeartbeatRequest(sent_at=now(), status=gateway.AgentStatus(state="old")),
                               timeout=60, metadata=old_session)
        finally:
            stopped.signal(signal.SIGCONT)
        self.assertEqual(Code.UNAUTHENTICATED, upload.exception(60).code())
        self.assertEqual(Code.UNAUTHENTICATED, stream.end()[0])
        beat.exception(60)
        self.assertEqual(["fence.before"], stored(self.server, agent))
        # The newer stream got the command again, and its answer is the one that counts.
        self.assertEqual(sent.id, newer.command().command_id)
        newer.send(ack(sent.id))
        self.ends_well(operator, sent.id)
        status = gateway.AgentStatus(state="new")
        agent.unary("UploadHeartbeat", gateway.UploadHeartbeatRequest(sent_at=now(), status=status),
                    gateway.UploadHeartbeatResponse, agent.credentials)
        eventually(lambda: operator.GetAgent(agent=str(agent.id)).status.state == "new", "the new session's beat is written")
        agent.upload([event(2, "fence.again")], events=True)
        self.assertEqual(["fence.again", "fence.before"], stored(self.server, agent))
        self.assertNotIn("old", {change[0] for change in self.server.database.query(
            f"SELECT convert_from(status, 'SQL_ASCII') FROM agent WHERE id = {agent.id}")})
        newer.cancel()


class StoppedWithSandboxes(ReplicaCase):
    """One message of the old session each, since the first that is refused ends its stream."""

    def setUp(self):
        super().setUp()
        self.stopped, self.other = self.replicas
        self.there = self.operators[1]
        self.shell = Service(self.other.local_channel(), OPENSHELL_SERVICE)
        self.name = f"fenced-{self.id().rsplit('.', 1)[1][5:]}"[:40].replace("_", "-")
        self.agent = SandboxAgent(self, self.name).connect()
        self.sandbox = self.shell.CreateSandbox(name=self.name, annotations={"belay.dev/agent": self.name},
                                                spec=openshell.SandboxSpec()).sandbox
        command, _order = self.agent.order("sandbox_create")
        self.agent.control.send(ack(command.command_id))
        eventually(lambda: self.there.GetCommand(id=command.command_id).state == admin.COMMAND_STATE_SUCCEEDED,
                   "nothing waits to be sent again")

    def late(self, *reports, resumes=False, **message):
        """Is sent to the stopped server, which will not hear of it, while the agent's new session begins at the other, or a
        newer stream of the same one."""
        old = self.agent.control
        self.stopped.signal(signal.SIGSTOP)
        try:
            self.server.database.query(f"{LISTEN_GONE} AND application_name = '{self.stopped.name}'")
            self.move(self.agent.base, self.other)
            if not resumes:
                self.agent.base.handshake()
            self.agent.connect(*reports)
            old.send(gateway.ControlStreamRequest(**message))
        finally:
            self.stopped.signal(signal.SIGCONT)
        self.assertEqual(Code.ABORTED if resumes else Code.UNAUTHENTICATED, old.end()[0])

    def phase(self):
        return self.shell.GetSandbox(name=self.name).sandbox.status.phase

    def test_a_report(self):
        self.late(sandbox_report=self.agent.made(self.sandbox.metadata.id, READY))
        self.assertEqual(openshell.SANDBOX_PHASE_PROVISIONING, self.phase())
        self.agent.report(self.sandbox.metadata.id, READY)
        eventually(lambda: self.phase() == openshell.SANDBOX_PHASE_READY, "the new session's report is stored")

    def test_a_capacity(self):
        self.late(capacity=gateway.Capacity(cpus=99, sandbox_drivers=["native"]))
        self.assertEqual(4, self.there.GetAgent(agent=self.name).capacity.cpus)
        self.agent.control.send(gateway.ControlStreamRequest(capacity=gateway.Capacity(cpus=5, sandbox_drivers=["native"])))
        eventually(lambda: self.there.GetAgent(agent=self.name).capacity.cpus == 5, "the new session's capacity is stored")

    def test_older_stream(self):
        """It must not make the older stream the agent's newest."""
        self.late(capacity=gateway.Capacity(cpus=99, sandbox_drivers=["native"]), resumes=True)
        self.assertEqual(4, self.there.GetAgent(agent=self.name).capacity.cpus)
        self.agent.report(self.sandbox.metadata.id, READY)
        eventually(lambda: self.phase() == openshell.SANDBOX_PHASE_READY, "the newer stream is heard")
        self.shell.StopSandbox(name=self.name)
        self.agent.order("sandbox_stop")

    def readings(self, cpu_us):
        return gateway.ControlSandboxReadings(readings=[gateway.SandboxReading(
            sandbox_id=self.sandbox.metadata.id, taken_us=time.time_ns() // 1000, interval_us=1000000, cpu_us=cpu_us)])

    def figures(self):
        (row,) = self.there.ListSandboxFigures(sandboxes=[self.name]).figures
        return row.cpu_us

    def test_readings(self):
        self.agent.report(self.sandbox.metadata.id, READY)
        eventually(lambda: self.phase() == openshell.SANDBOX_PHASE_READY, "there is something to be read")
        self.figures()
        self.assertEqual("sandbox_watch", self.agent.control.receive().WhichOneof("message"))
        self.late(self.agent.made(self.sandbox.metadata.id, READY), sandbox_readings=self.readings(99))
        self.assertEqual(0, self.figures())
        eventually(lambda: self.agent.control.send(gateway.ControlStreamRequest(sandbox_readings=self.readings(7)))
                   or self.figures() == 7, "the new session's readings are stored")


class StoppedInTransaction(ReplicaCase):
    options = ("--database-timeout", "2s")

    def test_a_server_stopped_in_a_transaction_holds_the_others_up_for_its_timeout_at_most(self):
        """It waits for a lock with the agent's row in its hands, and is stopped just then."""
        stopped, other = self.replicas
        agent = self.agent_on(stopped)
        agent.upload([event(1)], events=True)
        held = Holder(self.server.database, "LOCK TABLE event IN ACCESS EXCLUSIVE MODE")
        upload = agent.channel.stream_unary(GATEWAY + "UploadEvents", lambda m: m.SerializeToString(),
                                            gateway.UploadEventsResponse.FromString)
        upload = upload.future(iter([event(2)]), timeout=60, metadata=agent.credentials)
        try:
            eventually(lambda: self.server.database.number(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = "
                f"'{stopped.name}' AND datname = current_database()"), "the upload waits")
            stopped.signal(signal.SIGSTOP)
        finally:
            held.release()
        try:
            self.move(agent, other).handshake()
            agent.upload([event(2)], events=True, timeout=60)
        finally:
            stopped.signal(signal.SIGCONT)
        self.assertTrue(upload.exception(60))
        agent.upload([event(2), event(3)], events=True)
        self.assertEqual(["replica.test"] * 3, stored(self.server, agent))


if __name__ == "__main__":
    main()
