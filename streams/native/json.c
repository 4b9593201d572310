#include "json.h"

#define DEPTH_MAX 8

static void skip_space(Cursor *from) {
    while (from->at < from->end &&
           (*from->at == ' ' || *from->at == '\n' || *from->at == '\t' || *from->at == '\r'))
        from->at++;
}

bool next(Cursor *from, char byte) {
    skip_space(from);
    if (from->at == from->end || *from->at != byte) return false;
    from->at++;
    return true;
}

bool json_end(Cursor *from) {
    skip_space(from);
    return from->at == from->end;
}

static inline bool tail_byte(unsigned char byte) { return (byte & 0xc0) == 0x80; }

/* Length of the UTF-8 sequence that begins here, 0 if there is none; C1 controls are refused. */
static size_t sequence(const unsigned char *at, size_t room) {
    unsigned char lead = at[0];
    if (lead < 0xc2 || lead > 0xf4) return 0;
    size_t len = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (room < len) return 0;
    for (size_t i = 1; i < len; i++)
        if (!tail_byte(at[i])) return 0;
    if (lead == 0xc2 && at[1] < 0xa0) return 0; /* C1 */
    if (lead == 0xe0 && at[1] < 0xa0) return 0; /* overlong */
    if (lead == 0xed && at[1] > 0x9f) return 0; /* surrogates */
    if (lead == 0xf0 && at[1] < 0x90) return 0; /* overlong */
    if (lead == 0xf4 && at[1] > 0x8f) return 0; /* beyond U+10FFFF */
    return len;
}

bool json_text(Cursor *from, Span *text) {
    if (!next(from, '"')) return false;
    const char *at = from->at;
    while (at < from->end) {
        unsigned char byte = (unsigned char)*at;
        if (byte == '"') {
            *text = (Span){from->at, (size_t)(at - from->at)};
            from->at = at + 1;
            return true;
        }
        if (byte < 0x20 || byte == '\\' || byte == 0x7f) return false;
        if (byte < 0x80) {
            at++;
            continue;
        }
        size_t len = sequence((const unsigned char *)at, (size_t)(from->end - at));
        if (len == 0) return false;
        at += len;
    }
    return false;
}

static bool word(Cursor *from, Span expected) {
    skip_space(from);
    if (left(from) < expected.len || memcmp(from->at, expected.at, expected.len) != 0) return false;
    from->at += expected.len;
    return true;
}

bool json_null(Cursor *from) { return word(from, TEXT("null")); }

static bool digit(const Cursor *from) {
    return from->at < from->end && *from->at >= '0' && *from->at <= '9';
}

bool json_int(Cursor *from, int64_t *value) {
    skip_space(from);
    bool negative = from->at < from->end && *from->at == '-';
    if (negative) from->at++;
    if (!digit(from)) return false;
    bool zero = *from->at == '0';
    int64_t sum = 0;
    int count = 0;
    for (; digit(from); from->at++) {
        if (++count > 16) return false;
        sum = sum * 10 + (*from->at - '0');
    }
    if ((zero && (count > 1 || negative)) || sum > INTEGER_MAX) return false;
    if (from->at < from->end && (*from->at == '.' || *from->at == 'e' || *from->at == 'E'))
        return false;
    *value = negative ? -sum : sum;
    return true;
}

static bool skip_digits(Cursor *from) {
    if (!digit(from)) return false;
    while (digit(from)) from->at++;
    return true;
}

static bool skip_number(Cursor *from) {
    if (from->at < from->end && *from->at == '-') from->at++;
    if (!digit(from)) return false;
    if (*from->at == '0')
        from->at++;
    else if (!skip_digits(from))
        return false;
    if (from->at < from->end && *from->at == '.') {
        from->at++;
        if (!skip_digits(from)) return false;
    }
    /* An exponent may be beyond what a reader of numbers holds: not mine. */
    return from->at == from->end || (*from->at != 'e' && *from->at != 'E');
}

static bool skip(Cursor *from, int depth) {
    Span text;
    skip_space(from);
    if (from->at == from->end || depth == 0) return false;
    switch (*from->at) {
        case '"':
            return json_text(from, &text);
        case 't':
            return word(from, TEXT("true"));
        case 'f':
            return word(from, TEXT("false"));
        case 'n':
            return json_null(from);
        case '[':
            from->at++;
            if (next(from, ']')) return true;
            do {
                if (!skip(from, depth - 1)) return false;
            } while (next(from, ','));
            return next(from, ']');
        case '{':
            from->at++;
            if (next(from, '}')) return true;
            do {
                if (!json_text(from, &text) || !next(from, ':') || !skip(from, depth - 1))
                    return false;
            } while (next(from, ','));
            return next(from, '}');
        default:
            return skip_number(from);
    }
}

bool json_skip(Cursor *from) { return skip(from, DEPTH_MAX); }
