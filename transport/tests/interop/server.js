// test.echo.v1.EchoService and one stream of test.entries.v1.EntryService on grpc-js.
//
// What a call is to do is its payload as JSON (see `peer.rs`); a payload that is none comes back as it is. Prints the
// port that it listens on. Serves until its standard input ends.
'use strict';

const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const protobuf = require('protobufjs');

const [root, options] = [process.argv[2], Object.fromEntries(JSON.parse(process.argv[3]))];
const echo = grpc.loadPackageDefinition(loader.loadSync('test/echo/v1/echo.proto', { includeDirs: [root] }));

// What google.rpc.Status carries: the two details that a client has to know what to do with, and a message of its own.
const rpc = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
`, { keepCase: true }).root;

const server = new grpc.Server(options);
const made = new Map();

function packed(name, fields) {
  const type = rpc.lookupType(`google.rpc.${name}`);
  return { type_url: `type.googleapis.com/google.rpc.${name}`, value: type.encode(type.create(fields)).finish() };
}

function failure(script) {
  if (!script.code) return null;
  const metadata = new grpc.Metadata();
  if (script.pushback_ms !== undefined) metadata.set('grpc-retry-pushback-ms', String(script.pushback_ms));
  if (script.details === 'garbage') metadata.set('grpc-status-details-bin', Buffer.from([255, 255, 255]));
  if (script.details === 'rich') {
    const type = rpc.lookupType('google.rpc.Status');
    const details = [
      packed('RetryInfo', { retry_delay: { seconds: 1, nanos: 500_000_000 } }),
      packed('ErrorInfo', { reason: 'QUOTA', domain: 'guras.test', metadata: { limit: '10' } }),
    ];
    const status = type.create({ code: script.code, message: script.message, details });
    metadata.set('grpc-status-details-bin', Buffer.from(type.encode(status).finish()));
  }
  return { code: script.code, details: script.message ?? '', metadata };
}

// How often this key was seen, this time included.
function attemptOf(call) {
  const key = String(call.metadata.get('idempotency-key')[0]);
  made.set(key, (made.get(key) ?? 0) + 1);
  return made.get(key);
}

function write(call, answer) {
  let script;
  try {
    script = JSON.parse(call.request.payload.toString());
  } catch {
    return answer(null, { payload: call.request.payload });
  }
  const attempt = attemptOf(call);
  if (script.begin) call.sendMetadata(new grpc.Metadata());
  // Tells the client to go elsewhere, and waits for the calls that are still open.
  if (script.stop) server.tryShutdown(() => {});
  setTimeout(() => {
    const failed = attempt <= (script.failures ?? Infinity) ? failure(script) : null;
    if (failed) return answer(failed);
    if (script.size !== undefined) return answer(null, { payload: Buffer.alloc(script.size) });
    const left = (call.getDeadline() - Date.now()) / 1000;
    const seen = { metadata: call.metadata.getMap(), left, attempt };
    return answer(null, { payload: Buffer.from(JSON.stringify(seen)) });
  }, (script.sleep ?? 0) * 1000);
}

function stream(call) {
  const script = JSON.parse(call.request.payload.toString());
  for (let number = 0; number < script.messages; number += 1) {
    // An entry whose id, its field 1, is the number.
    const id = Buffer.from(String(number));
    call.write({ payload: Buffer.concat([Buffer.from([10, id.length]), id]) });
  }
  const failed = failure(script);
  if (failed) call.emit('error', failed);
  else call.end();
}

const { service } = echo.test.echo.v1.EchoService;
server.addService(service, { read: (call, answer) => answer(null, call.request), write });
server.addService({
  StreamEntries: { ...service.Write, path: '/test.entries.v1.EntryService/StreamEntries', responseStream: true },
}, { StreamEntries: stream });
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(port);
});
process.stdin.resume().on('end', () => process.exit(0));
