#include "common/base/time.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec now = { 0 };
    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000;
}

static struct mono_us system_mono(const struct clock *clock)
{
    (void)clock;
    return (struct mono_us){ read_clock(CLOCK_MONOTONIC) };
}

static struct wall_us system_wall(const struct clock *clock)
{
    (void)clock;
    return (struct wall_us){ read_clock(CLOCK_REALTIME) };
}

static const struct clock system_clock = { system_mono, system_wall };

const struct clock *clock_system(void)
{
    return &system_clock;
}

char *time_format(struct wall_us time, char out[TIME_TEXT_BYTES])
{
    int64_t value = time.value < 0 ? 0 : time.value > WALL_US_MAX ? WALL_US_MAX : time.value;
    time_t seconds = (time_t)(value / US_PER_SECOND);
    int64_t micros = value % US_PER_SECOND;
    struct tm parts = { 0 };
    (void)gmtime_r(&seconds, &parts);
    size_t used = strftime(out, TIME_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &parts);
    char *end = out + used;
    size_t left = TIME_TEXT_BYTES - used;
    if (micros == 0) {
        (void)snprintf(end, left, "Z");
    } else if (micros % 1000 == 0) {
        (void)snprintf(end, left, ".%03" PRId64 "Z", micros / 1000);
    } else {
        (void)snprintf(end, left, ".%06" PRId64 "Z", micros);
    }
    return out;
}

/* Days from 1970-01-01 of a date of the Gregorian calendar. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2 ? 1 : 0;
    int64_t era = year / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - 719468;
}

static bool take_number(
    struct str_view *text, size_t digits, int64_t min, int64_t max, int64_t *ret)
{
    if (text->len < digits
        || str_parse_int64(str_from(text->ptr, digits), min, max, ret) != ERR_OK) {
        return false;
    }
    text->ptr += digits;
    text->len -= digits;
    return true;
}

static bool take_char(struct str_view *text, const char *allowed)
{
    if (text->len == 0 || strchr(allowed, text->ptr[0]) == NULL || text->ptr[0] == '\0') {
        return false;
    }
    text->ptr++;
    text->len--;
    return true;
}

static bool take_fraction(struct str_view *text, int64_t *ret_micros)
{
    int64_t micros = 0;
    size_t digits = 0;
    if (!take_char(text, ".")) {
        *ret_micros = 0;
        return true;
    }
    while (text->len > 0 && text->ptr[0] >= '0' && text->ptr[0] <= '9') {
        if (digits < 6) {
            micros = micros * 10 + (text->ptr[0] - '0');
        }
        digits++;
        text->ptr++;
        text->len--;
    }
    for (size_t i = digits; i < 6; i++) {
        micros *= 10;
    }
    *ret_micros = micros;
    return digits >= 1 && digits <= 9;
}

static bool take_offset(struct str_view *text, int64_t *ret_minutes)
{
    if (take_char(text, "Zz")) {
        *ret_minutes = 0;
        return true;
    }
    bool negative = text->len > 0 && text->ptr[0] == '-';
    int64_t hours = 0;
    int64_t minutes = 0;
    if (!take_char(text, "+-") || !take_number(text, 2, 0, 23, &hours) || !take_char(text, ":")
        || !take_number(text, 2, 0, 59, &minutes)) {
        return false;
    }
    *ret_minutes = (negative ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

enum err_code time_parse(struct str_view text, struct wall_us *ret_time)
{
    static const int month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int64_t year = 0;
    int64_t month = 0;
    int64_t day = 0;
    int64_t hour = 0;
    int64_t minute = 0;
    int64_t second = 0;
    int64_t micros = 0;
    int64_t offset = 0;
    bool whole = take_number(&text, 4, 1970, 9999, &year) && take_char(&text, "-")
        && take_number(&text, 2, 1, 12, &month) && take_char(&text, "-")
        && take_number(&text, 2, 1, 31, &day) && take_char(&text, "Tt ")
        && take_number(&text, 2, 0, 23, &hour) && take_char(&text, ":")
        && take_number(&text, 2, 0, 59, &minute) && take_char(&text, ":")
        && take_number(&text, 2, 0, 59, &second) && take_fraction(&text, &micros)
        && take_offset(&text, &offset) && text.len == 0;
    if (!whole) {
        return ERR_INVALID;
    }
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > month_days[month - 1] + (leap && month == 2 ? 1 : 0)) {
        return ERR_INVALID;
    }
    int64_t seconds =
        days_from_date(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset * 60;
    int64_t value = seconds * US_PER_SECOND + micros;
    if (value < 0 || value > WALL_US_MAX) {
        return ERR_INVALID;
    }
    *ret_time = (struct wall_us){ value };
    return ERR_OK;
}
