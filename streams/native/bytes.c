#define _GNU_SOURCE /* memmem */
#include "bytes.h"

#include <stdlib.h>

int compare(Span a, Span b) {
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter ? memcmp(a.at, b.at, shorter) : 0;
    if (order != 0) return order;
    return (a.len > b.len) - (a.len < b.len);
}

bool contains(Span whole, Span part) {
    if (part.len == 0) return true;
    if (whole.len < part.len) return false;
    return memmem(whole.at, whole.len, part.at, part.len) != NULL;
}

static bool make_room(Buffer *to, size_t more) {
    if (to->failed) return false;
    if (more <= to->room - to->len) return true;
    if (more > SIZE_MAX / 4 || to->len > SIZE_MAX / 4) {
        to->failed = true;
        return false;
    }
    size_t room = to->room ? to->room : 1024;
    while (room < to->len + more) room *= 2;
    char *at = realloc(to->at, room);
    if (at == NULL) {
        to->failed = true;
        return false;
    }
    to->at = at;
    to->room = room;
    return true;
}

void put(Buffer *to, const void *bytes, size_t len) {
    if (len == 0 || !make_room(to, len)) return;
    memcpy(to->at + to->len, bytes, len);
    to->len += len;
}

void put_span(Buffer *to, Span span) { put(to, span.at, span.len); }

size_t digits(char *to, int64_t value) {
    char reversed[20];
    size_t count = 0;
    size_t len = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        reversed[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0) to[len++] = '-';
    while (count > 0) to[len++] = reversed[--count];
    return len;
}

void put_int(Buffer *to, int64_t value) {
    char text[20];
    put(to, text, digits(text, value));
}

void buffer_free(Buffer *buffer) {
    free(buffer->at);
    *buffer = (Buffer){0};
}
