#include "fold.h"

#include "say.h"

#define COUNTS NOTHING

/* -- campaigns -------------------------------------------------------------------------------- */

static const Campaign *pinned(const Plan *plan, Span campaign_id, int64_t version) {
    for (size_t i = 0; i < plan->campaigns; i++) {
        const Campaign *campaign = &plan->campaign[i];
        if (campaign->version == version && same(campaign->campaign_id, campaign_id))
            return campaign;
    }
    return NULL;
}

/* The last version of the campaign at `first` that is in force, or none; `*after`: the next one. */
static const Campaign *in_force(const Plan *plan, size_t first, int64_t at_ms, size_t *after) {
    const Campaign *found = NULL;
    size_t i = first;
    for (; i < plan->campaigns; i++) {
        const Campaign *campaign = &plan->campaign[i];
        if (!same(campaign->campaign_id, plan->campaign[first].campaign_id)) break;
        if (campaign->effective_ms <= at_ms) found = campaign;
    }
    *after = i;
    return found;
}

/* short_path._code_of, for campaigns that ask for no category, channel or store. */
static Span code_of(const Order *order, const Campaign *campaign) {
    if (order->status < campaign->on) return TEXT("STATUS");
    if (!same(order->currency, campaign->currency)) return TEXT("CURRENCY");
    int64_t amount = campaign->on_goods ? order->goods_minor : order->consumption_minor;
    return amount < campaign->min_amount_minor ? TEXT("MIN_AMOUNT") : COUNTS;
}

static bool is_late(const Order *order, const Task *task, const Campaign *campaign) {
    return order->recorded_ms > task->end_ms + campaign->grace_ms;
}

/* -- tasks that begin by themselves ----------------------------------------------------------- */

typedef enum { NO, YES, PYTHON } Answer;

/* tasks._closed_code */
static Answer closed(const Campaign *campaign, int64_t at_ms) {
    if (campaign->opens_ms != NONE && at_ms < campaign->opens_ms) return YES;
    if (campaign->closes_ms != NONE && at_ms >= campaign->closes_ms) return YES;
    if (campaign->first_day == NONE) return NO;
    int64_t over_ms;
    if (!begins_ms(campaign->calendar, campaign->first_day + campaign->days, &over_ms))
        return PYTHON;
    return at_ms >= over_ms ? YES : NO;
}

/* tasks.next_round_code, of a round that is over */
static Answer waits(const Campaign *campaign, const Task *last, int64_t at_ms) {
    if (last->round >= campaign->rounds_max) return YES;
    int64_t day, free_ms;
    int64_t over_ms = last->completed_at_ms ? last->completed_at_ms : last->end_ms;
    if (!day_of(campaign->calendar, over_ms, &day) ||
        !begins_ms(campaign->calendar, day + campaign->cool_down_days, &free_ms))
        return PYTHON;
    return at_ms < free_ms ? YES : NO;
}

/* tasks.begin: window and id of the next round */
static bool begin(Work *work, const Campaign *campaign, const Task *last, int64_t start_ms,
                  Span start_order_id, Task *task) {
    const Calendar *calendar = campaign->calendar;
    int64_t at_ms = work->order.at_ms, day, first_ms;
    if (campaign->first_day == NONE) {
        if (!day_of(calendar, at_ms, &day) ||
            !begins_ms(calendar, day + campaign->days, &task->end_ms))
            return false;
    } else {
        if (!begins_ms(calendar, campaign->first_day + campaign->days, &task->end_ms) ||
            !begins_ms(calendar, campaign->first_day, &first_ms))
            return false;
        if (first_ms > start_ms) start_ms = first_ms;
    }
    task->raw = NOTHING;
    task->campaign_id = campaign->campaign_id;
    task->campaign_version = campaign->version;
    task->round = last ? last->round + 1 : 1;
    task->begun_at_ms = at_ms;
    task->start_ms = start_ms;
    task->trigger_order_id = NOTHING;
    task->start_order_id = start_order_id;
    task->closed_ms = 0;
    task->closed_order_id = NOTHING;
    task->counted = task->completed_at_ms = task->last_day_count = 0;
    task->peak = task->rev = task->variant = task->accumulated_minor = 0;
    task->passed_ms = 0;
    task->expired = task->closed = task->frozen = false;
    task->last_day = -1;
    char round[20];
    char *id = work->own_ids[work->own++];
    Span parts[] = {work->user_id, campaign->campaign_id, {round, digits(round, task->round)}};
    make_id(work, TEXT("tsk_"), TEXT("task"), parts, 3, id);
    task->task_id = (Span){id, ID_LEN};
    return true;
}

/* tasks.begin_auto */
static Answer begin_auto(Work *work, const Campaign *campaign, const Task *last, Task *task) {
    int64_t at_ms = work->order.at_ms, day, start_ms;
    Answer answer = closed(campaign, at_ms);
    if (answer != NO) return answer == YES ? NO : PYTHON;
    if (last == NULL) {
        day = campaign->first_day;
        if (day == NONE && !day_of(campaign->calendar, at_ms, &day)) return PYTHON;
        if (!begins_ms(campaign->calendar, day, &start_ms) ||
            !begin(work, campaign, NULL, start_ms, NOTHING, task))
            return PYTHON;
        return at_ms >= task->start_ms ? YES : NO;
    }
    if (at_ms < (last->completed_at_ms ? last->completed_at_ms : last->end_ms)) return NO;
    answer = waits(campaign, last, at_ms);
    if (answer != NO) return answer == YES ? NO : PYTHON;
    return begin(work, campaign, last, at_ms, work->order.order_id, task) ? YES : PYTHON;
}

/* Tasks stand in order of campaign and round; the round before is closed by the new one. */
static void add_round(Work *work, const Campaign *campaign, Task *last, const Task *task) {
    Row *row = &work->row;
    if (last != NULL) {
        last->raw = NOTHING;
        last->closed_ms = task->begun_at_ms;
        last->closed_order_id = task->start_order_id;
    }
    size_t at = row->tasks;
    while (at > 0 && compare(row->task[at - 1].campaign_id, task->campaign_id) > 0) at--;
    size_t behind = row->tasks - at;
    memmove(&row->task[at + 1], &row->task[at], behind * sizeof *row->task);
    memmove(&work->of[at + 1], &work->of[at], behind * sizeof *work->of);
    row->task[at] = *task;
    work->of[at] = campaign;
    row->tasks++;
}

/* short_path._begun: false where it is not mine. */
static bool begin_tasks(const Plan *plan, Work *work) {
    Row *row = &work->row;
    const Order *order = &work->order;
    size_t after = 0;
    for (size_t first = 0; first < plan->campaigns; first = after) {
        const Campaign *campaign = in_force(plan, first, order->at_ms, &after);
        if (campaign == NULL || !campaign->automatic) continue;
        if (!campaign->plain) return false;
        Task *last = NULL;
        for (size_t i = 0; i < row->tasks; i++)
            if (same(row->task[i].campaign_id, campaign->campaign_id)) last = &row->task[i];
        if (last != NULL && (last->round >= campaign->rounds_max ||
                             (order->at_ms < last->end_ms && !last->completed_at_ms)))
            continue;
        if (code_of(order, campaign).len) continue;
        if (row->tasks == TASKS_MAX || work->own == TASKS_MAX) return false;
        Task task;
        Answer answer = begin_auto(work, campaign, last, &task);
        if (answer == PYTHON) return false;
        if (answer == NO || is_late(order, &task, campaign)) continue;
        if (last == NULL && row->newest_ms >= task.start_ms) work->looks_back = true;
        /* Rewarded before and undone by a late fact: how far is in the ledger. */
        if (row->ledger.count && contains(row->ledger.data, task.task_id)) return false;
        add_round(work, campaign, last, &task);
    }
    return true;
}

/* -- counting --------------------------------------------------------------------------------- */

/* tasks.admits */
static bool admits(const Task *task, const Order *order) {
    if (order->at_ms < task->start_ms || order->at_ms >= task->end_ms) return false;
    if (order->at_ms == task->start_ms && compare(order->order_id, task->start_order_id) < 0)
        return false;
    if (!task->closed_ms) return true;
    return order->at_ms < task->closed_ms ||
           (order->at_ms == task->closed_ms && compare(order->order_id, task->closed_order_id) < 0);
}

/* ledger.dues_at and issue_first, for a user without debts */
static bool issue(Work *work, const Task *task, const Campaign *campaign, int64_t peak) {
    int64_t step = (task->counted - 1) % campaign->target_orders + 1;
    for (size_t i = 0; i < campaign->rights; i++) {
        Right *right = &campaign->right[i];
        if (right->step != step && !(right->step == 0 && step == campaign->target_orders)) continue;
        if (task->counted <= peak || work->row.owed_minor || work->issued == ISSUED_MAX)
            return false;
        Issued *issued = &work->issue[work->issued++];
        issued->task = task;
        issued->campaign = campaign;
        issued->right = right;
        issued->step_len = digits(issued->step, task->counted);
        Span parts[] = {
            task->task_id, {issued->step, issued->step_len}, right->kind, right->right_id,
        };
        make_id(work, TEXT("rwd_"), TEXT("reward"), parts, 4, issued->reward_id);
    }
    return true;
}

/* One task that admits the order: count it or say why not, then say what is different. */
static bool offer(Work *work, Task *task, const Campaign *campaign) {
    const Order *order = &work->order;
    if (task->expired || task->passed_ms) return false; /* time has passed over it: may it return? */
    Span code = code_of(order, campaign);
    if (order->status >= campaign->on && is_late(order, task, campaign)) code = TEXT("LATE");
    int64_t counted = task->counted, completed = task->completed_at_ms, peak = task->peak, day;
    if (code.len == 0) {
        if (!day_of(campaign->calendar, order->at_ms, &day)) return false;
        int64_t today = task->last_day == day ? task->last_day_count : 0;
        if ((campaign->daily_cap > 0 && today >= campaign->daily_cap) || completed) {
            code = TEXT("SPARE");
        } else {
            task->counted++;
            task->accumulated_minor += order->consumption_minor;
            if (task->counted >= campaign->limit) task->completed_at_ms = order->at_ms;
            task->last_day = day;
            task->last_day_count = today + 1;
            if (!issue(work, task, campaign, peak)) return false;
        }
    }
    if (code.len) {
        int type = same(code, TEXT("SPARE")) ? SPARE : IGNORED;
        if (!say_order(work, type, order->order_id, code, task, campaign)) return false;
        if (task->rev) return true; /* as it stood */
    }
    /* changes.task_changes; of one that just began nothing was said yet */
    int types[3], count = 0;
    int64_t before = task->rev ? counted : 0;
    bool was_done = task->rev && completed;
    if (!task->rev) types[count++] = CLAIMED;
    if (task->counted < before || (was_done && !task->completed_at_ms)) return false;
    if (task->counted > before) types[count++] = ADVANCED;
    if (task->completed_at_ms && !was_done) types[count++] = COMPLETED;
    task->raw = NOTHING;
    task->rev += count;
    if (task->counted > task->peak) task->peak = task->counted;
    for (int i = 0; i < count; i++)
        if (!say_task(work, types[i], task, campaign)) return false;
    return true;
}

#define EARLIER_MAX 32 /* orders before a first task; whoever has more is Python's */

/* What the walk says of orders that were nobody's until the only task began: all of them are good for
 * nothing, or one would have begun it. False: not mine. */
static bool say_earlier(const Plan *plan, Work *work) {
    Row *row = &work->row;
    if (row->tasks != 1 || row->ledger.count || row->owed_minor) return false;
    const Task *task = &row->task[0];
    const Campaign *campaign = work->of[0];
    const Order *order = &work->earlier;
    Span ids[EARLIER_MAX];
    Cursor from = {row->facts.data.at, row->facts.data.at + row->facts.data.len};
    if (row->facts.count > EARLIER_MAX) return false;
    for (int64_t n = 0; n < row->facts.count; n++) {
        if (!fact_read(plan, &from, &work->earlier)) return false;
        for (int64_t i = 0; i < n; i++)
            if (same(ids[i], order->order_id)) return false; /* its versions are one order */
        ids[n] = order->order_id;
        if (order->at_ms < task->start_ms) continue;
        Span code = code_of(order, campaign);
        if (code.len == 0 || is_late(order, task, campaign) ||
            !say_order(work, IGNORED, order->order_id, code, task, campaign))
            return false;
    }
    return from.at == from.end;
}

/* expiry.deadline_ms: when time next does something to a task; 0: never */
static int64_t deadline_ms(const Task *task, const Campaign *campaign) {
    int64_t end_ms = task->end_ms, passed_ms = task->passed_ms;
    if (!task->completed_at_ms && !task->expired) {
        if (passed_ms < end_ms) return end_ms;
        if (passed_ms < end_ms + campaign->grace_ms) return end_ms + campaign->grace_ms;
    }
    return task->closed ? 0 : end_ms + campaign->horizon_ms;
}

/* The earliest of all tasks, and when there is something to compact: nothing else of a plain row
 * waits for time. */
static int64_t due_ms(const Work *work) {
    int64_t due = work->row.compact_ms;
    for (size_t i = 0; i < work->row.tasks; i++) {
        int64_t at_ms = deadline_ms(&work->row.task[i], work->of[i]);
        if (at_ms && (!due || at_ms < due)) due = at_ms;
    }
    return due;
}

/* -- one event -------------------------------------------------------------------------------- */

/* The order of Key: time, rank, id, version. */
static bool is_newest(const Row *row, const Order *order) {
    if (order->at_ms != row->newest_ms) return order->at_ms > row->newest_ms;
    if (row->newest_rank != 1) return row->newest_rank < 1;
    int ids = compare(order->order_id, row->newest_id);
    return ids > 0 || (ids == 0 && order->version > row->newest_version);
}

/* Every task is of a plain campaign, and they stand in order. */
static bool know_tasks(const Plan *plan, Work *work) {
    Row *row = &work->row;
    for (size_t i = 0; i < row->tasks; i++) {
        const Task *task = &row->task[i];
        const Campaign *campaign = pinned(plan, task->campaign_id, task->campaign_version);
        if (campaign == NULL || !campaign->plain || task->variant || !task->rev) return false;
        work->of[i] = campaign;
        if (i == 0) continue;
        int order = compare(row->task[i - 1].campaign_id, task->campaign_id);
        if (order > 0 || (order == 0 && row->task[i - 1].round >= task->round)) return false;
    }
    return true;
}

static bool fold_order(const Plan *plan, Work *work) {
    Row *row = &work->row;
    const Order *order = &work->order;
    if (!know_tasks(plan, work) || !begin_tasks(plan, work)) return false;
    bool held = false;
    for (size_t i = 0; i < row->tasks; i++) {
        if (!admits(&row->task[i], order)) continue;
        held = true;
        if (!offer(work, &row->task[i], work->of[i])) return false;
    }
    if (!held && !say_no_task(work, &plan->utc)) return false;
    if (work->looks_back && !say_earlier(plan, work)) return false;
    for (size_t i = 0; i < work->issued; i++) {
        Issued *issued = &work->issue[i];
        Entry entry = {
            {issued->reward_id, ID_LEN}, issued->task, issued->campaign, issued->right,
            {issued->step, issued->step_len},
        };
        entry_write(plan, &entry, &work->entries);
        if (!say_issued(work, issued)) return false;
    }
    return true;
}

Result fold(Plan *plan, Work *work, Span key, Span value, int64_t recorded_ms, Span row) {
    const Order *order = &work->order;
    if (!scan(key, value, recorded_ms, &work->order) || order->parent_order_id.len) return NOT_MINE;
    if (!row_read(plan, row, &work->row)) return NOT_MINE;
    char four[4];
    mark(order->order_id, four);
    Span marked = {four, sizeof four};
    if (!is_newest(&work->row, order) || work->row.facts.data.len > (size_t)plan->facts_max ||
        order->at_ms < work->row.past_ms || contains(work->row.seen, marked) || contains(work->row.seen, plan->verdict))
        return NOT_MINE;
    work->user_id = order->user_id;
    work->said = work->issued = work->own = 0;
    work->looks_back = false;
    work->cause.len = work->fact.len = work->entries.len = work->bodies.len = 0;
    work->new_row.len = 0;
    put_span(&work->cause, TEXT("order:"));
    put_span(&work->cause, order->order_id);
    put_span(&work->cause, TEXT(":"));
    put_int(&work->cause, order->version);
    if (!work->cause.failed && !fold_order(plan, work)) return NOT_MINE;
    fact_write(plan, order, &work->fact);
    row_write(plan, &work->row, due_ms(work), order, (Span){work->fact.at, work->fact.len}, marked,
              (Span){work->entries.at, work->entries.len}, (int64_t)work->issued, &work->new_row);
    if (work->cause.failed || work->scratch.failed || work->fact.failed || work->entries.failed ||
        work->bodies.failed || work->new_row.failed)
        return NO_MEMORY;
    return FOLDED;
}

void work_free(Work *work) {
    buffer_free(&work->cause);
    buffer_free(&work->scratch);
    buffer_free(&work->fact);
    buffer_free(&work->entries);
    buffer_free(&work->bodies);
    buffer_free(&work->new_row);
}
