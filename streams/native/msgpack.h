/* MessagePack as msgspec writes it: the smallest form of each value. */
#ifndef LEIDAN_MSGPACK_H
#define LEIDAN_MSGPACK_H

#include "bytes.h"

bool read_array(Cursor *from, size_t *count);
bool read_int(Cursor *from, int64_t *value);
bool read_bool(Cursor *from, bool *value);
bool read_text(Cursor *from, Span *text);
bool read_bytes(Cursor *from, Span *bytes);

/* Reads exactly these bytes, if they are there. */
bool read_exactly(Cursor *from, Span bytes);

void write_array(Buffer *to, size_t count);
void write_int(Buffer *to, int64_t value);
void write_bool(Buffer *to, bool value);
void write_text(Buffer *to, Span text);
/* The head of `len` bytes that the caller puts behind it. */
void write_bytes_head(Buffer *to, size_t len);

#endif
