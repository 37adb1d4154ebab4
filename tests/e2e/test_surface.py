#!/usr/bin/python3
"""What is seen from outside without a credential: health, reflection, metrics; and what must not be seen
anywhere: a secret that was given out, in logs, arguments, metrics, answers or the database."""
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from harness import *


def contracts(*files):
    """Message classes of contracts that are no Python package of their own (grpc.* is grpcio's)."""
    out = os.path.join(tempfile.mkdtemp(prefix="belay-e2e-set-"), "set")
    subprocess.run(["protoc", "-I", os.path.join(ROOT, "proto"), "--include_imports", "--descriptor_set_out", out, *files],
                   check=True)
    with open(out, "rb") as file:
        described = descriptor_pb2.FileDescriptorSet.FromString(file.read())
    shutil.rmtree(os.path.dirname(out))
    pool = descriptor_pool.DescriptorPool()
    for one in described.file:
        pool.Add(one)
    return lambda name: message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(name))


class Surface(ServerCase):
    def test_health(self):
        kind = contracts("grpc/health/v1/health.proto")
        request, reply = kind("grpc.health.v1.HealthCheckRequest"), kind("grpc.health.v1.HealthCheckResponse")
        channel = self.server.channel()
        check = channel.unary_unary("/grpc.health.v1.Health/Check", request.SerializeToString, reply.FromString)
        for service in ("", "agentgateway.v1.AgentGatewayService", "agentgateway.v1.AgentAdminService"):
            self.assertEqual(1, check(request(service=service), timeout=TIMEOUT).status)
        self.refused(Code.NOT_FOUND, lambda: check(request(service="no.Such"), timeout=TIMEOUT))
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch", request.SerializeToString, reply.FromString)
        call = watch(request(), timeout=TIMEOUT)
        self.assertEqual(1, next(call).status)
        call.cancel()

    def test_reflection_describes_what_answers(self):
        kind = contracts("grpc/reflection/v1/reflection.proto")
        request = kind("grpc.reflection.v1.ServerReflectionRequest")
        reply = kind("grpc.reflection.v1.ServerReflectionResponse")
        channel = self.server.channel()
        for version in ("v1", "v1alpha"):
            def ask(version=version, **question):
                stub = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                             request.SerializeToString, reply.FromString)
                return next(stub(iter([request(**question)]), timeout=TIMEOUT))
            services = {one.name for one in ask(list_services="").list_services_response.service}
            self.assertLessEqual({"agentgateway.v1.AgentGatewayService", "agentgateway.v1.AgentAdminService",
                                  "grpc.health.v1.Health"}, services)
            self.assertEqual(5, ask(file_containing_symbol="no.such.Symbol").error_response.error_code)
            self.assertEqual(5, ask(file_by_filename="../../etc/passwd").error_response.error_code)
            files = {}

            def load(raw, load_by=ask, files=files):
                for one in raw.file_descriptor_response.file_descriptor_proto:
                    file = descriptor_pb2.FileDescriptorProto.FromString(one)
                    if file.name not in files:
                        files[file.name] = file
                        for needed in file.dependency:
                            load(load_by(file_by_filename=needed))
            load(ask(file_containing_symbol="agentgateway.v1.AgentAdminService"))
            pool = descriptor_pool.DescriptorPool()
            added = set()

            def add(name, files=files, pool=pool, added=added):
                if name not in added:
                    added.add(name)
                    for needed in files[name].dependency:
                        add(needed)
                    pool.Add(files[name])
            for name in files:
                add(name)
            described = pool.FindServiceByName("agentgateway.v1.AgentAdminService")
            self.assertEqual([method.name for method in ADMIN_SERVICE.methods], [method.name for method in described.methods])
            info = message_factory.MessageFactory(pool).GetPrototype(
                pool.FindMessageTypeByName("agentgateway.v1.ServerInfo"))
            stub = self.server.local_channel().unary_unary(ADMIN + "GetServerInfo", None, info.FromString)
            self.assertEqual("default", stub(b"", timeout=TIMEOUT).workspace)

    def test_metrics_and_health_pages(self):
        agent = self.agent("metrics \"quoted\\ agent")
        agent.heartbeat()
        agent.upload([base.UploadTelemetryRequest(payload=b"x", captured_at=now())])
        code_of(lambda: BaseAgent(self.server, "x").register("blt_" + "C" * 43))
        self.assertEqual(200, self.server.http("/healthz")[0])
        self.assertEqual(200, self.server.http("/readyz")[0])
        self.assertEqual(404, self.server.http("/nothing")[0])
        status, page = self.server.http("/metrics")
        self.assertEqual(200, status)
        check = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
        self.assertEqual((0, ""), (check.returncode, check.stderr), check.stdout)
        self.assertIn('belay_rpc_calls_total{method="agentgateway.v1.AgentGatewayService/Register",status="UNAUTHENTICATED"}',
                      page)
        self.assertNotIn("quoted", page)


class Secrets(ServerCase):
    log_level = "debug"

    def test_no_secret_is_seen_anywhere(self):
        secrets = []
        created = self.operator.CreateEnrollmentToken()
        secrets += [created.secret, created.join_string]
        agent = BaseAgent(self.server, "keeper").enroll(self.operator)
        secrets += [agent.api_key, agent.session]
        key = self.operator.CreateApiKey(name="canary", scopes=["*"]).secret
        secrets.append(key)
        caller = self.server.with_key(key)
        caller.ListAgents()
        caller.CreateApiKey(name="x", scopes=["agent:read"])
        # Refusals with the secret in the wrong place, where an error text might echo it.
        wrong = self.operator.CreateApiKey(name="wrong", scopes=["agent:read"]).secret
        secrets.append(wrong)
        texts = [code_of(lambda: self.server.with_key(wrong).CreateEnrollmentToken())[1],
                 code_of(lambda: self.server.with_key(key + "x").ListAgents())[1],
                 code_of(lambda: self.server.with_key(created.join_string).ListAgents())[1],
                 code_of(lambda: BaseAgent(self.server, "thief").begin(api_key=agent.api_key))[1],
                 code_of(lambda: BaseAgent(self.server, "thief").register(agent.api_key))[1]]
        real = RealAgent(self.server, "witness", log_level="debug")
        join = self.operator.CreateEnrollmentToken(auto_confirm=True)
        secrets += [join.secret, join.join_string]
        real.run("enroll", "-", "--name", "witness", text=join.join_string)
        real.start("--sample-interval", "250ms")
        eventually(lambda: self.operator.GetAgent(agent="witness").telemetry_sequence > 1, "telemetry is stored")
        rotated = self.operator.RotateAgentKey(agent="witness")
        eventually(lambda: self.operator.GetCommand(id=rotated.id).state == admin.COMMAND_STATE_SUCCEEDED, "rotated")
        for folder, _, names in os.walk(real.state):
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and os.path.getsize(path) < 4096:
                    with open(path, "rb") as file:
                        raw = file.read()
                    if b"bla_" in raw:
                        secrets.append(raw[raw.index(b"bla_"):][:47].decode())
                        self.assertEqual(0o600, os.stat(path).st_mode & 0o777, path)
        out = self.server.cli("enroll", "token", "-o", "json").stdout
        secrets.append(json.loads(out).get("secret") or json.loads(out)["join_string"])
        self.assertGreaterEqual(sum(1 for secret in secrets if secret.startswith("bla_")), 2, "the real agent's key too")
        secrets = [secret for secret in secrets if secret]
        self.assertGreater(len(secrets), 8)

        places = {"server's log": self.server.log_text(), "agent's log": real.log_text(), "errors": "\n".join(texts),
                  "metrics": self.server.http("/metrics")[1], "agent's status": json.dumps(real.status()),
                  "audit": str(self.operator.ListAuditRecords(page_size=1000)) +
                           str(self.operator.ListAuditRecords(page_size=1000, workspace="belay-system")),
                  "lists": str(self.operator.ListApiKeys()) + str(self.operator.ListEnrollmentTokens()) +
                           str(self.operator.ListCommands()) + str(self.operator.ListAgents())}
        lines = []
        for process in os.listdir("/proc"):
            try:
                with open(f"/proc/{process}/cmdline", "rb") as file:
                    lines.append(file.read().decode(errors="replace"))
            except OSError:
                continue
        places["arguments"] = "\n".join(lines)
        if ENGINE == "postgresql":
            dump = subprocess.run(["pg_dump", "--data-only", self.server.database.url], capture_output=True, check=True)
            places["database"] = dump.stdout.decode(errors="replace")
            for secret in secrets:
                self.assertNotIn(secret.encode().hex(), places["database"])
        else:
            raw = b""
            for suffix in ("", "-wal"):
                with open(self.server.database.path + suffix, "rb") as file:
                    raw += file.read()
            places["database"] = raw.decode("latin-1")
        for place, text in places.items():
            for secret in secrets:
                self.assertFalse(secret in text or secret.split("_", 1)[-1] in text, f"{secret[:8]}... in the {place}")

    def test_every_log_line_is_json_and_names_its_request(self):
        agent = self.agent("json")
        stream = agent.stream()
        sent = self.send(agent)
        stream.command()
        stream.send(ack(sent.id, False, "line one\n{\"event\":\"forged\"}\x7f\u2028 end"))
        eventually(lambda: self.operator.GetCommand(id=sent.id).state == admin.COMMAND_STATE_FAILED, "acked")
        code_of(lambda: self.operator.GetAgent(agent="x\u2028\"}"))
        stream.cancel()
        for line in self.server.log_text().splitlines():
            entry = json.loads(line)
            self.assertNotEqual("forged", entry["event"])
        for entry in self.server.log_lines("rpc"):
            self.assertTrue(entry["request_id"].startswith("req_"))


if __name__ == "__main__":
    main()
