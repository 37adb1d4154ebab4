// A client in JavaScript that was given the base's contract alone runs an agent's life, and one with the
// operators' contract calls every method of AgentAdminService. Reads {target, ca, protos, base, key} as JSON
// from standard input. Exit status 1 with a text at the first difference.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const given = JSON.parse(fs.readFileSync(0, 'utf8'));
const options = { keepCase: true, longs: String, enums: String, oneofs: true, defaults: true };
const credentials = grpc.credentials.createSsl(Buffer.from(given.ca));
const files = ['agentgateway/v1/agentgateway.proto', 'agentgateway/v1/admin.proto'];
const definition = loader.loadSync(files, { ...options, includeDirs: [given.protos] });
const api = grpc.loadPackageDefinition(definition).agentgateway.v1;
const admin = new api.AgentAdminService(given.target, credentials);
const full = new api.AgentGatewayService(given.target, credentials);

// The base's messages have a package of their own: on the wire only numbers and the method's path count.
const baseTypes = new protobuf.Root();
baseTypes.loadSync(given.base, { keepCase: true });

function baseMethod(method, requestStream, responseStream) {
  const input = baseTypes.lookupType('base.v1.' + method + 'Request');
  const output = baseTypes.lookupType('base.v1.' + method + 'Response');
  const plain = { longs: String, oneofs: true, defaults: true };
  return {
    path: '/agentgateway.v1.AgentGatewayService/' + method,
    requestStream,
    responseStream,
    requestSerialize: (value) => Buffer.from(input.encode(input.fromObject(value)).finish()),
    responseDeserialize: (bytes) => output.toObject(output.decode(bytes), plain),
  };
}

const BaseGateway = grpc.makeGenericClientConstructor({
  Register: baseMethod('Register', false, false),
  BeginAuthHandshake: baseMethod('BeginAuthHandshake', false, false),
  CompleteAuthHandshake: baseMethod('CompleteAuthHandshake', false, false),
  UploadHeartbeat: baseMethod('UploadHeartbeat', false, false),
  UploadTelemetry: baseMethod('UploadTelemetry', true, false),
  UploadEvents: baseMethod('UploadEvents', true, false),
  ControlStream: baseMethod('ControlStream', true, true),
}, 'BaseGateway');
const gateway = new BaseGateway(given.target, credentials);

// What the two formats need of the larger contract, written from its page.
const formats = protobuf.parse(`syntax = "proto3";
  message Series { string metric = 1; string device = 2; string instance = 3; string unit = 4; }
  message Sample { uint32 series = 1; int64 time_us = 2; double value = 3; }
  message TelemetryBatch { repeated Series series = 1; repeated Sample samples = 2; }
  message Event { int64 time_us = 1; int32 severity = 2; string kind = 3; string device = 4; string text = 5; }
  message EventBatch { repeated Event events = 1; }`, { keepCase: true }).root;

function encode(name, value) {
  const type = formats.lookupType(name);
  return Buffer.from(type.encode(type.fromObject(value)).finish());
}

const called = new Set();

function bearer(token) {
  const metadata = new grpc.Metadata();
  metadata.set('authorization', 'Bearer ' + token);
  return metadata;
}

function unary(client, method, request, metadata) {
  return new Promise((resolve, reject) => {
    const deadline = new Date(Date.now() + 20000);
    client[method](request, metadata, { deadline }, (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}

function ask(method, request) {
  called.add(method);
  return unary(admin, method, request || {}, bearer(given.key));
}

function upload(client, method, session, requests) {
  return new Promise((resolve, reject) => {
    const call = client[method](bearer(session), (error, reply) => (error ? reject(error) : resolve(reply)));
    requests.forEach((request) => call.write(request));
    call.end();
  });
}

async function refused(code, promise) {
  await assert.rejects(promise, (error) => {
    assert.strictEqual(error.code, code, error.message);
    return true;
  });
}

// The first message of a watch for which wanted() holds; then the watch is given up.
async function watched(method, request, wanted) {
  called.add(method);
  const call = admin[method](request, bearer(given.key), { deadline: new Date(Date.now() + 30000) });
  try {
    for await (const message of call) {
      if (wanted(message)) {
        return message;
      }
    }
  } catch (error) {
    throw new Error(method + ': ' + error.message);
  } finally {
    call.on('error', () => {});
    call.cancel();
  }
  throw new Error(method + ' ended before what was waited for');
}

const rawKey = (pair) => Buffer.from(pair.publicKey.export({ format: 'jwk' }).x, 'base64url');
const now = () => ({ seconds: Math.floor(Date.now() / 1000), nanos: 0 });

async function enroll(name) {
  const identity = crypto.generateKeyPairSync('ed25519');
  const encryption = crypto.generateKeyPairSync('x25519');
  const created = await ask('CreateEnrollmentToken', { labels: { from: 'js' } });
  assert.ok(created.join_string.startsWith('belay://'));
  const request = {
    enrollment_token: created.secret, name, identity_pubkey: rawKey(identity), encryption_pubkey: rawKey(encryption),
  };
  const waiting = await unary(gateway, 'Register', request, new grpc.Metadata());
  assert.strictEqual(waiting.enrollment_status, 1);
  const listed = await ask('ListEnrollmentTokens', {});
  const mine = listed.tokens.find((token) => token.id === created.token.id);
  assert.strictEqual(mine.state, 'ENROLLMENT_STATE_AWAITING_CONFIRMATION');
  assert.strictEqual(mine.fingerprint, waiting.identity_fingerprint);
  const order = { enrollment_id: mine.id, fingerprint: waiting.identity_fingerprint, reveal_api_key: true };
  const confirmed = await ask('ConfirmAgent', order);
  assert.strictEqual(confirmed.agent.labels.from, 'js');
  return { name, identity, id: waiting.agent_id, key: confirmed.api_key };
}

async function handshake(agent) {
  const opening = { api_key: agent.key, identity_pubkey: rawKey(agent.identity) };
  const begun = await unary(gateway, 'BeginAuthHandshake', opening, new grpc.Metadata());
  const signature = crypto.sign(null, begun.challenge, agent.identity.privateKey);
  const proof = { challenge: begun.challenge, signature };
  const done = await unary(gateway, 'CompleteAuthHandshake', proof, new grpc.Metadata());
  await refused(grpc.status.UNAUTHENTICATED, unary(gateway, 'CompleteAuthHandshake', proof, new grpc.Metadata()));
  return done.session_token;
}

async function report(agent, session) {
  const beat = await unary(gateway, 'UploadHeartbeat', { sent_at: now() }, bearer(session));
  assert.ok(Number(beat.received_at.seconds) > 0);
  const records = [{ payload: Buffer.from('opaque'), captured_at: now() }];
  assert.strictEqual((await upload(gateway, 'UploadTelemetry', session, records)).accepted_count, '1');
  assert.strictEqual((await upload(gateway, 'UploadEvents', session, records)).accepted_count, '1');
}

// What ListMetrics and its like show needs the formats, which are not of the base.
async function reportFormats(session) {
  const time = String(Date.now() * 1000);
  const batch = { series: [{ metric: 'js.value', unit: 'ratio' }], samples: [{ series: 0, time_us: time, value: 0.5 }] };
  const events = { events: [{ time_us: time, severity: 3, kind: 'js.event', text: 'hello' }] };
  const captured = { captured_at: now(), sequence: '1' };
  const sample = { ...captured, payload: encode('TelemetryBatch', batch), format: 'PAYLOAD_FORMAT_TELEMETRY_BATCH' };
  const event = { ...captured, payload: encode('EventBatch', events), format: 'PAYLOAD_FORMAT_EVENT_BATCH' };
  assert.strictEqual((await upload(full, 'UploadTelemetry', session, [sample])).acked_sequence, '1');
  assert.strictEqual((await upload(full, 'UploadEvents', session, [event, event])).accepted_count, '2');
}

async function obey(agent, session) {
  const control = gateway.ControlStream(bearer(session));
  const stream = control[Symbol.asyncIterator]();
  control.write({ hello: {} });
  assert.strictEqual((await stream.next()).value.message, 'accepted');
  const sent = await ask('SendCommand', { agent: agent.name, command: { telemetry_now: {} } });
  const got = (await stream.next()).value.command;
  assert.strictEqual(got.command_id, sent.id);
  control.write({ ack: { command_id: sent.id, succeeded: true } });
  const done = await watched('WatchCommand', { id: sent.id }, (c) => c.state === 'COMMAND_STATE_SUCCEEDED');
  assert.strictEqual((await ask('GetCommand', { id: sent.id })).finished_at.seconds, done.finished_at.seconds);
  control.end();
  for (let next = await stream.next(); !next.done; next = await stream.next()) {
    assert.ok(next.value);
  }
  const queued = await ask('SendCommand', { agent: agent.name, command: { drain: {} } });
  assert.strictEqual((await ask('CancelCommand', { id: queued.id })).state, 'COMMAND_STATE_CANCELLED');
  await refused(grpc.status.FAILED_PRECONDITION, ask('CancelCommand', { id: sent.id }));
  assert.ok((await ask('RotateAgentKey', { agent: agent.name })).kind === 'rotate_key');
  assert.strictEqual((await ask('ListCommands', { agent: agent.name })).commands.length, 3);
}

async function look(agent) {
  assert.strictEqual((await ask('GetServerInfo')).workspace, 'default');
  assert.strictEqual((await ask('ListAgents', { label_selector: 'from=js' })).agents[0].id, agent.id);
  assert.strictEqual((await ask('GetAgent', { agent: agent.id })).name, agent.name);
  const change = (message) => message.agent && message.agent.name === agent.name;
  await watched('WatchAgents', { agent: agent.name }, change);
  assert.strictEqual((await ask('UpdateAgent', { agent: agent.name, cordoned: true })).cordoned, true);
  const device = (await ask('ListDevices', { agent: agent.name })).devices[0];
  assert.strictEqual((await ask('GetDevice', { id: device.id })).name, 'host');
  assert.strictEqual((await ask('ListMetrics', { agent: agent.name })).metrics[0].metric, 'js.value');
  const query = { metric: 'js.value', agent: agent.name, end: { seconds: Math.floor(Date.now() / 1000) + 60, nanos: 0 } };
  assert.strictEqual((await ask('QueryTelemetry', query)).series[0].rows[0].value, 0.5);
  await watched('WatchTelemetry', { metric: 'js.' }, (point) => point.value === 0.5);
  const events = (await ask('ListEvents', { agent: agent.name, kind_prefix: 'js.' })).events;
  assert.strictEqual(events.length, 1); /* the repeat of the same sequence is not stored twice */
  await watched('WatchEvents', { kind_prefix: 'js.', tail: 5 }, (event) => event.text === 'hello');
}

async function account() {
  const set = await ask('SetQuota', { owner: 'user:js', limits: { sandboxes: 2 }, expected_version: 0 });
  assert.deepStrictEqual([set.limits.sandboxes, set.limits._cpu_millis, set.is_of_all], ['2', undefined, false]);
  const stale = { owner: 'user:js', limits: {}, expected_version: 1 };
  await refused(grpc.status.ABORTED, ask('SetQuota', stale));
  await refused(grpc.status.PERMISSION_DENIED, ask('SetQuota', { limits: { sandboxes: 2 } }));
  assert.strictEqual((await ask('GetQuota', { owner: 'user:js' })).version, set.version);
  assert.deepStrictEqual((await ask('ListQuotas')).quotas.map((quota) => quota.owner), ['user:js']);
  assert.strictEqual((await ask('DeleteQuota', { owner: 'user:js', expected_version: set.version })).version, '0');
  await refused(grpc.status.NOT_FOUND, ask('DeleteQuota', { owner: 'user:js' }));
  assert.deepStrictEqual((await ask('ListSandboxFigures', { sandboxes: ['none'] })).figures, []);
  assert.deepStrictEqual((await ask('GetUsage', { group_by: 'USAGE_GROUP_OWNER', hourly: true })).rows, []);
}

async function manage(agent) {
  const key = await ask('CreateApiKey', { name: 'second', scopes: ['agent:read'] });
  assert.strictEqual((await unary(admin, 'GetAgent', { agent: agent.name }, bearer(key.secret))).id, agent.id);
  await refused(grpc.status.PERMISSION_DENIED, unary(admin, 'ListEvents', {}, bearer(key.secret)));
  assert.ok((await ask('ListApiKeys')).keys.some((one) => one.id === key.key.id));
  await ask('RevokeApiKey', { id: key.key.id });
  await refused(grpc.status.UNAUTHENTICATED, unary(admin, 'GetAgent', { agent: agent.name }, bearer(key.secret)));
  const spare = await ask('CreateEnrollmentToken', {});
  const cancelled = await ask('RevokeEnrollmentToken', { id: spare.token.id });
  assert.strictEqual(cancelled.state, 'ENROLLMENT_STATE_CANCELLED');
  assert.strictEqual((await ask('EvictAgent', { agent: agent.name })).state, 'AGENT_STATE_EVICTED');
  assert.strictEqual((await ask('RevokeAgent', { agent: agent.name })).state, 'AGENT_STATE_REVOKED');
  const records = (await ask('ListAuditRecords', { page_size: 1000 })).records;
  assert.ok(records.some((record) => record.action.endsWith('/RevokeAgent') && record.decision === 'allowed'));
  await watched('WatchAuditRecords', { tail: 100 }, (record) => record.action.endsWith('/EvictAgent'));
}

// Between workspaces: no key's, the local operator's alone.
async function lend(agent) {
  const room = { sandboxes: 1, cpu_millis: 100, memory_bytes: 1 << 26, disk_bytes: 1 << 26 };
  const request = { agent: agent.name, to_workspace: 'other', name: 'lent-' + agent.name, room };
  await refused(grpc.status.PERMISSION_DENIED, ask('LendAgent', request));
  await refused(grpc.status.PERMISSION_DENIED, ask('ListLoans', {}));
  await refused(grpc.status.PERMISSION_DENIED, ask('ReclaimAgent', { loan_id: 'enr_0' }));
  const local = new api.AgentAdminService('unix:' + given.socket, grpc.credentials.createInsecure());
  const nobody = new grpc.Metadata();
  const made = await unary(local, 'LendAgent', request, nobody);
  assert.deepStrictEqual([made.loan.agent, made.loan.to_workspace, made.loan.state, made.command.kind],
    [agent.name, 'other', 'ENROLLMENT_STATE_PENDING', 'lend']);
  const listed = await unary(local, 'ListLoans', { agent: agent.name }, nobody);
  assert.deepStrictEqual(listed.loans.map((loan) => loan.id), [made.loan.id]);
  const ended = await unary(local, 'ReclaimAgent', { loan_id: made.loan.id }, nobody);
  assert.deepStrictEqual([ended.loan.state, ended.command.kind], ['ENROLLMENT_STATE_CANCELLED', 'reclaim']);
  local.close();
}

async function main() {
  const agent = await enroll('whole-' + crypto.randomBytes(4).toString('hex'));
  const session = await handshake(agent);
  await report(agent, session);
  await reportFormats(session);
  await obey(agent, session);
  await look(agent);
  await account();
  await lend(agent);
  await manage(agent);
  const methods = Object.values(api.AgentAdminService.service).map((method) => method.path.split('/')[2]);
  assert.deepStrictEqual(methods.filter((method) => !called.has(method)), []);
}

main().then(() => process.exit(0), (error) => {
  console.error(error.stack);
  process.exit(1);
});
