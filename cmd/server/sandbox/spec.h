/*
 * What an operator may ask of a sandbox: bounds and meanings of openshell.v1.SandboxSpec, checked
 * before anything is stored. What this server cannot give is refused, never left out.
 */
#ifndef SERVER_SANDBOX_SPEC_H
#define SERVER_SANDBOX_SPEC_H

#include "cmd/server/domain/placement.h"

#include "proto/agentgateway/v1/agentgateway.pb-c.h"
#include "proto/openshell/v1/openshell.pb-c.h"

enum {
    SPEC_NAME_CHARS = 19
};

/* Annotations with a meaning here: two choose an agent, one says what follows its program's end. */
#define SPEC_AGENT_ANNOTATION    "belay.dev/agent"
#define SPEC_SELECTOR_ANNOTATION "belay.dev/agent-selector"
#define SPEC_RESTART_ANNOTATION  "belay.dev/restart"

struct spec_facts {
    struct placement_room room; /* with the defaults where nothing was said; sandboxes: 1 */
    const char *driver;         /* "": the agent's default */
    const char *image;          /* "": the tools of the host */
    Agentgateway__V1__SandboxRestart restart;
};

/* A DNS label of at most 19 characters without "--". ERR_INVALID. */
enum err_code spec_check_name(struct str_view name, struct err_info *err) MUST_CHECK;

/* ERR_INVALID names field and bound; ERR_PRECONDITION: understood, but nothing here can do it. */
enum err_code spec_check(
    const Openshell__V1__SandboxSpec *spec,
    struct spec_facts *ret_facts,
    struct err_info *err) MUST_CHECK;

/* What the annotation says; "": never. ERR_INVALID. */
enum err_code spec_read_restart(
    const char *text,
    Agentgateway__V1__SandboxRestart *ret_restart,
    struct err_info *err) MUST_CHECK;

/* Bounds of a map of environment variables, given as its entries; field names it in errors. */
enum err_code spec_check_environment(
    const char *field,
    const char *const *keys_and_values, /* count pairs */
    size_t count,
    struct err_info *err) MUST_CHECK;

/* The order to the agent, in the arena; NULL: it is full. */
Agentgateway__V1__AgentCommand *spec_to_command(
    struct arena *arena,
    const Openshell__V1__SandboxSpec *spec,
    const struct spec_facts *facts,
    const char *id);

#endif
