#include "order.h"

#include "json.h"

#define VALUE_MAX (1 << 20)                      /* envelope.MAX_VALUE_BYTES */
#define ID_MAX 128                               /* characters of envelope.Id */
#define EARLIEST_MS INT64_C(946684800000)        /* envelope.EARLIEST_MS */
#define LATEST_MS INT64_C(32503680000000)        /* envelope.LATEST_MS */
#define LEAD_MS 60000                            /* envelope.LEAD_MS */
#define ONCE(field) (1u << (field))

static bool is_id(Span text) {
    if (text.len == 0) return false;
    if (text.len <= ID_MAX) return true;
    size_t characters = 0;
    for (size_t i = 0; i < text.len; i++) characters += ((unsigned char)text.at[i] & 0xc0) != 0x80;
    return characters <= ID_MAX;
}

static bool read_id(Cursor *from, Span *id) { return json_text(from, id) && is_id(*id); }

static bool read_id_or_null(Cursor *from, Span *id) {
    *id = NOTHING;
    return json_null(from) || read_id(from, id);
}

static bool read_between(Cursor *from, int64_t least, int64_t *value) {
    return json_int(from, value) && *value >= least;
}

/* -- RFC 3339, to the millisecond below ------------------------------------------------------- */

static bool two(const char *at, int64_t most, int64_t *value) {
    if (at[0] < '0' || at[0] > '9' || at[1] < '0' || at[1] > '9') return false;
    *value = (at[0] - '0') * 10 + (at[1] - '0');
    return *value <= most;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar (H. Hinnant's days_from_civil). */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = year / 400; /* years are 1 to 9999 here */
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t length_of(int64_t year, int64_t month) {
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return lengths[month - 1] + (month == 2 && leap);
}

/* YYYY-MM-DDTHH:MM:SS, up to six digits of a second, Z or +HH:MM. */
static bool read_time(Cursor *from, int64_t *at_ms) {
    Span text;
    int64_t century, years, month, day, hour, minute, second, ahead_h, ahead_m;
    if (!json_text(from, &text) || text.len < 20) return false;
    const char *at = text.at;
    const char *end = text.at + text.len;
    if (!two(at, 99, &century) || !two(at + 2, 99, &years) || at[4] != '-' ||
        !two(at + 5, 12, &month) || at[7] != '-' || !two(at + 8, 31, &day) || at[10] != 'T' ||
        !two(at + 11, 23, &hour) || at[13] != ':' || !two(at + 14, 59, &minute) || at[16] != ':' ||
        !two(at + 17, 59, &second))
        return false;
    int64_t year = century * 100 + years;
    if (year < 1990 || month < 1 || day < 1 || day > length_of(year, month)) return false;
    at += 19;
    int64_t ms = 0;
    if (*at == '.') {
        int count = 0;
        for (at++; at < end && *at >= '0' && *at <= '9'; at++, count++)
            if (count < 3) ms = ms * 10 + (*at - '0');
        if (count < 1 || count > 6) return false;
        for (; count < 3; count++) ms *= 10;
    }
    int64_t ahead_min = 0;
    if (end - at == 6 && (*at == '+' || *at == '-')) {
        if (!two(at + 1, 23, &ahead_h) || at[3] != ':' || !two(at + 4, 59, &ahead_m)) return false;
        ahead_min = (*at == '+' ? 1 : -1) * (ahead_h * 60 + ahead_m);
    } else if (!(end - at == 1 && *at == 'Z')) {
        return false;
    }
    int64_t since_s = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *at_ms = (since_s - ahead_min * 60) * 1000 + ms;
    return *at_ms >= EARLIEST_MS && *at_ms < LATEST_MS;
}

/* -- the order ------------------------------------------------------------------------------- */

static bool read_status(Cursor *from, int *status) {
    static const struct {
        Span type;
        int status;
    } types[] = {
        {TEXT_OF("order.paid"), PAID},           {TEXT_OF("order.placed"), PLACED},
        {TEXT_OF("order.fulfilled"), FULFILLED}, {TEXT_OF("order.settled"), SETTLED},
        {TEXT_OF("order.amended"), AMENDED},
    };
    Span text;
    if (!json_text(from, &text)) return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (same(text, types[i].type)) {
            *status = types[i].status;
            return true;
        }
    }
    return false;
}

static bool read_currency(Cursor *from, Span *currency) {
    if (!json_text(from, currency) || currency->len != 3) return false;
    for (int i = 0; i < 3; i++)
        if (currency->at[i] < 'A' || currency->at[i] > 'Z') return false;
    return true;
}

enum { LINE_ID, SKU, QUANTITY, UNIT, CATEGORY, LINE_FIELDS };

static bool read_line(Cursor *from, Line *line) {
    static const Span names[LINE_FIELDS] = {
        TEXT_OF("line_id"), TEXT_OF("sku"), TEXT_OF("quantity"), TEXT_OF("unit_minor"), TEXT_OF("category"),
    };
    Span name, sku;
    unsigned seen = 0;
    line->category = NOTHING;
    if (!next(from, '{')) return false;
    do {
        if (!json_text(from, &name) || !next(from, ':')) return false;
        unsigned field = 0;
        while (field < LINE_FIELDS && !same(name, names[field])) field++;
        if (field < LINE_FIELDS) {
            if (seen & ONCE(field)) return false;
            seen |= ONCE(field);
        }
        bool good = false;
        switch (field) {
            case LINE_ID: good = read_id(from, &line->line_id); break;
            case SKU: good = read_id(from, &sku); break;
            case QUANTITY: good = read_between(from, 1, &line->quantity); break;
            case UNIT: good = read_between(from, 0, &line->unit_minor); break;
            case CATEGORY: good = read_id_or_null(from, &line->category); break;
            default: good = json_skip(from);
        }
        if (!good) return false;
    } while (next(from, ','));
    unsigned needed = ONCE(LINE_ID) | ONCE(SKU) | ONCE(QUANTITY) | ONCE(UNIT);
    return next(from, '}') && (seen & needed) == needed;
}

static bool read_lines(Cursor *from, Order *order) {
    if (!next(from, '[')) return false;
    do {
        if (order->lines == LINES_MAX || !read_line(from, &order->line[order->lines])) return false;
        Span id = order->line[order->lines].line_id;
        for (size_t i = 0; i < order->lines; i++)
            if (same(order->line[i].line_id, id)) return false;
        order->lines++;
    } while (next(from, ','));
    return next(from, ']');
}

enum { KIND, AMOUNT, THRESHOLD, DISCOUNT_FIELDS };

static bool read_discount(Cursor *from, Discount *discount) {
    static const Span names[DISCOUNT_FIELDS] = {
        TEXT_OF("kind"), TEXT_OF("amount_minor"), TEXT_OF("threshold_minor"),
    };
    Span name, kind;
    unsigned seen = 0;
    discount->threshold_minor = 0;
    if (!next(from, '{')) return false;
    do {
        if (!json_text(from, &name) || !next(from, ':')) return false;
        unsigned field = 0;
        while (field < DISCOUNT_FIELDS && !same(name, names[field])) field++;
        if (field < DISCOUNT_FIELDS) {
            if (seen & ONCE(field)) return false;
            seen |= ONCE(field);
        }
        bool good = false;
        switch (field) {
            case KIND:
                good = json_text(from, &kind) && (same(kind, TEXT("event")) ||
                       same(kind, TEXT("voucher")) || same(kind, TEXT("full")));
                break;
            case AMOUNT: good = read_between(from, 0, &discount->amount_minor); break;
            case THRESHOLD:
                good = json_null(from) || read_between(from, 0, &discount->threshold_minor);
                break;
            default: good = json_skip(from);
        }
        if (!good) return false;
    } while (next(from, ','));
    unsigned needed = ONCE(KIND) | ONCE(AMOUNT);
    return next(from, '}') && (seen & needed) == needed;
}

static bool read_discounts(Cursor *from, Order *order) {
    if (json_null(from)) return true;
    if (!next(from, '[')) return false;
    if (next(from, ']')) return true;
    do {
        if (order->discounts == LINES_MAX ||
            !read_discount(from, &order->discount[order->discounts]))
            return false;
        order->discounts++;
    } while (next(from, ','));
    return next(from, ']');
}

enum {
    TYPE, V, USER, OCCURRED, ORDER, VERSION, CURRENCY, GOODS, CONSUMPTION, LINES, DISCOUNTS,
    SHIPPING, CHANNEL, STORE, PARENT, ENTRY, CONTEXT, FIELDS,
};

static const Span FIELD_NAMES[FIELDS] = {
    TEXT_OF("type"),         TEXT_OF("v"),           TEXT_OF("user_id"),
    TEXT_OF("occurred_at"),  TEXT_OF("order_id"),    TEXT_OF("version"),
    TEXT_OF("currency"),     TEXT_OF("goods_minor"), TEXT_OF("consumption_minor"),
    TEXT_OF("lines"),        TEXT_OF("discounts"),   TEXT_OF("shipping_minor"),
    TEXT_OF("channel"),      TEXT_OF("store_id"),    TEXT_OF("parent_order_id"),
    TEXT_OF("entry"),        TEXT_OF("context"),
};

static bool read_field(Cursor *from, unsigned field, Order *order) {
    int64_t number;
    switch (field) {
        case TYPE: return read_status(from, &order->status);
        case V: return json_int(from, &number) && number == 1;
        case USER: return read_id(from, &order->user_id);
        case OCCURRED: return read_time(from, &order->at_ms);
        case ORDER: return read_id(from, &order->order_id);
        case VERSION: return read_between(from, 1, &order->version);
        case CURRENCY: return read_currency(from, &order->currency);
        case GOODS: return json_int(from, &order->goods_minor);
        case CONSUMPTION: return read_between(from, 0, &order->consumption_minor);
        case LINES: return read_lines(from, order);
        case DISCOUNTS: return read_discounts(from, order);
        case SHIPPING: return json_null(from) || read_between(from, 0, &number);
        case CHANNEL: return read_id_or_null(from, &order->channel);
        case STORE: return read_id_or_null(from, &order->store_id);
        case PARENT: return read_id_or_null(from, &order->parent_order_id);
        case ENTRY:
        case CONTEXT: return json_null(from); /* what they say is Python's to read */
        default: return json_skip(from);
    }
}

/* What lines, discounts and sums say of each other. */
static bool adds_up(const Order *order) {
    int64_t goods = 0;
    for (size_t i = 0; i < order->lines; i++) {
        int64_t amount;
        if (__builtin_mul_overflow(order->line[i].quantity, order->line[i].unit_minor, &amount) ||
            amount > INTEGER_MAX)
            return false;
        goods += amount; /* at most 64 times 2^53 */
    }
    int64_t consumption = goods;
    for (size_t i = 0; i < order->discounts; i++) consumption -= order->discount[i].amount_minor;
    return goods == order->goods_minor && consumption == order->consumption_minor;
}

bool scan(Span key, Span value, int64_t recorded_ms, Order *order) {
    if (value.len > VALUE_MAX || recorded_ms < 0 || recorded_ms >= LATEST_MS) return false;
    Cursor from = {value.at, value.at + value.len};
    Span name;
    unsigned seen = 0, guess = 0;
    order->lines = order->discounts = 0;
    order->recorded_ms = recorded_ms;
    order->channel = order->store_id = order->parent_order_id = NOTHING;
    if (!next(&from, '{')) return false;
    do {
        if (!json_text(&from, &name) || !next(&from, ':')) return false;
        /* Most shops write their fields in one order, so the next one is the likeliest. */
        unsigned field = guess;
        if (field >= FIELDS || !same(name, FIELD_NAMES[field]))
            for (field = 0; field < FIELDS && !same(name, FIELD_NAMES[field]);) field++;
        if (field < FIELDS) {
            if (seen & ONCE(field)) return false;
            seen |= ONCE(field);
            guess = field + 1;
        }
        if (!read_field(&from, field, order)) return false;
    } while (next(&from, ','));
    if (!next(&from, '}')) return false;
    unsigned needed = ONCE(TYPE) | ONCE(V) | ONCE(USER) | ONCE(OCCURRED) | ONCE(ORDER) |
                      ONCE(VERSION) | ONCE(CURRENCY) | ONCE(GOODS) | ONCE(CONSUMPTION) | ONCE(LINES);
    return json_end(&from) && (seen & needed) == needed &&
           same(key, order->user_id) && order->at_ms <= recorded_ms + LEAD_MS && adds_up(order);
}
