#!/usr/bin/python3
"""check_json.py CONVERTER DESCRIPTORS: our ProtoJSON against Google's, both ways, over random messages."""
import random
import struct
import subprocess
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor as F

ROUNDS = 600
SIGNED = {F.CPPTYPE_INT32: 31, F.CPPTYPE_INT64: 63}
UNSIGNED = {F.CPPTYPE_UINT32: 32, F.CPPTYPE_UINT64: 64}
TEXTS = ["", "a", "\u00e9", '"', "\n", "\U0001F600", "/", "\u2028"]


def number(field, rand):
    kind = field.cpp_type
    if kind in SIGNED:
        bits = rand.randint(0, SIGNED[kind])
        return rand.choice([0, 1, -1, (1 << bits) - 1, -(1 << bits)])
    if kind in UNSIGNED:
        return (1 << rand.randint(0, UNSIGNED[kind])) - 1
    if kind == F.CPPTYPE_DOUBLE:
        return rand.choice([0.1, 1e300, -2.5, 5e-324, rand.random(), float("inf")])
    if kind == F.CPPTYPE_FLOAT:
        return struct.unpack("f", struct.pack("f", rand.choice([0.1, 1e38, -2.5, rand.random()])))[0]
    if kind == F.CPPTYPE_BOOL:
        return rand.random() < 0.5
    return rand.choice(field.enum_type.values).number


def scalar(field, rand):
    if field.type == F.TYPE_STRING:
        return "".join(rand.choice(TEXTS) for _ in range(rand.randint(0, 4)))
    if field.type == F.TYPE_BYTES:
        return bytes(rand.randrange(256) for _ in range(rand.randint(0, 5)))
    return number(field, rand)


def special(message, rand):
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = rand.randint(0, 253402300799)
        message.nanos = rand.choice([0, 1, 1000, 250000000, 999999999])
    elif name == "google.protobuf.Duration":
        sign = rand.choice([-1, 1])
        message.seconds = sign * rand.randint(0, 315576000000)
        message.nanos = sign * rand.choice([0, 1, 1000, 250000000, 999999999])
    elif name == "google.protobuf.Value":
        json_format.Parse(rand.choice(['null', '1.5', '"x"', 'true', '{"a":[1,{}]}', '[[],null]']), message)
    elif name == "google.protobuf.Struct":
        json_format.Parse(rand.choice(['{}', '{"a":null,"b":{"c":[false,"\u00e9"]}}']), message)
    elif name == "google.protobuf.ListValue":
        json_format.Parse(rand.choice(['[]', '[1,"a",[{}]]']), message)
    else:
        return False
    return True


def fill(message, rand, depth=0):
    if special(message, rand):
        return
    message.SetInParent()
    for field in message.DESCRIPTOR.fields:
        is_message = field.type == F.TYPE_MESSAGE
        if rand.random() < 0.5 or (depth > 3 and is_message):
            continue
        value = getattr(message, field.name)
        if is_message and field.message_type.GetOptions().map_entry:
            held = field.message_type.fields_by_name["value"]
            key = scalar(field.message_type.fields_by_name["key"], rand)
            if held.type == F.TYPE_MESSAGE:
                fill(value[key], rand, depth + 1)
            else:
                value[key] = scalar(held, rand)
        elif field.label == F.LABEL_REPEATED:
            for _ in range(rand.randint(0, 3)):
                if is_message:
                    fill(value.add(), rand, depth + 1)
                else:
                    value.append(scalar(field, rand))
        elif is_message:
            fill(value, rand, depth + 1)
            value.SetInParent()
        else:
            setattr(message, field.name, scalar(field, rand))


def ask(converter, mode, data):
    converter.stdin.write(mode + struct.pack(">I", len(data)) + data)
    converter.stdin.flush()
    good, length = struct.unpack(">cI", converter.stdout.read(5))
    answer = converter.stdout.read(length)
    if good != b"+":
        sys.exit(f"refused: {answer.decode()}\n{data[:2000]!r}")
    return answer


def main():
    files = descriptor_pb2.FileDescriptorSet()
    with open(sys.argv[2], "rb") as source:
        files.ParseFromString(source.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    sink = message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName("belay.test.v1.Sink"))
    converter = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for seed in range(ROUNDS):
        message = sink()
        fill(message, random.Random(seed))
        ours = ask(converter, b"j", message.SerializeToString()).decode()
        theirs = json_format.MessageToJson(message, preserving_proto_field_name=seed % 2 == 0,
                                           including_default_value_fields=seed % 3 == 0)
        if json_format.Parse(ours, sink()) != message:
            sys.exit(f"seed {seed}: Google reads our JSON otherwise:\n{ours}\n{theirs}")
        if sink.FromString(ask(converter, b"w", theirs.encode())) != message:
            sys.exit(f"seed {seed}: we read Google's JSON otherwise:\n{theirs}")
    converter.stdin.close()
    if converter.wait() != 0:
        sys.exit("the converter failed")
    print(f"{ROUNDS} messages agree both ways")


main()
