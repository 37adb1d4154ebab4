/* links: server_domain */
/* A caller's label selector: whatever it is, parsing ends, and what is accepted can be matched. */
#include "cmd/server/domain/selector.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct str_view look_up(const void *labels, struct str_view key)
{
    (void)labels;
    return key.len % 2 == 0 ? STR("value") : STR_NONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA struct arena *arena = arena_create(1 << 18);
    struct err_info err = ERR_INFO_INIT;
    struct selector *selector = NULL;
    enum err_code code = selector_parse(str_from((const char *)data, size), arena, &selector, &err);
    if (code == ERR_OK) {
        (void)selector_matches(selector, look_up, NULL);
    } else if (code != ERR_INVALID || err.text[0] == '\0') {
        abort();
    }
    return 0;
}
