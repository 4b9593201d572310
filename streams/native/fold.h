/* The short path of fold.py for the plain case: one order event and one row in, the new row and
 * what is said of it out, or NOT_MINE before anything was changed. */
#ifndef LEIDAN_FOLD_H
#define LEIDAN_FOLD_H

#include "hash.h"
#include "row.h"

#define SAID_MAX 96
#define ISSUED_MAX 64

/* One output record. */
typedef struct {
    int type;
    size_t from, len; /* its value, in Work.bodies */
    char event_id[ID_LEN];
    char time[TIME_ROOM];
    size_t time_len;
    Right *right; /* what a reward gives */
    Campaign *campaign; /* whose task event it is */
} Said;

typedef struct {
    const Task *task;
    const Campaign *campaign;
    Right *right;
    char reward_id[ID_LEN];
    char step[20];
    size_t step_len;
} Issued;

/* Everything one fold needs, used again by the next. */
typedef struct {
    Order order;
    Order earlier; /* one of the facts */
    bool looks_back; /* earlier orders lie in the window of the task that begins */
    Row row;
    const Campaign *of[TASKS_MAX]; /* each task's */
    char own_ids[TASKS_MAX][ID_LEN];
    size_t own;
    Span user_id;
    size_t said;
    Said say[SAID_MAX];
    size_t issued;
    Issued issue[ISSUED_MAX];
    Buffer cause, scratch, fact, entries, bodies, new_row;
} Work;

typedef enum { NOT_MINE, FOLDED, NO_MEMORY } Result;

/* The row's bytes are in work->new_row, the outputs in work->say, until the next call. */
Result fold(Plan *plan, Work *work, Span key, Span value, int64_t recorded_ms, Span row);

void work_free(Work *work);

#endif
