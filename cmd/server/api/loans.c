/*
 * Loans: part of an agent's room for another workspace. The lender runs an agent that enrolls there
 * by itself, so what is of one workspace never passes through the session of the other.
 */
#include "cmd/server/api/handlers.h"
#include "cmd/server/api/page.h"
#include "cmd/server/core/enroll_token.h"
#include "cmd/server/core/outbox.h"
#include "cmd/server/store/enrollment/loan.h"
#include "cmd/server/store/session.h"
#include "common/wire/wire.h"

#include <inttypes.h>

enum {
    BOX_BYTES = 2048,
    PAYLOAD_BYTES = 8192
};

#define LEND_TTL_US    US_PER_DAY /* of the order and of the token in it */
#define RECLAIM_TTL_US (30 * US_PER_DAY)

/* Of a guest, so that those who place by label can tell. */
#define GUEST_LABELS "{\"belay.dev/lent\":\"true\"}"

/* ---- messages ---- */

static Agentgateway__V1__Loan *map_loan(
    const struct map_context *context, const struct loan_record *record)
{
    Agentgateway__V1__Loan *loan = wire_new(context->arena, &agentgateway__v1__loan__descriptor);
    if (loan == NULL) {
        return NULL;
    }
    bool is_late = record->state == ENROLLMENT_PENDING && record->expires_at <= context->now.value;
    loan->id = CONST_CAST(char *, record->id);
    loan->agent = CONST_CAST(char *, record->lender);
    loan->workspace = CONST_CAST(char *, record->workspace);
    loan->to_workspace = CONST_CAST(char *, record->to_workspace);
    loan->name = CONST_CAST(char *, record->name);
    loan->agent_id = record->agent_id;
    loan->state = (Agentgateway__V1__EnrollmentState)(is_late ? ENROLLMENT_EXPIRED : record->state);
    loan->is_online = record->state == ENROLLMENT_CONFIRMED
        && record->last_seen_at >= map_online_since(context->service, context->now);
    loan->created_by = CONST_CAST(char *, record->created_by);
    loan->created_at = map_time(context->arena, record->created_at);
    return loan;
}

PAGE_MAP(loan)

/* ---- orders ---- */

struct order {
    const Agentgateway__V1__AgentCommand *command;
    const char *kind;
    int64_t ttl_us;
    int64_t agent_id;
    const char *agent_name;
};

static enum err_code queue(
    struct api_call *api,
    const struct order *order,
    struct command_record *ret_record,
    struct err_info *err)
{
    AUTO_BUF struct buf packed = BUF_INIT(PAYLOAD_BYTES);
    TRY(wire_pack_within(&order->command->base, "command", &packed, err));
    const char *payload = arena_dup(api->arena, buf_text(&packed), packed.len);
    if (payload == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct outbox_order queued = {
        .workspace_id = api->workspace_id,
        .workspace = api->workspace,
        .agent_id = order->agent_id,
        .agent_name = order->agent_name,
        .kind = order->kind,
        .payload = str_from(payload, packed.len),
        .actor = api->principal->subject,
        .ttl_us = order->ttl_us,
        .idempotency_key = "",
        .sandbox_id = "",
    };
    return outbox_queue(api->work, &queued, ret_record, err);
}

/* The borrower's operators see in their own trail what came to them and what went. */
static enum err_code audit_borrower(
    struct api_call *api, const struct loan_record *loan, const char *action, struct err_info *err)
{
    const struct audit_entry entry = {
        .workspace_id = loan->to_workspace_id,
        .actor = api->principal->subject,
        .action = action,
        .target = arena_printf(api->arena, "enrollment/%s", loan->id),
        .decision = "allowed",
        .reason = "",
        .request_id = rpc_call_id(api->call),
        .source = api->principal->source,
    };
    return work_audit(api->work, &entry, err);
}

/* ---- lending ---- */

typedef Agentgateway__V1__LendAgentRequest lend_request;

static enum err_code find_borrower(
    struct api_call *api,
    const lend_request *request,
    struct workspace_record *ret_workspace,
    struct err_info *err)
{
    enum err_code code = store_workspace_find(
        api->work->conn, str_of(request->to_workspace), api->arena, ret_workspace, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_SET(err, ERR_NOT_FOUND, "to_workspace: no such workspace");
    }
    TRY(code);
    return ret_workspace->id == api->workspace_id
        ? ERR_SET(err, ERR_INVALID, "to_workspace: the agent is in this workspace already")
        : ERR_OK;
}

static enum err_code find_lender(
    struct api_call *api,
    const lend_request *request,
    struct agent_record *ret_agent,
    struct err_info *err)
{
    bool is_guest = false;
    TRY(store_agent_find(
        api->work->conn, api->workspace_id, str_of(request->agent), api->arena, ret_agent, err));
    api->target = arena_printf(api->arena, "agent/%" PRId64, ret_agent->id);
    if (ret_agent->state != AGENT_CONFIRMED) {
        return ERR_SET(err, ERR_PRECONDITION, "only a confirmed agent can lend");
    }
    TRY(store_loan_is_guest(api->work->conn, api->workspace_id, ret_agent->id, &is_guest, err));
    return is_guest
        ? ERR_SET(err, ERR_PRECONDITION, "the agent is lent itself: lend from the one that runs it")
        : ERR_OK;
}

/* The agent would be refused when it registers; here a person still reads the answer. */
static enum err_code check_name(
    struct api_call *api, int64_t workspace_id, const char *name, struct err_info *err)
{
    struct agent_record standing;
    enum err_code code =
        store_agent_find(api->work->conn, workspace_id, str_of(name), api->arena, &standing, err);
    if (code == ERR_NOT_FOUND || (code == ERR_OK && standing.state == AGENT_REVOKED)) {
        return ERR_OK;
    }
    TRY(code);
    return ERR_SET(
        err, ERR_EXISTS, "name: the borrowing workspace has an agent \"%s\"; give another", name);
}

/* What a lend is made from. */
struct lending {
    const lend_request *request;
    struct agent_record lender;
    struct workspace_record borrower;
    const char *name; /* of the agent there */
    struct enrollment_record enrollment;
};

static enum err_code issue(
    struct api_call *api, struct lending *lending, struct secret **ret_join, struct err_info *err)
{
    const struct enroll_token_order order = {
        .workspace_id = lending->borrower.id,
        .workspace = lending->borrower.name,
        .labels = GUEST_LABELS,
        .auto_confirm = true, /* the lender's key vouches for it: nobody else can open the box */
        .created_by = api->principal->subject,
        .ttl_us = LEND_TTL_US,
    };
    TRY(enroll_token_issue(api->work, &order, &lending->enrollment, NULL, ret_join, err));
    return store_loan_add(
        api->work->conn, lending->borrower.id, lending->enrollment.id, lending->lender.id, err);
}

static enum err_code order_lend(
    struct api_call *api,
    const struct lending *lending,
    const struct secret *join,
    struct command_record *ret_record,
    struct err_info *err)
{
    AUTO_BUF struct buf box = BUF_INIT(BOX_BYTES);
    Agentgateway__V1__AgentLend lend = AGENTGATEWAY__V1__AGENT_LEND__INIT;
    Agentgateway__V1__AgentCommand command = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    const uint8_t *key = (const uint8_t *)lending->lender.encryption_key.ptr;
    TRY(key_seal(key, secret_peek(join), &box));
    lend.loan_id = CONST_CAST(char *, lending->enrollment.id);
    lend.workspace = lending->request->to_workspace;
    lend.name = CONST_CAST(char *, lending->name);
    lend.sealed_join.data = (uint8_t *)box.data;
    lend.sealed_join.len = box.len;
    lend.room = lending->request->room;
    command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_LEND;
    command.lend = &lend;
    const struct order order = {
        .command = &command,
        .kind = "lend",
        .ttl_us = LEND_TTL_US,
        .agent_id = lending->lender.id,
        .agent_name = lending->lender.name,
    };
    return queue(api, &order, ret_record, err);
}

/* record: NULL where nobody was ordered anything. */
static enum err_code fill_reply(
    struct api_call *api,
    const char *id,
    const struct command_record *record,
    Agentgateway__V1__LoanChange *reply,
    struct err_info *err)
{
    struct loan_record loan;
    const struct map_context context = map_context_of(api);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    TRY(store_loan_get(api->work->conn, api->workspace_id, str_of(id), api->arena, &loan, err));
    reply->loan = map_loan(&context, &loan);
    reply->command = record == NULL ? NULL : map_command(&context, record);
    return reply->loan == NULL || (record != NULL && reply->command == NULL)
        ? API_OUT_OF_MEMORY(err)
        : ERR_OK;
}

static Agentgateway__V1__LoanChange *reply_new(struct api_call *api, ProtobufCMessage **ret_reply)
{
    Agentgateway__V1__LoanChange *reply =
        wire_new(api->arena, &agentgateway__v1__loan_change__descriptor);
    *ret_reply = reply == NULL ? NULL : &reply->base;
    return reply;
}

enum err_code api_lend_agent(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    struct lending lending = { .request = (const lend_request *)message };
    struct command_record record;
    AUTO_SECRET struct secret *join = NULL;
    TRY(find_lender(api, lending.request, &lending.lender, err));
    TRY(find_borrower(api, lending.request, &lending.borrower, err));
    lending.name = lending.request->name[0] != '\0' ? lending.request->name : lending.lender.name;
    TRY(check_name(api, lending.borrower.id, lending.name, err));
    TRY(issue(api, &lending, &join, err));
    TRY(order_lend(api, &lending, join, &record, err));
    const struct loan_record loan = { .id = lending.enrollment.id,
                                      .to_workspace_id = lending.borrower.id };
    TRY(audit_borrower(api, &loan, "agent.lent", err));
    return fill_reply(api, loan.id, &record, reply_new(api, ret_reply), err);
}

/* ---- the rest ---- */

enum err_code api_list_loans(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__ListLoansRequest *request =
        (const Agentgateway__V1__ListLoansRequest *)message;
    struct page page;
    struct store_list list;
    struct loan_filter filter = { .with_ended = request->with_ended };
    TRY(page_open(api, message, &page, err));
    TRY(api_agent_id(api, request->agent, &filter.lender_id, err));
    filter.after = page.cursor;
    filter.limit = page.size + 1;
    TRY(store_loan_list(api->work->conn, api->workspace_id, &filter, api->arena, &list, err));
    Agentgateway__V1__ListLoansResponse *reply =
        wire_new(api->arena, &agentgateway__v1__list_loans_response__descriptor);
    if (reply == NULL) {
        return API_OUT_OF_MEMORY(err);
    }
    const struct page_rows rows = {
        .records = list.records,
        .count = list.count,
        .record_bytes = sizeof(struct loan_record),
        .map = map_any_loan,
        .cursor_offset = offsetof(struct loan_record, id),
        .cursor_is_number = false,
    };
    const struct page_reply filled = { (void ***)&reply->loans,
                                       &reply->n_loans,
                                       &reply->next_page_token };
    *ret_reply = &reply->base;
    return page_fill(api, message, &page, &rows, &filled, err);
}

/* Whoever borrowed is shut out with this transaction; what is left at the lender goes when it hears
 * of it. */
static enum err_code end_loan(
    struct api_call *api, const struct loan_record *loan, struct err_info *err)
{
    if (loan->agent_id != 0 && loan->state != ENROLLMENT_REVOKED) {
        TRY(store_agent_revoke(api->work->conn, loan->to_workspace_id, loan->agent_id, err));
        work_wake(api->work, HUB_SESSION, loan->agent_id);
        work_wake(api->work, HUB_AGENTS, loan->to_workspace_id);
    }
    TRY(store_loan_end(api->work->conn, loan, err));
    return audit_borrower(api, loan, "agent.reclaimed", err);
}

/* A revoked lender hears no orders any more. */
static enum err_code order_reclaim(
    struct api_call *api,
    const struct loan_record *loan,
    struct command_record *ret_record,
    struct err_info *err)
{
    Agentgateway__V1__AgentReclaim reclaim = AGENTGATEWAY__V1__AGENT_RECLAIM__INIT;
    Agentgateway__V1__AgentCommand command = AGENTGATEWAY__V1__AGENT_COMMAND__INIT;
    reclaim.loan_id = CONST_CAST(char *, loan->id);
    command.command_case = AGENTGATEWAY__V1__AGENT_COMMAND__COMMAND_RECLAIM;
    command.reclaim = &reclaim;
    const struct order order = {
        .command = &command,
        .kind = "reclaim",
        .ttl_us = RECLAIM_TTL_US,
        .agent_id = loan->lender_id,
        .agent_name = loan->lender,
    };
    return queue(api, &order, ret_record, err);
}

enum err_code api_reclaim_agent(
    struct api_call *api,
    const ProtobufCMessage *message,
    ProtobufCMessage **ret_reply,
    struct err_info *err)
{
    const Agentgateway__V1__ReclaimAgentRequest *request =
        (const Agentgateway__V1__ReclaimAgentRequest *)message;
    struct loan_record loan;
    struct command_record record;
    api->target = arena_printf(api->arena, "enrollment/%s", request->loan_id);
    enum err_code code = store_loan_get(
        api->work->conn, api->workspace_id, str_of(request->loan_id), api->arena, &loan, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_SET(err, ERR_NOT_FOUND, "loan_id: no such loan of this workspace's agents");
    }
    TRY(code);
    bool hears = loan.lender_state != AGENT_REVOKED;
    TRY(end_loan(api, &loan, err));
    if (hears) {
        TRY(order_reclaim(api, &loan, &record, err));
    }
    return fill_reply(api, loan.id, hears ? &record : NULL, reply_new(api, ret_reply), err);
}
