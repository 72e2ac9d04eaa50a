"""Speaks to an orchestrator as any gRPC client may: it knows the address, and learns everything else by reflection.

Usage: client.py ADMIN HEALTH PID. Ends the process at last, to see how that looks from outside.
"""

import os
import signal
import sys
import uuid

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SECONDS = 30
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Reflected:
    """The services of a channel, by what its reflection says."""

    def __init__(self, channel):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def message(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def call(self, service, method, **fields):
        """Calls a unary method with a request of these fields."""
        found = self.pool.FindServiceByName(service).methods_by_name[method]
        request = json_format.ParseDict(fields, message_factory.GetMessageClass(found.input_type)(), descriptor_pool=self.pool)
        answer = message_factory.GetMessageClass(found.output_type)
        call = self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=SECONDS)

    def unpacked(self, any):
        return self.message(any.type_url.rsplit("/", 1)[-1]).FromString(any.value)


def refused(code, call):
    """The error of a call that must fail with this code."""
    try:
        answer = call()
    except grpc.RpcError as error:
        assert error.code() == code, f"expected {code}, was {error.code()}: {error.details()}"
        return error
    raise AssertionError(f"expected {code}, was answered: {answer}")


AUDIT = "orchestrator.admin.v1.AuditService"
BULK = "orchestrator.admin.v1.BulkService"
REPLICA = "orchestrator.admin.v1.ReplicaService"
RUNS = "orchestrator.admin.v1.RunService"
SCHEDULES = "orchestrator.admin.v1.ScheduleService"
SERVICES = "orchestrator.admin.v1.ServiceService"
WORKFLOWS = "orchestrator.admin.v1.WorkflowService"


def reflection_tells_the_services(channel, reflected):
    expected = {
        AUDIT,
        BULK,
        REPLICA,
        RUNS,
        SCHEDULES,
        SERVICES,
        WORKFLOWS,
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert set(reflected.database.get_services()) == expected, reflected.database.get_services()
    # Both versions have one wire format.
    newer = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = next(newer(iter([question]), timeout=SECONDS))
    assert {service.name for service in answer.list_services_response.service} == expected, answer


def workflows_are_listed_with_their_types(reflected):
    workflows = {w.workflow: w for w in reflected.call(WORKFLOWS, "ListWorkflows").workflows}
    expected = {
        "test.greet",
        "test.invite",
        "test.nap",
        "test.round",
        "test.stay",
        "test.undeclared",
        "test.unsure",
        "test.wait",
    }
    assert set(workflows) == expected, set(workflows)
    found = workflows["test.invite"]
    assert found.input_type == "acme.orchestration.greetings.v1.GreetRequest", found
    assert found.schedules[0].interval.seconds == 1 and found.schedules[0].next_time.seconds > 0, found


def a_run_is_started_waited_for_and_read_back(reflected):
    start = {
        "workflow": "test.greet",
        "inputJson": '{"limit": 5}',
        "requestId": str(uuid.uuid4()),
        "wait": f"{SECONDS - 5}s",
    }
    ended = reflected.call(RUNS, "StartRun", **start)
    states = reflected.pool.FindEnumTypeByName("orchestrator.admin.v1.RunState").values_by_name
    assert ended.state == states["SUCCEEDED"].number, ended
    output = reflected.unpacked(ended.output)
    assert output.DESCRIPTOR.full_name == "acme.orchestration.greetings.v1.GreetResponse"
    assert output.due == 5, output

    again = reflected.call(RUNS, "StartRun", **start)
    assert again.run_id == ended.run_id, (again.run_id, ended.run_id)

    run = reflected.call(RUNS, "GetRun", runId=ended.run_id, view="RUN_VIEW_FULL")
    assert run.output == ended.output and reflected.unpacked(run.input).limit == 5, run
    assert "CreateUser" in run.steps[1].path and run.steps[1].attempts >= 1, run.steps[1]
    assert len(run.steps) == run.step_count == 2, run.step_count
    listed = reflected.call(RUNS, "ListRuns", workflow="test.greet", states=["SUCCEEDED"])
    assert ended.run_id in {run.run_id for run in listed.runs}, listed


def a_bad_input_is_refused_with_details_that_name_the_field(reflected):
    bad = {"workflow": "test.greet", "inputJson": '{"limt": 5}'}
    error = refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: reflected.call(RUNS, "StartRun", **bad))
    assert "limt" in error.details(), error.details()
    trailers = dict(error.trailing_metadata())
    status = reflected.message("google.rpc.Status").FromString(trailers["grpc-status-details-bin"])
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0] and status.message == error.details(), status
    details = {any.type_url.rsplit("/", 1)[-1]: any.value for any in status.details}
    # Field 1 of a BadRequest is a violation, whose field 1 is the path of the field.
    assert b"limt" in details["google.rpc.BadRequest"], details
    assert b"orchestrator" in details["google.rpc.ErrorInfo"], details

    refused(grpc.StatusCode.NOT_FOUND, lambda: reflected.call(RUNS, "StartRun", workflow="users.nothing"))
    refused(grpc.StatusCode.NOT_FOUND, lambda: reflected.call(RUNS, "GetRun", runId=str(uuid.uuid4())))
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: reflected.call(RUNS, "GetRun", runId="7"))


def health_is_read_as_its_specification_says(health):
    def check(name):
        return health.Check(health_pb2.HealthCheckRequest(service=name), timeout=SECONDS).status

    for name in ["", "readiness", "liveness"]:
        assert check(name) == SERVING, (name, check(name))
    refused(grpc.StatusCode.NOT_FOUND, lambda: check("users"))
    watch = health.Watch(health_pb2.HealthCheckRequest(service="users"), timeout=1)
    assert next(watch).status == SERVICE_UNKNOWN
    # Open until our own deadline.
    refused(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: next(watch))


def a_watch_tells_of_the_shutdown_and_ends(health, pid):
    watch = health.Watch(health_pb2.HealthCheckRequest(service="readiness"), timeout=SECONDS)
    assert next(watch).status == SERVING
    os.kill(pid, signal.SIGTERM)
    assert [answer.status for answer in watch] == [NOT_SERVING]


def main(admin, health, pid):
    with grpc.insecure_channel(admin) as channel, grpc.insecure_channel(health) as probes:
        reflected = Reflected(channel)
        reflection_tells_the_services(channel, reflected)
        workflows_are_listed_with_their_types(reflected)
        a_run_is_started_waited_for_and_read_back(reflected)
        a_bad_input_is_refused_with_details_that_name_the_field(reflected)
        stub = health_pb2_grpc.HealthStub(probes)
        health_is_read_as_its_specification_says(stub)
        a_watch_tells_of_the_shutdown_and_ends(stub, int(pid))


main(*sys.argv[1:])
