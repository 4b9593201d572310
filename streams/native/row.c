#include "row.h"

#include "json.h" /* INTEGER_MAX */
#include "msgpack.h"

#define DUE_BYTES 8 /* the next deadline, ahead of the msgpack */
#define KEY_FIELDS 4
#define PACKED_FIELDS 2
#define LINE_FIELDS 4
#define DISCOUNT_FIELDS 2
#define ORDER_TAG 1  /* of OrderReported among the facts */
#define ORDER_RANK 1 /* facts.key_of */
#define ISSUED_STATE 1

static bool read_count(Cursor *from, size_t expected) {
    size_t count;
    return read_array(from, &count) && count == expected;
}

/* Any number but the time of nothing: sums of two of them hold in 64 bits. */
static bool read_number(Cursor *from, int64_t *value) {
    return read_int(from, value) && *value <= INTEGER_MAX && *value >= -INTEGER_MAX;
}

static bool read_packed(Cursor *from, Packed *packed) {
    return read_count(from, PACKED_FIELDS) && read_number(from, &packed->count) &&
           read_bytes(from, &packed->data);
}

static bool read_task(Cursor *from, const Layout *layout, Task *task) {
    const char *begin = from->at;
    bool good =
        read_count(from, layout->count) && read_text(from, &task->task_id) &&
        read_text(from, &task->campaign_id) && read_number(from, &task->campaign_version) &&
        read_number(from, &task->round) && read_number(from, &task->begun_at_ms) &&
        read_number(from, &task->start_ms) && read_number(from, &task->end_ms) &&
        read_text(from, &task->trigger_order_id) && read_text(from, &task->start_order_id) &&
        read_number(from, &task->closed_ms) && read_text(from, &task->closed_order_id) &&
        read_number(from, &task->counted) && read_number(from, &task->completed_at_ms) &&
        read_number(from, &task->last_day) && read_number(from, &task->last_day_count) &&
        read_number(from, &task->peak) && read_number(from, &task->rev) &&
        read_number(from, &task->variant) && read_exactly(from, layout->gap[0]) &&
        read_number(from, &task->accumulated_minor) && read_exactly(from, layout->gap[1]) &&
        read_number(from, &task->passed_ms) && read_exactly(from, layout->gap[2]) &&
        read_bool(from, &task->expired) && read_exactly(from, layout->gap[3]) &&
        read_bool(from, &task->closed) && read_exactly(from, layout->gap[4]) &&
        read_bool(from, &task->frozen) && read_exactly(from, layout->gap[5]);
    if (good) task->raw = (Span){begin, (size_t)(from->at - begin)};
    return good;
}

static void write_task(const Layout *layout, const Task *task, Buffer *to) {
    if (task->raw.len) {
        put_span(to, task->raw);
        return;
    }
    write_array(to, layout->count);
    write_text(to, task->task_id);
    write_text(to, task->campaign_id);
    write_int(to, task->campaign_version);
    write_int(to, task->round);
    write_int(to, task->begun_at_ms);
    write_int(to, task->start_ms);
    write_int(to, task->end_ms);
    write_text(to, task->trigger_order_id);
    write_text(to, task->start_order_id);
    write_int(to, task->closed_ms);
    write_text(to, task->closed_order_id);
    write_int(to, task->counted);
    write_int(to, task->completed_at_ms);
    write_int(to, task->last_day);
    write_int(to, task->last_day_count);
    write_int(to, task->peak);
    write_int(to, task->rev);
    write_int(to, task->variant);
    put_span(to, layout->gap[0]);
    write_int(to, task->accumulated_minor);
    put_span(to, layout->gap[1]);
    write_int(to, task->passed_ms);
    put_span(to, layout->gap[2]);
    write_bool(to, task->expired);
    put_span(to, layout->gap[3]);
    write_bool(to, task->closed);
    put_span(to, layout->gap[4]);
    write_bool(to, task->frozen);
    put_span(to, layout->gap[5]);
}

bool row_read(const Plan *plan, Span data, Row *row) {
    Cursor from = {data.at, data.at + data.len};
    if (!read_exactly(&from, (Span){&plan->schema, 1}) || left(&from) < DUE_BYTES) return false;
    from.at += DUE_BYTES; /* worked out anew from the tasks */
    bool good = read_count(&from, plan->row.count) && read_number(&from, &row->version) &&
                read_count(&from, KEY_FIELDS) && read_int(&from, &row->newest_ms) &&
                read_number(&from, &row->newest_rank) && read_text(&from, &row->newest_id) &&
                read_number(&from, &row->newest_version) && read_packed(&from, &row->facts) &&
                read_bytes(&from, &row->seen) && read_array(&from, &row->tasks);
    if (!good || row->tasks > TASKS_MAX) return false;
    for (size_t i = 0; i < row->tasks; i++)
        if (!read_task(&from, &plan->task, &row->task[i])) return false;
    return read_packed(&from, &row->ledger) && read_number(&from, &row->owed_minor) &&
           read_exactly(&from, plan->row.gap[0]) && read_bytes(&from, &row->results) &&
           read_exactly(&from, plan->row.gap[1]) && read_number(&from, &row->compact_ms) &&
           read_exactly(&from, plan->row.gap[2]) && read_number(&from, &row->past_ms) &&
           read_exactly(&from, plan->row.gap[3]) && read_bytes(&from, &row->frozen) &&
           read_exactly(&from, plan->row.gap[4]) && from.at == from.end;
}

void row_write(const Plan *plan, const Row *row, int64_t due_ms, const Order *order, Span fact,
               Span mark, Span entries, int64_t entry_count, Buffer *to) {
    char due[DUE_BYTES];
    for (int i = 0; i < DUE_BYTES; i++) due[i] = (char)(unsigned char)(due_ms >> (56 - 8 * i));
    put(to, &plan->schema, 1);
    put(to, due, DUE_BYTES);
    write_array(to, plan->row.count);
    write_int(to, row->version + 1);
    write_array(to, KEY_FIELDS);
    write_int(to, order->at_ms);
    write_int(to, ORDER_RANK);
    write_text(to, order->order_id);
    write_int(to, order->version);
    write_array(to, PACKED_FIELDS);
    write_int(to, row->facts.count + 1);
    write_bytes_head(to, row->facts.data.len + fact.len);
    put_span(to, row->facts.data);
    put_span(to, fact);
    write_bytes_head(to, row->seen.len + mark.len);
    put_span(to, row->seen);
    put_span(to, mark);
    write_array(to, row->tasks);
    for (size_t i = 0; i < row->tasks; i++) write_task(&plan->task, &row->task[i], to);
    write_array(to, PACKED_FIELDS);
    write_int(to, row->ledger.count + entry_count);
    write_bytes_head(to, row->ledger.data.len + entries.len);
    put_span(to, row->ledger.data);
    put_span(to, entries);
    write_int(to, row->owed_minor);
    put_span(to, plan->row.gap[0]);
    write_bytes_head(to, row->results.len);
    put_span(to, row->results);
    put_span(to, plan->row.gap[1]);
    write_int(to, row->compact_ms);
    put_span(to, plan->row.gap[2]);
    write_int(to, row->past_ms);
    put_span(to, plan->row.gap[3]);
    write_bytes_head(to, row->frozen.len);
    put_span(to, row->frozen);
    put_span(to, plan->row.gap[4]);
}

void entry_write(const Plan *plan, const Entry *entry, Buffer *to) {
    const Task *task = entry->task;
    write_array(to, plan->entry.count);
    write_text(to, entry->reward_id);
    write_text(to, task->task_id);
    write_text(to, task->campaign_id);
    write_int(to, task->campaign_version);
    write_int(to, task->round);
    write_text(to, entry->step);
    write_text(to, entry->right->kind);
    write_text(to, entry->right->right_id);
    write_text(to, entry->right->type);
    write_text(to, entry->campaign->currency);
    write_int(to, entry->right->value_minor);
    write_int(to, 1); /* seq */
    write_int(to, ISSUED_STATE);
    write_int(to, 0);   /* offset */
    write_int(to, 0);   /* owed */
    write_array(to, 0); /* set_off */
    put_span(to, plan->entry.gap[0]);
}

void fact_write(const Plan *plan, const Order *order, Buffer *to) {
    write_array(to, plan->fact.count);
    write_int(to, ORDER_TAG);
    write_text(to, NOTHING); /* the row's key has the user */
    write_int(to, order->at_ms);
    write_int(to, order->recorded_ms);
    write_text(to, order->order_id);
    write_int(to, order->version);
    write_int(to, order->status);
    write_text(to, order->currency);
    write_int(to, order->goods_minor);
    write_int(to, order->consumption_minor);
    write_array(to, order->lines);
    for (size_t i = 0; i < order->lines; i++) {
        write_array(to, LINE_FIELDS);
        write_text(to, order->line[i].line_id);
        write_int(to, order->line[i].quantity);
        write_int(to, order->line[i].unit_minor);
        write_text(to, order->line[i].category);
    }
    write_array(to, order->discounts);
    for (size_t i = 0; i < order->discounts; i++) {
        write_array(to, DISCOUNT_FIELDS);
        write_int(to, order->discount[i].amount_minor);
        write_int(to, order->discount[i].threshold_minor);
    }
    write_text(to, order->channel);
    write_text(to, order->store_id);
    write_text(to, order->parent_order_id);
    put_span(to, plan->fact.gap[0]);
}

bool fact_read(const Plan *plan, Cursor *from, Order *order) {
    int64_t tag, status;
    Span none;
    bool good = read_count(from, plan->fact.count) && read_int(from, &tag) && tag == ORDER_TAG &&
                read_text(from, &none) && read_number(from, &order->at_ms) &&
                read_number(from, &order->recorded_ms) && read_text(from, &order->order_id) &&
                read_number(from, &order->version) && read_number(from, &status) &&
                read_text(from, &order->currency) && read_number(from, &order->goods_minor) &&
                read_number(from, &order->consumption_minor) && read_array(from, &order->lines);
    if (!good || order->lines > LINES_MAX) return false;
    order->status = (int)status;
    for (size_t i = 0; i < order->lines; i++) {
        Line *line = &order->line[i];
        if (!read_count(from, LINE_FIELDS) || !read_text(from, &line->line_id) ||
            !read_number(from, &line->quantity) || !read_number(from, &line->unit_minor) ||
            !read_text(from, &line->category))
            return false;
    }
    if (!read_array(from, &order->discounts) || order->discounts > LINES_MAX) return false;
    for (size_t i = 0; i < order->discounts; i++) {
        Discount *discount = &order->discount[i];
        if (!read_count(from, DISCOUNT_FIELDS) || !read_number(from, &discount->amount_minor) ||
            !read_number(from, &discount->threshold_minor))
            return false;
    }
    return read_text(from, &order->channel) && read_text(from, &order->store_id) &&
           read_text(from, &order->parent_order_id) && order->parent_order_id.len == 0 &&
           read_exactly(from, plan->fact.gap[0]);
}
