/* Enrollment tokens as they are made: the record, and the join string that an agent is given. */
#ifndef SERVER_CORE_ENROLL_TOKEN_H
#define SERVER_CORE_ENROLL_TOKEN_H

#include "cmd/server/core/work.h"
#include "cmd/server/store/enrollment/enrollment.h"
#include "common/crypto/secret.h"

struct enroll_token_order { /* borrowed for the call */
    int64_t workspace_id;
    const char *workspace;
    const char *labels; /* JSON object */
    bool auto_confirm;
    const char *created_by;
    int64_t ttl_us;
};

/*
 * Inside a transaction that sees the workspace. ret_token (may be NULL) is the bare token, ret_join
 * address, token and the pin of the CA; both become the caller's, the record's texts lie in the
 * work's arena. ERR_PRECONDITION: this server has no address for agents.
 */
enum err_code enroll_token_issue(
    struct work *work,
    const struct enroll_token_order *order,
    struct enrollment_record *ret_record,
    struct secret **ret_token,
    struct secret **ret_join,
    struct err_info *err) MUST_CHECK;

#endif
