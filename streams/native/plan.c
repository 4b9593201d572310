#include "plan.h"

#include <stdlib.h>

#define DAY_MS INT64_C(86400000)

bool day_of(const Calendar *calendar, int64_t at_ms, int64_t *day) {
    size_t low = 0, high = calendar->days;
    if (high == 0 || at_ms < calendar->begins[0] || at_ms >= calendar->begins[high - 1])
        return false;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (calendar->begins[middle] <= at_ms)
            low = middle;
        else
            high = middle;
    }
    *day = calendar->first_day + (int64_t)low;
    return true;
}

bool begins_ms(const Calendar *calendar, int64_t day, int64_t *at_ms) {
    int64_t at;
    if (__builtin_sub_overflow(day, calendar->first_day, &at)) return false;
    if (at < 0 || (uint64_t)at >= calendar->days) return false;
    *at_ms = calendar->begins[at];
    return true;
}

static void two_digits(char *at, int64_t value) {
    at[0] = (char)('0' + value / 10);
    at[1] = (char)('0' + value % 10);
}

bool time_text(const Calendar *calendar, int64_t at_ms, char text[TIME_ROOM], size_t *len) {
    if (calendar->shifts == 0 || at_ms < calendar->from_ms || at_ms >= calendar->to_ms)
        return false;
    size_t n = calendar->shifts - 1;
    while (n > 0 && calendar->shift[n].from_ms > at_ms) n--;
    int64_t ahead = calendar->shift[n].ahead_min;
    int64_t local = at_ms + ahead * 60000;
    if (local < 0) return false;
    int64_t since = local % DAY_MS;
    /* Year, month and day of a number of days (H. Hinnant's civil_from_days). */
    int64_t days = local / DAY_MS + 719468;
    int64_t era = days / 146097;
    int64_t of_era = days - era * 146097;
    int64_t years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * years + years / 4 - years / 100);
    int64_t turned = (5 * of_year + 2) / 153;
    int64_t day = of_year - (153 * turned + 2) / 5 + 1;
    int64_t month = turned < 10 ? turned + 3 : turned - 9;
    int64_t year = years + era * 400 + (month <= 2);
    if (year > 9999) return false;
    two_digits(text, year / 100);
    two_digits(text + 2, year % 100);
    text[4] = '-';
    two_digits(text + 5, month);
    text[7] = '-';
    two_digits(text + 8, day);
    text[10] = 'T';
    two_digits(text + 11, since / 3600000);
    text[13] = ':';
    two_digits(text + 14, since / 60000 % 60);
    text[16] = ':';
    two_digits(text + 17, since / 1000 % 60);
    size_t at = 19;
    int64_t ms = since % 1000;
    if (ms) {
        text[at] = '.';
        text[at + 1] = (char)('0' + ms / 100);
        two_digits(text + at + 2, ms % 100);
        at += 4;
    }
    int64_t apart = ahead < 0 ? -ahead : ahead;
    text[at] = ahead < 0 ? '-' : '+';
    two_digits(text + at + 1, apart / 60 % 100);
    text[at + 3] = ':';
    two_digits(text + at + 4, apart % 60);
    *len = at + 6;
    return true;
}

static void calendar_free(Calendar *calendar) {
    free(calendar->begins);
    free(calendar->shift);
}

void plan_free(Plan *plan) {
    for (size_t i = 0; i < plan->campaigns; i++) free(plan->campaign[i].right);
    for (size_t i = 0; i < plan->calendars; i++) calendar_free(&plan->calendar[i]);
    calendar_free(&plan->utc);
    free(plan->campaign);
    free(plan->calendar);
    *plan = (Plan){0};
}
