/* links: agent_link */
#include "belay_descriptors.h"
#include "cmd/agent/link/batch.h"
#include "cmd/agent/spool/record.h"
#include "common/base/cleanup.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* One record as `spool list` and the server's ingest meet it: format, compression, payload. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct wire_schema *schema;
    uint8_t sum[RECORD_CHECKSUM_BYTES];
    struct wall_us at = { 0 };
    if (schema == NULL
        && wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, NULL) != ERR_OK) {
        abort();
    }
    if (bytes < 2) {
        return 0;
    }
    struct str_view payload = str_from((const char *)data + 2, bytes - 2);
    AUTO_BUF struct buf text = BUF_INIT(1 << 20);
    (void)!batch_describe(schema, data[0] % 4, data[1] % 2, payload, &text, NULL);
    record_checksum(at, data[0], data[1], payload, sum);
    if (!record_is_intact(
            at, data[0], data[1], payload, str_from((const char *)sum, sizeof(sum)))) {
        abort();
    }
    return 0;
}
