/* The campaigns of one registry as the fold here needs them, made by plan.py.
 *
 * Spans lie in Python objects that the plan keeps alive. A version that is not plain is known by
 * name only: whoever has a task of it, or may begin one, is Python's. */
#ifndef LEIDAN_PLAN_H
#define LEIDAN_PLAN_H

#include "bytes.h"

typedef struct {
    int64_t from_ms;
    int64_t ahead_min; /* local time is UTC and so many minutes */
} Shift;

/* Days and zone between two instants; what lies outside is Python's. */
typedef struct {
    int64_t from_ms, to_ms;
    int64_t first_day; /* the one that begins[0] begins */
    size_t days;
    int64_t *begins;
    size_t shifts;
    Shift *shift;
} Calendar;

typedef struct {
    int64_t step; /* of a cycle; 0: the final ones */
    Span kind;    /* "step" or "final" */
    Span right_id, type, json;
    int64_t value_minor;
    int64_t valid_ms;
    uint64_t issued; /* counted since the last look */
} Right;

enum { CLAIMED, ADVANCED, COMPLETED, IGNORED, SPARE, ISSUED, TYPES };

typedef struct {
    Span campaign_id;
    int64_t version;
    int64_t effective_ms;
    bool plain, automatic, dark, on_goods;
    const Calendar *calendar;
    Span currency;
    int64_t days;
    int64_t first_day; /* or NONE */
    int64_t target_orders, limit;
    int64_t on, min_amount_minor, daily_cap;
    int64_t rounds_max, cool_down_days;
    int64_t opens_ms, closes_ms; /* or NONE */
    int64_t grace_ms, horizon_ms;
    size_t rights;
    Right *right; /* step ones, then final ones, each as the definition has them */
    uint64_t said[TYPES]; /* its task events, counted since the last look */
} Campaign;

#define NONE INT64_MIN

/* How many fields a struct has, and the defaults of those that are not known here, as msgpack: they
 * stand in gaps between fields that are. The first gap is behind the fields that row.c lists first. */
#define GAPS_MAX 6

typedef struct {
    size_t count;
    Span gap[GAPS_MAX];
} Layout;

typedef struct {
    size_t campaigns;
    Campaign *campaign; /* sorted by (campaign_id, version) */
    size_t calendars;
    Calendar *calendar;
    Calendar utc;
    Layout row, task, entry, fact;
    Span verdict;   /* the mark of a word about the user, which only the walk understands */
    Span fresh;     /* the row of a user of whom nothing is known */
    char schema;    /* first byte of every row */
    int64_t facts_max;
    uint64_t said[TYPES]; /* counted since the last look */
} Plan;

/* Day of an instant, and the instant at which a day begins. False: outside of the table. */
bool day_of(const Calendar *calendar, int64_t at_ms, int64_t *day);
bool begins_ms(const Calendar *calendar, int64_t day, int64_t *at_ms);

#define TIME_ROOM 40
/* RFC 3339 in the calendar's zone, milliseconds only where there are any. */
bool time_text(const Calendar *calendar, int64_t at_ms, char text[TIME_ROOM], size_t *len);

void plan_free(Plan *plan);

#endif
