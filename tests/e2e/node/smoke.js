// A client in JavaScript, which shares nothing with the server, over TLS: a unary call, a server's stream and
// a bidirectional one. Reads {target, ca, protos, key, session, agent} as JSON from standard input, because
// secrets have no place among arguments. Exit status 1 with a text at the first difference.
'use strict';
const assert = require('assert');
const fs = require('fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const given = JSON.parse(fs.readFileSync(0, 'utf8'));
const files = ['agentgateway/v1/agentgateway.proto', 'agentgateway/v1/admin.proto'];
const loaded = grpc.loadPackageDefinition(loader.loadSync(files, {
  includeDirs: [given.protos], keepCase: true, longs: String, enums: String, oneofs: true, defaults: true,
}));
const api = loaded.agentgateway.v1;
const credentials = grpc.credentials.createSsl(Buffer.from(given.ca));
const admin = new api.AgentAdminService(given.target, credentials);
const gateway = new api.AgentGatewayService(given.target, credentials);

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

async function refused(code, promise) {
  await assert.rejects(promise, (error) => {
    assert.strictEqual(error.code, code, error.message);
    return true;
  });
}

// Messages of a stream one by one; an error is thrown where it is awaited.
async function* messages(call) {
  for await (const message of call) {
    yield message;
  }
}

async function checkUnary() {
  const info = await unary(admin, 'GetServerInfo', {}, bearer(given.key));
  assert.strictEqual(info.workspace, 'default');
  const agent = await unary(admin, 'GetAgent', { agent: given.agent }, bearer(given.key));
  assert.strictEqual(agent.name, given.agent);
  await refused(grpc.status.UNAUTHENTICATED, unary(admin, 'ListAgents', {}, new grpc.Metadata()));
  await refused(grpc.status.NOT_FOUND, unary(admin, 'GetAgent', { agent: 'nobody' }, bearer(given.key)));
  await refused(grpc.status.INVALID_ARGUMENT, unary(admin, 'GetAgent', {}, bearer(given.key)));
  const beat = { sent_at: { seconds: Math.floor(Date.now() / 1000), nanos: 0 } };
  const reply = await unary(gateway, 'UploadHeartbeat', beat, bearer(given.session));
  assert.ok(Number(reply.received_at.seconds) > 0);
}

async function checkServerStream() {
  const call = admin.WatchAgents({ agent: given.agent }, bearer(given.key));
  const stream = messages(call);
  assert.strictEqual((await stream.next()).value.agent.name, given.agent);
  assert.strictEqual((await stream.next()).value.initial_done, true);
  await unary(admin, 'UpdateAgent', { agent: given.agent, set_labels: { js: 'yes' } }, bearer(given.key));
  let change = (await stream.next()).value;
  while (change.agent.labels.js !== 'yes') {
    change = (await stream.next()).value;
  }
  call.cancel();
  await refused(grpc.status.CANCELLED, stream.next());
}

async function checkClientStream() {
  const metadata = bearer(given.session);
  const reply = await new Promise((resolve, reject) => {
    const call = gateway.UploadTelemetry(metadata, (error, answer) => (error ? reject(error) : resolve(answer)));
    for (let i = 0; i < 50; i++) {
      call.write({ payload: Buffer.from('js ' + i), captured_at: { seconds: 1, nanos: 0 } });
    }
    call.end();
  });
  assert.strictEqual(reply.accepted_count, '50');
}

async function checkBidi() {
  const call = gateway.ControlStream(bearer(given.session));
  const stream = messages(call);
  call.write({ hello: {} });
  assert.strictEqual((await stream.next()).value.message, 'accepted');
  const order = { agent: given.agent, command: { telemetry_now: {} } };
  const sent = await unary(admin, 'SendCommand', order, bearer(given.key));
  const got = (await stream.next()).value;
  assert.strictEqual(got.message, 'command');
  assert.strictEqual(got.command.command_id, sent.id);
  call.write({ ack: { command_id: sent.id, succeeded: true } });
  const watch = messages(admin.WatchCommand({ id: sent.id }, bearer(given.key)));
  let last = null;
  for await (const command of watch) {
    last = command;
  }
  assert.strictEqual(last.state, 'COMMAND_STATE_SUCCEEDED');
  call.end();
  assert.strictEqual((await stream.next()).done, true);
}

async function main() {
  await checkUnary();
  await checkServerStream();
  await checkClientStream();
  await checkBidi();
  admin.close();
  gateway.close();
}

main().then(() => process.exit(0), (error) => {
  console.error(error.stack);
  process.exit(1);
});
