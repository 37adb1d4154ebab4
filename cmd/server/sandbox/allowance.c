#include "cmd/server/sandbox/allowance.h"

#include "cmd/server/domain/quota.h"
#include "cmd/server/store/sandbox/quota.h"

/* owner "": of the workspace as a whole. */
static enum err_code check(
    const struct lifecycle *self,
    const char *owner,
    const struct placement_room *asked,
    struct err_info *err)
{
    struct work *work = self->work;
    struct quota_record quota;
    struct quota_use use;
    enum err_code code =
        store_quota_get(work->conn, self->workspace_id, str_of(owner), work->arena, &quota, err);
    if (code != ERR_OK) {
        return code == ERR_NOT_FOUND ? ERR_OK : code;
    }
    TRY(store_quota_used(work->conn, self->workspace_id, str_of(owner), work->arena, &use, err));
    const struct placement_room limits = {
        quota.cpu_millis, quota.memory_bytes, quota.disk_bytes, quota.sandboxes
    };
    const struct placement_room used = {
        use.cpu_millis, use.memory_bytes, use.disk_bytes, use.sandboxes
    };
    const char *whose =
        owner[0] != '\0' ? owner : arena_printf(work->arena, "workspace '%s'", self->workspace);
    return quota_check(whose == NULL ? "the workspace" : whose, &limits, &used, asked, err);
}

enum err_code allowance_check(
    const struct lifecycle *self, const struct spec_facts *facts, struct err_info *err)
{
    bool has_quotas = false;
    TRY(store_quota_lock(self->work->conn, self->workspace_id, &has_quotas, err));
    if (!has_quotas) {
        return ERR_OK;
    }
    TRY(check(self, "", &facts->room, err));
    return check(self, self->actor, &facts->room, err);
}
