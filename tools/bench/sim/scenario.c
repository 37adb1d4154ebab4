#include "tools/bench/sim/scenario.h"

#include "common/base/cleanup.h"

#include <assert.h>

static const struct {
    const char *name;
    bool is_share;
} actions[] = {
    [SCENARIO_DROP] = { "drop", true },
    [SCENARIO_STORM] = { "storm", true },
    [SCENARIO_SLOW] = { "slow", true },
    [SCENARIO_COMMAND] = { "command", true },
    [SCENARIO_TELEMETRY] = { "telemetry", false },
    [SCENARIO_HEARTBEAT] = { "heartbeat", false },
    [SCENARIO_JITTER] = { "jitter", true },
    [SCENARIO_DUPLICATE] = { "duplicate", true },
    [SCENARIO_LOSE_ACKS] = { "lose-acks", true },
};

static_assert(ARRAY_LENGTH(actions) == SCENARIO_ACTION_COUNT, "a row for each action");

int64_t scenario_vary(int64_t interval_us, int64_t permille, uint64_t random)
{
    int64_t most_us = interval_us / SCENARIO_WHOLE * permille;
    return interval_us - most_us + (int64_t)(random % (uint64_t)(2 * most_us + 1));
}

const char *scenario_action_name(enum scenario_action action)
{
    return actions[action].name;
}

bool scenario_cuts(enum scenario_action action)
{
    return action == SCENARIO_DROP || action == SCENARIO_STORM;
}

enum err_code scenario_parse_share(struct str_view text, int64_t *ret_permille)
{
    struct str_view whole = STR_NONE;
    struct str_view tenth = STR_NONE;
    uint64_t percent = 0;
    uint64_t tenths = 0;
    if (!str_has_suffix(text, STR("%"))) {
        return ERR_INVALID;
    }
    text.len--;
    if (!str_cut(text, '.', &whole, &tenth)) {
        whole = text;
    } else if (tenth.len != 1 || str_parse_uint64(tenth, 9, &tenths) != ERR_OK) {
        return ERR_INVALID;
    }
    TRY(str_parse_uint64(whole, 100, &percent));
    uint64_t permille = percent * 10 + tenths;
    if (permille > SCENARIO_WHOLE) {
        return ERR_LIMIT;
    }
    *ret_permille = (int64_t)permille;
    return ERR_OK;
}

static enum err_code find_action(struct str_view name, enum scenario_action *ret_action)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(actions); i++) {
        if (str_equal(name, str_of(actions[i].name))) {
            *ret_action = (enum scenario_action)i;
            return ERR_OK;
        }
    }
    return ERR_NOT_FOUND;
}

enum err_code scenario_parse(
    struct str_view text, struct scenario_step *ret_step, struct err_info *err)
{
    struct str_view time = STR_NONE;
    struct str_view what = STR_NONE;
    struct str_view name = STR_NONE;
    struct str_view value = STR_NONE;
    struct scenario_step step = { 0 };
    if (!str_cut(text, '=', &time, &what) || !str_cut(what, ':', &name, &value)
        || str_parse_duration_us(time, &step.at_us) != ERR_OK) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "step \"%.*s\": TIME=ACTION:VALUE expected, such as 30s=drop:50%%",
            STR_ARG(text));
    }
    if (find_action(name, &step.action) != ERR_OK) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "step \"%.*s\": the actions are drop, storm, slow, command, telemetry, heartbeat, "
            "jitter, duplicate and lose-acks",
            STR_ARG(text));
    }
    bool is_share = actions[step.action].is_share;
    enum err_code code = is_share ? scenario_parse_share(value, &step.value)
                                  : str_parse_duration_us(value, &step.value);
    if (code != ERR_OK) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "step \"%.*s\": %s expected after the colon",
            STR_ARG(text),
            is_share ? "a share such as 50% or 0.5%" : "a time such as 10s");
    }
    *ret_step = step;
    return ERR_OK;
}
