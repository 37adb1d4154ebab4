#include "cmd/cli/sandbox/sandbox_view.h"

#include "cmd/cli/cells.h"

typedef Openshell__V1__Sandbox sandbox_type;

const char *sandbox_phase_word(struct cli *cli, const sandbox_type *sandbox)
{
    return cli_enum_word(
        cli, &openshell__v1__sandbox_phase__descriptor, (int)sandbox->status->phase);
}

const char *sandbox_reason(const sandbox_type *sandbox)
{
    const Openshell__V1__SandboxStatus *status = sandbox->status;
    return status->n_conditions > 0 ? status->conditions[0]->message : "";
}

bool sandbox_has_exited(const sandbox_type *sandbox, int *ret_code)
{
    const Openshell__V1__SandboxStatus *status = sandbox->status;
    if (status->has_exit_code_case != OPENSHELL__V1__SANDBOX_STATUS__HAS_EXIT_CODE_EXIT_CODE) {
        return false;
    }
    *ret_code = status->exit_code;
    return true;
}

/* ---- cells ---- */

static enum text_style phase_style(const sandbox_type *sandbox)
{
    switch (sandbox->status->phase) {
    case OPENSHELL__V1__SANDBOX_PHASE__SANDBOX_PHASE_READY:
        return TEXT_GOOD;
    case OPENSHELL__V1__SANDBOX_PHASE__SANDBOX_PHASE_ERROR:
        return TEXT_BAD;
    case OPENSHELL__V1__SANDBOX_PHASE__SANDBOX_PHASE_UNKNOWN:
        return TEXT_WARN;
    default:
        return TEXT_PLAIN;
    }
}

static enum text_style write_phase(const struct view_cell *cell, struct buf *out)
{
    (void)cells_text(sandbox_phase_word(cell->cli, cell->item), out);
    return phase_style(cell->item);
}

static enum text_style write_exit(const struct view_cell *cell, struct buf *out)
{
    int code = 0;
    if (!sandbox_has_exited(cell->item, &code)) {
        return TEXT_PLAIN;
    }
    (void)cells_number(code, out);
    return code == 0 ? TEXT_PLAIN : TEXT_BAD;
}

static enum text_style write_reason(const struct view_cell *cell, struct buf *out)
{
    (void)cells_text(sandbox_reason(cell->item), out);
    return phase_style(cell->item) == TEXT_GOOD ? TEXT_DIM : phase_style(cell->item);
}

static enum text_style write_conditions(const struct view_cell *cell, struct buf *out)
{
    const Openshell__V1__SandboxStatus *status = ((const sandbox_type *)cell->item)->status;
    for (size_t i = 0; i < status->n_conditions; i++) {
        const Openshell__V1__SandboxCondition *condition = status->conditions[i];
        buf_printf(
            out,
            "%s%s=%s %s since %s",
            i > 0 ? "; " : "",
            condition->type,
            condition->status,
            condition->reason,
            condition->last_transition_time);
    }
    return TEXT_PLAIN;
}

static enum text_style write_created(const struct view_cell *cell, struct buf *out)
{
    return cells_age_ms(cell, ((const sandbox_type *)cell->item)->metadata->created_at_ms, out);
}

static enum text_style write_command(const struct view_cell *cell, struct buf *out)
{
    const Openshell__V1__SandboxSpec *spec = ((const sandbox_type *)cell->item)->spec;
    for (size_t i = 0; i < spec->n_command; i++) {
        buf_printf(out, "%s%s", i > 0 ? " " : "", spec->command[i]);
    }
    if (spec->n_command == 0) {
        buf_append_str(out, STR("(login shell)"));
    }
    return TEXT_PLAIN;
}

/* Names alone: values are often secrets. */
static enum text_style write_environment(const struct view_cell *cell, struct buf *out)
{
    const Openshell__V1__SandboxSpec *spec = ((const sandbox_type *)cell->item)->spec;
    for (size_t i = 0; i < spec->n_environment; i++) {
        buf_printf(out, "%s%s", i > 0 ? ", " : "", spec->environment[i]->key);
    }
    return TEXT_PLAIN;
}

static enum text_style write_image(const struct view_cell *cell, struct buf *out)
{
    const Openshell__V1__SandboxSpec *spec = ((const sandbox_type *)cell->item)->spec;
    return cells_text(spec->template_ == NULL ? "" : spec->template_->image, out);
}

static const Google__Protobuf__Struct *limits_of(const sandbox_type *sandbox)
{
    const Openshell__V1__SandboxTemplate *template = sandbox->spec->template_;
    const Google__Protobuf__Struct *resources = template == NULL ? NULL : template->resources;
    for (size_t i = 0; resources != NULL && i < resources->n_fields; i++) {
        const Google__Protobuf__Value *value = resources->fields[i]->value;
        if (strcmp(resources->fields[i]->key, "limits") == 0
            && value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE) {
            return value->struct_value;
        }
    }
    return NULL;
}

static enum text_style write_limits(const struct view_cell *cell, struct buf *out)
{
    const Google__Protobuf__Struct *limits = limits_of(cell->item);
    for (size_t i = 0; limits != NULL && i < limits->n_fields; i++) {
        const Google__Protobuf__Value *value = limits->fields[i]->value;
        buf_printf(out, "%s%s=", i > 0 ? ", " : "", limits->fields[i]->key);
        if (value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE) {
            buf_append_str(out, str_of(value->string_value));
        } else if (value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE) {
            buf_printf(out, "%g", value->number_value);
        }
    }
    return TEXT_PLAIN;
}

CELL_TEXT(write_name, sandbox_type, metadata->name)
CELL_TEXT(write_id, sandbox_type, metadata->id)
CELL_TEXT(write_workspace, sandbox_type, metadata->workspace)
CELL_TEXT(write_agent, sandbox_type, status->agent_pod)
CELL_NUMBER(write_policy, sandbox_type, status->current_policy_version)
CELL_NUMBER(write_version, sandbox_type, metadata->resource_version)
CELL_NAME(name_of, sandbox_type, metadata->name)

static enum text_style write_labels(const struct view_cell *cell, struct buf *out)
{
    const Openshell__Datamodel__V1__ObjectMeta *meta = ((const sandbox_type *)cell->item)->metadata;
    return cells_pairs(meta->labels, meta->n_labels, out);
}

static enum text_style write_annotations(const struct view_cell *cell, struct buf *out)
{
    const Openshell__Datamodel__V1__ObjectMeta *meta = ((const sandbox_type *)cell->item)->metadata;
    return cells_pairs(meta->annotations, meta->n_annotations, out);
}

static const struct view_column COLUMNS[] = {
    { { .title = "NAME", .keep = 12, .min_width = 16 }, 0, write_name },
    { { .title = "WORKSPACE" }, VIEW_WIDE, write_workspace },
    { { .title = "PHASE", .keep = 7, .min_width = 12 }, 0, write_phase },
    { { .title = "EXIT", .right = true, .min_width = 4 }, 0, write_exit },
    { { .title = "AGE", .right = true, .keep = 4, .min_width = 5 }, 0, write_created },
    { { .title = "AGENT", .min_width = 12 }, 0, write_agent },
    { { .title = "ID" }, VIEW_WIDE, write_id },
    { { .title = "IMAGE" }, VIEW_WIDE, write_image },
    { { .title = "LIMITS" }, VIEW_WIDE, write_limits },
    { { .title = "POLICY", .right = true }, VIEW_WIDE, write_policy },
    { { .title = "COMMAND" }, VIEW_WIDE, write_command },
    { { .title = "LABELS" }, 0, write_labels },
    { { .title = "REASON", .keep = 20 }, VIEW_WIDE, write_reason },
    { { .title = "CONDITIONS" }, VIEW_DETAIL, write_conditions },
    { { .title = "ENVIRONMENT" }, VIEW_DETAIL, write_environment },
    { { .title = "ANNOTATIONS" }, VIEW_DETAIL, write_annotations },
    { { .title = "RESOURCE VERSION" }, VIEW_DETAIL, write_version },
};
const struct view VIEW_SANDBOXES = VIEW(COLUMNS, name_of);

/* ---- by name ---- */

enum err_code sandbox_find(struct cli *cli, const char *name, sandbox_type **ret_sandbox)
{
    Openshell__V1__GetSandboxRequest request = OPENSHELL__V1__GET_SANDBOX_REQUEST__INIT;
    Openshell__V1__SandboxResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    request.name = cli_text(cli, name);
    enum err_code code = connection_call(
        cli,
        CONNECTION_OPENSHELL "GetSandbox",
        &request.base,
        &openshell__v1__sandbox_response__descriptor,
        &reply);
    if (code == ERR_NOT_FOUND) {
        return ERR_SET(&cli->err, code, "there is no sandbox \"%s\" here", name);
    }
    TRY(code);
    return sandbox_take(cli, reply->sandbox, ret_sandbox);
}

enum err_code sandbox_take(struct cli *cli, sandbox_type *sandbox, sandbox_type **ret_sandbox)
{
    if (sandbox == NULL || sandbox->metadata == NULL || sandbox->spec == NULL
        || sandbox->status == NULL) {
        return ERR_SET(&cli->err, ERR_CORRUPT, "the server's answer holds no whole sandbox");
    }
    *ret_sandbox = sandbox;
    return ERR_OK;
}

enum err_code sandbox_find_ready(struct cli *cli, const char *name, sandbox_type **ret_sandbox)
{
    TRY(sandbox_find(cli, name, ret_sandbox));
    if ((*ret_sandbox)->status->phase != OPENSHELL__V1__SANDBOX_PHASE__SANDBOX_PHASE_READY) {
        const char *reason = sandbox_reason(*ret_sandbox);
        return ERR_SET(
            &cli->err,
            ERR_PRECONDITION,
            "sandbox %s is %s%s%s: nothing can run in it now",
            name,
            sandbox_phase_word(cli, *ret_sandbox),
            reason[0] != 0 ? ", " : "",
            reason);
    }
    return ERR_OK;
}
