#include "cmd/server/core/service.h"

#include "common/base/mem.h"

enum err_code worker_open(void *service, void **ret_worker, struct err_info *err)
{
    struct service *self = service;
    struct worker *worker = mem_alloc(sizeof(*worker));
    worker->service = self;
    enum err_code code = store_open(&self->store, &worker->conn, err);
    if (code != ERR_OK) {
        mem_free(worker);
        return code;
    }
    *ret_worker = worker;
    return ERR_OK;
}

void worker_close(void *service, void *worker)
{
    (void)service;
    struct worker *self = worker;
    if (self != NULL) {
        sql_close(self->conn);
        mem_free(self);
    }
}
