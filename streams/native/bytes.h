/* Bytes as they are passed around here: borrowed spans to read, growing buffers to write. */
#ifndef LEIDAN_BYTES_H
#define LEIDAN_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed; never ends in a zero byte of its own. */
typedef struct {
    const char *at;
    size_t len;
} Span;

/* Reads from `at` to `end`; whoever advances `at` has checked the room before. */
typedef struct {
    const char *at;
    const char *end;
} Cursor;

/* Grows by itself. Out of memory sets `failed` and drops what is written; asked once, at the end. */
typedef struct {
    char *at;
    size_t len;
    size_t room;
    bool failed;
} Buffer;

#define TEXT_OF(literal) {(literal), sizeof(literal) - 1} /* in initialisers */
#define TEXT(literal) ((Span)TEXT_OF(literal))
#define NOTHING TEXT("")

static inline size_t left(const Cursor *from) { return (size_t)(from->end - from->at); }

static inline bool same(Span a, Span b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* As Python compares texts: UTF-8 sorts as its code points do. */
int compare(Span a, Span b);

/* Says whether `part` occurs anywhere in `whole`. */
bool contains(Span whole, Span part);

void put(Buffer *to, const void *bytes, size_t len);
void put_span(Buffer *to, Span span);
void put_int(Buffer *to, int64_t value); /* decimal */
void buffer_free(Buffer *buffer);

/* Decimal digits into `to` (room for 20); returns how many. */
size_t digits(char *to, int64_t value);

#endif
