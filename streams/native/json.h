/* A strict reader of JSON without escapes: each function reads one thing or says no. */
#ifndef LEIDAN_JSON_H
#define LEIDAN_JSON_H

#include "bytes.h"

#define INTEGER_MAX ((INT64_C(1) << 53) - 1) /* envelope.MAX_INTEGER */

/* Skips white space, then `byte`, if it is there. */
bool next(Cursor *from, char byte);

/* A text without escapes and control characters, valid UTF-8. */
bool json_text(Cursor *from, Span *text);

/* Reads `null` if it is there. */
bool json_null(Cursor *from);

/* An integer of at most 2^53 - 1, no fraction, no exponent. */
bool json_int(Cursor *from, int64_t *value);

/* Says whether nothing but white space is left. */
bool json_end(Cursor *from);

/* Any value, at most eight levels deep. */
bool json_skip(Cursor *from);

#endif
