/* What is said of a change: ids and canonical JSON, byte for byte as announce.py and orjson do. */
#ifndef LEIDAN_SAY_H
#define LEIDAN_SAY_H

#include "fold.h"

extern const Span TYPE_NAMES[TYPES];

/* Writes "<prefix>" and H(kind; parts) of semantics.md 4 to `id`. */
void make_id(Work *work, Span prefix, Span kind, const Span *parts, size_t count, char id[ID_LEN]);

/* Each returns false where it is not mine: a time outside of the calendar's table, too much to say. */
bool say_task(Work *work, int type, const Task *task, const Campaign *campaign);
bool say_order(Work *work, int type, Span order_id, Span code, const Task *task,
               const Campaign *campaign);
bool say_no_task(Work *work, const Calendar *utc);
bool say_issued(Work *work, const Issued *issued);

#endif
