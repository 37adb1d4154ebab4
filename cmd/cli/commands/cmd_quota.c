/* belay quota: the most that may stand at the same time. */
#include "cmd/cli/amount.h"
#include "cmd/cli/cells.h"
#include "cmd/cli/commands/commands.h"
#include "cmd/cli/connection.h"

#include "proto/agentgateway/v1/admin.pb-c.h"

#include <inttypes.h>

typedef Agentgateway__V1__Quota quota_type;
typedef Agentgateway__V1__QuotaLimits limits_type;

enum {
    ATTEMPTS = 5 /* of a change, when somebody else changes the same */
};

#define EACH_OWNER "*"

/* ---- columns ---- */

static const char *shown_owner(const char *owner)
{
    return owner[0] == '\0' ? "(workspace)" : owner;
}

CELL_DEFINE_(write_owner, quota_type, cells_text(shown_owner(item->owner), out))

/* "2 of 5"; without a limit "2 of -"; without what stands "5". */
static enum text_style put_amount(
    const quota_type *quota,
    bool has_limit,
    const struct buf *used,
    const struct buf *limit,
    struct buf *out)
{
    if (quota->used != NULL) {
        buf_append_str(out, buf_view(used));
        buf_append_str(out, STR(" of "));
    }
    buf_append_str(out, has_limit ? buf_view(limit) : STR("-"));
    return has_limit ? TEXT_PLAIN : TEXT_DIM;
}

static void put_count(uint64_t value, struct buf *out)
{
    buf_printf(out, "%" PRIu64, value);
}

static void put_cpus(uint64_t millis, struct buf *out)
{
    buf_printf(out, "%g", (double)millis / AMOUNT_MILLIS);
}

static void put_bytes(uint64_t bytes, struct buf *out)
{
    (void)cells_bytes(bytes, out);
}

#define AMOUNT(fn, member, set_case, put)                                          \
    static enum text_style fn(const struct view_cell *cell, struct buf *out)       \
    {                                                                              \
        const quota_type *quota = cell->item;                                      \
        const limits_type *limits = quota->limits;                                 \
        AUTO_BUF struct buf used = BUF_INIT(64);                                   \
        AUTO_BUF struct buf limit = BUF_INIT(64);                                  \
        bool has_limit = limits != NULL && limits->_##member##_case == (set_case); \
        put(quota->used == NULL ? 0 : quota->used->member, &used);                 \
        put(has_limit ? limits->member : 0, &limit);                               \
        return put_amount(quota, has_limit, &used, &limit, out);                   \
    }

AMOUNT(write_sandboxes, sandboxes, AGENTGATEWAY__V1__QUOTA_LIMITS___SANDBOXES_SANDBOXES, put_count)
AMOUNT(write_cpu, cpu_millis, AGENTGATEWAY__V1__QUOTA_LIMITS___CPU_MILLIS_CPU_MILLIS, put_cpus)
AMOUNT(
    write_memory,
    memory_bytes,
    AGENTGATEWAY__V1__QUOTA_LIMITS___MEMORY_BYTES_MEMORY_BYTES,
    put_bytes)
AMOUNT(write_disk, disk_bytes, AGENTGATEWAY__V1__QUOTA_LIMITS___DISK_BYTES_DISK_BYTES, put_bytes)

static enum text_style write_source(const struct view_cell *cell, struct buf *out)
{
    const quota_type *quota = cell->item;
    bool is_none = quota->version == 0 && !quota->is_of_all;
    buf_append_str(
        out,
        is_none                ? STR("none")
            : quota->is_of_all ? STR("each owner")
                               : STR("its own"));
    return is_none ? TEXT_DIM : TEXT_PLAIN;
}

CELL_TEXT(write_changer, quota_type, changed_by)
CELL_AGE(write_changed, quota_type, changed_at)
CELL_TEXT(write_workspace, quota_type, workspace)
CELL_NUMBER(write_version, quota_type, version)

static void name_of(const void *item, struct buf *out)
{
    buf_append_str(out, str_of(shown_owner(((const quota_type *)item)->owner)));
}

static const struct view_column COLUMNS[] = {
    { { .title = "OWNER", .keep = 20 }, 0, write_owner },
    { { .title = "SANDBOXES", .right = true }, 0, write_sandboxes },
    { { .title = "CPU", .right = true }, 0, write_cpu },
    { { .title = "MEMORY", .right = true }, 0, write_memory },
    { { .title = "DISK", .right = true }, 0, write_disk },
    { { .title = "QUOTA" }, 0, write_source },
    { { .title = "BY" }, VIEW_WIDE, write_changer },
    { { .title = "CHANGED" }, VIEW_WIDE, write_changed },
    { { .title = "WORKSPACE" }, VIEW_WIDE, write_workspace },
    { { .title = "VERSION" }, VIEW_DETAIL, write_version },
};
static const struct view VIEW_QUOTAS = VIEW(COLUMNS, name_of);

/* ---- whose ---- */

static enum err_code read_owner(struct cli *cli, char **ret_owner)
{
    const char *word = args_word(cli->args, 0);
    bool is_each = args_flag(cli->args, "each");
    if (is_each && word != NULL) {
        return cli_usage(cli, "--each stands for the owner: leave %s out", word);
    }
    *ret_owner = cli_text(cli, is_each ? EACH_OWNER : word);
    return ERR_OK;
}

static enum err_code ask(struct cli *cli, char *owner, quota_type **ret_quota)
{
    Agentgateway__V1__GetQuotaRequest request = AGENTGATEWAY__V1__GET_QUOTA_REQUEST__INIT;
    request.workspace = connection_workspace(cli);
    request.owner = owner;
    return connection_call(
        cli, "GetQuota", &request.base, &agentgateway__v1__quota__descriptor, ret_quota);
}

static enum err_code get(struct cli *cli)
{
    char *owner = NULL;
    quota_type *quota = NULL;
    TRY(read_owner(cli, &owner));
    TRY(ask(cli, owner, &quota));
    return output_one(cli, &VIEW_QUOTAS, &quota->base, 0);
}

static enum err_code list(struct cli *cli)
{
    Agentgateway__V1__ListQuotasRequest request = AGENTGATEWAY__V1__LIST_QUOTAS_REQUEST__INIT;
    Agentgateway__V1__ListQuotasResponse *reply = NULL;
    request.workspace = connection_workspace(cli);
    TRY(connection_list(
        cli,
        "ListQuotas",
        &request.base,
        &agentgateway__v1__list_quotas_response__descriptor,
        (size_t)args_number(cli->args, "limit"),
        &reply));
    if (reply->n_quotas == 0 && !output_is_structured(cli)) {
        output_note(cli, "No quota here. To set one: belay quota set");
    }
    return output_list(cli, &VIEW_QUOTAS, &reply->base, reply->quotas, reply->n_quotas);
}

/* ---- changes ---- */

/* An option is a limit: its value, and the case that says it is set (the member's number). */
static const struct limit_option {
    const char *name;
    amount_parse_fn parse;
    const char *example;
    size_t value;
    size_t set;
    int number;
} LIMITS[] = {
    { "sandboxes",
      amount_parse_count,
      "20, at most 1000000",
      offsetof(limits_type, sandboxes),
      offsetof(limits_type, _sandboxes_case),
      AGENTGATEWAY__V1__QUOTA_LIMITS___SANDBOXES_SANDBOXES },
    { "cpu",
      amount_parse_cpus,
      "8, 0.5 or 500m, at most 1000000",
      offsetof(limits_type, cpu_millis),
      offsetof(limits_type, _cpu_millis_case),
      AGENTGATEWAY__V1__QUOTA_LIMITS___CPU_MILLIS_CPU_MILLIS },
    { "memory",
      amount_parse_bytes,
      "16GiB, at most 1EiB",
      offsetof(limits_type, memory_bytes),
      offsetof(limits_type, _memory_bytes_case),
      AGENTGATEWAY__V1__QUOTA_LIMITS___MEMORY_BYTES_MEMORY_BYTES },
    { "disk",
      amount_parse_bytes,
      "100GiB, at most 1EiB",
      offsetof(limits_type, disk_bytes),
      offsetof(limits_type, _disk_bytes_case),
      AGENTGATEWAY__V1__QUOTA_LIMITS___DISK_BYTES_DISK_BYTES },
};

static enum err_code merge(struct cli *cli, limits_type *limits)
{
    for (size_t i = 0; i < ARRAY_LENGTH(LIMITS); i++) {
        const struct limit_option *option = &LIMITS[i];
        const char *text = args_text(cli->args, option->name);
        uint64_t value = 0;
        int number = option->number;
        if (text == NULL) {
            continue;
        }
        if (str_equal(str_of(text), STR("none"))) {
            number = 0;
        } else if (!option->parse(str_of(text), &value)) {
            return cli_usage(
                cli,
                "--%s: \"%s\" is neither \"none\" nor like %s",
                option->name,
                text,
                option->example);
        }
        memcpy((char *)limits + option->value, &value, sizeof(value));
        memcpy((char *)limits + option->set, &number, sizeof(number));
    }
    return ERR_OK;
}

static enum err_code change(struct cli *cli, char *owner, quota_type **ret_quota)
{
    Agentgateway__V1__SetQuotaRequest request = AGENTGATEWAY__V1__SET_QUOTA_REQUEST__INIT;
    limits_type limits = AGENTGATEWAY__V1__QUOTA_LIMITS__INIT;
    quota_type *stands = NULL;
    TRY(merge(cli, &limits)); /* what was typed wrong is told before the server is asked */
    TRY(ask(cli, owner, &stands));
    limits = stands->limits == NULL ? limits : *stands->limits;
    TRY(merge(cli, &limits));
    request.workspace = connection_workspace(cli);
    request.owner = owner;
    request.limits = &limits;
    request._expected_version_case =
        AGENTGATEWAY__V1__SET_QUOTA_REQUEST___EXPECTED_VERSION_EXPECTED_VERSION;
    request.expected_version = stands->version;
    return connection_call(
        cli, "SetQuota", &request.base, &agentgateway__v1__quota__descriptor, ret_quota);
}

static enum err_code set(struct cli *cli)
{
    char *owner = NULL;
    quota_type *quota = NULL;
    bool is_any = false;
    for (size_t i = 0; i < ARRAY_LENGTH(LIMITS); i++) {
        is_any = is_any || args_is_set(cli->args, LIMITS[i].name);
    }
    if (!is_any) {
        return cli_usage(cli, "say at least one of --sandboxes, --cpu, --memory and --disk");
    }
    TRY(read_owner(cli, &owner));
    enum err_code code = ERR_CONFLICT;
    for (int i = 0; i < ATTEMPTS && code == ERR_CONFLICT; i++) {
        code = change(cli, owner, &quota);
    }
    TRY(code);
    return output_row(cli, &VIEW_QUOTAS, &quota->base);
}

static enum err_code delete_quota(struct cli *cli)
{
    Agentgateway__V1__DeleteQuotaRequest request = AGENTGATEWAY__V1__DELETE_QUOTA_REQUEST__INIT;
    quota_type *quota = NULL;
    TRY(read_owner(cli, &request.owner));
    request.workspace = connection_workspace(cli);
    TRY(connection_call(
        cli, "DeleteQuota", &request.base, &agentgateway__v1__quota__descriptor, &quota));
    return output_row(cli, &VIEW_QUOTAS, &quota->base);
}

/* ---- table ---- */

#define OPTION_EACH                                                             \
    {                                                                           \
        .name = "each", .type = CLI_FLAG,                                       \
        .help = "Of each owner that has none of its own, instead of one OWNER", \
    }
#define OPTION_AMOUNT(option, unit, text)                                            \
    {                                                                                \
        .name = (option), .type = CLI_TEXT, .argument = (unit), .min = 1, .max = 32, \
        .help = (text)                                                               \
    }

static const struct cli_argument OWNER_ARGUMENTS[] = {
    { .name = "OWNER",
      .flags = CLI_OPTIONAL,
      .help =
          "Who makes sandboxes: key:key_..., user:local/0; without it the workspace as a whole" },
};
static const struct cli_option GET_OPTIONS[] = { OPTION_EACH };
static const struct cli_example GET_EXAMPLES[] = {
    { "belay quota get", "What the workspace may have, and what stands" },
    { "belay quota get user:local/0", "The same of one owner" },
};
static const struct cli_command GET = {
    .name = "get",
    .summary = "Show the limits in force and what stands",
    CLI_LIST(argument, OWNER_ARGUMENTS),
    CLI_LIST(option, GET_OPTIONS),
    CLI_LIST(example, GET_EXAMPLES),
    .run = get,
};
static const struct cli_option LIST_OPTIONS[] = { OPTION_LIMIT("0") };
static const struct cli_command LIST = {
    .name = "list",
    .alias = "ls",
    .summary = "List quotas and what stands of them",
    CLI_LIST(option, LIST_OPTIONS),
    .run = list,
};
static const struct cli_option SET_OPTIONS[] = {
    OPTION_EACH,
    OPTION_AMOUNT("sandboxes", "N", "At most so many, stopped ones too; none: no limit"),
    OPTION_AMOUNT("cpu", "CPUS", "CPUs promised to them: 8, 0.5 or 500m; none: no limit"),
    OPTION_AMOUNT("memory", "SIZE", "Memory promised to them: 16GiB; none: no limit"),
    OPTION_AMOUNT("disk", "SIZE", "Disk promised to them: 100GiB; none: no limit"),
};
static const struct cli_example SET_EXAMPLES[] = {
    { "belay quota set --each --sandboxes 20 --cpu 8", "For everybody in the workspace" },
    { "belay quota set key:key_01 --sandboxes 100 --cpu none", "More for one of them" },
    { "belay quota set --memory 64GiB", "For the workspace as a whole; for the platform's admin" },
};
static const struct cli_command SET = {
    .name = "set",
    .summary = "Change limits",
    .description =
        "A limit that is not given stays as it is; an owner without a quota of its own begins with "
        "that of each owner. What stands is not ended when a limit falls below it.",
    CLI_LIST(argument, OWNER_ARGUMENTS),
    CLI_LIST(option, SET_OPTIONS),
    CLI_LIST(example, SET_EXAMPLES),
    .run = set,
};
static const struct cli_command DELETE = {
    .name = "delete",
    .alias = "rm",
    .summary = "Remove a quota; an owner falls back to that of each owner",
    CLI_LIST(argument, OWNER_ARGUMENTS),
    CLI_LIST(option, GET_OPTIONS),
    .run = delete_quota,
};
static const struct cli_command *const COMMANDS[] = { &GET, &LIST, &SET, &DELETE };
const struct cli_command CMD_QUOTA = {
    .name = "quota",
    .alias = "quotas",
    .summary = "How much may stand at the same time",
    CLI_LIST(command, COMMANDS),
};
