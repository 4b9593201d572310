/* One user's row by position, as wire/rows.py writes it.
 *
 * THE layout of rows in C: row.c and fact.c name every field of state.py and events.py once. Fields
 * that are not known here must hold their defaults (`Layout.gap`); a row in any other shape is
 * Python's. plan.py compares the names with msgspec's before any of this is used. */
#ifndef LEIDAN_ROW_H
#define LEIDAN_ROW_H

#include "order.h"
#include "plan.h"

#define TASKS_MAX 32 /* of one user; more are Python's */
#define ID_LEN 36    /* "tsk_" and 32 digits */

typedef struct {
    int64_t count;
    Span data;
} Packed;

typedef struct {
    Span raw; /* as the row has it, while unchanged; empty: written anew */
    Span task_id, campaign_id;
    int64_t campaign_version, round;
    int64_t begun_at_ms, start_ms, end_ms;
    Span trigger_order_id, start_order_id;
    int64_t closed_ms;
    Span closed_order_id;
    int64_t counted, completed_at_ms, last_day, last_day_count, peak, rev, variant;
    int64_t accumulated_minor, passed_ms;
    bool expired, closed, frozen;
    char own_id[ID_LEN]; /* of a task begun here: what task_id points at */
} Task;

typedef struct {
    int64_t version;
    int64_t newest_ms, newest_rank;
    Span newest_id;
    int64_t newest_version;
    Packed facts;
    Span seen;
    size_t tasks;
    Task task[TASKS_MAX];
    Packed ledger;
    int64_t owed_minor;
    Span results; /* known of the rights service: no order has to do with them */
    int64_t compact_ms; /* when a tick next looks at it */
    int64_t past_ms;    /* what is earlier may be about what was compacted */
    Span frozen;        /* what is left of that */
} Row;

typedef struct {
    Span reward_id;
    const Task *task;
    const Campaign *campaign;
    const Right *right;
    Span step;
} Entry;

/* Spans of `row` lie in `data`. False: not mine. */
bool row_read(const Plan *plan, Span data, Row *row);

/* Writes the row with an order added: `fact`, its `mark`, and entries for the ledger. due_ms: the
 * next deadline that a tick may reach, or 0. */
void row_write(const Plan *plan, const Row *row, int64_t due_ms, const Order *order, Span fact,
               Span mark, Span entries, int64_t entry_count, Buffer *to);

void entry_write(const Plan *plan, const Entry *entry, Buffer *to);
void fact_write(const Plan *plan, const Order *order, Buffer *to);
/* Reads the next of the facts, its spans in there. False: no whole order, or not mine. */
bool fact_read(const Plan *plan, Cursor *from, Order *order);

#endif
