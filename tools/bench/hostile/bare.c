#include "tools/bench/hostile/bare.h"

#include "common/base/cleanup.h"
#include "common/crypto/cert.h"
#include "tools/bench/bare/echo.h"

#include <stdio.h>

enum {
    METADATA_BYTES_MAX = 24 * 1024,
    STREAMS_MAX = 100
};

static enum err_code make_certificate(const char *dir, struct err_info *err)
{
    static const char *const names[] = { "localhost" };
    struct cert_pair pair = { 0 };
    AUTO_FREE char *ca = NULL;
    TRY(cert_store_load(dir, names, 1, clock_wall(clock_system()), &pair, &ca, NULL, err));
    cert_pair_deinit(&pair);
    return ERR_OK;
}

int bare_main(const char *dir)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_FREE char *certificate = mem_printf("%s/server.pem", dir);
    AUTO_FREE char *key = mem_printf("%s/server.key", dir);
    struct bare_options options = { .certificate = certificate,
                                    .key = key,
                                    .max_metadata_bytes = METADATA_BYTES_MAX,
                                    .max_streams = STREAMS_MAX };
    if (make_certificate(dir, &err) != ERR_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return echo_serve(0, &options);
}
