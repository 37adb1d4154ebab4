#include "cmd/cli/term/plot_scale.h"

#include "common/base/cleanup.h"

#include <math.h>
#include <time.h>

/* How a unit is written: value * factor, with prefixes every `base`. */
struct unit {
    const char *name;
    const char *suffix;
    double factor;
    double base; /* 0: no prefixes */
};

static const struct unit UNITS[] = {
    { "ratio", "%", 100, 0 },
    { "percent", "%", 1, 0 },
    { "bytes", "B", 1, 1024 },
    { "bytes/s", "B/s", 1, 1024 },
    { "bytes_per_second", "B/s", 1, 1024 },
    { "celsius",
      " \xc2\xb0"
      "C",
      1,
      0 },
    { "seconds", "s", 1, 0 },
    { "s", "s", 1, 0 },
    { "ms", "ms", 1, 0 },
    { "hertz", "Hz", 1, 1000 },
    { "hz", "Hz", 1, 1000 },
    { "volts", "V", 1, 0 },
    { "watts", "W", 1, 1000 },
    { "rpm", " rpm", 1, 0 },
};

static struct unit unit_of(const char *name)
{
    for (size_t i = 0; name != NULL && i < ARRAY_LENGTH(UNITS); i++) {
        if (strcmp(UNITS[i].name, name) == 0) {
            return UNITS[i];
        }
    }
    return (struct unit){ .name = name, .suffix = "", .factor = 1, .base = 1000 };
}

/* Power of the prefix for a magnitude: 0 none, 1 k or Ki, ... */
static unsigned prefix_of(double magnitude, double base)
{
    unsigned power = 0;
    while (base > 0 && magnitude >= base && power < 6) {
        magnitude /= base;
        power++;
    }
    return power;
}

static void put_number(
    double value, int decimals, const struct unit *unit, unsigned power, struct buf *buf)
{
    static const char PREFIXES[] = " kMGTPE";
    buf_printf(buf, "%.*f", decimals, value + 0.0);
    if (unit->base > 0 && (power > 0 || unit->suffix[0] != 0) && unit->suffix[0] != 0) {
        buf_append_char(buf, ' ');
    }
    if (power > 0) {
        char prefix = PREFIXES[power];
        buf_append_char(buf, prefix == 'k' && unit->base > 1000 ? 'K' : prefix);
        if (unit->base > 1000) {
            buf_append_char(buf, 'i');
        }
    }
    buf_append_str(buf, str_of(unit->suffix));
}

/* The two greatest units: "1h 30m", "12d 4h". */
static void put_duration(int64_t seconds, struct buf *buf)
{
    if (seconds < 3600) {
        buf_printf(buf, "%lldm %llds", (long long)(seconds / 60), (long long)(seconds % 60));
    } else if (seconds < 86400) {
        buf_printf(buf, "%lldh %lldm", (long long)(seconds / 3600), (long long)(seconds / 60 % 60));
    } else {
        buf_printf(
            buf, "%lldd %lldh", (long long)(seconds / 86400), (long long)(seconds / 3600 % 24));
    }
}

void plot_format_value(double value, const char *unit_name, struct buf *buf)
{
    struct unit unit = unit_of(unit_name);
    if (!isfinite(value)) {
        buf_append_str(buf, isnan(value) ? STR("-") : value > 0 ? STR("inf") : STR("-inf"));
        return;
    }
    if (value >= 120 && value < 1e12 && strcmp(unit.suffix, "s") == 0) {
        put_duration((int64_t)value, buf);
        return;
    }
    double shown = value * unit.factor;
    unsigned power = prefix_of(fabs(shown), unit.base);
    shown /= pow(unit.base > 0 ? unit.base : 1, power);
    double size = fabs(shown);
    bool whole = floor(shown) == shown && size < 1e6;
    int decimals = whole ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : size >= 0.001 ? 4 : 6;
    put_number(shown, decimals, &unit, power, buf);
}

/* 1, 2, 2.5 or 5 times a power of ten; a power of two where prefixes go by 1024. */
static double round_step(double least, const struct unit *unit)
{
    static const double FACTORS[] = { 1, 2, 2.5, 5, 10 };
    if (unit->base > 1000) {
        return pow(2, ceil(log2(least) - 1e-9));
    }
    double size = pow(10, floor(log10(least)));
    for (size_t i = 0; i < ARRAY_LENGTH(FACTORS); i++) {
        if (size * FACTORS[i] >= least * 0.999999) {
            return size * FACTORS[i];
        }
    }
    return size * 10;
}

struct plot_scale plot_scale_create(
    double low, double high, unsigned max_steps, const char *unit_name)
{
    struct unit unit = unit_of(unit_name);
    if (high - low < fabs(high) * 1e-9 || high - low < 1e-300) {
        double room = fabs(high) > 0 ? fabs(high) * 0.1 : 1 / unit.factor;
        low -= low >= 0 && low < room ? low : room;
        high += room;
    }
    /* Half the range and then doubled, so that the span of two huge ends stays finite. */
    double half = high / 2 - low / 2;
    double step =
        round_step(half * unit.factor / (max_steps > 0 ? max_steps : 1) * 2, &unit) / unit.factor;
    struct plot_scale scale = { .step = step };
    scale.low = floor(low / step * (1 + (low < 0 ? 1e-12 : -1e-12))) * step;
    scale.high = ceil(high / step * (1 - (high > 0 ? 1e-12 : -1e-12))) * step;
    scale.low = scale.low > low || !isfinite(scale.low) ? low : scale.low;
    scale.high = scale.high < high || !isfinite(scale.high) ? high : scale.high;
    return scale;
}

void plot_scale_label(
    const struct plot_scale *scale, double value, const char *unit_name, struct buf *buf)
{
    struct unit unit = unit_of(unit_name);
    double largest = fmax(fabs(scale->low), fabs(scale->high)) * unit.factor;
    unsigned power = prefix_of(largest, unit.base);
    double divisor = pow(unit.base > 0 ? unit.base : 1, power);
    double step = scale->step * unit.factor / divisor;
    double shown = value * unit.factor / divisor;
    if (fabs(shown) < step * 1e-6) {
        shown = 0;
    }
    int decimals = 0;
    for (double rest = step; decimals < 6 && fabs(rest - round(rest)) > 1e-6; decimals++) {
        rest *= 10;
    }
    if (fabs(shown) >= 1e7 || (largest > 0 && largest < 1e-5)) {
        buf_printf(buf, "%.3g%s", shown, unit.suffix);
        return;
    }
    put_number(shown, decimals, &unit, power, buf);
}

int64_t plot_time_step(int64_t span_us, unsigned count)
{
    static const int64_t STEPS_S[] = { 1,      2,      5,       10,      15,      30,
                                       60,     120,    300,     600,     900,     1800,
                                       3600,   7200,   10800,   21600,   43200,   86400,
                                       172800, 604800, 2592000, 7776000, 31536000 };
    int64_t wanted = span_us / (count > 0 ? count : 1);
    for (size_t i = 0; i < ARRAY_LENGTH(STEPS_S); i++) {
        if (STEPS_S[i] * US_PER_SECOND >= wanted) {
            return STEPS_S[i] * US_PER_SECOND;
        }
    }
    return wanted;
}

void plot_time_label(int64_t time_us, int64_t step_us, struct buf *buf)
{
    time_t seconds = (time_t)(time_us / US_PER_SECOND);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) == NULL) {
        return;
    }
    if (step_us >= US_PER_DAY) {
        buf_printf(buf, "%02d-%02d", parts.tm_mon + 1, parts.tm_mday);
    } else if (step_us >= US_PER_MINUTE) {
        buf_printf(buf, "%02d:%02d", parts.tm_hour, parts.tm_min);
    } else {
        buf_printf(buf, "%02d:%02d:%02d", parts.tm_hour, parts.tm_min, parts.tm_sec);
    }
}
