#include "cmd/server/sandbox/lifecycle.h"

#include "cmd/server/domain/moniker.h"
#include "cmd/server/sandbox/allowance.h"
#include "cmd/server/sandbox/orders.h"
#include "cmd/server/sandbox/place.h"
#include "cmd/server/sandbox/policy.h"
#include "cmd/server/sandbox/transition.h"
#include "cmd/server/store/agent.h"
#include "cmd/server/store/sandbox/usage.h"
#include "common/base/id.h"
#include "common/wire/wire.h"

enum {
    NAME_TRIES = 8,
    SPEC_BYTES = 1024 * 1024
};

static enum err_code add_policy(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    Openshell__Sandbox__V1__SandboxPolicy *policy,
    struct err_info *err)
{
    char hash[POLICY_HASH_TEXT_BYTES];
    AUTO_BUF struct buf packed = BUF_INIT(SPEC_BYTES);
    TRY(policy_hash(policy, hash, err));
    TRY(wire_pack_within(&policy->base, "policy", &packed, err));
    const struct sandbox_policy_record first = {
        .sandbox_id = record->id,
        .version = record->policy_version,
        .status = SANDBOX_POLICY_PENDING,
        .policy = buf_view(&packed),
        .hash = hash,
        .annotations = "{}",
        .created_by = self->actor,
        .created_at = self->work->now.value,
    };
    return store_sandbox_policy_add(self->work->conn, self->workspace_id, &first, err);
}

static enum err_code choose_name(
    const struct lifecycle *self,
    const struct lifecycle_wish *wish,
    const char **ret_name,
    struct err_info *err)
{
    struct work *work = self->work;
    struct sandbox_record taken;
    if (wish->name[0] != '\0') {
        enum err_code code = store_sandbox_by_name(
            work->conn, self->workspace_id, str_of(wish->name), work->arena, &taken, err);
        *ret_name = wish->name;
        if (code == ERR_OK) {
            return ERR_SET(err, ERR_EXISTS, "sandbox '%s' already exists", wish->name);
        }
        return code == ERR_NOT_FOUND ? spec_check_name(str_of(wish->name), err) : code;
    }
    for (int i = 0; i < NAME_TRIES; i++) {
        char name[MONIKER_BYTES];
        *ret_name = arena_strdup(work->arena, moniker_create(id_random_below(UINT64_MAX), name));
        if (*ret_name == NULL) {
            return ERR_SET(err, ERR_LIMIT, "the request is too large");
        }
        enum err_code code = store_sandbox_by_name(
            work->conn, self->workspace_id, str_of(*ret_name), work->arena, &taken, err);
        if (code != ERR_OK) {
            return code == ERR_NOT_FOUND ? ERR_OK : code;
        }
    }
    return ERR_SET(err, ERR_BUSY, "no free name was found; give one");
}

static enum err_code store(
    const struct lifecycle *self,
    const struct lifecycle_wish *wish,
    struct sandbox_record *record,
    struct err_info *err)
{
    Openshell__Sandbox__V1__SandboxPolicy none = OPENSHELL__SANDBOX__V1__SANDBOX_POLICY__INIT;
    AUTO_BUF struct buf packed = BUF_INIT(SPEC_BYTES);
    TRY(wire_pack_within(&wish->spec->base, "spec", &packed, err));
    record->spec = str_from(arena_dup(self->work->arena, packed.data, packed.len), packed.len);
    if (record->spec.ptr == NULL && packed.len > 0) {
        return ERR_SET(err, ERR_LIMIT, "the request is too large");
    }
    enum err_code code = store_sandbox_add(self->work->conn, record, err);
    if (code == ERR_EXISTS) {
        return ERR_SET(err, ERR_EXISTS, "sandbox '%s' already exists", record->name);
    }
    TRY(code);
    TRY(store_usage_account_add(self->work->conn, record, err));
    return add_policy(self, record, wish->spec->policy == NULL ? &none : wish->spec->policy, err);
}

enum err_code lifecycle_create(
    const struct lifecycle *self,
    const struct lifecycle_wish *wish,
    struct sandbox_record *ret_record,
    struct err_info *err)
{
    struct work *work = self->work;
    struct spec_facts facts;
    char id[ID_TEXT_BYTES];
    struct sandbox_record record = {
        .workspace_id = self->workspace_id,
        .id = arena_strdup(work->arena, id_create("sbx", work->now, id)),
        .phase = PHASE_PROVISIONING,
        .labels = wish->labels,
        .annotations = wish->annotations,
        .reason = "Scheduled",
        .message = "",
        .exit_code = -1,
        .instance_id = "",
        .policy_version = 1,
        .created_by = self->actor,
        .created_at = work->now.value,
        .changed_at = work->now.value,
        .revision = 1,
        .workspace = self->workspace,
    };
    if (record.id == NULL) {
        return ERR_SET(err, ERR_LIMIT, "the request is too large");
    }
    TRY(spec_check(wish->spec, &facts, err));
    TRY(spec_read_restart(wish->restart, &facts.restart, err));
    TRY(choose_name(self, wish, &record.name, err));
    TRY(allowance_check(self, &facts, err));
    TRY(place_choose(self, wish, &facts, &record.agent_id, err));
    record.cpu_millis = facts.room.cpu_millis;
    record.memory_bytes = facts.room.memory_bytes;
    record.disk_bytes = facts.room.disk_bytes;
    TRY(store(self, wish, &record, err));
    TRY(orders_create(self, &record, wish->spec, &facts, err));
    TRY(store_sandbox_get(
        work->conn, self->workspace_id, str_of(record.id), work->arena, ret_record, err));
    transition_note(self, ret_record, PHASE_PROVISIONING);
    return ERR_OK;
}

enum err_code lifecycle_order(
    const struct lifecycle *self,
    struct sandbox_record *record,
    enum phase_order order,
    struct err_info *err)
{
    enum phase next = (enum phase)record->phase;
    TRY(phase_after_order((enum phase)record->phase, order, &next, err));
    if (next == PHASE_DELETING) {
        record->deleting_at = self->work->now.value;
    }
    if (next == PHASE_STARTING) {
        TRY(place_again(self, record, err));
        record->exit_code = -1;
    }
    bool is_early = next == PHASE_STOPPING && record->phase == PHASE_STARTING;
    record->reason = is_early ? LIFECYCLE_REASON_STARTING : "";
    record->message = "";
    /* First the order, which takes the agent's row: reports take it before a sandbox's, too. */
    struct sandbox_record ordered = *record;
    ordered.phase = (int64_t)next;
    TRY(orders_give(self, &ordered, err));
    return transition_make(self, record, next, err);
}

enum err_code lifecycle_send_policy(
    const struct lifecycle *self,
    const struct sandbox_record *record,
    Openshell__Sandbox__V1__SandboxPolicy *policy,
    struct err_info *err)
{
    const struct sandbox_policy_record ordered = { .version = record->policy_version,
                                                   .status = SANDBOX_POLICY_PENDING };
    transition_note_policy(self, record, &ordered);
    return orders_policy(self, record, policy, err);
}

enum err_code lifecycle_delete(
    const struct lifecycle *self,
    struct sandbox_record *record,
    bool is_forced,
    struct err_info *err)
{
    bool takes_orders = false;
    TRY(store_agent_takes_commands(
        self->work->conn, self->workspace_id, record->agent_id, &takes_orders, err));
    if (takes_orders && record->phase != PHASE_DELETING) {
        TRY(lifecycle_order(self, record, PHASE_ORDER_DELETE, err));
    }
    return is_forced || !takes_orders ? transition_forget(self, record, err) : ERR_OK;
}
