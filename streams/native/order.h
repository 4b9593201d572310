/* The JSON of one order event, as wire/orders.py reads it, or nothing at all.
 *
 * `scan` accepts a part of what Python accepts and understands it alike; whatever it is not sure of
 * (escapes, a key twice, a fraction of a nanosecond...) is Python's to judge. */
#ifndef LEIDAN_ORDER_H
#define LEIDAN_ORDER_H

#include "bytes.h"

#define LINES_MAX 64 /* of an order and of its discounts; longer ones are Python's */

typedef struct {
    Span line_id;
    int64_t quantity;
    int64_t unit_minor;
    Span category; /* empty: none */
} Line;

typedef struct {
    int64_t amount_minor;
    int64_t threshold_minor;
} Discount;

enum { AMENDED, PLACED, PAID, FULFILLED, SETTLED }; /* events.Status */

typedef struct {
    Span user_id;
    int64_t at_ms;
    int64_t recorded_ms;
    Span order_id;
    int64_t version;
    int status;
    Span currency;
    int64_t goods_minor;
    int64_t consumption_minor;
    size_t lines;
    Line line[LINES_MAX];
    size_t discounts;
    Discount discount[LINES_MAX];
    Span channel; /* empty where absent, so is what follows */
    Span store_id;
    Span parent_order_id;
} Order;

/* The spans of `order` lie in `value`. False: not mine. */
bool scan(Span key, Span value, int64_t recorded_ms, Order *order);

#endif
