"""Serves reflection for one service of a file of descriptors, and nothing else.

Usage: server.py DESCRIPTORS SERVICE. Prints its port.
"""

import sys
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection

path, service = sys.argv[1:]
files = descriptor_pb2.FileDescriptorSet()
with open(path, "rb") as contracts:
    files.ParseFromString(contracts.read())

# A file goes in after those that it imports.
pool, added = descriptor_pool.DescriptorPool(), set()
waiting = list(files.file)
while waiting:
    ready = [file for file in waiting if added.issuperset(file.dependency)]
    for file in ready:
        pool.AddSerializedFile(file.SerializeToString())
        added.add(file.name)
    waiting = [file for file in waiting if file.name not in added]

server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
reflection.enable_server_reflection([service, reflection.SERVICE_NAME], server, pool=pool)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
