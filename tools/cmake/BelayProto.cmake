# protobuf-c code for every .proto of the tree, and one embedded FileDescriptorSet of all of them.
# Headers are included as "proto/<path>.pb-c.h"; google's well-known types as <google/protobuf/x.pb-c.h>.
find_program(PROTOC protoc REQUIRED)
find_program(PROTOC_GEN_C protoc-gen-c REQUIRED)
