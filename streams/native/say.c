#include "say.h"

const Span TYPE_NAMES[TYPES] = {
    TEXT_OF("task.claimed"),  TEXT_OF("task.advanced"), TEXT_OF("task.completed"),
    TEXT_OF("order.ignored"), TEXT_OF("order.spare"),   TEXT_OF("reward.issued"),
};

void make_id(Work *work, Span prefix, Span kind, const Span *parts, size_t count, char id[ID_LEN]) {
    Buffer *to = &work->scratch;
    to->len = 0;
    put_span(to, TEXT("leidan/"));
    put_span(to, kind);
    put_span(to, TEXT("/1"));
    for (size_t i = 0; i < count; i++) {
        put(to, "\n", 1);
        put_span(to, parts[i]);
    }
    memcpy(id, prefix.at, ID_LEN - HEX_DIGITS);
    derived((Span){to->at, to->len}, id + ID_LEN - HEX_DIGITS);
}

static Span cause_of(const Work *work) { return (Span){work->cause.at, work->cause.len}; }

/* -- JSON: `key` is `,"name":` with its comma, so that order and commas are seen where they stand */

static void text_field(Buffer *to, Span key, Span text) {
    put_span(to, key);
    put(to, "\"", 1);
    put_span(to, text);
    put(to, "\"", 1);
}

static void int_field(Buffer *to, Span key, int64_t value) {
    put_span(to, key);
    put_int(to, value);
}

/* Begins an output: the place it gets, with its time; its id is the caller's to make. */
static Said *begin(Work *work, int type, const Calendar *calendar) {
    if (work->said == SAID_MAX) return NULL;
    Said *said = &work->say[work->said];
    said->type = type;
    said->right = NULL;
    said->campaign = NULL;
    said->from = work->bodies.len;
    if (!time_text(calendar, work->order.at_ms, said->time, &said->time_len)) return NULL;
    return said;
}

static bool end(Work *work, Said *said) {
    said->len = work->bodies.len - said->from;
    work->said++;
    return true;
}

static void tail_fields(Work *work, const Said *said) {
    text_field(&work->bodies, TEXT(",\"type\":"), TYPE_NAMES[said->type]);
    text_field(&work->bodies, TEXT(",\"user_id\":"), work->user_id);
    put_span(&work->bodies, TEXT(",\"v\":1"));
}

static void event_fields(Work *work, const Said *said) {
    text_field(&work->bodies, TEXT(",\"event_id\":"), (Span){said->event_id, ID_LEN});
}

static bool view_field(Buffer *to, const Task *task, const Campaign *campaign) {
    char deadline[TIME_ROOM];
    size_t len;
    if (!time_text(campaign->calendar, task->end_ms, deadline, &len)) return false;
    Span state = task->completed_at_ms ? TEXT("completed")
                 : task->expired || task->closed_ms ? TEXT("expired")
                                       : TEXT("active");
    int64_t missing = task->completed_at_ms ? 0 : campaign->limit - task->counted;
    int_field(to, TEXT(",\"view\":{\"accumulated_minor\":"), task->accumulated_minor);
    int_field(to, TEXT(",\"counted\":"), task->counted);
    text_field(to, TEXT(",\"deadline\":"), (Span){deadline, len});
    if (!campaign->dark)
        int_field(to, TEXT(",\"remaining\":"), missing > 0 ? missing : 0);
    put_span(to, TEXT(",\"saved_minor\":0"));
    text_field(to, TEXT(",\"state\":"), state);
    if (!campaign->dark) int_field(to, TEXT(",\"target\":"), campaign->limit);
    put_span(to, TEXT("}"));
    return true;
}

/* A task event; the order and `code` only where it is about an order. */
static bool task_event(Work *work, Said *said, const Task *task, const Campaign *campaign,
                       Span order_id, Span code) {
    Buffer *to = &work->bodies;
    text_field(to, TEXT("{\"campaign_id\":"), task->campaign_id);
    int_field(to, TEXT(",\"campaign_version\":"), task->campaign_version);
    text_field(to, TEXT(",\"cause_id\":"), cause_of(work));
    if (code.len) text_field(to, TEXT(",\"code\":"), code);
    event_fields(work, said);
    text_field(to, TEXT(",\"occurred_at\":"), (Span){said->time, said->time_len});
    if (order_id.len) text_field(to, TEXT(",\"order_id\":"), order_id);
    int_field(to, TEXT(",\"rev\":"), task->rev);
    int_field(to, TEXT(",\"round\":"), task->round);
    text_field(to, TEXT(",\"task_id\":"), task->task_id);
    tail_fields(work, said);
    if (!view_field(to, task, campaign)) return false;
    put_span(to, TEXT("}"));
    said->campaign = (Campaign *)campaign; /* only to be counted, once all of it is said */
    return end(work, said);
}

bool say_task(Work *work, int type, const Task *task, const Campaign *campaign) {
    Said *said = begin(work, type, campaign->calendar);
    if (said == NULL) return false;
    Span parts[] = {task->task_id, TYPE_NAMES[type], cause_of(work)};
    make_id(work, TEXT("evt_"), TEXT("event"), parts, 3, said->event_id);
    return task_event(work, said, task, campaign, NOTHING, NOTHING);
}

static void order_event_id(Work *work, Said *said, Span holder, Span order_id, Span code) {
    Span parts[] = {holder, TYPE_NAMES[said->type], cause_of(work), order_id, code};
    make_id(work, TEXT("evt_"), TEXT("event"), parts, 5, said->event_id);
}

bool say_order(Work *work, int type, Span order_id, Span code, const Task *task,
               const Campaign *campaign) {
    Said *said = begin(work, type, campaign->calendar);
    if (said == NULL) return false;
    order_event_id(work, said, task->task_id, order_id, code);
    return task_event(work, said, task, campaign, order_id, type == SPARE ? NOTHING : code);
}

bool say_no_task(Work *work, const Calendar *utc) {
    Said *said = begin(work, IGNORED, utc);
    if (said == NULL) return false;
    Buffer *to = &work->bodies;
    order_event_id(work, said, work->user_id, work->order.order_id, TEXT("NO_TASK"));
    text_field(to, TEXT("{\"cause_id\":"), cause_of(work));
    text_field(to, TEXT(",\"code\":"), TEXT("NO_TASK"));
    event_fields(work, said);
    text_field(to, TEXT(",\"occurred_at\":"), (Span){said->time, said->time_len});
    text_field(to, TEXT(",\"order_id\":"), work->order.order_id);
    tail_fields(work, said);
    put_span(to, TEXT("}"));
    return end(work, said);
}

bool say_issued(Work *work, const Issued *issued) {
    const Task *task = issued->task;
    const Campaign *campaign = issued->campaign;
    const Right *right = issued->right;
    Said *said = begin(work, ISSUED, campaign->calendar);
    char until[TIME_ROOM];
    size_t until_len;
    if (said == NULL || !time_text(campaign->calendar, work->order.at_ms + right->valid_ms, until,
                                   &until_len))
        return false;
    Span reward_id = {issued->reward_id, ID_LEN};
    Span parts[] = {reward_id, TYPE_NAMES[ISSUED], TEXT("1")};
    make_id(work, TEXT("evt_"), TEXT("event"), parts, 3, said->event_id);
    said->right = issued->right;
    Buffer *to = &work->bodies;
    int_field(to, TEXT("{\"amount_minor\":"), right->value_minor);
    text_field(to, TEXT(",\"campaign_id\":"), task->campaign_id);
    int_field(to, TEXT(",\"campaign_version\":"), task->campaign_version);
    text_field(to, TEXT(",\"cause_id\":"), cause_of(work));
    text_field(to, TEXT(",\"currency\":"), campaign->currency);
    event_fields(work, said);
    text_field(to, TEXT(",\"kind\":"), right->kind);
    text_field(to, TEXT(",\"occurred_at\":"), (Span){said->time, said->time_len});
    put_span(to, TEXT(",\"offset_minor\":0"));
    text_field(to, TEXT(",\"order_id\":"), work->order.order_id);
    if (right->value_minor) {
        int_field(to, TEXT(",\"postings\":[{\"account\":\"budget\",\"amount_minor\":"),
                  -right->value_minor);
        int_field(to, TEXT("},{\"account\":\"issued\",\"amount_minor\":"), right->value_minor);
        put_span(to, TEXT("}]"));
    } else {
        put_span(to, TEXT(",\"postings\":[]"));
    }
    text_field(to, TEXT(",\"reward_id\":"), reward_id);
    put_span(to, TEXT(",\"right\":"));
    put_span(to, right->json);
    int_field(to, TEXT(",\"round\":"), task->round);
    put_span(to, TEXT(",\"seq\":1"));
    text_field(to, TEXT(",\"step\":"), (Span){issued->step, issued->step_len});
    text_field(to, TEXT(",\"task_id\":"), task->task_id);
    tail_fields(work, said);
    text_field(to, TEXT(",\"valid_until\":"), (Span){until, until_len});
    put_span(to, TEXT("}"));
    return end(work, said);
}
