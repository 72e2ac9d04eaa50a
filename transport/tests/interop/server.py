"""test.echo.v1.EchoService and one stream of test.entries.v1.EntryService on grpcio.

What a call is to do is its payload as JSON (see `peer.rs`); a payload that is none comes back as it is. Prints the port
that it listens on. Serves until its standard input ends.
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
# A message with nothing but `bytes value = 1`, as the requests and responses of the echo service are.
from google.protobuf.wrappers_pb2 import BytesValue
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

CODES = {code.value[0]: code for code in grpc.StatusCode}


class Echo:
    def __init__(self):
        self.server = None
        self.made = {}
        self.lock = threading.Lock()

    def write(self, request, context):
        try:
            script = json.loads(request.value)
        except ValueError:
            return request
        attempt = self.attempt_of(context)
        if script.get("begin"):
            context.send_initial_metadata((("began", "yes"),))
        if script.get("compress"):
            context.set_compression(grpc.Compression.Gzip)
        if script.get("stop"):
            # Tells the client to go elsewhere, and waits for the calls that are still open.
            self.server.stop(grace=10)
        time.sleep(script.get("sleep", 0))
        if attempt <= script.get("failures", 2**31):
            self.fail(script, context)
        if script.get("size") is not None:
            return BytesValue(value=bytes(script["size"]))
        seen = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        left = context.time_remaining()
        return BytesValue(value=json.dumps({"metadata": seen, "left": left, "attempt": attempt}).encode())

    def attempt_of(self, context):
        """How often this key was seen, this time included."""
        key = dict(context.invocation_metadata()).get("idempotency-key")
        with self.lock:
            self.made[key] = self.made.get(key, 0) + 1
            return self.made[key]

    @staticmethod
    def fail(script, context):
        code = script.get("code", 0)
        if code == 0:
            return
        if script.get("pushback_ms") is not None:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", str(script["pushback_ms"])),))
        if script.get("details") == "garbage":
            context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff"),))
        if script.get("details") == "rich":
            retry = Any()
            retry.Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)))
            info = Any()
            info.Pack(error_details_pb2.ErrorInfo(reason="QUOTA", domain="guras.test", metadata={"limit": "10"}))
            status = status_pb2.Status(code=code, message=script.get("message", ""), details=[retry, info])
            context.abort_with_status(rpc_status.to_status(status))
        context.abort(CODES[code], script.get("message", ""))

    def stream(self, request, context):
        script = json.loads(request.value)
        for number in range(script["messages"]):
            # An entry whose id, its field 1, is the number.
            entry_id = str(number).encode()
            yield BytesValue(value=bytes([10, len(entry_id)]) + entry_id)
        self.fail(script, context)


def bytes_in_and_out(kind, behaviour):
    return kind(behaviour, request_deserializer=BytesValue.FromString, response_serializer=BytesValue.SerializeToString)


def main():
    assert code_pb2.UNAVAILABLE == grpc.StatusCode.UNAVAILABLE.value[0]
    options = [tuple(option) for option in json.loads(sys.argv[1])]
    echo = Echo()
    echo.server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=options)
    echo.server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("test.echo.v1.EchoService", {
            "Read": bytes_in_and_out(grpc.unary_unary_rpc_method_handler, lambda request, _: request),
            "Write": bytes_in_and_out(grpc.unary_unary_rpc_method_handler, echo.write),
        }),
        grpc.method_handlers_generic_handler("test.entries.v1.EntryService", {
            "StreamEntries": bytes_in_and_out(grpc.unary_stream_rpc_method_handler, echo.stream),
        }),
    ))
    port = echo.server.add_insecure_port("127.0.0.1:0")
    echo.server.start()
    print(port, flush=True)
    sys.stdin.read()


main()
