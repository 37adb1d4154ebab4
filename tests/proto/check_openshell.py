#!/usr/bin/python3
"""check_openshell.py DESCRIPTORS TABLE: the contracts of OpenShell against the table of their wire.

Every method, field, enum value and reserved number of the packages this tree serves stands in both, with the same
number, type, cardinality, oneof, secrecy and authorisation rule. A synthetic oneof of proto3 "optional" is a oneof
of one member here (protobuf-c knows no other way); its wire is the same.
"""
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGES = ("openshell.options.v1", "openshell.datamodel.v1", "openshell.sandbox.v1", "openshell.v1")
F = descriptor_pb2.FieldDescriptorProto
SCALARS = {value: name[5:].lower() for name, value in F.Type.items()}


def package_of(name):
    return name.rsplit(".", 1)[0]


def expected(path):
    facts = set()
    with open(path, encoding="utf-8") as table:
        for line in table:
            columns = line.rstrip("\n").split("\t")
            if not line.startswith("#") and package_of(columns[1]) in PACKAGES:
                if columns[0] == "field" and columns[2] == "-":
                    continue
                facts.add(tuple(columns))
    return facts


def load(path):
    """Our descriptors twice: plain, and with the options of the contracts readable."""
    with open(path, "rb") as file:
        raw = file.read()
    files = descriptor_pb2.FileDescriptorSet.FromString(raw)
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return files, pool


def option_reader(pool, options_type, extension):
    """A function from an options message (as parsed without extensions) to the value of one extension."""
    message = message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(options_type))
    field = pool.FindExtensionByName(extension)

    def read(options):
        return message.FromString(options.SerializeToString()).Extensions[field]
    return read


def field_facts(full, message, secret):
    entries = {".%s.%s" % (full, nested.name): nested for nested in message.nested_type}
    for field in message.field:
        kind, label = field_type(field, entries)
        oneof = "-"
        if field.HasField("oneof_index"):
            oneof = message.oneof_decl[field.oneof_index].name
            oneof = "optional" if oneof == "has_" + field.name else oneof
        yield ("field", full, str(field.number), field.name, kind, label, oneof,
               "secret" if secret(field) else "-")
    for span in message.reserved_range:
        for number in range(span.start, span.end):
            yield ("reserved", full, str(number))


def field_type(field, entries):
    if field.type == F.TYPE_MESSAGE and field.type_name in entries:
        key, value = entries[field.type_name].field
        return "map<%s,%s>" % (field_type(key, {})[0], field_type(value, {})[0]), "map"
    named = field.type in (F.TYPE_MESSAGE, F.TYPE_ENUM)
    kind = field.type_name.lstrip(".") if named else SCALARS[field.type]
    return kind, "repeated" if field.label == F.LABEL_REPEATED else "one"


def method_facts(full, service, rule):
    shapes = {(False, False): "unary", (True, False): "client", (False, True): "server", (True, True): "bidi"}
    for method in service.method:
        said = rule(method.options)
        yield ("rpc", full, method.name, method.input_type.lstrip("."), method.output_type.lstrip("."),
               shapes[method.client_streaming, method.server_streaming],
               *[getattr(said, name) or "-" for name in ("auth_mode", "scope", "workspace_role", "global_role")])


def actual(path):
    files, pool = load(path)
    secret = option_reader(pool, "google.protobuf.FieldOptions", "openshell.options.v1.secret")
    rule = option_reader(pool, "google.protobuf.MethodOptions", "openshell.options.v1.authorization")
    facts = set()
    for file in files.file:
        if file.package not in PACKAGES:
            continue
        for message in file.message_type:
            facts.update(field_facts("%s.%s" % (file.package, message.name), message,
                                     lambda field: secret(field.options)))
        for enum in file.enum_type:
            facts.update(("enum", "%s.%s" % (file.package, enum.name), str(value.number), value.name)
                         for value in enum.value)
        for service in file.service:
            facts.update(method_facts("%s.%s" % (file.package, service.name), service, rule))
    return facts


def main():
    want, have = expected(sys.argv[2]), actual(sys.argv[1])
    for fact in sorted(want - have):
        print("not in our contracts: " + " ".join(fact))
    for fact in sorted(have - want):
        print("not in the table: " + " ".join(fact))
    assert len(want) > 800, "the table is not whole"
    print("%d facts, %d differences" % (len(want), len(want ^ have)))
    return 1 if want ^ have else 0


if __name__ == "__main__":
    sys.exit(main())
